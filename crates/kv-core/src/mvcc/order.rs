//! The one order: revisions, the log's positions and visibility are the same sequence.
//!
//! A commit goes through three steps:
//!
//! 1. [`CommitOrder::begin`], a short critical section, gives it the next revision and its time.
//!    The log gives it its place here, so that log order is revision order.
//! 2. Its records are installed in the shards, each under that shard's latch.
//! 3. [`CommitOrder::installed`] marks its slot in a ring. *Visible* is the highest revision up to
//!    which every slot is marked; whoever fills the gap moves it on past all that wait behind.
//!
//! ```text
//! revision      41   42   43   44   45
//! slot marked   yes  yes  -    yes  -       visible = 42; when 43 is marked, visible = 44
//! ```
//!
//! *Readable* is what a new reader without locks may see: all that is visible and durable. Only a
//! session that depends on a newer revision itself reads that.
//!
//! So a read view never shows revision 44 without 43, though 44 was installed first. The scheme
//! is that of the multi-producer ring of the LMAX Disruptor (Thompson et al., 2011).
//!
//! Invariants: between steps 1 and 3 a thread runs and neither waits for a lock nor awaits. Others
//! may commit many times behind one that has lost its processor there, so before it takes any
//! latch a commit waits until the ring is at most half full ([`CommitOrder::wait_for_room`]); as
//! there are fewer threads than the other half has slots, the ring cannot overflow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::critical::Critical;
use crate::durability::Stamp;
use crate::limits::{COMMIT_TIME_MS_MAX, COMMITS_IN_FLIGHT_MAX, REVISION_MAX};
use crate::mvcc::times::CommitTimes;
use crate::types::Revision;
use crate::watermark::Watermark;

const RING_MASK: u64 = COMMITS_IN_FLIGHT_MAX as u64 - 1;
/// Looks at the watermark before it gives its processor to whoever has to move it.
const SPINS_BEFORE_YIELD: u32 = 64;

#[derive(Debug)]
struct Last {
    revision: u64,
    time_ms: u64,
    times: CommitTimes,
}

/// Gives out revisions and knows which are visible.
#[derive(Debug)]
pub(crate) struct CommitOrder {
    last: Mutex<Last>,
    /// The newest revision given out; changed under the mutex only.
    given: AtomicU64,
    visible: AtomicU64,
    /// The latest time that a commit was stamped with or that expiry was judged at.
    latest_ms: AtomicU64,
    ring: Box<[AtomicU64]>,
    /// The newest revision that the log has on disk; above all revisions if nobody waits for it.
    durable: Arc<Watermark>,
}

impl CommitOrder {
    /// The order that goes on after the commit `last`, which was made at `committed_ms`; its time
    /// is the latest that anything was judged by.
    pub(crate) fn after(last: Stamp, committed_ms: u64, durable: Arc<Watermark>) -> CommitOrder {
        let Stamp { revision, time_ms } = last;
        CommitOrder {
            last: Mutex::new(Last {
                revision: revision.0,
                time_ms,
                times: CommitTimes::after(Stamp { revision, time_ms: committed_ms }),
            }),
            given: AtomicU64::new(revision.0),
            visible: AtomicU64::new(revision.0),
            latest_ms: AtomicU64::new(time_ms),
            ring: (0..COMMITS_IN_FLIGHT_MAX).map(|_| AtomicU64::new(0)).collect(),
            durable,
        }
    }

    /// The order of a store that is empty and has no log.
    #[cfg(test)]
    pub(crate) fn new() -> CommitOrder {
        let nothing = Stamp { revision: Revision(0), time_ms: 0 };
        CommitOrder::after(nothing, 0, Watermark::new(u64::MAX))
    }

    /// Returns when the ring has room for this thread's next commit. To be called before any
    /// latch is taken, since whoever has to make room may need that latch.
    pub(crate) fn wait_for_room(&self) {
        let under_way = || {
            let given = self.given.load(Ordering::SeqCst);
            given.saturating_sub(self.visible.load(Ordering::SeqCst))
        };
        while under_way() >= COMMITS_IN_FLIGHT_MAX as u64 / 2 {
            std::thread::yield_now();
        }
    }

    /// Gives a revision, has it logged and installed, and makes it visible. There must be room for
    /// it. What `append` does happens within the critical section, in the order of revisions.
    pub(crate) fn commit(
        &self,
        clock: &dyn Clock,
        append: impl FnOnce(Stamp),
        install: impl FnOnce(Stamp),
    ) -> Stamp {
        // What is half installed must never be shown, and no later revision could become visible.
        let _whole = Critical::enter();
        let stamp = self.begin(clock, append);
        install(stamp);
        self.installed(stamp.revision);
        stamp
    }

    fn begin(&self, clock: &dyn Clock, append: impl FnOnce(Stamp)) -> Stamp {
        let now_ms = self.now_ms(clock);
        let mut last = self.last.lock();
        last.revision += 1;
        last.time_ms = last.time_ms.max(now_ms);
        let in_flight = last.revision - self.visible.load(Ordering::Relaxed);
        assert!(last.revision <= REVISION_MAX, "revisions are used up");
        assert!(in_flight <= COMMITS_IN_FLIGHT_MAX as u64, "a commit did not wait for room");
        let stamp = Stamp { revision: Revision(last.revision), time_ms: last.time_ms };
        append(stamp);
        last.times.push(stamp);
        self.given.store(last.revision, Ordering::SeqCst);
        stamp
    }

