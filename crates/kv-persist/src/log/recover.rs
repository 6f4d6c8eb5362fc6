//! Recovery: what the log holds after the snapshot, where it ends, and whether that end can be
//! believed. Nothing is changed here; [`Log::start`](super::Log::start) does that.
//!
//! Each valid batch header, and each segment's, says that a revision was durable before it was
//! written. The highest of these marks decides what an invalid place means:
//!
//! ```text
//!     last valid revision ≥ mark    the rest was never acknowledged: a torn tail, or none
//!     last valid revision < mark    what was durable is gone: damage, and the start is refused
//! ```
//!
//! So the search for marks goes on beyond the invalid place. What lies between the mark and the
//! last valid revision is *suspect*: it may be in the page cache only, after a sync that failed.

use std::ops::ControlFlow;
use std::path::PathBuf;

use kv_core::{Revision, Stamp};

use super::LogOptions;
use super::batch::BatchNumber;
use super::chain::{Chain, EachRecord, Listing, lost};
use super::scan::{RecordView, ScanPlace, SegmentScan};
use super::segment::{self, SegmentHeader, SegmentNumber};
use crate::error::Error;
use crate::fs::FileSystem;
use crate::stored::{EMPTY, Through};

/// What was found in a log, and all that [`Log::start`](super::Log::start) needs to go on with it.
#[derive(Debug)]
pub struct Recovered {
    /// The last commit: of the log, or of the snapshot if nothing is newer.
    pub through: Through,
    /// Through which revision everything was durable before; the rest is still to be made so.
    pub durable: Revision,
    /// How many commits the log has beyond the snapshot.
    pub records: u64,
    /// How much of the log they take, in bytes.
    pub log_bytes: u64,
    /// What is to be cut off.
    pub torn: Option<Torn>,
    pub(super) listing: Listing,
    pub(super) next_batch: BatchNumber,
    /// Where the valid part of the last segment ends, zeros not counted.
    pub(super) zeros_from: u64,
}

/// The torn tail of a log: what was being written when the process or the system stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// What is wrong with it.
    pub what: &'static str,
    /// The last revision before it.
    pub after: Revision,
    pub(super) segment: SegmentNumber,
}

impl Recovered {
    /// An empty log that goes on after `through`: that of a new database, or of a snapshot that was
    /// restored without one. The log's directory must have no segments.
    pub fn empty(through: Through) -> Recovered {
        Recovered {
            through,
            durable: through.revision,
            records: 0,
            log_bytes: 0,
            torn: None,
            listing: Listing::default(),
            next_batch: 1,
            zeros_from: 0,
        }
    }
}

/// Hands over every commit after `snapshot`, in order, and tells what is to be done before the
/// log can be used. Changes nothing.
///
/// # Errors
///
/// A refusal ([`Error::is_refusal`]) if a segment is damaged, missing, foreign, from the future or
/// of another key; [`Error::Io`]; what `each` answers. Some records may have been handed over
/// before.
pub fn recover(
    fs: &dyn FileSystem,
    options: &LogOptions,
    snapshot: Through,
    each: &mut EachRecord<'_>,
) -> Result<Recovered, Error> {
    let listing = Listing::read(fs, options)?;
    let Some((last, before)) = listing.chain.segments.split_last() else {
        if snapshot != EMPTY {
            return Err(missing(
                options,
                format!("all of the log after revision {}", snapshot.revision),
            ));
        }
        return Ok(Recovered::empty(EMPTY));
    };
    let mut replay = Replay { snapshot, each, records: 0, log_bytes: 0 };
    let Some(mut place) = listing.chain.place_after(snapshot.revision) else {
        let first = listing.chain.segments[0].base.revision;
        let revisions = format!("revisions {} to {first}", snapshot.revision.0 + 1);
        return Err(missing(options, revisions));
    };
    let finished = Chain { segments: before.to_vec() };
    if place.last().revision < last.base.revision {
        let mut each = |record: RecordView<'_>| replay.take(record).map(ControlFlow::Continue);
        finished.read(fs, options, &mut place, last.base.revision, &mut each)?;
    }
    let tail = replay.tail(fs, options, last)?;
    // The snapshot's time may be later than that of its last commit, and of those after it.
    let through = Stamp {
        revision: tail.last.revision.max(snapshot.revision),
        time_ms: tail.last.time_ms.max(snapshot.time_ms),
    };
    Ok(Recovered {
        through,
        durable: tail.durable,
        records: replay.records,
        log_bytes: replay.log_bytes,
        torn: tail.torn,
        next_batch: tail.next_batch,
        zeros_from: tail.zeros_from,
        listing,
    })
}

fn missing(options: &LogOptions, what: String) -> Error {
    Error::Mismatch {
        path: options.dir.clone(),
        what: format!(
            "{what} is missing: segments of the log were removed, or the snapshot is an older one; \
             put back what belongs together"
        ),
    }
}

/// What the last segment holds, and how it ends.
struct Tail {
    last: Stamp,
    durable: Revision,
    torn: Option<Torn>,
    next_batch: BatchNumber,
    zeros_from: u64,
}

struct Replay<'a, 'b> {
    snapshot: Through,
    each: &'a mut EachRecord<'b>,
    records: u64,
    log_bytes: u64,
}

impl Replay<'_, '_> {
    fn take(&mut self, record: RecordView<'_>) -> Result<(), Error> {
        if record.stamp.revision > self.snapshot.revision {
            self.records += 1;
            self.log_bytes += record.log_bytes;
            (self.each)(record)?;
        }
        Ok(())
    }

