//! The store that the settings ask for: what they say, in the words of the engine and the files.

use kv_core::{Builder, Database};
use kv_persist::checkpoint::thread::Schedule;
use kv_persist::crypt::MasterKey;
use kv_persist::directory::SnapshotKind;
use kv_persist::rekey::{self, OldKey};
use kv_persist::stored::Keep;
use kv_persist::{Store, StoreOptions, compress, log};
use tracing::info;

use crate::config::{
    Compression, Config, DataDirectory, Durability, Eviction, History, KeySource, OldKeySource,
    SnapshotFormat,
};
use crate::limits::{MEMORY_SHARE_CHECKPOINT, MEMORY_SHARE_LOG, MEMORY_SHARE_WRITE_SET};
use crate::memory;
use crate::server::Fault;

/// Sets up an engine.
pub(crate) fn builder(config: &Config) -> Builder {
    let history = match config.history {
        History::All => None,
        History::Newest(versions) => usize::try_from(versions.get()).ok(),
    };
    let mut builder = Database::builder();
    builder
        .history(history)
        .shards(config.shards)
        .lock_timeout(Some(config.lock_timeout))
        .view_age_max(config.view_age_max)
        .key_bytes_max(config.key_bytes_max)
        .value_bytes_max(config.value_bytes_max)
        .nesting_max(config.nesting_max)
        .write_set_bytes_max(held_bytes_max(config))
        .memory_max(config.memory_bytes_max.map(memory::store_bytes_at_start))
        .tombstone_retention(config.tombstone_retention)
        .eviction(match config.eviction {
            Eviction::Lru => kv_core::Eviction::Lru,
            Eviction::S3Fifo => kv_core::Eviction::S3Fifo,
            Eviction::None => kv_core::Eviction::None,
        })
        .locks_max(config.locks_max)
        .session_transactions_max(config.session_transactions_max)
        .transactions_max(config.transactions_max);
    builder
}

/// Bytes that one client may have held for it: by a transaction that it has written, a queue of
/// commands, a reply that is one piece.
pub(crate) fn held_bytes_max(config: &Config) -> usize {
    share(config, config.write_set_bytes_max, MEMORY_SHARE_WRITE_SET)
}

/// A bound on something that is held in memory: as it was set, but no more than a part of all
/// memory, if that is bounded.
fn share<N: Copy + Ord + TryFrom<u64>>(config: &Config, set: N, part: u64) -> N {
    let memory = config.memory_bytes_max.and_then(|bytes| N::try_from(bytes / part).ok());
    memory.map_or(set, |memory| memory.min(set))
}

/// Opens the store in a data directory.
pub(crate) fn open(directory: &DataDirectory, config: &Config) -> Result<Store, Fault> {
    let options = options(directory, config)?;
    if let Some(old) = &directory.old_key {
        change_key(&options, old)?;
    }
    let store = Store::open(options, &mut builder(config)).map_err(Fault::Data)?;
    let recovery = store.recovery();
    info!(
        directory = %directory.path.display(),
        keys = recovery.keys,
        replayed = recovery.replayed,
        revision = store.database().revision().0,
        took_ms = u64::try_from(recovery.took.as_millis()).unwrap_or(u64::MAX),
        "the store is open"
    );
    Ok(store)
}

/// Encrypts with another key what is not encrypted with it already.
fn change_key(options: &StoreOptions, old: &OldKeySource) -> Result<(), Fault> {
    let old = match old {
        OldKeySource::NotEncrypted => OldKey::NotEncrypted,
        OldKeySource::Key(source) => OldKey::Key(read_key(source)?),
    };
    match rekey::rekey(options, old).map_err(Fault::Data)? {
        true => info!("everything is encrypted with the new key; the old one is not needed again"),
        false => info!("the data has the new key already; the old one need not be given"),
    }
    Ok(())
}

fn read_key(source: &KeySource) -> Result<MasterKey, Fault> {
    let key = match source {
        KeySource::File(path) => MasterKey::from_file(path),
        KeySource::Given(secret) => MasterKey::from_text(secret.reveal()),
    };
    key.map_err(Fault::Data)
}

/// How the settings want a data directory to be kept.
pub(crate) fn options(directory: &DataDirectory, config: &Config) -> Result<StoreOptions, Fault> {
    let key = directory.key.as_ref().map(read_key).transpose()?;
    Ok(StoreOptions {
        dir: directory.path.clone(),
        snapshot: match directory.snapshot {
            SnapshotFormat::Sqlite => SnapshotKind::Sqlite,
            SnapshotFormat::Json => SnapshotKind::Json,
        },
        durability: match directory.durability {
            Durability::Fsync => log::Durability::Fsync,
            Durability::Interval => log::Durability::Interval,
            Durability::None => log::Durability::None,
        },
        keep: match config.history {
            History::All => Keep::All,
            History::Newest(versions) => Keep::Newest(u64::from(versions.get())),
        },
        tombstone_retention: Some(config.tombstone_retention),
        schedule: Schedule {
            interval: directory.checkpoint_interval,
            log_bytes: share(config, directory.checkpoint_log_bytes, MEMORY_SHARE_CHECKPOINT),
        },
        log_bytes_max: share(config, directory.log_bytes_max, MEMORY_SHARE_LOG),
        piece_bytes_max: share(config, u64::MAX, MEMORY_SHARE_CHECKPOINT),
        key,
        compression: match directory.compression {
            Compression::None => compress::Compression::None,
            Compression::Lz4 => compress::Compression::Lz4,
            Compression::Zstd => compress::Compression::Zstd,
        },
        threads: config.threads,
    })
}
