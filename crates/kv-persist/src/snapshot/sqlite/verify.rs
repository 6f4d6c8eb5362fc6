//! Checks everything in a file, and changes nothing.
//!
//! SQLite checks its pages and trees. Then every row is read: its checksum, its revision, whether
//! its key has a newest version and the row before it is an older version of the same key; and
//! whether there are as many rows as the metadata says.

use kv_core::Version;
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::meta::Meta;
use super::open::connect;
use super::row::{COLUMNS, Decoder, Row, bound, columns};
use super::{Source, failed, shown};
use crate::error::Error;
use crate::snapshot::Verified;

/// Faults that are told one by one; of a file that has more, this many say enough.
const FAULTS_MAX: usize = 100;

impl Source {
    /// Checks everything.
    pub(super) fn verify(&self, meta: &Meta) -> Result<Verified, Error> {
        let connection = connect(&self.path, self.access)?;
        // All of it as of one moment, that of the metadata.
        let transaction =
            connection.unchecked_transaction().map_err(failed(&self.path, "read it"))?;
        let mut check = Check {
            source: self,
            connection: &transaction,
            meta,
            verified: Verified::default(),
            faults: 0,
        };
        check.pages();
        check.pairs();
        check.history();
        Ok(check.done())
    }
}

struct Check<'a> {
    source: &'a Source,
    connection: &'a Connection,
    meta: &'a Meta,
    verified: Verified,
    /// All of them, told or not.
    faults: usize,
}

impl<'a> Check<'a> {
    fn done(mut self) -> Verified {
        if self.faults > FAULTS_MAX {
            let more = self.faults - FAULTS_MAX;
            self.verified.faults.push(format!("There are {more} faults more."));
        }
        self.verified
    }

    fn fault(&mut self, what: String) {
        self.faults += 1;
        if self.faults <= FAULTS_MAX {
            let path = self.source.path.display();
            self.verified.faults.push(format!("{path}: {what}."));
        }
    }

    fn row_fault(&mut self, key: ValueRef<'_>, what: &str) {
        let key = String::from_utf8_lossy(shown(key)).escape_debug().to_string();
        self.fault(format!("a row of key \"{key}\": {what}"));
    }

    /// What SQLite finds wrong itself.
    fn pages(&mut self) {
        let checked = || -> rusqlite::Result<Vec<String>> {
            let mut statement =
                self.connection.prepare(&format!("PRAGMA quick_check({FAULTS_MAX})"))?;
            let lines = statement.query_map([], |row| row.get(0))?;
            lines.collect()
        };
        match checked() {
            Ok(lines) => {
                for line in lines.into_iter().filter(|line| line != "ok") {
                    self.fault(format!("SQLite says: {}", line.replace('\n', " ")));
                }
            }
            Err(error) => self.fault(format!("SQLite cannot check it: {error}")),
        }
    }

    fn pairs(&mut self) {
        let select = concat!("SELECT ", columns!(), ", previous, place FROM pair ORDER BY key");
        let mut decoder = Decoder::new(&self.source.form);
        let connection = self.connection;
        let rows = self.walk("pair", select, |check, row| {
            let columns = Row::read(row)?;
            let place: Option<i64> = row.get(COLUMNS + 1).map_err(|_| "its place is no number")?;
            check.verified.keys += 1;
            check.stamp(&columns)?;
            match place {
                None => {
                    check.verified.versions += 1;
                    decoder.version(&columns)?;
                }
                Some(place) => {
                    let found = connection
                        .prepare_cached("SELECT checksum FROM history WHERE id = ?1")
                        .and_then(|mut find| find.query_row([place], |row| row.get(0)).optional());
                    if found.ok().flatten() != Some(columns.checksum) {
                        return Err("its value is not where it should be");
                    }
                }
            }
            check.previous(row.get_ref(COLUMNS), &columns)
        });
        if rows != self.meta.pairs {
            self.fault(format!("table \"pair\" has {rows} rows instead of {}", self.meta.pairs));
        }
    }

    fn history(&mut self) {
        let select = concat!("SELECT ", columns!(), ", previous, id FROM history ORDER BY id");
        let mut decoder = Decoder::new(&self.source.form);
        let connection = self.connection;
        let rows = self.walk("history", select, |check, row| {
            let columns = Row::read(row)?;
            check.stamp(&columns)?;
            decoder.version(&columns)?;
            if row.get(COLUMNS + 1).map_or(true, |id: i64| id >= check.meta.next_id) {
                return Err("its id was not given yet");
            }
            let newest: Option<i64> = connection
                .prepare_cached("SELECT version FROM pair WHERE key = ?1")
                .and_then(|mut find| {
                    find.query_row([bound(columns.key)], |row| row.get(0)).optional()
                })
                .map_err(|_| "its key cannot be looked up")?;
            let (version, newest) = (columns.version, newest.unwrap_or(0));
            if version > newest {
                // What format 1 has left of a key that was forgotten is collected some day.
                return match columns.revision.cast_unsigned() <= check.meta.forgotten.0 {
                    true => Ok(()),
                    false => Err("it is newer than the newest version"),
                };
            }
            let number = |version: i64| Version(version.cast_unsigned());
            if check.meta.keep.keeps(number(version), number(newest)) {
                check.verified.versions += 1;
            }
            check.previous(row.get_ref(COLUMNS), &columns)
        });
        if rows != self.meta.history {
            let wanted = self.meta.history;
            self.fault(format!("table \"history\" has {rows} rows instead of {wanted}"));
        }
    }

    /// Goes over all rows that can be read, and notes what is wrong with each; answers how many.
    fn walk(
        &mut self,
        table: &str,
        select: &str,
        mut each: impl FnMut(&mut Check<'a>, &rusqlite::Row<'_>) -> Result<(), &'static str>,
    ) -> i64 {
        let mut read = 0;
        let connection = self.connection;
        let mut walk = || -> rusqlite::Result<()> {
            let mut statement: CachedStatement<'_> = connection.prepare_cached(select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                read += 1;
                if let Err(fault) = each(self, row) {
                    self.row_fault(row.get_ref(0)?, fault);
                }
            }
            Ok(())
        };
        if let Err(error) = walk() {
            self.fault(format!("table \"{table}\" can be read up to row {read} only: {error}"));
        }
        read
    }

    fn stamp(&self, row: &Row<'_>) -> Result<(), &'static str> {
        let through = self.meta.through;
        if row.revision.cast_unsigned() > through.revision.0 {
            return Err("its revision is above the file's");
        }
        if row.time.cast_unsigned() > through.time_ms {
            return Err("its time is later than the file's");
        }
        Ok(())
    }

    /// Whether the row before it, if it was not collected, is an older version of the same key.
    fn previous(
        &self,
        previous: rusqlite::Result<ValueRef<'_>>,
        row: &Row<'_>,
    ) -> Result<(), &'static str> {
        let id = match previous {
            Ok(ValueRef::Null) => return Ok(()),
            Ok(ValueRef::Integer(id)) if id < self.meta.next_id => id,
            _ => return Err("the row before it has no id"),
        };
        let found: Option<(i64, bool)> = self
            .connection
            .prepare_cached("SELECT version, key = ?2 FROM history WHERE id = ?1")
            .and_then(|mut find| {
                let parameters = rusqlite::params![id, bound(row.key)];
                find.query_row(parameters, |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(|_| "the row before it cannot be looked up")?;
        match found {
            Some((version, true)) if version < row.version => Ok(()),
            None => Ok(()),
            Some(_) => Err("the row before it is not an older version of it"),
        }
    }
}
