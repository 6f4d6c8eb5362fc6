//! The log as the engine and the checkpoint use it, and each step of its writer.
//!
//! Latches, in the order in which they may be taken: the writer's, held while files are written
//! and synced; the list of segments; what is pending; the space. The engine only ever takes the
//! last two, one at a time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use kv_core::{Change, CommitLog, CommitSize, Pause, Payload, Revision, Stamp, Step, Watermark};
use parking_lot::Mutex;

use super::batch::BATCH_HEADER_BYTES;
use super::chain::Chain;
use super::options::{Durability, LINGER_BYTES_MAX, LogOptions};
use super::pending::{Batch, Pending};
use super::reader::LogReader;
use super::record::{PROTECTION_BYTES_MAX, RECORD_HEADER_BYTES};
use super::segment::{self, SEGMENT_HEADER_BYTES};
use super::space::{FoldFailure, Refused, Space};
use super::thread::Signal;
use super::writer::{Failure, NewSegment, Writer};
use crate::codec;
use crate::error::Error;
use crate::failpoint;
use crate::fs::FileSystem;

/// The log of a database. One at a time may be open for a directory.
pub struct Log {
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) options: LogOptions,
    pub(super) segments: Mutex<Chain>,
    pub(super) signal: Signal,
    writer: Mutex<Writer>,
    appended: Mutex<Appended>,
    space: Space,
    synced: Arc<Watermark>,
    /// What the engine waits for: `synced`, or always reached.
    durable: Arc<Watermark>,
    failure: OnceLock<String>,
    counts: Counts,
}

/// What was appended and is not written yet.
struct Appended {
    pending: Pending,
    last: Revision,
    /// Since the start.
    bytes: u64,
}

#[derive(Default)]
struct Counts {
    batches: AtomicU64,
    records: AtomicU64,
    syncs: AtomicU64,
    written_bytes: AtomicU64,
}

/// What a log says of itself. Counts begin at the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// How many segments there are.
    pub segments: u64,
    /// How much it holds that was not folded yet, in bytes.
    pub held_bytes: u64,
    /// How much was appended, in bytes of records.
    pub appended_bytes: u64,
    /// How much was written, in bytes.
    pub written_bytes: u64,
    /// The revision before the first that it has.
    pub base: Revision,
    /// The last revision that was appended.
    pub last: Revision,
    /// The last revision that is durable.
    pub synced: Revision,
    /// Batches written.
    pub batches: u64,
    /// Commits written.
    pub records: u64,
    /// Syncs.
    pub syncs: u64,
    /// Whether the disk is full: commits are refused.
    pub is_full: bool,
    /// Whether it was given up: commits are refused until the next start.
    pub is_failed: bool,
}

impl Log {
    pub(super) fn new(
        fs: Arc<dyn FileSystem>,
        options: LogOptions,
        segments: Chain,
        writer: Writer,
        held: u64,
    ) -> Log {
        let last = writer.written.revision;
        let space = Space::new(held, options.log_bytes_max, options.allocate_bytes);
        space.allocated(writer.active.room());
        let synced = Watermark::new(last.0);
        let durable = match options.durability {
            Durability::Fsync => Arc::clone(&synced),
            Durability::Interval | Durability::None => Watermark::new(u64::MAX),
        };
        Log {
            fs,
            options,
            segments: Mutex::new(segments),
            signal: Signal::default(),
            writer: Mutex::new(writer),
            appended: Mutex::new(Appended { pending: Pending::default(), last, bytes: 0 }),
            space,
            synced,
            durable,
            failure: OnceLock::new(),
            counts: Counts::default(),
        }
    }

    /// The revision that is durable, whatever is promised to clients. When it is stuck the log has
    /// failed, and the process should end: see [`Log::failure`].
    pub fn synced(&self) -> Arc<Watermark> {
        Arc::clone(&self.synced)
    }

    /// Why the log was given up, if it was.
    pub fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// Tells it that records of `bytes` in all (see
    /// [`RecordView::log_bytes`](super::RecordView::log_bytes)) are in the snapshot, or soon will
    /// be: so much more may be written.
    pub fn free(&self, bytes: u64) {
        self.space.free(bytes);
    }

    /// Whether it holds three quarters of what it may: then folding is urgent.
    pub fn is_pressed(&self) -> bool {
        self.space.held() >= self.options.log_bytes_max / 4 * 3
    }

    /// Takes back what [`Log::free`] was told too early.
    pub fn unfree(&self, bytes: u64) {
        self.space.unfree(bytes);
    }

