//! The snapshot as one JSON file, for who wants to read the data with anything that reads JSON.
//!
//! The file is a document of lines, so that it can be written and read as a stream, a value at a
//! time (`text`). It holds every kept version of every key, in the order of the keys' bytes:
//!
//! ```text
//!   {"format":1,"database":"5f0c…","revision":7,"time":1700000000000,"backup":false,"keys":[
//!   {"key":"house","versions":[
//!   {"version":1,"revision":3,"time":1699999990000,"type":"text","value":"red"},
//!   {"version":2,"revision":7,"time":1700000000000,"type":"json","value":{"rooms": 3}}
//!   ]}
//!   ],"count":{"keys":1,"versions":2},"crc32c":"0a1b2c3d"}
//! ```
//!
//! Compressed or encrypted, the same document is cut into chunks, and each packed and sealed for
//! itself (`frame`); the file's first bytes tell which it is.
//!
//! A fold merges the file with the changes into a new one beside it, which then takes its name: so
//! the name always leads to a whole file, the old or the new one. Every fold writes everything, as
//! is the price of one readable file. Nothing is looked up in it, so the engine keeps everything in
//! memory, old versions too.

mod convert;
mod frame;
mod salvage;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_core::Stamp;

use super::{Fold, History, Identity, PIECE_BYTES, Sink, Snapshot, SnapshotStats, Verified};
use crate::compress::Compression;
use crate::crypt::{Cipher, KeyId};
use crate::error::Error;
use crate::failpoint;
use crate::fs::{Access, FileSystem};
use crate::stored::{DatabaseId, EMPTY, Keep, Stored, StoredBuf, Through};
use crate::wipes::delete_after;
use frame::{Input, Output};
use text::{Head, Reader, Writer};

pub use salvage::Salvaged;

/// How many keys are done from one report of progress to the next.
const KEYS_PER_REPORT: usize = 256;

/// How a JSON snapshot is to be opened.
#[derive(Debug, Clone)]
pub struct JsonOptions {
    /// What it is a file of.
    pub files: Arc<dyn FileSystem>,
    /// The file.
    pub path: PathBuf,
    /// How many versions of a changed key are kept. What an earlier setting has removed does not
    /// come back.
    pub keep: Keep,
    /// The cipher that it is encrypted with, if it is.
    pub cipher: Option<Arc<Cipher>>,
    /// What it is compressed with from the next fold on, whatever it is now.
    pub compression: Compression,
}

/// A snapshot in one JSON file.
#[derive(Debug)]
pub struct JsonSnapshot {
    options: JsonOptions,
    head: Head,
}

