//! Keys that were deleted or expired long ago are gone, and nothing else is.

use proptest::prelude::*;

use super::*;
use crate::snapshot::Forgotten;

/// The time of a revision.
fn time(revision: u64) -> u64 {
    stamp(revision).time_ms
}

/// A version that expires when that revision is made.
fn expiring(key: &[u8], number: u64, revision: u64, expires: u64) -> StoredBuf {
    let mut version = version(key, number, revision, Some(b"for a while"));
    version.value.as_mut().expect("a value").expires_ms = Some(time(expires));
    version
}

/// Forgets what is due before a time, in as many calls as it takes.
fn forget_all(snapshot: &mut SqliteSnapshot, before_ms: u64) -> Vec<Forgotten> {
    let mut all = Vec::new();
    for _ in 0..10_000 {
        all.extend(snapshot.forget(before_ms).expect("forgotten"));
        if snapshot.search.due_ms >= before_ms && snapshot.meta.forgetting == 0 {
            all.sort_by(|one, other| one.key.cmp(&other.key));
            return all;
        }
    }
    panic!("it does not come to an end");
}

fn expired(key: &[u8], version: u64, revision: u64) -> Forgotten {
    Forgotten { was_deleted: false, ..forgotten(key, version, revision) }
}

fn forgotten(key: &[u8], version: u64, revision: u64) -> Forgotten {
    let (version, revision) = (Version(version), Revision(revision));
    Forgotten { key: key.to_vec(), version, revision, was_deleted: true }
}

fn no_faults(snapshot: &SqliteSnapshot) {
    assert_eq!(snapshot.verify().expect("a verification").faults, Vec::<String>::new());
}

/// How many rows `history` has of a key.
fn rows_of(place: &Place, key: &[u8]) -> i64 {
    let outside = place.outside();
    let count = "select count(*) from history where cast(key as blob) = ?1";
    outside.query_row(count, [key], |row| row.get(0)).expect("a count")
}

#[test]
fn what_was_deleted_or_expired_before_then_is_forgotten() {
    let place = Place::new(Keep::Newest(3));
    let mut snapshot = place.create();
    let versions = [
        version(b"car", 1, 1, Some(b"red")),
        version(b"tree", 1, 2, Some(b"green")),
        version(b"car", 2, 3, Some(&[b'r'; 500])),
        version(b"car", 3, 4, None),
        version(b"\xff", 1, 5, None),
        expiring(b"melon", 1, 6, 7),
        expiring(b"rock", 1, 7, 1_000_000),
        version(b"late", 1, 8, None),
    ];
    for version in &versions {
        fold(&mut snapshot, std::slice::from_ref(version)).unwrap();
    }
    assert_eq!(forget_all(&mut snapshot, time(4)), []);
    assert_eq!(snapshot.forgotten(), Revision(0));
    let wanted = [forgotten(b"car", 3, 4), expired(b"melon", 1, 6), forgotten(b"\xff", 1, 5)];
    assert_eq!(forget_all(&mut snapshot, time(8)), wanted);
    no_faults(&snapshot);
    assert_eq!(rows_of(&place, b"car"), 0);
    drop(snapshot);
    let mut snapshot = place.open().unwrap();
    assert_eq!(snapshot.forgotten(), Revision(6));
    let left: Vec<_> = load(&snapshot, 1).unwrap().into_keys().collect();
    assert_eq!(left, [b"late", &b"rock"[..], b"tree"]);
    assert_eq!(older(&snapshot, b"car", ALL).unwrap(), []);
    // The key begins anew, or goes on, if the log has been told more.
    fold(&mut snapshot, &[version(b"car", 1, 9, Some(b"blue"))]).unwrap();
    fold(&mut snapshot, &[version(b"melon", 2, 10, Some(b"ripe"))]).unwrap();
    assert_eq!(older(&snapshot, b"car", ALL).unwrap(), [version(b"car", 1, 9, Some(b"blue"))]);
    assert_eq!(older(&snapshot, b"melon", ALL).unwrap(), [version(b"melon", 2, 10, Some(b"ripe"))]);
    no_faults(&snapshot);
    assert_eq!(forget_all(&mut snapshot, time(100)), [forgotten(b"late", 1, 8)]);
    assert_eq!(snapshot.forgotten(), Revision(8));
}

