//! A store that keeps its data: engine, log, snapshot and data directory put together.
//!
//! ```text
//!   open    lock the directory ─► load the snapshot ─► replay the log after it ─► start a new
//!           segment, durably ─► serve
//!   close   write the rest of the log ─► fold what is left, while there is time
//! ```
//!
//! What [`Parts::assemble`] does needs no thread and no real disk, so that the crash tests do the
//! same with files of their own.

mod archive;
mod closing;
mod restored;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use kv_core::{Builder, Change, CommitLog, Database, Loader};
use parking_lot::Mutex;

use crate::checkpoint::Checkpointer;
use crate::checkpoint::thread::{CheckpointStats, CheckpointThread, Schedule};
use crate::compress::Compression;
use crate::crypt::{self, Cipher, MasterKey};
use crate::directory::{Contents, Create, DataDir, SnapshotKind};
use crate::error::Error;
use crate::failpoint;
use crate::fs::{Access, Disk, FileSystem};
use crate::log::{
    self, Durability, Log, LogOptions, LogStats, Protection, Recovered, WriterThread,
};
use crate::rekey;
use crate::snapshot::json::{JsonOptions, JsonSnapshot};
use crate::snapshot::sqlite::{self, NoTrace, SqliteOptions, SqliteSnapshot};
use crate::snapshot::{Identity, Snapshot};
use crate::stored::{DatabaseId, Keep, Stored};

use archive::Archive;

/// How much disk space the log allocates at once when nobody waits for syncs, in bytes; as much may
/// be in memory while one lasts.
const ALLOCATE_BYTES_UNSYNCED: u64 = 64 << 20;

/// How a store is to be kept.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directory.
    pub dir: PathBuf,
    /// What its snapshot is.
    pub snapshot: SnapshotKind,
    /// When a commit counts as durable.
    pub durability: Durability,
    /// Versions kept of each key; the engine's builder must be told the same.
    pub keep: Keep,
    /// How long the version counter of a deleted or expired key is kept; none is for ever. A JSON
    /// snapshot keeps them all.
    pub tombstone_retention: Option<Duration>,
    /// When the log is folded.
    pub schedule: Schedule,
    /// Bytes that the log may grow to.
    pub log_bytes_max: u64,
    /// Bytes of the log that are folded at once, at most: they are held in memory twice.
    pub piece_bytes_max: u64,
    /// The key that everything is encrypted with, if it is.
    pub key: Option<MasterKey>,
    /// What values are compressed with.
    pub compression: Compression,
    /// Threads that read the snapshot at the start.
    pub threads: usize,
}

/// An open store. To be closed; dropped, it leaves more of the log to be replayed.
#[derive(Debug)]
pub struct Store {
    database: Database,
    log: Arc<Log>,
    /// None once it is closed.
    writer: Mutex<Option<WriterThread>>,
    checkpoint: CheckpointThread,
    recovery: Recovery,
    log_bytes_max: u64,
    /// Whether closing it must not take long.
    is_hurried: Arc<AtomicBool>,
    /// Holds the directory's lock.
    dir: Arc<DataDir>,
}

/// What opening a store has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Keys that there are, deleted ones not counted.
    pub keys: usize,
    /// Commits replayed from the log.
    pub replayed: u64,
    /// What was cut off from the log's end: its length in bytes.
    pub torn_bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// What a store says of its files for STATS.
#[derive(Debug, Clone)]
pub struct StoreStats {
    /// The log.
    pub log: LogStats,
    /// Bytes that it may grow to; above it, writers are slowed to the pace of the fold.
    pub log_bytes_max: u64,
    /// The snapshot and its folding.
    pub checkpoint: CheckpointStats,
}

/// The parts of a store, without threads.
#[derive(Debug)]
pub struct Parts {
    /// The engine.
    pub database: Database,
    /// Its log; nothing is written until somebody does
    /// ([`Log::write_pending`](crate::log::Log::write_pending)).
    pub log: Arc<Log>,
    /// What folds it.
    pub checkpointer: Checkpointer,
    /// What was found.
    pub recovery: Recovery,
}

