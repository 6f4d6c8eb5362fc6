//! Reading in key order: a prefix of a hundred rows among many, counting all rows, and counting
//! those that match.
//!
//! Every shard keeps its own keys in order and a scan merges them, so that shards, which writers
//! like, cost a scan something. How much is what the two columns say.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]

use kv_benches::arguments::Arguments;
use kv_benches::measure::{Ratio, alternate, median, ns_each};
use kv_benches::table::Table;
use kv_benches::workload::{self, Key, group_key, group_prefix, shuffle};
use kv_core::{
    Conditions, Database, Interval, Pattern, Pause, ScanOptions, Session, ValueCondition, ValueKind,
};

const HELP: &str = "
scans: prefix scans of 100 rows, COUNT of all and with conditions, in process

  --keys N,N    numbers of keys, a table each; default 1000000 (10000000 needs 5 GB)
  --shards N,N  two numbers of shards to compare; default 1,16
  --scans N     of each measurement; default 2000
  --rounds N    rounds, after one to warm up; default 7
  --quick       tiny sizes
";

/// Rows of a group, which share a prefix.
const ROWS: u64 = 100;

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let counts = arguments.values("keys", &[1_000_000_u64], &[2_000]);
    let shards = arguments.values("shards", &[1, 16], &[1, 16]);
    let scans = arguments.value("scans", 2_000, 20);
    let rounds = arguments.value("rounds", 7, 1);
    arguments.finish();
    let [few, many] = shards[..] else { panic!("--shards takes two numbers") };
    for keys in counts {
        let groups = keys / ROWS;
        let stores = [few, many].map(|shards| filled(shards, groups));
        let mut sessions = [stores[0].session(), stores[1].session()];
        let mut order: Vec<Key> = (0..groups).map(|group| group_key(group, 0)).collect();
        let prefix_ns = alternate(rounds, |round| {
            shuffle(&mut order, round);
            let chosen: Vec<Key> = order.iter().copied().cycle().take(scans).collect();
            sessions.each_mut().map(|session| ns_each(scans, || scan_groups(session, &chosen)))
        });
        let count_ns = alternate(rounds, |_| {
            sessions.each_mut().map(|session| ns_each(1, || count_all(session, groups * ROWS)))
        });
        let search_ns = conditions().map(|(what, conditions)| {
            let ns = alternate(rounds, |_| {
                sessions.each_mut().map(|session| ns_each(1, || search_all(session, &conditions)))
            });
            (what, ns)
        });
        let columns = ["".to_owned(), format!("{few} shards"), format!("{many} shards")];
        let mut table = Table::new(
            format!("{} keys of 16 bytes with values of 64", groups * ROWS),
            &[&columns[0], &columns[1], &columns[2], "ratio (least to most)"],
        );
        table.row(row("prefix of 100 rows, µs", &prefix_ns, 1e3));
        table.row(row("COUNT of all, ms", &count_ns, 1e6));
        for (what, ns) in &search_ns {
            table.row(row(&format!("COUNT {what}, ms"), ns, 1e6));
        }
        table.print();
    }
}

/// A store with groups of rows, inserted in no order.
fn filled(shards: usize, groups: u64) -> Database {
    let db = Database::builder().history(Some(1)).shards(shards).open();
    let mut session = db.session();
    let values = workload::values();
    let mut keys: Vec<Key> =
        (0..groups * ROWS).map(|number| group_key(number / ROWS, number % ROWS)).collect();
    shuffle(&mut keys, 0);
    for (nth, key) in keys.iter().enumerate() {
        let value = workload::value(&values, nth);
        session.put(None, key, value, ValueKind::Text, None).unwrap();
    }
    db
}

fn scan_groups(session: &mut Session, first_keys: &[Key]) {
    for key in first_keys {
        // The first key of a group is its prefix and the number of a row, which is 0.
        let prefix = &key[..group_prefix(0).len()];
        let options = ScanOptions::of(Interval::prefix(prefix));
        let mut scan = session.scan(None, &options).unwrap();
        let mut rows = 0;
        while let Some(row) = scan.next_row().unwrap() {
            assert!(row.key().starts_with(prefix));
            rows += 1;
        }
        assert_eq!(rows, ROWS);
    }
}

fn count_all(session: &mut Session, expected: u64) {
    let mut scan = session.scan(None, &ScanOptions::default()).unwrap();
    assert_eq!(scan.count_rows(u64::MAX).unwrap(), expected);
}

/// Conditions that hold for nothing, so that every key or value is examined.
fn conditions() -> [(&'static str, Conditions); 4] {
    let key = |pattern| Conditions { key: Some(pattern), value: None };
    let value = |condition| Conditions { key: None, value: Some(condition) };
    [
        ("MATCH *~", key(Pattern::glob(b"*~").unwrap())),
        ("REGEX ~$", key(Pattern::regex(b"~$").unwrap())),
        ("VALUE EQ ~", value(ValueCondition::Equal((*b"~").into()))),
        ("VALUE NUMBER 0 1", value(ValueCondition::between(b"0", b"1").unwrap())),
    ]
}

fn search_all(session: &mut Session, conditions: &Conditions) {
    let options = ScanOptions { conditions: conditions.clone(), ..ScanOptions::default() };
    let mut scan = session.scan(None, &options).unwrap();
    let found = loop {
        match scan.count_rows(u64::MAX) {
            Err(Pause::Yield) => {}
            counted => break counted.unwrap(),
        }
    };
    assert_eq!(found, 0);
}

fn row(what: &str, [few, many]: &[Vec<f64>; 2], ns_in_unit: f64) -> [String; 4] {
    let figure = |ns: &[f64]| format!("{:.1}", median(ns) / ns_in_unit);
    [what.to_owned(), figure(few), figure(many), Ratio::of_pairs(many, few).to_string()]
}
