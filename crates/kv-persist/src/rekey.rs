//! Changing the key of a database, or encrypting one that was not.
//!
//! ```text
//!   1  with the old key: recover, fold all of the log into the snapshot, begin an empty segment
//!   2  remove what else is in the directory: torn tails, files that were never finished
//!   3  write the snapshot anew with the new key, beside the old one
//!   4  give it the old one's name                                       ◄── here the key changes
//!   5  put an empty segment of the new key into the place of the empty one
//! ```
//!
//! A crash before step 4 leaves a database of the old key, a crash after it one of the new: what
//! step 5 replaces holds no commit, so whoever opens the snapshot with its key does it. When it is
//! over, nothing in the directory is encrypted with the old key, or readable without one. What the
//! file system does with the blocks of removed files is its own affair.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::checkpoint::Checkpointer;
use crate::crypt::{Cipher, KeyId, MasterKey};
use crate::directory::{Create, DataDir, SnapshotKind};
use crate::error::Error;
use crate::failpoint;
use crate::fs::Disk;
use crate::log::{self, Log, Recovered};
use crate::snapshot::json::JsonSnapshot;
use crate::snapshot::sqlite::SqliteSnapshot;
use crate::snapshot::{Fold, KeyChanges, Snapshot};
use crate::store::{Files, Opened, StoreOptions};
use crate::stored::{DatabaseId, StoredBuf, Through};

/// What a database was encrypted with until now.
#[derive(Debug, Clone)]
pub enum OldKey {
    /// Nothing.
    NotEncrypted,
    /// This key.
    Key(MasterKey),
}

impl OldKey {
    fn into_key(self) -> Option<MasterKey> {
        match self {
            OldKey::NotEncrypted => None,
            OldKey::Key(key) => Some(key),
        }
    }
}

/// Encrypts a database, which nobody has open, with the key of `options` instead of the old one.
/// False if it is encrypted with that key already, or if there is no database yet. It needs as
/// much space on the disk again as the snapshot takes.
///
/// # Errors
///
/// If the directory is refused, as by [`Store::open`](crate::Store::open), with the old key; or
/// what the system refused. Then the database has the old key, or already the new one.
pub fn rekey(options: &StoreOptions, old: OldKey) -> Result<bool, Error> {
    let exists = options.dir.try_exists();
    if !exists.map_err(|error| Error::io("open", &options.dir, error))? {
        return Ok(false);
    }
    let dir = DataDir::open(&options.dir, Create::IfMissing)?;
    let new = Files { dir: &dir, options, fs: Arc::new(Disk) };
    if new.holds_nothing()? {
        return Ok(false);
    }
    dir.contents(options.snapshot)?;
    let (path, found) = new.look()?;
    if found.key == key_id(new.cipher(found.database).as_deref()) {
        return Ok(false);
    }
    let with_old = StoreOptions { key: old.into_key(), ..options.clone() };
    let old = Files { dir: &dir, options: &with_old, fs: Arc::new(Disk) };
    Rekey { old: &old, new: &new, path, database: found.database }.run()?;
    Ok(true)
}

/// Removes what a change of the key that was cut short has left beside the snapshot.
///
/// # Errors
///
/// What the system refused.
pub(crate) fn remove_leftovers(files: &Files<'_>) -> Result<(), Error> {
    leftovers(files).try_for_each(|path| remove_if_there(files, &path))
}

fn key_id(cipher: Option<&Cipher>) -> KeyId {
    cipher.map_or(KeyId::NONE, Cipher::key_id)
}

struct Rekey<'a> {
    old: &'a Files<'a>,
    new: &'a Files<'a>,
    /// The snapshot.
    path: PathBuf,
    database: DatabaseId,
}