#[test]
fn a_call_does_no_more_than_so_much() {
    let place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let mut versions = Vec::new();
    for number in 1..=40u64 {
        versions.push(version(b"long", number, number, (number < 40).then_some(b"v")));
    }
    versions.extend((0..60u64).map(|key| version(&[b'x', key as u8], 1, 41 + key, None)));
    fold(&mut snapshot, &versions).unwrap();
    let (mut calls, mut all) = (0, Vec::new());
    let mut rows = snapshot.meta.history;
    while load(&snapshot, 1).unwrap().len() > 1 || calls < 5 {
        let some = snapshot.forget(time(100)).unwrap();
        assert!(some.len() <= 3, "{some:?}");
        assert!(rows - snapshot.meta.history <= 6, "{} of {rows}", snapshot.meta.history);
        rows = snapshot.meta.history;
        all.extend(some);
        calls += 1;
        no_faults(&snapshot);
        if calls < 8 {
            assert_eq!(older(&snapshot, b"long", ALL).unwrap(), [versions[39].clone()], "{calls}");
        }
    }
    assert_eq!(all.len(), 60);
    assert!(calls > 25, "{calls}");
    let newest = [(b"long".to_vec(), versions[39].clone()), (vec![b'x', 59], versions[99].clone())];
    let left = load(&snapshot, 1).unwrap();
    assert_eq!(left.into_iter().collect::<Vec<_>>(), newest[1..]);
}

#[test]
fn a_key_that_comes_back_while_it_is_forgotten_goes_on() {
    let place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let mut versions: Vec<_> =
        (1..=20).map(|number| version(b"k", number, number, Some(&[b'v'; 300]))).collect();
    versions.push(version(b"k", 21, 21, None));
    fold(&mut snapshot, &versions).unwrap();
    assert_eq!(snapshot.forget(time(50)).unwrap(), []);
    drop(snapshot);
    let mut snapshot = place.open().unwrap();
    assert_ne!(snapshot.meta.forgetting, 0);
    let back = version(b"k", 22, 60, Some(b"back"));
    fold(&mut snapshot, std::slice::from_ref(&back)).unwrap();
    assert_eq!(forget_all(&mut snapshot, time(50)), []);
    assert_eq!(snapshot.meta.forgetting, 0);
    assert_eq!(older(&snapshot, b"k", ALL).unwrap(), [back, versions[20].clone()]);
    assert_eq!(rows_of(&place, b"k"), 1);
    no_faults(&snapshot);
}

#[test]
fn nothing_is_looked_at_before_something_is_due() {
    let place = Place::new(Keep::Newest(1));
    let mut snapshot = place.create();
    let versions: Vec<_> =
        (1..50u64).map(|key| version(&[b'k', key as u8], 1, key, Some(b"v"))).collect();
    fold(&mut snapshot, &versions).unwrap();
    assert_eq!(forget_all(&mut snapshot, time(1000)), []);
    assert_eq!(snapshot.search.due_ms, u64::MAX);
    fold(&mut snapshot, &[version(b"k\x07", 2, 50, None)]).unwrap();
    assert_eq!(snapshot.search.due_ms, time(50));
    snapshot.writer.execute_batch("alter table pair rename to elsewhere").unwrap();
    assert_eq!(snapshot.forget(time(50)).unwrap(), []);
    assert!(snapshot.forget(time(51)).is_err());
    snapshot.writer.execute_batch("alter table elsewhere rename to pair").unwrap();
    assert_eq!(forget_all(&mut snapshot, time(51)), [forgotten(b"k\x07", 2, 50)]);
}

#[test]
fn a_damaged_row_is_not_forgotten() {
    for change in [
        "update pair set type = 0, time = 1 where key = 'tree'",
        "update pair set expires = 1 where key = 'tree'",
        "update pair set version = 7 where key = 'car'",
        "update pair set expires = 1 where key = 'house'",
        "update pair set previous = 1 where key = 'car'",
    ] {
        let place = village(Keep::All);
        place.change(change);
        let mut snapshot = place.open().unwrap();
        let forgotten = forget_all(&mut snapshot, time(100));
        let is_led_astray = change.contains("previous");
        assert!(forgotten.iter().all(|forgotten| forgotten.key == b"car"), "{change}");
        assert_eq!(forgotten.is_empty(), change.contains("'car'") && !is_led_astray, "{change}");
        // Nothing of another key has gone.
        assert_eq!(rows_of(&place, b"house"), 3, "{change}");
    }
}