impl Parts {
    /// Loads a snapshot and the log after it, makes the log's end durable, and opens the engine on
    /// them.
    ///
    /// # Errors
    ///
    /// A refusal if files are damaged or do not fit together; then nothing has been changed.
    pub fn assemble(
        opened: Opened,
        fs: Arc<dyn FileSystem>,
        keep: Keep,
        builder: &mut Builder,
        threads: usize,
    ) -> Result<Parts, Error> {
        let began = Instant::now();
        let (loader, recovered) = opened.load(&*fs, builder, threads)?;
        let Opened { mut snapshot, log: mut options, begins_log } = opened;
        let dir = options.dir.clone();
        let recover_failed = |error| Error::io("recover", &dir, error);
        failpoint::hit("recover.before_tail_truncate").map_err(recover_failed)?;
        if let Some(torn) = &recovered.torn {
            tracing::warn!(
                file = %torn.path.display(),
                offset = torn.offset,
                bytes = torn.bytes,
                "the log has a torn tail, {}: it is cut off after revision {}, and kept aside",
                torn.what,
                torn.after
            );
        }
        let through = recovered.through;
        let replayed = recovered.records;
        let torn_bytes = recovered.torn.as_ref().map_or(0, |torn| torn.bytes);
        if begins_log {
            options.database = restored::identify(&mut *snapshot)?;
        }
        let log = Log::start(fs, options, recovered)?;
        restored::adopt(&mut *snapshot)?;
        let engine_log: Arc<dyn CommitLog> = Arc::<Log>::clone(&log);
        let database = loader.open(through, Some(engine_log));
        let mut checkpointer = Checkpointer::new(Arc::clone(&log), snapshot, keep);
        let (told, asked) = (database.clone(), database.clone());
        checkpointer.on_folded(move |through| match through {
            Some(through) => told.note_folded(through),
            None => told.note_fold_failed(),
        });
        checkpointer.is_wanted(move || asked.take_fold_wanted());
        let asked = database.clone();
        checkpointer.judged_until(move || asked.judged_until_ms());
        let asked = database.clone();
        checkpointer.views_judge_from(move || asked.views_judge_from_ms());
        let told = database.clone();
        checkpointer.on_forgotten(move |forgotten| {
            forgotten.iter().for_each(|gone| {
                told.forget(&gone.key, gone.version, gone.revision, gone.was_deleted);
            });
        });
        failpoint::hit("recover.after").map_err(recover_failed)?;
        let keys = database.stats().keys;
        let recovery = Recovery { keys, replayed, torn_bytes, took: began.elapsed() };
        Ok(Parts { database, log, checkpointer, recovery })
    }
}

fn replay(
    fs: &dyn FileSystem,
    options: &LogOptions,
    snapshot: &dyn Snapshot,
    loader: &Loader,
) -> Result<Recovered, Error> {
    log::recover(fs, options, snapshot.through(), &mut |record| {
        failpoint::hit("recover.mid_replay")
            .map_err(|error| Error::io("replay", &options.dir, error))?;
        record.changes().try_for_each(|change| {
            let Change { key, version, datum } = change?;
            loader.load(key, version, record.stamp, datum).map_err(Error::Engine)
        })?;
        if record.is_wipe() {
            loader.wipe(record.stamp);
        }
        Ok(())
    })
}

/// What a data directory holds, to be read and not to be written.
#[derive(Debug)]
pub struct ReadOnly {
    // Dropped in this order.
    database: Database,
    _no_trace: NoTrace,
    /// Keeps others from writing in the directory.
    _dir: DataDir,
}

impl ReadOnly {
    /// Loads what a data directory holds and changes nothing in it: the log is replayed, but not
    /// gone on with. The snapshot may be of either kind. `builder` has the engine's settings.
    ///
    /// # Errors
    ///
    /// As [`Store::open`]; a refusal also if the directory holds no database.
    pub fn open(mut options: StoreOptions, builder: &mut Builder) -> Result<ReadOnly, Error> {
        let dir = DataDir::open_to_read(&options.dir)?;
        options.snapshot = dir.snapshot_kind()?.unwrap_or(options.snapshot);
        let files = Files { dir: &dir, options: &options, fs: Arc::new(Disk) };
        files.check_holds_something()?;
        let no_trace = NoTrace::of(&dir.sqlite());
        let (snapshot, found) = files.snapshot_to_read()?;
        let opened = files.with_log(snapshot, found)?;
        let (loader, recovered) = opened.load(&*files.fs, builder, options.threads)?;
        let database = loader.open(recovered.through, None);
        Ok(ReadOnly { database, _no_trace: no_trace, _dir: dir })
    }

