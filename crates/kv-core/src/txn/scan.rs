//! Scans: rows in key order, committed ones with a transaction's own writes laid over them.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use super::judged::Judged;
use super::tree::Tree;
use crate::db::Shared;
use crate::key::Key;
use crate::step::{Fetching, Step};
use crate::store::record::Record;
use crate::store::scan::{Hit, Merge};
use crate::store::shard::{Gone, Shards};
use crate::types::{Interval, Revision, TxnId};
use crate::value::Value;

/// Which rows, and how many.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// The keys.
    pub interval: Interval,
    /// The most rows; none is all.
    pub limit: Option<u64>,
}

/// One row of a scan.
#[derive(Debug, Clone)]
pub struct Row {
    record: Record,
    /// The transaction of the session that wrote it and has not committed it.
    pub txn: Option<TxnId>,
}

impl Row {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.record.key()
    }

    /// When it expires, in milliseconds since the Unix epoch; none is never.
    pub fn expires_ms(&self) -> Option<u64> {
        self.record.expires_ms()
    }

    /// The value; none for an uncommitted delete, which only [`crate::Session::show_all`] shows.
    pub fn value(&self) -> Option<Value> {
        // Rows are handed out with their values in memory.
        if self.record.is_tombstone() { None } else { Value::of(&self.record).ok() }
    }
}

/// A registered read view that is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct OpenView {
    shared: Arc<Shared>,
    pub(crate) revision: Revision,
}

impl OpenView {
    /// At the newest readable revision, or at `at_least` if that is newer.
    pub(crate) fn newest(shared: &Arc<Shared>, at_least: Revision) -> OpenView {
        shared.order.wait_visible(at_least);
        let revision = shared.views.open_newest(&shared.order, at_least);
        OpenView { shared: Arc::clone(shared), revision }
    }

    /// At a revision that is registered already, or under locks that keep all of it.
    pub(crate) fn at(shared: &Arc<Shared>, revision: Revision) -> OpenView {
        shared.views.open_at(revision);
        OpenView { shared: Arc::clone(shared), revision }
    }
}

impl Drop for OpenView {
    fn drop(&mut self) {
        self.shared.views.close(self.revision);
    }
}

/// An uncommitted write that lies over the committed rows.
#[derive(Debug)]
pub(crate) struct Overlaid {
    pub(crate) key: Key,
    pub(crate) record: Record,
    pub(crate) txn: TxnId,
}

/// Committed rows with own writes laid over them, in key order: an own write hides the committed
/// row of its key.
#[derive(Debug)]
pub(crate) struct Layers {
    merge: Merge,
    committed: Option<Hit>,
    is_started: bool,
    overlay: Peekable<IntoIter<Overlaid>>,
}

/// What comes next in key order.
#[derive(Debug)]
pub(crate) enum Layer {
    Own(Overlaid),
    Committed(Hit),
}

impl Layers {
    pub(crate) fn new(merge: Merge, overlay: Vec<Overlaid>) -> Layers {
        let overlay = overlay.into_iter().peekable();
        Layers { merge, committed: None, is_started: false, overlay }
    }

    #[inline]
    pub(crate) fn next(&mut self, shards: &Shards) -> Option<Layer> {
        if !self.is_started {
            self.is_started = true;
            self.committed = self.merge.next(shards);
        }
        let own_is_next = match (self.overlay.peek(), &self.committed) {
            (Some(own), Some(hit)) => *own.key <= *hit.key(),
            (own, _) => own.is_some(),
        };
        if !own_is_next {
            let next = self.merge.next(shards);
            return std::mem::replace(&mut self.committed, next).map(Layer::Committed);
        }
        let own = self.overlay.next()?;
        if self.committed.as_ref().is_some_and(|hit| *hit.key() == *own.key) {
            self.committed = self.merge.next(shards);
        }
        Some(Layer::Own(own))
    }
}

/// A scan under way. It holds no latch between rows.
#[derive(Debug)]
pub struct Scan {
    shared: Arc<Shared>,
    layers: Layers,
    /// A row that was taken but waits for its value to be fetched.
    held_back: Option<Row>,
    /// A key that was come upon, whose version is to be fetched.
    gone: Option<(Key, Gone)>,
    fetching: Fetching,
    remaining: Option<u64>,
    shows_deletes: bool,
    /// At what time what expires is judged: all that the scan shows is.
    judged: Judged,
    /// A scan reads one state to its end, even if its transaction has ended.
    view: OpenView,
}

