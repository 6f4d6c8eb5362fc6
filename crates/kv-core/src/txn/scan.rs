//! Scans: rows in key order, committed ones with a transaction's own writes laid over them.
//!
//! A scan with conditions may pass over any number of rows before it finds one. So it pauses now
//! and then with [`Pause::Yield`], by what it has looked at, not by what it has found.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use super::judged::Judged;
use super::tree::Tree;
use crate::db::Shared;
use crate::key::Key;
use crate::matching::{Conditions, Turn};
use crate::step::{Fetching, Step};
use crate::store::record::Record;
use crate::store::scan::{Hit, Merge, Without};
use crate::store::shard::Gone;
use crate::types::{Interval, Revision, TxnId};
use crate::value::Value;

/// Which rows, and how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanOptions {
    /// The keys.
    pub interval: Interval,
    /// What else is asked of keys and values.
    pub conditions: Conditions,
    /// The most rows; none is all.
    pub limit: Option<u64>,
}

impl ScanOptions {
    /// Everything in an interval.
    pub fn of(interval: Interval) -> ScanOptions {
        ScanOptions { interval, ..ScanOptions::default() }
    }

    /// The keys that have to be looked at: of a pattern that begins with letters, no others.
    pub fn examined(&self) -> Interval {
        self.conditions.narrow(&self.interval)
    }

    /// How many keys it comes to at most, as far as that is known before.
    fn keys_expected(&self) -> Option<u64> {
        self.limit.filter(|_| self.conditions.is_empty())
    }
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
#[derive(Debug, Clone)]
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

impl Layer {
    fn key(&self) -> &[u8] {
        match self {
            Layer::Own(own) => &own.key,
            Layer::Committed(hit) => hit.key(),
        }
    }
}

impl Layers {
    pub(crate) fn new(merge: Merge, overlay: Vec<Overlaid>) -> Layers {
        let overlay = overlay.into_iter().peekable();
        Layers { merge, committed: None, is_started: false, overlay }
    }

    #[inline]
    pub(crate) fn next(&mut self, shared: &Shared, fetching: &mut Fetching) -> Step<Option<Layer>> {
        if !self.is_started {
            self.committed = self.merge.next(shared, fetching)?;
            self.is_started = true;
        }
        let own_is_next = match (self.overlay.peek(), &self.committed) {
            (Some(own), Some(hit)) => *own.key <= *hit.key(),
            (own, _) => own.is_some(),
        };
        if !own_is_next {
            let next = match self.committed {
                Some(_) => self.merge.next(shared, fetching)?,
                None => None,
            };
            return Ok(std::mem::replace(&mut self.committed, next).map(Layer::Committed));
        }
        let own = self.overlay.peek();
        if let (Some(own), Some(hit)) = (own, &self.committed)
            && *hit.key() == *own.key
        {
            self.committed = self.merge.next(shared, fetching)?;
        }
        Ok(self.overlay.next().map(Layer::Own))
    }
}

/// A scan under way. It holds no latch between rows.
#[derive(Debug)]
pub struct Scan {
    shared: Arc<Shared>,
    layers: Layers,
    /// A row that was taken but waits for its value to be fetched, or compared to the end.
    held_back: Option<Row>,
    /// What was taken while its key is compared.
    layer_held_back: Option<Layer>,
    /// A key that was come upon, whose version is to be fetched, or looked for by itself.
    gone: Option<(Key, Option<Gone>)>,
    fetching: Fetching,
    options: ScanOptions,
    remaining: Option<u64>,
    /// Rows of [`Scan::count_rows`] that were counted before it had to pause.
    counted: u64,
    turn: Turn,
    takes_turns: bool,
    shows_deletes: bool,
    /// Who has deleted what is committed, and not committed that: it is shown as deleted.
    wiped_by: Option<TxnId>,
    /// Whether the transaction has deleted what is committed: it is not shown at all.
    shows_own_only: bool,
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
        let (interval, expected) = (options.examined(), options.keys_expected());
        let merge = Merge::new(shared, &interval, view.revision, expected);
        Scan {
            shared: Arc::clone(shared),
            layers: Layers::new(merge, overlay),
            held_back: None,
            layer_held_back: None,
            gone: None,
            fetching: Fetching::default(),
            options: options.clone(),
            remaining: options.limit,
            counted: 0,
            turn: Turn::default(),
            takes_turns: !options.conditions.is_empty(),
            shows_deletes: false,
            wiped_by: None,
            shows_own_only: false,
            judged,
            view,
        }
    }

