//! What the file says of itself: whose it is, how far it goes, what has to be there.
//!
//! A row each, name and value, so that a person can read them. They are changed in the transaction
//! of the fold that they describe. Like every row they have a checksum, here one for all.

use std::path::Path;

use kv_core::Revision;
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::schema::{self, FORMAT};
use crate::crypt::KeyId;
use crate::error::Error;
use crate::snapshot::Identity;
use crate::stored::{DatabaseId, EMPTY, Keep, Through};

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// The format that the file has.
    pub(super) format: u32,
    pub(super) database: DatabaseId,
    pub(super) through: Through,
    /// What the last fold was told to keep.
    pub(super) keep: Keep,
    /// The key that rows are encrypted with.
    pub(super) key: KeyId,
    /// Whether it is a copy that has not been folded into since.
    pub(super) is_backup: bool,
    /// Rows of `pair`.
    pub(super) pairs: i64,
    /// Rows of `history`.
    pub(super) history: i64,
    /// The id of the next row of `history`.
    pub(super) next_id: i64,
    /// How far the collector has come.
    pub(super) collector: Collector,
    /// Whether `history` may have rows of a key that none leads to, until the collector has made a
    /// round: format 1 had them.
    pub(super) is_loose: bool,
    /// The newest revision of all that was forgotten.
    pub(super) forgotten: Revision,
    /// A row of `history` that is to go with all that it leads to; 0 if there is none.
    pub(super) forgetting: i64,
}

/// How far the collector has come, see [`collect`](super::collect).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Collector {
    /// The row where it goes on; 0 between two rounds.
    pub(super) at: i64,
    /// Superfluous rows of `history`, at most.
    pub(super) superfluous: i64,
    /// How many of them have become so since the round began.
    pub(super) recent: i64,
}

impl Collector {
    /// Before a round over so many rows, of which nobody knows how many are superfluous.
    pub(super) fn anew(rows: i64) -> Collector {
        Collector { at: 0, superfluous: rows, recent: 0 }
    }
}

const CHECKSUM: &str = "checksum";

impl Meta {
    /// That of a new file.
    pub(super) fn new(database: DatabaseId, key: KeyId, keep: Keep) -> Meta {
        Meta {
            database,
            through: EMPTY,
            keep,
            key,
            is_backup: false,
            pairs: 0,
            history: 0,
            next_id: 1,
            collector: Collector::default(),
            format: FORMAT,
            is_loose: false,
            forgotten: Revision(0),
            forgetting: 0,
        }
    }

    /// What of it others than this module have to know.
    pub(super) fn identity(&self) -> Identity {
        let Meta { database, through, key, is_backup, .. } = *self;
        Identity { database, through, key, is_backup }
    }

