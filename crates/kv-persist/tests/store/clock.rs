//! The clock that expiry goes by does not run backwards over a restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::clock::ManualClock;
use kv_core::{BeginOptions, Database, Isolation, Pause, Session, ValueKind};
use kv_persist::Store;
use kv_persist::checkpoint::thread::Schedule;

use super::{builder, options};

const START_MS: u64 = 1_700_000_000_000;

fn open_at(options: &kv_persist::StoreOptions, wall_ms: u64) -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(wall_ms));
    let mut builder = builder();
    builder.clock(Arc::clone(&clock) as _);
    (Store::open(options.clone(), &mut builder).unwrap(), clock)
}

fn put_for(db: &Database, key: &str, ttl_s: u64) {
    let mut session = db.session();
    let put = session.put_expiring(None, key.as_bytes(), b"v", ValueKind::Text, None, ttl_s);
    put.unwrap();
    db.settle(session.depends_on()).unwrap();
}

fn is_there(db: &Database, key: &str) -> bool {
    is_shown(&mut db.session(), key)
}

fn is_shown(session: &mut Session, key: &str) -> bool {
    loop {
        match session.get(None, key.as_bytes()) {
            Ok(found) => return found.is_some(),
            Err(Pause::Fetch(fetch)) => session.database().fetch(&fetch).unwrap(),
            Err(pause) => panic!("{pause:?}"),
        }
    }
}

#[test]
fn what_has_expired_does_not_come_back_when_the_clock_is_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (store, clock) = open_at(&options, START_MS);
    put_for(store.database(), "short", 5);
    put_for(store.database(), "long", 500);
    store.checkpoint().checkpoint().unwrap();
    clock.advance(Duration::from_secs(10));
    assert!(!is_there(store.database(), "short"));
    store.close(Duration::from_secs(60)).unwrap();
    drop(store);
    // An hour back.
    let (store, clock) = open_at(&options, START_MS - 3_600_000);
    assert!(!is_there(store.database(), "short"));
    assert!(is_there(store.database(), "long"));
    clock.advance(Duration::from_secs(3_600 + 501));
    assert!(!is_there(store.database(), "long"));
}

/// The clock that is kept over a restart is not the time of the last commit.
#[test]
fn the_last_commit_before_a_restart_shows_what_had_not_expired_then() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (store, clock) = open_at(&options, START_MS);
    put_for(store.database(), "short", 5);
    let at = Some(store.database().revision());
    clock.advance(Duration::from_secs(10));
    assert!(!is_there(store.database(), "short"));
    store.close(Duration::from_secs(60)).unwrap();
    drop(store);
    let (store, _) = open_at(&options, START_MS + 20_000);
    assert!(!is_there(store.database(), "short"));
    let mut session = store.database().session();
    let isolation = Some(Isolation::Readonly);
    session.begin(BeginOptions { isolation, at, ..BeginOptions::default() }).unwrap();
    assert!(is_shown(&mut session, "short"));
}

#[test]
fn what_has_expired_does_not_come_back_after_a_crash_either() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    let soon = Duration::from_millis(1);
    options.schedule = Schedule { interval: soon, log_bytes: u64::MAX };
    let (store, clock) = open_at(&options, START_MS);
    put_for(store.database(), "short", 5);
    put_for(store.database(), "long", 500);
    store.checkpoint().checkpoint().unwrap();
    clock.advance(Duration::from_secs(10));
    assert!(!is_there(store.database(), "short"));
    // It is noted within a second or two, though nothing is folded.
    let until = Instant::now() + Duration::from_secs(60);
    let path = options.dir.join("kv.sqlite");
    let noted = || {
        let file = rusqlite::Connection::open(&path).unwrap();
        let time = "SELECT value FROM meta WHERE name = 'time'";
        file.query_row(time, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    while noted() < (START_MS + 10_000).cast_signed() {
        assert!(Instant::now() < until, "the time was never noted");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(store);
    let (store, _clock) = open_at(&options, START_MS - 3_600_000);
    assert!(!is_there(store.database(), "short") && is_there(store.database(), "long"));
}
