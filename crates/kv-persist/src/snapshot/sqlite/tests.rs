//! The SQLite file against a map, and against everything that may be wrong with a file.

mod damage;
mod files;
mod forget;
mod model;
mod pages;
mod protection;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kv_core::{Revision, Stamp, ValueKind, Version};
use parking_lot::Mutex;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{SqliteOptions, SqliteSnapshot};
use crate::compress::Compression;
use crate::error::Error;
use crate::snapshot::{Fold, KeyChanges, Older, Snapshot};
use crate::stored::{DatabaseId, Keep, Stored, StoredBuf, Through, ValueBuf};

const DATABASE: DatabaseId = DatabaseId([7; 16]);

/// A directory with a file in it, and how to open it.
struct Place {
    dir: TempDir,
    options: SqliteOptions,
}

impl Place {
    fn new(keep: Keep) -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kv.sqlite");
        let options = SqliteOptions { path, keep, cipher: None, compression: Compression::None };
        Place { dir, options }
    }

    fn path(&self) -> PathBuf {
        self.options.path.clone()
    }

    fn create(&self) -> SqliteSnapshot {
        SqliteSnapshot::create(self.options.clone(), DATABASE).expect("a new file")
    }

    fn open(&self) -> Result<SqliteSnapshot, Error> {
        SqliteSnapshot::open(self.options.clone())
    }

    /// A connection as any SQLite tool has it.
    fn outside(&self) -> Connection {
        Connection::open(self.path()).expect("SQLite opens it")
    }

    /// Changes the file by SQL, while nobody has it open.
    fn change(&self, sql: &str) {
        self.outside().execute_batch(sql).expect("SQLite changes it");
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).expect("the file is read")
    }

    /// Opens it, which is to be refused, without a change or a file more.
    fn refused_untouched(&self) -> Error {
        let before = (self.bytes(), self.names());
        let refused = self.open().expect_err("it is refused");
        assert_eq!((self.bytes(), self.names()), before, "{refused}");
        refused
    }

    fn names(&self) -> Vec<String> {
        let dir = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> =
            dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A file with three versions of "house", one of "tree" and a deleted "car", closed.
fn village(keep: Keep) -> Place {
    let place = Place::new(keep);
    let mut snapshot = place.create();
    let versions = [
        version(b"house", 1, 1, Some(b"small")),
        version(b"tree", 1, 2, Some(b"green")),
        version(b"car", 1, 3, Some(b"red")),
        version(b"house", 2, 4, Some(b"large")),
        version(b"car", 2, 5, None),
        version(b"house", 3, 6, Some(&[b'h'; 3000])),
    ];
    for version in &versions {
        fold(&mut snapshot, std::slice::from_ref(version)).expect("a fold");
    }
    place
}

/// Makes a file what the first format had.
fn to_format_1(place: &Place) {
    let connection = place.outside();
    let meta = super::meta::Meta::read(&connection, &place.path()).expect("metadata");
    meta.write_format_1(&connection).expect("written");
}

/// A version, made up from its key, number and revision.
fn version(key: &[u8], number: u64, revision: u64, value: Option<&[u8]>) -> StoredBuf {
    StoredBuf {
        key: key.to_vec(),
        version: Version(number),
        stamp: stamp(revision),
        value: value.map(|bytes| ValueBuf {
            bytes: bytes.to_vec(),
            kind: if number.is_multiple_of(3) { ValueKind::Json } else { ValueKind::Text },
            expires_ms: number.is_multiple_of(4).then_some(4_000_000_000_000 + number),
        }),
    }
}

fn stamp(revision: u64) -> Through {
    Stamp { revision: Revision(revision), time_ms: 1_700_000_000_000 + revision }
}

/// Folds versions in, those of one key in the order in which they are given.
fn fold(snapshot: &mut SqliteSnapshot, versions: &[StoredBuf]) -> Result<(), Error> {
    let mut keys = BTreeMap::<&[u8], Vec<Stored<'_>>>::new();
    for version in versions {
        keys.entry(&version.key).or_default().push(version.borrowed());
    }
    let newest = versions.iter().map(|version| version.stamp.revision.0).max();
    let through = newest.map_or(snapshot.through(), stamp);
    let keys = keys.into_values().map(|versions| KeyChanges { versions }).collect();
    snapshot.fold(&Fold::new(keys, through))
}

/// Everything that a load hands over, by key.
fn load(snapshot: &SqliteSnapshot, threads: usize) -> Result<BTreeMap<Vec<u8>, StoredBuf>, Error> {
    let loaded = Mutex::new(BTreeMap::new());
    snapshot.load(threads, &|version| {
        let before = loaded.lock().insert(version.key.to_vec(), version.to_buf());
        assert_eq!(before, None, "a key came twice");
        Ok(())
    })?;
    Ok(loaded.into_inner())
}

const ALL: Older =
    Older { below: Version(u64::MAX), until: None, down_to: None, limit: usize::MAX };

fn older(snapshot: &SqliteSnapshot, key: &[u8], older: Older) -> Result<Vec<StoredBuf>, Error> {
    snapshot.history().expect("it has history").older(key, older)
}
