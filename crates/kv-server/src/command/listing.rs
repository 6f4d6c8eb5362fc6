//! Lists: short ones written at once, those that may be long (SCAN, COUNT, SHOWALL, HISTORY,
//! LOCKS) in pieces.
//!
//! A [`Listing`] holds a scan under way and no latch; whoever writes it decides how much is
//! written before the bytes are sent and others get their turn.

use std::fmt;
use std::ops::Bound;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use kv_core::{
    AbortReason, Conditions, Error, Interval, LockInfo, LockTarget, Mode, Nearest, Number, Past,
    Pattern, Pause, Row as Found, Scan, ScanOptions, Step, TxnId, ValueCondition,
};
use kv_protocol::reply::{LockMode, LockState, LockTarget as ShownTarget};
use kv_protocol::{ErrorReply, Format, ListKind, Reply, Row, Selection};
use kv_protocol::{list_begin, list_end, list_fail, list_row};

use super::value::datum;
use super::{Client, Next, refusal};

/// Rows counted before others get their turn.
const COUNT_ROWS_AT_ONCE: u64 = 16 << 10;

/// A long list under way.
#[derive(Debug)]
pub struct Listing {
    source: Source,
    /// The transaction that it reads in. Once that is aborted, so is the list: its locks or its
    /// view are gone, and what would follow may not fit what was sent.
    txn: Option<TxnId>,
    asked: Instant,
    rows: u64,
    is_begun: bool,
    /// In RESP, where the number of rows stands before them.
    counting: Counting,
}

/// How a list gets to the number of its rows before they are sent.
#[derive(Debug)]
enum Counting {
    /// Its end may come before much is held back.
    Holding {
        /// The rows so far.
        rows: Vec<u8>,
        /// The same rows once more, to be counted if there are many; none if there never are.
        twin: Option<Scan>,
    },
    /// There are many: those that were held back wait until all are counted.
    Ahead { rows: Vec<u8>, twin: Scan, count: u64 },
    /// It has been said how many there are, or need not be.
    Over,
}

/// How far a list has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// It is complete.
    Whole,
    /// There is more to be written.
    More,
    /// It cannot be completed, and there is no way to say so: the connection has to be closed.
    Broken,
}

impl Listing {
    /// Lets go of what it reads from, so that no version is kept for it, if its transaction is
    /// gone: it will not be completed.
    pub fn forget_if_lost(&mut self, client: &Client) {
        if let Err(error) = client.check_list(self) {
            self.source = Source::Lost(self.source.kind(), error);
        }
    }
}

/// Every lock there is, a shard's at a time.
pub(super) struct Locks(pub(super) Box<dyn Iterator<Item = LockInfo> + Send>);

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locks")
    }
}

/// Where the rows come from.
#[derive(Debug)]
pub(super) enum Source {
    Pairs(Scan),
    /// Keys alone, for KEYS of the Redis protocol.
    Keys(Scan),
    Nearest(Box<Nearest>),
    Shown(Scan),
    Count(Scan),
    Versions(IntoIter<Past>),
    Locks(Locks),
    /// Nothing more, because of this; it was a list of this kind.
    Lost(Option<ListKind>, Error),
}

impl Source {
    /// What is written; a COUNT writes only the number.
    fn kind(&self) -> Option<ListKind> {
        match self {
            Source::Pairs(_) | Source::Keys(_) | Source::Nearest(_) => Some(ListKind::Pairs),
            Source::Shown(_) => Some(ListKind::Shown),
            Source::Count(_) => None,
            Source::Versions(_) => Some(ListKind::Versions),
            Source::Locks(_) => Some(ListKind::Locks),
            Source::Lost(kind, _) => *kind,
        }
    }