    /// Reads the last segment to where it ends.
    fn tail(
        &mut self,
        fs: &dyn FileSystem,
        options: &LogOptions,
        header: &SegmentHeader,
    ) -> Result<Tail, Error> {
        let until = planted_end(fs, options, header)?;
        let mut scan = SegmentScan::open(fs, options, header, ScanPlace::start(header))?;
        let end = loop {
            if Some(scan.place().last().revision) == until {
                return Ok(Tail::unquestioned(&scan));
            }
            match scan.next()? {
                Ok(record) => self.take(record)?,
                Err(end) => break end,
            }
        };
        let rest = scan.rest(end)?;
        let place = scan.place();
        let last = place.last();
        let marks = [Some(place.durable()), rest.durable, Some(self.snapshot.revision)];
        let durable = marks.into_iter().flatten().max().unwrap_or_default();
        if last.revision < durable {
            return Err(lost(&scan, end, durable));
        }
        let torn = (rest.zeros_from > end.offset).then(|| Torn {
            path: scan.path().to_owned(),
            offset: end.offset,
            bytes: rest.zeros_from - end.offset,
            what: end.what,
            after: last.revision,
            segment: header.number,
        });
        let last_batch = rest.last_batch.unwrap_or_default();
        let next_batch = place.next_batch().max(last_batch + 1);
        Ok(Tail { last, durable, torn, next_batch, zeros_from: rest.zeros_from })
    }
}

impl Tail {
    /// The end of a scan that was stopped early.
    fn unquestioned(scan: &SegmentScan<'_>) -> Tail {
        let place = scan.place();
        Tail {
            last: place.last(),
            durable: place.durable().min(place.last().revision),
            torn: None,
            next_batch: place.next_batch() + 1,
            zeros_from: u64::MAX,
        }
    }
}

/// Where recovery stops if it is to lose a record, so that a test can show that it would be caught.
fn planted_end(
    fs: &dyn FileSystem,
    options: &LogOptions,
    header: &SegmentHeader,
) -> Result<Option<Revision>, Error> {
    if !options.stops_early() {
        return Ok(None);
    }
    let mut scan = SegmentScan::open(fs, options, header, ScanPlace::start(header))?;
    while scan.next()?.is_ok() {}
    let last = scan.place().last().revision;
    Ok(Some(Revision(last.0.saturating_sub(1).max(header.base.revision.0))))
}

/// What a check of the log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogVerified {
    /// How many segments there are.
    pub segments: u64,
    /// How many valid records they have.
    pub records: u64,
    /// The last valid revision.
    pub last: Revision,
    /// What is wrong, a sentence each; empty if nothing is.
    pub faults: Vec<String>,
    /// What is unusual but no fault, a sentence each: a torn tail.
    pub remarks: Vec<String>,
}

/// Checks everything in the log, changes included, without changing anything. Goes on with the
/// next segment where one is damaged.
///
/// # Errors
///
/// [`Error::Io`] if it cannot be read at all.
pub fn verify(
    fs: &dyn FileSystem,
    options: &LogOptions,
    snapshot: Through,
) -> Result<LogVerified, Error> {
    let mut verified = LogVerified::default();
    let mut decode =
        |record: RecordView<'_>| record.changes().try_for_each(|change| change.map(drop));
    match recover(fs, options, snapshot, &mut decode) {
        Ok(recovered) => {
            verified.last = recovered.through.revision;
            if let Some(torn) = recovered.torn {
                verified.remarks.push(format!(
                    "{}: {} bytes from byte {} on are a torn tail ({}), after revision {}.",
                    torn.path.display(),
                    torn.bytes,
                    torn.offset,
                    torn.what,
                    torn.after
                ));
            }
        }
        Err(error) if error.is_refusal() => verified.faults.push(error.as_finding()),
        Err(error) => return Err(error),
    }
    verified.count(fs, options)?;
    Ok(verified)
}

/// Checks each segment by itself, for when the snapshot that the log goes on from is not known:
/// whether they fit together is not.
///
/// # Errors
///
/// [`Error::Io`] if it cannot be read at all.
pub fn verify_segments(fs: &dyn FileSystem, options: &LogOptions) -> Result<LogVerified, Error> {
    let mut verified = LogVerified::default();
    verified.count(fs, options)?;
    Ok(verified)
}

impl LogVerified {
    /// Looks at each segment by itself.
    fn count(&mut self, fs: &dyn FileSystem, options: &LogOptions) -> Result<(), Error> {
        let dir = &options.dir;
        let names = fs.list(dir).map_err(|error| Error::io("list", dir, error))?;
        let mut numbers: Vec<_> =
            names.iter().filter_map(|name| segment::number_in(name)).collect();
        numbers.sort_unstable();
        for number in numbers {
            self.segments += 1;
            let path = segment::path(dir, number);
            match self.count_segment(fs, options, &path) {
                Err(error) if error.is_refusal() => self.add_fault(error.as_finding()),
                outcome => outcome?,
            }
        }
        Ok(())
    }

    fn count_segment(
        &mut self,
        fs: &dyn FileSystem,
        options: &LogOptions,
        path: &std::path::Path,
    ) -> Result<(), Error> {
        let header = super::scan::read_header(fs, options, path)?;
        let mut scan = SegmentScan::open(fs, options, &header, ScanPlace::start(&header))?;
        let end = loop {
            match scan.next()? {
                Ok(record) => {
                    self.records += 1;
                    record.changes().try_for_each(|change| change.map(drop))?;
                }
                Err(end) => break end,
            }
        };
        let rest = scan.rest(end)?;
        let last = scan.place().last().revision;
        self.last = self.last.max(last);
        let durable = rest.durable.unwrap_or_default().max(scan.place().durable());
        if last < durable {
            self.add_fault(lost(&scan, end, durable).as_finding());
        }
        Ok(())
    }

    fn add_fault(&mut self, fault: String) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}
