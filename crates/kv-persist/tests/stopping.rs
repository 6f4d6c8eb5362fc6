//! Folds that fail or take long: who waits for them, and for how long.

#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kv_core::Database;
use kv_persist::checkpoint::thread::Schedule;
use kv_persist::compress::Compression;
use kv_persist::directory::SnapshotKind;
use kv_persist::failpoint::{Action, Failpoint, arm, disarm};
use kv_persist::log::Durability;
use kv_persist::stored::Keep;
use kv_persist::{Store, StoreOptions};

/// What is armed is armed for all tests of this process: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SOON: Duration = Duration::from_secs(20);

fn alone() -> MutexGuard<'static, ()> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    ["snap.begin", "snap.mid"].into_iter().for_each(disarm);
    guard
}

fn at_each(place: &'static str, action: Action) {
    arm(place, Failpoint { action, only: None });
}

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        dir: dir.join("data"),
        snapshot: SnapshotKind::Sqlite,
        durability: Durability::Fsync,
        keep: Keep::Newest(1),
        tombstone_retention: None,
        schedule: Schedule { interval: Duration::from_secs(3600), log_bytes: u64::MAX },
        log_bytes_max: 1 << 30,
        piece_bytes_max: u64::MAX,
        key: None,
        compression: Compression::None,
        threads: 1,
    }
}

fn open(options: &StoreOptions) -> Store {
    let mut builder = Database::builder();
    builder.history(Some(1));
    Store::open(options.clone(), &mut builder).unwrap()
}

#[test]
fn writers_are_refused_while_the_log_is_full_and_the_fold_fails() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    (options.log_bytes_max, options.schedule.log_bytes) = (64 << 10, 16 << 10);
    at_each("snap.begin", Action::Error);
    let store = open(&options);
    let db = store.database().clone();
    let (refusal, refused) = channel();
    let writer = std::thread::spawn(move || {
        let value = "v".repeat(4 << 10);
        let error = (0..1000).find_map(|i| db.put(format!("k{i}"), value.clone()).err());
        refusal.send(error).unwrap();
    });
    let error = refused.recv_timeout(SOON).expect("nobody waits for a fold that fails").unwrap();
    assert_eq!(error.code(), "IO", "{error}");
    writer.join().unwrap();
    disarm("snap.begin");
    store.checkpoint().checkpoint().unwrap();
    store.database().put("after", "v").unwrap();
    store.close(SOON).unwrap();
}

#[test]
fn closing_keeps_its_time_and_what_is_not_folded_is_in_the_log() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = open(&options);
    store.database().put("k", "v").unwrap();
    at_each("snap.mid", Action::Delay(Duration::from_secs(3)));
    let began = Instant::now();
    store.close(Duration::from_millis(300)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    drop(store);
    // The fold that was left holds the directory; in another process it would have ended with it.
    let mut builder = Database::builder();
    builder.history(Some(1));
    assert!(Store::open(options, &mut builder).unwrap_err().is_refusal());
}

#[test]
fn a_close_can_be_hurried() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let store = open(&options(dir.path()));
    store.database().put("k", "v").unwrap();
    at_each("snap.mid", Action::Delay(Duration::from_secs(3)));
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| store.close(Duration::from_secs(60)).unwrap());
        std::thread::sleep(Duration::from_millis(200));
        store.hurry();
    });
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
}

#[test]
fn a_last_fold_that_fails_is_no_failure_to_close() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = open(&options);
    store.database().put("k", "v").unwrap();
    at_each("snap.mid", Action::Error);
    store.close(SOON).unwrap();
    drop(store);
    disarm("snap.mid");
    let store = open(&options);
    assert_eq!(store.database().get("k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn folds_go_on_while_a_backup_is_made() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let store = open(&options(dir.path()));
    store.database().put("before", "v").unwrap();
    let through = store.checkpoint().backup(dir.path().join("first")).unwrap();
    assert_eq!(through.revision, store.database().revision());
    let value = "v".repeat(64 << 10);
    for i in 0..400 {
        store.database().put(format!("k{i}"), value.clone()).unwrap();
    }
    store.checkpoint().checkpoint().unwrap();
    std::thread::scope(|scope| {
        let copy = scope.spawn(|| store.checkpoint().backup(dir.path().join("second")).unwrap());
        let mut folds = 0;
        while !copy.is_finished() {
            store.database().put("meanwhile", folds.to_string()).unwrap();
            store.checkpoint().checkpoint().unwrap();
            folds += 1;
        }
        assert!(folds > 1, "none went on meanwhile");
        let through = copy.join().unwrap();
        assert!(through.revision <= store.checkpoint().stats().through);
    });
}
