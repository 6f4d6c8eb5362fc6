//! Removes from `history` what is no longer kept, a little with every fold.
//!
//! Which rows those are could be told by an index over them, but keeping one would cost more than
//! all the rest of a fold. Instead each fold counts how many rows it makes superfluous. Once they
//! are a third of all, the collector makes a round: it walks over the rows, oldest first, a few
//! for each row that a fold appends, and looks up how old each is. So what is superfluous is
//! seldom more than what is not. Nobody sees it: whoever reads goes by the policy too.
//!
//! With a row go all rows that it leads to, also those that were kept when the round came by. So
//! who follows the rows of a key to where one is missing has seen all that there are.

use kv_core::Version;
use rusqlite::{Connection, OptionalExtension, params};

use super::meta::{Collector, Meta};
use super::ranges::Place;
use super::row::bound;
use crate::stored::Keep;

/// Rows looked at in a round for each row that is appended.
const ROWS_PER_ROW: i64 = 4;

/// Rows looked at in any fold, so that a round ends although little is written.
const ROWS_MIN: i64 = 1000;

/// A round begins when one row in so many is superfluous.
const ONE_IN: i64 = 3;

/// Notes what is to be kept from now on. If that is something else than before, nobody knows how
/// much is superfluous: perhaps all.
pub(super) fn take_over(meta: &mut Meta, keep: Keep) {
    if meta.keep != keep {
        meta.keep = keep;
        meta.collector = Collector::anew(meta.history);
    }
}

/// Counts the rows that become superfluous when a key's newest version is another one.
pub(super) fn superseded(meta: &mut Meta, before: Version, now: Version, is_in_history: bool) {
    let Keep::Newest(kept) = meta.keep else {
        return;
    };
    // Versions above `low` were kept until now, those up to `high` no longer are. The one that was
    // newest is among them only if it has been in `history` all the time.
    let low = before.0.saturating_sub(kept);
    let high = now.0.saturating_sub(kept).min(before.0 - u64::from(!is_in_history));
    let rows = high.saturating_sub(low).cast_signed();
    meta.collector.superfluous += rows;
    meta.collector.recent += rows;
}

/// Looks at some rows, if it is time to, and removes those that are not kept.
pub(super) fn collect(
    connection: &Connection,
    meta: &mut Meta,
    appended: i64,
) -> rusqlite::Result<()> {
    let collector = &mut meta.collector;
    if collector.at == 0 {
        let is_much = collector.superfluous * ONE_IN > meta.history;
        if meta.keep == Keep::All || !is_much && !meta.is_loose {
            return Ok(());
        }
        collector.at = 1;
        collector.recent = 0;
    }
    let limit = ROWS_MIN.max(appended * ROWS_PER_ROW);
    let looked = look(connection, collector.at, meta.keep, limit)?;
    let mut delete = connection.prepare_cached("DELETE FROM history WHERE id BETWEEN ?1 AND ?2")?;
    let mut removed = 0;
    for (from, to) in looked.superfluous {
        removed += delete.execute(params![from, to])?.cast_signed() as i64;
    }
    for (id, key) in looked.behind {
        removed += unlink(connection, id, &key, i64::MAX)?.removed;
    }
    meta.history -= removed;
    collector.superfluous -= removed;
    match looked.last {
        Some(last) if looked.rows == limit => collector.at = last + 1,
        _ => {
            // Whatever was superfluous when the round began has been seen.
            collector.at = 0;
            meta.is_loose = false;
            collector.superfluous = collector.superfluous.min(collector.recent);
        }
    }
    collector.superfluous = collector.superfluous.clamp(0, meta.history);
    Ok(())
}

/// What was removed of the rows of one key.
pub(super) struct Unlinked {
    pub(super) removed: i64,
    /// Where to go on, if there were more than were to be removed.
    pub(super) rest: Option<i64>,
}

/// Removes a row of a key, and those that it leads to, up to so many.
pub(super) fn unlink(
    connection: &Connection,
    from: i64,
    key: &Place,
    rows_max: i64,
) -> rusqlite::Result<Unlinked> {
    // What leads to a row has no checksum: it is made sure that it is of the key.
    let mut delete = connection
        .prepare_cached("DELETE FROM history WHERE id = ?1 AND key = ?2 RETURNING previous")?;
    let mut unlinked = Unlinked { removed: 0, rest: Some(from) };
    while let Some(id) = unlinked.rest.filter(|_| unlinked.removed < rows_max) {
        let previous: Option<Option<i64>> =
            delete.query_row(params![id, bound(key.value())], |row| row.get(0)).optional()?;
        unlinked.removed += i64::from(previous.is_some());
        unlinked.rest = previous.flatten();
    }
    Ok(unlinked)
}

/// What a look at some rows has found.
#[derive(Debug, Default)]
struct Looked {
    rows: i64,
    last: Option<i64>,
    /// The first and the last id of each run of them.
    superfluous: Vec<(i64, i64)>,
    /// Rows that they lead to, where the round has been already, each with its key.
    behind: Vec<(i64, Place)>,
}

fn look(connection: &Connection, from: i64, keep: Keep, limit: i64) -> rusqlite::Result<Looked> {
    let mut statement = connection.prepare_cached(
        "SELECT history.id, history.version, pair.version, history.previous, history.key
         FROM history LEFT JOIN pair ON pair.key = history.key
         WHERE history.id >= ?1 ORDER BY history.id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![from, limit])?;
    let mut looked = Looked::default();
    let mut extends = false;
    while let Some(row) = rows.next()? {
        let (id, version): (i64, i64) = (row.get(0)?, row.get(1)?);
        let newest: Option<i64> = row.get(2)?;
        // One that is newer than the newest is of a key that was forgotten, and began anew.
        let is_kept = newest.filter(|&newest| version <= newest).is_some_and(|newest| {
            keep.keeps(Version(version.cast_unsigned()), Version(newest.cast_unsigned()))
        });
        let previous: Option<i64> = row.get(3)?;
        if let Some(behind) = previous.filter(|&previous| !is_kept && previous < from) {
            looked.behind.extend(Place::of(row.get_ref(4)?).map(|key| (behind, key)));
        }
        match looked.superfluous.last_mut() {
            _ if is_kept => {}
            Some(run) if extends => run.1 = id,
            _ => looked.superfluous.push((id, id)),
        }
        extends = !is_kept;
        looked.rows += 1;
        looked.last = Some(id);
    }
    Ok(looked)
}
