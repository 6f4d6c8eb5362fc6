//! Until when somebody waits for threads to end. A wait may be cut short while it lasts, and what
//! has not ended by then is left to the end of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it is looked whether a thread has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// When a wait ends.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    at: Instant,
    /// Whether it is over before its time.
    is_cut_short: Arc<AtomicBool>,
}

impl Deadline {
    /// After so much time, or as soon as the flag is set.
    pub(crate) fn new(time: Duration, is_cut_short: &Arc<AtomicBool>) -> Deadline {
        Deadline { at: Instant::now() + time, is_cut_short: Arc::clone(is_cut_short) }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_cut_short.load(Ordering::SeqCst) || Instant::now() >= self.at
    }

    /// Waits for a thread, at least for `least`, and answers its result. None if it has not ended
    /// in time, and goes on alone; or if it panicked.
    pub(crate) fn join<T>(&self, thread: JoinHandle<T>, least: Duration) -> Joined<T> {
        let began = Instant::now();
        while !thread.is_finished() {
            if self.is_over() && began.elapsed() >= least {
                return Joined::Runs;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        // A panic was shown when it happened.
        thread.join().map_or(Joined::Panicked, Joined::Ended)
    }
}

/// What has become of a thread.
#[derive(Debug)]
pub(crate) enum Joined<T> {
    /// It has ended with this.
    Ended(T),
    /// It has ended, and what it had is gone.
    Panicked,
    /// It runs on, and ends with the process.
    Runs,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_thread_that_does_not_end_is_left() {
        let (end, ended) = channel::<()>();
        let is_cut_short = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn(move || ended.recv().is_err());
        let deadline = Deadline::new(Duration::from_millis(5), &is_cut_short);
        assert!(matches!(deadline.join(thread, Duration::ZERO), Joined::Runs));
        drop(end);
    }

    #[test]
    fn a_wait_is_cut_short_but_not_below_its_least() {
        let is_cut_short = Arc::new(AtomicBool::new(true));
        let deadline = Deadline::new(LONG, &is_cut_short);
        assert!(deadline.is_over());
        let nap = || std::thread::sleep(Duration::from_millis(20));
        let thread = std::thread::spawn(nap);
        assert!(matches!(deadline.join(thread, LONG), Joined::Ended(())));
        let (_end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || ended.recv());
        assert!(matches!(deadline.join(thread, Duration::ZERO), Joined::Runs));
    }
}
