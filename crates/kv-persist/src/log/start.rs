//! Going on with a log that was recovered: the only place where recovery changes anything.
//!
//! ```text
//!   1  names that are relied on are made durable; leftovers are removed
//!   2  a torn tail is copied to <data>/log/{segment}-{offset}.torn
//!   3  a new segment is made: base = what is surely durable, then the suspect commits again
//!   4  its content is synced, it gets its name, the name is synced
//! ```
//!
//! A crash before its name leaves the log as it was. Whoever starts after it finds the same
//! commits.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use kv_core::{Payload, Revision, Stamp};

use super::LogOptions;
use super::append::Log;
use super::batch::BatchNumber;
use super::chain::{Chain, ChainPlace, UntilRecord};
use super::pending::Pending;
use super::recover::{Recovered, Torn};
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::writer::{Active, Failure, NewSegment, Writer};
use crate::crypt::{self, KeyId};
use crate::error::Error;
use crate::fs::{Access, FileSystem};
use crate::stored::DatabaseId;

/// Commits are carried in batches of about this length, in bytes.
const CARRY_BYTES: u64 = 1 << 20;
/// How much of a torn tail is copied at once, in bytes.
const COPY_BYTES: usize = 1 << 20;

/// Whose log a directory has, and the id of its key; none if there is no segment in it.
///
/// # Errors
///
/// Why the newest segment is refused.
pub fn identity(fs: &dyn FileSystem, dir: &Path) -> Result<Option<(DatabaseId, KeyId)>, Error> {
    let names = fs.list(dir).map_err(|error| Error::io("list", dir, error))?;
    let Some(newest) = names.iter().filter_map(|name| segment::number_in(name)).max() else {
        return Ok(None);
    };
    let path = segment::path(dir, newest);
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let length = fs
        .open(&path, Access::Read)
        .and_then(|file| file.read_full(&mut bytes, 0))
        .map_err(|error| Error::io("read", &path, error))?;
    let header = SegmentHeader::decode(&path, &bytes[..length])?;
    Ok(Some((header.database, header.key)))
}

impl Log {
    /// Goes on with a log. When this returns, everything that was recovered is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Damaged`] if what was recovered cannot be read a second time. The
    /// log is as it was, or as good.
    pub fn start(
        fs: Arc<dyn FileSystem>,
        options: LogOptions,
        recovered: Recovered,
    ) -> Result<Arc<Log>, Error> {
        let start = Start { fs: &*fs, options: &options, recovered: &recovered };
        start.clean()?;
        if let Some(torn) = &recovered.torn {
            match start.keep_aside(torn) {
                // What nobody was ever told of is not worth refusing to start for.
                Err(error) if error.is_full() => {
                    tracing::warn!(%error, "the torn tail is not kept aside");
                }
                kept => kept?,
            }
        }
        let writer = start.make_segment()?;
        start.trim_last();
        let mut segments = recovered.listing.chain;
        segments.segments.push(writer.active.header);
        Ok(Arc::new(Log::new(fs, options, segments, writer, recovered.log_bytes)))
    }
}

struct Start<'a> {
    fs: &'a dyn FileSystem,
    options: &'a LogOptions,
    recovered: &'a Recovered,
}

