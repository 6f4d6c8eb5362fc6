//! What the file looks like from outside: its tables and views, and the refusal of any other.
//!
//! The schema is a published format. Format 2:
//!
//! - `pair` has one row a key, its newest version, deleted keys included. Its tree is ordered by
//!   key, so an update touches one page, and rows are short, so that a page holds many: a value
//!   that is too long for it is in `history`, in the row that `place` names.
//! - `history` has the older versions, in the order in which they were superseded, and the newest
//!   ones that are too long for `pair`. Each row names the row of its key's version before it. Ids
//!   are never used again: a name that leads nowhere leads to a version that is no longer kept.
//! - `meta` says whose file it is and how far it goes.
//!
//! Format 1 has the same tables, but fewer rows in `meta`, and rows of `history` that none leads
//! to. It gets format 2 with the first change of its metadata, in the same transaction.
//!
//! `pairs` and `versions` are views for people. This program reads neither, and has views and
//! triggers switched off: a file that somebody else prepared makes it run nothing.

use std::path::Path;

use rusqlite::Connection;

use crate::error::Error;

/// The format that this program writes, in the header's `user_version`.
pub(super) const FORMAT: u32 = 2;

/// The oldest one that it reads.
pub(super) const FORMAT_MIN: u32 = 1;

/// In the header's `application_id`: "kvdb".
pub(super) const APPLICATION_ID: u32 = 0x6b76_6462;

/// Small enough that a change of one short row does not write much, and as large as the blocks of
/// file systems.
pub(super) const PAGE_BYTES: u32 = 4096;

const META: &str = "CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID";

const PAIR: &str = "CREATE TABLE pair (
  key ANY PRIMARY KEY,
  version INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  time INTEGER NOT NULL,
  type INTEGER NOT NULL,
  expires INTEGER,
  codec INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  previous INTEGER,
  place INTEGER,
  value ANY
) STRICT, WITHOUT ROWID";

const HISTORY: &str = "CREATE TABLE history (
  id INTEGER PRIMARY KEY,
  key ANY NOT NULL,
  version INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  time INTEGER NOT NULL,
  type INTEGER NOT NULL,
  expires INTEGER,
  codec INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  previous INTEGER,
  value ANY
) STRICT";

const PAIRS: &str = "CREATE VIEW pairs AS
SELECT
  pair.key AS key,
  CASE WHEN pair.codec <> 0 THEN NULL
    WHEN pair.place IS NULL THEN pair.value
    ELSE (SELECT history.value FROM history WHERE history.id = pair.place) END AS value,
  pair.version AS version,
  pair.revision AS revision,
  strftime('%Y-%m-%dT%H:%M:%fZ', pair.time / 1000.0, 'unixepoch') AS updated,
  CASE pair.type WHEN 1 THEN 'text' WHEN 2 THEN 'json' END AS type,
  strftime('%Y-%m-%dT%H:%M:%fZ', pair.expires / 1000.0, 'unixepoch') AS expires,
  CASE pair.codec WHEN 1 THEN 'lz4' WHEN 2 THEN 'zstd' END AS codec
FROM pair
WHERE pair.type <> 0
  AND (pair.expires IS NULL
    OR pair.expires > CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))";

const VERSIONS: &str = "CREATE VIEW versions AS
SELECT
  key,
  version,
  revision,
  strftime('%Y-%m-%dT%H:%M:%fZ', time / 1000.0, 'unixepoch') AS updated,
  CASE type WHEN 0 THEN 'deleted' WHEN 1 THEN 'text' WHEN 2 THEN 'json' END AS type,
  CASE WHEN codec <> 0 THEN NULL ELSE value END AS value,
  strftime('%Y-%m-%dT%H:%M:%fZ', expires / 1000.0, 'unixepoch') AS expires,
  CASE codec WHEN 1 THEN 'lz4' WHEN 2 THEN 'zstd' END AS codec
FROM (
  SELECT key, version, revision, time, type, expires, codec, value FROM pair WHERE place IS NULL
  UNION ALL
  SELECT key, version, revision, time, type, expires, codec, value FROM history
)";

/// Name and statement.
const TABLES: [(&str, &str); 3] = [("history", HISTORY), ("meta", META), ("pair", PAIR)];
const VIEWS: [(&str, &str); 2] = [("pairs", PAIRS), ("versions", VERSIONS)];

/// The format that a file has.
pub(super) fn format(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Makes the tables, and the views unless nobody could read what they show.
pub(super) fn create(connection: &Connection, with_views: bool) -> rusqlite::Result<()> {
    let views = VIEWS.into_iter().filter(|_| with_views);
    for (_, statement) in TABLES.into_iter().chain(views) {
        connection.execute_batch(statement)?;
    }
    Ok(())
}

/// Refuses a file that has anything else in it than what [`create`] makes.
///
/// # Errors
///
/// [`Error::Mismatch`] with the name of what is missing, changed or too much.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), Error> {
    let found = read(connection).map_err(super::failed(path, "read the schema"))?;
    let refuse = |what: String| Err(Error::Mismatch { path: path.to_owned(), what });
    for (name, statement) in &found {
        let known = TABLES.iter().chain(&VIEWS).find(|(known, _)| known == name);
        match known {
            Some((_, known)) if statement.as_deref() == Some(known) => {}
            Some(_) => {
                return refuse(format!(
                    "\"{name}\" is not as this program made it; restore the file from a backup"
                ));
            }
            // What `ANALYZE` leaves behind; there is nothing in it that could be run.
            None if name.starts_with("sqlite_stat") => {}
            None => {
                return refuse(format!(
                    "\"{name}\" was put into it by another program; drop it, or restore the file \
                     from a backup"
                ));
            }
        }
    }
    let missing = TABLES.iter().find(|(known, _)| found.iter().all(|(name, _)| name != known));
    match missing {
        Some((name, _)) => {
            refuse(format!("\"{name}\" is missing in it; restore the file from a backup"))
        }
        None => Ok(()),
    }
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
