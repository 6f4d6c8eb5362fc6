//! Forgetting keys that were deleted or expired long ago: their counters too.
//!
//! ```text
//!   before    pair: car 5, deleted → car 4     history: car 3, car 4 → car 3
//!   after     pair: nothing of car             history: nothing of car
//! ```
//!
//! Which keys those are is told by no index. Each call looks at some rows of `pair`, going on where
//! the last one stopped, and remembers when the first of what it leaves will be due; so as long as
//! nothing is, nothing is looked at. A key goes with all that it leads to in `history`, in one
//! transaction; one that has too many rows for that loses these first, from the newest on, and its
//! counter with the last of them.
//!
//! A key that is created anew begins with version 1. Nothing of its former life may be left then:
//! it could be taken for a part of the new one. That is why rows of `history` stay linked.

use kv_core::{Revision, Stamp, Version};
use rusqlite::{Connection, OptionalExtension, params};

use super::collect::{collect, unlink};
use super::fold::Begun;
use super::history::{NEWEST, with_value};
use super::meta::Meta;
use super::ranges::Place;
use super::row::{COLUMNS, Decoder, bound};
use super::{Source, SqliteSnapshot, failed};
use crate::error::Error;
use crate::snapshot::Forgotten;
use crate::stored::Stored;

/// Rows of `pair` that are looked at in one call; in tests few, so that it takes many calls.
const ROWS_LOOKED: i64 = if cfg!(test) { 8 } else { 8192 };

/// Keys that are forgotten in one call.
const KEYS_MAX: usize = if cfg!(test) { 3 } else { 512 };

/// Rows of `history` that are removed in one call, about.
const ROWS_REMOVED: i64 = if cfg!(test) { 5 } else { 4096 };

/// The collector goes on as with a fold that appends so many rows.
const ROWS_COLLECTED: i64 = 2048;

/// Bytes of values that are read in one call, about, to see that they are whole.
const BYTES_MAX: usize = 16 << 20;

/// How far the search for what is to be forgotten has come. It begins anew with each start.
#[derive(Debug, Clone)]
pub(super) struct Search {
    at: Place,
    /// No key is due before.
    pub(super) due_ms: u64,
    /// No key is due before of those that this round has left, or that were folded since it began.
    next_due_ms: u64,
}

impl Search {
    /// Knows nothing.
    pub(super) fn new() -> Search {
        Search { at: Place::start(), due_ms: 0, next_due_ms: u64::MAX }
    }

    /// Notes a version that is now the newest.
    pub(super) fn note(&mut self, newest: Stored<'_>) {
        if let Some(ended) = ended_ms(newest) {
            self.due_ms = self.due_ms.min(ended);
            self.next_due_ms = self.next_due_ms.min(ended);
        }
    }

    /// Notes that keys were deleted.
    pub(super) fn note_delete(&mut self, stamp: Stamp) {
        self.note(Stored { key: &[], version: Version(0), stamp, datum: None });
    }

    /// Goes on at the next round.
    fn end_round(&mut self) {
        *self = Search { at: Place::start(), due_ms: self.next_due_ms, next_due_ms: u64::MAX };
    }
}

/// Since when there is nothing under a key that has this version; none if it stays.
fn ended_ms(newest: Stored<'_>) -> Option<u64> {
    match newest.datum {
        None => Some(newest.stamp.time_ms),
        Some(datum) => datum.expires_ms,
    }
}

impl SqliteSnapshot {
    /// Forgets some of what was deleted, or expired, before then.
    pub(super) fn forget_some(&mut self, before_ms: u64) -> Result<Vec<Forgotten>, Error> {
        if self.search.due_ms >= before_ms && self.meta.forgetting == 0 {
            return Ok(Vec::new());
        }
        let failed = || failed(&self.source.path, "forget keys");
        let transaction = Begun::new(&mut self.writer).map_err(failed())?;
        let (mut meta, mut search) = (self.meta.clone(), self.search.clone());
        let mut forgetting = Forgetting {
            source: &self.source,
            connection: transaction.0,
            meta: &mut meta,
            before_ms,
            rows_left: ROWS_REMOVED,
            bytes_left: BYTES_MAX,
            forgotten: Vec::new(),
        };
        forgetting.run(&mut search).map_err(failed())?;
        let forgotten = forgetting.forgotten;
        meta.collector.superfluous = meta.collector.superfluous.min(meta.history);
        if meta != self.meta {
            meta.write(transaction.0).map_err(failed())?;
            transaction.commit().map_err(failed())?;
        }
        (self.meta, self.search) = (meta, search);
        Ok(forgotten)
    }
}

/// One call.
struct Forgetting<'a> {
    source: &'a Source,
    connection: &'a Connection,
    meta: &'a mut Meta,
    before_ms: u64,
    rows_left: i64,
    bytes_left: usize,
    forgotten: Vec<Forgotten>,
}

