//! The thread that folds: when it is time, when the log has grown, and when it is told to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kv_core::Revision;
use parking_lot::Mutex;

use super::{Checkpointer, Folded};
use crate::deadline::{Deadline, Joined};
use crate::error::Error;
use crate::guard::AbortOnPanic;
use crate::log::Log;
use crate::snapshot::{Backup, SnapshotStats};
use crate::stored::Through;

/// How often it looks whether the log has grown.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// While keys can expire and nothing is folded, the time that they are judged by is noted so often,
/// if somebody has asked. If the system's clock is set back while the server is down after a crash,
/// what was judged in the last second or two may be judged again.
const NOTE_TIME_EVERY: Duration = Duration::from_secs(1);
/// After a failure it waits so long, then twice as long, and so on up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// When to fold without being told to.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// How long a change stays in the log alone.
    pub interval: Duration,
    /// By how much the log grows, in bytes.
    pub log_bytes: u64,
}

/// What the thread has done, for STATS.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckpointStats {
    /// What the snapshot has been folded through.
    pub through: Revision,
    /// Pieces folded.
    pub folds: u64,
    /// Keys folded, a key counted once a piece.
    pub keys: u64,
    /// How long the last run took.
    pub last_run: Duration,
    /// When that was done; none before the first.
    pub last_ended: Option<Instant>,
    /// The processor time that all of it took.
    pub cpu_time: Duration,
    /// Failures in a row; 0 after a success.
    pub failures: u32,
    /// The snapshot's size.
    pub snapshot: SnapshotStats,
}

enum Job {
    /// Fold all that is durable by now.
    Fold(Sender<Result<Through, Error>>),
    /// Copy, in this thread.
    Backup(PathBuf, Sender<Result<Through, Error>>),
}

/// The thread. Dropped, it ends after the piece that it is at.
#[derive(Debug)]
pub struct CheckpointThread {
    /// None once it is stopped.
    jobs: Mutex<Option<Sender<Job>>>,
    stats: Arc<Mutex<CheckpointStats>>,
    thread: Mutex<Option<JoinHandle<Checkpointer>>>,
    /// Looked at between pieces.
    is_stopping: Arc<AtomicBool>,
    /// What copies the snapshot while folds go on, if it can be.
    backup: Option<Box<dyn Backup>>,
}

