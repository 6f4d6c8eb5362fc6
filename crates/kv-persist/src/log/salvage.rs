//! Finding every record of a damaged log that is as it was written, before and after the damage.
//!
//! Nothing is needed of a segment but its salt, with which the checksums of its batches and records
//! begin. Headers of batches are found by their magic number and checksum, wherever they are. The
//! records between two of them are read one after the other; where one is damaged, the next is
//! searched for byte by byte. The header of a batch may be damaged as well, so a record may be of
//! any batch whose number lies between those that were found.
//!
//! What a segment has beyond the base of a later one does not count: it was cut off when that was
//! made, and others may have got the same revisions since.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use kv_core::{Revision, Stamp};

use super::LogOptions;
use super::batch::{self, BATCH_HEADER_BYTES, BATCH_MAGIC, BatchHeader, BatchNumber};
use super::record::{self, RECORD_HEADER_BYTES, RecordHeader};
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber};
use crate::crypt::KeyId;
use crate::error::Error;
use crate::fs::{Access, FileSystem};
use crate::stored::DatabaseId;

/// Batches in a row whose headers may be damaged before their records are given up.
const BATCHES_MISSING_MAX: u64 = 64;
/// The least that a record takes, in bytes.
const RECORD_BYTES_MIN: u64 = RECORD_HEADER_BYTES as u64 + 1;

/// What a salvage has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Segments of which anything could be read.
    pub segments: u64,
    /// Records.
    pub records: u64,
    /// Their revisions, in order; ranges do not touch.
    pub revisions: Vec<RangeInclusive<u64>>,
    /// The revision after which the oldest segment begins, if there is one.
    pub base: Option<Revision>,
    /// The highest revision that was surely durable.
    pub durable: Revision,
    /// What was left out as a whole, a sentence each.
    pub lost: Vec<String>,
}

/// One record, whose content may still be nonsense.
#[derive(Debug, Clone, Copy)]
pub struct FoundRecord<'a> {
    /// The commit's revision and time.
    pub stamp: Stamp,
    /// Its encoded changes.
    pub payload: &'a [u8],
}

/// Takes the records, those of a segment in their order, newer segments first.
pub type Finder<'a> = dyn FnMut(FoundRecord<'_>) -> Result<(), Error> + 'a;

/// Whose log a directory has, and the id of its key, by the newest segment whose header is whole.
///
/// # Errors
///
/// [`Error::Io`].
pub fn identity_of_any(
    fs: &dyn FileSystem,
    dir: &Path,
) -> Result<Option<(DatabaseId, KeyId)>, Error> {
    let mut found = None;
    for (_, path) in segments(fs, dir)? {
        if let Ok(header) = SegmentHeader::decode(&path, &read_header(fs, &path)?) {
            found = Some((header.database, header.key));
        }
    }
    Ok(found)
}

/// Hands over every record that can be found. Changes nothing.
///
/// # Errors
///
/// [`Error::Key`] if a segment is of another key; [`Error::Io`]; what `found` answered.
pub fn salvage(
    fs: &dyn FileSystem,
    options: &LogOptions,
    found: &mut Finder<'_>,
) -> Result<Salvaged, Error> {
    let mut salvaged = Salvaged::default();
    // What later segments leave to the earlier ones.
    let mut ceiling = Revision(u64::MAX);
    for (number, path) in segments(fs, &options.dir)?.into_iter().rev() {
        let file = fs.open(&path, Access::Read).map_err(|error| Error::io("open", &path, error))?;
        let length = file.len().map_err(|error| Error::io("read", &path, error))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = file.read_full(&mut bytes, 0);
        bytes.truncate(read.map_err(|error| Error::io("read", &path, error))?);
        let Some(header) = Header::read(&path, number, &bytes, options, &mut salvaged)? else {
            continue;
        };
        let mut scan = Scan { options, header, bytes: &bytes, ceiling, salvaged: &mut salvaged };
        if !scan.all(found)? && !header.is_whole {
            let path = path.display();
            let lost = format!("{path}: its header is damaged, and nothing in it can be read.");
            salvaged.lost.push(lost);
        }
        if header.is_whole {
            let base = header.fields.base.revision;
            ceiling = ceiling.min(base);
            salvaged.base = Some(base);
            salvaged.durable = salvaged.durable.max(base).max(header.fields.carried_through);
        }
    }
    salvaged.revisions = joined(std::mem::take(&mut salvaged.revisions));
    Ok(salvaged)
}

