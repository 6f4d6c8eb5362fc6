//! Lists: short ones written at once, long ones (SCAN, COUNT, SHOWALL) in pieces.
//!
//! A [`Listing`] holds a scan under way and no latch; whoever writes it decides how much is
//! written before the bytes are sent and others get their turn.

use std::time::Duration;

use kv_core::{Interval, Pause, Row as Found, Scan, ScanOptions, Step, TxnId};
use kv_protocol::{Format, ListKind, Reply, Row, Selection};
use kv_protocol::{list_begin, list_end, list_fail, list_row};

use super::value::datum;
use super::{Client, Next, refusal};

/// Rows counted before others get their turn.
const COUNT_ROWS_AT_ONCE: u64 = 16 << 10;

/// A long list under way.
#[derive(Debug)]
pub struct Listing {
    scan: Scan,
    format: Format,
    /// What is written; a COUNT writes only the number.
    kind: Option<ListKind>,
    rows: u64,
    is_begun: bool,
}

impl Listing {
    fn next(scan: Scan, format: Format, kind: Option<ListKind>) -> Next {
        Next::List(Box::new(Listing { scan, format, kind, rows: 0, is_begun: false }))
    }

    /// Appends rows until the list is complete (true), or `out` has `bytes_max` or more (false).
    ///
    /// # Errors
    ///
    /// The pause, if a row's value has to be fetched first; never [`Pause::Failed`], as a failure
    /// is written in place of the end.
    pub fn write(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> Result<bool, Pause> {
        let Some(kind) = self.kind else { return self.count(out) };
        if !self.is_begun {
            self.is_begun = true;
            list_begin(out, self.format, kind);
        }
        while out.len() < bytes_max {
            match self.scan.next_row() {
                Ok(Some(row)) => {
                    write_row(out, self.format, kind, self.rows == 0, &row);
                    self.rows += 1;
                }
                Ok(None) => {
                    list_end(out, self.format, kind, self.rows);
                    return Ok(true);
                }
                Err(Pause::Failed(error)) => {
                    list_fail(out, self.format, kind, &refusal(&error));
                    return Ok(true);
                }
                Err(pause) => return Err(pause),
            }
        }
        Ok(false)
    }

    fn count(&mut self, out: &mut Vec<u8>) -> Result<bool, Pause> {
        match self.scan.count_rows(COUNT_ROWS_AT_ONCE) {
            Ok(rows) => {
                self.rows += rows;
                if rows == COUNT_ROWS_AT_ONCE {
                    return Ok(false);
                }
                let rows = i64::try_from(self.rows).unwrap_or(i64::MAX);
                Reply::Number(rows).write(out, self.format);
                Ok(true)
            }
            Err(Pause::Failed(error)) => {
                Reply::Error(refusal(&error)).write(out, self.format);
                Ok(true)
            }
            Err(pause) => Err(pause),
        }
    }
}

fn write_row(out: &mut Vec<u8>, format: Format, kind: ListKind, is_first: bool, found: &Found) {
    let value = found.value();
    let shown = value.as_ref().map(datum);
    let (key, txn) = (found.key(), found.txn.map(|txn| txn.0));
    match (kind, shown) {
        (ListKind::Pairs, Some(value)) => {
            list_row(out, format, is_first, &Row::Pair { key, value });
        }
        (_, value) => list_row(out, format, is_first, &Row::Shown { key, value, txn }),
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
        list_begin(out, self.format, kind);
        let mut count = 0;
        for row in rows {
            list_row(out, self.format, count == 0, &row);
            count += 1;
        }
        list_end(out, self.format, kind, count);
        Ok(Next::Request)
    }

    pub(super) fn scan(&mut self, selection: &Selection<'_>) -> Step<Next> {
        let scan = self.session.scan(selection.txn.map(TxnId), &options(selection))?;
        Ok(Listing::next(scan, self.format, Some(ListKind::Pairs)))
    }

    pub(super) fn count(&mut self, selection: &Selection<'_>) -> Step<Next> {
        let scan = self.session.scan(selection.txn.map(TxnId), &options(selection))?;
        Ok(Listing::next(scan, self.format, None))
    }

    pub(super) fn show_all(&mut self, txn: Option<u64>) -> Step<Next> {
        let scan = match txn {
            Some(_) => self.session.scan(txn.map(TxnId), &ScanOptions::default())?,
            None => self.session.show_all(),
        };
        Ok(Listing::next(scan, self.format, Some(ListKind::Shown)))
    }
}

fn options(selection: &Selection<'_>) -> ScanOptions {
    let interval = match &selection.interval {
        kv_protocol::Interval::All => Interval::all(),
        kv_protocol::Interval::Prefix(prefix) => Interval::prefix(prefix),
        kv_protocol::Interval::Range { from, to } => Interval::range(from, to),
    };
    let interval = match selection.after.as_deref() {
        Some(after) if !after.is_empty() => interval.after(after),
        _ => interval,
    };
    ScanOptions { interval, limit: selection.limit }
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
