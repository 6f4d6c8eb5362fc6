//! The read views that are open, so that no version they need is dropped.
//!
//! A reader that holds a view longer than one latch registers it here. A writer that wants to
//! drop superseded versions asks for the [`Horizon`]: a version superseded at or below both the
//! readable revision and the oldest open view is needed by nobody. The order of the two loads
//! matters; see [`Views::horizon`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::mvcc::order::CommitOrder;
use crate::types::Revision;

/// Open read views, counted by revision.
#[derive(Debug)]
pub(crate) struct Views {
    open: Mutex<BTreeMap<Revision, usize>>,
    /// The oldest open view's revision; above every revision when none is open.
    oldest: AtomicU64,
}

/// What may still be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Horizon {
    readable: Revision,
    oldest: Revision,
}

impl Horizon {
    /// Of a store that nobody reads: only the newest versions are needed.
    pub(crate) fn passed() -> Horizon {
        Horizon { readable: Revision::NEWEST, oldest: Revision::NEWEST }
    }

    /// Whether readers that are still to come need every version that was superseded at `revision`
    /// or later.
    pub(crate) fn is_beyond_readers(self, revision: Revision) -> bool {
        revision > self.readable
    }

    /// Whether nobody can need a version that was superseded at `revision`, by the two bounds
    /// alone.
    pub(crate) fn has_passed(self, revision: Revision) -> bool {
        revision <= self.readable.min(self.oldest)
    }
}

impl Views {
    pub(crate) fn new() -> Views {
        Views { open: Mutex::default(), oldest: AtomicU64::new(u64::MAX) }
    }

    /// Opens a view at the newest readable revision, or at `at_least` if that is newer.
    ///
    /// `at_least` must be visible. The bound is published before the revision is chosen: a writer
    /// that misses it has read a readable revision no newer than the view's.
    pub(crate) fn open_newest(&self, order: &CommitOrder, at_least: Revision) -> Revision {
        let mut open = self.open.lock();
        let oldest = self.oldest.load(Ordering::SeqCst);
        self.oldest.store(oldest.min(order.readable().0), Ordering::SeqCst);
        let revision = order.readable().max(at_least);
        *open.entry(revision).or_default() += 1;
        revision
    }

    /// Opens a view of the past. What it needs may be gone already; that is found when it is read.
    pub(crate) fn open_at(&self, revision: Revision) {
        let mut open = self.open.lock();
        *open.entry(revision).or_default() += 1;
        self.publish_oldest(&open);
    }

    /// Closes a view that was opened at `revision`.
    pub(crate) fn close(&self, revision: Revision) {
        let mut open = self.open.lock();
        let Some(count) = open.get_mut(&revision) else {
            debug_assert!(false, "a view is closed once");
            return;
        };
        *count -= 1;
        if *count == 0 {
            open.remove(&revision);
        }
        self.publish_oldest(&open);
    }

    fn publish_oldest(&self, open: &BTreeMap<Revision, usize>) {
        let oldest = open.first_key_value().map_or(u64::MAX, |(revision, _)| revision.0);
        self.oldest.store(oldest, Ordering::SeqCst);
    }

    /// What may still be read, to be asked for under the latch of the shard that is trimmed.
    ///
    /// The readable revision is loaded first: a view that registers in between was chosen after
    /// it, so it is at least as new, and needs nothing that was superseded before.
    pub(crate) fn horizon(&self, order: &CommitOrder) -> Horizon {
        let readable = order.readable();
        let oldest = Revision(self.oldest.load(Ordering::SeqCst));
        Horizon { readable, oldest }
    }

    /// Whether an open view, or one still to come, needs a version that was the newest from
    /// revision `from` on, until `superseded`.
    pub(crate) fn need(&self, horizon: Horizon, from: Revision, superseded: Revision) -> bool {
        horizon.is_beyond_readers(superseded)
            || self.open.lock().range(from..superseded).next().is_some()
    }

    /// The revision of the oldest view that is open.
    pub(crate) fn oldest(&self) -> Option<Revision> {
        Some(self.oldest.load(Ordering::SeqCst)).filter(|&at| at != u64::MAX).map(Revision)
    }

    /// Whether a view is open that sees something that was committed at `revision`.
    pub(crate) fn is_any_open_from(&self, revision: Revision) -> bool {
        self.oldest.load(Ordering::SeqCst) != u64::MAX
            && self.open.lock().range(revision..).next().is_some()
    }

    /// How many views are open.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_version_is_needed_while_a_view_lies_in_its_time() {
        let (order, clock, views) = (CommitOrder::new(), ManualClock::new(0), Views::new());
        let commit = || order.commit(&clock, |_| (), |_| ()).revision;
        let first = commit();
        let view = views.open_newest(&order, Revision(0));
        assert_eq!(view, first);
        let (second, third) = (commit(), commit());
        let horizon = views.horizon(&order);
        assert!(!horizon.has_passed(second));
        assert!(views.need(horizon, first, second), "the view reads the first");
        assert!(!views.need(horizon, second, third), "nobody reads the second");
        views.close(view);
        assert!(views.horizon(&order).has_passed(third));
        assert_eq!(views.count(), 0);
    }

    #[test]
    fn the_oldest_of_several_views_counts() {
        let (order, views) = (CommitOrder::new(), Views::new());
        views.open_at(Revision(9));
        views.open_at(Revision(4));
        views.open_at(Revision(4));
        views.close(Revision(4));
        assert_eq!(views.horizon(&order).oldest, Revision(4));
        views.close(Revision(4));
        assert_eq!(views.horizon(&order).oldest, Revision(9));
    }
}
