//! The thread that writes, and how it is woken.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::append::Log;
use super::options::{
    CROWD_LINGER, CROWD_RECORDS_MIN, Durability, FULL_RETRY, LINGER, SYNC_INTERVAL,
};
use crate::deadline::{Deadline, Joined};

/// Wakes the writer. It costs a look at one flag unless the writer sleeps.
#[derive(Debug, Default)]
pub(super) struct Signal {
    is_asleep: AtomicBool,
    is_stopping: AtomicBool,
    is_rung: Mutex<bool>,
    bell: Condvar,
}

impl Signal {
    /// Wakes the writer, if it sleeps.
    pub(super) fn ring(&self) {
        if self.is_asleep.load(Ordering::SeqCst) && self.is_asleep.swap(false, Ordering::SeqCst) {
            *self.is_rung.lock() = true;
            self.bell.notify_one();
        }
    }

    fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.ring();
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Sleeps until it is rung or the time is over, unless there is something to do already.
    /// What comes up after `has_work` was asked rings.
    fn sleep(&self, time_max: Option<Duration>, has_work: impl FnOnce() -> bool) {
        self.is_asleep.store(true, Ordering::SeqCst);
        if !has_work() && !self.is_stopping() {
            let mut is_rung = self.is_rung.lock();
            match time_max {
                Some(time_max) if !*is_rung => {
                    self.bell.wait_for(&mut is_rung, time_max);
                }
                Some(_) => {}
                None => self.bell.wait_while(&mut is_rung, |is_rung| !*is_rung),
            }
        }
        self.is_asleep.store(false, Ordering::SeqCst);
        *self.is_rung.lock() = false;
    }
}

/// The thread that writes a log. Dropping it stops it: it writes the rest, makes that durable and
/// ends.
#[derive(Debug)]
pub struct WriterThread {
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Starts the thread that writes this log. There must be one at most.
    ///
    /// # Errors
    ///
    /// If the system has no thread to give.
    pub fn spawn_writer(self: &Arc<Self>) -> io::Result<WriterThread> {
        let log = Arc::clone(self);
        let thread =
            std::thread::Builder::new().name(String::from("kv-log")).spawn(move || log.run())?;
        Ok(WriterThread { log: Arc::clone(self), thread: Some(thread) })
    }

    fn run(&self) {
        let _guard = GiveUpOnPanic(self);
        let mut last_sync = Instant::now();
        let mut records_before = 0;
        while !self.signal.is_stopping() {
            let records = self.records_written();
            self.gather(records - std::mem::replace(&mut records_before, records));
            let has_failed = match self.write_pending() {
                Ok(true) => false,
                Ok(false) => {
                    self.sleep(last_sync);
                    false
                }
                Err(error) if error.is_full() => {
                    self.signal.sleep(Some(FULL_RETRY), || false);
                    false
                }
                Err(_) => true,
            };
            let is_due = last_sync.elapsed() >= SYNC_INTERVAL;
            let interval = self.options.durability == Durability::Interval;
            if has_failed || (interval && is_due && self.sync_due(&mut last_sync).is_err()) {
                // The cause was logged, and the watermark tells the rest.
                return;
            }
        }
        if let Err(error) = self.close() {
            tracing::error!(%error, "the log could not be written to its end");
        }
    }

    /// Lets commits gather before they are written, if that costs nobody much: a lone one, whose
    /// client waits for it, is written at once. The step before wrote so many.
    fn gather(&self, records: u64) {
        let time = match self.options.durability {
            Durability::Fsync if records >= CROWD_RECORDS_MIN => CROWD_LINGER,
            Durability::Fsync => return,
            Durability::Interval | Durability::None if self.has_little_pending() => LINGER,
            Durability::Interval | Durability::None => return,
        };
        std::thread::sleep(time);
    }

    fn sync_due(&self, last_sync: &mut Instant) -> Result<(), crate::Error> {
        *last_sync = Instant::now();
        match self.sync() {
            Err(error) if error.is_full() => Ok(()),
            outcome => outcome,
        }
    }

    /// Sleeps until there is something to write, to sync, or to try again.
    fn sleep(&self, last_sync: Instant) {
        let time_max = match self.options.durability {
            _ if self.is_full() => Some(FULL_RETRY),
            Durability::Interval => Some(SYNC_INTERVAL.saturating_sub(last_sync.elapsed())),
            Durability::Fsync | Durability::None => Some(SYNC_INTERVAL),
        };
        self.signal.sleep(time_max, || self.has_work());
    }
}

/// Without its writer a log is of no use, and whoever waits for it has to be told.
struct GiveUpOnPanic<'a>(&'a Log);

impl Drop for GiveUpOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up(&"the log's thread has panicked");
        }
    }
}

impl WriterThread {
    /// Stops it, and waits until the rest is written and durable. [`Log::failure`] tells whether
    /// that went well.
    pub fn stop(self) {}

    /// Stops it, and waits no longer than until the deadline, but at least for `least`. False if it
    /// has not ended by then, as when a sync takes its time: then it goes on alone.
    pub(crate) fn stop_until(mut self, deadline: &Deadline, least: Duration) -> bool {
        self.log.signal.stop();
        let joined = self.thread.take().map(|thread| deadline.join(thread, least));
        !matches!(joined, Some(Joined::Runs))
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.log.signal.stop();
        if let Some(thread) = self.thread.take() {
            // A panic was shown when it happened; here there is nothing more to be done about it.
            let _ = thread.join();
        }
    }
}
