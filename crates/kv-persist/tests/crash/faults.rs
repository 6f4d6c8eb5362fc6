//! Faults short of a crash, at every I/O of a life: what the system refuses, cuts short or loses.
//! The process may end itself, and is started again; at the end there is a crash all the same.

use std::io::ErrorKind;

use crate::case::{Case, is_repetition, say, seeds};
use crate::check::{Crash, open};
use crate::journal::Violation;
use crate::run::Plan;
use crate::sim::{Fault, Operation, Restart};
use crate::store::{Options, Store};
use crate::sweeps::STEPS;

/// Has one operation fail, at each I/O of a life in turn, then cuts the power.
fn must_live_with(test: &'static str, faults: &[Fault], how: [Restart; 2]) {
    let options = Options::default();
    seeds(test, 1, |seed| {
        let plan = Plan { seed, steps: STEPS, options, has_faults: true };
        let whole = plan.live(|_| ()).unwrap_or_else(|violation| panic!("{violation}"));
        let mut lives = 0;
        for at in 1..=whole.fs.ios() {
            let fault = faults[at as usize % faults.len()];
            let how = how[at as usize / faults.len() % how.len()];
            let case = Case { test, seed, crash_at: at, how };
            if !case.is_wanted() {
                continue;
            }
            lives += 1;
            let mut fs = None;
            let life = plan.live(|started| {
                started.fault_at(at, fault);
                if is_repetition() {
                    started.trace();
                }
                fs = Some(started.clone());
            });
            let judged = life.and_then(|crash| crash.fork(case.chance()).survives(how, options));
            if let Err(violation) = judged {
                fs.into_iter().flat_map(|fs| fs.trace()).for_each(say);
                say(format_args!("the fault was {fault:?}"));
                case.fail(&violation);
            }
        }
        lives
    });
}

const POWER_CUTS: [Restart; 2] = [Restart::Lost, Restart::Reordered];

fn refused(operation: Operation) -> Fault {
    // What a broken disk answers; the standard library has no name for it.
    Fault::Refused(operation, ErrorKind::Other)
}

/// Never asked again: what the failed sync did not bring, a second would claim to have brought.
#[test]
fn a_failed_sync_loses_nothing_acknowledged() {
    let faults = [refused(Operation::Sync), refused(Operation::SyncDir)];
    must_live_with("faults::a_failed_sync_loses_nothing_acknowledged", &faults, POWER_CUTS);
}

#[test]
fn a_failed_write_loses_nothing_acknowledged() {
    let faults = [
        refused(Operation::Write),
        refused(Operation::Rename),
        refused(Operation::Create),
        refused(Operation::Remove),
        refused(Operation::SetLen),
        refused(Operation::Allocate),
    ];
    must_live_with("faults::a_failed_write_loses_nothing_acknowledged", &faults, POWER_CUTS);
}

#[test]
fn a_short_write_is_gone_on_with() {
    let faults = [Fault::ShortWrite(1), Fault::ShortWrite(33), Fault::ShortWrite(700)];
    must_live_with("faults::a_short_write_is_gone_on_with", &faults, POWER_CUTS);
}

#[test]
fn a_full_disk_loses_nothing_acknowledged() {
    let faults = [Fault::Full(0), Fault::Full(10), Fault::Full(900), Fault::Full(5000)];
    must_live_with("faults::a_full_disk_loses_nothing_acknowledged", &faults, POWER_CUTS);
}

/// What was acknowledged on the strength of a lie is gone: the next start says so, unless it looks
/// like a torn tail because nothing came after it.
#[test]
fn a_lying_write_is_found() {
    let how = [Restart::Killed, Restart::Lost];
    must_live_with("faults::a_lying_write_is_found", &[Fault::LyingWrite], how);
}

/// A start that cannot read is no start, and does no harm.
#[test]
fn a_failed_read_keeps_the_store_closed() {
    let test = "faults::a_failed_read_keeps_the_store_closed";
    let options = Options::default();
    seeds(test, 3, |seed| {
        let plan = Plan { seed, steps: STEPS, options, has_faults: false };
        let crash = plan.live(|_| ()).unwrap_or_else(|violation| panic!("{violation}"));
        let case = Case { test, seed, crash_at: 0, how: Restart::Reordered };
        let judged = fails_to_read(crash.fork(case.chance()), options);
        judged.unwrap_or_else(|violation| case.fail(&violation));
        1
    });
}

fn fails_to_read(crash: Crash, options: Options) -> Result<(), Violation> {
    crash.fs.restart(Restart::Reordered);
    crash.fs.fault_at(0, refused(Operation::Read));
    let answer = Store::open(&crash.fs, options);
    assert!(answer.is_err(), "something has to be read");
    assert_eq!(crash.fs.faults_left(), 0);
    drop(open(&crash.fs, options)?);
    crash.survives(Restart::Lost, options)
}
