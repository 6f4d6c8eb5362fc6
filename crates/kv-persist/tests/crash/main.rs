//! Crashes by the thousand, in one process: log, snapshot and recovery over a file system that
//! forgets what was not synced.
//!
//! A life of a store follows from a seed: clients, folds, restarts. It ends at one I/O after the
//! other, in several ways each, and every time [`check`] asks for all that was promised. The
//! modules stand in the order in which they are best read.

// Bugs are planted, which only this feature allows.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod sim;

mod journal;

mod store;

mod workload;

mod run;

mod check;

mod case;

mod sweeps;

mod faults;

mod planted;
