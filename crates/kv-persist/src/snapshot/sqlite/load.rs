//! Reading the newest version of every key, as fast as the machine allows.
//!
//! Several threads, each with a connection, walk over `pair` and check each row. Versions that
//! `pair` has no room for are noted, and now and then, when there are many, read in the order in
//! which they stand in the file. The metadata says how many rows there have to be.

use std::thread;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Rows, params};

use super::open::connect;
use super::ranges::{Place, Range, Ranges};
use super::row::{COLUMNS, Decoder, Row, bound, columns};
use super::{Source, damaged, damaged_row, failed, shown};
use crate::error::Error;
use crate::snapshot::Sink;

/// Rows read before a thread looks whether another has nothing to do.
const ROWS_PER_PIECE: i64 = 4096;

/// Versions in `history` that a thread notes before it reads them: half a megabyte. In tests few.
const PLACED_MAX: usize = if cfg!(test) { 4 } else { 1 << 15 };

/// A newest version that is in `history`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    id: i64,
    /// That of the row in `pair`, which has to be the same.
    checksum: i64,
}

impl Source {
    /// Hands over the newest version of every key, of which there have to be so many.
    pub(super) fn load(&self, pairs: i64, threads: usize, sink: &Sink<'_>) -> Result<(), Error> {
        let ranges = Ranges::new();
        let walked = in_threads(threads, || {
            let walk = Walk {
                source: self,
                ranges: &ranges,
                sink,
                decoder: Decoder::new(&self.form),
                rows: 0,
                placed: Vec::new(),
            };
            walk.walk().inspect_err(|_| ranges.end())
        })?;
        let rows: i64 = walked.into_iter().sum();
        if rows != pairs {
            return Err(damaged(&self.path, format!("{rows} of {pairs} keys were found in it")));
        }
        Ok(())
    }

    fn load_placed(
        &self,
        connection: &Connection,
        piece: &[Placed],
        sink: &Sink<'_>,
    ) -> Result<(), Error> {
        let failed = || failed(&self.path, "read values");
        let mut decoder = Decoder::new(&self.form);
        let mut statement = connection
            .prepare_cached(concat!("SELECT ", columns!(), " FROM history WHERE id = ?1"))
            .map_err(failed())?;
        for placed in piece {
            let mut rows = statement.query([placed.id]).map_err(failed())?;
            let row = rows.next().map_err(failed())?;
            let row = row.and_then(|row| Row::read(row).ok());
            let Some(row) = row.filter(|row| row.checksum == placed.checksum) else {
                let what = format!("the value that should be in row {} is not there", placed.id);
                return Err(damaged(&self.path, what));
            };
            let version = decoder
                .version(&row)
                .map_err(|fault| damaged_row(&self.path, shown(row.key), fault))?;
            sink(version)?;
        }
        Ok(())
    }
}

/// Does the same in several threads; all of the results, or the first error.
fn in_threads<T: Send>(
    threads: usize,
    work: impl Fn() -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    if threads <= 1 {
        return work().map(|done| vec![done]);
    }
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}

/// The statements of one thread's walk.
struct Statements<'a> {
    bounded: CachedStatement<'a>,
    unbounded: CachedStatement<'a>,
    last_bounded: CachedStatement<'a>,
    last_unbounded: CachedStatement<'a>,
}

impl<'a> Statements<'a> {
    fn new(connection: &'a Connection) -> rusqlite::Result<Statements<'a>> {
        macro_rules! rows {
            ($condition:literal) => {
                concat!("SELECT ", columns!(), ", place FROM pair WHERE ", $condition)
            };
        }
        Ok(Statements {
            bounded: connection
                .prepare_cached(rows!("key >= ?1 AND key < ?3 ORDER BY key LIMIT ?2"))?,
            unbounded: connection.prepare_cached(rows!("key >= ?1 ORDER BY key LIMIT ?2"))?,
            last_bounded: connection.prepare_cached(
                "SELECT key FROM pair WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT 1",
            )?,
            last_unbounded: connection
                .prepare_cached("SELECT key FROM pair WHERE key >= ?1 ORDER BY key DESC LIMIT 1")?,
        })
    }

    /// The next rows of a range, up to [`ROWS_PER_PIECE`].
    fn rows(&mut self, range: &Range) -> rusqlite::Result<Rows<'_>> {
        let from = bound(range.from.value());
        match &range.to {
            Some(to) => self.bounded.query(params![from, ROWS_PER_PIECE, bound(to.value())]),
            None => self.unbounded.query(params![from, ROWS_PER_PIECE]),
        }
    }

