//! Reads what can still be read of a damaged file, and leaves out the rest.
//!
//! A page that SQLite cannot read hides the rows in it, and what is below it in the tree. So a
//! table is read from its beginning up to such a place, then from its end back to it; and what may
//! lie between, again and again from the middle, as long as that finds anything or until it was
//! tried often enough.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use kv_core::limits::KEY_BYTES_MAX;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::SqliteSnapshot;
use super::open::{Access, connect};
use super::ranges::Place;
use super::row::{CHECKSUM, COLUMNS, Decoder, Fault, Form, Row, bound, columns};
use crate::compress::Compression;
use crate::crypt::Cipher;
use crate::error::Error;
use crate::stored::Stored;

/// How often the middle of a gap is tried, in each table.
const PROBES_MAX: usize = 2000;

/// What a salvage has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Newest versions of keys.
    pub newest: u64,
    /// Versions of the history; some of them may be the newest of their keys.
    pub older: u64,
    /// Rows that are there, but not as they were written.
    pub bad: u64,
    /// Whether there are places at which SQLite could not read on, with nobody knows what behind
    /// them.
    pub has_gaps: bool,
}

/// Takes the versions that are found, in no order; some may come twice. The flag says whether a
/// version is the newest of its key; of a key without one, the newest is lost.
pub type Finder<'a> = dyn FnMut(Stored<'_>, bool) -> Result<(), Error> + 'a;

impl SqliteSnapshot {
    /// Hands over every version that is whole. Neither schema nor metadata have to be.
    ///
    /// # Errors
    ///
    /// If there is no SQLite file to read at all, or what `found` answered.
    pub fn salvage(
        path: &Path,
        cipher: Option<Arc<Cipher>>,
        found: &mut Finder<'_>,
    ) -> Result<Salvaged, Error> {
        let connection = connect(path, Access::Look)?;
        let form = Form { cipher, compression: Compression::None };
        let mut salvage = Salvage {
            connection: &connection,
            decoder: Decoder::new(&form),
            found,
            salvaged: Salvaged::default(),
        };
        salvage.table(&PAIR)?;
        salvage.table(&HISTORY)?;
        Ok(salvage.salvaged)
    }
}

/// How a table is read: by what its rows are ordered, and in both directions between two bounds.
struct Table {
    is_newest: bool,
    /// The column by which rows are ordered.
    order: usize,
    upwards: &'static str,
    downwards: &'static str,
    /// All places that there can be.
    all: fn() -> Vec<Gap>,
}

const PAIR: Table = Table {
    is_newest: true,
    order: 0,
    upwards: concat!(
        "SELECT ",
        columns!(),
        ", place FROM pair WHERE key >= ?1 AND key < ?2 ORDER BY key"
    ),
    downwards: concat!(
        "SELECT ",
        columns!(),
        ", place FROM pair WHERE key >= ?1 AND key < ?2 ORDER BY key DESC"
    ),
    all: || {
        let last = vec![0xff; KEY_BYTES_MAX + 1];
        let gap = |from, to| Gap { from: At::Key(from), to: At::Key(to) };
        vec![
            gap(Place::Text(vec![]), Place::Text(last.clone())),
            gap(Place::Blob(vec![]), Place::Blob(last)),
        ]
    },
};

const HISTORY: Table = Table {
    is_newest: false,
    order: COLUMNS,
    upwards: concat!(
        "SELECT ",
        columns!(),
        ", id FROM history WHERE id >= ?1 AND id < ?2 ORDER BY id"
    ),
    downwards: concat!(
        "SELECT ",
        columns!(),
        ", id FROM history WHERE id >= ?1 AND id < ?2 ORDER BY id DESC"
    ),
    all: || vec![Gap { from: At::Id(0), to: At::Id(i64::MAX) }],
};

/// A place in the order of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Key(Place),
    Id(i64),
}

impl At {
    fn value(&self) -> ValueRef<'_> {
        match self {
            At::Key(place) => place.value(),
            At::Id(id) => ValueRef::Integer(*id),
        }
    }

    fn next(self) -> At {
        match self {
            At::Key(place) => At::Key(place.next()),
            At::Id(id) => At::Id(id + 1),
        }
    }

    fn of(value: ValueRef<'_>) -> Option<At> {
        match value {
            ValueRef::Integer(id) => Some(At::Id(id)),
            _ => Place::of(value).map(At::Key),
        }
    }
}

