//! One thread, in process: `get`, `put` and insertion beside a bare `DashMap`.
//!
//! The map keeps no versions, knows no transactions and cannot scan in order; it is what a hash
//! map costs that several threads may use. Nothing is copied on a `get`: a guard or a handle is
//! taken and one byte of the value is read.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]

use std::hint::black_box;

use dashmap::DashMap;
use kv_benches::arguments::Arguments;
use kv_benches::measure::{Ratio, alternate, median, ns_each};
use kv_benches::table::Table;
use kv_benches::workload::{self, Key, Value, shuffle};
use kv_core::{Database, Session, ValueKind};

const HELP: &str = "
single_ops: one thread, in process, against a bare DashMap

  --keys N          keys in the store; default 1000000
  --history N,N     versions kept, a table each; default 1,10
  --rounds N        rounds, after one to warm up; default 7
  --only get|missing|put|insert   one row only
  --store kv-core|DashMap         one store only, for a profiler: no table
  --quick           tiny sizes
";

type Map = DashMap<Box<[u8]>, Box<[u8]>>;
/// Samples of the map, of the database's own methods, and of a session's.
type Samples = [Vec<f64>; 3];

struct Bench {
    keys: Vec<Key>,
    missing: Vec<Key>,
    values: Vec<Value>,
    rounds: usize,
    history: usize,
    only: Option<String>,
}

/// The same data three times over; the last two share a database.
struct Stores {
    map: Map,
    db: Database,
    session: Session,
}

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let keys: u64 = arguments.value("keys", 1_000_000, 2_000);
    let histories = arguments.values("history", &[1, 10], &[1, 3]);
    let mut bench = Bench {
        keys: workload::keys(0..keys),
        missing: workload::keys(keys..2 * keys),
        values: workload::values(),
        rounds: arguments.value("rounds", 7, 1),
        history: 0,
        only: arguments.text("only"),
    };
    let store = arguments.text("store");
    arguments.finish();
    for history in histories {
        bench.history = history;
        match store.as_deref() {
            Some(store) => bench.run_one(store == "DashMap"),
            None => bench.run(),
        }
    }
}

impl Bench {
    fn run(&mut self) {
        let title = format!("{} keys, history {}", self.keys.len(), self.history);
        let heading =
            ["", "DashMap ns", "Database ns", "ratio", "Session ns", "ratio (least to most)"];
        let mut table = Table::new(title, &heading);
        let mut stores = self.filled();
        for what in ["get", "missing", "put", "insert"] {
            if self.only.as_ref().is_some_and(|only| only != what) {
                continue;
            }
            let samples = match what {
                "get" => self.measure(&mut stores, Bench::gets),
                "missing" => self.measure(&mut stores, Bench::missing),
                "put" => {
                    // Until every key has all the versions that it will ever have.
                    for number in 1..self.history as u64 {
                        shuffle(&mut self.keys, number + 1000);
                        put_session(&mut stores.session, &self.keys, &self.values);
                    }
                    self.measure(&mut stores, Bench::puts)
                }
                _ => alternate(self.rounds, |number| {
                    shuffle(&mut self.keys, number);
                    self.inserts()
                }),
            };
            table.row(row(what, &samples));
        }
        table.print();
        stores.db.check().unwrap();
    }

    /// One store alone, so that a profiler sees nothing else.
    fn run_one(&mut self, is_map: bool) {
        let mut stores = self.empty();
        shuffle(&mut self.keys, u64::MAX);
        match is_map {
            true => put_map(&stores.map, &self.keys, &self.values),
            false => put_session(&mut stores.session, &self.keys, &self.values),
        }
        for number in 0..self.rounds as u64 {
            shuffle(&mut self.keys, number);
            match (is_map, self.only.as_deref()) {
                (true, Some("put")) => put_map(&stores.map, &self.keys, &self.values),
                (true, _) => get_map(&stores.map, &self.keys),
                (false, Some("put")) => put_session(&mut stores.session, &self.keys, &self.values),
                (false, _) => get_session(&mut stores.session, &self.keys),
            }
        }
    }

    fn empty(&self) -> Stores {
        let db = Database::builder().history(Some(self.history)).open();
        Stores { map: Map::new(), session: db.session(), db }
    }