    /// Shows uncommitted deletes as rows without a value; all that is committed, if a transaction
    /// has deleted that.
    pub(crate) fn with_deletes(mut self, wiped_by: Option<TxnId>) -> Scan {
        self.shows_deletes = true;
        self.wiped_by = wiped_by;
        self
    }

    /// Shows nothing of what is committed.
    pub(crate) fn without_committed(mut self) -> Scan {
        self.shows_own_only = true;
        self
    }

    /// Has it pause for others even if it finds a row at every key.
    pub(crate) fn with_turns(mut self) -> Scan {
        self.takes_turns = true;
        self
    }

    /// Another scan of the same rows, to be taken before anything was read: so it can be counted
    /// what is then shown.
    pub fn twin(&self) -> Scan {
        debug_assert!(!self.layers.is_started, "a twin shows all that the other does");
        let view = OpenView::at(&self.shared, self.view.revision);
        let overlay = self.layers.overlay.clone().collect();
        let twin = Scan::new(&self.shared, &self.options, view, self.judged.clone(), overlay);
        Scan {
            shows_deletes: self.shows_deletes,
            takes_turns: self.takes_turns,
            wiped_by: self.wiped_by,
            shows_own_only: self.shows_own_only,
            ..twin
        }
    }

    /// The next row. Never pauses for a lock, only for values that are elsewhere and, if there are
    /// conditions, for others.
    ///
    /// # Errors
    ///
    /// [`Error::Pruned`](crate::Error::Pruned) if the version that a view of the past would show is
    /// no longer kept.
    pub fn next_row(&mut self) -> Step<Option<Row>> {
        self.next_match(true)
    }

    /// As [`Scan::next_row`], for whoever does not look at the value: it is not fetched then.
    ///
    /// # Errors
    ///
    /// As [`Scan::next_row`].
    pub fn next_key_row(&mut self) -> Step<Option<Row>> {
        self.next_match(false)
    }

    /// Counts up to `rows_max` of the remaining rows, without looking at their values unless there
    /// is a condition on them. Fewer means that there are no more.
    ///
    /// # Errors
    ///
    /// As [`Scan::next_row`].
    pub fn count_rows(&mut self, rows_max: u64) -> Step<u64> {
        while self.counted < rows_max && self.next_match(false)?.is_some() {
            self.counted += 1;
        }
        Ok(std::mem::take(&mut self.counted))
    }

    /// The next row that meets the conditions; with its value if that is to be shown.
    fn next_match(&mut self, is_shown: bool) -> Step<Option<Row>> {
        if self.remaining == Some(0) {
            return Ok(None);
        }
        let needs_value = is_shown || self.options.conditions.value.is_some();
        loop {
            let row = match self.held_back.clone() {
                Some(row) if row.record.place().is_none() => row,
                Some(row) => self.looked_up_again(row)?,
                None => match self.next_key()? {
                    Some(row) => row,
                    None => return Ok(None),
                },
            };
            self.held_back = None;
            if needs_value && !row.record.is_tombstone() {
                let (conditions, turn) = (&self.options.conditions, &mut self.turn);
                let is_met = Value::of(&row.record)
                    .and_then(|value| conditions.is_met_by_value(&value, value.kind(), turn));
                match is_met {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(pause) => {
                        self.held_back = Some(row);
                        return Err(pause);
                    }
                }
            }
            if let Some(remaining) = &mut self.remaining {
                *remaining -= 1;
            }
            return Ok(Some(row));
        }
    }

    /// Reads up to the last row that the limit allows, and answers its key; none if there are fewer
    /// rows than that.
    fn last_key(&mut self) -> Step<Option<Key>> {
        while let Some(row) = self.next_match(false)? {
            if self.remaining == Some(0) {
                return Ok(Some(row.key().into()));
            }
        }
        Ok(None)
    }