impl Rekey<'_> {
    fn run(&self) -> Result<(), Error> {
        let through = self.fold_all()?;
        self.remove_all_else()?;
        self.passed("rekey.folded")?;
        match self.old.options.snapshot {
            SnapshotKind::Sqlite => {
                let cipher = self.old.cipher(self.database);
                let options = self.old.sqlite_options(self.path.clone(), cipher);
                SqliteSnapshot::rekey(&options, self.new.cipher(self.database))?;
            }
            SnapshotKind::Json => self.write_json(through)?,
        }
        self.passed("rekey.switched")?;
        let log = self.new.log_options(self.database, self.new.cipher(self.database));
        log::reseal(&*self.new.fs, &log, through)?;
        self.passed("rekey.resealed")
    }

    /// Folds all that there is into the snapshot, so that the log has no commits.
    fn fold_all(&self) -> Result<Through, Error> {
        let Opened { snapshot, log: options, begins_log } = self.old.open()?;
        let fs = &self.old.fs;
        let recovered = match begins_log {
            true => Recovered::empty(snapshot.through()),
            false => log::recover(&**fs, &options, snapshot.through(), &mut |_| Ok(()))?,
        };
        let log = Log::start(Arc::clone(fs), options.clone(), recovered)?;
        let mut checkpointer = Checkpointer::new(Arc::clone(&log), snapshot, self.old.options.keep);
        while checkpointer.step()?.is_more {}
        let through = checkpointer.through();
        log.rotate_if_folded(through.revision)?;
        log.cut(through.revision)?;
        if log::is_empty(&**fs, &options, through)? {
            return Ok(through);
        }
        Err(Error::io("begin a new segment in", &options.dir, io::ErrorKind::StorageFull.into()))
    }

    /// Removes from the log's directory all but its segment, and what was never finished.
    fn remove_all_else(&self) -> Result<(), Error> {
        let dir = self.old.dir.log_dir();
        let names = self.old.fs.list(&dir).map_err(|error| Error::io("list", &dir, error))?;
        for name in names.iter().filter(|name| !name.ends_with(".log")) {
            remove_if_there(self.old, &dir.join(name))?;
        }
        self.sync(&dir)?;
        remove_leftovers(self.old)?;
        self.sync(self.old.dir.path())
    }

    fn write_json(&self, through: Through) -> Result<(), Error> {
        let cipher = self.old.cipher(self.database);
        let old = JsonSnapshot::open(self.old.json_options(self.path.clone(), cipher))?;
        let versions = Mutex::new(Vec::<StoredBuf>::new());
        old.load(1, &|stored| {
            versions.lock().push(stored.to_buf());
            Ok(())
        })?;
        let mut versions = versions.into_inner();
        // Stable: the versions of a key stay in order.
        versions.sort_by(|one, other| one.key.cmp(&other.key));
        let of_key = versions.chunk_by(|one, next| one.key == next.key);
        let keys = of_key.map(|versions| KeyChanges {
            versions: versions.iter().map(StoredBuf::borrowed).collect(),
        });
        let copy = beside(&self.path, REKEYED);
        let options = self.new.json_options(copy.clone(), self.new.cipher(self.database));
        let mut new = JsonSnapshot::create(options, self.database)?;
        new.fold(&Fold::new(keys.collect(), through))?;
        self.passed("rekey.written")?;
        let renamed = self.new.fs.rename(&copy, &self.path);
        renamed.map_err(|error| Error::io("rename", &copy, error))?;
        self.sync(self.new.dir.path())
    }

    fn sync(&self, dir: &Path) -> Result<(), Error> {
        self.old.fs.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))
    }

    fn passed(&self, name: &'static str) -> Result<(), Error> {
        failpoint::hit(name).map_err(|error| Error::io("encrypt", &self.path, error))
    }
}

/// What an SQLite snapshot is called until it is complete.
const SQLITE_UNFINISHED: &str = ".kv.sqlite.unfinished";

/// What the name of a JSON snapshot with the new key ends in until it takes the old one's.
const REKEYED: &str = "-rekeyed";

/// Snapshots that were never finished, by whatever writes one beside the other.
fn leftovers(files: &Files<'_>) -> impl Iterator<Item = PathBuf> {
    let kind = files.options.snapshot;
    let path = files.dir.snapshot(kind);
    let (path, suffixes): (_, &[&str]) = match kind {
        SnapshotKind::Sqlite => {
            (files.dir.path().join(SQLITE_UNFINISHED), &["", "-journal", "-wal", "-shm"])
        }
        SnapshotKind::Json => (path, &["-new", REKEYED, "-rekeyed-new"]),
    };
    suffixes.iter().map(move |suffix| beside(&path, suffix))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(files: &Files<'_>, path: &Path) -> Result<(), Error> {
    match files.fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}