/// What has not been read yet: from the first place on, up to but without the second.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    from: At,
    to: At,
}

impl Gap {
    /// Its two halves, unless it is too small for two.
    fn halves(&self) -> Option<[Gap; 2]> {
        let middle = match (&self.from, &self.to) {
            (At::Id(from), At::Id(to)) => {
                let middle = from.midpoint(*to);
                (middle > *from).then_some(At::Id(middle))?
            }
            (At::Key(from), At::Key(to)) => At::Key(from.middle(to).filter(|at| at < to)?),
            _ => return None,
        };
        let lower = Gap { from: self.from.clone(), to: middle.clone() };
        Some([lower, Gap { from: middle, to: self.to.clone() }])
    }
}

struct Salvage<'a, 'f> {
    connection: &'a Connection,
    decoder: Decoder,
    found: &'a mut Finder<'f>,
    salvaged: Salvaged,
}

impl Salvage<'_, '_> {
    fn table(&mut self, table: &Table) -> Result<(), Error> {
        let mut gaps = VecDeque::from((table.all)());
        let mut probes = 0;
        while let Some(mut gap) = gaps.pop_front() {
            // From its beginning, then from its end: what is left lies between two bad places.
            if self.read(table, &mut gap, true)? || self.read(table, &mut gap, false)? {
                continue;
            }
            self.salvaged.has_gaps = true;
            probes += 1;
            if probes < PROBES_MAX {
                gaps.extend(gap.halves().into_iter().flatten());
            }
        }
        Ok(())
    }

    /// Reads a gap from one of its ends, and makes it smaller by what was read. Whether all of it
    /// was read.
    fn read(&mut self, table: &Table, gap: &mut Gap, upwards: bool) -> Result<bool, Error> {
        let select = if upwards { table.upwards } else { table.downwards };
        let Ok(mut statement) = self.connection.prepare_cached(select) else {
            return Ok(false);
        };
        let bounds = params![bound(gap.from.value()), bound(gap.to.value())];
        let Ok(mut rows) = statement.query(bounds) else {
            return Ok(false);
        };
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            };
            match row.get_ref(table.order).ok().and_then(At::of) {
                Some(at) if upwards => gap.from = at.next().max(gap.from.clone()),
                Some(at) => gap.to = at.min(gap.to.clone()),
                None => {}
            }
            self.row(table, row)?;
        }
    }

    fn row(&mut self, table: &Table, row: &rusqlite::Row<'_>) -> Result<(), Error> {
        let place = row.get_ref(COLUMNS);
        match (table.is_newest, place) {
            (true, Ok(ValueRef::Integer(id))) => self.placed(id, row.get_ref(CHECKSUM)),
            _ => self.version(Row::read(row), table.is_newest),
        }
    }

    /// A newest version that is in `history`.
    fn placed(&mut self, id: i64, checksum: rusqlite::Result<ValueRef<'_>>) -> Result<(), Error> {
        let found = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM history WHERE id = ?1"
        ));
        let Ok(mut statement) = found else {
            return self.version(Err("it cannot be looked up"), true);
        };
        let mut rows = statement.query([id]);
        let row = rows.as_mut().ok().and_then(|rows| rows.next().ok().flatten());
        let row = row.and_then(|row| Row::read(row).ok());
        let row =
            row.filter(|row| matches!(checksum, Ok(ValueRef::Integer(sum)) if sum == row.checksum));
        self.version(row.ok_or("its value is not where it should be"), true)
    }

    fn version(&mut self, row: Result<Row<'_>, Fault>, is_newest: bool) -> Result<(), Error> {
        let version = row.and_then(|row| self.decoder.version(&row));
        match version {
            Ok(version) => {
                self.salvaged.newest += u64::from(is_newest);
                self.salvaged.older += u64::from(!is_newest);
                (self.found)(version, is_newest)
            }
            Err(_) => {
                self.salvaged.bad += 1;
                Ok(())
            }
        }
    }
}
