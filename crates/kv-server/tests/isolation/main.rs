//! What each isolation level promises, shown by schedules that a person can read.
//!
//! Every script of `kv-testkit/scripts` runs over the engine on one thread, and over the server
//! through real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod engine;
mod interleavings;
mod served;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use engine::EngineDriver;
use kv_testkit::script::{Driver, run_all};
use served::{ServedDriver, server};

/// Fewer scripts than this, and some were not found.
const SCRIPTS_MIN: usize = 134;

#[test]
fn every_script_over_the_engine() {
    let run = run_all("", || Ok(EngineDriver::new(server(&[]))));
    assert!(run.unwrap_or_else(|failures| panic!("{failures}")) >= SCRIPTS_MIN);
}

/// A transaction does not notice what has left memory, and comes back when it is needed.
#[test]
fn every_script_over_the_engine_while_all_keys_leave_memory() {
    let counts = Arc::default();
    let run = run_all("", || Ok(EngineDriver::new_bounded(&counts)));
    assert!(run.unwrap_or_else(|failures| panic!("{failures}")) >= SCRIPTS_MIN);
    let [evictions, fetches] = [&counts.evictions, &counts.fetches].map(|it| it.load(Relaxed));
    eprintln!("{evictions} gave way, {fetches} were fetched");
    assert!(evictions.min(fetches) > 300, "{evictions}, {fetches}");
}

#[test]
fn every_script_over_the_server() {
    let run = run_all("", ServedDriver::start);
    assert!(run.unwrap_or_else(|failures| panic!("{failures}")) >= SCRIPTS_MIN);
}

/// All interleavings of the scripts in a directory, of which there must be so many at least.
fn interleave(directory: &str, interleavings_min: usize) -> interleavings::Totals {
    let totals = interleavings::run_directory(directory);
    eprintln!("{directory}: {totals:?}");
    assert_eq!(totals.scripts, 16);
    assert!(totals.interleavings >= interleavings_min && totals.cut_off > 0, "{totals:?}");
    totals
}

#[test]
fn every_interleaving_of_serializable_sessions() {
    let totals = interleave("serializable", 500);
    assert!(totals.deadlocks > 0 && totals.conflicts == 0, "{totals:?}");
}

#[test]
fn every_interleaving_of_snapshot_sessions() {
    let totals = interleave("snapshot", 4_000);
    assert!(totals.conflicts > 0, "{totals:?}");
}

#[test]
fn every_interleaving_of_a_serializable_session_among_snapshot_ones() {
    let totals = interleave("mixed-2pl-si", 4_000);
    assert!(totals.conflicts > 0, "{totals:?}");
}

#[test]
fn every_interleaving_of_a_snapshot_session_among_serializable_ones() {
    let totals = interleave("mixed-si-2pl", 600);
    assert!(totals.conflicts > 0, "{totals:?}");
}

#[test]
fn some_interleavings_of_random_sessions() {
    some_interleavings(400, false);
}

#[test]
fn some_interleavings_of_random_sessions_while_all_keys_leave_memory() {
    some_interleavings(8, true);
}

fn some_interleavings(plans: u64, is_bounded: bool) {
    let totals = interleavings::run_random(plans, is_bounded);
    eprintln!("{totals:?}");
    assert!(totals.interleavings >= 10 * totals.scripts, "{totals:?}");
    assert_eq!(totals.evictions > 0, is_bounded, "{totals:?}");
}

#[test]
fn the_engine_driver_sees_waits() {
    let mut driver = EngineDriver::new(server(&[]));
    for (session, line) in [("A", "BEGIN"), ("A", "PUT k 1"), ("B", "PUT k 2")] {
        driver.send(session, line).unwrap();
    }
    assert!(driver.is_waiting("B") && !driver.is_waiting("A"));
    driver.send("A", "COMMIT").unwrap();
    assert!(!driver.is_waiting("B"));
    assert_eq!((driver.last_commit("A"), driver.last_commit("B")), (1, 2));
}
