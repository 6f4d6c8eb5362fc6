//! This repository's engine in memory, and with files.

use std::path::Path;
use std::time::Duration;

use kv_benches::workload::{self, Key, Value};
use kv_core::{Builder, Database, Error, Interval, ScanOptions};
use kv_persist::checkpoint::thread::Schedule;
use kv_persist::compress::Compression;
use kv_persist::directory::SnapshotKind;
use kv_persist::log::Durability;
use kv_persist::stored::Keep;
use kv_persist::{Store, StoreOptions};

use crate::engine::{Engine, Worker, changed};

/// As the server does it by itself.
const SCHEDULE: Schedule = Schedule { interval: Duration::from_secs(5), log_bytes: 256 << 20 };
const LOG_BYTES_MAX: u64 = 1 << 30;

/// Keys of a transaction when a store is filled.
const FILL_KEYS: usize = 1_000;

/// The engine, without files.
pub(crate) struct Core(Database);

/// The engine with its log and its snapshot.
pub(crate) struct Persist(Store);

impl Core {
    pub(crate) fn open() -> Core {
        Core(Database::builder().history(Some(1)).open())
    }
}

impl Persist {
    pub(crate) fn open(dir: &Path, is_durable: bool) -> Persist {
        let options = StoreOptions {
            dir: dir.to_owned(),
            snapshot: SnapshotKind::Sqlite,
            durability: if is_durable { Durability::Fsync } else { Durability::None },
            keep: Keep::Newest(1),
            tombstone_retention: None,
            schedule: SCHEDULE,
            log_bytes_max: LOG_BYTES_MAX,
            piece_bytes_max: u64::MAX,
            key: None,
            compression: Compression::None,
            threads: 1,
        };
        let mut builder: Builder = Database::builder();
        Persist(Store::open(options, builder.history(Some(1))).unwrap())
    }
}

impl Engine for Core {
    fn name(&self) -> &'static str {
        "kv-core"
    }

    fn worker(&self) -> Box<dyn Worker + '_> {
        Box::new(&self.0)
    }
}

impl Engine for Persist {
    fn name(&self) -> &'static str {
        "kv-persist"
    }

    fn worker(&self) -> Box<dyn Worker + '_> {
        Box::new(self.0.database())
    }
}

impl Worker for &Database {
    fn fill(&mut self, keys: &[Key], values: &[Value]) {
        for some in keys.chunks(FILL_KEYS) {
            self.update(|txn| {
                for (nth, key) in some.iter().enumerate() {
                    txn.put(key, workload::value(values, nth))?;
                }
                Ok::<(), Error>(())
            })
            .unwrap();
        }
    }

    fn read(&mut self, key: &Key, out: &mut Vec<u8>) -> bool {
        let value = self.get(key).unwrap();
        value.is_some_and(|value| {
            out.extend_from_slice(&value);
            true
        })
    }

    fn write(&mut self, key: &Key, value: &Value) {
        self.put(key, value).unwrap();
    }

    fn scan(&mut self, from: &Key, rows: usize, out: &mut Vec<u8>) {
        let interval = Interval { from: from[..].into(), to: None };
        let options = ScanOptions { limit: Some(rows as u64), ..ScanOptions::of(interval) };
        let rows = self.view(|txn| txn.scan(&options)).unwrap();
        for row in rows {
            out.extend_from_slice(row.key());
            out.extend_from_slice(&row.value().unwrap());
        }
    }

    fn modify(&mut self, key: &Key) {
        self.update(|txn| {
            let value = txn.get_for_update(key)?.unwrap();
            txn.put(key, changed(&value))
        })
        .unwrap();
    }
}
