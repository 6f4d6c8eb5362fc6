//! What is in the tables, as any SQLite tool sees it, and how it comes back.

use std::sync::atomic::{AtomicBool, Ordering};

use kv_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use rusqlite::types::Value;

use super::*;

fn text(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let cells = (0..columns).map(|index| row.get::<_, Value>(index).unwrap());
        let cells = cells.map(|cell| match cell {
            Value::Null => "-".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => text,
            Value::Blob(bytes) => format!("{bytes:02x?}"),
        });
        Ok(cells.collect::<Vec<_>>().join(" "))
    });
    rows.unwrap().map(|row| row.unwrap()).collect()
}

#[test]
fn people_see_text() {
    let place = village(Keep::All);
    let outside = place.outside();
    assert_eq!(text(&outside, "select value from pairs where key = 'tree'"), ["green"]);
    assert_eq!(text(&outside, "select length(value) from pairs where key = 'house'"), ["3000"]);
    assert_eq!(
        text(&outside, "select key, version, revision, updated, type, expires from pairs"),
        ["house 3 6 2023-11-14T22:13:20.006Z json -", "tree 1 2 2023-11-14T22:13:20.002Z text -"]
    );
    assert_eq!(
        text(
            &outside,
            "select key, version, type, value from versions where version < 3
                        order by key, version"
        ),
        [
            "car 1 text red",
            "car 2 deleted -",
            "house 1 text small",
            "house 2 text large",
            "tree 1 text green"
        ]
    );
    let plan = text(&outside, "explain query plan select value from pairs where key = 'tree'");
    assert!(plan[0].contains("SEARCH pair USING PRIMARY KEY"), "{plan:?}");
    assert_eq!(text(&outside, "pragma integrity_check"), ["ok"]);
}

#[test]
fn an_expired_key_is_not_among_the_pairs() {
    let place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let mut versions = [version(b"a", 1, 1, Some(b"1")), version(b"b", 1, 2, Some(b"2"))];
    for (version, expires_ms) in versions.iter_mut().zip([1_000, 4_000_000_000_123]) {
        version.value.as_mut().unwrap().expires_ms = Some(expires_ms);
    }
    fold(&mut snapshot, &versions).unwrap();
    let outside = place.outside();
    assert_eq!(text(&outside, "select key, expires from pairs"), ["b 2096-10-02T07:06:40.123Z"]);
    assert_eq!(load(&snapshot, 1).unwrap().len(), 2);
}

#[test]
fn text_comes_before_bytes_and_each_by_its_bytes() {
    let place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let keys: [&[u8]; 7] = [b"\xff", b"b", b"a\0", b"a", "ä".as_bytes(), b"\0", b"ab"];
    let versions: Vec<_> = keys.map(|key| version(key, 1, 1, Some(key))).into();
    fold(&mut snapshot, &versions).unwrap();
    let outside = place.outside();
    assert_eq!(
        text(&outside, "select typeof(key), hex(key), typeof(value) from pairs order by key"),
        [
            "text 61 text",
            "text 6162 text",
            "text 62 text",
            "text C3A4 text",
            "blob 00 blob",
            "blob 6100 blob",
            "blob FF blob"
        ]
    );
    let mut wanted: Vec<_> = versions;
    wanted.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(load(&snapshot, 3).unwrap().into_values().collect::<Vec<_>>(), wanted);
}

#[test]
fn the_longest_and_the_shortest_come_back() {
    let place = Place::new(Keep::Newest(2));
    let mut snapshot = place.create();
    let long_key = vec![b'k'; KEY_BYTES_MAX];
    let long = vec![0xab; VALUE_BYTES_MAX];
    let versions = [
        version(&long_key, 1, 1, Some(&long)),
        version(&long_key, 2, 2, Some(b"")),
        version(b"k", 1, 3, Some(b"")),
        version(b"k", 2, 4, Some(&long)),
    ];
    for version in &versions {
        fold(&mut snapshot, std::slice::from_ref(version)).unwrap();
    }
    let snapshot = place.open().unwrap();
    let loaded = load(&snapshot, 2).unwrap();
    assert_eq!(loaded[&long_key], versions[1]);
    assert_eq!(loaded[&b"k"[..]], versions[3]);
    assert_eq!(
        older(&snapshot, &long_key, ALL).unwrap(),
        [versions[1].clone(), versions[0].clone()]
    );
    assert_eq!(older(&snapshot, b"k", ALL).unwrap(), [versions[3].clone(), versions[2].clone()]);
}

