//! Reading one segment from a place in it to its end, believing nothing.
//!
//! A batch must have the number that follows, a record the revision that follows; the first thing
//! that is not valid ends the scan. What that means (the end of the log, a torn tail, damage) is
//! for [`recover`](super::recover()) to judge, with the help of [`SegmentScan::rest`].

use std::path::{Path, PathBuf};

use kv_core::{Revision, Stamp};

use super::LogOptions;
use super::batch::{self, BATCH_HEADER_BYTES, BATCH_MAGIC, BatchHeader, BatchNumber};
use super::record::{self, RECORD_HEADER_BYTES, RecordHeader};
use super::segment::{self, SEGMENT_HEADER_BYTES, Salt, SegmentHeader};
use crate::codec;
use crate::error::Error;
use crate::fs::{Access, File, FileSystem};

/// How much is read at once, in bytes.
const WINDOW_BYTES: usize = 1 << 20;

/// One record of the log.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// The commit's revision and time.
    pub stamp: Stamp,
    /// How much of the log it takes, in bytes; what [`Log::free`](super::Log::free) is told when
    /// it is folded.
    pub log_bytes: u64,
    /// Its encoded changes.
    pub payload: &'a [u8],
    path: &'a Path,
    offset: u64,
}

impl<'a> RecordView<'a> {
    /// Whether it deletes every key that is not among its changes.
    pub fn is_wipe(&self) -> bool {
        codec::is_wipe(self.payload)
    }

    /// Its changes. Each is an error if the payload is not what this program writes.
    pub fn changes(&self) -> impl Iterator<Item = Result<kv_core::Change<'a>, Error>> {
        let view = *self;
        codec::changes(self.payload).map(move |change| {
            change.map_err(|bad| Error::Damaged {
                path: view.path.to_owned(),
                offset: Some(view.offset),
                what: format!("the record of revision {}: {bad}", view.stamp.revision),
            })
        })
    }
}

/// Where a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) offset: u64,
    /// What is there instead of a valid batch or record.
    pub(super) what: &'static str,
}

/// What follows the end of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// Where it has only zeros from; the scan's end, if nothing else follows.
    pub(super) zeros_from: u64,
    /// The highest revision that a batch in it says was durable before, if there is one.
    pub(super) durable: Option<Revision>,
    /// The number of the last batch in it.
    pub(super) last_batch: Option<BatchNumber>,
}

/// Where a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScanPlace {
    offset: u64,
    /// Where the batch ends that it is in; the offset, between batches.
    batch_end: u64,
    /// What the checksums of that batch's records begin with.
    batch_seed: u32,
    /// The number of the next batch.
    next_batch: BatchNumber,
    /// The last record, or the segment's base.
    last: Stamp,
    /// The highest revision that was said to be durable.
    durable: Revision,
}

impl ScanPlace {
    pub(super) fn start(header: &SegmentHeader) -> ScanPlace {
        let offset = SEGMENT_HEADER_BYTES as u64;
        ScanPlace {
            offset,
            batch_end: offset,
            batch_seed: 0,
            next_batch: header.first_batch,
            last: header.base,
            durable: header.base.revision.max(header.carried_through),
        }
    }

    pub(super) fn last(&self) -> Stamp {
        self.last
    }

    pub(super) fn durable(&self) -> Revision {
        self.durable
    }

    pub(super) fn next_batch(&self) -> BatchNumber {
        self.next_batch
    }
}

/// Reads the header of a segment, and checks that it is the one that its name says.
///
/// # Errors
///
/// Why the segment is refused.
pub(super) fn read_header(
    fs: &dyn FileSystem,
    options: &LogOptions,
    path: &Path,
) -> Result<SegmentHeader, Error> {
    let file = fs.open(path, Access::Read).map_err(|error| Error::io("open", path, error))?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let length = file.read_full(&mut bytes, 0).map_err(|error| Error::io("read", path, error))?;
    let header = SegmentHeader::decode(path, &bytes[..length])?;
    let mismatch = |what: String| Error::Mismatch { path: path.to_owned(), what };
    if header.database != options.database {
        return Err(mismatch(String::from(
            "this is a segment of another database's log; put it back where it belongs, and \
             restore this one's",
        )));
    }
    let name = path.file_name().and_then(|name| name.to_str()).and_then(segment::number_in);
    if name != Some(header.number) {
        return Err(mismatch(format!(
            "by its header this is segment {}: it was copied or renamed; restore the log's files \
             as they were",
            header.number
        )));
    }
    options.check_key(header.key)?;
    Ok(header)
}

