//! A fold: one transaction that brings the file from one revision to a later one.
//!
//! ```text
//!   before        pair: house 3                    history: house 2 → house 1
//!   fold          house 4, house 5
//!   after         pair: house 5 → house 4          history: house 2 → house 1, house 3, house 4
//! ```
//!
//! Keys come in order, so that the pages of `pair` are changed one after the other, each once. The
//! row that is superseded is copied to the end of `history`, and so are versions in between; what
//! the policy does not keep is not written at all. Versions that have been superseded since are
//! left to the collector, and stay linked until then: whatever `history` has of a key is found by
//! going from row to row.

use kv_core::{Stamp, Version};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::meta::Meta;
use super::row::{Encoder, Form, bound, columns};
use super::wipe::Wiping;
use super::{Source, SqliteSnapshot, collect, damaged, failed};
use crate::error::Error;
use crate::failpoint;
use crate::snapshot::{Fold, KeyChanges};
use crate::stored::Stored;

/// Longest key and value that a row of `pair` has in it, in bytes. Longer ones would leave few rows
/// to a page, and make the tree deep; from a quarter of a page on, SQLite would read all of the
/// value only to compare the key.
const PAIR_BYTES_MAX: usize = 200;

/// How many keys are done in one turn: some milliseconds of work.
const KEYS_PER_TURN: usize = 512;

impl SqliteSnapshot {
    /// Folds changes in.
    pub(super) fn fold_in(&mut self, fold: &Fold<'_>) -> Result<(), Error> {
        assert!(fold.through.revision >= self.meta.through.revision, "a snapshot never goes back");
        let path = &self.source.path;
        let hit = |name| failpoint::hit(name).map_err(|error| Error::io("write", path, error));
        hit("snap.begin")?;
        let transaction = Begun::new(&mut self.writer).map_err(failed(path, "begin a fold"))?;
        let mut meta = self.meta.clone();
        let appended_from = meta.next_id;
        collect::take_over(&mut meta, self.source.keep);
        let ordered = self.source.form.in_order(&fold.keys);
        for (turn, some) in ordered.chunks(KEYS_PER_TURN).enumerate() {
            let done = turn * KEYS_PER_TURN;
            (fold.progress)(done);
            if (done..done + some.len()).contains(&(ordered.len() / 2)) {
                hit("snap.mid")?;
            }
            let mut folded = Ok(());
            let wipe = fold.wipe;
            (fold.turn)(&mut || {
                // Borrowed mutably, since a connection cannot be shared with another thread.
                let connection: &mut Connection = transaction.0;
                let keys = KeyFold::new(&self.source, connection, &mut meta);
                folded =
                    keys.and_then(|mut keys| some.iter().try_for_each(|key| keys.fold(key, wipe)));
            });
            folded?;
        }
        // What a wipe appends may be as much as the file has: later folds look at it.
        let appended = meta.next_id - appended_from;
        if let Some(wipe) = fold.wipe {
            let mut wiping = Wiping::new(wipe, self.meta.through.revision);
            while !wiping.is_done() {
                let mut wiped = Ok(());
                (fold.turn)(&mut || {
                    let connection: &mut Connection = transaction.0;
                    wiped = wiping.go_on(&self.source, connection, &mut meta);
                });
                wiped?;
                hit("snap.mid")?;
            }
        }
        meta.history += meta.next_id - appended_from;
        collect::collect(transaction.0, &mut meta, appended)
            .map_err(failed(path, "prune history"))?;
        meta.through = fold.through;
        meta.is_backup = false;
        meta.write(transaction.0).map_err(failed(path, "write the metadata"))?;
        hit("snap.before_commit")?;
        transaction.commit().map_err(failed(path, "commit a fold"))?;
        self.meta = meta;
        for newest in fold.keys.iter().filter_map(|changes| changes.versions.last()) {
            self.search.note(*newest);
        }
        if let Some(wipe) = fold.wipe {
            self.search.note_delete(wipe);
        }
        (fold.progress)(fold.keys.len());
        Ok(())
    }
}

/// A transaction that can be gone on with in another thread; rolled back unless it is committed.
pub(super) struct Begun<'a>(pub(super) &'a mut Connection);

impl Begun<'_> {
    pub(super) fn new(connection: &mut Connection) -> rusqlite::Result<Begun<'_>> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Begun(connection))
    }

    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.0.execute_batch("COMMIT")
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // If it cannot be rolled back, the next one cannot be begun, and says why.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

impl Form {
    /// The keys in the order of their columns, as far as it matters: text and blobs take turns.
    fn in_order<'a>(&self, keys: &'a [KeyChanges<'a>]) -> Vec<&'a KeyChanges<'a>> {
        let hash = |changes: &KeyChanges<'_>| {
            let key = changes.versions.first().map_or(&[][..], |version| version.key);
            self.cipher.as_ref().map(|cipher| cipher.hash_key(key))
        };
        let mut order: Vec<_> = (0..keys.len()).map(|index| (hash(&keys[index]), index)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, index)| &keys[index]).collect()
    }
}

/// Folds one key after the other.
pub(super) struct KeyFold<'a> {
    source: &'a Source,
    meta: &'a mut Meta,
    encoder: Encoder,
    find: CachedStatement<'a>,
    supersede: CachedStatement<'a>,
    append: CachedStatement<'a>,
    insert: CachedStatement<'a>,
    update: CachedStatement<'a>,
}

