//! The part of a fold that deletes every key which the fold does not name.
//!
//! It walks over `pair`, some rows in a turn, and gives each key that is not deleted its delete as
//! if that had been in the log. What the fold has changed itself is told by its revision. A row
//! that is not as it was written stays, for `verify` to find.

use kv_core::{Revision, Stamp, Version};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::fold::KeyFold;
use super::history::{NEWEST, with_value};
use super::meta::Meta;
use super::ranges::Place;
use super::row::{Decoder, bound};
use super::{Source, failed};
use crate::error::Error;
use crate::snapshot::KeyChanges;
use crate::stored::Stored;

/// Rows of `pair` that are looked at in one turn; in tests few, so that it takes many turns.
const ROWS_PER_TURN: usize = if cfg!(test) { 5 } else { 512 };

/// How far it has come.
pub(super) struct Wiping {
    wipe: Stamp,
    /// What the file was folded through before.
    before: Revision,
    /// Where to go on; nowhere if it is done.
    at: Option<Place>,
}

/// A key that is to be deleted.
struct Found {
    place: Place,
    version: i64,
}

impl Wiping {
    pub(super) fn new(wipe: Stamp, before: Revision) -> Wiping {
        Wiping { wipe, before, at: Some(Place::start()) }
    }

    pub(super) fn is_done(&self) -> bool {
        self.at.is_none()
    }

    /// Does one turn.
    pub(super) fn go_on(
        &mut self,
        source: &Source,
        connection: &Connection,
        meta: &mut Meta,
    ) -> Result<(), Error> {
        let Some(from) = self.at.take() else { return Ok(()) };
        let failed = || failed(&source.path, "look for keys to delete");
        let found = self.look(connection, &from).map_err(failed())?;
        let mut keys = KeyFold::new(source, connection, meta)?;
        for Found { place, version } in found {
            let key = match &source.form.cipher {
                None => place.bytes().to_vec(),
                Some(_) => match open(source, connection, &place).map_err(failed())? {
                    Some(key) => key,
                    None => continue,
                },
            };
            let version = Version(version.cast_unsigned() + 1);
            let delete = Stored { key: &key, version, stamp: self.wipe, datum: None };
            keys.fold(&KeyChanges { versions: vec![delete] }, None)?;
        }
        Ok(())
    }

    /// The keys among the next rows that are to be deleted.
    fn look(&mut self, connection: &Connection, from: &Place) -> rusqlite::Result<Vec<Found>> {
        let mut select = connection.prepare_cached(
            "SELECT key, version, type <> 0 AND revision <= ?2 FROM pair WHERE key >= ?1 \
             ORDER BY key LIMIT ?3",
        )?;
        let before = self.before.0.cast_signed();
        let mut rows = select.query(params![bound(from.value()), before, ROWS_PER_TURN as i64])?;
        let (mut found, mut looked, mut last) = (Vec::new(), 0, None);
        while let Some(row) = rows.next()? {
            looked += 1;
            let Some(place) = Place::of(row.get_ref(0)?) else { continue };
            if row.get(2)? {
                found.push(Found { place: place.clone(), version: row.get(1)? });
            }
            last = Some(place);
        }
        self.at = last.filter(|_| looked == ROWS_PER_TURN).map(Place::next);
        Ok(found)
    }
}

/// The key of an encrypted row, which is sealed with its value; none if it cannot be read.
fn open(
    source: &Source,
    connection: &Connection,
    place: &Place,
) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut select = connection.prepare_cached(NEWEST)?;
    let mut rows = select.query([bound(place.value())])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut decoder = Decoder::new(&source.form);
    let version = with_value(row).and_then(|columns| decoder.version(&columns));
    let key = version.ok().map(|version| version.key.to_vec());
    // Only then will it be found where it is.
    Ok(key.filter(|key| ValueRef::Blob(&source.form.column(key)) == place.value()))
}