#[test]
fn older_versions_are_found_by_number_and_by_revision() {
    let place = Place::new(Keep::All);
    let mut snapshot = place.create();
    // Version n has revision 10 n; every other one is too long for `pair`.
    let value = |number: u64| vec![b'v'; if number.is_multiple_of(2) { 3 } else { 500 }];
    let versions: Vec<_> =
        (1..=9).map(|number| version(b"k", number, number * 10, Some(&value(number)))).collect();
    fold(&mut snapshot, &versions[..2]).unwrap();
    fold(&mut snapshot, &versions[2..6]).unwrap();
    for version in &versions[6..] {
        fold(&mut snapshot, std::slice::from_ref(version)).unwrap();
    }
    let numbers = |wanted: Older| -> Vec<u64> {
        let found = older(&snapshot, b"k", wanted).unwrap();
        found.iter().for_each(|found| assert_eq!(*found, versions[found.version.0 as usize - 1]));
        found.iter().map(|found| found.version.0).collect()
    };
    assert_eq!(numbers(ALL), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(numbers(Older { below: Version(5), ..ALL }), [4, 3, 2, 1]);
    assert_eq!(numbers(Older { down_to: Some(Version(7)), ..ALL }), [9, 8, 7]);
    assert_eq!(numbers(Older { until: Some(Revision(75)), ..ALL }), [9, 8, 7]);
    assert_eq!(numbers(Older { until: Some(Revision(70)), ..ALL }), [9, 8, 7]);
    assert_eq!(numbers(Older { limit: 2, below: Version(8), ..ALL }), [7, 6]);
    let newest = Older { below: Version(6), until: Some(Revision(90)), ..ALL };
    assert_eq!(numbers(newest), [5]);
    assert_eq!(numbers(Older { below: Version(1), ..ALL }), [0u64; 0]);
    assert_eq!(older(&snapshot, b"nobody", ALL).unwrap(), []);
}

#[test]
fn what_is_not_kept_is_not_written() {
    let place = Place::new(Keep::Newest(1));
    let mut snapshot = place.create();
    let versions: Vec<_> =
        (1..=5).map(|number| version(b"k", number, number, Some(b"short"))).collect();
    fold(&mut snapshot, &versions[..3]).unwrap();
    fold(&mut snapshot, &versions[3..]).unwrap();
    assert_eq!(text(&place.outside(), "select count(*) from history"), ["0"]);
    let place = Place::new(Keep::Newest(3));
    let mut snapshot = place.create();
    fold(&mut snapshot, &versions[..1]).unwrap();
    fold(&mut snapshot, &versions[1..]).unwrap();
    assert_eq!(text(&place.outside(), "select version from history"), ["3", "4"]);
}

#[test]
fn history_stays_in_bounds_however_often_keys_change() {
    let place = Place::new(Keep::Newest(3));
    let mut snapshot = place.create();
    let (keys, rounds) = (500u64, 40u64);
    for round in 1..=rounds {
        let long = vec![b'x'; if round.is_multiple_of(4) { 300 } else { 10 }];
        let versions: Vec<_> = (0..keys)
            .map(|key| {
                version(format!("k{key}").as_bytes(), round, round * keys + key, Some(&long))
            })
            .collect();
        fold(&mut snapshot, &versions).unwrap();
        let rows = snapshot.meta.history.cast_unsigned();
        assert!(rows <= 3 * 3 * keys, "{rows} rows after {round} rounds");
    }
    assert_eq!(older(&snapshot, b"k7", ALL).unwrap().len(), 3);
    assert_eq!(snapshot.verify().unwrap().faults, Vec::<String>::new());
    assert_eq!(snapshot.verify().unwrap().versions, 3 * keys);
}

#[test]
fn a_smaller_setting_empties_history_although_little_is_written() {
    let mut place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let versions: Vec<_> =
        (1..=3000).map(|number| version(b"k", number, number, Some(b"v"))).collect();
    fold(&mut snapshot, &versions).unwrap();
    drop(snapshot);
    place.options.keep = Keep::Newest(2);
    let mut snapshot = place.open().unwrap();
    // Nobody sees them, whether they are there or not.
    assert_eq!(older(&snapshot, b"k", ALL).unwrap().len(), 2);
    for number in 3001..=3004 {
        fold(&mut snapshot, &[version(b"k", number, number, Some(b"v"))]).unwrap();
    }
    assert!(snapshot.meta.history < 10, "{} rows are left", snapshot.meta.history);
    assert_eq!(older(&snapshot, b"k", ALL).unwrap().len(), 2);
}

#[test]
fn outside_readers_go_on_during_folds_and_see_whole_ones() {
    let place = Place::new(Keep::Newest(2));
    let mut snapshot = place.create();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let outside = place.outside();
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                // Every fold gives all keys the same version.
                let distinct = text(&outside, "select count(distinct version) from pairs");
                assert!(distinct == ["0"] || distinct == ["1"], "{distinct:?}");
                seen += 1;
            }
            seen
        });
        for round in 1..=20 {
            let versions: Vec<_> = (0..500u64)
                .map(|key| version(format!("k{key}").as_bytes(), round, round, Some(b"v")))
                .collect();
            fold(&mut snapshot, &versions).unwrap();
            snapshot.tidy().ok();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    assert_eq!(snapshot.verify().unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_long_reader_only_makes_the_write_ahead_log_grow() {
    let place = Place::new(Keep::Newest(1));
    let mut snapshot = place.create();
    fold(&mut snapshot, &[version(b"k", 1, 1, Some(b"v"))]).unwrap();
    let outside = place.outside();
    outside.execute_batch("begin").unwrap();
    assert_eq!(text(&outside, "select version from pairs"), ["1"]);
    for number in 2..=20 {
        fold(&mut snapshot, &[version(b"k", number, number, Some(b"v"))]).unwrap();
        // Part of it has to stay; it is not waited for.
        let began = std::time::Instant::now();
        let _ = snapshot.tidy();
        assert!(began.elapsed() < super::super::open::BUSY_WAIT / 2);
    }
    let grown = snapshot.stats().wal_bytes;
    assert!(grown > 19 * 4096, "{grown}");
    assert_eq!(text(&outside, "select version from pairs"), ["1"]);
    outside.execute_batch("commit").unwrap();
    snapshot.tidy().unwrap();
    for number in 21..=22 {
        fold(&mut snapshot, &[version(b"k", number, number, Some(b"v"))]).unwrap();
        snapshot.tidy().unwrap();
    }
    assert_eq!(snapshot.stats().wal_bytes, grown, "its blocks are used again");
    assert_eq!(text(&outside, "select version from pairs"), ["22"]);
}

#[test]
fn a_load_is_shared_among_threads_whatever_the_keys_are() {
    let place = Place::new(Keep::Newest(1));
    let mut snapshot = place.create();
    let mut versions: Vec<_> = (0..30_000u64)
        .map(|key| version(format!("user:{key:08}").as_bytes(), 1, 1, Some(b"v")))
        .collect();
    versions.extend((0..9_000u64).map(|key| {
        version(&[&[0xff, 0], &key.to_be_bytes()[..]].concat(), 1, 1, Some(&[b'v'; 300]))
    }));
    fold(&mut snapshot, &versions).unwrap();
    let threads = Mutex::new(BTreeMap::<_, usize>::new());
    let all = Mutex::new(BTreeMap::new());
    snapshot
        .load(4, &|version| {
            *threads.lock().entry(format!("{:?}", std::thread::current().id())).or_default() += 1;
            assert_eq!(all.lock().insert(version.key.to_vec(), ()), None, "a key came twice");
            Ok(())
        })
        .unwrap();
    assert_eq!(all.lock().len(), versions.len());
    assert!(threads.lock().len() > 1, "{:?}", threads.lock());
}

#[test]
fn a_sink_that_fails_or_panics_ends_the_load_for_all() {
    let place = village(Keep::All);
    let snapshot = place.open().unwrap();
    let refuse = |_: Stored<'_>| Err(Error::Key { what: "no".into() });
    assert!(matches!(snapshot.load(3, &refuse), Err(Error::Key { .. })));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        snapshot.load(3, &|_| panic!("of the sink"))
    }));
    assert!(panicked.is_err());
    assert_eq!(load(&snapshot, 3).unwrap().len(), 3);
}

/// What is on disk today has to be read tomorrow. Checksums computed with an independent
/// implementation, from the description in PERSISTENCE.md.
#[test]
fn the_format_is_fixed() {
    let place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let versions = [
        version(b"house", 4, 7, Some(b"small")),
        version(b"\xff", 3, 8, None),
        version(b"car", 3, 9, Some(b"\0")),
    ];
    fold(&mut snapshot, &versions).unwrap();
    let outside = place.outside();
    let rows = "select key, version, revision, time, type, expires, codec, checksum, previous, \
                place, value from pair order by key";
    assert_eq!(
        text(&outside, rows),
        [
            "car 3 9 1700000000009 2 - 0 798146477 - - [00]",
            "house 4 7 1700000000007 1 4000000000004 0 690110324 - - small",
            "[ff] 3 8 1700000000008 0 - 0 2747119921 - - -",
        ]
    );
    let schema = text(&outside, "select sql from sqlite_schema order by name").join(";");
    assert_eq!(
        crc32c::crc32c(schema.as_bytes()),
        2_580_361_629,
        "another schema is another format"
    );
    assert_eq!(text(&outside, "pragma application_id"), ["1802921058"]);
}
