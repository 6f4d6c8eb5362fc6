//! What is done to files: making segments, allocating space in them, writing batches.
//!
//! Nothing here knows who waits for it; see [`Log`](super::Log).

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kv_core::Stamp;

use super::LogOptions;
use super::batch::BatchNumber;
use super::pending::{Batch, Pending, Place};
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::crypt;
use crate::error::Error;
use crate::failpoint;
use crate::fs::{File, FileSystem};

/// How long the writer waits for a descriptor that it cannot do without.
const DESCRIPTOR_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long it waits between two attempts.
const DESCRIPTOR_WAIT: Duration = Duration::from_millis(5);

/// Why a step of the writer failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The disk is full, or there is no descriptor or memory to make a file with. Nothing was lost,
    /// and it may be tried again.
    Full(Error),
    /// The log is to be given up.
    Fatal(Error),
}

impl Failure {
    /// What the system answered to anything but a sync.
    pub(super) fn of(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
        move |error| {
            let error = Error::io(what, path, error);
            if error.is_full() { Failure::Full(error) } else { Failure::Fatal(error) }
        }
    }

    /// What the system answered to making a file, of which nothing depends yet.
    fn of_create(path: &Path) -> impl FnOnce(io::Error) -> Failure {
        move |error| {
            let is_short =
                is_short_of_descriptors(&error) || error.kind() == io::ErrorKind::OutOfMemory;
            let failure = Failure::of("create", path)(error);
            if is_short { Failure::Full(failure.into_error()) } else { failure }
        }
    }

    /// What the system answered to a sync: never tried again, whatever it was.
    pub(super) fn of_sync(path: &Path) -> impl FnOnce(io::Error) -> Failure {
        move |error| Failure::Fatal(Error::io("sync", path, error))
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Failure::Full(error) | Failure::Fatal(error) => error,
        }
    }
}

/// Whether a file could not be opened because too many are.
fn is_short_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Syncs a directory. Short of descriptors it could not be opened, so that nothing was synced and
/// nothing failed: then it is tried for a while, since a name that is given cannot be taken back.
fn sync_names(fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let until = Instant::now() + DESCRIPTOR_WAIT_MAX;
    loop {
        match fs.sync_dir(dir) {
            Err(error) if is_short_of_descriptors(&error) && Instant::now() < until => {
                std::thread::sleep(DESCRIPTOR_WAIT);
            }
            synced => return synced,
        }
    }
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) header: SegmentHeader,
    pub(super) path: PathBuf,
    file: Box<dyn File>,
    /// Where the next batch goes.
    pub(super) end: u64,
    /// How much of the file has room on the disk.
    allocated: u64,
}

/// A segment that is to be made.
pub(super) struct NewSegment<'a> {
    pub(super) fs: &'a dyn FileSystem,
    pub(super) options: &'a LogOptions,
    pub(super) header: SegmentHeader,
    /// Room for this many bytes after its header.
    pub(super) room: u64,
}

impl NewSegment<'_> {
    /// Makes it, with what `carry` writes into it, and gives it its name when all that is on disk.
    pub(super) fn create(
        self,
        carry: impl FnOnce(&mut Active) -> Result<(), Failure>,
    ) -> Result<Active, Failure> {
        let (fs, dir) = (self.fs, &self.options.dir);
        let path = segment::path(dir, self.header.number);
        let unfinished = segment::unfinished_path(dir, self.header.number);
        match fs.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::of("remove", &unfinished)(error));
            }
            _ => {}
        }
        let passed = |name| failpoint::hit(name).map_err(Failure::of("create", &path));
        passed("log.rotate.before_create")?;
        let file = fs.create_direct(&unfinished).map_err(Failure::of_create(&unfinished))?;
        passed("log.rotate.after_create")?;
        let active = Active {
            header: self.header,
            path: unfinished.clone(),
            file,
            end: SEGMENT_HEADER_BYTES as u64,
            allocated: 0,
        };
        let named = active.fill(self.room, carry).and_then(|active| {
            fs.rename(&unfinished, &path).map_err(Failure::of("rename", &unfinished))?;
            Ok(Active { path: path.clone(), ..active })
        });
        if named.is_err() {
            // A leftover does no harm: the next start removes it.
            let _ = fs.remove(&unfinished);
        }
        let active = named?;
        if !self.options.skips_directory_sync() {
            sync_names(fs, dir).map_err(Failure::of_sync(dir))?;
        }
        passed("log.rotate.after_dirsync")?;
        Ok(active)
    }
}