    /// The engine. It has no log: what is committed in it is in memory only, and goes with it.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

impl Store {
    /// Opens a store, creating it if there is none. `builder` has the engine's settings.
    ///
    /// # Errors
    ///
    /// A refusal ([`Error::is_refusal`]) if the directory is in use, damaged, from the future,
    /// incomplete or of another key: then nothing in it was changed. Otherwise what the system
    /// refused.
    pub fn open(options: StoreOptions, builder: &mut Builder) -> Result<Store, Error> {
        let dir = DataDir::open(&options.dir, Create::IfMissing)?;
        let files = Files { dir: &dir, options: &options, fs: Arc::new(Disk) };
        files.remove_unfinished()?;
        if dir.contents(options.snapshot)? == Contents::Nothing {
            files.create(|_| Ok(()))?;
        }
        let opened = files.open()?;
        let fs = Arc::clone(&files.fs);
        let parts = Parts::assemble(opened, fs, options.keep, builder, options.threads)?;
        rekey::remove_leftovers(&files)?;
        let Parts { database, log, mut checkpointer, recovery } = parts;
        checkpointer.piece_bytes_max(options.piece_bytes_max);
        if let Some(retention) = options.tombstone_retention {
            checkpointer.tombstone_retention(retention);
        }
        let no_thread = |error| Error::io("start a thread for", &options.dir, error);
        let writer = log.spawn_writer().map_err(no_thread)?;
        let checkpoint = CheckpointThread::spawn(checkpointer, options.schedule);
        let checkpoint = checkpoint.map_err(no_thread)?;
        let writer = Mutex::new(Some(writer));
        let log_bytes_max = options.log_bytes_max;
        let is_hurried = Arc::new(AtomicBool::new(false));
        let dir = Arc::new(dir);
        Ok(Store { database, log, writer, checkpoint, recovery, log_bytes_max, is_hurried, dir })
    }

    /// The engine.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// What opening it has found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The log: it tells of its failure, after which nothing more can be committed.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// What folds the log.
    pub fn checkpoint(&self) -> &CheckpointThread {
        &self.checkpoint
    }

    /// What the files hold, for STATS.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            log: self.log.stats(),
            log_bytes_max: self.log_bytes_max,
            checkpoint: self.checkpoint.stats(),
        }
    }
}

/// The files of a store that is being opened.
pub(crate) struct Files<'a> {
    pub(crate) dir: &'a DataDir,
    pub(crate) options: &'a StoreOptions,
    pub(crate) fs: Arc<dyn FileSystem>,
}

/// A snapshot that was opened, and what it says of itself.
pub(crate) type Found = (Box<dyn Snapshot>, Identity);

/// Files that belong together, opened but not yet read.
#[derive(Debug)]
pub struct Opened {
    /// The snapshot.
    pub snapshot: Box<dyn Snapshot>,
    /// How its log is kept.
    pub log: LogOptions,
    /// Whether there is no log to be read: the snapshot is a backup, or its key has just been
    /// changed.
    pub begins_log: bool,
}

impl Opened {
    /// Loads the snapshot and the log after it; changes nothing.
    ///
    /// # Errors
    ///
    /// A refusal if files are damaged or do not fit together.
    pub(crate) fn load(
        &self,
        fs: &dyn FileSystem,
        builder: &mut Builder,
        threads: usize,
    ) -> Result<(Loader, Recovered), Error> {
        if let Some(history) = self.snapshot.history() {
            builder.fetcher(Arc::new(Archive(history)));
        }
        let loader = builder.loader();
        loader.note_folded(self.snapshot.through().revision);
        loader.note_forgotten(self.snapshot.forgotten());
        self.snapshot.load(threads, &|stored| {
            let Stored { key, version, stamp, datum } = stored;
            loader.load_folded(key, version, stamp, datum).map_err(Error::Engine)
        })?;
        failpoint::hit("recover.after_snapshot_load")
            .map_err(|error| Error::io("recover", &self.log.dir, error))?;
        let recovered = if self.begins_log {
            Recovered::empty(self.snapshot.through())
        } else {
            replay(fs, &self.log, &*self.snapshot, &loader)?
        };
        Ok((loader, recovered))
    }
}

