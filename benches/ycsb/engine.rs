//! What a store has to do to be measured, and which stores there are.

use std::path::Path;

use kv_benches::workload::{Key, Value};

use crate::{fjall, others, ours};

/// A store that several threads use.
pub(crate) trait Engine: Sync {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// Whether it can be read in the order of its keys.
    fn is_ordered(&self) -> bool {
        true
    }

    /// What one thread uses.
    fn worker(&self) -> Box<dyn Worker + '_>;
}

/// One thread's use of a store. What cannot be done ends the benchmark.
pub(crate) trait Worker {
    /// Puts all keys, in as few transactions as the store likes.
    fn fill(&mut self, keys: &[Key], values: &[Value]);

    /// Copies a value to `out`; false if there is no such key.
    fn read(&mut self, key: &Key, out: &mut Vec<u8>) -> bool;

    /// Puts a value, in a transaction of its own.
    fn write(&mut self, key: &Key, value: &Value);

    /// Copies keys and values to `out`, from a key on, in one consistent state.
    fn scan(&mut self, from: &Key, rows: usize, out: &mut Vec<u8>);

    /// Reads a value and puts it back [`changed`], in one transaction.
    fn modify(&mut self, key: &Key);
}

/// What a read-modify-write makes of a value.
pub(crate) fn changed(value: &[u8]) -> Value {
    let mut new: Value = value.try_into().unwrap();
    new.rotate_left(1);
    new
}

/// Opens a store in an empty directory; if it is to be durable, every write is on disk before it
/// returns.
type Open = fn(&Path, bool) -> Box<dyn Engine>;

/// All stores.
pub(crate) const ENGINES: [(&str, Open); 6] = [
    ("kv-core", |_, _| Box::new(ours::Core::open())),
    ("kv-persist", |dir, is_durable| Box::new(ours::Persist::open(dir, is_durable))),
    ("DashMap", |_, _| Box::new(others::Map::default())),
    ("redb", |dir, is_durable| Box::new(others::Redb::open(dir, is_durable))),
    ("fjall", |dir, is_durable| Box::new(fjall::Fjall::open(dir, is_durable))),
    ("SQLite", |dir, is_durable| Box::new(others::Sqlite::open(dir, is_durable))),
];

/// Which of them are compared.
pub(crate) const PAIRS: [(&str, &str); 5] = [
    ("kv-core", "DashMap"),
    ("kv-persist", "kv-core"),
    ("kv-persist", "redb"),
    ("kv-persist", "fjall"),
    ("kv-persist", "SQLite"),
];

/// What a table has to say of how they are set.
pub(crate) const SETTINGS: &str = "kv-core and DashMap have no files. Both of ours keep one \
    version of each key; kv-persist folds its log as the server does. redb has its own cache of \
    1 GiB, fjall is as it is by itself; SQLite has WAL, 256 MiB of cache for each thread, \
    prepared statements and a table without rowids.";
