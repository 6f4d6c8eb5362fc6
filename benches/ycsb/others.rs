//! The others: a bare concurrent map, redb and SQLite.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dashmap::DashMap;
use kv_benches::workload::{self, Key, Value};
use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use rusqlite::{Connection, OptionalExtension};

use crate::engine::{Engine, Worker, changed};

/// How long SQLite waits for another writer.
const BUSY_MAX: Duration = Duration::from_secs(60);
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("kv");

/// No versions, no transactions, no order.
#[derive(Default)]
pub(crate) struct Map(DashMap<Box<[u8]>, Box<[u8]>>);

impl Engine for Map {
    fn name(&self) -> &'static str {
        "DashMap"
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn worker(&self) -> Box<dyn Worker + '_> {
        Box::new(&self.0)
    }
}

impl Worker for &DashMap<Box<[u8]>, Box<[u8]>> {
    fn fill(&mut self, keys: &[Key], values: &[Value]) {
        for (nth, key) in keys.iter().enumerate() {
            self.write(key, workload::value(values, nth));
        }
    }

    fn read(&mut self, key: &Key, out: &mut Vec<u8>) -> bool {
        self.get(&key[..]).is_some_and(|value| {
            out.extend_from_slice(&value);
            true
        })
    }

    fn write(&mut self, key: &Key, value: &Value) {
        self.insert(Box::from(&key[..]), Box::from(&value[..]));
    }

    fn scan(&mut self, _: &Key, _: usize, _: &mut Vec<u8>) {
        unreachable!("it has no order")
    }

    fn modify(&mut self, key: &Key) {
        let mut value = self.get_mut(&key[..]).unwrap();
        *value = Box::from(&changed(&value)[..]);
    }
}

/// A copy-on-write B-tree in one file.
pub(crate) struct Redb {
    db: redb::Database,
    durability: Durability,
}

impl Redb {
    pub(crate) fn open(dir: &Path, is_durable: bool) -> Redb {
        let durability = if is_durable { Durability::Immediate } else { Durability::None };
        let db = redb::Database::create(dir.join("kv.redb")).unwrap();
        let engine = Redb { db, durability };
        engine.transaction(|_| ());
        engine
    }

    fn transaction(&self, act: impl FnOnce(&mut redb::Table<'_, &[u8], &[u8]>)) {
        let mut txn: WriteTransaction = self.db.begin_write().unwrap();
        txn.set_durability(self.durability).unwrap();
        act(&mut txn.open_table(TABLE).unwrap());
        txn.commit().unwrap();
    }
}

impl Engine for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn worker(&self) -> Box<dyn Worker + '_> {
        Box::new(self)
    }
}

impl Worker for &Redb {
    fn fill(&mut self, keys: &[Key], values: &[Value]) {
        self.transaction(|table| {
            for (nth, key) in keys.iter().enumerate() {
                table.insert(&key[..], &workload::value(values, nth)[..]).unwrap();
            }
        });
    }

    fn read(&mut self, key: &Key, out: &mut Vec<u8>) -> bool {
        let table = self.db.begin_read().unwrap().open_table(TABLE).unwrap();
        table.get(&key[..]).unwrap().is_some_and(|value| {
            out.extend_from_slice(value.value());
            true
        })
    }

    fn write(&mut self, key: &Key, value: &Value) {
        self.transaction(|table| _ = table.insert(&key[..], &value[..]).unwrap());
    }

    fn scan(&mut self, from: &Key, rows: usize, out: &mut Vec<u8>) {
        let table = self.db.begin_read().unwrap().open_table(TABLE).unwrap();
        for row in table.range(&from[..]..).unwrap().take(rows) {
            let (key, value) = row.unwrap();
            out.extend_from_slice(key.value());
            out.extend_from_slice(value.value());
        }
    }

    fn modify(&mut self, key: &Key) {
        self.transaction(|table| {
            let new = changed(table.get(&key[..]).unwrap().unwrap().value());
            table.insert(&key[..], &new[..]).unwrap();
        });
    }
}

/// SQLite, a connection for each thread.
pub(crate) struct Sqlite {
    path: PathBuf,
    is_durable: bool,
}

impl Sqlite {
    pub(crate) fn open(dir: &Path, is_durable: bool) -> Sqlite {
        let engine = Sqlite { path: dir.join("kv.sqlite"), is_durable };
        let create = "CREATE TABLE kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID";
        engine.connect().execute_batch(create).unwrap();
        engine
    }

    fn connect(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(BUSY_MAX).unwrap();
        let synchronous = if self.is_durable { "FULL" } else { "OFF" };
        let settings = format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
             PRAGMA cache_size = -262144"
        );
        connection.execute_batch(&settings).unwrap();
        connection
    }
}

impl Engine for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn worker(&self) -> Box<dyn Worker + '_> {
        Box::new(self.connect())
    }
}

const SQLITE_GET: &str = "SELECT v FROM kv WHERE k = ?1";
const SQLITE_PUT: &str = "INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = ?2";
const SQLITE_SCAN: &str = "SELECT k, v FROM kv WHERE k >= ?1 ORDER BY k LIMIT ?2";

impl Worker for Connection {
    fn fill(&mut self, keys: &[Key], values: &[Value]) {
        run(self, "BEGIN IMMEDIATE");
        for (nth, key) in keys.iter().enumerate() {
            self.write(key, workload::value(values, nth));
        }
        run(self, "COMMIT");
    }

    fn read(&mut self, key: &Key, out: &mut Vec<u8>) -> bool {
        let mut get = self.prepare_cached(SQLITE_GET).unwrap();
        let found = get.query_row([&key[..]], |row| {
            out.extend_from_slice(row.get_ref(0)?.as_blob()?);
            Ok(())
        });
        found.optional().unwrap().is_some()
    }

    fn write(&mut self, key: &Key, value: &Value) {
        self.prepare_cached(SQLITE_PUT).unwrap().execute([&key[..], &value[..]]).unwrap();
    }

    fn scan(&mut self, from: &Key, rows: usize, out: &mut Vec<u8>) {
        let mut scan = self.prepare_cached(SQLITE_SCAN).unwrap();
        let mut found = scan.query((&from[..], rows as i64)).unwrap();
        while let Some(row) = found.next().unwrap() {
            out.extend_from_slice(row.get_ref(0).unwrap().as_blob().unwrap());
            out.extend_from_slice(row.get_ref(1).unwrap().as_blob().unwrap());
        }
    }

    fn modify(&mut self, key: &Key) {
        run(self, "BEGIN IMMEDIATE");
        let mut value = Vec::new();
        assert!(self.read(key, &mut value), "a key is missing");
        self.write(key, &changed(&value));
        run(self, "COMMIT");
    }
}

fn run(connection: &Connection, sql: &str) {
    connection.prepare_cached(sql).unwrap().execute([]).unwrap();
}
