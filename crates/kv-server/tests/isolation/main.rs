//! What each isolation level promises, shown by schedules that a person can read.
//!
//! Every script of `kv-testkit/scripts` runs over the engine on one thread, and over the server
//! through real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod engine;
mod served;

use engine::EngineDriver;
use kv_testkit::script::{Driver, run_all};
use served::{ServedDriver, server};

/// Fewer scripts than this, and some were not found.
const SCRIPTS_MIN: usize = 130;

#[test]
fn every_script_over_the_engine() {
    let run = run_all("", || Ok(EngineDriver::new(server(&[]))));
    assert!(run.unwrap_or_else(|failures| panic!("{failures}")) >= SCRIPTS_MIN);
}

#[test]
fn every_script_over_the_server() {
    let run = run_all("", ServedDriver::start);
    assert!(run.unwrap_or_else(|failures| panic!("{failures}")) >= SCRIPTS_MIN);
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
