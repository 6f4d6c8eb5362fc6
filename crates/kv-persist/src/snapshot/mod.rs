//! The snapshot: the state at one revision, that the log is folded into.
//!
//! A snapshot is changed by *folds*: each brings it from one revision to a later one, durably and
//! as a whole or not at all. It never goes back. What it holds and how is its own affair: the
//! SQLite file keeps old versions where they can be looked up, the JSON file is read as a whole.

use std::fmt;
use std::path::Path;

use kv_core::{Holds, PageRequest, Revision, Stamp, Version};

pub use kv_core::Older;

use crate::crypt::KeyId;
use crate::error::Error;
use crate::stored::{DatabaseId, Stored, StoredBuf, Through};

pub mod json;
pub mod sqlite;

/// Bytes of the log that are folded at once, about, unless a snapshot says otherwise. A larger
/// piece writes fewer pages twice.
pub const PIECE_BYTES: u64 = 48 << 20;

/// The versions of one key that a fold adds, oldest first; never none. They follow the key's
/// newest version in the snapshot: there is no number missing, unless `history` let some be left
/// out because newer ones supersede them, or a [wipe](Fold::wipe) came before the first of them.
#[derive(Debug)]
pub struct KeyChanges<'a> {
    /// The versions, with the same key.
    pub versions: Vec<Stored<'a>>,
}

/// What a fold brings.
pub struct Fold<'a> {
    /// The changed keys, in the order of their bytes, each once.
    pub keys: Vec<KeyChanges<'a>>,
    /// The first of these commits that deleted every key, if one did. What it did to changed keys,
    /// after the first change, is among the changes; all others that the snapshot has as they were
    /// get their delete now, and so do changed ones before their first change.
    pub wipe: Option<Stamp>,
    /// The revision that the snapshot has afterwards, and its time.
    pub through: Through,
    /// Told from time to time how many of the keys are done.
    pub progress: &'a dyn Fn(usize),
    /// Does some part of the work, a few milliseconds of it, before it returns: when and where it
    /// is in nobody's way.
    pub turn: &'a Turn<'a>,
}

/// Does what it is given, once.
pub type Turn<'a> = dyn Fn(&mut (dyn FnMut() + Send)) + 'a;

impl<'a> Fold<'a> {
    /// A fold of which nobody need be told, and which is in nobody's way.
    pub fn new(keys: Vec<KeyChanges<'a>>, through: Through) -> Fold<'a> {
        Fold { keys, wipe: None, through, progress: &|_| {}, turn: &|act| act() }
    }
}

impl fmt::Debug for Fold<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fold({} keys through revision {})", self.keys.len(), self.through.revision)
    }
}

/// Takes the versions that a snapshot loads: those of one key together, oldest first, in one
/// thread. Several keys may come at once, each in a thread of its own.
pub type Sink<'a> = dyn Fn(Stored<'_>) -> Result<(), Error> + Sync + 'a;

/// A key that is as if it had never been, counter and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// The key.
    pub key: Vec<u8>,
    /// The version that was its newest: a delete, or one that had expired.
    pub version: Version,
    /// The commit that made it.
    pub revision: Revision,
    /// Whether it was a delete.
    pub was_deleted: bool,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Keys, deleted ones with a counter included.
    pub keys: u64,
    /// Versions in all.
    pub versions: u64,
    /// What is wrong, a sentence each; empty if nothing is.
    pub faults: Vec<String>,
}

/// What a snapshot says of itself, read without changing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is.
    pub database: DatabaseId,
    /// What it has been folded through.
    pub through: Through,
    /// The key that it is encrypted with; none of it, if it is not.
    pub key: KeyId,
    /// Whether it is a copy made by a backup, into which nothing has been folded since.
    pub is_backup: bool,
}

/// What a snapshot says of itself for STATS; files in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotStats {
    /// The file.
    pub file_bytes: u64,
    /// Its write-ahead log, if it has one.
    pub wal_bytes: u64,
    /// Keys in it, deleted ones included; none if it does not count them.
    pub keys: Option<u64>,
    /// Versions in it beside the newest, those included that are no longer kept and not removed
    /// yet; none if it does not count them.
    pub older_versions: Option<u64>,
}

/// A durable state at one revision.
pub trait Snapshot: fmt::Debug + Send {
    /// What it has been folded through.
    fn through(&self) -> Through;