    /// The last key in a range.
    fn last(&mut self, range: &Range) -> rusqlite::Result<Option<Place>> {
        let from = bound(range.from.value());
        let place = |row: &rusqlite::Row<'_>| Ok(Place::of(row.get_ref(0)?));
        let found = match &range.to {
            Some(to) => self.last_bounded.query_row(params![from, bound(to.value())], place),
            None => self.last_unbounded.query_row(params![from], place),
        };
        Ok(found.optional()?.flatten())
    }
}

/// One thread's part in the walk over `pair`.
struct Walk<'a> {
    source: &'a Source,
    ranges: &'a Ranges,
    sink: &'a Sink<'a>,
    decoder: Decoder,
    /// How many it has come by.
    rows: i64,
    /// Versions that are to be read.
    placed: Vec<Placed>,
}

impl Walk<'_> {
    /// Answers how many rows it has come by.
    fn walk(mut self) -> Result<i64, Error> {
        let source = self.source;
        let failed = || failed(&source.path, "read keys");
        let connection = connect(&self.source.path, self.source.access)?;
        let mut statements = Statements::new(&connection).map_err(failed())?;
        while let Some(mut range) = self.ranges.take() {
            while let Some(from) = self.piece(&mut statements, &range)? {
                range.from = from;
                if self.placed.len() >= PLACED_MAX {
                    self.read_placed(&connection)?;
                }
                if self.ranges.is_over() {
                    break;
                }
                if self.ranges.is_wanted() {
                    let last = statements.last(&range).map_err(failed())?;
                    if let Some(upper) = last.and_then(|last| range.split(&last)) {
                        self.ranges.give(upper);
                    }
                }
            }
            self.ranges.done();
        }
        self.read_placed(&connection)?;
        Ok(self.rows)
    }

    fn read_placed(&mut self, connection: &Connection) -> Result<(), Error> {
        self.placed.sort_unstable();
        self.source.load_placed(connection, &self.placed, self.sink)?;
        self.placed.clear();
        Ok(())
    }

    /// Reads the next rows of a range; answers where it goes on, if it does.
    fn piece(
        &mut self,
        statements: &mut Statements<'_>,
        range: &Range,
    ) -> Result<Option<Place>, Error> {
        let source = self.source;
        let failed = || failed(&source.path, "read keys");
        let mut rows = statements.rows(range).map_err(failed())?;
        let mut read = 0;
        while let Some(row) = rows.next().map_err(failed())? {
            read += 1;
            let next = if read == ROWS_PER_PIECE {
                Place::of(row.get_ref(0).map_err(failed())?).map(Place::next)
            } else {
                None
            };
            self.row(row)?;
            if next.is_some() {
                return Ok(next);
            }
        }
        Ok(None)
    }

    fn row(&mut self, row: &rusqlite::Row<'_>) -> Result<(), Error> {
        let source = self.source;
        let path = &source.path;
        let columns = Row::read(row).map_err(|fault| damaged(path, fault.into()))?;
        self.rows += 1;
        match row.get_ref(COLUMNS) {
            Ok(ValueRef::Null) => {
                let version = self.decoder.version(&columns);
                let key = columns.key;
                (self.sink)(version.map_err(|fault| damaged_row(path, shown(key), fault))?)
            }
            Ok(ValueRef::Integer(id)) => {
                self.placed.push(Placed { id, checksum: columns.checksum });
                Ok(())
            }
            _ => Err(damaged_row(path, shown(columns.key), "its place is not a number")),
        }
    }
}

/// Whatever ends a walk early, the others do not wait for it.
impl Drop for Walk<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.ranges.end();
        }
    }
}