fn segments(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<(SegmentNumber, PathBuf)>, Error> {
    let names = fs.list(dir).map_err(|error| Error::io("list", dir, error))?;
    let mut numbers: Vec<_> = names.iter().filter_map(|name| segment::number_in(name)).collect();
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| (number, segment::path(dir, number))).collect())
}

fn read_header(fs: &dyn FileSystem, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
    let read = fs.open(path, Access::Read).and_then(|file| file.read_full(&mut bytes, 0));
    bytes.truncate(read.map_err(|error| Error::io("read", path, error))?);
    Ok(bytes)
}

/// Sorts ranges and joins those that touch.
fn joined(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut joined: Vec<RangeInclusive<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// The header of a segment.
#[derive(Clone, Copy)]
struct Header {
    fields: SegmentHeader,
    /// Whether its checksum is right. If not, its salt may be right all the same.
    is_whole: bool,
}

impl Header {
    /// None if the segment is to be left out.
    fn read(
        path: &Path,
        number: SegmentNumber,
        bytes: &[u8],
        options: &LogOptions,
        salvaged: &mut Salvaged,
    ) -> Result<Option<Header>, Error> {
        let fields = match SegmentHeader::decode(path, bytes) {
            Ok(fields) => fields,
            // Unless it is the number of the format that is damaged.
            Err(error @ Error::FromTheFuture { .. }) => {
                SegmentHeader::decode_as_known(path, bytes).map_err(|_| error)?
            }
            Err(error) => {
                let fields = SegmentHeader::decode_unchecked(bytes);
                let header = fields.map(|fields| Header { fields, is_whole: false });
                if header.is_none() {
                    salvaged.lost.push(error.as_finding());
                }
                return Ok(header);
            }
        };
        let path = path.display();
        if fields.database != options.database {
            salvaged.lost.push(format!("{path} is of another database, and was left out."));
            return Ok(None);
        }
        if fields.number != number {
            let number = fields.number;
            salvaged.lost.push(format!("{path} is by its header segment {number}: left out."));
            return Ok(None);
        }
        options.check_key(fields.key)?;
        Ok(Some(Header { fields, is_whole: true }))
    }
}

/// A search through one segment.
struct Scan<'a> {
    options: &'a LogOptions,
    header: Header,
    bytes: &'a [u8],
    ceiling: Revision,
    salvaged: &'a mut Salvaged,
}

/// Where records may be, and the batches that they may be of.
struct Region {
    from: usize,
    to: usize,
    numbers: RangeInclusive<BatchNumber>,
}

