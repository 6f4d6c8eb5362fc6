//! A store that keeps its data: engine, log, snapshot and data directory put together.
//!
//! ```text
//!   open    lock the directory ─► load the snapshot ─► replay the log after it ─► start a new
//!           segment, durably ─► serve
//!   close   stop folding ─► fold what is left, while there is time ─► write the rest of the log
//! ```
//!
//! What [`Parts::assemble`] does needs no thread and no real disk, so that the crash tests do the
//! same with files of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::{
    Builder, Change, CommitLog, Database, Fetcher, Loader, OldVersion, Older, Place, Version,
};

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
use crate::snapshot::json::{JsonOptions, JsonSnapshot};
use crate::snapshot::sqlite::{SqliteOptions, SqliteSnapshot};
use crate::snapshot::{History, Snapshot};
use crate::stored::{DatabaseId, EMPTY, Keep, Stored, StoredBuf};

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
    /// When the log is folded.
    pub schedule: Schedule,
    /// Bytes that the log may grow to.
    pub log_bytes_max: u64,
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
    /// Holds the directory's lock.
    _dir: DataDir,
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
        let Opened { snapshot, log: options, begins_log } = opened;
        let began = Instant::now();
        if let Some(history) = snapshot.history() {
            builder.fetcher(Arc::new(Archive(history)));
        }
        let loader = builder.loader();
        snapshot.load(threads, &|stored| {
            let Stored { key, version, stamp, datum } = stored;
            loader.load(key, version, stamp, datum).map_err(Error::Engine)
        })?;
        let dir = options.dir.clone();
        let recover_failed = |error| Error::io("recover", &dir, error);
        failpoint::hit("recover.after_snapshot_load").map_err(recover_failed)?;
        let recovered = if begins_log {
            Recovered::empty(snapshot.through())
        } else {
            replay(&*fs, &options, &*snapshot, &loader)?
        };
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
        let mut recovery = Recovery {
            keys: 0,
            replayed: recovered.records,
            torn_bytes: recovered.torn.as_ref().map_or(0, |torn| torn.bytes),
            took: Duration::ZERO,
        };
        let log = Log::start(fs, options, recovered)?;
        let engine_log: Arc<dyn CommitLog> = Arc::<Log>::clone(&log);
        let database = loader.open(through, Some(engine_log));
        let checkpointer = Checkpointer::new(Arc::clone(&log), snapshot, keep);
        failpoint::hit("recover.after").map_err(recover_failed)?;
        recovery.keys = database.stats().keys;
        recovery.took = began.elapsed();
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
        })
    })
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
            files.create()?;
        }
        let opened = files.open()?;
        let parts = Parts::assemble(opened, files.fs, options.keep, builder, options.threads)?;
        let Parts { database, log, checkpointer, recovery } = parts;
        let no_thread = |error| Error::io("start a thread for", &options.dir, error);
        let writer = log.spawn_writer().map_err(no_thread)?;
        let checkpoint = CheckpointThread::spawn(checkpointer, options.schedule);
        let checkpoint = checkpoint.map_err(no_thread)?;
        let writer = Mutex::new(Some(writer));
        let log_bytes_max = options.log_bytes_max;
        Ok(Store { database, log, writer, checkpoint, recovery, log_bytes_max, _dir: dir })
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

    /// Writes what is left, and folds it as long as there is time, so that the next start has
    /// little to replay. Whatever is not folded is in the log. Nothing is to be committed after.
    /// The directory is let go when this is dropped.
    ///
    /// # Errors
    ///
    /// If the log has failed, what was committed last may be lost; any other failure loses nothing.
    pub fn close(&self, time: Duration) -> Result<(), Error> {
        let until = Instant::now() + time;
        let checkpointer = self.checkpoint.stop();
        if let Some(writer) = self.writer.lock().take() {
            writer.stop();
        }
        if let Some(fault) = self.log.failure() {
            return Err(Error::Engine(kv_core::Error::Io(fault)));
        }
        let Some(mut checkpointer) = checkpointer else { return Ok(()) };
        while Instant::now() < until {
            let folded = checkpointer.step()?;
            if !folded.is_more {
                // Nothing is left to be replayed: the next start begins with an empty segment.
                self.log.rotate_if_folded(folded.through.revision)?;
                return self.log.cut(folded.through.revision);
            }
        }
        Ok(())
    }
}

/// The files of a store that is being opened.
struct Files<'a> {
    dir: &'a DataDir,
    options: &'a StoreOptions,
    fs: Arc<dyn FileSystem>,
}

/// Files that belong together, opened but not yet read.
#[derive(Debug)]
pub struct Opened {
    /// The snapshot.
    pub snapshot: Box<dyn Snapshot>,
    /// How its log is kept.
    pub log: LogOptions,
    /// Whether the snapshot is a backup, whose log begins now.
    pub begins_log: bool,
}