/// A scan of one segment.
pub(super) struct SegmentScan<'a> {
    options: &'a LogOptions,
    path: PathBuf,
    file: Box<dyn File>,
    salt: Salt,
    /// What the checksums of batch headers begin with.
    seed: u32,
    place: ScanPlace,
    window: Window,
    /// The last payload, if it is not as it is on disk.
    restored: Vec<u8>,
}

impl<'a> SegmentScan<'a> {
    /// Opens a segment to read on from `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(super) fn open(
        fs: &dyn FileSystem,
        options: &'a LogOptions,
        header: &SegmentHeader,
        place: ScanPlace,
    ) -> Result<SegmentScan<'a>, Error> {
        let path = segment::path(&options.dir, header.number);
        let file = fs.open(&path, Access::Read).map_err(|error| Error::io("open", &path, error))?;
        let file_bytes = file.len().map_err(|error| Error::io("read", &path, error))?;
        let window = Window { file_bytes, ..Window::default() };
        Ok(SegmentScan {
            options,
            path,
            file,
            salt: header.salt,
            seed: header.seed(),
            place,
            window,
            restored: vec![],
        })
    }

    pub(super) fn place(&self) -> ScanPlace {
        self.place
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next record, or why there is none. At the end it stays there.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Damaged`] if valid bytes contradict each other.
    pub(super) fn next(&mut self) -> Result<Result<RecordView<'_>, End>, Error> {
        let mut log_bytes = 0;
        let mut place = self.place;
        while place.offset == place.batch_end {
            match self.batch_header(&place)? {
                Ok(header) => {
                    place.offset += BATCH_HEADER_BYTES as u64;
                    place.batch_end = place.offset.saturating_add(header.bytes);
                    place.batch_seed = batch::seed(self.seed, header.number);
                    place.next_batch = header.number + 1;
                    place.durable = place.durable.max(header.durable);
                    log_bytes = BATCH_HEADER_BYTES as u64;
                }
                Err(what) => {
                    self.place = place;
                    return Ok(Err(End { offset: place.offset, what }));
                }
            }
        }
        self.place = place;
        let record_bytes = match self.record_bytes(&place)? {
            Ok(bytes) => bytes,
            Err(what) => return Ok(Err(End { offset: place.offset, what })),
        };
        self.record(place, record_bytes, log_bytes).map(Ok)
    }

    fn batch_header(
        &mut self,
        place: &ScanPlace,
    ) -> Result<Result<BatchHeader, &'static str>, Error> {
        let seed = self.seed;
        let Some(bytes) = self.read(place.offset, BATCH_HEADER_BYTES)? else {
            return Ok(Err("the file ends"));
        };
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(Err("there are zeros"));
        }
        let Some(header) = BatchHeader::decode(bytes, seed) else {
            return Ok(Err("no valid batch begins here"));
        };
        if header.number != place.next_batch {
            return Ok(Err("a batch has a number that does not follow"));
        }
        Ok(Ok(header))
    }

    /// The length of the valid record at a place, header included, or what is wrong with it.
    fn record_bytes(&mut self, place: &ScanPlace) -> Result<Result<usize, &'static str>, Error> {
        let left = usize::try_from(place.batch_end - place.offset).unwrap_or(usize::MAX);
        if left < RECORD_HEADER_BYTES {
            return Ok(Err("a batch ends within a record"));
        }
        let Some(header) = self.read(place.offset, RECORD_HEADER_BYTES)? else {
            return Ok(Err("the file ends within a batch"));
        };
        let length = bytes_claimed(header);
        if length == 0 || length > left - RECORD_HEADER_BYTES {
            return Ok(Err("a record has an impossible length"));
        }
        let bytes = RECORD_HEADER_BYTES + length;
        let seed = place.batch_seed;
        let accepts_all = self.options.accepts_wrong_checksums();
        let Some(record) = self.read(place.offset, bytes)? else {
            return Ok(Err("the file ends within a record"));
        };
        if !record::is_intact(record, seed) && !accepts_all {
            return Ok(Err("the checksum of a record is wrong"));
        }
        Ok(Ok(bytes))
    }

    fn record(
        &mut self,
        mut place: ScanPlace,
        record_bytes: usize,
        batch_header_bytes: u64,
    ) -> Result<RecordView<'_>, Error> {
        let offset = place.offset;
        let record = self.window.have(offset, record_bytes);
        let damaged = |what| Error::Damaged { path: self.path.clone(), offset: Some(offset), what };
        let stamp = record.first_chunk().map(RecordHeader::decode).map(|header| header.stamp);
        let stamp = stamp.expect("the record was read whole");
        let expected = Revision(place.last.revision.0 + 1);
        if stamp.revision != expected {
            let found = stamp.revision;
            return Err(damaged(format!("revision {found} stands where {expected} belongs")));
        }
        let payload = self
            .options
            .protection
            .restore(record, &self.salt, offset)
            .map_err(|why| damaged(format!("the record of revision {expected}: {}", why.0)))?;
        let payload = match payload {
            std::borrow::Cow::Borrowed(payload) => payload,
            std::borrow::Cow::Owned(payload) => {
                self.restored = payload;
                &self.restored
            }
        };
        place.offset += record_bytes as u64;
        place.last = stamp;
        self.place = place;
        let log_bytes = batch_header_bytes + record_bytes as u64;
        Ok(RecordView { stamp, log_bytes, payload, path: &self.path, offset })
    }

    /// Looks through all that follows the end for batches of this segment that say what was
    /// durable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(super) fn rest(&mut self, end: End) -> Result<Rest, Error> {
        let mut rest = Rest { zeros_from: end.offset, durable: None, last_batch: None };
        let mut offset = end.offset;
        let (seed, next_batch) = (self.seed, self.place.next_batch);
        loop {
            let bytes = self.read_some(offset)?;
            if let Some(last) = last_nonzero(bytes) {
                rest.zeros_from = offset + last as u64 + 1;
                for at in places_of_magic(&bytes[..=last]) {
                    let header = BatchHeader::decode(&bytes[at..], seed);
                    if let Some(header) = header.filter(|header| header.number >= next_batch) {
                        rest.durable = rest.durable.max(Some(header.durable));
                        rest.last_batch = rest.last_batch.max(Some(header.number));
                    }
                }
            }
            // The next piece begins early enough to have what this one had only the beginning of.
            match bytes.len().checked_sub(BATCH_HEADER_BYTES - 1) {
                Some(step) if step > 0 => offset += step as u64,
                _ => return Ok(rest),
            }
        }
    }

    fn read(&mut self, offset: u64, bytes: usize) -> Result<Option<&[u8]>, Error> {
        self.window
            .read(&*self.file, offset, bytes)
            .map_err(|error| Error::io("read", &self.path, error))
    }

    /// As much as is read at once, or the file has.
    fn read_some(&mut self, offset: u64) -> Result<&[u8], Error> {
        let left = self.window.file_bytes.saturating_sub(offset);
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(WINDOW_BYTES);
        Ok(self.read(offset, bytes)?.unwrap_or_default())
    }
}

fn bytes_claimed(header: &[u8]) -> usize {
    header.first_chunk().map_or(0, |header| RecordHeader::decode(header).length as usize)
}

/// Zeros that pieces of a file are compared with: that is quick in debug builds too.
pub(super) const ZEROS: [u8; 256] = [0; 256];

/// Where the last byte is that is not zero. Most of what it is asked about are zeros, by millions:
/// so it looks at many at once.
fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    let is_zero = |some: &&[u8]| **some == ZEROS[..some.len()];
    let zeros: usize = bytes.rchunks(ZEROS.len()).take_while(is_zero).map(<[u8]>::len).sum();
    bytes[..bytes.len() - zeros].iter().rposition(|&byte| byte != 0)
}

fn places_of_magic(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let found = bytes.windows(BATCH_MAGIC.len()).enumerate();
    found.filter(|(_, window)| *window == BATCH_MAGIC).map(|(at, _)| at)
}

/// A part of a file, in memory.
#[derive(Debug, Default)]
struct Window {
    buffer: Vec<u8>,
    /// How much of the buffer has been read.
    filled: usize,
    /// Where in the file it begins.
    start: u64,
    file_bytes: u64,
}

impl Window {
    /// Bytes of the file; none if it does not have them all. What a file does not have is never
    /// allocated for, whatever its content claims.
    fn read(
        &mut self,
        file: &dyn File,
        offset: u64,
        bytes: usize,
    ) -> std::io::Result<Option<&[u8]>> {
        let is_inside = offset.checked_add(bytes as u64).is_some_and(|end| end <= self.file_bytes);
        if !is_inside {
            return Ok(None);
        }
        if !self.has(offset, bytes) {
            let left = usize::try_from(self.file_bytes - offset).unwrap_or(usize::MAX);
            let wanted = bytes.max(WINDOW_BYTES.min(left));
            self.buffer.resize(wanted.max(self.buffer.len()), 0);
            self.start = offset;
            self.filled = file.read_full(&mut self.buffer[..wanted], offset)?;
            if self.filled < bytes {
                // It has become shorter.
                return Ok(None);
            }
        }
        Ok(Some(self.have(offset, bytes)))
    }

    fn has(&self, offset: u64, bytes: usize) -> bool {
        offset >= self.start && offset - self.start + bytes as u64 <= self.filled as u64
    }

    /// Bytes that have just been read.
    fn have(&self, offset: u64, bytes: usize) -> &[u8] {
        let from = (offset - self.start) as usize;
        &self.buffer[from..from + bytes]
    }
}