impl Scan {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        options: &ScanOptions,
        view: OpenView,
        judged: Judged,
        overlay: Vec<Overlaid>,
    ) -> Scan {
        let ScanOptions { interval, limit } = options;
        let merge = Merge::new(&shared.shards, interval, view.revision, *limit);
        Scan {
            shared: Arc::clone(shared),
            layers: Layers::new(merge, overlay),
            held_back: None,
            gone: None,
            fetching: Fetching::default(),
            remaining: *limit,
            shows_deletes: false,
            judged,
            view,
        }
    }

    /// Shows uncommitted deletes as rows without a value.
    pub(crate) fn with_deletes(mut self) -> Scan {
        self.shows_deletes = true;
        self
    }

    /// The next row. Never pauses for a lock, only for values that are elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::Pruned`](crate::Error::Pruned) if the version that a view of the past would show is
    /// no longer kept.
    pub fn next_row(&mut self) -> Step<Option<Row>> {
        let row = match self.held_back.take() {
            Some(row) => self.looked_up_again(row)?,
            None => match self.next_without_value()? {
                Some(row) => row,
                None => return Ok(None),
            },
        };
        if !row.record.is_tombstone()
            && let Err(pause) = Value::of(&row.record)
        {
            self.held_back = Some(row);
            return Err(pause);
        }
        Ok(Some(row))
    }

    /// Counts up to `rows_max` of the remaining rows without looking at their values. Fewer means
    /// that there are no more.
    ///
    /// # Errors
    ///
    /// As [`Scan::next_row`].
    pub fn count_rows(&mut self, rows_max: u64) -> Step<u64> {
        let mut rows = 0;
        while rows < rows_max && self.next_without_value()?.is_some() {
            rows += 1;
        }
        Ok(rows)
    }

    /// A row that was held back, with the value that may have been supplied meanwhile.
    fn looked_up_again(&mut self, row: Row) -> Step<Row> {
        let version = row.record.version();
        let found =
            self.shared.version(row.key(), version, Revision::NEWEST, &mut self.fetching)?;
        Ok(Row { record: found.unwrap_or(row.record), txn: row.txn })
    }

    fn next_without_value(&mut self) -> Step<Option<Row>> {
        if self.remaining == Some(0) {
            return Ok(None);
        }
        let row = loop {
            if let Some((key, gone)) = &self.gone {
                let revision = self.view.revision;
                let record = self.shared.gone_at(key, revision, *gone, &mut self.fetching)?;
                self.gone = None;
                match record.filter(|record| self.judged.is_live(record, 0)) {
                    Some(record) => break Row { record, txn: None },
                    None => continue,
                }
            }
            match self.layers.next(&self.shared.shards) {
                None => return Ok(None),
                Some(Layer::Own(own)) if own.record.is_tombstone() && !self.shows_deletes => {}
                Some(Layer::Own(own)) => break Row { record: own.record, txn: Some(own.txn) },
                Some(Layer::Committed(Hit::Record(record))) => {
                    if self.judged.is_live(&record, 0) {
                        break Row { record, txn: None };
                    }
                }
                Some(Layer::Committed(Hit::Gone(key, gone))) => self.gone = Some((key, gone)),
            }
        };
        if let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
        }
        Ok(Some(row))
    }
}

/// The tree's own writes in the interval; no more than a scan that ends at `limit` rows can need.
pub(crate) fn overlay(tree: &Tree, interval: &Interval, limit: Option<u64>) -> Vec<Overlaid> {
    let mut rows_left = limit.unwrap_or(u64::MAX);
    let mut writes = Vec::new();
    for (key, write) in tree.writes_in(interval) {
        if rows_left == 0 {
            break;
        }
        rows_left -= u64::from(!write.record.is_tombstone());
        let (key, record, txn) = (key.clone(), write.record.clone(), write.txn);
        writes.push(Overlaid { key, record, txn });
    }
    writes
}