    /// Tells it why the last fold failed, or that folding works. As long as it fails, commits that
    /// would have to wait for a fold are refused instead: nobody knows how long it would take.
    pub fn set_fold_failing(&self, failure: Option<&Error>) {
        self.space.set_fold_failure(failure.map(|error| {
            if error.is_full() {
                return FoldFailure::DiskFull;
            }
            FoldFailure::Other(format!(
                "the log holds as much as --max-log lets it, and cannot be folded: {error}; the \
                 fold is tried again by itself"
            ))
        }));
    }

    /// A reader that begins with the commit after `after`.
    pub fn reader(self: &Arc<Self>, after: Revision) -> LogReader {
        LogReader::new(Arc::clone(self), after)
    }

    /// Its figures.
    pub fn stats(&self) -> LogStats {
        let (segments, base) = {
            let chain = self.segments.lock();
            let base = chain.segments.first().map(|header| header.base.revision);
            (chain.segments.len() as u64, base.unwrap_or_default())
        };
        let (last, appended_bytes) = {
            let appended = self.appended.lock();
            (appended.last, appended.bytes)
        };
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LogStats {
            segments,
            held_bytes: self.space.held(),
            appended_bytes,
            written_bytes: count(&self.counts.written_bytes),
            base,
            last,
            synced: Revision(self.synced.get()),
            batches: count(&self.counts.batches),
            records: count(&self.counts.records),
            syncs: count(&self.counts.syncs),
            is_full: self.space.is_full(),
            is_failed: self.failure.get().is_some(),
        }
    }

    /// Writes what is pending as one batch, makes it durable if that is promised, and tells those
    /// who wait. False if nothing was pending.
    ///
    /// # Errors
    ///
    /// If [`Error::is_full`], nothing is lost: call it again when there is space. After any other
    /// the log has failed: whether what was not yet durable survives, the next start decides.
    pub fn write_pending(&self) -> Result<bool, Error> {
        self.step(|writer| self.write_next(writer))
    }

    /// Makes everything durable that was appended before.
    ///
    /// # Errors
    ///
    /// As [`Log::write_pending`].
    pub fn sync(&self) -> Result<(), Error> {
        self.step(|writer| {
            self.write_next(writer)?;
            self.sync_written(writer)
        })
    }

    /// Makes durable what was acknowledged before, if that was not promised anyway. Whoever
    /// calls it syncs while others wait for the writer's latch.
    ///
    /// # Errors
    ///
    /// As [`Log::write_pending`].
    pub fn sync_acknowledged(&self) -> Result<(), Error> {
        match self.options.durability {
            Durability::Fsync => Ok(()),
            Durability::Interval | Durability::None => self.sync(),
        }
    }

    /// Makes everything durable, and notes in the log that it is, so that the next start need not
    /// copy what it finds. For the end of a process; nothing may be appended after.
    ///
    /// # Errors
    ///
    /// As [`Log::write_pending`].
    pub fn close(&self) -> Result<(), Error> {
        self.step(|writer| {
            while self.write_next(writer)? {}
            self.sync_written(writer)?;
            self.write_mark(writer)
        })
    }

    /// Begins a new segment if everything in the active one is folded, so that all others can be
    /// cut and a start has nothing to replay. False if there was no reason, or no space.
    ///
    /// # Errors
    ///
    /// As [`Log::write_pending`].
    pub fn rotate_if_folded(&self, through: Revision) -> Result<bool, Error> {
        self.step(|writer| {
            let is_empty = writer.active.end == SEGMENT_HEADER_BYTES as u64;
            let is_folded = writer.written.revision <= through && writer.unwritten.is_none();
            Ok(!is_empty && is_folded && self.rotate(writer)?)
        })
    }

