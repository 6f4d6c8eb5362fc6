//! The segments of a log in their order, and reading a stretch of revisions that is known to be
//! there.

use std::ops::ControlFlow;

use kv_core::{Revision, Stamp};

use super::LogOptions;
use super::scan::{End, RecordView, ScanPlace, SegmentScan, read_header};
use super::segment::{self, SegmentHeader, SegmentNumber};
use crate::error::Error;
use crate::fs::FileSystem;

/// Takes records, in the order of their revisions.
pub type EachRecord<'a> = dyn FnMut(RecordView<'_>) -> Result<(), Error> + 'a;

/// The same, and says when to stop: after the record that it was called with.
pub(super) type UntilRecord<'a> = dyn FnMut(RecordView<'_>) -> Result<ControlFlow<()>, Error> + 'a;

/// The segments that belong together, oldest first: their numbers follow each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    pub(super) segments: Vec<SegmentHeader>,
}

/// What is in a log's directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    pub(super) chain: Chain,
    /// Older segments that a crash kept from being removed with those after them.
    pub(super) stray: Vec<SegmentNumber>,
    /// Names of segments that were never finished.
    pub(super) unfinished: Vec<String>,
}

/// Where a reader of the chain is: in a segment, and there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChainPlace {
    segment: SegmentNumber,
    place: ScanPlace,
}

impl ChainPlace {
    pub(super) fn last(&self) -> Stamp {
        self.place.last()
    }
}

impl Listing {
    /// Reads the headers of all segments.
    ///
    /// # Errors
    ///
    /// Why one of them is refused.
    pub(super) fn read(fs: &dyn FileSystem, options: &LogOptions) -> Result<Listing, Error> {
        let dir = &options.dir;
        let names = fs.list(dir).map_err(|error| Error::io("list", dir, error))?;
        let mut listing = Listing::default();
        let mut numbers: Vec<_> =
            names.iter().filter_map(|name| segment::number_in(name)).collect();
        numbers.sort_unstable();
        for &number in &numbers {
            let header = read_header(fs, options, &segment::path(dir, number))?;
            listing.chain.segments.push(header);
        }
        let follows = |pair: &[SegmentNumber]| pair[0] + 1 == pair[1];
        let gap = numbers.windows(2).rposition(|pair| !follows(pair));
        let after_gap = gap.map_or(0, |gap| gap + 1);
        listing.chain.segments.drain(..after_gap);
        listing.chain.check_order(options)?;
        listing.stray = numbers[..after_gap].to_vec();
        listing.unfinished =
            names.into_iter().filter(|name| segment::is_unfinished(name)).collect();
        Ok(listing)
    }
}

impl Chain {
    /// Each segment was made after the one before it, and knows it.
    fn check_order(&self, options: &LogOptions) -> Result<(), Error> {
        let is_foreign = |pair: &&[SegmentHeader]| pair[1].previous != pair[0].salt;
        let Some(pair) = self.segments.windows(2).find(is_foreign) else { return Ok(()) };
        Err(Error::Mismatch {
            path: segment::path(&options.dir, pair[1].number),
            what: String::from(
                "this segment was not made after the one before it: they are of two copies of the \
                 database, which went their own ways; restore the log's files as they were",
            ),
        })
    }

    /// The beginning of the segment that has the record after `revision`; none if that segment is
    /// missing.
    pub(super) fn place_after(&self, revision: Revision) -> Option<ChainPlace> {
        let header = self.segments.iter().rev().find(|header| header.base.revision <= revision)?;
        Some(ChainPlace { segment: header.number, place: ScanPlace::start(header) })
    }

    /// Reads from a place through a revision that was durable, or until it is told to stop, and
    /// moves the place there; after an error it stays.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if something is missing; [`Error::Io`]; what `each` answers.
    pub(super) fn read(
        &self,
        fs: &dyn FileSystem,
        options: &LogOptions,
        from: &mut ChainPlace,
        through: Revision,
        each: &mut UntilRecord<'_>,
    ) -> Result<(), Error> {
        let mut at = *from;
        while at.last().revision < through {
            let Some((header, next)) = self.segment(at.segment) else {
                return Err(self.missing(options, at.segment));
            };
            let ends = next.map_or(through, |next| next.base.revision.min(through));
            let mut scan = SegmentScan::open(fs, options, header, at.place)?;
            while scan.place().last().revision < ends {
                let flow = match scan.next()? {
                    Ok(record) => each(record)?,
                    Err(end) => return Err(lost(&scan, end, ends)),
                };
                if flow.is_break() {
                    *from = ChainPlace { place: scan.place(), ..at };
                    return Ok(());
                }
            }
            at.place = scan.place();
            if let Some(next) = next.filter(|next| next.base.revision <= ends) {
                at = ChainPlace { segment: next.number, place: ScanPlace::start(next) };
            }
        }
        *from = at;
        Ok(())
    }

    /// Whether it still has the segment of a place.
    pub(super) fn has(&self, place: &ChainPlace) -> bool {
        self.segment(place.segment).is_some()
    }

    /// A segment, and the one after it.
    fn segment(&self, number: SegmentNumber) -> Option<(&SegmentHeader, Option<&SegmentHeader>)> {
        let index = self.segments.iter().position(|header| header.number == number)?;
        Some((&self.segments[index], self.segments.get(index + 1)))
    }

    fn missing(&self, options: &LogOptions, number: SegmentNumber) -> Error {
        let what = String::from("this segment was removed while it was still needed");
        Error::Mismatch { path: segment::path(&options.dir, number), what }
    }
}

/// Records are missing that were durable.
pub(super) fn lost(scan: &SegmentScan<'_>, end: End, durable: Revision) -> Error {
    let last = scan.place().last().revision;
    Error::Damaged {
        path: scan.path().to_owned(),
        offset: Some(end.offset),
        what: format!(
            "{}, after revision {last}, although everything through revision {durable} was \
             durable",
            end.what
        ),
    }
}