impl JsonSnapshot {
    /// Creates an empty one, durably.
    ///
    /// # Errors
    ///
    /// If the file exists, or cannot be written; then there is none.
    pub fn create(options: JsonOptions, database: DatabaseId) -> Result<JsonSnapshot, Error> {
        let JsonOptions { files, path, .. } = &options;
        match files.open(path, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("create", path, error)),
            Ok(_) => return Err(Error::io("create", path, io::ErrorKind::AlreadyExists.into())),
        }
        let head = Head { database, through: EMPTY, is_backup: false };
        let snapshot = JsonSnapshot { options, head };
        snapshot.replace(head, |_| Ok(()))?;
        Ok(snapshot)
    }

    /// Opens one that exists. Only its beginning is read: what follows is checked when it is
    /// loaded.
    ///
    /// # Errors
    ///
    /// If it is damaged, of a later format, or encrypted with another key or not at all: nothing
    /// has been changed.
    pub fn open(options: JsonOptions) -> Result<JsonSnapshot, Error> {
        let JsonOptions { files, path, cipher, .. } = &options;
        let mut input = Input::open(&**files, path)?;
        input.unlock(cipher.clone())?;
        let head = Reader::start(input)?.head();
        // Whoever wrote it may have been killed before its name was durable; and the log is cut
        // for its sake.
        sync_dir_of(&**files, path)?;
        Ok(JsonSnapshot { options, head })
    }

    /// Looks at a file without changing anything.
    ///
    /// # Errors
    ///
    /// What keeps it from being used, its key aside.
    pub fn look(files: &dyn FileSystem, path: &Path) -> Result<Identity, Error> {
        let input = Input::open(files, path)?;
        let key = input.key_id();
        let head = match input.head() {
            Some(head) => head,
            None => Reader::start(input)?.head(),
        };
        Ok(identity(head, key))
    }

    /// What the file says of itself.
    pub fn identity(&self) -> Identity {
        let cipher = self.options.cipher.as_ref();
        identity(self.head, cipher.map_or(KeyId::NONE, |cipher| cipher.key_id()))
    }

    fn read(&self) -> Result<Reader, Error> {
        let JsonOptions { files, path, cipher, .. } = &self.options;
        let mut input = Input::open(&**files, path)?;
        input.unlock(cipher.clone())?;
        let reader = Reader::start(input)?;
        if reader.head().database != self.head.database {
            let what = "it was replaced by the file of another database".to_owned();
            return Err(Error::Mismatch { path: path.clone(), what });
        }
        Ok(reader)
    }

    /// Puts a new file, filled by `fill`, into the place of the old one, durably.
    fn replace(
        &self,
        head: Head,
        fill: impl FnOnce(&mut Writer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let JsonOptions { files, path, .. } = &self.options;
        let mut new = path.clone().into_os_string();
        new.push("-new");
        let new = PathBuf::from(new);
        // A crash may have left one.
        match files.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &new, error));
            }
            _ => {}
        }
        let written = self.write(&new, head, fill).and_then(|()| {
            failpoint::hit("snap.after_commit_before_rename")
                .and_then(|()| files.rename(&new, path))
                .map_err(|error| Error::io("rename", &new, error))
        });
        if written.is_err() {
            // Whatever keeps it from being removed, the next fold tries again.
            let _ = files.remove(&new);
            return written;
        }
        failpoint::hit("snap.after_rename_before_dirsync")
            .map_err(|error| Error::io("sync", path, error))?;
        sync_dir_of(&**files, path)
    }

    fn write(
        &self,
        new: &Path,
        head: Head,
        fill: impl FnOnce(&mut Writer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let JsonOptions { files, cipher, compression, .. } = &self.options;
        let file = files.create(new).map_err(|error| Error::io("create", new, error))?;
        let output = Output::new(file, new, &head, *compression, cipher.clone())?;
        let mut writer = Writer::start(output, &head)?;
        fill(&mut writer)?;
        let file = writer.finish()?;
        failpoint::hit("snap.before_commit")
            .and_then(|()| file.sync_data())
            .map_err(|error| Error::io("sync", new, error))
    }

    /// Writes what the file holds, changed.
    fn merge(&self, fold: &Fold<'_>, writer: &mut Writer) -> Result<(), Error> {
        let mut old = OldKeys::new(self.read()?)?;
        for (done, changes) in fold.keys.iter().enumerate() {
            if done % KEYS_PER_REPORT == 0 {
                (fold.progress)(done);
            }
            if done == fold.keys.len() / 2 {
                failpoint::hit("snap.mid")
                    .map_err(|error| Error::io("write", &self.options.path, error))?;
            }
            let Some(first) = changes.versions.first() else { continue };
            while old.key().is_some_and(|key| key < first.key) {
                self.push(&old.take()?, &[], fold.wipe, writer)?;
            }
            let mut before = match old.key() == Some(first.key) {
                true => old.take()?,
                false => Vec::new(),
            };
            // One that is not below the first is of a key that was forgotten, and began anew; or
            // of a fold whose success was not known, which is now done again.
            before.retain(|version| version.version < first.version);
            self.push(&before, &changes.versions, fold.wipe, writer)?;
        }
        while old.key().is_some() {
            self.push(&old.take()?, &[], fold.wipe, writer)?;
        }
        Ok(())
    }

    /// Writes the versions of a key that are kept: those of the file, and those that are added.
    fn push(
        &self,
        before: &[StoredBuf],
        added: &[Stored<'_>],
        wipe: Option<Stamp>,
        writer: &mut Writer,
    ) -> Result<(), Error> {
        let delete = match (before.last(), wipe) {
            (Some(last), Some(wipe)) => delete_after(&last.borrowed(), wipe),
            _ => None,
        };
        let follows = |delete: &Stored<'_>| {
            added.first().is_none_or(|first| first.version.0 == delete.version.0 + 1)
        };
        let delete = delete.filter(follows);
        let before: Vec<_> = before.iter().map(StoredBuf::borrowed).collect();
        let all = || before.iter().chain(&delete).chain(added);
        let Some(newest) = all().next_back().map(|newest| newest.version) else { return Ok(()) };
        // What an earlier setting let be kept stays until the key is changed.
        let is_changed = delete.is_some() || !added.is_empty();
        for version in all() {
            if !is_changed || self.options.keep.keeps(version.version, newest) {
                writer.push(*version)?;
            }
        }
        Ok(())
    }
}

