//! The snapshot as an ordinary SQLite file, which any SQLite tool reads while the server runs.
//!
//! # Reading the source
//!
//! - `schema`: the tables; what else is in a file, and is refused.
//! - `row`: a version as a row, with its checksum, sealed or compressed.
//! - `fold` and `wipe`: changes go in; `collect` and `forget`: what is no longer kept goes out.
//! - `load`, `history` and `page`: what is read at a start, and later.
//! - `meta` and `open`: whose file it is, and how it is opened without trusting it.
//! - `backup`, `verify`, `salvage`, `rekey`: what an operator asks for.
//!
//! # What is relied upon
//!
//! SQLite runs in WAL mode with `synchronous=FULL`: a commit is durable when it returns, and who
//! reads never waits for a fold. A fold that fails is rolled back by SQLite. After a kill, SQLite
//! finds the last whole commit in its write-ahead log. That need not have reached the disk, so what
//! is found is synced before it is relied upon. Its pages have no checksums, so rows do.

mod backup;
mod collect;
mod fold;
mod forget;
mod history;
mod index;
mod load;
mod meta;
mod open;
mod page;
mod ranges;
mod rekey;
mod row;
mod salvage;
mod schema;
#[cfg(test)]
mod tests;
mod verify;
mod wipe;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kv_core::Revision;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};

use crate::compress::Compression;
use crate::crypt::{Cipher, KeyId};
use crate::error::Error;
use crate::snapshot::{
    Backup, Fold, Forgotten, History, Identity, PIECE_BYTES, Sink, Snapshot, SnapshotStats,
    Verified,
};
use crate::stored::{DatabaseId, Keep, Through, show_key};

use forget::Search;
use history::{Pool, SqliteHistory};
use meta::Meta;
use open::Access;
use row::Form;

pub use history::CONNECTIONS_MAX as HISTORY_CONNECTIONS_MAX;
pub(crate) use index::NoTrace;
pub use salvage::{Finder, Salvaged};

/// Longest write-ahead log that is left as long as it is after a fold, in bytes.
const WAL_BYTES_KEPT_MAX: u64 = 256 << 20;

/// How much larger than a piece of the log the file may be, before pieces grow with it.
const PIECES_PER_FILE: u64 = 16;
/// The largest piece, in bytes: it is held in memory, and as much again.
const PIECE_BYTES_MAX: u64 = 128 << 20;

/// How an SQLite snapshot is to be opened.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file.
    pub path: PathBuf,
    /// Which versions are kept. What an earlier setting has removed does not come back.
    pub keep: Keep,
    /// The cipher that rows are encrypted with, if they are.
    pub cipher: Option<Arc<Cipher>>,
    /// What values are compressed with from now on. Those in the file stay as they are.
    pub compression: Compression,
}

/// A snapshot in an SQLite file.
#[derive(Debug)]
pub struct SqliteSnapshot {
    source: Source,
    writer: Connection,
    meta: Meta,
    pool: Arc<Pool>,
    search: Search,
    /// There until the file is taken over. Dropped after all connections.
    no_trace: Option<NoTrace>,
}

/// Nothing is lost without this, but the file alone is the whole afterwards.
impl Drop for SqliteSnapshot {
    fn drop(&mut self) {
        self.pool.close();
    }
}

/// What it takes to read the file, in any thread.
#[derive(Debug, Clone)]
struct Source {
    path: Arc<PathBuf>,
    keep: Keep,
    form: Form,
    access: Access,
}

impl SqliteSnapshot {
    /// Creates an empty one, durably, and opens it.
    ///
    /// # Errors
    ///
    /// If the file exists, or cannot be written; then there is none.
    pub fn create(options: SqliteOptions, database: DatabaseId) -> Result<SqliteSnapshot, Error> {
        let key = options.cipher.as_ref().map_or(KeyId::NONE, |cipher| cipher.key_id());
        open::create(&options.path, Meta::new(database, key, options.keep))?;
        let mut snapshot = SqliteSnapshot::open(options)?;
        snapshot.take_over()?;
        Ok(snapshot)
    }

