//! Money is moved between accounts, which come and go; no audit ever sees more or less of it.

use kv_testkit::model::Isolation;

use super::{AnyClient, at_once, attempt, number, over_both};
use crate::command::{Command, Refusal, Selection};
use crate::run::Store;
use crate::seed::{Random, Round, say};

const ACCOUNTS: usize = 6;
const TOTAL: i64 = 600;

#[test]
fn the_total_is_constant() {
    over_both("invariants::bank::the_total_is_constant", 150, run);
}

fn run(store: &Store, round: &Round) {
    store.client().ask(None, &Command::put("account0", TOTAL)).unwrap();
    let done = at_once(store, round, 6, |number, client, random| {
        let mut done = 0;
        for _ in 0..round.size {
            random.linger();
            let result = match number {
                0..4 => transfer(client, random),
                _ => audit(client, random),
            };
            done += usize::from(result.is_ok());
        }
        done
    });
    say(format_args!("of {} transfers and audits each, done: {done:?}", round.size));
    assert!(done.iter().all(|&done| done > round.size / 20), "{done:?}");
    assert_eq!(sum(&mut store.client(), None), Ok(TOTAL));
}

/// An account without money does not exist.
fn transfer(client: &mut AnyClient, random: &mut Random) -> Result<(), Refusal> {
    let isolation = random.one_of(&[Isolation::Serializable, Isolation::Snapshot]);
    let for_update = random.percent(60);
    let from = random.below(ACCOUNTS);
    let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
    let [from, to] = [from, to].map(|account| format!("account{account}"));
    let (part, nested) = (random.below(4) as i64, random.percent(20));
    let moved = attempt(client, isolation, |client, id| {
        let mut read = |key: &str| {
            let get = Command::Get { key: key.into(), for_update };
            Ok(number(client.ask(Some(id), &get)?.value()))
        };
        let (one, other) = (read(&from)?, read(&to)?);
        // A quarter, half, three quarters, or all of it.
        let amount = one * (part + 1) / 4;
        if nested {
            attempt_that_is_undone(client, id, &from)?;
        }
        set(client, id, &from, one - amount)?;
        set(client, id, &to, other + amount)
    });
    moved.map(|_| ())
}

/// Takes everything, in a nested transaction that is rolled back.
fn attempt_that_is_undone(client: &mut AnyClient, id: u64, key: &str) -> Result<(), Refusal> {
    let place = kv_testkit::model::Place::Inside(id);
    let begin = Command::Begin { place, isolation: None, at: None, wait: None };
    let child = client.ask(None, &begin)?.begun();
    client.ask(Some(child), &Command::delete(key))?;
    client.ask(Some(child), &Command::put("account0", 1_000_000))?;
    client.ask(Some(child), &Command::Rollback)?;
    Ok(())
}

fn set(client: &mut AnyClient, id: u64, key: &str, balance: i64) -> Result<(), Refusal> {
    let command = if balance == 0 { Command::delete(key) } else { Command::put(key, balance) };
    client.ask(Some(id), &command).map(|_| ())
}

fn audit(client: &mut AnyClient, random: &mut Random) -> Result<(), Refusal> {
    if random.percent(25) {
        assert_eq!(sum(client, None), Ok(TOTAL));
        return Ok(());
    }
    let levels = [Isolation::Serializable, Isolation::Snapshot, Isolation::Readonly];
    let isolation = random.one_of(&levels);
    let by_key = random.percent(40);
    let audited = attempt(client, isolation, |client, id| {
        let count = Command::Count(Selection::prefix("account"));
        let count = client.ask(Some(id), &count)?.number();
        let total = if by_key { sum_by_key(client, id)? } else { sum(client, Some(id))? };
        let scan = Command::Scan(Selection::prefix("account"));
        let rows = client.ask(Some(id), &scan)?.pairs();
        assert_eq!(usize::try_from(count), Ok(rows.len()), "{isolation:?}");
        Ok(total)
    });
    assert!(isolation != Isolation::Readonly || audited.is_ok(), "{audited:?}");
    let (total, _) = audited?;
    assert_eq!(total, TOTAL, "{isolation:?}");
    Ok(())
}

fn sum(client: &mut AnyClient, txn: Option<u64>) -> Result<i64, Refusal> {
    let scan = Command::Scan(Selection::prefix("account"));
    let rows = client.ask(txn, &scan)?.pairs();
    Ok(rows.into_iter().map(|(_, balance)| number(Some(balance))).sum())
}

fn sum_by_key(client: &mut AnyClient, id: u64) -> Result<i64, Refusal> {
    let mut total = 0;
    for account in 0..ACCOUNTS {
        total += number(client.ask(Some(id), &Command::get(&format!("account{account}")))?.value());
    }
    Ok(total)
}
