//! Newest versions, one by one and in the order of the keys' bytes, against a map.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use kv_core::{Holds, Interval, PageRequest};
use proptest::prelude::*;

use super::*;
use crate::snapshot::{History, StoredPage};

/// Newest versions by key.
type Newest = BTreeMap<Vec<u8>, StoredBuf>;

fn history(snapshot: &SqliteSnapshot) -> Box<dyn History> {
    snapshot.history().expect("it has history")
}

fn all() -> PageRequest {
    PageRequest { interval: Interval::all(), rows_max: 1000, bytes_max: usize::MAX }
}

/// Bytes of which many a key begins with another, and is text or not by its last one.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(vec![0, 1, b'a', b'b', 0x7f, 0xc3, 0xa4, 0xff]);
    prop_oneof![
        8 => prop::collection::vec(byte, 0..4),
        1 => Just("äb".as_bytes().to_vec()),
        1 => Just(vec![b'a'; 3000]),
    ]
}

/// Up to so many keys.
fn keys(keys_max: usize) -> impl Strategy<Value = BTreeSet<Vec<u8>>> {
    let key = bytes().prop_filter("a key", |key| !key.is_empty());
    prop::collection::btree_set(key, 0..=keys_max)
}

fn intervals() -> impl Strategy<Value = Interval> {
    prop_oneof![
        1 => Just(Interval::all()),
        2 => bytes().prop_map(|from| Interval { from: from.into(), to: None }),
        2 => bytes().prop_map(|prefix| Interval::prefix(&prefix)),
        4 => (bytes(), bytes()).prop_map(|(from, to)| Interval::range(&from, &to)),
    ]
}

/// Folds random keys, some of them deletes, some with values that `pair` has no room for.
fn filled(snapshot: &mut SqliteSnapshot, keys: &BTreeSet<Vec<u8>>) -> Newest {
    const LENGTHS: [usize; 5] = [0, 3, 190, 250, 9000];
    let versions = keys.iter().zip(1..).map(|(key, revision)| {
        let length = LENGTHS[revision as usize % LENGTHS.len()];
        let value = vec![b'v'; length];
        version(key, 1, revision, (!revision.is_multiple_of(4)).then_some(&value))
    });
    let versions: Vec<_> = versions.collect();
    fold(snapshot, &versions).expect("a fold");
    versions.into_iter().map(|version| (version.key.clone(), version)).collect()
}

/// The page that has to be found.
fn expected(newest: &Newest, wanted: &PageRequest) -> StoredPage {
    let mut page = StoredPage::default();
    let mut bytes = 0;
    for (key, version) in newest.iter().filter(|(key, _)| wanted.interval.contains(key)) {
        let rows = page.rows.len();
        if rows == wanted.rows_max || rows > 0 && bytes >= wanted.bytes_max {
            page.next_from = Some(key.clone().into());
            break;
        }
        bytes += key.len() + version.value.as_ref().map_or(0, |value| value.bytes.len());
        page.rows.push(version.clone());
    }
    page
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn pages_are_in_the_order_of_bytes(
        keys in keys(60),
        intervals in prop::collection::vec(intervals(), 1..8),
        rows_max in 1..9usize,
        bytes_max in prop::sample::select(vec![0, 1, 300, 10_000, usize::MAX]),
    ) {
        let place = Place::new(Keep::Newest(1));
        let mut snapshot = place.create();
        let newest = filled(&mut snapshot, &keys);
        let history = history(&snapshot);
        for mut interval in intervals {
            let all = PageRequest { interval: interval.clone(), ..all() };
            prop_assert_eq!(history.page(&all).unwrap(), expected(&newest, &all));
            loop {
                let wanted = PageRequest { interval: interval.clone(), rows_max, bytes_max };
                let page = history.page(&wanted).unwrap();
                prop_assert_eq!(&page, &expected(&newest, &wanted));
                let Some(from) = page.next_from else { break };
                interval.from = from;
            }
        }
    }

    #[test]
    fn the_newest_version_is_found_whatever_the_key_is(
        keys in keys(40),
        others in prop::collection::vec(bytes(), 0..20),
    ) {
        let place = Place::new(Keep::Newest(1));
        let mut snapshot = place.create();
        let newest = filled(&mut snapshot, &keys);
        let history = history(&snapshot);
        for key in keys.iter().chain(&others) {
            prop_assert_eq!(history.newest(key).unwrap(), newest.get(key).cloned());
        }
    }
}

