//! Resident bytes a key beyond the key and the value themselves.
//!
//! Each figure is the growth of a fresh process of its own, so that nothing is counted that was
//! freed and not given back. Keys are made one by one and not kept.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]
#![expect(clippy::print_stdout, reason = "the child tells its parent a figure")]

use std::process::{Command, Stdio};

use dashmap::DashMap;
use kv_benches::arguments::Arguments;
use kv_benches::process::{Running, resident_bytes, this_program};
use kv_benches::table::Table;
use kv_benches::workload::{self, KEY_BYTES, VALUE_BYTES, key};
use kv_core::{Database, ValueKind};

const HELP: &str = "
memory: resident bytes a key, kv-core at history 1 against DashMap

  --keys N,N   numbers of keys, each in processes of its own; default 1000000
  --quick      tiny sizes
";

/// What a child fills.
const STORES: [&str; 3] = ["DashMap", "kv-core", "kv-core, every key overwritten once"];

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let counts = arguments.values("keys", &[1_000_000_u64], &[20_000]);
    let child = arguments.text("child-store");
    let is_quick = arguments.is_quick();
    arguments.finish();
    if let Some(store) = child {
        println!("{}", growth_bytes(store.parse().unwrap(), counts[0]));
        return;
    }
    let title = format!("Resident bytes a key, without the {} of key and value", payload_bytes());
    let mut table = Table::new(title, &["keys", STORES[0], STORES[1], STORES[2]]);
    for keys in counts {
        let beyond = |store| in_child(store, keys) / keys as f64 - payload_bytes() as f64;
        let cells = [0, 1, 2].map(beyond);
        assert!(is_quick || cells.iter().all(|&bytes| bytes > 0.0), "{cells:?} cannot be");
        let figures = cells.map(|bytes| format!("{bytes:.1}"));
        table.row([keys.to_string()].into_iter().chain(figures));
    }
    table.print();
}

fn payload_bytes() -> usize {
    KEY_BYTES + VALUE_BYTES
}

fn in_child(store: usize, keys: u64) -> f64 {
    let mut command = Command::new(this_program());
    command.args(["--bench", "--child-store", &store.to_string(), "--keys", &keys.to_string()]);
    // What is freed goes back at once, not after a second, which some children would not live.
    command.env("MIMALLOC_PURGE_DELAY", "0");
    Running::start(command.stdout(Stdio::piped())).line().parse().unwrap()
}

/// How much this process grows by filling a store.
fn growth_bytes(store: usize, keys: u64) -> u64 {
    let values = workload::values();
    let value = |number: u64| workload::value(&values, number as usize);
    let me = std::process::id();
    if store == 0 {
        let map: DashMap<Box<[u8]>, Box<[u8]>> = DashMap::new();
        let before = resident_bytes(me);
        for number in 0..keys {
            map.insert(Box::from(&key(number)[..]), Box::from(&value(number)[..]));
        }
        assert_eq!(map.len() as u64, keys);
        return resident_bytes(me).saturating_sub(before);
    }
    let db = Database::builder().history(Some(1)).open();
    let mut session = db.session();
    let before = resident_bytes(me);
    for number in 0..keys {
        session.put(None, &key(number), value(number), ValueKind::Text, None).unwrap();
    }
    if store == 2 {
        // A prime stride meets every key once, in another order than they were made in.
        const STRIDE: u64 = 7_368_787;
        for number in (0..keys).map(|nth| nth * STRIDE % keys) {
            session.put(None, &key(number), value(number + 1), ValueKind::Text, None).unwrap();
        }
    }
    assert_eq!(db.stats().keys as u64, keys);
    resident_bytes(me).saturating_sub(before)
}
