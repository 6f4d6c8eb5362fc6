//! Looking up older versions, while folds go on.
//!
//! Each row names the one before it, so an old version is found by walking there from the newest.
//! The connections only read. Each look is a read transaction of its own, so that none keeps
//! SQLite's write-ahead log from being cut.

use std::sync::Arc;

use kv_core::Version;
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, OptionalExtension};

use super::open::{Access, connect};
use super::row::{COLUMNS, Decoder, Encoder, Fault, Row, bound, columns};
use super::{Source, damaged_row, failed};
use crate::error::Error;
use crate::snapshot::{History, Older};
use crate::stored::StoredBuf;

/// Connections at once; whoever wants another one waits. Each takes two descriptors: the file, and
/// its write-ahead log.
pub const CONNECTIONS_MAX: usize = 8;

/// The way to older versions.
#[derive(Debug, Clone)]
pub(super) struct SqliteHistory {
    pub(super) source: Source,
    pub(super) pool: Arc<Pool>,
}

/// The connections, as many as there may be.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Connections that nobody uses at the moment.
    idle: Vec<Connection>,
    /// How many are in use.
    used: usize,
    /// Whether the snapshot is closed, so that none is kept.
    is_closed: bool,
}

/// Leave to use a connection.
pub(super) struct Leave<'a> {
    pool: &'a Pool,
    access: Access,
    /// One that is open: to be used now, and left here to be used again.
    connection: Option<Connection>,
}

impl Pool {
    pub(super) fn new() -> Pool {
        Pool { state: Mutex::default(), left: Condvar::new() }
    }

    /// Leave to use a connection, as soon as fewer than [`CONNECTIONS_MAX`] are in use. The wait is
    /// short: nobody waits for anything else while using one.
    pub(super) fn enter(&self, source: &Source) -> Leave<'_> {
        let mut state = self.state.lock();
        while state.used == CONNECTIONS_MAX {
            self.left.wait(&mut state);
        }
        state.used += 1;
        let access = if state.is_closed { Access::Look } else { source.access };
        Leave { pool: self, access, connection: state.idle.pop() }
    }

    /// Closes the connections, so that the writer is the last one: it is SQLite's last one that
    /// removes the write-ahead log.
    pub(super) fn close(&self) {
        let idle = {
            let mut state = self.state.lock();
            state.is_closed = true;
            std::mem::take(&mut state.idle)
        };
        drop(idle);
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.used -= 1;
        if !state.is_closed {
            state.idle.extend(self.connection.take());
        }
        drop(state);
        self.pool.left.notify_one();
    }
}

/// A row, or rather what is wrong with it.
type Read<T> = Result<T, Fault>;

/// What a row of either table leads to.
struct Link {
    version: Read<StoredBuf>,
    previous: Option<i64>,
}

impl History for SqliteHistory {
    fn older(&self, key: &[u8], older: Older) -> Result<Vec<StoredBuf>, Error> {
        let mut leave = self.pool.enter(&self.source);
        let connection = match leave.connection.take() {
            Some(connection) => connection,
            None => connect(&self.source.path, leave.access)?,
        };
        let found = self.look(&connection, key, older)?;
        // One with which a look failed is not used again.
        leave.connection = Some(connection);
        Ok(found)
    }
}

impl SqliteHistory {
    fn look(
        &self,
        connection: &Connection,
        key: &[u8],
        older: Older,
    ) -> Result<Vec<StoredBuf>, Error> {
        let failed = || failed(&self.source.path, "read history");
        // Both tables as of one moment.
        let transaction = connection.unchecked_transaction().map_err(failed())?;
        let mut walk = Walk {
            connection: &transaction,
            encoder: Encoder::new(&self.source.form),
            decoder: Decoder::new(&self.source.form),
        };
        let mut found = Vec::new();
        let mut link = walk.first(key).map_err(failed())?;
        let mut newest = None;
        let mut above = None;
        while let Some(Link { version, previous }) = link {
            let version = version.map_err(|fault| damaged_row(&self.source.path, key, fault))?;
            let number = version.version;
            if version.key != key || above.is_some_and(|above| number >= above) {
                return Err(damaged_row(&self.source.path, key, "its versions are not in order"));
            }
            above = Some(number);
            let newest = *newest.get_or_insert(number);
            if !self.source.keep.keeps(number, newest) {
                break;
            }
            let revision = version.stamp.revision;
            if number < older.below {
                found.push(version);
            }
            let is_last =
                older.until.is_some_and(|until| number < older.below && revision <= until)
                    || older.down_to.is_some_and(|down_to| number <= down_to)
                    || number <= Version(1)
                    || found.len() >= older.limit;
            link = match previous {
                Some(id) if !is_last => walk.at(id).map_err(failed())?,
                _ => None,
            };
        }
        Ok(found)
    }
}

/// One walk from a key's newest version to older ones.
struct Walk<'a> {
    connection: &'a Connection,
    encoder: Encoder,
    decoder: Decoder,
}

impl Walk<'_> {
    /// The newest version of a key.
    fn first(&mut self, key: &[u8]) -> rusqlite::Result<Option<Link>> {
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(),
            ", previous, place FROM pair WHERE key = ?1"
        ))?;
        let key = bound(self.encoder.key(key));
        let mut rows = statement.query([key])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let (version, place): (i64, Option<i64>) = (row.get(1)?, row.get(COLUMNS + 1)?);
        match place {
            None => link(&mut self.decoder, row).map(Some),
            Some(place) => {
                drop(rows);
                drop(statement);
                self.placed(place, Version(version.cast_unsigned())).map(Some)
            }
        }
    }

    /// A newest version that `pair` has no room for.
    fn placed(&mut self, id: i64, version: Version) -> rusqlite::Result<Link> {
        const LOST: Fault = "its value is not where it should be";
        let found = self
            .at(id)?
            .filter(|link| link.version.as_ref().map_or(true, |found| found.version == version));
        Ok(found.unwrap_or(Link { version: Err(LOST), previous: None }))
    }

    /// The version in a row of `history`; none if it was collected.
    fn at(&mut self, id: i64) -> rusqlite::Result<Option<Link>> {
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(),
            ", previous FROM history WHERE id = ?1"
        ))?;
        let decoder = &mut self.decoder;
        statement.query_row([id], |row| link(decoder, row)).optional()
    }
}

fn link(decoder: &mut Decoder, row: &rusqlite::Row<'_>) -> rusqlite::Result<Link> {
    let version = Row::read(row)
        .and_then(|columns| decoder.version(&columns).map(|version| version.to_buf()));
    Ok(Link { version, previous: row.get(COLUMNS)? })
}