    /// Hands the next row to `write`; false if there is none.
    fn next(&mut self, write: impl FnOnce(&Row<'_>)) -> Step<bool> {
        match self {
            Source::Keys(scan) => {
                let found = scan.next_key_row()?;
                let is_there = found.is_some();
                if let Some(row) = found {
                    write(&Row::Key(row.key()));
                }
                Ok(is_there)
            }
            Source::Pairs(scan) => scan.next_row().map(|row| with_pair(row, write)),
            Source::Nearest(nearest) => nearest.next_row().map(|row| with_pair(row, write)),
            Source::Shown(scan) => scan.next_row().map(|row| with_shown(row, write)),
            Source::Versions(versions) => {
                let past = versions.next();
                past.as_ref().map(version_row).as_ref().map(write).map_or(Ok(false), |()| Ok(true))
            }
            Source::Locks(locks) => {
                let lock = locks.0.next();
                lock.as_ref().map(lock_row).as_ref().map(write).map_or(Ok(false), |()| Ok(true))
            }
            Source::Count(_) | Source::Lost(..) => Ok(false),
        }
    }
}

impl Client {
    /// Appends rows of a list until it is complete, or `out` has `bytes_max` or more, or others are
    /// to have their turn.
    ///
    /// # Errors
    ///
    /// The pause, if a row's value has to be fetched first; never [`Pause::Failed`], as a failure
    /// is written in place of the end.
    pub fn write_list(
        &mut self,
        listing: &mut Listing,
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Listed, Pause> {
        let written = self.write_rows(listing, out, bytes_max);
        if let Ok(Listed::Whole | Listed::Broken) = written {
            self.park();
        }
        written
    }

    fn write_rows(
        &self,
        listing: &mut Listing,
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Listed, Pause> {
        let Some(kind) = listing.source.kind() else { return self.write_count(listing, out) };
        if let (Format::Resp(_), Counting::Holding { .. } | Counting::Ahead { .. }) =
            (self.format, &listing.counting)
        {
            return self.write_counted(listing, out, bytes_max);
        }
        if !listing.is_begun {
            listing.is_begun = true;
            list_begin(out, self.format, kind);
        }
        if let Err(error) = self.check_list(listing) {
            return Ok(self.tell_failure(listing, &refusal(&error), out));
        }
        while out.len() < bytes_max {
            let is_first = listing.rows == 0;
            match listing.source.next(|row| list_row(out, self.format, is_first, row)) {
                Ok(true) => listing.rows += 1,
                Ok(false) => {
                    // In RESP its number has been said.
                    if !matches!(self.format, Format::Resp(_)) {
                        list_end(out, self.format, kind, listing.rows, 0);
                    }
                    return Ok(Listed::Whole);
                }
                Err(Pause::Failed(error)) => {
                    return Ok(self.tell_failure(listing, &refusal(&error), out));
                }
                Err(Pause::Yield) => return Ok(Listed::More),
                Err(pause) => return Err(pause),
            }
        }
        Ok(Listed::More)
    }

    /// Gets a list to where its number has been written: at its end, if that comes soon, else when
    /// all have been counted.
    fn write_counted(
        &self,
        listing: &mut Listing,
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Listed, Pause> {
        if let Err(error) = self.check_list(listing) {
            return Ok(self.tell_failure(listing, &refusal(&error), out));
        }
        let outcome = match std::mem::replace(&mut listing.counting, Counting::Over) {
            Counting::Holding { rows, twin } => self.hold(listing, rows, twin, bytes_max),
            Counting::Ahead { rows, twin, count } => count_ahead(listing, rows, twin, count),
            Counting::Over => Ok(None),
        };
        match outcome {
            Ok(Some((count, rows))) => {
                out.extend_from_slice(&rows);
                list_end(out, self.format, ListKind::Pairs, count, out.len() - rows.len());
                let is_whole = listing.rows == count && listing.is_begun;
                Ok(if is_whole { Listed::Whole } else { Listed::More })
            }
            Ok(None) | Err(Pause::Yield) => Ok(Listed::More),
            Err(Pause::Failed(error)) => {
                // Nothing has been said of it yet.
                listing.rows = 0;
                Ok(self.tell_failure(listing, &refusal(&error), out))
            }
            Err(pause) => Err(pause),
        }
    }

    /// Holds rows back until the list ends; then it is known how many there are. None while it is
    /// not.
    fn hold(
        &self,
        listing: &mut Listing,
        mut rows: Vec<u8>,
        twin: Option<Scan>,
        bytes_max: usize,
    ) -> Step<Option<(u64, Vec<u8>)>> {
        loop {
            if rows.len() >= bytes_max
                && let Some(twin) = twin
            {
                listing.counting = Counting::Ahead { rows, twin, count: 0 };
                return Ok(None);
            }
            match listing.source.next(|row| list_row(&mut rows, self.format, false, row)) {
                Ok(true) => listing.rows += 1,
                Ok(false) => {
                    listing.is_begun = true;
                    return Ok(Some((listing.rows, rows)));
                }
                Err(pause) => {
                    if !matches!(pause, Pause::Failed(_)) {
                        listing.counting = Counting::Holding { rows, twin };
                    }
                    return Err(pause);
                }
            }
        }
    }

    fn write_count(&self, listing: &mut Listing, out: &mut Vec<u8>) -> Result<Listed, Pause> {
        let counted = match &mut listing.source {
            Source::Count(scan) => scan.count_rows(COUNT_ROWS_AT_ONCE),
            _ => Ok(0),
        };
        let counted = self.check_list(listing).map_err(Pause::from).and(counted);
        match counted {
            Ok(rows) => {
                listing.rows += rows;
                if rows == COUNT_ROWS_AT_ONCE {
                    return Ok(Listed::More);
                }
                let rows = i64::try_from(listing.rows).unwrap_or(i64::MAX);
                Reply::Number(rows).write(out, self.format);
                Ok(Listed::Whole)
            }
            Err(Pause::Failed(error)) => Ok(self.tell_failure(listing, &refusal(&error), out)),
            Err(Pause::Yield) => Ok(Listed::More),
            Err(pause) => Err(pause),
        }
    }

    fn check_list(&self, listing: &Listing) -> Result<(), Error> {
        if let Source::Lost(_, error) = &listing.source {
            return Err(error.clone());
        }
        match listing.txn {
            Some(txn) => self.session.check_live(Some(txn)),
            // A single command's read view has its age too.
            None if listing.asked.elapsed() > self.server.config().view_age_max => {
                Err(Error::Aborted { txn: TxnId(0), reason: AbortReason::ViewAge })
            }
            None => Ok(()),
        }
    }

    /// Ends a list that cannot be completed.
    pub fn fail_list(
        &mut self,
        listing: &Listing,
        failure: &ErrorReply,
        out: &mut Vec<u8>,
    ) -> Listed {
        let listed = self.tell_failure(listing, failure, out);
        self.park();
        listed
    }

    fn tell_failure(&self, listing: &Listing, failure: &ErrorReply, out: &mut Vec<u8>) -> Listed {
        let txn = listing.txn.map(|txn| txn.0);
        let is_counted = matches!(listing.counting, Counting::Over) && listing.rows > 0;
        if is_counted && matches!(self.format, Format::Resp(_)) {
            return Listed::Broken;
        }
        match listing.source.kind() {
            None => self.refuse(failure, txn, out),
            Some(kind) => {
                let failure = failure.clone().in_transaction(self.state_of(txn));
                list_fail(out, self.format, kind, &failure);
            }
        }
        Listed::Whole
    }

    pub(super) fn listing(&self, source: Source, txn: Option<TxnId>) -> Next {
        let counting = match (self.format, &source) {
            (Format::Resp(_), Source::Pairs(scan) | Source::Keys(scan) | Source::Shown(scan)) => {
                Counting::Holding { rows: Vec::new(), twin: Some(scan.twin()) }
            }
            (Format::Resp(_), _) => Counting::Holding { rows: Vec::new(), twin: None },
            _ => Counting::Over,
        };
        Next::List(Box::new(Listing {
            source,
            txn,
            asked: Instant::now(),
            rows: 0,
            is_begun: false,
            counting,
        }))
    }
}

/// Counts on; with the rows that were held back meanwhile when it is known how many there are.
fn count_ahead(
    listing: &mut Listing,
    rows: Vec<u8>,
    mut twin: Scan,
    mut count: u64,
) -> Step<Option<(u64, Vec<u8>)>> {
    let counted = twin.count_rows(COUNT_ROWS_AT_ONCE);
    count += *counted.as_ref().unwrap_or(&0);
    match counted {
        Ok(counted) if counted < COUNT_ROWS_AT_ONCE => return Ok(Some((count, rows))),
        Err(pause @ Pause::Failed(_)) => return Err(pause),
        _ => listing.counting = Counting::Ahead { rows, twin, count },
    }
    counted.map(|_| None)
}

fn with_pair(found: Option<Found>, write: impl FnOnce(&Row<'_>)) -> bool {
    let Some(found) = found else { return false };
    match &found.value() {
        Some(value) => write(&Row::Pair { key: found.key(), value: datum(value) }),
        // Only SHOWALL shows deletes.
        None => write(&Row::Shown { key: found.key(), value: None, txn: None }),
    }
    true
}

fn with_shown(found: Option<Found>, write: impl FnOnce(&Row<'_>)) -> bool {
    let Some(found) = found else { return false };
    let (value, txn) = (found.value(), found.txn.map(|txn| txn.0));
    write(&Row::Shown { key: found.key(), value: value.as_ref().map(datum), txn });
    true
}

fn version_row(past: &Past) -> Row<'_> {
    Row::Version {
        version: past.version.0,
        revision: past.revision.0,
        updated_ms: past.updated_ms,
        value: past.value.as_ref().map(datum),
    }
}

fn lock_row(lock: &LockInfo) -> Row<'_> {
    Row::Lock {
        session: lock.holder.session.0,
        txn: Some(lock.holder.txn.0).filter(|&txn| txn > 0),
        target: match &lock.target {
            LockTarget::Key(key) => ShownTarget::Key((&**key).into()),
            LockTarget::Range(interval) => ShownTarget::Range {
                from: match &*interval.from {
                    [] => Bound::Unbounded,
                    from => Bound::Included(from.into()),
                },
                to: match interval.to.as_deref() {
                    None => Bound::Unbounded,
                    Some(to) => Bound::Excluded(to.into()),
                },
            },
        },
        mode: match lock.mode {
            Mode::Shared => LockMode::Shared,
            Mode::Exclusive => LockMode::Exclusive,
        },
        state: if lock.is_waiting { LockState::Waiting } else { LockState::Held },
        age_ms: millis(lock.age),
    }
}

impl Client {
    /// Appends a short list.
    pub(super) fn list<'a>(
        &self,
        out: &mut Vec<u8>,
        kind: ListKind,
        rows: impl Iterator<Item = Row<'a>>,
    ) -> Step<Next> {
        let start = out.len();
        list_begin(out, self.format, kind);
        let mut count = 0;
        for row in rows {
            list_row(out, self.format, count == 0, &row);
            count += 1;
        }
        list_end(out, self.format, kind, count, start);
        Ok(Next::Request)
    }

    pub(super) fn scan(&mut self, selection: &Selection<'_>) -> Step<Next> {
        let scan = self.session.scan(selection.txn.map(TxnId), &options(selection)?)?;
        Ok(self.listing(Source::Pairs(scan), self.txn_read_in(selection.txn)))
    }

    pub(super) fn count(&mut self, selection: &Selection<'_>) -> Step<Next> {
        let scan = self.session.scan(selection.txn.map(TxnId), &options(selection)?)?;
        Ok(self.listing(Source::Count(scan), self.txn_read_in(selection.txn)))
    }

    pub(super) fn nearest(&mut self, nearest: &kv_protocol::Nearest<'_>) -> Step<Next> {
        let interval = nearest.prefix.as_deref().map_or_else(Interval::all, Interval::prefix);
        let (x, txn) = (Number::needed(&nearest.number)?, nearest.txn);
        let found = self.session.nearest(txn.map(TxnId), &x, nearest.rows, &interval)?;
        Ok(self.listing(Source::Nearest(Box::new(found)), self.txn_read_in(txn)))
    }

    pub(super) fn show_all(&mut self, txn: Option<u64>) -> Step<Next> {
        if txn.is_none() {
            let scan = self.session.show_all();
            return Ok(self.listing(Source::Shown(scan), None));
        }
        let scan = self.session.scan(txn.map(TxnId), &ScanOptions::default())?;
        Ok(self.listing(Source::Shown(scan), self.txn_read_in(txn)))
    }

    fn txn_read_in(&self, txn: Option<u64>) -> Option<TxnId> {
        txn.map(TxnId).or_else(|| self.session.current())
    }
}

/// What the engine is asked for.
pub(crate) fn options(selection: &Selection<'_>) -> Result<ScanOptions, Error> {
    let interval = match &selection.interval {
        kv_protocol::Interval::All => Interval::all(),
        kv_protocol::Interval::Prefix(prefix) => Interval::prefix(prefix),
        kv_protocol::Interval::Range { from, to } => Interval::range(from, to),
    };
    let interval = match selection.after.as_deref() {
        Some(after) if !after.is_empty() => interval.after(after),
        _ => interval,
    };
    let conditions = Conditions {
        key: selection.key.as_ref().map(compiled).transpose()?,
        value: selection.value.as_ref().map(value_condition).transpose()?,
    };
    Ok(ScanOptions { interval, conditions, limit: selection.limit })
}

fn compiled(pattern: &kv_protocol::Pattern<'_>) -> Result<Pattern, Error> {
    match pattern {
        kv_protocol::Pattern::Glob(glob) => Pattern::glob(glob),
        kv_protocol::Pattern::Regex(regex) => Pattern::regex(regex),
    }
}

fn value_condition(asked: &kv_protocol::ValueCondition<'_>) -> Result<ValueCondition, Error> {
    Ok(match asked {
        kv_protocol::ValueCondition::Equal(value) => ValueCondition::Equal((&**value).into()),
        kv_protocol::ValueCondition::Matches(pattern) => {
            ValueCondition::Matches(compiled(pattern)?)
        }
        kv_protocol::ValueCondition::Range { from, to } => {
            ValueCondition::Within(Interval::range(from, to))
        }
        kv_protocol::ValueCondition::Number { low, high } => ValueCondition::between(low, high)?,
    })
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
