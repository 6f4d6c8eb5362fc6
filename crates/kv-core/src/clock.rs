//! Time, behind a seam: the only place of the engine that asks the operating system for it.
//!
//! Timeouts go by the monotonic clock, which no one can set. The wall clock only labels commits,
//! and the order of commits never depends on it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the engine gets its time from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Milliseconds since the Unix epoch. May jump; the engine makes commit times monotonic.
    fn wall_ms(&self) -> u64;
    /// A clock that never jumps or runs backwards.
    fn now(&self) -> Instant;
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        // Before 1970 is a broken clock: treat it as 1970 rather than fail a commit for it.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that a test moves by hand.
#[derive(Debug)]
pub struct ManualClock {
    start: Instant,
    start_wall_ms: u64,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `wall_ms` until it is moved.
    pub fn new(wall_ms: u64) -> ManualClock {
        ManualClock { start: Instant::now(), start_wall_ms: wall_ms, elapsed_ms: AtomicU64::new(0) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.elapsed_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.start_wall_ms + self.elapsed_ms.load(Ordering::SeqCst)
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}