    /// Hands over what is to be in memory: the newest version of each key, deletes included, and
    /// the older ones too if [`Snapshot::history`] cannot look them up. Keys come in any order, in
    /// up to so many threads.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being read, or what `sink` answered.
    fn load(&self, threads: usize, sink: &Sink<'_>) -> Result<(), Error>;

    /// Folds changes in. When it returns well they are durable; when it does not, the snapshot is
    /// as it was.
    ///
    /// # Errors
    ///
    /// [`Error::is_full`] tells whether it may be tried again.
    fn fold(&mut self, fold: &Fold<'_>) -> Result<(), Error>;

    /// Forgets keys that were deleted, or expired, before a time in milliseconds since the Unix
    /// epoch. When it returns well that is durable. It takes no longer than some milliseconds, and
    /// so need not forget all of them at once; call it again and again. Some kinds of snapshot
    /// never forget.
    ///
    /// # Errors
    ///
    /// Those of a fold.
    fn forget(&mut self, before_ms: u64) -> Result<Vec<Forgotten>, Error> {
        let _ = before_ms;
        Ok(Vec::new())
    }

    /// The newest revision of all that was ever forgotten: how it was before that, nobody can tell.
    fn forgotten(&self) -> Revision {
        Revision(0)
    }

    /// Whose it is.
    fn database(&self) -> DatabaseId;

    /// Gives a backup another identity, durably, and answers which it has now: the old one if the
    /// keys of what is encrypted in it are derived from that, or if it is no backup. It stays
    /// marked as one, and has no log yet.
    ///
    /// # Errors
    ///
    /// Those of a fold.
    fn take_identity(&mut self, database: DatabaseId) -> Result<DatabaseId, Error>;

    /// To be called at a start, when there is a log that goes on from it. Until then nothing is
    /// changed, not even the files. Takes away the mark of a backup, if there is one; does nothing
    /// else to what it holds.
    ///
    /// # Errors
    ///
    /// Those of a fold.
    fn adopt(&mut self) -> Result<(), Error>;

    /// Notes, durably, that what expires has been judged by this time, if it is later than what is
    /// noted already: the time of [`Snapshot::through`] is this from now on. A snapshot that would
    /// have to be written anew for that leaves it to the next fold.
    ///
    /// # Errors
    ///
    /// Those of a fold.
    fn note_time(&mut self, time_ms: u64) -> Result<(), Error> {
        let _ = time_ms;
        Ok(())
    }

    /// What can wait until the log has been cut after a fold: puts the files in order. Does nothing
    /// to what the snapshot holds.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being done. It is tried again after the next fold.
    fn tidy(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Bytes of the log that are best folded at once, about. They are held in memory, with about as
    /// much again to sort them.
    fn piece_bytes(&self) -> u64 {
        PIECE_BYTES
    }

    /// A way to look up older versions while folds go on; none if they are all in memory.
    fn history(&self) -> Option<Box<dyn History>>;

    /// Writes a copy of the current state to a new SQLite file, durably. Meanwhile nothing is
    /// folded.
    ///
    /// # Errors
    ///
    /// If the file exists, or cannot be written; then there is none.
    fn backup(&self, to: &Path) -> Result<(), Error>;

    /// What writes such copies from any thread while folds go on; none if that cannot be.
    fn backup_source(&self) -> Option<Box<dyn Backup>> {
        None
    }

    /// Checks all of it without changing anything.
    ///
    /// # Errors
    ///
    /// If it cannot be read at all.
    fn verify(&self) -> Result<Verified, Error>;

    /// Its size.
    fn stats(&self) -> SnapshotStats;
}

/// Copies a snapshot into which folds go on.
pub trait Backup: fmt::Debug + Send + Sync {
    /// Writes a copy of what has been folded by now to a new SQLite file, durably. Answers what the
    /// copy has been folded through.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::backup`].
    fn backup(&self, to: &Path) -> Result<Through, Error>;
}

/// A part of a snapshot, in the order of the keys' bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredPage {
    /// The newest versions of keys, deletes included.
    pub rows: Vec<StoredBuf>,
    /// The next key; none if the interval has no more.
    pub next_from: Option<Box<[u8]>>,
}

/// Looks up versions that are no longer in memory. Called from many threads.
pub trait History: fmt::Debug + Send + Sync {
    /// What it can be asked for, beside older versions.
    fn holds(&self) -> Holds;

    /// The newest version of a key, which may be a delete; none if there is no such key.
    ///
    /// # Errors
    ///
    /// As [`History::older`].
    fn newest(&self, key: &[u8]) -> Result<Option<StoredBuf>, Error>;

    /// The first keys of an interval, all as of one moment. Asked only of one that
    /// [holds](Holds::Keys) keys.
    ///
    /// # Errors
    ///
    /// As [`History::older`].
    fn page(&self, wanted: &PageRequest) -> Result<StoredPage, Error>;

    /// Older versions of a key, newest first.
    ///
    /// # Errors
    ///
    /// Whatever keeps them from being read; a row whose checksum is wrong is an error, never a
    /// wrong value.
    fn older(&self, key: &[u8], older: Older) -> Result<Vec<StoredBuf>, Error>;
}