    /// Opens one that exists. Until it is changed or adopted, closing it leaves everything as it
    /// was, and what a kill left beside it too.
    ///
    /// # Errors
    ///
    /// If it is damaged, of a later format, encrypted with another key or not at all, or if there
    /// is something in it that does not belong there: then nothing has been changed.
    pub fn open(options: SqliteOptions) -> Result<SqliteSnapshot, Error> {
        let path = options.path.clone();
        let no_trace = NoTrace::of(&path);
        open::look(&path, |_, meta| check_key(&path, meta.key, options.cipher.as_deref()))?;
        open::sync(&path)?;
        let has_wal = fs::exists(open::beside(&path, "-wal")).unwrap_or(true);
        let writer = open::connect(&path, Access::Write)?;
        // One that was not there before is removed with the last connection.
        open::keep_wal(&writer, has_wal).map_err(failed(&path, "open"))?;
        let meta = Meta::read(&writer, &path)?;
        let mut snapshot = SqliteSnapshot::new(options, Access::Read, writer, meta);
        snapshot.no_trace = Some(no_trace);
        Ok(snapshot)
    }

    /// To be called before anything is changed. Closed after this, the file is the whole.
    fn take_over(&mut self) -> Result<(), Error> {
        if let Some(no_trace) = &mut self.no_trace {
            let path = &self.source.path;
            open::into_wal_mode(&self.writer, path)?;
            open::keep_wal(&self.writer, false).map_err(failed(path, "open"))?;
            no_trace.disarm();
            self.no_trace = None;
        }
        Ok(())
    }

    /// Opens one that exists, and changes nothing; it cannot be folded into.
    ///
    /// # Errors
    ///
    /// As [`open`](SqliteSnapshot::open).
    pub fn open_to_read(options: SqliteOptions) -> Result<SqliteSnapshot, Error> {
        let path = options.path.clone();
        open::look(&path, |connection, meta| {
            check_key(&path, meta.key, options.cipher.as_deref())?;
            Ok(SqliteSnapshot::new(options, Access::Look, connection, meta))
        })
    }

    fn new(options: SqliteOptions, access: Access, main: Connection, meta: Meta) -> SqliteSnapshot {
        let SqliteOptions { path, keep, cipher, compression } = options;
        let form = Form { cipher, compression };
        let source = Source { path: Arc::new(path), keep, form, access };
        let pool = Arc::new(Pool::new());
        let search = Search::new();
        SqliteSnapshot { source, writer: main, meta, pool, search, no_trace: None }
    }

    /// Looks at a file without changing anything.
    ///
    /// # Errors
    ///
    /// What keeps it from being used, its key aside.
    pub fn look(path: &Path) -> Result<Identity, Error> {
        let _no_trace = NoTrace::of(path);
        open::look(path, |_, meta| Ok(meta.identity()))
    }

    fn set_meta(&mut self, mut meta: Meta) -> Result<(), Error> {
        let failed = || failed(&self.source.path, "change the metadata");
        let transaction = self.writer.unchecked_transaction().map_err(failed())?;
        meta.write(&transaction).map_err(failed())?;
        transaction.commit().map_err(failed())?;
        self.meta = meta;
        Ok(())
    }

    /// What the file says of itself.
    pub fn identity(&self) -> Identity {
        self.meta.identity()
    }
}

impl Snapshot for SqliteSnapshot {
    fn through(&self) -> Through {
        self.meta.through
    }

    fn load(&self, threads: usize, sink: &Sink<'_>) -> Result<(), Error> {
        self.source.load(self.meta.pairs, threads, sink)
    }

    fn fold(&mut self, fold: &Fold<'_>) -> Result<(), Error> {
        self.take_over()?;
        self.fold_in(fold)
    }

    fn forget(&mut self, before_ms: u64) -> Result<Vec<Forgotten>, Error> {
        self.take_over()?;
        self.forget_some(before_ms)
    }

    fn forgotten(&self) -> Revision {
        self.meta.forgotten
    }

    fn database(&self) -> DatabaseId {
        self.meta.database
    }

    fn take_identity(&mut self, database: DatabaseId) -> Result<DatabaseId, Error> {
        self.take_over()?;
        if self.meta.is_backup && self.meta.key.is_none() {
            self.set_meta(Meta { database, ..self.meta.clone() })?;
        }
        Ok(self.meta.database)
    }

    fn adopt(&mut self) -> Result<(), Error> {
        self.take_over()?;
        let is_old = self.meta.format != schema::FORMAT;
        if self.meta.is_backup || is_old {
            self.set_meta(Meta { is_backup: false, ..self.meta.clone() })?;
        }
        if is_old {
            // An older program looks at the file alone, and is to see that it is none of its own.
            let _ = self.tidy();
        }
        Ok(())
    }

