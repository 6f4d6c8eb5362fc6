//! Faults that random histories have found, each as small as it can be made.

use std::time::{Duration, Instant};

use kv_testkit::model::Isolation;

use crate::command::{Answer, Client, Command, Selection};
use crate::run::Store;
use crate::seed::{Random, rounds, say};

/// A view that is older than a key, while the key's first versions are dropped.
#[test]
fn a_view_from_before_a_key_never_finds_it_pruned() {
    for history in [1, 2] {
        let store = Store::engine(1, Some(history));
        let (mut reader, mut writer) = (store.client(), store.client());
        let id = reader.ask(None, &Command::begin(Isolation::Readonly)).unwrap().begun();
        for value in 0..4 {
            writer.ask(None, &Command::put("k", value)).unwrap();
            let seen = reader.ask(Some(id), &Command::get("k"));
            assert_eq!(seen.map(Answer::value), Ok(None), "history {history}");
        }
    }
}

/// A SERIALIZABLE transaction that scans twice, beside ones that read a key and then write it: the
/// upgrade must not slip in between the moment when the scan's lock is judged and when it is set.
#[test]
fn a_scan_is_repeated_beside_upgrades() {
    const FOR: Duration = Duration::from_millis(700);
    rounds("faults::a_scan_is_repeated_beside_upgrades", 0, |round| {
        // With many shards it takes long to set the lock of a scan.
        let store = Store::engine(64, Some(1));
        let until = Instant::now() + FOR;
        std::thread::scope(|scope| {
            for number in 0..2 {
                let (mut client, mut random) = (store.client(), round.random(number));
                scope.spawn(move || upgrade(&mut *client, &mut random, until));
            }
            scan_twice(&mut *store.client(), &mut round.random(9), until);
        });
        store.assert_idle();
    });
}

fn upgrade(client: &mut dyn Client, random: &mut Random, until: Instant) {
    let key = format!("k{}", random.below(1000));
    for value in 0.. {
        if Instant::now() > until {
            return;
        }
        let id = client.ask(None, &Command::begin(Isolation::Serializable)).unwrap().begun();
        let done = client.ask(Some(id), &Command::get(&key)).and_then(|_| {
            pause(random);
            client.ask(Some(id), &Command::put(&key, value))?;
            pause(random);
            client.ask(Some(id), &Command::Commit)
        });
        if done.is_err() {
            client.ask(Some(id), &Command::Rollback).unwrap();
        }
    }
}

fn scan_twice(client: &mut dyn Client, random: &mut Random, until: Instant) {
    let mut repeated = 0;
    while Instant::now() < until {
        let id = client.ask(None, &Command::begin(Isolation::Serializable)).unwrap().begun();
        let scan = Command::Scan(Selection::prefix("k"));
        if let Ok(first) = client.ask(Some(id), &scan) {
            pause(random);
            let again = client.ask(Some(id), &scan).unwrap();
            assert_eq!(again, first, "after {repeated} transactions that were right");
            repeated += 1;
        }
        client.ask(Some(id), &Command::Rollback).unwrap();
        pause(random);
    }
    say(format_args!("{repeated} scans repeated"));
}

fn pause(random: &mut Random) {
    let from = Instant::now();
    let pause = Duration::from_micros(random.below(100) as u64);
    while from.elapsed() < pause {
        std::hint::spin_loop();
    }
}