    /// Removes the segments that have nothing after `through`, which must be durable in the
    /// snapshot. The active one stays.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; then some may be left, which do no harm: after the next start they are cut.
    pub fn cut(&self, through: Revision) -> Result<(), Error> {
        let removed: Vec<_> = {
            let segments = &mut self.segments.lock().segments;
            let is_folded = |pair: &&[segment::SegmentHeader]| pair[1].base.revision <= through;
            let folded = segments.windows(2).take_while(is_folded).count();
            segments.drain(..folded).collect()
        };
        let dir = &self.options.dir;
        for header in &removed {
            let path = segment::path(dir, header.number);
            self.fs.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
        if !removed.is_empty() {
            self.fs.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))?;
        }
        Ok(())
    }

    /// Does something as the writer, and gives the log up if that fails for good.
    fn step<T>(&self, act: impl FnOnce(&mut Writer) -> Result<T, Failure>) -> Result<T, Error> {
        let mut writer = self.writer.lock();
        if let Some(failure) = self.failure.get() {
            let source = std::io::Error::other(failure.clone());
            return Err(Error::io("use", &self.options.dir, source));
        }
        act(&mut writer).map_err(|failure| {
            if let Failure::Fatal(error) = &failure {
                self.give_up(error);
            }
            failure.into_error()
        })
    }

    /// Tells everybody that nothing more will be written.
    pub(super) fn give_up(&self, cause: &dyn fmt::Display) {
        tracing::error!(%cause, "the log is given up; commits under way may or may not survive");
        // The first cause is kept.
        let _ = self.failure.set(cause.to_string());
        self.synced.get_stuck();
        self.durable.get_stuck();
        self.space.fail();
    }

    fn write_next(&self, writer: &mut Writer) -> Result<bool, Failure> {
        self.allocate_ahead(writer)?;
        if writer.unwritten.is_none() {
            if !self.has_pending() {
                return Ok(false);
            }
            if writer.active.end >= writer.rotate_at {
                self.rotate(writer)?;
            }
            self.passed("log.before_append", writer)?;
            let fresh = Pending::with_spares(std::mem::take(&mut writer.spares));
            let pending = std::mem::replace(&mut self.appended.lock().pending, fresh);
            writer.unwritten = Some(self.batch(writer, pending));
        }
        self.write_batch(writer)?;
        if self.options.durability == Durability::Fsync {
            self.sync_written(writer)?;
        }
        Ok(true)
    }

    fn batch(&self, writer: &Writer, pending: Pending) -> Batch {
        let Writer { active, next_batch, written, synced, .. } = writer;
        active.batch(&self.options, pending, *next_batch, *written, *synced)
    }

    /// Writes the batch that waits to be written. If the disk is full it goes on waiting, and
    /// meanwhile commits are refused.
    fn write_batch(&self, writer: &mut Writer) -> Result<(), Failure> {
        let Some(batch) = &writer.unwritten else { return Ok(()) };
        if let Err(failure) = writer.active.write(batch) {
            if matches!(failure, Failure::Full(_)) {
                self.space.write_was_refused();
            }
            return Err(failure);
        }
        let counts = batch.counts;
        self.space.written(counts.reserved, batch.bytes);
        self.counts.batches.fetch_add(1, Ordering::Relaxed);
        self.counts.records.fetch_add(counts.records, Ordering::Relaxed);
        self.counts.written_bytes.fetch_add(batch.bytes, Ordering::Relaxed);
        writer.written = batch.last;
        writer.marked = writer.synced;
        writer.next_batch += 1;
        writer.spares = writer.unwritten.take().map(Batch::into_spares).unwrap_or_default();
        Ok(())
    }

    /// Makes durable what was written, and says so.
    fn sync_written(&self, writer: &mut Writer) -> Result<(), Failure> {
        if writer.written == writer.synced {
            return Ok(());
        }
        let through = writer.written.revision;
        if self.options.acknowledges_early() {
            self.publish(through);
        }
        self.passed("log.after_append_before_sync", writer)?;
        writer.active.sync()?;
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        writer.synced = writer.written;
        self.passed("log.after_sync_before_publish", writer)?;
        self.publish(through);
        self.passed("log.after_publish_before_ack", writer)
    }

    fn publish(&self, through: Revision) {
        self.synced.advance(through.0);
        self.durable.advance(through.0);
    }

    /// Writes a batch without records, which says that all is durable, if there is room for it.
    fn write_mark(&self, writer: &mut Writer) -> Result<(), Failure> {
        let bytes = BATCH_HEADER_BYTES as u64;
        if writer.marked == writer.synced || self.space.claim(bytes).is_err() {
            return Ok(());
        }
        let mut batch = self.batch(writer, Pending::default());
        batch.counts.reserved = bytes;
        writer.unwritten = Some(batch);
        self.write_batch(writer)?;
        self.space.free(bytes);
        Ok(())
    }

    /// Keeps room allocated, so that commits seldom wait for it.
    fn allocate_ahead(&self, writer: &mut Writer) -> Result<(), Failure> {
        let Some(bytes) = self.space.to_allocate() else {
            self.space.wake_overlooked();
            return Ok(());
        };
        for bytes in [bytes.best, bytes.least].into_iter().filter(|&bytes| bytes > 0) {
            match writer.active.allocate(bytes) {
                Ok(()) => {
                    self.space.allocated(bytes);
                    return Ok(());
                }
                Err(Failure::Full(error)) => tracing::debug!(%error, "the disk is full"),
                Err(fatal) => return Err(fatal),
            }
        }
        self.space.disk_is_full();
        Ok(())
    }

    /// Begins a new segment. False if the disk has no space for it: then the active one grows on.
    fn rotate(&self, writer: &mut Writer) -> Result<bool, Failure> {
        self.sync_written(writer)?;
        if !writer.active.is_in_place() {
            let path = writer.active.path.clone();
            let what = String::from("it was removed or renamed while the server was using it");
            return Err(Failure::Fatal(Error::Mismatch { path, what }));
        }
        let header = writer.next_header(&self.options);
        let room = self.space.unwritten().max(self.options.allocate_bytes);
        let new = NewSegment { fs: &*self.fs, options: &self.options, header, room };
        match new.create(|_| Ok(())) {
            Ok(active) => {
                self.space.move_to(active.room());
                self.segments.lock().segments.push(active.header);
                std::mem::replace(&mut writer.active, active).trim();
                writer.rotate_at = self.options.segment_bytes;
                writer.marked = writer.synced;
                Ok(true)
            }
            Err(Failure::Full(error)) => {
                tracing::warn!(%error, "no new segment can be made; the log's last one grows on");
                writer.rotate_at = writer.active.end + self.options.allocate_bytes;
                Ok(false)
            }
            Err(fatal) => Err(fatal),
        }
    }

    fn passed(&self, failpoint: &'static str, writer: &Writer) -> Result<(), Failure> {
        failpoint::hit(failpoint)
            .map_err(|error| Failure::Fatal(Error::io("write", &writer.active.path, error)))
    }

    /// Whether something is to be written.
    pub(super) fn has_pending(&self) -> bool {
        !self.appended.lock().pending.is_empty()
    }

    /// Whether something is pending, and not so much that it is written without waiting for more.
    pub(super) fn has_little_pending(&self) -> bool {
        let pending = &self.appended.lock().pending;
        !pending.is_empty() && pending.bytes() < LINGER_BYTES_MAX
    }

    /// Commits written since the start.
    pub(super) fn records_written(&self) -> u64 {
        self.counts.records.load(Ordering::Relaxed)
    }

    /// Whether the writer has something to do.
    pub(super) fn has_work(&self) -> bool {
        self.has_pending() || self.space.is_wanted()
    }

    /// Whether the disk refuses reservations or writes.
    pub(super) fn is_full(&self) -> bool {
        self.space.is_full()
    }
}