impl Scan<'_> {
    /// Whether anything could be read.
    fn all(&mut self, found: &mut Finder<'_>) -> Result<bool, Error> {
        let batches = self.batches();
        let records_before = self.salvaged.records;
        for (_, batch) in &batches {
            self.salvaged.durable = self.salvaged.durable.max(batch.durable);
        }
        for region in self.regions(&batches) {
            self.region(region, found)?;
        }
        let is_readable = !batches.is_empty() || self.salvaged.records > records_before;
        self.salvaged.segments += u64::from(is_readable || self.header.is_whole);
        Ok(is_readable)
    }

    /// The headers of batches, and where they are.
    fn batches(&self) -> Vec<(usize, BatchHeader)> {
        let seed = self.header.fields.seed();
        let places = memchr::memmem::find_iter(self.bytes, &BATCH_MAGIC);
        places.filter_map(|at| Some((at, BatchHeader::decode(&self.bytes[at..], seed)?))).collect()
    }

    fn regions(&self, batches: &[(usize, BatchHeader)]) -> Vec<Region> {
        let first = self.header.fields.first_batch;
        let begin = (SEGMENT_HEADER_BYTES, self.header.is_whole.then_some(first));
        let after = batches.iter().map(|(at, batch)| (at + BATCH_HEADER_BYTES, Some(batch.number)));
        let begins: Vec<_> = std::iter::once(begin).chain(after).collect();
        let mut regions = Vec::new();
        for (index, &(from, number)) in begins.iter().enumerate() {
            let next = batches.get(index);
            let to = next.map_or(self.bytes.len(), |(at, _)| *at);
            // The next header that was found is of a later batch than what lies before it.
            let below = next.map(|(_, batch)| batch.number);
            let numbers = match (number, below) {
                (Some(number), Some(below)) => {
                    number..=(below - 1).clamp(number, number + BATCHES_MISSING_MAX)
                }
                (Some(number), None) => number..=number.saturating_add(BATCHES_MISSING_MAX),
                (None, Some(below)) => below.saturating_sub(BATCHES_MISSING_MAX)..=below - 1,
                (None, None) => 1..=BATCHES_MISSING_MAX,
            };
            if from < to {
                regions.push(Region { from, to, numbers });
            }
        }
        regions
    }

    fn region(&mut self, region: Region, found: &mut Finder<'_>) -> Result<(), Error> {
        let seed = self.header.fields.seed();
        let Region { mut from, to, numbers } = region;
        // The batch that is being read: those before it are over.
        let mut number = *numbers.start();
        while from + RECORD_HEADER_BYTES < to {
            let found_here = self.likely(&self.bytes[from..to]).and_then(|(stamp, bytes)| {
                let record = &self.bytes[from..from + bytes];
                let is_of =
                    |number: &BatchNumber| record::is_intact(record, batch::seed(seed, *number));
                Some((stamp, bytes, (number..=*numbers.end()).find(is_of)?))
            });
            let Some((stamp, bytes, of)) = found_here else {
                from += 1;
                continue;
            };
            self.found(stamp, from, bytes, found)?;
            (number, from) = (of, from + bytes);
        }
        Ok(())
    }

    /// What bytes say of themselves that may begin with a record: its stamp and length. This is
    /// cheap, and keeps most nonsense from being summed up.
    fn likely(&self, bytes: &[u8]) -> Option<(Stamp, usize)> {
        let header = RecordHeader::decode(bytes.first_chunk()?);
        let length = header.length as usize;
        let record_bytes = RECORD_HEADER_BYTES.checked_add(length)?;
        if length == 0 || header.reserved != 0 || record_bytes > bytes.len() {
            return None;
        }
        let base = self.header.fields.base.revision.0;
        let last = base.saturating_add(self.bytes.len() as u64 / RECORD_BYTES_MIN);
        let is_within = base < header.stamp.revision.0 && header.stamp.revision.0 <= last;
        (is_within || !self.header.is_whole).then_some((header.stamp, record_bytes))
    }

    fn found(
        &mut self,
        stamp: Stamp,
        from: usize,
        bytes: usize,
        found: &mut Finder<'_>,
    ) -> Result<(), Error> {
        if stamp.revision > self.ceiling {
            return Ok(());
        }
        let record = &self.bytes[from..from + bytes];
        let salt = &self.header.fields.salt;
        let payload = match self.options.protection.restore(record, salt, from as u64) {
            Ok(payload) => payload,
            Err(why) => {
                let revision = stamp.revision;
                self.salvaged.lost.push(format!("the record of revision {revision}: {}.", why.0));
                return Ok(());
            }
        };
        self.salvaged.records += 1;
        let revision = stamp.revision.0;
        match self.salvaged.revisions.last_mut() {
            Some(last) if last.end() + 1 == revision => *last = *last.start()..=revision,
            _ => self.salvaged.revisions.push(revision..=revision),
        }
        found(FoundRecord { stamp, payload: &payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_joined() {
        assert_eq!(joined(vec![7..=9, 1..=2, 3..=3, 5..=5, 8..=11]), [1..=3, 5..=5, 7..=11]);
        assert_eq!(joined(vec![]), []);
    }
}
