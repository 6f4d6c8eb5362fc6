//! Data directories made without a server, so that one with many keys takes a minute or less.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kv_core::{Database, Datum, Revision, Stamp, ValueKind, Version};
use kv_persist::checkpoint::thread::Schedule;
use kv_persist::compress::Compression;
use kv_persist::directory::{Create, DataDir, SnapshotKind};
use kv_persist::fs::Disk;
use kv_persist::log::{Durability, Log, LogOptions, Recovered};
use kv_persist::snapshot::sqlite::{SqliteOptions, SqliteSnapshot};
use kv_persist::snapshot::{Fold, KeyChanges, Snapshot};
use kv_persist::stored::{DatabaseId, Keep, Stored};
use kv_persist::{Store, StoreOptions};

use crate::workload::{self, Key, Value};

/// The snapshot gets its keys in so many passes over all of it, so that its pages are as they are
/// after folds: split, and not as full as one pass would leave them.
const PASSES: usize = 4;
/// Keys of one fold; they are neighbours.
const FOLD_KEYS: usize = 250_000;
const DATABASE: DatabaseId = DatabaseId(*b"kv-benches-built");
const TIME_MS: u64 = 1_795_000_000_000;
const NEVER: Duration = Duration::from_hours(24 * 365);
const KEEP: Keep = Keep::Newest(10);

/// Makes a data directory whose snapshot has so many keys, one version each, and whose log is
/// empty.
pub fn with_snapshot(path: &Path, keys: u64) {
    let dir = DataDir::open(path, Create::IfMissing).unwrap();
    let options = SqliteOptions {
        path: dir.sqlite(),
        keep: KEEP,
        cipher: None,
        compression: Compression::None,
    };
    let mut snapshot = SqliteSnapshot::create(options, DATABASE).unwrap();
    let mut keys = workload::keys(0..keys);
    let values = workload::values();
    // Keys are scrambled numbers: neighbours here are anywhere in the order of keys.
    let share = keys.len().div_ceil(PASSES);
    let mut revision = 0;
    for pass in keys.chunks_mut(share) {
        pass.sort_unstable();
        for some in pass.chunks(FOLD_KEYS) {
            fold(&mut snapshot, some, &values, revision);
            revision += some.len() as u64;
        }
    }
    let log = LogOptions::new(dir.log_dir(), DATABASE);
    Log::start(Arc::new(Disk), log, Recovered::empty(snapshot.through())).unwrap();
}

/// Folds keys that are new, one commit each.
fn fold(snapshot: &mut SqliteSnapshot, keys: &[Key], values: &[Value], after: u64) {
    let stamp = |nth: usize| Stamp { revision: Revision(after + 1 + nth as u64), time_ms: TIME_MS };
    let change = |(nth, key)| {
        let datum = Datum {
            bytes: &workload::value(values, nth)[..],
            kind: ValueKind::Text,
            expires_ms: None,
        };
        let version = Version(1);
        KeyChanges {
            versions: vec![Stored { key, version, stamp: stamp(nth), datum: Some(datum) }],
        }
    };
    let changes = keys.iter().map(|key| &key[..]).enumerate().map(change).collect();
    let through = stamp(keys.len() - 1);
    snapshot.fold(&Fold::new(changes, through)).unwrap();
    snapshot.tidy().unwrap();
}

/// Opens a data directory in this process, with a bound on what the engine may have in memory, in
/// bytes. Nothing is folded.
pub fn open(path: &Path, memory_max: Option<usize>) -> Store {
    let options = StoreOptions {
        dir: path.to_owned(),
        snapshot: SnapshotKind::Sqlite,
        durability: Durability::None,
        keep: KEEP,
        tombstone_retention: None,
        schedule: Schedule { interval: NEVER, log_bytes: u64::MAX },
        log_bytes_max: u64::MAX,
        piece_bytes_max: u64::MAX,
        key: None,
        compression: Compression::None,
        threads: 1,
    };
    let Keep::Newest(history) = KEEP else { unreachable!("a number of versions is kept") };
    let mut builder = Database::builder();
    builder.history(usize::try_from(history).ok()).memory_max(memory_max);
    Store::open(options, &mut builder).unwrap()
}

/// Makes a data directory whose log has so many commits, each of one of so many keys in turn, and
/// whose snapshot is empty.
pub fn with_log(path: &Path, commits: u64, keys: u64) {
    let store = open(path, None);
    let mut keys = workload::keys(0..keys);
    let values = workload::values();
    for round in 0..commits.div_ceil(keys.len() as u64) {
        workload::shuffle(&mut keys, round);
        let left = commits - round * keys.len() as u64;
        for (nth, key) in keys.iter().take(usize::try_from(left).unwrap()).enumerate() {
            store.database().put(key, workload::value(&values, nth)).unwrap();
        }
    }
    // No time to fold.
    store.close(Duration::ZERO).unwrap();
}
