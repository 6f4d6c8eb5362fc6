//! That all this finds something: the bugs that a log can have are planted one at a time, and the
//! same crashes that the real thing survives must show each.

use kv_persist::log::PlantedBug;

use crate::case::say;
use crate::run::Plan;
use crate::store::{Bug, Options};
use crate::sweeps::{STEPS, sweep};

/// The harness may need another life to meet a bug, but not many.
const SEEDS_MAX: u64 = 4;

fn must_be_found(test: &'static str, bug: Bug) {
    let options = Options { bug: Some(bug), ..Options::default() };
    let find = |seed| {
        let plan = Plan { seed, steps: STEPS, options, has_faults: false };
        let swept = sweep(test, plan, |case, crash| crash.survives(case.how, options));
        swept.err().inspect(|(case, violation)| say(format_args!("found: {violation}\nby {case}")))
    };
    assert!((1..=SEEDS_MAX).any(|seed| find(seed).is_some()), "{bug:?} is not found");
}

#[test]
fn acknowledging_before_the_sync_is_found() {
    must_be_found(
        "planted::acknowledging_before_the_sync_is_found",
        Bug::Log(PlantedBug::AcknowledgeBeforeSync),
    );
}

#[test]
fn a_missing_directory_sync_is_found() {
    must_be_found(
        "planted::a_missing_directory_sync_is_found",
        Bug::Log(PlantedBug::SkipDirectorySync),
    );
}

#[test]
fn a_checksum_that_is_not_compared_is_found() {
    must_be_found(
        "planted::a_checksum_that_is_not_compared_is_found",
        Bug::Log(PlantedBug::AcceptWrongChecksum),
    );
}

#[test]
fn a_recovery_that_stops_one_record_early_is_found() {
    must_be_found(
        "planted::a_recovery_that_stops_one_record_early_is_found",
        Bug::Log(PlantedBug::StopOneRecordEarly),
    );
}

#[test]
fn a_log_that_is_cut_before_the_snapshot_is_durable_is_found() {
    must_be_found(
        "planted::a_log_that_is_cut_before_the_snapshot_is_durable_is_found",
        Bug::CutTooEarly,
    );
}