    fn note_time(&mut self, time_ms: u64) -> Result<(), Error> {
        if time_ms <= self.meta.through.time_ms {
            return Ok(());
        }
        self.take_over()?;
        let through = Through { time_ms, ..self.meta.through };
        self.set_meta(Meta { through, ..self.meta.clone() })
    }

    /// Moves SQLite's write-ahead log into the file. As long as somebody outside reads what is in
    /// it, part of it stays, and it grows.
    fn tidy(&mut self) -> Result<(), Error> {
        self.take_over()?;
        // Its blocks are used again, which is faster than allocating others, unless it was long.
        let mode = match self.stats().wal_bytes {
            ..=WAL_BYTES_KEPT_MAX => "PRAGMA wal_checkpoint(RESTART)",
            _ => "PRAGMA wal_checkpoint(TRUNCATE)",
        };
        let checkpoint = || {
            // Whoever is in the way is not waited for.
            self.writer.busy_timeout(Duration::ZERO)?;
            let moved = self.writer.query_row(mode, [], |_| Ok(()));
            self.writer.busy_timeout(open::BUSY_WAIT)?;
            moved
        };
        let failed = failed(&self.source.path, "move the write-ahead log into the file");
        checkpoint().map_err(failed)
    }

    /// A fold pays for each page that it touches, and random keys touch nearly every page of the
    /// file: the larger the file, the more there should be for each.
    fn piece_bytes(&self) -> u64 {
        (self.stats().file_bytes / PIECES_PER_FILE).clamp(PIECE_BYTES, PIECE_BYTES_MAX)
    }

    fn history(&self) -> Option<Box<dyn History>> {
        Some(Box::new(SqliteHistory { source: self.source.clone(), pool: Arc::clone(&self.pool) }))
    }

    /// Writes a compact copy, with nothing in it that was deleted.
    fn backup(&self, to: &Path) -> Result<(), Error> {
        self.source.backup(to).map(|_| ())
    }

    fn backup_source(&self) -> Option<Box<dyn Backup>> {
        Some(Box::new(self.source.clone()))
    }

    fn verify(&self) -> Result<Verified, Error> {
        self.source.verify(&self.meta)
    }

    fn stats(&self) -> SnapshotStats {
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        SnapshotStats {
            file_bytes: bytes(&self.source.path),
            wal_bytes: bytes(&open::beside(&self.source.path, "-wal")),
            keys: u64::try_from(self.meta.pairs).ok(),
            older_versions: u64::try_from(self.meta.history).ok(),
        }
    }
}

/// Removes, durably, what SQLite put beside a file that is no longer there: it would be taken for
/// a part of the next one of that name.
pub(crate) fn remove_beside(path: &Path) -> Result<(), Error> {
    open::remove_beside(path)?;
    open::sync_dir_of(path)
}

fn check_key(path: &Path, found: KeyId, cipher: Option<&Cipher>) -> Result<(), Error> {
    let path = path.display();
    let what = match cipher.map(Cipher::key_id) {
        Some(key) if key == found => return Ok(()),
        None if found.is_none() => return Ok(()),
        Some(_) if found.is_none() => {
            format!("{path} is not encrypted; leave the key away, or encrypt it first")
        }
        Some(key) => format!("{path} is encrypted with key {found}, and this is key {key}"),
        None => format!("{path} is encrypted with key {found}, and none was given"),
    };
    Err(Error::Key { what })
}

/// An error for a file that is not as it was written.
fn damaged(path: &Path, what: String) -> Error {
    Error::Damaged { path: path.to_owned(), offset: None, what }
}

/// An error for a row that is not as it was written.
fn damaged_row(path: &Path, key: &[u8], what: &str) -> Error {
    damaged(path, format!("the row of key {}: {what}", show_key(key)))
}

/// What SQLite answered, for use in `map_err`; damage is told apart from a refusal.
fn failed(path: &Path, what: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            damaged(path, format!("SQLite says: {error}"))
        }
        _ => Error::Sqlite { what, source: error },
    }
}

/// A key column, to be shown.
fn shown(key: ValueRef<'_>) -> &[u8] {
    key.as_bytes_or_null().ok().flatten().unwrap_or_default()
}