impl Start<'_> {
    /// Removes what interrupted starts and cuts left.
    fn clean(&self) -> Result<(), Error> {
        let dir = &self.options.dir;
        // First of all: what was found may have been named by a process that died before this.
        self.fs.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))?;
        let listing = &self.recovered.listing;
        let names = self.fs.list(dir).map_err(|error| Error::io("list", dir, error))?;
        let known = listing.chain.segments.len() + listing.stray.len();
        if names.iter().filter_map(|name| segment::number_in(name)).count() != known {
            let what = String::from("it has other segments than those that were recovered");
            return Err(Error::Mismatch { path: dir.clone(), what });
        }
        let stray = listing.stray.iter().map(|&number| segment::path(dir, number));
        let unfinished = listing.unfinished.iter().map(|name| dir.join(name));
        for path in stray.chain(unfinished) {
            self.fs.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
        Ok(())
    }

    /// Copies a torn tail, whose segment will be removed some day.
    fn keep_aside(&self, torn: &Torn) -> Result<(), Error> {
        let copy = segment::torn_path(&self.options.dir, torn.segment, torn.offset);
        match self.fs.remove(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &copy, error));
            }
            _ => {}
        }
        let copied = self.copy(torn, &copy);
        copied.map_err(|error| Error::io("copy the torn tail to", &copy, error))
    }

    fn copy(&self, torn: &Torn, copy: &Path) -> io::Result<()> {
        let from = self.fs.open(&torn.path, Access::Read)?;
        let to = self.fs.create(copy)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut done = 0;
        while done < torn.bytes {
            let left = usize::try_from(torn.bytes - done).unwrap_or(usize::MAX);
            let wanted = left.min(COPY_BYTES);
            let read = from.read_full(&mut buffer[..wanted], torn.offset + done)?;
            if read == 0 {
                break;
            }
            to.write_full(&buffer[..read], done)?;
            done += read as u64;
        }
        to.sync_data()
    }

    /// Makes the segment that the log goes on in.
    fn make_segment(&self) -> Result<Writer, Error> {
        let (place, base) = self.base()?;
        let through = self.recovered.through;
        let last = self.recovered.listing.chain.segments.last();
        let header = SegmentHeader {
            database: self.options.database,
            number: last.map_or(0, |last| last.number) + 1,
            base,
            carried_through: through.revision,
            salt: crypt::random(),
            key: self.options.key(),
            first_batch: self.recovered.next_batch,
            previous: last.map_or([0; 16], |last| last.salt),
        };
        let make = |room| {
            let mut carry = Carry { start: self, next_batch: header.first_batch, base };
            let new = NewSegment { fs: self.fs, options: self.options, header, room };
            let active = new.create(|active| carry.all(active, place))?;
            Ok((active, carry.next_batch))
        };
        let (active, next_batch) = match make(self.options.allocate_bytes) {
            // Better to serve readers and refuse writers than not to start at all.
            Err(Failure::Full(_)) => make(0),
            made => made,
        }
        .map_err(Failure::into_error)?;
        Ok(Writer {
            active,
            unwritten: None,
            next_batch,
            written: through,
            synced: through,
            marked: through,
            rotate_at: self.options.segment_bytes,
            spares: Vec::new(),
        })
    }

    /// The last commit that is surely durable, and the place after it in the log, if it has any
    /// segments.
    fn base(&self) -> Result<(Option<ChainPlace>, Stamp), Error> {
        let Recovered { through, durable, listing, .. } = self.recovered;
        let Some(mut place) = listing.chain.place_after(*durable) else {
            return Ok((None, *through));
        };
        self.read(&mut place, *durable, &mut |_| Ok(ControlFlow::Continue(())))?;
        Ok((Some(place), place.last()))
    }

    fn read(
        &self,
        place: &mut ChainPlace,
        through: Revision,
        each: &mut UntilRecord<'_>,
    ) -> Result<(), Error> {
        let chain: &Chain = &self.recovered.listing.chain;
        chain.read(self.fs, self.options, place, through, each)
    }

    /// Gives back the room that the last segment had beyond its end, so that a process that is
    /// started over and over does not fill the disk.
    fn trim_last(&self) {
        let Some(last) = self.recovered.listing.chain.segments.last() else { return };
        let path = segment::path(&self.options.dir, last.number);
        let trimmed = self.fs.open(&path, Access::Write).and_then(|file| {
            let end = self.recovered.zeros_from;
            if file.len()? > end { file.set_len(end) } else { Ok(()) }
        });
        if let Err(error) = trimmed {
            tracing::debug!(path = %path.display(), %error, "a segment was not trimmed");
        }
    }
}

/// Writes the suspect commits again.
struct Carry<'a> {
    start: &'a Start<'a>,
    next_batch: BatchNumber,
    base: Stamp,
}

impl Carry<'_> {
    fn all(&mut self, active: &mut Active, place: Option<ChainPlace>) -> Result<(), Failure> {
        let Some(mut place) = place else { return Ok(()) };
        let start = self.start;
        let through = start.recovered.through.revision;
        let mut pending = Pending::default();
        let mut failure = None;
        let read = start.read(&mut place, through, &mut |record| {
            let mut payload = Payload::from_slice(record.payload);
            pending.push(record.stamp, &mut payload, 0);
            if pending.bytes() >= CARRY_BYTES {
                failure = self.write(active, std::mem::take(&mut pending)).err();
            }
            Ok(if failure.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        read.map_err(Failure::Fatal)?;
        if pending.is_empty() {
            return Ok(());
        }
        self.write(active, pending)
    }

    fn write(&mut self, active: &mut Active, pending: Pending) -> Result<(), Failure> {
        let options = self.start.options;
        let batch = active.batch(options, pending, self.next_batch, self.base, self.base);
        self.next_batch += 1;
        active.write(&batch)
    }
}