#[test]
fn what_is_encrypted_is_forgotten_by_its_own_name() {
    use crate::crypt::{Cipher, MasterKey};
    let mut place = Place::new(Keep::Newest(3));
    let master = MasterKey::from_text(&"c".repeat(64)).unwrap();
    place.options.cipher = Some(std::sync::Arc::new(Cipher::new(&master, DATABASE)));
    let mut snapshot = place.create();
    let long_key = vec![b'k'; 3000];
    for version in [
        version(&long_key, 1, 1, Some(b"v")),
        version(&long_key, 2, 2, None),
        version(b"k", 1, 3, None),
    ] {
        fold(&mut snapshot, &[version]).unwrap();
    }
    let wanted = [forgotten(b"k", 1, 3), forgotten(&long_key, 2, 2)];
    assert_eq!(forget_all(&mut snapshot, time(9)), wanted);
    assert_eq!((snapshot.meta.pairs, snapshot.meta.history), (0, 0));
    no_faults(&snapshot);
}

#[test]
fn a_backup_remembers_what_was_forgotten_and_a_salvage_does_not_find_it() {
    let place = village(Keep::All);
    let mut snapshot = place.open().unwrap();
    assert_eq!(forget_all(&mut snapshot, time(100)), [forgotten(b"car", 2, 5)]);
    let path = place.dir.path().join("copy.sqlite");
    snapshot.backup(&path).unwrap();
    let copy = SqliteSnapshot::open(SqliteOptions { path, ..place.options.clone() }).unwrap();
    assert_eq!(copy.forgotten(), Revision(5));
    no_faults(&copy);
    drop(snapshot);
    let mut keys = Vec::new();
    let mut found = |version: Stored<'_>, _| {
        keys.push(version.key.to_vec());
        Ok(())
    };
    SqliteSnapshot::salvage(&place.path(), None, &mut found).unwrap();
    assert!(!keys.contains(&b"car".to_vec()), "{keys:?}");
}

#[test]
fn a_key_is_found_whole_though_the_collector_came_by_in_between() {
    let mut place = Place::new(Keep::All);
    let mut snapshot = place.create();
    let old = (1..=5).map(|number| version(b"a", number, number, Some(b"v")));
    let others = (1..=3000).map(|number| version(b"other", number, 5 + number, Some(b"v")));
    fold(&mut snapshot, &old.chain(others).collect::<Vec<_>>()).unwrap();
    drop(snapshot);
    // A round of the collector goes on for four folds.
    place.options.keep = Keep::Newest(3);
    let mut snapshot = place.open().unwrap();
    for number in 6..=9 {
        let value = (number < 9).then_some(&b"v"[..]);
        fold(&mut snapshot, &[version(b"a", number, 4000 + number, value)]).unwrap();
        assert_eq!(snapshot.meta.collector.at == 0, number == 9);
    }
    assert_eq!(forget_all(&mut snapshot, time(5000)), [forgotten(b"a", 9, 4009)]);
    assert_eq!(rows_of(&place, b"a"), 0);
    no_faults(&snapshot);
}

#[test]
fn a_file_of_format_1_forgets_when_the_collector_has_made_a_round() {
    let place = Place::new(Keep::Newest(1));
    let mut snapshot = place.create();
    let long = [b"k", b"l", b"m", b"n"].map(|key| version(key, 1, 1, Some(&[b'v'; 300])));
    fold(&mut snapshot, &long).unwrap();
    fold(&mut snapshot, &[version(b"k", 2, 2, None)]).unwrap();
    drop(snapshot);
    // The first format had no link to what is not kept.
    place.change("update pair set previous = null where key = 'k'");
    assert_eq!(rows_of(&place, b"k"), 1);
    to_format_1(&place);
    let mut snapshot = place.open().unwrap();
    snapshot.adopt().unwrap();
    assert_eq!(snapshot.forget(time(9)).unwrap(), []);
    assert_eq!(rows_of(&place, b"k"), 0);
    assert_eq!(forget_all(&mut snapshot, time(9)), [forgotten(b"k", 2, 2)]);
    no_faults(&snapshot);
}

