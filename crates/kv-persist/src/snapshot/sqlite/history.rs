//! Looking up versions, while folds go on.
//!
//! Each row names the one before it, so an old version is found by walking there from the newest.
//! The connections only read. Each look is a read transaction of its own, so that none keeps
//! SQLite's write-ahead log from being cut. The newest version alone is found by one statement,
//! since that is what everybody waits for whose key is not in memory.

use std::sync::Arc;

use kv_core::{Holds, PageRequest, Version};
use parking_lot::{Condvar, Mutex};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::open::{Access, connect};
use super::row::{COLUMNS, Decoder, Encoder, Fault, Row, bound, columns};
use super::{Source, damaged_row, failed, page};
use crate::error::Error;
use crate::snapshot::{History, Older, StoredPage};
use crate::stored::StoredBuf;

/// Connections at once; whoever wants another one waits. Each takes two descriptors: the file, and
/// its write-ahead log.
pub const CONNECTIONS_MAX: usize = 8;

/// A row with everything that its value needs, wherever that is.
pub(super) const NEWEST: &str = "SELECT pair.key, pair.version, pair.revision, pair.time, \
     pair.type, pair.expires, pair.codec, pair.checksum, pair.value, pair.place, history.value, \
     pair.previous FROM pair LEFT JOIN history ON history.id = pair.place WHERE pair.key = ?1";

/// What is wrong with a row whose value is in no row of `history`, or in another one.
pub(super) const LOST: Fault = "its value is not where it should be";

/// The way to versions that are not in memory.
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
    /// Rows that are encrypted are found by a keyed hash, so the keys are in no order.
    fn holds(&self) -> Holds {
        match self.source.form.cipher {
            None => Holds::Keys,
            Some(_) => Holds::Values,
        }
    }

    fn newest(&self, key: &[u8]) -> Result<Option<StoredBuf>, Error> {
        self.connected(|connection| self.find(connection, key))
    }

    fn page(&self, wanted: &PageRequest) -> Result<StoredPage, Error> {
        assert_eq!(self.holds(), Holds::Keys, "keys that are hashed are in no order");
        self.connected(|connection| page::read(&self.source, connection, wanted))
    }

    fn older(&self, key: &[u8], older: Older) -> Result<Vec<StoredBuf>, Error> {
        self.connected(|connection| self.look(connection, key, older))
    }
}

impl SqliteHistory {
    /// Reads with a connection of the pool. One with which that failed is not used again.
    fn connected<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut leave = self.pool.enter(&self.source);
        let connection = match leave.connection.take() {
            Some(connection) => connection,
            None => connect(&self.source.path, leave.access)?,
        };
        let found = read(&connection)?;
        leave.connection = Some(connection);
        Ok(found)
    }

    fn find(&self, connection: &Connection, key: &[u8]) -> Result<Option<StoredBuf>, Error> {
        let path = &self.source.path;
        let failed = || failed(path, "read a key");
        let mut encoder = Encoder::new(&self.source.form);
        let mut decoder = Decoder::new(&self.source.form);
        let mut select = connection.prepare_cached(NEWEST).map_err(failed())?;
        let mut rows = select.query([bound(encoder.key(key))]).map_err(failed())?;
        let Some(row) = rows.next().map_err(failed())? else {
            return Ok(None);
        };
        let version = with_value(row).and_then(|columns| decoder.version(&columns));
        match version {
            Ok(version) if version.key == key => Ok(Some(version.to_buf())),
            Ok(_) => Err(damaged_row(path, key, "it is of another key")),
            Err(fault) => Err(damaged_row(path, key, fault)),
        }
    }

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
            if version.key != key || above.is_some_and(|above: Version| number >= above) {
                return Err(damaged_row(&self.source.path, key, "its versions are not in order"));
            }
            // One that was never kept leads to what is not collected yet.
            let follows = above.is_none_or(|above| number.0 + 1 == above.0);
            above = Some(number);
            let newest = *newest.get_or_insert(number);
            if !follows || !self.source.keep.keeps(number, newest) {
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

/// A row of [`NEWEST`]. The one in `history` has the same columns: the checksum is of both.
pub(super) fn with_value<'a>(row: &'a rusqlite::Row<'_>) -> Read<Row<'a>> {
    let column = |index| row.get_ref(index).map_err(|_| LOST);
    let mut columns = Row::read(row)?;
    if column(COLUMNS)? != ValueRef::Null {
        columns.value = match column(COLUMNS + 1)? {
            ValueRef::Null => return Err(LOST),
            value => value,
        };
    }
    Ok(columns)
}

fn link(decoder: &mut Decoder, row: &rusqlite::Row<'_>) -> rusqlite::Result<Link> {
    let version = Row::read(row)
        .and_then(|columns| decoder.version(&columns).map(|version| version.to_buf()));
    Ok(Link { version, previous: row.get(COLUMNS)? })
}
