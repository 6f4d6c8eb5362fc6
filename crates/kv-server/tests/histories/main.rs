//! Random clients at once, and whether any order that the isolation levels allow explains what
//! they saw; invariants that every workload must keep; and one client against the model.
//!
//! Threads decide how transactions meet, so a seed repeats what the clients want, not what comes
//! of it. A failure prints the seed and a command line; [`seed`] says how to run longer.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod command;
mod engine;
mod faults;
mod invariants;
mod modelled;
mod planted;
mod run;
mod seed;
mod tcp;
mod worker;

use kv_testkit::checker::Mode;
use run::{LOCKING, MIXED, Plan, SNAPSHOT, Store, run_and_check};
use seed::{Round, rounds, say};
use worker::Tally;

/// Transactions of each client in an ordinary run.
const TRANSACTIONS: usize = 1_000;

/// Other seeds also mean more or fewer clients and keys.
fn plan(modes: &'static [Mode], seed: u64) -> Plan {
    let nth = |list: &[u32]| list[seed as usize % list.len()];
    let keys = nth(&[2, 5, 3, 10]) as usize;
    Plan { modes, clients: nth(&[3, 6, 10]), keys, lists_versions: true }
}

/// Over the engine: few shards and many, all versions kept or only the newest.
fn over_the_engine(test: &'static str, modes: &'static [Mode]) {
    rounds(test, TRANSACTIONS, |round| {
        let mut tally = Tally::default();
        for shards in [1, 16] {
            run_and_check(&Store::engine(shards, None), plan(modes, round.seed), round, &mut tally);
        }
        let newest_only = Plan { lists_versions: false, ..plan(modes, round.seed) };
        run_and_check(&Store::engine(2, Some(1)), newest_only, round, &mut tally);
        must_have_met(&tally, modes, round);
    });
}

fn over_the_server(test: &'static str, modes: &'static [Mode]) {
    rounds(test, TRANSACTIONS, |round| {
        let mut tally = Tally::default();
        run_and_check(&Store::server(4), plan(modes, round.seed), round, &mut tally);
        must_have_met(&tally, modes, round);
    });
}

/// A run in which nobody met anybody has tested nothing.
fn must_have_met(tally: &Tally, modes: &[Mode], round: &Round) {
    say(tally.shown());
    if round.size < TRANSACTIONS {
        return;
    }
    let mut expected = vec!["commits", "rollbacks", "nested", "deaths", "TIMEOUT", "BUSY"];
    if modes.contains(&Mode::Snapshot) {
        expected.push("CONFLICT");
    }
    if modes.contains(&Mode::Serializable) {
        expected.push("DEADLOCK");
    }
    for what in expected {
        assert!(tally.of(what) > 0, "no {what} in {}", tally.shown());
    }
}

#[test]
fn engine_locking() {
    over_the_engine("engine_locking", &LOCKING);
}

#[test]
fn engine_snapshot() {
    over_the_engine("engine_snapshot", &SNAPSHOT);
}

#[test]
fn engine_mixed() {
    over_the_engine("engine_mixed", &MIXED);
}

#[test]
fn server_locking() {
    over_the_server("server_locking", &LOCKING);
}

#[test]
fn server_snapshot() {
    over_the_server("server_snapshot", &SNAPSHOT);
}

#[test]
fn server_mixed() {
    over_the_server("server_mixed", &MIXED);
}

#[test]
fn durable_server_mixed() {
    rounds("durable_server_mixed", TRANSACTIONS / 2, |round| {
        let mut tally = Tally::default();
        run_and_check(&Store::durable_server(4), plan(&MIXED, round.seed), round, &mut tally);
        say(tally.shown());
        assert!(round.size < TRANSACTIONS / 2 || tally.of("commits") > 0, "{}", tally.shown());
    });
}