#[derive(Debug, Clone)]
enum Step {
    /// A fold of so many versions of each of these keys; what they end with, by number.
    Fold(Vec<(usize, u8, u8)>),
    /// Some calls, for what was done before so many revisions.
    Forget(u8, u64),
    /// The file is closed and opened again, with this setting.
    Reopen(Keep),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..12usize, 1..5u8, 0..6u8);
    let keep = prop::sample::select(vec![Keep::Newest(1), Keep::Newest(3), Keep::All]);
    let step = prop_oneof![
        6 => prop::collection::vec(change, 0..8).prop_map(Step::Fold),
        4 => (1..6u8, 0..30u64).prop_map(|(calls, ago)| Step::Forget(calls, ago)),
        1 => keep.prop_map(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// Every key with its newest version.
type Newest = BTreeMap<Vec<u8>, StoredBuf>;

fn fold_step(
    snapshot: &mut SqliteSnapshot,
    model: &mut Newest,
    revision: &mut u64,
    changes: &[(usize, u8, u8)],
) {
    let mut versions = Vec::new();
    for &(key, count, end) in changes {
        let key = if key % 3 == 0 { vec![0xff, key as u8] } else { format!("k{key}").into() };
        for left in (0..count).rev() {
            *revision += 1;
            let number = model.get(&key).map_or(0, |newest| newest.version.0) + 1;
            let version = match (left, end) {
                (0, 0..=2) => version(&key, number, *revision, None),
                (0, 3) => expiring(&key, number, *revision, *revision + 5),
                (_, 4) => version(&key, number, *revision, Some(&[b'v'; 300])),
                _ => version(&key, number, *revision, Some(b"short")),
            };
            model.insert(key.clone(), version.clone());
            versions.push(version);
        }
    }
    fold(snapshot, &versions).expect("a fold");
}

/// Takes what was forgotten out of the model, in which it has to be due.
fn forgotten_step(place: &Place, model: &mut Newest, forgotten: &[Forgotten], before_ms: u64) {
    for Forgotten { key, version, revision, .. } in forgotten {
        let newest = model.remove(key).expect("it was there");
        assert_eq!((newest.version, newest.stamp.revision), (*version, *revision));
        assert!(is_due(&newest, before_ms), "{newest:?}");
        assert_eq!(rows_of(place, key), 0, "{newest:?}");
    }
}

fn is_due(newest: &StoredBuf, before_ms: u64) -> bool {
    let expires = newest.value.as_ref().map(|value| value.expires_ms.unwrap_or(u64::MAX));
    expires.unwrap_or(newest.stamp.time_ms) < before_ms
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_due_is_forgotten_and_all_else_stays(
        keep in prop::sample::select(vec![Keep::Newest(1), Keep::Newest(3), Keep::All]),
        steps in steps(),
    ) {
        let mut place = Place::new(keep);
        let mut snapshot = place.create();
        let (mut model, mut revision, mut last) = (Newest::new(), 0, Revision(0));
        for step in steps {
            match step {
                Step::Fold(changes) => {
                    fold_step(&mut snapshot, &mut model, &mut revision, &changes);
                }
                Step::Forget(calls, ago) => for _ in 0..calls {
                    let before_ms = time(revision.saturating_sub(ago));
                    let some = snapshot.forget(before_ms).expect("forgotten");
                    forgotten_step(&place, &mut model, &some, before_ms);
                    last = some.iter().map(|forgotten| forgotten.revision).fold(last, Ord::max);
                },
                Step::Reopen(keep) => {
                    drop(snapshot);
                    place.options.keep = keep;
                    snapshot = place.open().expect("opened again");
                }
            }
            prop_assert_eq!(snapshot.forgotten(), last);
            prop_assert_eq!(&load(&snapshot, 1).expect("a load"), &model);
            no_faults(&snapshot);
        }
        let before_ms = time(revision + 20);
        let rest = forget_all(&mut snapshot, before_ms);
        forgotten_step(&place, &mut model, &rest, before_ms);
        prop_assert!(!model.values().any(|newest| is_due(newest, before_ms)));
        prop_assert_eq!(&load(&snapshot, 1).expect("a load"), &model);
        no_faults(&snapshot);
    }
}