/// The keys of a file, one after the other.
struct OldKeys {
    reader: Reader,
    next: Option<StoredBuf>,
}

impl OldKeys {
    fn new(mut reader: Reader) -> Result<OldKeys, Error> {
        let next = reader.next()?;
        Ok(OldKeys { reader, next })
    }

    /// The next key.
    fn key(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|next| &*next.key)
    }

    /// Its versions, oldest first.
    fn take(&mut self) -> Result<Vec<StoredBuf>, Error> {
        let mut versions: Vec<StoredBuf> = Vec::new();
        while let Some(version) =
            self.next.take_if(|next| versions.first().is_none_or(|first| first.key == next.key))
        {
            versions.push(version);
            self.next = self.reader.next()?;
        }
        Ok(versions)
    }
}

/// Makes durable which file has this name.
fn sync_dir_of(files: &dyn FileSystem, path: &Path) -> Result<(), Error> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    files.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))
}

fn identity(head: Head, key: KeyId) -> Identity {
    let Head { database, through, is_backup } = head;
    Identity { database, through, key, is_backup }
}

impl Snapshot for JsonSnapshot {
    fn through(&self) -> Through {
        self.head.through
    }

    fn load(&self, _threads: usize, sink: &Sink<'_>) -> Result<(), Error> {
        let mut reader = self.read()?;
        while let Some(version) = reader.next()? {
            sink(version.borrowed())?;
        }
        Ok(())
    }

    fn fold(&mut self, fold: &Fold<'_>) -> Result<(), Error> {
        assert!(fold.through.revision >= self.head.through.revision, "a snapshot never goes back");
        failpoint::hit("snap.begin")
            .map_err(|error| Error::io("write", &self.options.path, error))?;
        let head = Head { through: fold.through, is_backup: false, ..self.head };
        self.replace(head, |writer| self.merge(fold, writer))?;
        self.head = head;
        (fold.progress)(fold.keys.len());
        Ok(())
    }

    fn database(&self) -> DatabaseId {
        self.head.database
    }

    /// Backups are never of this kind.
    fn take_identity(&mut self, _database: DatabaseId) -> Result<DatabaseId, Error> {
        Ok(self.head.database)
    }

    /// Backups are never of this kind; only somebody else could have marked it as one.
    fn adopt(&mut self) -> Result<(), Error> {
        if !self.head.is_backup {
            return Ok(());
        }
        let through = self.head.through;
        self.fold(&Fold::new(Vec::new(), through))
    }

    /// Each fold writes the whole file, so the log may as well have grown as large.
    fn piece_bytes(&self) -> u64 {
        self.stats().file_bytes.max(PIECE_BYTES)
    }

    fn history(&self) -> Option<Box<dyn History>> {
        None
    }

    fn backup(&self, to: &Path) -> Result<(), Error> {
        self.convert(to)
    }

    fn verify(&self) -> Result<Verified, Error> {
        let mut verified = Verified::default();
        let count = |reader: &mut Reader, verified: &mut Verified| {
            while reader.next()?.is_some() {
                (verified.keys, verified.versions) = (reader.keys(), reader.versions());
            }
            Ok(())
        };
        let read = self.read().and_then(|mut reader| count(&mut reader, &mut verified));
        match read {
            Ok(()) => {}
            Err(error @ Error::Damaged { .. }) => verified.faults.push(error.as_finding()),
            Err(error) => return Err(error),
        }
        Ok(verified)
    }

    fn stats(&self) -> SnapshotStats {
        let file = self.options.files.open(&self.options.path, Access::Read);
        let file_bytes = file.and_then(|file| file.len()).unwrap_or_default();
        SnapshotStats { file_bytes, ..SnapshotStats::default() }
    }
}

#[cfg(test)]
mod tests;