impl Forgetting<'_> {
    fn run(&mut self, search: &mut Search) -> rusqlite::Result<()> {
        if self.meta.is_loose {
            // Not everything would be found of a key.
            return collect(self.connection, self.meta, ROWS_COLLECTED);
        }
        self.go_on()?;
        if self.meta.forgetting != 0 {
            return Ok(());
        }
        let mut found = Vec::new();
        let end = self.look(search, &mut found)?;
        for key in found {
            if !self.forget(&key)? {
                search.at = key;
                return Ok(());
            }
        }
        match end {
            Some(end) => search.at = end,
            None => search.end_round(),
        }
        Ok(())
    }

    /// Goes on with a key that has more rows than can be removed in one call.
    fn go_on(&mut self) -> rusqlite::Result<()> {
        let from = self.meta.forgetting;
        if from == 0 {
            return Ok(());
        }
        let key = self
            .connection
            .prepare_cached("SELECT key FROM history WHERE id = ?1")?
            .query_row([from], |row| Ok(Place::of(row.get_ref(0)?)))
            .optional()?;
        self.meta.forgetting = 0;
        match key.flatten() {
            Some(key) => self.unlink(from, &key),
            None => Ok(()),
        }
    }

    /// Finds keys in `pair` that may be to be forgotten. Answers where to look next; nowhere, if
    /// that was the last of it.
    fn look(&self, search: &mut Search, found: &mut Vec<Place>) -> rusqlite::Result<Option<Place>> {
        let mut select = self.connection.prepare_cached(
            "SELECT key, CASE type WHEN 0 THEN time ELSE expires END FROM pair \
             WHERE key >= ?1 ORDER BY key LIMIT ?2",
        )?;
        let mut rows = select.query(params![bound(search.at.value()), ROWS_LOOKED])?;
        let mut looked = 0;
        while let Some(row) = rows.next()? {
            looked += 1;
            let ended: Option<i64> = row.get(1).unwrap_or_default();
            let key = || Ok::<_, rusqlite::Error>(Place::of(row.get_ref(0)?));
            match ended.map(i64::cast_unsigned) {
                Some(ended) if ended < self.before_ms => found.extend(key()?),
                Some(ended) => search.next_due_ms = search.next_due_ms.min(ended),
                None => {}
            }
            if looked == ROWS_LOOKED || found.len() == KEYS_MAX {
                return Ok(key()?.map(Place::next));
            }
        }
        Ok(None)
    }

    /// Forgets a key, if it is to be. Answers whether that is decided; else it is for the next
    /// call. A row that is not as it was written stays, for `verify` to find.
    fn forget(&mut self, key: &Place) -> rusqlite::Result<bool> {
        if self.bytes_left == 0 {
            return Ok(false);
        }
        let mut select = self.connection.prepare_cached(NEWEST)?;
        let mut rows = select.query([bound(key.value())])?;
        let Some(row) = rows.next()? else {
            return Ok(true);
        };
        let mut decoder = Decoder::new(&self.source.form);
        let columns = with_value(row);
        let Ok(newest) = columns.and_then(|columns| decoder.version(&columns)) else {
            return Ok(true);
        };
        let bytes = newest.key.len() + newest.datum.map_or(0, |datum| datum.bytes.len());
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        if ended_ms(newest).is_none_or(|ended| ended >= self.before_ms) {
            return Ok(true);
        }
        let place: Option<i64> = row.get(COLUMNS)?;
        let previous: Option<i64> = row.get(COLUMNS + 2)?;
        let (version, revision) = (newest.version, newest.stamp.revision);
        let was_deleted = newest.datum.is_none();
        let forgotten = Forgotten { key: newest.key.to_vec(), version, revision, was_deleted };
        drop(rows);
        if let Some(previous) = previous {
            self.unlink(previous, key)?;
        }
        if self.meta.forgetting != 0 {
            return Ok(false);
        }
        if let Some(place) = place {
            self.meta.history -= unlink(self.connection, place, key, 1)?.removed;
        }
        let mut delete = self.connection.prepare_cached("DELETE FROM pair WHERE key = ?1")?;
        delete.execute([bound(key.value())])?;
        self.meta.pairs -= 1;
        self.meta.forgotten = Revision(self.meta.forgotten.0.max(revision.0));
        self.forgotten.push(forgotten);
        Ok(true)
    }

    /// Removes the rows of a key, from one on; notes where to go on if there are too many.
    fn unlink(&mut self, from: i64, key: &Place) -> rusqlite::Result<()> {
        let unlinked = unlink(self.connection, from, key, self.rows_left)?;
        self.rows_left -= unlinked.removed;
        self.meta.history -= unlinked.removed;
        self.meta.forgetting = unlinked.rest.unwrap_or(0);
        Ok(())
    }
}