impl CheckpointThread {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn spawn(
        checkpointer: Checkpointer,
        schedule: Schedule,
    ) -> Result<CheckpointThread, std::io::Error> {
        let (jobs, told) = channel();
        let stats = Arc::new(Mutex::new(CheckpointStats {
            through: checkpointer.through().revision,
            snapshot: checkpointer.stats(),
            ..CheckpointStats::default()
        }));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let backup = checkpointer.backup_source();
        let worker = Worker {
            is_stopping: Arc::clone(&is_stopping),
            log: Arc::clone(&checkpointer.log),
            checkpointer,
            schedule,
            told,
            stats: Arc::clone(&stats),
            last_run: Instant::now(),
            last_forgotten: Instant::now(),
            last_noted: Instant::now(),
            retry_at: None,
            is_wal_unusual: false,
        };
        let thread = std::thread::Builder::new().name("kv-checkpoint".into());
        let thread = thread.spawn(move || worker.run())?;
        let (jobs, thread) = (Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
        Ok(CheckpointThread { jobs, stats, thread, is_stopping, backup })
    }

    /// Folds all that is durable by now. Blocks until that is done.
    ///
    /// # Errors
    ///
    /// What kept it from being done; it is tried again by itself.
    pub fn checkpoint(&self) -> Result<Through, Error> {
        self.order(Job::Fold)
    }

    /// Folds, then writes a copy to a new file. Blocks until that is done. Folds go on meanwhile,
    /// unless the snapshot is one that must not change while it is copied.
    ///
    /// # Errors
    ///
    /// What kept it from being done; then there is no such file.
    pub fn backup(&self, to: PathBuf) -> Result<Through, Error> {
        self.checkpoint()?;
        match &self.backup {
            Some(backup) => backup.backup(&to),
            None => self.order(|answer| Job::Backup(to, answer)),
        }
    }

    fn order(
        &self,
        job: impl FnOnce(Sender<Result<Through, Error>>) -> Job,
    ) -> Result<Through, Error> {
        let (answer, answered) = channel();
        let sent = self.jobs.lock().as_ref().map(|jobs| jobs.send(job(answer)));
        sent.ok_or_else(gone)?.map_err(|_| gone())?;
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// What it has done so far.
    pub fn stats(&self) -> CheckpointStats {
        *self.stats.lock()
    }

    /// Tells it to end after the piece that it is at. What is asked of it now is refused.
    pub(crate) fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        *self.jobs.lock() = None;
    }

    /// Ends it after the piece that it is at, and gives back what it drove; none if it was stopped
    /// before, or panicked.
    pub fn stop(&self) -> Option<Checkpointer> {
        self.begin_stop();
        self.thread.lock().take()?.join().ok()
    }

    /// As [`CheckpointThread::stop`], but waits no longer than until the deadline, and at least for
    /// `least`. If it has not ended by then, it goes on alone. None if it was stopped before.
    pub(crate) fn stop_until(
        &self,
        deadline: &Deadline,
        least: Duration,
    ) -> Option<Joined<Checkpointer>> {
        self.begin_stop();
        let thread = self.thread.lock().take()?;
        Some(deadline.join(thread, least))
    }
}

impl Drop for CheckpointThread {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The answer of a thread that ends.
fn gone() -> Error {
    Error::Engine(kv_core::Error::Internal("the checkpoint has ended".into()))
}

struct Worker {
    is_stopping: Arc<AtomicBool>,
    log: Arc<Log>,
    checkpointer: Checkpointer,
    schedule: Schedule,
    told: Receiver<Job>,
    stats: Arc<Mutex<CheckpointStats>>,
    last_run: Instant,
    /// When it was looked last whether something is to be forgotten, by itself.
    last_forgotten: Instant,
    last_noted: Instant,
    retry_at: Option<Instant>,
    /// Whether the operator was told of a large -wal.
    is_wal_unusual: bool,
}

/// SQLite's write-ahead log is normally a fold long, and kept for the next. Beyond this many bytes
/// somebody outside has kept a read transaction open for long; the operator is told.
const WAL_BYTES_UNUSUAL: u64 = 512 << 20;

impl Worker {
    fn run(mut self) -> Checkpointer {
        let _guard = AbortOnPanic;
        loop {
            match self.told.recv_timeout(LOOK_EVERY) {
                Ok(Job::Fold(answer)) => {
                    let _ = answer.send(self.fold_all());
                }
                Ok(Job::Backup(to, answer)) => {
                    let copied = match self.is_stopping() {
                        true => Err(gone()),
                        false => self.checkpointer.backup(&to),
                    };
                    let _ = answer.send(copied.map(|()| self.checkpointer.through()));
                }
                Err(RecvTimeoutError::Timeout) if self.is_time() => self.fold_unasked(),
                Err(RecvTimeoutError::Timeout) => self.look_around(),
                Err(RecvTimeoutError::Disconnected) => return self.checkpointer,
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    fn is_time(&self) -> bool {
        if let Some(retry_at) = self.retry_at {
            return Instant::now() >= retry_at;
        }
        let log = self.log.stats();
        let is_behind = log.last > self.checkpointer.through().revision;
        let is_due = self.last_run.elapsed() >= self.schedule.interval;
        // Asked even if there is nothing to fold: then it is granted.
        let is_wanted = self.checkpointer.take_wanted();
        is_behind && (is_wanted || is_due || log.held_bytes >= self.schedule.log_bytes)
    }

    /// When nothing is to be folded.
    fn look_around(&mut self) {
        let forgets_every = self.checkpointer.forgets_every();
        if forgets_every.is_some_and(|every| self.last_forgotten.elapsed() >= every) {
            self.last_forgotten = Instant::now();
            self.checkpointer.forget_unasked();
        }
        if self.last_noted.elapsed() >= NOTE_TIME_EVERY {
            self.last_noted = Instant::now();
            if let Err(error) = self.checkpointer.note_time(NOTE_TIME_EVERY) {
                tracing::debug!(%error, "the time that expiry goes by is noted later");
            }
        }
        self.note_sizes();
    }

    fn fold_unasked(&mut self) {
        let started = Instant::now();
        match self.fold_all() {
            Ok(_) => {
                let mut stats = self.stats.lock();
                stats.last_run = started.elapsed();
                stats.last_ended = Some(Instant::now());
            }
            Err(_) if self.is_stopping() => {}
            Err(error) => {
                // Nobody is to wait for a fold that may never be.
                self.checkpointer.tell_folded(None);
                tracing::warn!(%error, "the checkpoint failed, and is tried again");
            }
        }
    }

    /// Folds piece by piece until nothing is left of what was acknowledged when it began.
    fn fold_all(&mut self) -> Result<Through, Error> {
        // Nothing is synced here that is durable already: this thread is in no hurry, and the log's
        // writer would wait for it.
        self.log.sync_acknowledged()?;
        let goal = self.log.synced().get();
        loop {
            if self.is_stopping() {
                return Err(gone());
            }
            match self.checkpointer.step() {
                Ok(folded) => {
                    self.note_fold(folded);
                    if folded.through.revision.0 >= goal || !folded.is_more {
                        self.last_run = Instant::now();
                        return Ok(folded.through);
                    }
                }
                Err(error) => {
                    self.note_failure(&error);
                    return Err(error);
                }
            }
        }
    }

    fn note_fold(&mut self, folded: Folded) {
        self.log.set_fold_failing(None);
        self.retry_at = None;
        let mut stats = self.stats.lock();
        stats.failures = 0;
        stats.through = folded.through.revision;
        stats.folds += u64::from(folded.keys > 0);
        stats.keys += folded.keys as u64;
        stats.cpu_time = self.checkpointer.cpu_time();
        stats.snapshot = self.checkpointer.stats();
    }

    fn note_failure(&mut self, error: &Error) {
        self.log.set_fold_failing(Some(error));
        let mut stats = self.stats.lock();
        let doublings = stats.failures.min(RETRY_MAX.as_secs().ilog2());
        stats.failures += 1;
        self.retry_at = Some(Instant::now() + (RETRY_FIRST * 2u32.pow(doublings)).min(RETRY_MAX));
    }

    fn note_sizes(&mut self) {
        let snapshot = self.checkpointer.stats();
        self.stats.lock().snapshot = snapshot;
        let is_unusual = snapshot.wal_bytes > WAL_BYTES_UNUSUAL;
        if is_unusual && !self.is_wal_unusual {
            tracing::warn!(
                wal_bytes = snapshot.wal_bytes,
                "the -wal beside kv.sqlite has grown: another program keeps a read transaction \
                 open; nothing is harmed but the disk's space, and it shrinks when that ends"
            );
        }
        self.is_wal_unusual = is_unusual;
    }
}