impl Files<'_> {
    /// The snapshot's name until its log is there: who has this name is not yet a database.
    fn unfinished(&self) -> PathBuf {
        self.dir.path().join(format!("{}.new", self.options.snapshot.file_name()))
    }

    /// Removes what a start that was cut short has left of a new database.
    fn remove_unfinished(&self) -> Result<(), Error> {
        let unfinished = self.unfinished();
        let is_there = |path: &Path| self.fs.open(path, Access::Read).is_ok();
        if !is_there(&unfinished) {
            return Ok(());
        }
        if !is_there(&self.dir.snapshot(self.options.snapshot)) {
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

    /// Creates an empty snapshot and an empty log. The snapshot gets its name last, so that one
    /// without the other is never taken for a database.
    fn create(&self) -> Result<(), Error> {
        let database = DatabaseId(crypt::random());
        let cipher = self.cipher(database);
        let unfinished = self.unfinished();
        let (path, for_snapshot) = (unfinished.clone(), cipher.clone());
        match self.options.snapshot {
            SnapshotKind::Sqlite => {
                SqliteSnapshot::create(self.sqlite_options(path, for_snapshot), database)?;
            }
            SnapshotKind::Json => {
                JsonSnapshot::create(self.json_options(path, for_snapshot), database)?;
            }
        }
        let log = self.log_options(database, cipher);
        Log::start(Arc::clone(&self.fs), log, Recovered::empty(EMPTY))?;
        let named = self.dir.snapshot(self.options.snapshot);
        let renamed = self.fs.rename(&unfinished, &named);
        renamed.map_err(|error| Error::io("rename", &unfinished, error))?;
        self.sync(self.dir.path())
    }

    fn open(&self) -> Result<Opened, Error> {
        let path = self.dir.snapshot(self.options.snapshot);
        let found = match self.options.snapshot {
            SnapshotKind::Sqlite => SqliteSnapshot::look(&path)?,
            SnapshotKind::Json => JsonSnapshot::look(&*self.fs, &path)?,
        };
        let cipher = self.cipher(found.database);
        let snapshot: Box<dyn Snapshot> = match self.options.snapshot {
            SnapshotKind::Sqlite => {
                Box::new(SqliteSnapshot::open(self.sqlite_options(path, cipher.clone()))?)
            }
            SnapshotKind::Json => {
                Box::new(JsonSnapshot::open(self.json_options(path, cipher.clone()))?)
            }
        };
        let is_alone = self.dir.contents(self.options.snapshot)? == Contents::SnapshotOnly;
        if is_alone && !found.is_backup {
            return Err(self.dir.log_is_missing());
        }
        let log = self.log_options(found.database, cipher);
        Ok(Opened { snapshot, log, begins_log: is_alone })
    }

    fn cipher(&self, database: DatabaseId) -> Option<Arc<Cipher>> {
        self.options.key.as_ref().map(|key| Arc::new(Cipher::new(key, database)))
    }

    fn sqlite_options(&self, path: PathBuf, cipher: Option<Arc<Cipher>>) -> SqliteOptions {
        let StoreOptions { keep, compression, .. } = *self.options;
        SqliteOptions { path, keep, cipher, compression }
    }

    fn json_options(&self, path: PathBuf, cipher: Option<Arc<Cipher>>) -> JsonOptions {
        let StoreOptions { keep, compression, .. } = *self.options;
        JsonOptions { files: Arc::clone(&self.fs), path, keep, cipher, compression }
    }

    fn log_options(&self, database: DatabaseId, cipher: Option<Arc<Cipher>>) -> LogOptions {
        let mut log = LogOptions::new(self.dir.log_dir(), database);
        log.durability = self.options.durability;
        log.log_bytes_max = self.options.log_bytes_max;
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

/// Older versions come from the snapshot; values are all in memory.
#[derive(Debug)]
struct Archive(Box<dyn History>);

impl Fetcher for Archive {
    fn value(
        &self,
        _key: &[u8],
        version: Version,
        place: Place,
    ) -> Result<Vec<u8>, kv_core::Error> {
        let fault = format!("the value of version {version} is not in memory but at {place:?}");
        Err(kv_core::Error::Internal(fault))
    }

    fn older(&self, key: &[u8], older: Older) -> Result<Vec<OldVersion>, kv_core::Error> {
        let found = self.0.older(key, older);
        let found = found.map_err(|error| kv_core::Error::Io(error.to_string()))?;
        let old = |stored: StoredBuf| OldVersion {
            version: stored.version,
            stamp: stored.stamp,
            value: stored.value.map(|value| (value.bytes, value.kind)),
        };
        Ok(found.into_iter().map(old).collect())
    }
}
