//! Removes from `history` what is no longer kept, a little with every fold.
//!
//! Which rows those are could be told by an index over them, but keeping one would cost more than
//! all the rest of a fold. Instead each fold counts how many rows it makes superfluous. Once they
//! are a third of all, the collector makes a round: it walks over the rows, oldest first, a few
//! for each row that a fold appends, and looks up how old each is. So what is superfluous is
//! seldom more than what is not. Nobody sees it: whoever reads goes by the policy too.

use kv_core::Version;
use rusqlite::{Connection, params};

use super::meta::{Collector, Meta};
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
        meta.collector = Collector { at: 0, superfluous: meta.history, recent: 0 };
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
        if meta.keep == Keep::All || collector.superfluous * ONE_IN <= meta.history {
            return Ok(());
        }
        collector.at = 1;
        collector.recent = 0;
    }
    let limit = ROWS_MIN.max(appended * ROWS_PER_ROW);
    let looked = look(connection, collector.at, meta.keep, limit)?;
    let mut delete = connection.prepare_cached("DELETE FROM history WHERE id BETWEEN ?1 AND ?2")?;
    for (from, to) in looked.superfluous {
        let removed = delete.execute(params![from, to])?.cast_signed() as i64;
        meta.history -= removed;
        collector.superfluous -= removed;
    }
    match looked.last {
        Some(last) if looked.rows == limit => collector.at = last + 1,
        _ => {
            // Whatever was superfluous when the round began has been seen.
            collector.at = 0;
            collector.superfluous = collector.superfluous.min(collector.recent);
        }
    }
    collector.superfluous = collector.superfluous.clamp(0, meta.history);
    Ok(())
}

/// What a look at some rows has found.
#[derive(Debug, Default)]
struct Looked {
    rows: i64,
    last: Option<i64>,
    /// The first and the last id of each run of them.
    superfluous: Vec<(i64, i64)>,
}

fn look(connection: &Connection, from: i64, keep: Keep, limit: i64) -> rusqlite::Result<Looked> {
    let mut statement = connection.prepare_cached(
        "SELECT history.id, history.version, pair.version
         FROM history LEFT JOIN pair ON pair.key = history.key
         WHERE history.id >= ?1 ORDER BY history.id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![from, limit])?;
    let mut looked = Looked::default();
    let mut extends = false;
    while let Some(row) = rows.next()? {
        let (id, version): (i64, i64) = (row.get(0)?, row.get(1)?);
        let newest: Option<i64> = row.get(2)?;
        let is_kept = newest.is_some_and(|newest| {
            keep.keeps(Version(version.cast_unsigned()), Version(newest.cast_unsigned()))
        });
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
