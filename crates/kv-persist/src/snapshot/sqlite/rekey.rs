//! Encrypting a file with another key, or at last, or no longer.
//!
//! Every row changes, and the order of the keys with it, so a new file is written beside the old
//! one and takes its name. Nothing of what was not encrypted, or with the old key, is in it.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Rows, Transaction, params};

use super::meta::Meta;
use super::open::{
    Access, beside, connect, fill, into_wal_mode, look, make, remove_beside, sync_dir_of,
};
use super::row::{COLUMNS, Decoder, Encoder, Form, Row, columns};
use super::{SqliteOptions, SqliteSnapshot, check_key, damaged, damaged_row, failed};
use crate::crypt::{Cipher, KeyId};
use crate::error::Error;
use crate::stored::StoredBuf;

impl SqliteSnapshot {
    /// Rewrites a file that nobody has open: from now on it is encrypted with `new`, or not at all.
    /// `options` tells what it is encrypted with now. It needs as much space again.
    ///
    /// # Errors
    ///
    /// Then the file is as it was, and encrypted as it was.
    pub fn rekey(options: &SqliteOptions, new: Option<Arc<Cipher>>) -> Result<(), Error> {
        let path = &options.path;
        look(path, |_, meta| check_key(path, meta.key, options.cipher.as_deref()))?;
        let old = connect(path, Access::Write)?;
        let meta = Meta::read(&old, path)?;
        empty_wal(&old, path)?;
        let copy = Copy {
            path,
            old,
            from: Form { cipher: options.cipher.clone(), compression: options.compression },
            to: Form { cipher: new, compression: options.compression },
        };
        make(path, |new| {
            copy.write(new, meta)?;
            drop(copy);
            // From here on the old name leads to the old file without a write-ahead log, or to the
            // new one: never to the new one with the log of the old one.
            remove_beside(path)?;
            sync_dir_of(path)
        })
    }
}

/// Moves all of SQLite's write-ahead log into the file.
fn empty_wal(connection: &Connection, path: &Path) -> Result<(), Error> {
    let is_busy: bool = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(failed(path, "move the write-ahead log into the file"))?;
    if is_busy {
        let path = beside(path, "-wal");
        let what = "another program reads what is in it; end that program first".into();
        return Err(Error::Mismatch { path, what });
    }
    Ok(())
}

/// Bytes of rows that are copied at once, about; they are held in memory.
const BATCH_BYTES: usize = 64 << 20;

/// A row on its way.
struct Copied {
    version: StoredBuf,
    previous: Option<i64>,
    place: Option<i64>,
}

struct Copy<'a> {
    path: &'a Path,
    old: Connection,
    from: Form,
    to: Form,
}

impl Copy<'_> {
    fn write(&self, new: &Path, mut meta: Meta) -> Result<(), Error> {
        meta.key = self.to.cipher.as_ref().map_or(KeyId::NONE, |cipher| cipher.key_id());
        let connection = connect(new, Access::Write)?;
        let failed = || failed(self.path, "write it anew");
        fill(&connection, &mut meta).map_err(failed())?;
        let transaction = connection.unchecked_transaction().map_err(failed())?;
        self.history(&transaction)?;
        self.pairs(&transaction)?;
        transaction.commit().map_err(failed())?;
        into_wal_mode(&connection, self.path)
    }

    fn history(&self, new: &Transaction<'_>) -> Result<(), Error> {
        let select = concat!("SELECT ", columns!(), ", previous, id FROM history ORDER BY id");
        let insert = concat!(
            "INSERT INTO history (",
            columns!(),
            ", previous, id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        );
        self.rows(select, new, insert)
    }

    fn pairs(&self, new: &Transaction<'_>) -> Result<(), Error> {
        let select =
            concat!("SELECT ", columns!(), ", previous, NULL FROM pair WHERE place IS NULL");
        let insert = concat!(
            "INSERT INTO pair (",
            columns!(),
            ", previous, place) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        );
        self.rows(select, new, insert)?;
        self.placed_pairs(new)
    }

    /// Copies rows whose last columns are the row before it and where it is itself: a batch at a
    /// time, each in the order in which it has to be written.
    fn rows(&self, select: &str, new: &Transaction<'_>, insert: &str) -> Result<(), Error> {
        let failed = || failed(self.path, "copy rows");
        let mut select = self.old.prepare(select).map_err(failed())?;
        let mut insert = new.prepare(insert).map_err(failed())?;
        let mut encoder = Encoder::new(&self.to);
        let mut rows = select.query([]).map_err(failed())?;
        loop {
            let mut batch = self.batch(&mut rows)?;
            if batch.is_empty() {
                return Ok(());
            }
            batch.sort_by_cached_key(|row| (row.place, self.to.column(&row.version.key)));
            for row in &batch {
                let columns = encoder.row(row.version.borrowed());
                columns.insert(&mut insert, row.previous, row.place).map_err(failed())?;
            }
        }
    }

    fn batch(&self, rows: &mut Rows<'_>) -> Result<Vec<Copied>, Error> {
        let failed = || failed(self.path, "copy rows");
        let fault = |fault: &str| damaged(self.path, format!("a row: {fault}"));
        let mut decoder = Decoder::new(&self.from);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES {
            let Some(row) = rows.next().map_err(failed())? else {
                break;
            };
            let columns = Row::read(row).map_err(fault)?;
            bytes += columns.bytes() + size_of::<Copied>();
            batch.push(Copied {
                version: decoder.version(&columns).map_err(fault)?.to_buf(),
                previous: row.get(COLUMNS).map_err(failed())?,
                place: row.get(COLUMNS + 1).map_err(failed())?,
            });
        }
        Ok(batch)
    }

    /// Copies the keys whose newest version is in `history`, from there: the columns of both rows
    /// have to be the same.
    fn placed_pairs(&self, new: &Transaction<'_>) -> Result<(), Error> {
        let failed = || failed(self.path, "copy keys");
        let mut select = self
            .old
            .prepare("SELECT key, place FROM pair WHERE place IS NOT NULL")
            .map_err(failed())?;
        let mut insert = new
            .prepare(
                "INSERT INTO pair (key, version, revision, time, type, expires, codec, checksum, \
                 previous, place, value) SELECT key, version, revision, time, type, expires, \
                 codec, checksum, previous, id, NULL FROM history WHERE id = ?1",
            )
            .map_err(failed())?;
        let mut rows = select.query([]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let place: i64 = row.get(1).map_err(failed())?;
            if insert.execute(params![place]).map_err(failed())? == 0 {
                let key = super::shown(row.get_ref(0).map_err(failed())?);
                return Err(damaged_row(self.path, key, "its value is missing"));
            }
        }
        Ok(())
    }
}
