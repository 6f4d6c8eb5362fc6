//! The store under test: engine, log and JSON snapshot over the simulated file system, with no
//! thread of their own, so that each step happens when the test says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_core::Database;
use kv_persist::Error;
use kv_persist::checkpoint::Checkpointer;
use kv_persist::compress::Compression;
use kv_persist::crypt::{Cipher, MasterKey};
use kv_persist::fs::{Access, FileSystem};
use kv_persist::log::{Log, LogOptions, PlantedBug, Protection, Recovered};
use kv_persist::snapshot::json::{JsonOptions, JsonSnapshot};
use kv_persist::store::{Opened, Parts};
use kv_persist::stored::{DatabaseId, EMPTY, Keep};

use crate::sim::SimFs;

/// The data directory, and that of the log.
pub(crate) const DIRECTORIES: [&str; 2] = ["/data", "/data/log"];
/// Versions kept of each key: few, so that some are not.
pub(crate) const HISTORY_VERSIONS: usize = 3;

const DATABASE: DatabaseId = DatabaseId([7; 16]);
const SNAPSHOT: &str = "/data/kv.json";
/// Its name until its log is there.
const UNFINISHED: &str = "/data/kv.json.new";

/// A bug that is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// One of the log's.
    Log(PlantedBug),
    /// The log is cut before the snapshot has what is cut.
    CutTooEarly,
}

/// How the store is kept. Everything is small, so that all that is rare happens often.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// Whether everything is compressed and encrypted.
    pub(crate) is_sealed: bool,
    pub(crate) bug: Option<Bug>,
}

impl Options {
    fn log(self) -> LogOptions {
        let planted = match self.bug {
            Some(Bug::Log(bug)) => Some(bug),
            Some(Bug::CutTooEarly) | None => None,
        };
        LogOptions {
            segment_bytes: 8 << 10,
            allocate_bytes: 4 << 10,
            log_bytes_max: 64 << 10,
            planted,
            protection: Protection { compression: self.compression(), cipher: self.cipher() },
            ..LogOptions::new(DIRECTORIES[1], DATABASE)
        }
    }

    fn json(self, files: &Arc<dyn FileSystem>, path: &str) -> JsonOptions {
        JsonOptions {
            files: Arc::clone(files),
            path: PathBuf::from(path),
            keep: Keep::Newest(HISTORY_VERSIONS as u64),
            cipher: self.cipher(),
            compression: self.compression(),
        }
    }

    fn compression(self) -> Compression {
        if self.is_sealed { Compression::Lz4 } else { Compression::None }
    }

    fn cipher(self) -> Option<Arc<Cipher>> {
        let key = MasterKey::from_text(&"5e".repeat(32)).unwrap();
        self.is_sealed.then(|| Arc::new(Cipher::new(&key, DATABASE)))
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) db: Database,
    log: Arc<Log>,
    checkpointer: Checkpointer,
}

impl Store {
    pub(crate) fn open(fs: &SimFs, options: Options) -> Result<Store, Error> {
        let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
        create_if_missing(&fs, options)?;
        let snapshot = JsonSnapshot::open(options.json(&fs, SNAPSHOT))?;
        let opened = Opened { snapshot: Box::new(snapshot), log: options.log(), begins_log: false };
        let mut builder = Database::builder();
        builder.shards(1).history(Some(HISTORY_VERSIONS));
        let keep = Keep::Newest(HISTORY_VERSIONS as u64);
        let parts = Parts::assemble(opened, fs, keep, &mut builder, 1)?;
        let Parts { database: db, log, mut checkpointer, .. } = parts;
        checkpointer.piece_bytes_max(4 << 10);
        checkpointer.cuts_too_early = options.bug == Some(Bug::CutTooEarly);
        Ok(Store { db, log, checkpointer })
    }

    /// Writes what was committed, and syncs it.
    pub(crate) fn flush(&self) {
        // A failure is told by the watermark.
        let _ = self.log.write_pending();
    }

    /// Folds a piece of what is durable.
    pub(crate) fn checkpoint(&mut self) {
        // After a failure all is as it was, and is tried again.
        let _ = self.checkpointer.step();
    }

    /// The revision through which commits are acknowledged.
    pub(crate) fn durable(&self) -> u64 {
        self.db.durable().get()
    }

    /// Whether a process would end itself now.
    pub(crate) fn has_failed(&self) -> bool {
        self.log.failure().is_some()
    }

    /// A clean stop.
    pub(crate) fn close(&mut self) {
        if self.log.close().is_ok() {
            while self.checkpointer.step().is_ok_and(|folded| folded.is_more) {}
        }
    }
}

/// The same steps as those of a data directory on a real disk.
fn create_if_missing(fs: &Arc<dyn FileSystem>, options: Options) -> Result<(), Error> {
    let is_there = |path: &str| match fs.open(Path::new(path), Access::Read) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("open", Path::new(path), error)),
    };
    let refused = |error| Error::io("create", Path::new(SNAPSHOT), error);
    if is_there(UNFINISHED)? {
        if !is_there(SNAPSHOT)? {
            for name in fs.list(Path::new(DIRECTORIES[1])).map_err(refused)? {
                fs.remove(&Path::new(DIRECTORIES[1]).join(name)).map_err(refused)?;
            }
            fs.sync_dir(Path::new(DIRECTORIES[1])).map_err(refused)?;
        }
        fs.remove(Path::new(UNFINISHED)).map_err(refused)?;
        fs.sync_dir(Path::new(DIRECTORIES[0])).map_err(refused)?;
    }
    if is_there(SNAPSHOT)? {
        return Ok(());
    }
    JsonSnapshot::create(options.json(fs, UNFINISHED), DATABASE)?;
    Log::start(Arc::clone(fs), options.log(), Recovered::empty(EMPTY))?;
    fs.rename(Path::new(UNFINISHED), Path::new(SNAPSHOT)).map_err(refused)?;
    fs.sync_dir(Path::new(DIRECTORIES[0])).map_err(refused)
}
