//! Expiry, by a clock that the test moves: when what expires is there, and for whom.

use std::sync::Arc;
use std::time::Duration;

use kv_core::clock::ManualClock;
use kv_core::limits::EXPIRY_MS_MAX;
use kv_core::{
    BeginOptions, Condition, Database, Error, Interval, Isolation, Pause, Revision, ScanOptions,
    Session, Stamp, Step, TxnId, ValueKind, Version,
};

use crate::driving::run;

const START_MS: u64 = 1_700_000_000_000;

fn store() -> (Arc<ManualClock>, Database) {
    let clock = Arc::new(ManualClock::new(START_MS));
    let database = Database::builder().clock(Arc::clone(&clock) as _).open();
    (clock, database)
}

fn begin(session: &mut Session, isolation: Isolation) -> TxnId {
    let options = BeginOptions { isolation: Some(isolation), ..BeginOptions::default() };
    session.begin(options).expect("nothing is in the way")
}

fn put_for(session: &mut Session, key: &str, ttl_s: u64) {
    session
        .put_expiring(None, key.as_bytes(), b"1", ValueKind::Text, None, ttl_s)
        .expect("nothing is in the way");
}

fn get(session: &mut Session, key: &str) -> Option<Vec<u8>> {
    let value = session.get(None, key.as_bytes()).expect("nothing is in the way");
    value.map(|value| value.to_vec())
}

fn ttl_s(session: &mut Session, key: &str) -> Option<Option<u64>> {
    let meta = session.meta(None, key.as_bytes()).expect("nothing is in the way");
    meta.map(|meta| meta.ttl_s())
}

fn keys(session: &mut Session, options: &ScanOptions) -> Vec<String> {
    let mut scan = session.scan(None, options).expect("nothing is in the way");
    let mut keys = Vec::new();
    while let Some(row) = scan.next_row().expect("all is in memory") {
        keys.push(String::from_utf8(row.key().to_vec()).expect("it is text"));
    }
    keys
}

