//! Workloads with an invariant that a person can check in the head, over the engine and over the
//! server: money is neither made nor lost, a version has one winner, a counter counts, and so on.
//!
//! They need no checker, so they say the same as the random histories in a second way.

mod bank;
mod counters;
mod order;
mod register;
mod starvation;

use kv_testkit::model::Isolation;

use crate::command::{Client, Command, Refusal};
use crate::run::Store;
use crate::seed::{Random, Round, rounds};

type AnyClient = Box<dyn Client + Send>;

/// Runs a workload over the engine and over the server. `size` is that of an ordinary run.
fn over_both(test: &'static str, size: usize, run: impl Fn(&Store, &Round)) {
    rounds(test, size, |round| {
        for store in [Store::engine(4, None), Store::server(4)] {
            run(&store, round);
            store.assert_idle();
        }
    });
}

/// Runs clients at once, each on a thread; answers what each has.
fn at_once<T: Send>(
    store: &Store,
    round: &Round,
    clients: usize,
    run: impl Fn(usize, &mut AnyClient, &mut Random) -> T + Sync,
) -> Vec<T> {
    std::thread::scope(|scope| {
        let run = &run;
        let start = |number: usize| {
            let (mut client, mut random) = (store.client(), round.random(number as u64));
            scope.spawn(move || run(number, &mut client, &mut random))
        };
        let threads: Vec<_> = (0..clients).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// One attempt at a transaction: committed if all went well, else rolled back. Answers the
/// revision of the commit, too.
fn attempt<T>(
    client: &mut AnyClient,
    isolation: Isolation,
    work: impl FnOnce(&mut AnyClient, u64) -> Result<T, Refusal>,
) -> Result<(T, Option<u64>), Refusal> {
    let id = client.ask(None, &Command::begin(isolation))?.begun();
    match work(client, id) {
        Ok(done) => {
            let committed = client.ask(Some(id), &Command::Commit)?;
            Ok((done, committed.revision()))
        }
        Err(refusal) => {
            assert!(refusal.aborts() || refusal.code == "TIMEOUT", "{refusal}");
            client.ask(Some(id), &Command::Rollback)?;
            Err(refusal)
        }
    }
}

/// The number under a key.
fn number(value: Option<String>) -> i64 {
    value.map_or(0, |value| value.parse().unwrap())
}
