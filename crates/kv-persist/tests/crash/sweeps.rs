//! A crash at every I/O of a life, and every kind of restart after each.

use crate::case::{Case, is_repetition, say, seeds};
use crate::check::{Crash, check_state, open};
use crate::journal::Violation;
use crate::run::Plan;
use crate::sim::Restart;
use crate::store::{Options, Store};

pub(crate) const STEPS: usize = 150;

/// Has a life end at each I/O, and judges what is left. Answers how many crashes were judged, or
/// the first that broke a promise.
pub(crate) fn sweep(
    test: &'static str,
    plan: Plan,
    judge: impl Fn(&Case, Crash) -> Result<(), Violation>,
) -> Result<u64, (Case, Violation)> {
    let seed = plan.seed;
    let case = |crash_at, how| Case { test, seed, crash_at, how };
    let blame = |case: Case| move |violation| (case, violation);
    let ios = {
        let case = case(u64::MAX, Restart::Killed);
        plan.live(|_| ()).map_err(blame(case))?.fs.ios()
    };
    let mut crashes = 0;
    for crash_at in 1..=ios {
        let cases = Restart::ALL.map(|how| case(crash_at, how));
        let cases: Vec<Case> = cases.into_iter().filter(Case::is_wanted).collect();
        let Some(&first) = cases.first() else { continue };
        let life = plan.live(|fs| {
            fs.crash_at(crash_at);
            if is_repetition() {
                fs.trace();
            }
        });
        let crash = life.map_err(blame(first))?;
        for case in cases {
            crashes += 1;
            let mine = crash.fork(case.chance());
            let fs = mine.fs.clone();
            judge(&case, mine).map_err(|violation| {
                fs.trace().into_iter().for_each(say);
                (case, violation)
            })?;
        }
    }
    Ok(crashes)
}

fn must_survive(
    test: &'static str,
    rounds: u64,
    options: Options,
    judge: impl Fn(&Case, Crash) -> Result<(), Violation>,
) {
    seeds(test, rounds, |seed| {
        let swept = sweep(test, Plan { seed, steps: STEPS, options, has_faults: false }, &judge);
        swept.unwrap_or_else(|(case, violation)| case.fail(&violation))
    });
}

#[test]
fn nothing_acknowledged_is_lost_at_any_io() {
    let options = Options::default();
    must_survive("sweeps::nothing_acknowledged_is_lost_at_any_io", 4, options, |case, crash| {
        crash.survives(case.how, options)
    });
}

#[test]
fn nor_if_all_is_compressed_and_encrypted() {
    let options = Options { is_sealed: true, ..Options::default() };
    must_survive("sweeps::nor_if_all_is_compressed_and_encrypted", 1, options, |case, crash| {
        crash.survives(case.how, options)
    });
}

/// Recovery, too, may be cut off anywhere, and begun again.
#[test]
fn recovery_can_crash_at_any_io() {
    let options = Options::default();
    must_survive("sweeps::recovery_can_crash_at_any_io", 1, options, |case, crash| {
        let fork = || {
            let fork = crash.fork(case.chance());
            fork.fs.restart(case.how);
            fork
        };
        let whole = fork();
        let before = whole.fs.ios();
        open(&whole.fs, options)?;
        for io in before + 1..=whole.fs.ios() {
            let mut cut_off = fork();
            cut_off.fs.crash_at(io);
            // What it shows before it goes down it has shown.
            if let Ok(store) = Store::open(&cut_off.fs, options) {
                let revision = check_state(&store, &cut_off.journal)?;
                cut_off.journal.decide(revision);
            }
            cut_off.fs.crash_now();
            let again = Restart::ALL[(io as usize) % Restart::ALL.len()];
            cut_off.survives(again, options)?;
        }
        Ok(())
    });
}