fn all() -> ScanOptions {
    ScanOptions::default()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn failure<T: std::fmt::Debug>(step: Step<T>) -> Error {
    match step {
        Err(Pause::Failed(error)) => *error,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[test]
fn an_expired_key_is_gone_at_once_and_makes_no_version() {
    let (clock, database) = store();
    let mut session = database.session();
    put_for(&mut session, "k", 10);
    clock.advance(Duration::from_millis(9_999));
    assert_eq!(
        (get(&mut session, "k"), ttl_s(&mut session, "k")),
        (Some(b"1".into()), Some(Some(1)))
    );
    clock.advance(Duration::from_millis(1));
    assert_eq!(get(&mut session, "k"), None);
    assert_eq!(ttl_s(&mut session, "k"), None);
    assert!(!session.exists(None, b"k").unwrap());
    assert!(keys(&mut session, &all()).is_empty());
    assert_eq!(session.scan(None, &all()).unwrap().count_rows(9).unwrap(), 0);
    assert!(session.show_all().next_row().unwrap().is_none());
    assert!(!session.delete(None, b"k", None).unwrap());
    assert!(!session.expire_after(None, b"k", Some(5)).unwrap());
    assert_eq!(database.revision(), Revision(1), "nothing of this was a commit");
    assert_eq!(session.get_version(b"k", Version(1)).unwrap().unwrap().bytes(), b"1");
    assert_eq!(session.history(b"k", None).unwrap().len(), 1);
    let condition = Some(Condition::Version(Version(1)));
    let put = session.put(None, b"k", b"2", ValueKind::Text, condition);
    assert!(matches!(failure(put), Error::Precondition { current: Version(0), .. }));
    session.put(None, b"k", b"2", ValueKind::Text, Some(Condition::Absent)).unwrap();
    let meta = session.meta(None, b"k").unwrap().unwrap();
    assert_eq!((meta.version, meta.ttl_ms), (Version(2), None), "the numbers go on");
    database.check_idle().unwrap();
}

#[test]
fn writes_clear_keep_and_change_a_time_to_live() {
    let (clock, database) = store();
    let mut session = database.session();
    put_for(&mut session, "k", 10);
    clock.advance(seconds(1));
    assert_eq!(session.add(None, b"k", 4).unwrap(), 5);
    assert_eq!(ttl_s(&mut session, "k"), Some(Some(9)), "an addition keeps it");
    assert!(session.expire_after(None, b"k", Some(100)).unwrap());
    assert_eq!(
        (get(&mut session, "k"), ttl_s(&mut session, "k")),
        (Some(b"5".into()), Some(Some(100)))
    );
    assert!(session.expire_after(None, b"k", None).unwrap());
    assert_eq!(ttl_s(&mut session, "k"), Some(None));
    put_for(&mut session, "k", 10);
    session.put(None, b"k", b"6", ValueKind::Text, None).unwrap();
    assert_eq!(ttl_s(&mut session, "k"), Some(None), "a plain PUT clears it");
    clock.advance(seconds(1000));
    assert_eq!(get(&mut session, "k"), Some(b"6".into()));
    assert_eq!(session.meta(None, b"k").unwrap().unwrap().version, Version(6));
}

#[test]
fn a_time_to_live_is_within_what_the_clock_holds() {
    let (_clock, database) = store();
    let mut session = database.session();
    let seconds_max = (EXPIRY_MS_MAX - START_MS) / 1000;
    for wrong in [0, seconds_max + 1, u64::MAX] {
        let put = session.put_expiring(None, b"k", b"1", ValueKind::Text, None, wrong);
        let error = failure(put);
        assert_eq!(error, Error::Lifetime { seconds: wrong, seconds_max });
        assert_eq!(error.code(), "ARGUMENT");
    }
    put_for(&mut session, "k", seconds_max);
    assert!(session.expire_after(None, b"k", Some(seconds_max)).unwrap());
    assert!(get(&mut session, "k").is_some());
}

#[test]
fn the_reads_of_a_serializable_transaction_repeat() {
    let (clock, database) = store();
    let (mut session, mut other) = (database.session(), database.session());
    for key in ["a", "b", "c", "d"] {
        put_for(&mut session, key, 10);
    }
    begin(&mut session, Isolation::Serializable);
    assert!(get(&mut session, "b").is_some());
    clock.advance(seconds(10));
    assert_eq!(get(&mut other, "b"), None);
    assert!(get(&mut session, "b").is_some(), "it was locked while it was there");
    assert_eq!(ttl_s(&mut session, "b"), Some(Some(10)));
    assert_eq!(get(&mut session, "a"), None, "it was locked later");
    assert_eq!(keys(&mut session, &all()), ["b"]);
    let first = ScanOptions { limit: Some(1), ..ScanOptions::of(Interval::all()) };
    assert_eq!(keys(&mut session, &first), ["b"]);
    assert_eq!(session.add(None, b"b", 1).unwrap(), 2);
    assert!(get(&mut session, "b").is_some());
    session.commit(None).unwrap();
    assert_eq!(get(&mut session, "b"), None, "the sum has kept its time, which is over");
    assert_eq!(session.get_version(b"b", Version(2)).unwrap().unwrap().bytes(), b"2");
}

#[test]
fn a_range_is_judged_when_it_is_locked() {
    let (clock, database) = store();
    let mut session = database.session();
    for (key, ttl) in [("a", 10), ("b", 20), ("c", 30)] {
        put_for(&mut session, key, ttl);
    }
    begin(&mut session, Isolation::Serializable);
    let up_to_b = ScanOptions::of(Interval::range(b"a", b"b"));
    assert_eq!(keys(&mut session, &up_to_b), ["a"]);
    clock.advance(seconds(20));
    assert_eq!(keys(&mut session, &all()), ["a", "c"]);
    clock.advance(seconds(10));
    assert_eq!(keys(&mut session, &all()), ["a", "c"]);
    assert!(get(&mut session, "c").is_some());
    let second = ScanOptions { limit: Some(2), ..ScanOptions::of(Interval::all()) };
    assert_eq!(keys(&mut session, &second), ["a", "c"]);
    session.rollback(None).unwrap();
    assert!(keys(&mut session, &all()).is_empty());
}

#[test]
fn a_limited_scan_locks_past_what_has_expired() {
    let (clock, database) = store();
    let (mut session, mut other) = (database.session(), database.session());
    put_for(&mut session, "a", 10);
    session.put(None, b"b", b"1", ValueKind::Text, None).unwrap();
    clock.advance(seconds(10));
    begin(&mut session, Isolation::Serializable);
    let first = ScanOptions { limit: Some(1), ..ScanOptions::of(Interval::all()) };
    assert_eq!(keys(&mut session, &first), ["b"]);
    for key in [b"a", b"b"] {
        let write = other.put(None, key, b"2", ValueKind::Text, None);
        assert!(matches!(write, Err(Pause::Lock(_))), "{key:?} is locked");
        other.expire();
        assert!(matches!(
            failure(other.put(None, key, b"2", ValueKind::Text, None)),
            Error::LockTimeout { .. }
        ));
    }
}

#[test]
fn a_view_judges_at_its_own_time() {
    let (clock, database) = store();
    let mut session = database.session();
    put_for(&mut session, "k", 10);
    put_for(&mut session, "n", 10);
    for isolation in [Isolation::Snapshot, Isolation::Readonly] {
        begin(&mut session, isolation);
    }
    clock.advance(seconds(10));
    assert_eq!(session.get(None, b"k").unwrap().unwrap().bytes(), b"1");
    assert_eq!(keys(&mut session, &all()), ["k", "n"]);
    assert_eq!(ttl_s(&mut session, "k"), Some(Some(10)));
    session.rollback(None).unwrap();
    assert!(session.delete(None, b"n", None).unwrap(), "the SNAPSHOT transaction still sees it");
    assert_eq!(keys(&mut session, &all()), ["k"]);
    session.commit(None).unwrap();
    assert_eq!(session.history(b"n", None).unwrap().len(), 2, "its delete is a version");
    begin(&mut session, Isolation::Snapshot);
    assert!(keys(&mut session, &all()).is_empty());
}

#[test]
fn the_past_is_judged_at_the_time_of_its_commit() {
    let (clock, database) = store();
    let mut session = database.session();
    put_for(&mut session, "k", 10);
    clock.advance(seconds(9));
    session.put(None, b"other", b"1", ValueKind::Text, None).unwrap();
    clock.advance(seconds(1));
    session.put(None, b"other", b"2", ValueKind::Text, None).unwrap();
    for (revision, is_there) in [(1, true), (2, true), (3, false)] {
        let at = Revision(revision);
        assert_eq!(session.get_at(b"k", at).unwrap().is_some(), is_there, "{revision}");
        let isolation = Some(Isolation::Readonly);
        let options = BeginOptions { isolation, at: Some(at), ..BeginOptions::default() };
        session.begin(options).unwrap();
        assert_eq!(get(&mut session, "k").is_some(), is_there, "{revision}");
        assert_eq!(keys(&mut session, &all()).contains(&"k".into()), is_there, "{revision}");
        session.rollback(None).unwrap();
    }
}

#[test]
fn a_time_to_live_is_rolled_back_with_its_transaction() {
    let (clock, database) = store();
    let mut session = database.session();
    session.put(None, b"k", b"1", ValueKind::Text, None).unwrap();
    begin(&mut session, Isolation::Serializable);
    assert!(session.expire_after(None, b"k", Some(10)).unwrap());
    let nested = BeginOptions { parent: kv_core::Parent::Current, ..BeginOptions::default() };
    session.begin(nested).unwrap();
    assert!(session.expire_after(None, b"k", Some(20)).unwrap());
    assert_eq!(ttl_s(&mut session, "k"), Some(Some(20)));
    session.rollback(None).unwrap();
    assert_eq!(ttl_s(&mut session, "k"), Some(Some(10)));
    clock.advance(seconds(60));
    assert_eq!(
        (get(&mut session, "k"), ttl_s(&mut session, "k")),
        (Some(b"1".into()), Some(Some(0)))
    );
    session.rollback(None).unwrap();
    assert_eq!(ttl_s(&mut session, "k"), Some(None));
    assert_eq!(session.history(b"k", None).unwrap().len(), 1);
}

#[test]
fn what_is_created_over_an_expired_key_and_deleted_makes_no_version() {
    let (clock, database) = store();
    let mut session = database.session();
    put_for(&mut session, "k", 10);
    clock.advance(seconds(10));
    begin(&mut session, Isolation::Serializable);
    session.put(None, b"k", b"2", ValueKind::Text, None).unwrap();
    assert!(session.delete(None, b"k", None).unwrap());
    session.commit(None).unwrap();
    assert_eq!((database.revision(), session.history(b"k", None).unwrap().len()), (Revision(1), 1));
    put_for(&mut session, "k", 10);
    begin(&mut session, Isolation::Serializable);
    assert!(session.delete(None, b"k", None).unwrap());
    clock.advance(seconds(10));
    session.commit(None).unwrap();
    assert_eq!(session.history(b"k", None).unwrap().len(), 3, "it was there when it was deleted");
}

#[test]
fn the_clock_does_not_run_backwards_when_a_store_is_opened_again() {
    let (_clock, database) = store();
    let mut session = database.session();
    put_for(&mut session, "k", 10);
    let past = session.history(b"k", None).unwrap();
    let late = ManualClock::new(START_MS - 1_000_000);
    let loader = Database::builder().clock(Arc::new(late)).loader();
    let last = Stamp { revision: Revision(2), time_ms: START_MS + 10_000 };
    let datum =
        kv_core::Datum { bytes: b"1", kind: ValueKind::Text, expires_ms: Some(START_MS + 10_000) };
    let stamp = Stamp { revision: past[0].revision, time_ms: past[0].updated_ms };
    loader.load(b"k", Version(1), stamp, Some(datum)).unwrap();
    let again = loader.open(last, None);
    assert_eq!(get(&mut again.session(), "k"), None);
    assert!(again.session().get_at(b"k", Revision(1)).unwrap().is_some(), "it was there then");
}

/// The values take so much that it is seen when they are given back.
fn bytes(db: &Database) -> usize {
    db.shards().iter().map(|shard| shard.bytes).sum()
}

#[test]
fn what_has_expired_gives_its_memory_back_and_keeps_its_counter() {
    let (clock, db) = store();
    let mut session = db.session();
    let value = [b'v'; 10_000];
    for (key, ttl_s) in [("a", 5), ("b", 50)] {
        let key = key.as_bytes();
        session.put(None, key, &value, ValueKind::Text, None).unwrap();
        session.put_expiring(None, key, &value, ValueKind::Text, None, ttl_s).unwrap();
    }
    let mut view = db.session();
    begin(&mut view, Isolation::Snapshot);
    clock.advance(seconds(10));
    db.end_expired();
    assert!(bytes(&db) > 40_000, "a view reads it still");
    assert_eq!(get(&mut view, "a").as_deref(), Some(&value[..]));
    view.rollback(None).unwrap();
    db.end_expired();
    assert!((20_000..21_000).contains(&bytes(&db)), "{} bytes", bytes(&db));
    assert_eq!(get(&mut session, "a"), None);
    let pruned = run(&mut session, |session| session.get_version(b"a", Version(2)));
    assert_eq!(pruned.unwrap_err(), Error::Pruned((*b"a").into()));
    assert_eq!(session.history(b"a", None).unwrap(), []);
    assert_eq!(run(&mut session, |session| session.add(None, b"a", 7)).unwrap(), 7);
    assert_eq!(session.meta(None, b"a").unwrap().map(|meta| meta.version), Some(Version(3)));
    assert!(run(&mut session, |session| session.delete(None, b"a", None)).unwrap());
    drop((session, view));
    db.check_idle().unwrap();
}

#[test]
fn what_was_deleted_or_expired_long_ago_is_as_if_it_had_never_been() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let mut builder = Database::builder();
    let db = builder.clock(Arc::clone(&clock) as _).tombstone_retention(seconds(60)).open();
    let mut session = db.session();
    put_for(&mut session, "expired", 5);
    put_for(&mut session, "later", 100);
    db.put("deleted", "1").unwrap();
    assert!(db.delete("deleted").unwrap());
    let deleted = db.revision();
    db.put("there", "1").unwrap();
    clock.advance(seconds(61));
    db.end_expired();
    assert_eq!(session.history(b"deleted", None).unwrap(), []);
    assert_eq!(session.history(b"expired", None).unwrap().len(), 1, "it was there for 5 s");
    let at = BeginOptions {
        isolation: Some(Isolation::Readonly),
        at: Some(Revision(deleted.0 - 1)),
        ..BeginOptions::default()
    };
    let error = session.begin(at).unwrap_err();
    assert_eq!(error, Error::PrunedRevision { asked: Revision(deleted.0 - 1), oldest: deleted });
    let at = session.get_at(b"deleted", Revision(deleted.0 - 1));
    assert_eq!(failure(at), Error::Pruned((*b"deleted").into()));
    clock.advance(seconds(5));
    db.end_expired();
    assert_eq!(session.history(b"expired", None).unwrap(), []);
    assert_eq!(db.stats().keys, 2);
    for key in ["deleted", "expired"] {
        db.put(key, "again").unwrap();
        let meta = session.meta(None, key.as_bytes()).unwrap();
        assert_eq!(meta.map(|meta| meta.version), Some(Version(1)), "{key}");
    }
    drop(session);
    db.check_idle().unwrap();
}