/// What `pair` has of a key so far.
struct Found {
    version: i64,
    is_live: bool,
    place: Option<i64>,
    previous: Option<i64>,
}

impl<'a> KeyFold<'a> {
    pub(super) fn new(
        source: &'a Source,
        transaction: &'a Connection,
        meta: &'a mut Meta,
    ) -> Result<KeyFold<'a>, Error> {
        let prepare =
            |sql| transaction.prepare_cached(sql).map_err(failed(&source.path, "prepare a fold"));
        Ok(KeyFold {
            source,
            meta,
            encoder: Encoder::new(&source.form),
            find: prepare("SELECT version, type <> 0, place, previous FROM pair WHERE key = ?1")?,
            supersede: prepare(concat!(
                "INSERT INTO history (",
                columns!(),
                ", previous, id) SELECT ",
                columns!(),
                ", previous, ?1 FROM pair WHERE key = ?2"
            ))?,
            append: prepare(concat!(
                "INSERT INTO history (",
                columns!(),
                ", previous, id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
            ))?,
            insert: prepare(concat!(
                "INSERT INTO pair (",
                columns!(),
                ", previous, place) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
            ))?,
            update: prepare(
                "UPDATE pair SET version = ?2, revision = ?3, time = ?4, type = ?5, expires = ?6, \
                 codec = ?7, checksum = ?8, value = ?9, previous = ?10, place = ?11 WHERE key = ?1",
            )?,
        })
    }

    /// Folds one key. If its first version here does not follow the one in `pair`, the delete of
    /// `wipe` stands between.
    pub(super) fn fold(
        &mut self,
        changes: &KeyChanges<'_>,
        wipe: Option<Stamp>,
    ) -> Result<(), Error> {
        let path = &self.source.path;
        let Some((newest, between)) = changes.versions.split_last() else {
            return Ok(());
        };
        let keep = self.source.keep;
        let oldest = changes.versions[0].version.0.cast_signed();
        let found = self.find(newest.key).map_err(failed(path, "look for a key"))?;
        if found.as_ref().is_some_and(|found| found.version >= oldest) {
            return Err(damaged(
                path,
                "it has versions that are newer than those of the log".into(),
            ));
        }
        if let Some(found) = &found {
            let before = Version(found.version.cast_unsigned());
            collect::superseded(self.meta, before, newest.version, found.place.is_some());
        }
        let mut previous = match &found {
            Some(found) if keep.keeps(Version(found.version.cast_unsigned()), newest.version) => {
                Some(self.supersede(found, newest.key).map_err(failed(path, "append history"))?)
            }
            Some(found) => found.place.or(found.previous),
            None => None,
        };
        let implied = wipe.filter(|_| {
            found.as_ref().is_some_and(|found| found.is_live && found.version + 2 == oldest)
        });
        let implied = implied.map(|stamp| {
            let version = Version((oldest - 1).cast_unsigned());
            Stored { key: newest.key, version, stamp, datum: None }
        });
        let between = implied.iter().chain(between);
        for older in between.filter(|older| keep.keeps(older.version, newest.version)) {
            let id = self.append(*older, previous).map_err(failed(path, "append history"))?;
            previous = Some(id);
        }
        self.replace(*newest, previous, found.is_some()).map_err(failed(path, "change a row"))
    }

    fn find(&mut self, key: &[u8]) -> rusqlite::Result<Option<Found>> {
        let key = bound(self.encoder.key(key));
        self.find
            .query_row([key], |row| {
                let (version, is_live) = (row.get(0)?, row.get(1)?);
                Ok(Found { version, is_live, place: row.get(2)?, previous: row.get(3)? })
            })
            .optional()
    }

    /// Sees to it that the version that `pair` has is in `history`; answers where.
    fn supersede(&mut self, found: &Found, key: &[u8]) -> rusqlite::Result<i64> {
        if let Some(place) = found.place {
            return Ok(place);
        }
        let id = next_id(self.meta);
        self.supersede.execute(params![id, bound(self.encoder.key(key))])?;
        Ok(id)
    }

    fn append(&mut self, version: Stored<'_>, previous: Option<i64>) -> rusqlite::Result<i64> {
        let id = next_id(self.meta);
        self.encoder.row(version).insert(&mut self.append, previous, Some(id))?;
        Ok(id)
    }

    fn replace(
        &mut self,
        newest: Stored<'_>,
        previous: Option<i64>,
        is_known: bool,
    ) -> rusqlite::Result<()> {
        let mut row = self.encoder.row(newest);
        let mut place = None;
        if row.bytes() > PAIR_BYTES_MAX && !matches!(row.value, ValueRef::Null) {
            let id = next_id(self.meta);
            row.insert(&mut self.append, previous, Some(id))?;
            row.value = ValueRef::Null;
            place = Some(id);
        }
        if is_known {
            row.insert(&mut self.update, previous, place)
        } else {
            self.meta.pairs += 1;
            row.insert(&mut self.insert, previous, place)
        }
    }
}

fn next_id(meta: &mut Meta) -> i64 {
    let id = meta.next_id;
    meta.next_id += 1;
    id
}
