//! fjall: a log-structured merge tree, with transactions of one writer at a time.

use std::path::Path;

use fjall::{KeyspaceCreateOptions, PersistMode, Readable, SingleWriterTxDatabase};
use fjall::{SingleWriterTxKeyspace, SingleWriterWriteTx};
use kv_benches::workload::{self, Key, Value};

use crate::engine::{Engine, Worker, changed};

/// A database of one keyspace.
pub(crate) struct Fjall {
    db: SingleWriterTxDatabase,
    kv: SingleWriterTxKeyspace,
    persist: PersistMode,
}

impl Fjall {
    pub(crate) fn open(dir: &Path, is_durable: bool) -> Fjall {
        let db = SingleWriterTxDatabase::builder(dir.join("fjall")).open().unwrap();
        let kv = db.keyspace("kv", KeyspaceCreateOptions::default).unwrap();
        // The other mode is its own default: written to the system, not synced.
        let persist = if is_durable { PersistMode::SyncAll } else { PersistMode::Buffer };
        Fjall { db, kv, persist }
    }

    fn transaction(&self, act: impl FnOnce(&mut SingleWriterWriteTx<'_>)) {
        let mut txn = self.db.write_tx().durability(Some(self.persist));
        act(&mut txn);
        txn.commit().unwrap();
    }
}

impl Engine for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn worker(&self) -> Box<dyn Worker + '_> {
        Box::new(self)
    }
}

impl Worker for &Fjall {
    fn fill(&mut self, keys: &[Key], values: &[Value]) {
        self.transaction(|txn| {
            for (nth, key) in keys.iter().enumerate() {
                txn.insert(&self.kv, &key[..], &workload::value(values, nth)[..]);
            }
        });
    }

    fn read(&mut self, key: &Key, out: &mut Vec<u8>) -> bool {
        self.kv.get(key).unwrap().is_some_and(|value| {
            out.extend_from_slice(&value);
            true
        })
    }

    fn write(&mut self, key: &Key, value: &Value) {
        self.transaction(|txn| txn.insert(&self.kv, &key[..], &value[..]));
    }

    fn scan(&mut self, from: &Key, rows: usize, out: &mut Vec<u8>) {
        for row in self.db.read_tx().range(&self.kv, &from[..]..).take(rows) {
            let (key, value) = row.into_inner().unwrap();
            out.extend_from_slice(&key);
            out.extend_from_slice(&value);
        }
    }

    fn modify(&mut self, key: &Key) {
        self.transaction(|txn| {
            let value = txn.get(&self.kv, key).unwrap().unwrap();
            txn.insert(&self.kv, &key[..], &changed(&value)[..]);
        });
    }
}
