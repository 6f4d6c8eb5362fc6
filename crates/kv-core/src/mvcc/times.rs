//! When each revision was committed, for views of the past: what expires is judged there at the
//! time of the revision that is looked at.
//!
//! Commits of the same millisecond share an entry. The number of entries is bounded: when there
//! are too many, every other one of the older half is dropped, so that what is recent stays exact
//! and what is old is known to lie between two entries. The earlier of them is answered then: a
//! view never takes for expired what may still have been there.
//!
//! Nothing of this is stored: a store that was opened knows its last commit's time, and of those
//! before it only that they were no later.

use crate::durability::Stamp;
use crate::limits::COMMIT_TIMES_MAX;
use crate::types::Revision;

/// Times of commits, by revision.
#[derive(Debug)]
pub(crate) struct CommitTimes {
    /// The first revision of each millisecond in which there were any, in order. Never empty.
    firsts: Vec<Stamp>,
}

impl CommitTimes {
    /// The times after the commit `last`.
    pub(crate) fn after(last: Stamp) -> CommitTimes {
        CommitTimes { firsts: vec![last] }
    }

    /// Adds a commit: it is newer than all others, and no earlier.
    pub(crate) fn push(&mut self, stamp: Stamp) {
        if self.firsts.last().is_some_and(|last| last.time_ms == stamp.time_ms) {
            return;
        }
        if self.firsts.len() == COMMIT_TIMES_MAX {
            let mut at = 0;
            self.firsts.retain(|_| {
                at += 1;
                at > COMMIT_TIMES_MAX / 2 || at % 2 == 1
            });
        }
        self.firsts.push(stamp);
    }

    /// The time of a revision, as far as it is known. None for a revision before the first that is
    /// remembered.
    pub(crate) fn of(&self, revision: Revision) -> Option<u64> {
        let known = self.firsts.partition_point(|first| first.revision <= revision);
        known.checked_sub(1).and_then(|at| self.firsts.get(at)).map(|first| first.time_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(revision: u64, time_ms: u64) -> Stamp {
        Stamp { revision: Revision(revision), time_ms }
    }

    #[test]
    fn each_revision_has_the_time_of_its_millisecond() {
        let mut times = CommitTimes::after(stamp(5, 100));
        for (revision, time_ms) in [(6, 100), (7, 103), (8, 103), (9, 110)] {
            times.push(stamp(revision, time_ms));
        }
        let known = [4, 5, 6, 7, 8, 9, 99].map(|revision| times.of(Revision(revision)));
        let expected = [None, Some(100), Some(100), Some(103), Some(103), Some(110), Some(110)];
        assert_eq!(known, expected);
        assert_eq!(times.firsts.len(), 3);
    }

    #[test]
    fn what_is_old_gets_coarser_and_what_is_recent_stays_exact() {
        let mut times = CommitTimes::after(stamp(0, 0));
        let commits = 2 * COMMIT_TIMES_MAX as u64;
        for number in 1..=commits {
            times.push(stamp(number, 10 * number));
            assert!(times.firsts.len() <= COMMIT_TIMES_MAX);
        }
        for number in commits - COMMIT_TIMES_MAX as u64 / 2..=commits {
            assert_eq!(times.of(Revision(number)), Some(10 * number));
        }
        let early = times.of(Revision(1000)).expect("the first is kept");
        assert!(early <= 10_000 && times.firsts[0].revision == Revision(0));
    }
}