    fn filled(&mut self) -> Stores {
        let mut stores = self.empty();
        shuffle(&mut self.keys, u64::MAX);
        put_map(&stores.map, &self.keys, &self.values);
        put_session(&mut stores.session, &self.keys, &self.values);
        stores
    }

    fn measure(
        &mut self,
        stores: &mut Stores,
        round: fn(&Bench, &mut Stores) -> [f64; 3],
    ) -> Samples {
        alternate(self.rounds, |number| {
            shuffle(&mut self.keys, number);
            shuffle(&mut self.missing, number);
            round(self, stores)
        })
    }

    fn gets(&self, stores: &mut Stores) -> [f64; 3] {
        let (Stores { map, db, session }, keys) = (stores, &self.keys);
        [
            ns_each(keys.len(), || get_map(map, keys)),
            ns_each(keys.len(), || get_database(db, keys)),
            ns_each(keys.len(), || get_session(session, keys)),
        ]
    }

    fn missing(&self, stores: &mut Stores) -> [f64; 3] {
        let (Stores { map, db, session }, keys) = (stores, &self.missing);
        [
            ns_each(keys.len(), || {
                keys.iter().for_each(|key| assert!(map.get(&key[..]).is_none()))
            }),
            ns_each(keys.len(), || {
                keys.iter().for_each(|key| assert!(db.get(key).unwrap().is_none()));
            }),
            ns_each(keys.len(), || {
                keys.iter().for_each(|key| assert!(session.get(None, key).unwrap().is_none()));
            }),
        ]
    }

    fn puts(&self, stores: &mut Stores) -> [f64; 3] {
        let (Stores { map, db, session }, keys) = (stores, &self.keys);
        [
            ns_each(keys.len(), || put_map(map, keys, &self.values)),
            ns_each(keys.len(), || put_database(db, keys, &self.values)),
            ns_each(keys.len(), || put_session(session, keys, &self.values)),
        ]
    }

    /// New keys only, from an empty store on: what it costs to grow is in it.
    fn inserts(&self) -> [f64; 3] {
        let (mut stores, keys) = (self.empty(), &self.keys);
        let map = ns_each(keys.len(), || put_map(&stores.map, keys, &self.values));
        let database = ns_each(keys.len(), || put_database(&stores.db, keys, &self.values));
        stores = self.empty();
        let session = ns_each(keys.len(), || put_session(&mut stores.session, keys, &self.values));
        [map, database, session]
    }
}

fn row(what: &str, [map, database, session]: &Samples) -> [String; 6] {
    let name = match what {
        "get" => "get",
        "missing" => "get of a missing key",
        "put" => "put of a key that is there",
        _ => "put of a new key, from empty",
    };
    [
        name.to_owned(),
        format!("{:.0}", median(map)),
        format!("{:.0}", median(database)),
        format!("{:.2}", Ratio::of_pairs(map, database).median),
        format!("{:.0}", median(session)),
        Ratio::of_pairs(map, session).to_string(),
    ]
}

fn get_map(map: &Map, keys: &[Key]) {
    let mut sum = 0;
    for key in keys {
        sum += u64::from(map.get(&key[..]).unwrap().value()[0]);
    }
    black_box(sum);
}

fn get_database(db: &Database, keys: &[Key]) {
    let mut sum = 0;
    for key in keys {
        sum += u64::from(db.get(key).unwrap().unwrap()[0]);
    }
    black_box(sum);
}

fn get_session(session: &mut Session, keys: &[Key]) {
    let mut sum = 0;
    for key in keys {
        sum += u64::from(session.get(None, key).unwrap().unwrap()[0]);
    }
    black_box(sum);
}

fn put_map(map: &Map, keys: &[Key], values: &[Value]) {
    for (nth, key) in keys.iter().enumerate() {
        map.insert(Box::from(&key[..]), Box::from(&workload::value(values, nth)[..]));
    }
}

fn put_database(db: &Database, keys: &[Key], values: &[Value]) {
    for (nth, key) in keys.iter().enumerate() {
        db.put(key, workload::value(values, nth)).unwrap();
    }
}

fn put_session(session: &mut Session, keys: &[Key], values: &[Value]) {
    for (nth, key) in keys.iter().enumerate() {
        let value = workload::value(values, nth);
        session.put(None, key, value, ValueKind::Text, None).unwrap();
    }
}
