//! A stream of readers, or of scans, and one writer: the writer is served, and so are they.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kv_testkit::model::Isolation;

use super::{AnyClient, at_once, attempt};
use crate::command::{Command, Refusal, Selection};
use crate::run::Store;
use crate::seed::{Random, rounds, say};

/// The writer must not wait longer. It waits for those who came before it, which takes some
/// milliseconds; the rest is for a machine that is busy with other things.
const WAIT_MAX: Duration = Duration::from_secs(2);
const READERS: usize = 4;

#[test]
fn a_writer_among_readers_is_served() {
    stream("invariants::starvation::a_writer_among_readers_is_served", |client, id, random| {
        client.ask(Some(id), &Command::get("k1"))?;
        random.linger();
        client.ask(Some(id), &Command::get("k2")).map(|_| ())
    });
}

#[test]
fn a_writer_among_scans_is_served() {
    stream("invariants::starvation::a_writer_among_scans_is_served", |client, id, random| {
        client.ask(Some(id), &Command::Scan(Selection::prefix("k")))?;
        random.linger();
        Ok(())
    });
}

/// The first client writes, all others read without a pause.
fn stream(
    test: &'static str,
    read: impl Fn(&mut AnyClient, u64, &mut Random) -> Result<(), Refusal> + Sync,
) {
    rounds(test, 500, |round| {
        for store in [Store::patient_engine(4), Store::patient_server(4)] {
            let (is_over, reading) = (AtomicBool::new(false), AtomicUsize::new(0));
            let done = at_once(&store, round, 1 + READERS, |number, client, random| {
                let mut waits = Vec::new();
                while number > 0 && !is_over.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let told = attempt(client, Isolation::Serializable, |client, id| {
                        read(client, id, random)
                    });
                    assert_eq!(told.map(|_| ()), Ok(()), "readers are no part of any cycle");
                    if waits.is_empty() {
                        reading.fetch_add(1, Ordering::Relaxed);
                    }
                    waits.push(started.elapsed());
                }
                if number == 0 {
                    // On a busy machine it could be done before anybody else has begun.
                    while reading.load(Ordering::Relaxed) < READERS {
                        std::thread::yield_now();
                    }
                    for value in 0..round.size {
                        let key = format!("k{}", 1 + value % 2);
                        let started = Instant::now();
                        client.ask(None, &Command::put(&key, value)).unwrap();
                        waits.push(started.elapsed());
                        random.linger();
                    }
                    is_over.store(true, Ordering::Relaxed);
                }
                waits
            });
            store.assert_idle();
            for (number, mut waits) in done.into_iter().enumerate() {
                waits.sort_unstable();
                let who = if number == 0 { "the writer" } else { "a reader" };
                assert!(!waits.is_empty(), "{who} made no progress");
                let (longest, p99) = (waits[waits.len() - 1], waits[waits.len() * 99 / 100]);
                say(format_args!("{who}: {} times, p99 {p99:?}, max {longest:?}", waits.len()));
                assert!(longest < WAIT_MAX, "{who} waited {longest:?}");
            }
        }
    });
}