#[test]
fn the_newest_version_is_the_last_that_was_folded() {
    let place = village(Keep::All);
    let mut snapshot = place.open().unwrap();
    let history = history(&snapshot);
    assert_eq!(history.holds(), Holds::Keys);
    let newest = |key: &[u8]| history.newest(key).unwrap();
    assert_eq!(newest(b"house"), Some(version(b"house", 3, 6, Some(&[b'h'; 3000]))));
    assert_eq!(newest(b"car"), Some(version(b"car", 2, 5, None)));
    assert_eq!(newest(b"hous"), None);
    fold(&mut snapshot, &[version(b"house", 4, 7, Some(b"sold"))]).unwrap();
    assert_eq!(newest(b"house"), Some(version(b"house", 4, 7, Some(b"sold"))));
}

#[test]
fn a_changed_row_is_an_error_that_names_its_key() {
    let changes = [
        ("update pair set value = 'grey' where key = 'tree'", "tree"),
        ("update pair set version = 2 where key = 'tree'", "tree"),
        ("update pair set place = 1 where key = 'tree'", "tree"),
        ("update pair set place = 999 where key = 'tree'", "tree"),
        ("update pair set type = 1 where key = 'car'", "car"),
        ("update pair set place = 1 where key = 'house'", "house"),
        ("update pair set place = null where key = 'house'", "house"),
        ("update history set value = 'x' || value where version = 3", "house"),
        ("update history set value = null where version = 3", "house"),
        ("delete from history where version = 3", "house"),
    ];
    for (change, key) in changes {
        let place = village(Keep::All);
        place.change(change);
        let snapshot = place.open().expect(change);
        let history = history(&snapshot);
        let found = history.newest(key.as_bytes());
        for refused in [found.map(drop), history.page(&all()).map(drop)] {
            let refused = refused.expect_err(change);
            assert!(matches!(refused, Error::Damaged { .. }), "{change}: {refused}");
            assert!(refused.to_string().contains(&format!("\"{key}\"")), "{change}: {refused}");
        }
        // The others are as they were.
        for other in ["tree", "car", "house"].into_iter().filter(|other| *other != key) {
            assert!(history.newest(other.as_bytes()).unwrap().is_some(), "{change}");
            let interval = Interval::key(other.as_bytes());
            let page = history.page(&PageRequest { interval, ..all() }).unwrap();
            assert_eq!(page.rows.len(), 1, "{change}");
        }
    }
}

#[test]
fn no_flipped_bit_makes_a_wrong_newest_version() {
    let place = Place::new(Keep::Newest(1));
    let keys = (0..120u8).map(|key| match key % 3 {
        0 => vec![0xff, key],
        _ => format!("key {key}").into_bytes(),
    });
    let mut snapshot = place.create();
    let newest = filled(&mut snapshot, &keys.collect());
    drop(snapshot);
    let whole = place.bytes();
    for (step, at) in (0..whole.len()).step_by(499).enumerate() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (step % 8);
        std::fs::write(place.path(), &bytes).unwrap();
        let Ok(snapshot) = SqliteSnapshot::open_to_read(place.options.clone()) else {
            continue;
        };
        let history = history(&snapshot);
        let mut wanted = PageRequest { rows_max: 7, ..all() };
        while let Ok(page) = history.page(&wanted) {
            for row in &page.rows {
                assert_eq!(Some(row), newest.get(&row.key), "byte {at}");
            }
            let Some(from) = page.next_from else { break };
            assert!(from > wanted.interval.from, "byte {at}: no end");
            wanted.interval.from = from;
        }
        for (key, version) in &newest {
            if let Ok(Some(found)) = history.newest(key) {
                assert_eq!(found, *version, "byte {at}");
            }
        }
    }
}

#[test]
fn a_page_is_as_of_one_moment_while_folds_go_on() {
    let place = Place::new(Keep::Newest(1));
    let mut snapshot = place.create();
    let keys: Vec<Vec<u8>> = (0..60u8).map(|key| vec![b'k', 1 + key % 2 * 0xfe, key]).collect();
    // Every fold gives all keys the same version; every other one is too long for `pair`.
    let round = |round: u64| -> Vec<StoredBuf> {
        let value = vec![b'v'; if round.is_multiple_of(2) { 400 } else { 4 }];
        keys.iter().map(|key| version(key, round, round, Some(&value))).collect()
    };
    fold(&mut snapshot, &round(1)).unwrap();
    let history = history(&snapshot);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                let page = history.page(&all()).unwrap();
                assert_eq!(page.rows.len(), keys.len());
                let of_page: BTreeSet<_> = page.rows.iter().map(|row| row.version).collect();
                assert_eq!(of_page.len(), 1, "{of_page:?}");
                let newest = history.newest(&keys[7]).unwrap().expect("it is there");
                assert!(Some(&newest.version) >= of_page.last(), "it goes back");
                seen.extend(of_page);
            }
            seen.len()
        });
        for number in 2..=60 {
            fold(&mut snapshot, &round(number)).unwrap();
            snapshot.tidy().ok();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 1);
    });
}