    /// Writes all of it, in the newest format whatever it had, within a transaction.
    pub(super) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.format != FORMAT {
            connection.pragma_update(None, "user_version", FORMAT)?;
            self.format = FORMAT;
        }
        let rows = self.rows();
        let mut statement = connection
            .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?;
        for (name, value) in &rows {
            statement.execute(params![name, value])?;
        }
        statement.execute(params![CHECKSUM, sum(&rows)])?;
        Ok(())
    }

    /// Writes what format 1 had of it.
    #[cfg(test)]
    pub(super) fn write_format_1(mut self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute("DELETE FROM meta", [])?;
        self.format = 1;
        connection.pragma_update(None, "user_version", self.format)?;
        let mut rows = self.rows();
        rows.push((CHECKSUM, Value::Integer(sum(&rows))));
        for (name, value) in &rows {
            connection.execute("INSERT INTO meta VALUES (?1, ?2)", params![name, value])?;
        }
        Ok(())
    }

    /// Reads it, and checks that it is whole.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if it is not as [`write`](Meta::write) left it.
    pub(super) fn read(connection: &Connection, path: &Path) -> Result<Meta, Error> {
        let damaged = || super::damaged(path, "its table \"meta\" is not as it was written".into());
        let failed = || super::failed(path, "read the metadata");
        let format = schema::format(connection).map_err(failed())?;
        let rows = select(connection).map_err(failed())?;
        let number = |name| {
            rows.iter().find_map(|(found, value)| match value {
                Value::Integer(number) if found == name => Some(*number),
                _ => None,
            })
        };
        let id = |name| {
            rows.iter().find_map(|(found, value)| match value {
                Value::Text(hex) if found == name => from_hex(hex),
                _ => None,
            })
        };
        let meta = || {
            let keep = number("keep")?.cast_unsigned();
            let history = number("history")?;
            let mut meta = Meta {
                format,
                database: DatabaseId(id("database")?),
                through: Through {
                    revision: Revision(number("revision")?.cast_unsigned()),
                    time_ms: number("time")?.cast_unsigned(),
                },
                keep: if keep == 0 { Keep::All } else { Keep::Newest(keep) },
                key: KeyId(id("key")?),
                is_backup: number("backup")? != 0,
                pairs: number("pairs")?,
                history,
                next_id: number("next_id")?,
                collector: Collector {
                    at: number("collect_from")?,
                    superfluous: number("superfluous")?,
                    recent: number("superfluous_recent")?,
                },
                is_loose: false,
                forgotten: Revision(0),
                forgetting: 0,
            };
            if format > 1 {
                meta.is_loose = number("loose")? != 0;
                meta.forgotten = Revision(number("forgotten")?.cast_unsigned());
                meta.forgetting = number("forgetting")?;
            }
            Some(meta)
        };
        let mut meta = meta().ok_or_else(damaged)?;
        let written = meta.rows();
        if rows.len() != written.len() + 1 || number(CHECKSUM) != Some(sum(&written)) {
            return Err(damaged());
        }
        // With every version kept, none was left out.
        if format == 1 && meta.history > 0 && meta.keep != Keep::All {
            meta.is_loose = true;
            meta.collector = Collector::anew(meta.history);
        }
        Ok(meta)
    }

    fn rows(&self) -> Vec<(&'static str, Value)> {
        let keep = match self.keep {
            Keep::All => 0,
            Keep::Newest(versions) => versions.cast_signed(),
        };
        let mut rows = vec![
            ("database", Value::Text(hex(&self.database.0))),
            ("revision", Value::Integer(self.through.revision.0.cast_signed())),
            ("time", Value::Integer(self.through.time_ms.cast_signed())),
            ("keep", Value::Integer(keep)),
            ("key", Value::Text(hex(&self.key.0))),
            ("backup", Value::Integer(self.is_backup.into())),
            ("pairs", Value::Integer(self.pairs)),
            ("history", Value::Integer(self.history)),
            ("next_id", Value::Integer(self.next_id)),
            ("collect_from", Value::Integer(self.collector.at)),
            ("superfluous", Value::Integer(self.collector.superfluous)),
            ("superfluous_recent", Value::Integer(self.collector.recent)),
        ];
        if self.format > 1 {
            rows.extend([
                ("loose", Value::Integer(self.is_loose.into())),
                ("forgotten", Value::Integer(self.forgotten.0.cast_signed())),
                ("forgetting", Value::Integer(self.forgetting)),
            ]);
        }
        rows
    }
}

fn select(connection: &Connection) -> rusqlite::Result<Vec<(String, Value)>> {
    let mut statement = connection.prepare_cached("SELECT name, value FROM meta")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn sum(rows: &[(&str, Value)]) -> i64 {
    let sum = rows.iter().fold(0, |sum, (name, value)| {
        let sum = crc32c::crc32c_append(sum, name.as_bytes());
        match value {
            Value::Integer(number) => crc32c::crc32c_append(sum, &number.to_le_bytes()),
            Value::Text(text) => crc32c::crc32c_append(sum, text.as_bytes()),
            Value::Null | Value::Real(_) | Value::Blob(_) => sum,
        }
    });
    sum.into()
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32)?;
    Some(number.to_be_bytes())
}