impl CommitLog for Log {
    fn reserve(&self, size: CommitSize) -> Step<u64> {
        if let Some(failure) = self.failure.get() {
            return Err(kv_core::Error::Io(failure.clone()).into());
        }
        let overhead = BATCH_HEADER_BYTES + RECORD_HEADER_BYTES + PROTECTION_BYTES_MAX;
        let bytes = codec::size_max(size).saturating_add(overhead) as u64;
        match self.space.claim(bytes) {
            Ok(()) => Ok(bytes),
            Err(Refused::Bound(room)) => Err(Pause::Room(room)),
            Err(Refused::Unallocated(room)) => {
                self.signal.ring();
                Err(Pause::Room(room))
            }
            Err(Refused::DiskFull) => Err(kv_core::Error::DiskFull.into()),
            Err(Refused::Unfolded(why)) => Err(kv_core::Error::Io(why).into()),
        }
    }

    fn release(&self, reserved: u64) {
        self.space.unclaim(reserved);
    }

    fn encode(&self, changes: &mut dyn Iterator<Item = Change<'_>>, payload: &mut Payload) {
        codec::encode(changes, payload);
    }

    fn encode_wipe(&self, payload: &mut Payload) {
        codec::encode_wipe(payload);
    }

    fn append(&self, stamp: Stamp, payload: &mut Payload, reserved: u64) {
        let mut appended = self.appended.lock();
        assert_eq!(stamp.revision.0, appended.last.0 + 1, "commits are appended in their order");
        let bytes = RECORD_HEADER_BYTES + payload.len();
        debug_assert!(bytes as u64 <= reserved, "a commit is no larger than it said");
        appended.last = stamp.revision;
        appended.bytes += bytes as u64;
        appended.pending.push(stamp, payload, reserved);
    }

    fn appended(&self) {
        self.signal.ring();
    }

    fn durable(&self) -> Arc<Watermark> {
        Arc::clone(&self.durable)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({}, {:?})", self.options.dir.display(), self.stats())
    }
}
