//! A counter ends at the number of additions that were acknowledged, however they were made.

use kv_testkit::model::Isolation;

use super::{AnyClient, at_once, attempt, number, over_both};
use crate::command::{Command, Refusal};
use crate::run::Store;
use crate::seed::{Random, Round, say};

const KEY: &str = "counter";

#[test]
fn every_acknowledged_addition_counts() {
    over_both("invariants::counters::every_acknowledged_addition_counts", 300, run);
}

fn run(store: &Store, round: &Round) {
    let done = at_once(store, round, 5, |_, client, random| {
        let mut done = 0;
        for _ in 0..round.size {
            random.linger();
            done += i64::from(add(client, random).is_ok());
        }
        done
    });
    let counted = number(store.client().ask(None, &Command::get(KEY)).unwrap().value());
    say(format_args!("{done:?} additions were acknowledged"));
    assert_eq!(counted, done.iter().sum::<i64>(), "{done:?}");
    assert!(done.iter().all(|&done| done > 0), "{done:?}");
}

fn add(client: &mut AnyClient, random: &mut Random) -> Result<(), Refusal> {
    let one_more = Command::Add { key: KEY.into(), by: 1 };
    if random.percent(30) {
        return client.ask(None, &one_more).map(|_| ());
    }
    let isolation = random.one_of(&[Isolation::Serializable, Isolation::Snapshot]);
    let how = random.below(3);
    let linger = random.percent(50);
    let added = attempt(client, isolation, |client, id| {
        if how == 0 {
            return client.ask(Some(id), &one_more).map(|_| ());
        }
        // In a SERIALIZABLE transaction, the plain GET leads to deadlocks; they are no excuse.
        let get = Command::Get { key: KEY.into(), for_update: how == 1 };
        let before = number(client.ask(Some(id), &get)?.value());
        if linger {
            std::thread::yield_now();
        }
        client.ask(Some(id), &Command::put(KEY, before + 1)).map(|_| ())
    });
    added.map(|_| ())
}