    /// The time by which it is judged now whether something has expired, in milliseconds since the
    /// Unix epoch. Whatever the wall clock does, it never runs backwards, and is never before a
    /// commit that is in the past.
    pub(crate) fn now_ms(&self, clock: &dyn Clock) -> u64 {
        let wall_ms = clock.wall_ms().min(COMMIT_TIME_MS_MAX);
        let latest_ms = self.latest_ms.load(Ordering::SeqCst);
        if wall_ms <= latest_ms {
            return latest_ms;
        }
        self.latest_ms.fetch_max(wall_ms, Ordering::SeqCst).max(wall_ms)
    }

    /// As [`CommitOrder::now_ms`], for whoever judges nothing that anybody is told of.
    pub(crate) fn about_now_ms(&self, clock: &dyn Clock) -> u64 {
        clock.wall_ms().min(COMMIT_TIME_MS_MAX).max(self.latest_ms())
    }

    /// The latest time that anything was judged by.
    pub(crate) fn latest_ms(&self) -> u64 {
        self.latest_ms.load(Ordering::SeqCst)
    }

    /// When a revision was committed, in milliseconds since the Unix epoch, or a time before that
    /// if it is not known exactly; see [`CommitTimes`].
    pub(crate) fn time_of(&self, revision: Revision) -> u64 {
        self.last.lock().times.of(revision).unwrap_or(0)
    }

    fn installed(&self, revision: Revision) {
        // Sequentially consistent: of two neighbours that mark their slots at the same time, one
        // must see the other's mark, or neither would move the watermark over both.
        self.slot(revision.0).store(revision.0, Ordering::SeqCst);
        let mut visible = self.visible.load(Ordering::SeqCst);
        while self.slot(visible + 1).load(Ordering::SeqCst) == visible + 1 {
            match self.visible.compare_exchange(
                visible,
                visible + 1,
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => visible += 1,
                Err(moved) => visible = moved,
            }
        }
    }

    fn slot(&self, revision: u64) -> &AtomicU64 {
        &self.ring[(revision & RING_MASK) as usize]
    }

    /// The newest revision that has been given out.
    pub(crate) fn newest(&self) -> Revision {
        Revision(self.given.load(Ordering::SeqCst))
    }

    /// The newest revision that, with all before it, is installed.
    pub(crate) fn visible(&self) -> Revision {
        Revision(self.visible.load(Ordering::SeqCst))
    }

    /// The newest revision that a new read without locks may show: visible and durable.
    pub(crate) fn readable(&self) -> Revision {
        self.visible().min(Revision(self.durable.get()))
    }

    /// The newest durable revision, to be waited for.
    pub(crate) fn durable(&self) -> &Arc<Watermark> {
        &self.durable
    }

    /// Returns once `revision`, which some thread is installing or has installed, is visible.
    pub(crate) fn wait_visible(&self, revision: Revision) {
        let mut spins = 0;
        while self.visible() < revision {
            if spins < SPINS_BEFORE_YIELD {
                std::hint::spin_loop();
                spins += 1;
            } else {
                std::thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_gap_holds_back_what_is_behind_it() {
        let (order, clock) = (CommitOrder::new(), ManualClock::new(5));
        let [a, b, c] = [(); 3].map(|()| order.begin(&clock, |_| ()).revision);
        order.installed(b);
        assert_eq!(order.visible(), Revision(0));
        order.installed(a);
        assert_eq!(order.visible(), b);
        order.installed(c);
        assert_eq!(order.visible(), c);
    }

    #[test]
    fn what_is_not_durable_is_not_readable() {
        let (clock, durable) = (ManualClock::new(5), Watermark::new(7));
        let order = CommitOrder::after(
            Stamp { revision: Revision(7), time_ms: 9 },
            9,
            Arc::clone(&durable),
        );
        let mut logged = Vec::new();
        for _ in 0..2 {
            order.commit(&clock, |stamp| logged.push((stamp.revision.0, stamp.time_ms)), |_| ());
        }
        assert_eq!(logged, [(8, 9), (9, 9)]);
        assert_eq!((order.visible(), order.readable()), (Revision(9), Revision(7)));
        durable.advance(8);
        assert_eq!(order.readable(), Revision(8));
        durable.advance(20);
        assert_eq!(order.readable(), Revision(9));
    }

    #[test]
    fn commit_times_never_run_backwards() {
        let order = CommitOrder::new();
        let late = order.commit(&ManualClock::new(1000), |_| (), |_| ());
        let early = order.commit(&ManualClock::new(10), |_| (), |_| ());
        assert!(late.revision < early.revision);
        assert_eq!(early.time_ms, 1000);
    }

    #[test]
    fn the_time_that_expiry_goes_by_never_runs_backwards() {
        let last = Stamp { revision: Revision(7), time_ms: 50 };
        let order = CommitOrder::after(last, last.time_ms, Watermark::new(u64::MAX));
        assert_eq!(order.now_ms(&ManualClock::new(10)), 50);
        assert_eq!(order.now_ms(&ManualClock::new(90)), 90);
        assert_eq!(order.now_ms(&ManualClock::new(60)), 90);
        let stamp = order.commit(&ManualClock::new(70), |_| (), |_| ());
        assert_eq!(stamp.time_ms, 90, "nor is a commit before what was judged");
        assert_eq!(order.time_of(Revision(8)), 90);
        assert_eq!((order.time_of(Revision(7)), order.time_of(Revision(6))), (50, 0));
    }

    #[test]
    fn threads_agree_on_one_order() {
        const EACH: u64 = 20_000;
        let (order, clock) = (CommitOrder::new(), ManualClock::new(5));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let stamp = order.commit(&clock, |_| (), |_| ());
                        order.wait_visible(stamp.revision);
                    }
                });
            }
        });
        assert_eq!(order.visible(), Revision(4 * EACH));
    }
}