impl Files<'_> {
    /// The snapshot's name until its log is there: who has this name is not yet a database.
    fn unfinished(&self) -> PathBuf {
        self.dir.path().join(format!("{}.new", self.options.snapshot.file_name()))
    }

    /// Removes what a start that was cut short has left of a new database. The log is part of it
    /// only if there is no snapshot at all, of whatever kind, that it could go on from.
    fn remove_unfinished(&self) -> Result<(), Error> {
        let unfinished = self.unfinished();
        if !self.is_there(&unfinished)? {
            return Ok(());
        }
        let kind = self.dir.snapshot_kind()?;
        if kind.is_some_and(|kind| kind != self.options.snapshot) {
            // The database of the other kind is refused as it is.
            return Ok(());
        }
        if kind.is_none() {
            let log_dir = self.dir.log_dir();
            let segments = self.fs.list(&log_dir);
            for name in segments.map_err(|error| Error::io("list", &log_dir, error))? {
                self.remove(&log_dir.join(name))?;
            }
            self.sync(&log_dir)?;
        }
        self.remove(&unfinished)?;
        self.sync(self.dir.path())
    }

    /// Whether there is a file. One that cannot be opened is there, or may be.
    fn is_there(&self, path: &Path) -> Result<bool, Error> {
        match self.fs.open(path, Access::Read) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("open", path, error)),
        }
    }

    /// Creates a snapshot, lets `fill` fold into it what it is to begin with, and an empty log that
    /// goes on after it. The snapshot gets its name last, so that one without the other is never
    /// taken for a database.
    pub(crate) fn create(
        &self,
        fill: impl FnOnce(&mut dyn Snapshot) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let database = DatabaseId(crypt::random());
        let cipher = self.cipher(database);
        let unfinished = self.unfinished();
        let (path, for_snapshot) = (unfinished.clone(), cipher.clone());
        let mut snapshot: Box<dyn Snapshot> = match self.options.snapshot {
            SnapshotKind::Sqlite => {
                let options = self.sqlite_options(path, for_snapshot);
                Box::new(SqliteSnapshot::create(options, database)?)
            }
            SnapshotKind::Json => {
                Box::new(JsonSnapshot::create(self.json_options(path, for_snapshot), database)?)
            }
        };
        fill(&mut *snapshot)?;
        let through = snapshot.through();
        // SQLite moves what it holds into the file that is renamed.
        drop(snapshot);
        let log = self.log_options(database, cipher);
        Log::start(Arc::clone(&self.fs), log, Recovered::empty(through))?;
        let named = self.dir.snapshot(self.options.snapshot);
        if self.options.snapshot == SnapshotKind::Sqlite && !self.is_there(&named)? {
            // Else SQLite would take the write-ahead log of an earlier database for that of this.
            sqlite::remove_beside(&named)?;
        }
        let renamed = self.fs.rename(&unfinished, &named);
        renamed.map_err(|error| Error::io("rename", &unfinished, error))?;
        self.sync(self.dir.path())
    }

    pub(crate) fn open(&self) -> Result<Opened, Error> {
        let (path, found) = self.look()?;
        let cipher = self.cipher(found.database);
        let snapshot: Box<dyn Snapshot> = match self.options.snapshot {
            SnapshotKind::Sqlite => {
                Box::new(SqliteSnapshot::open(self.sqlite_options(path, cipher))?)
            }
            SnapshotKind::Json => Box::new(JsonSnapshot::open(self.json_options(path, cipher))?),
        };
        let log = self.log_options(found.database, self.cipher(found.database));
        log::reseal(&*self.fs, &log, snapshot.through())?;
        self.with_log(snapshot, found)
    }

    /// The snapshot, which cannot be folded into: nothing is changed.
    pub(crate) fn snapshot_to_read(&self) -> Result<Found, Error> {
        let (path, found) = self.look()?;
        let cipher = self.cipher(found.database);
        let snapshot: Box<dyn Snapshot> = match self.options.snapshot {
            SnapshotKind::Sqlite => {
                Box::new(SqliteSnapshot::open_to_read(self.sqlite_options(path, cipher))?)
            }
            SnapshotKind::Json => Box::new(JsonSnapshot::open(self.json_options(path, cipher))?),
        };
        Ok((snapshot, found))
    }

    /// What the snapshot says of itself, and where it is.
    pub(crate) fn look(&self) -> Result<(PathBuf, Identity), Error> {
        let path = self.dir.snapshot(self.options.snapshot);
        let found = match self.options.snapshot {
            SnapshotKind::Sqlite => SqliteSnapshot::look(&path)?,
            SnapshotKind::Json => JsonSnapshot::look(&*self.fs, &path)?,
        };
        Ok((path, found))
    }

    /// Whether there is no database, or one that was never finished.
    pub(crate) fn holds_nothing(&self) -> Result<bool, Error> {
        let is_there = self.dir.snapshot_kind()?.is_some();
        let is_unfinished = !is_there && self.is_there(&self.unfinished())?;
        Ok(is_unfinished || self.dir.contents(self.options.snapshot)? == Contents::Nothing)
    }

    /// Refuses a directory that holds nothing.
    pub(crate) fn check_holds_something(&self) -> Result<(), Error> {
        if self.holds_nothing()? {
            let what = "there is no database in it".to_owned();
            return Err(Error::Mismatch { path: self.dir.path().to_owned(), what });
        }
        Ok(())
    }

    pub(crate) fn with_log(
        &self,
        snapshot: Box<dyn Snapshot>,
        found: Identity,
    ) -> Result<Opened, Error> {
        let is_alone = self.dir.contents(self.options.snapshot)? == Contents::SnapshotOnly;
        if is_alone && !found.is_backup {
            return Err(self.dir.log_is_missing());
        }
        let log = self.log_options(found.database, self.cipher(found.database));
        let begins_log = is_alone || log::is_void(&*self.fs, &log, snapshot.through())?;
        Ok(Opened { snapshot, log, begins_log })
    }

    pub(crate) fn cipher(&self, database: DatabaseId) -> Option<Arc<Cipher>> {
        self.options.key.as_ref().map(|key| Arc::new(Cipher::new(key, database)))
    }

    pub(crate) fn sqlite_options(
        &self,
        path: PathBuf,
        cipher: Option<Arc<Cipher>>,
    ) -> SqliteOptions {
        let StoreOptions { keep, compression, .. } = *self.options;
        SqliteOptions { path, keep, cipher, compression }
    }

    pub(crate) fn json_options(&self, path: PathBuf, cipher: Option<Arc<Cipher>>) -> JsonOptions {
        let StoreOptions { keep, compression, .. } = *self.options;
        JsonOptions { files: Arc::clone(&self.fs), path, keep, cipher, compression }
    }

    pub(crate) fn log_options(
        &self,
        database: DatabaseId,
        cipher: Option<Arc<Cipher>>,
    ) -> LogOptions {
        let mut log = LogOptions::new(self.dir.log_dir(), database);
        log.durability = self.options.durability;
        if log.durability != Durability::Fsync {
            // Nobody waits for a sync then, and a long one should not be felt: what is written
            // meanwhile needs room.
            log.allocate_bytes = ALLOCATE_BYTES_UNSYNCED;
        }
        log.log_bytes_max = self.options.log_bytes_max;
        #[cfg(feature = "testing")]
        shorten_segments(&mut log);
        log.protection = Protection { cipher, compression: self.options.compression };
        log
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        self.fs.remove(path).map_err(|error| Error::io("remove", path, error))
    }

    fn sync(&self, dir: &Path) -> Result<(), Error> {
        self.fs.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))
    }
}

/// Makes segments as short as `KV_SEGMENT_BYTES` says, so that a test need not fill long ones to
/// see the next one begun.
#[cfg(feature = "testing")]
fn shorten_segments(log: &mut LogOptions) {
    let bytes = std::env::var("KV_SEGMENT_BYTES").ok().and_then(|bytes| bytes.parse().ok());
    if let Some(bytes) = bytes {
        log.segment_bytes = bytes;
        log.allocate_bytes = bytes;
    }
}
