//! Reading keys in order, a page at a time, while folds go on.
//!
//! Whoever asks goes by the bytes of keys, SQLite by text before blobs, see [`row`](super::row).
//! So there are two walks, over the texts and over the blobs of an interval, and the next key is
//! the lesser of the two that they have come to:
//!
//! ```text
//!   TEXT    a     ab        b            ä
//!   BLOB       a\0    a\xff     b\0  \xc3      \xff
//! ```
//!
//! A page is one read transaction: as of one moment, and over before anybody is given its rows. The
//! walks read no more of a long value than where it is, until its key is the next one.

use kv_core::PageRequest;
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, params};

use super::history::LOST;
use super::row::{COLUMNS, Decoder, Fault, Row, bound, columns};
use super::{Source, damaged_row, failed, shown};
use crate::error::Error;
use crate::snapshot::StoredPage;
use crate::stored::StoredBuf;

macro_rules! rows {
    ($condition:literal) => {
        concat!("SELECT ", columns!(), ", place FROM pair WHERE ", $condition, " ORDER BY key")
    };
}

/// Before all blobs, and behind all texts.
const BLOBS: ValueRef<'static> = ValueRef::Blob(&[]);

/// Reads the first keys of an interval.
pub(super) fn read(
    source: &Source,
    connection: &Connection,
    wanted: &PageRequest,
) -> Result<StoredPage, Error> {
    let failed = || failed(&source.path, "read keys");
    let (from, to) = (&*wanted.interval.from, wanted.interval.to.as_deref());
    let transaction = connection.unchecked_transaction().map_err(failed())?;
    let prepare = |sql| transaction.prepare_cached(sql).map_err(failed());
    let mut texts = prepare(rows!("key >= ?1 AND key < ?2"))?;
    // Said in other words, since each is kept prepared by its words.
    let mut blobs = match to {
        Some(_) => prepare(rows!("key < ?2 AND key >= ?1"))?,
        None => prepare(rows!("key >= ?1"))?,
    };
    // What bounds texts need not be text itself.
    let text_to = bound(to.map_or(BLOBS, ValueRef::Text));
    let texts = texts.query(params![bound(ValueRef::Text(from)), text_to]);
    let blob_from = bound(ValueRef::Blob(from));
    let blobs = match to {
        Some(to) => blobs.query(params![blob_from, bound(ValueRef::Blob(to))]),
        None => blobs.query(params![blob_from]),
    };
    let (mut texts, mut blobs) = (texts.map_err(failed())?, blobs.map_err(failed())?);
    let mut page = Filling::new(source, &transaction, wanted)?;
    let mut text = texts.next().map_err(failed())?;
    let mut blob = blobs.next().map_err(failed())?;
    loop {
        let is_text = match (text, blob) {
            (Some(text), Some(blob)) => key_of(text) < key_of(blob),
            (text, _) => text.is_some(),
        };
        let Some(next) = (if is_text { text } else { blob }) else {
            return Ok(page.page);
        };
        if page.is_full() {
            page.page.next_from = Some(key_of(next).into());
            return Ok(page.page);
        }
        page.push(next)?;
        if is_text {
            text = texts.next().map_err(failed())?;
        } else {
            blob = blobs.next().map_err(failed())?;
        }
    }
}

/// The key column, which has one: what has none is in no range of texts or blobs.
fn key_of<'a>(row: &'a rusqlite::Row<'_>) -> &'a [u8] {
    row.get_ref(0).map(shown).unwrap_or_default()
}

/// A page, as far as it has been read.
struct Filling<'a> {
    source: &'a Source,
    wanted: &'a PageRequest,
    placed: CachedStatement<'a>,
    decoder: Decoder,
    page: StoredPage,
    bytes: usize,
}

impl<'a> Filling<'a> {
    fn new(
        source: &'a Source,
        connection: &'a Connection,
        wanted: &'a PageRequest,
    ) -> Result<Filling<'a>, Error> {
        let placed = concat!("SELECT ", columns!(), " FROM history WHERE id = ?1");
        let placed = connection.prepare_cached(placed);
        Ok(Filling {
            source,
            wanted,
            placed: placed.map_err(failed(&source.path, "read keys"))?,
            decoder: Decoder::new(&source.form),
            page: StoredPage::default(),
            bytes: 0,
        })
    }

    fn is_full(&self) -> bool {
        let rows = self.page.rows.len();
        rows >= self.wanted.rows_max.max(1) || rows > 0 && self.bytes >= self.wanted.bytes_max
    }

    fn push(&mut self, row: &rusqlite::Row<'_>) -> Result<(), Error> {
        let path = &self.source.path;
        let version = self.version(row).map_err(failed(path, "read a value"))?;
        let version = version.map_err(|fault| damaged_row(path, key_of(row), fault))?;
        // Else whoever asks for one page after the other would never come to an end.
        let last = self.page.rows.last();
        if last.is_some_and(|last| last.key >= version.key)
            || !self.wanted.interval.contains(&version.key)
        {
            return Err(damaged_row(path, &version.key, "it is out of order"));
        }
        self.bytes += version.key.len();
        self.bytes += version.value.as_ref().map_or(0, |value| value.bytes.len());
        self.page.rows.push(version);
        Ok(())
    }

    /// The version in a row of `pair`, with its value from wherever that is.
    fn version(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<StoredBuf, Fault>> {
        let columns = Row::read(row);
        let place: Option<i64> = row.get(COLUMNS)?;
        let Some(place) = place else {
            return Ok(columns.and_then(|columns| Ok(self.decoder.version(&columns)?.to_buf())));
        };
        let mut rows = self.placed.query([place])?;
        let found = rows.next()?.ok_or(LOST);
        let version = columns.and_then(|columns| {
            let found = Row::read(found?)?;
            if found.checksum != columns.checksum {
                return Err(LOST);
            }
            Ok(self.decoder.version(&found)?.to_buf())
        });
        Ok(version)
    }
}