impl Active {
    fn fill(
        mut self,
        room: u64,
        carry: impl FnOnce(&mut Active) -> Result<(), Failure>,
    ) -> Result<Active, Failure> {
        if room > 0 {
            self.allocate(room)?;
        }
        self.file.write_full(&self.header.encode(), 0).map_err(Failure::of("write", &self.path))?;
        carry(&mut self)?;
        self.sync()?;
        Ok(self)
    }

    /// Makes room for so many bytes beyond its end, and beyond what is allocated already.
    pub(super) fn allocate(&mut self, bytes: u64) -> Result<(), Failure> {
        let allocated = self.allocated.max(self.end) + bytes;
        self.file.allocate(allocated).map_err(Failure::of("allocate space for", &self.path))?;
        self.allocated = allocated;
        Ok(())
    }

    /// How much is allocated beyond its end.
    pub(super) fn room(&self) -> u64 {
        self.allocated.saturating_sub(self.end)
    }

    /// Makes a batch for its end.
    pub(super) fn batch(
        &self,
        options: &LogOptions,
        pending: Pending,
        number: BatchNumber,
        written: Stamp,
        synced: Stamp,
    ) -> Batch {
        let place =
            Place { segment: &self.header, offset: self.end, number, durable: synced.revision };
        pending.into_batch(&place, &options.protection, written)
    }

    /// Writes a batch at its end. After a failure any part of it may be there; it may be written
    /// again.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), Failure> {
        assert_eq!(batch.offset, self.end, "a batch is made for one place");
        if failpoint::is_armed("log.partial_append") {
            self.write_part(batch)?;
        }
        for (offset, bytes) in batch.parts() {
            self.file.write_full(bytes, offset).map_err(Failure::of("write", &self.path))?;
        }
        self.end += batch.bytes;
        Ok(())
    }

    fn write_part(&self, batch: &Batch) -> Result<(), Failure> {
        let fault = || Failure::of("write", &self.path);
        if let Some((offset, bytes)) = batch.parts().next() {
            self.file.write_full(&bytes[..bytes.len() / 2], offset).map_err(fault())?;
        }
        failpoint::hit("log.partial_append").map_err(fault())
    }

    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.file.sync_data().map_err(Failure::of_sync(&self.path))
    }

    /// Whether its name still leads to it.
    pub(super) fn is_in_place(&self) -> bool {
        self.file.is_at(&self.path)
    }

    /// Gives back the room that it did not need.
    pub(super) fn trim(&self) {
        if let Err(error) = self.file.set_len(self.end) {
            tracing::debug!(path = %self.path.display(), %error, "a segment was not trimmed");
        }
    }
}

/// The state of whoever writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) active: Active,
    /// A batch that the disk had no room for.
    pub(super) unwritten: Option<Batch>,
    pub(super) next_batch: BatchNumber,
    /// The last commit that was written.
    pub(super) written: Stamp,
    /// The last commit that is durable.
    pub(super) synced: Stamp,
    /// What the last batch says was durable before it.
    pub(super) marked: Stamp,
    /// How long the active segment may get before another is begun, in bytes.
    pub(super) rotate_at: u64,
    /// Buffers of batches that were written.
    pub(super) spares: Vec<Vec<u8>>,
}

impl Writer {
    /// The header of the segment that follows, when all that was written is durable.
    pub(super) fn next_header(&self, options: &LogOptions) -> SegmentHeader {
        assert_eq!(self.written, self.synced, "a segment begins with what is durable");
        SegmentHeader {
            database: options.database,
            number: self.active.header.number + 1,
            base: self.written,
            carried_through: self.written.revision,
            salt: crypt::random(),
            key: options.key(),
            first_batch: self.next_batch,
            previous: self.active.header.salt,
        }
    }
}
