//! A register that is written with IF VERSION: exactly one winner a version, and each has read
//! the version before its own.

use std::collections::BTreeMap;

use kv_testkit::model::{Condition, Isolation};

use super::{AnyClient, at_once, attempt, over_both};
use crate::command::{Answer, Command, Refusal};
use crate::run::Store;
use crate::seed::{Random, Round, say};

const KEY: &str = "register";

#[test]
fn a_version_has_one_winner() {
    over_both("invariants::register::a_version_has_one_winner", 300, run);
}

/// The version that was won, and the value that was written.
type Win = (u64, String);

fn run(store: &Store, round: &Round) {
    let wins = at_once(store, round, 5, |number, client, random| {
        let mut wins: Vec<Win> = Vec::new();
        for attempt in 0..round.size {
            random.linger();
            wins.extend(compare_and_set(client, random, format!("{number}.{attempt}")).ok());
        }
        wins
    });
    say(format_args!("wins: {:?}", wins.iter().map(Vec::len).collect::<Vec<_>>()));
    assert!(wins.iter().all(|wins| !wins.is_empty()), "somebody never won");
    let mut winners: BTreeMap<u64, String> = BTreeMap::new();
    for (version, value) in wins.into_iter().flatten() {
        let other = winners.insert(version, value.clone());
        assert_eq!(other, None, "version {version} was also won by {value}");
    }
    let history = store.client().ask(None, &Command::History { key: KEY.into() }).unwrap();
    let Answer::Versions(versions) = history else { panic!("versions, not {history:?}") };
    let kept = versions.into_iter().rev().map(|past| (past.version, past.value.unwrap()));
    assert_eq!(kept.collect::<BTreeMap<_, _>>(), winners);
}

fn compare_and_set(
    client: &mut AnyClient,
    random: &mut Random,
    value: String,
) -> Result<Win, Refusal> {
    if random.percent(50) {
        let version = version(client, None)?;
        random.linger();
        let condition = Condition::Version(version);
        client.ask(None, &Command::Put { key: KEY.into(), value: value.clone(), condition })?;
        return Ok((version + 1, value));
    }
    // The version is read outside and may be old by now; the transaction must notice.
    let version = version(client, None)?;
    let isolation = random.one_of(&[Isolation::Serializable, Isolation::Snapshot]);
    random.linger();
    let id = client.ask(None, &Command::begin(isolation))?.begun();
    let condition = Condition::Version(version);
    let put = Command::Put { key: KEY.into(), value: value.clone(), condition };
    match client.ask(Some(id), &put) {
        Ok(_) => {
            random.linger();
            client.ask(Some(id), &Command::Commit)?;
            Ok((version + 1, value))
        }
        Err(refusal) => {
            client.ask(Some(id), &Command::Rollback)?;
            Err(refusal)
        }
    }
}

fn version(client: &mut AnyClient, txn: Option<u64>) -> Result<u64, Refusal> {
    let answer = client.ask(txn, &Command::Meta { key: KEY.into() })?;
    let Answer::Meta(meta) = answer else { panic!("META, not {answer:?}") };
    Ok(meta.map_or(0, |(version, _, _)| version))
}

/// PRECONDITION tells the truth: the version that it names is the one that is there.
#[test]
fn a_refusal_names_the_version_that_is_there() {
    over_both("invariants::register::a_refusal_names_the_version_that_is_there", 1, |store, _| {
        let mut client = store.client();
        for value in 1..4 {
            client.ask(None, &Command::put(KEY, value)).unwrap();
            let condition = Condition::Version(0);
            let put = Command::Put { key: KEY.into(), value: "x".into(), condition };
            let alone = client.ask(None, &put).unwrap_err();
            assert_eq!((&*alone.code, alone.version), ("PRECONDITION", Some(value)));
            let inside = attempt(&mut client, Isolation::Serializable, |client, id| {
                assert_eq!(client.ask(Some(id), &put), Err(alone.clone()));
                version(client, Some(id))
            });
            assert_eq!(inside.unwrap().0, value);
        }
    });
}