    /// The next layer whose key meets the conditions.
    #[inline]
    fn next_layer(&mut self) -> Step<Option<Layer>> {
        loop {
            let next = match self.layer_held_back.take() {
                Some(layer) => Some(layer),
                None => {
                    if self.takes_turns {
                        self.turn.take()?;
                    }
                    match self.shows_own_only {
                        false => self.layers.next(&self.shared, &mut self.fetching)?,
                        true => self.layers.overlay.next().map(Layer::Own),
                    }
                }
            };
            let Some(layer) = next else { return Ok(None) };
            match self.options.conditions.is_met_by_key(layer.key(), &mut self.turn) {
                Ok(true) => return Ok(Some(layer)),
                Ok(false) => {}
                Err(pause) => {
                    self.layer_held_back = Some(layer);
                    return Err(pause);
                }
            }
        }
    }

    /// A row that was held back, with the value that may have been supplied meanwhile.
    fn looked_up_again(&mut self, row: Row) -> Step<Row> {
        if row.record.place().is_none() {
            return Ok(row);
        }
        let version = row.record.version();
        let found =
            self.shared.version(row.key(), version, Revision::NEWEST, &mut self.fetching)?;
        Ok(Row { record: found.unwrap_or(row.record), txn: row.txn })
    }

    /// The row of what is committed.
    fn committed(&self, record: Record) -> Row {
        let record = match self.wiped_by {
            Some(_) => Record::tombstone(record.key()),
            None => record,
        };
        Row { record, txn: self.wiped_by }
    }

    /// The next row whose key meets the conditions, perhaps without its value.
    fn next_key(&mut self) -> Step<Option<Row>> {
        loop {
            if let Some((key, gone)) = &self.gone {
                let revision = self.view.revision;
                let record = match *gone {
                    Some(gone) => self.shared.gone_at(key, revision, gone, &mut self.fetching)?,
                    None => self.shared.seen_at(key, revision, &mut self.fetching)?,
                };
                self.gone = None;
                if let Some(record) = record.filter(|record| self.judged.is_live(record, 0)) {
                    return Ok(Some(self.committed(record)));
                }
            }
            match self.next_layer()? {
                None => return Ok(None),
                Some(Layer::Own(own)) if own.record.is_tombstone() && !self.shows_deletes => {}
                Some(Layer::Own(own)) => {
                    return Ok(Some(Row { record: own.record, txn: Some(own.txn) }));
                }
                Some(Layer::Committed(Hit::Record(record))) => {
                    if self.judged.is_live(&record, 0) {
                        return Ok(Some(self.committed(record)));
                    }
                }
                Some(Layer::Committed(Hit::Key(key, without))) => match without {
                    Without::Gone(gone) => self.gone = Some((key, Some(gone))),
                    Without::Again => self.gone = Some((key, None)),
                    Without::Hidden => {}
                },
            }
        }
    }
}

/// The search for the row that a scan with a limit will end with, which is what it has to lock. It
/// reads what is newest, without locks, and is kept by the session while it pauses.
#[derive(Debug)]
pub(crate) struct Search {
    root: TxnId,
    options: ScanOptions,
    scan: Scan,
}

impl Search {
    /// Begins in the tree of a root.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        root: TxnId,
        tree: &Tree,
        options: &ScanOptions,
    ) -> Search {
        let view = OpenView::at(shared, Revision::NEWEST);
        // What is not judged yet is judged when it is locked; until then, by now.
        let interval = options.examined();
        let mut judged = tree.judged.part(&interval);
        judged.note(&interval, shared.now_ms());
        let scan = Scan::new(shared, options, view, judged, overlay(tree, options));
        Search { root, options: options.clone(), scan }
    }

    /// Whether it is that of a scan, which was called again.
    pub(crate) fn is_of(&self, root: TxnId, options: &ScanOptions) -> bool {
        self.root == root && self.options == *options
    }

    /// The key of the last row; none if there are fewer rows than the limit allows.
    pub(crate) fn run(&mut self) -> Step<Option<Key>> {
        self.scan.last_key()
    }
}

/// The tree's own writes among the keys of a scan; no more than it can need. Those that do not meet
/// its conditions are needed too: they hide what is committed.
pub(crate) fn overlay(tree: &Tree, options: &ScanOptions) -> Vec<Overlaid> {
    let mut rows_left = options.keys_expected().unwrap_or(u64::MAX);
    let mut writes = Vec::new();
    for (key, write) in tree.writes_in(&options.examined()) {
        if rows_left == 0 {
            break;
        }
        rows_left -= u64::from(!write.record.is_tombstone());
        let (key, record, txn) = (key.clone(), write.record.clone(), tree.scopes[write.scope].txn);
        writes.push(Overlaid { key, record, txn });
    }
    writes
}
