//! What the file looks like from outside: its tables and views, and the refusal of any other.
//!
//! The schema is a published format. Format 1:
//!
//! - `pair` has one row a key, its newest version, deleted keys included. Its tree is ordered by
//!   key, so an update touches one page, and rows are short, so that a page holds many: a value
//!   that is too long for it is in `history`, in the row that `place` names.
//! - `history` has the older versions, in the order in which they were superseded, and the newest
//!   ones that are too long for `pair`. Each row names the row of its key's version before it. Ids
//!   are never used again: a name that leads nowhere leads to a version that is no longer kept.
//! - `meta` says whose file it is and how far it goes.
//!
//! `pairs` and `versions` are views for people. This program reads neither, and has views and
//! triggers switched off: a file that somebody else prepared makes it run nothing.

use std::path::Path;

use rusqlite::Connection;

use crate::error::Error;

/// The format that this program writes, in the header's `user_version`.
pub(super) const FORMAT: u32 = 1;

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
    OR pair.expires > CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER))";

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

/// Name, statement: in the order of their names.
const TABLES: [(&str, &str); 3] = [("history", HISTORY), ("meta", META), ("pair", PAIR)];
const VIEWS: [(&str, &str); 2] = [("pairs", PAIRS), ("versions", VERSIONS)];

/// Makes the tables, and the views if anybody could read what they show.
pub(super) fn create(connection: &Connection, with_views: bool) -> rusqlite::Result<()> {
    for (_, statement) in expected(with_views) {
        connection.execute_batch(statement)?;
    }
    Ok(())
}

/// Refuses a file that has anything else in it than what [`create`] made.
///
/// # Errors
///
/// [`Error::Mismatch`] with the name of what is missing, changed or too much.
pub(super) fn check(connection: &Connection, path: &Path, with_views: bool) -> Result<(), Error> {
    let found = read(connection).map_err(super::failed(path, "read the schema"))?;
    let refuse = |what: String| Err(Error::Mismatch { path: path.to_owned(), what });
    for (name, statement) in expected(with_views) {
        match found.iter().find(|(found, _)| found == name) {
            Some((_, found)) if found.as_deref() == Some(statement) => {}
            Some(_) => {
                return refuse(format!("\"{name}\" is not as this program made it; {RESTORE}"));
            }
            None => return refuse(format!("\"{name}\" is missing; {RESTORE}")),
        }
    }
    let stranger = found.iter().find(|(name, _)| {
        // Statistics are what `ANALYZE` leaves behind; they hold nothing that could be run.
        !name.starts_with("sqlite_stat") && expected(with_views).all(|(known, _)| known != name)
    });
    match stranger {
        Some((name, _)) => refuse(format!(
            "\"{name}\" was added to it by another program; drop it, or restore the file from a \
             backup"
        )),
        None => Ok(()),
    }
}

const RESTORE: &str = "restore the file from a backup";

fn expected(with_views: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLES.into_iter().chain(VIEWS.into_iter().filter(move |_| with_views))
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
