//! Versions, history, views of the past, and values that are elsewhere.

use std::sync::Arc;
use std::time::Duration;

use kv_core::clock::ManualClock;
use kv_core::{
    BeginOptions, Database, Error, Fetched, Fetcher, Isolation, Older, Parent, Pause, Place,
    Revision, ScanOptions, Session, Step, ValueKind, Version,
};

fn put(db: &Database, key: &[u8], value: &str) -> Revision {
    db.put(key, value.as_bytes()).unwrap()
}

fn text(step: Step<Option<kv_core::Value>>) -> Option<String> {
    step.unwrap().map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn error(pause: Pause) -> Error {
    match pause {
        Pause::Failed(error) => *error,
        other => panic!("expected a failure, got {other:?}"),
    }
}

fn readonly_at(db: &Database, at: Option<Revision>) -> Session {
    let mut session = db.session();
    let isolation = Some(Isolation::Readonly);
    session.begin(BeginOptions { isolation, at, ..BeginOptions::default() }).unwrap();
    session
}

#[test]
fn versions_count_on_over_deletes() {
    let db = Database::builder().open();
    put(&db, b"k", "a");
    assert!(db.delete(b"k").unwrap());
    assert!(!db.delete(b"k").unwrap(), "deleting nothing makes no version");
    put(&db, b"k", "b");
    let mut session = db.session();
    let history = session.history(b"k", None).unwrap();
    let shown: Vec<_> = history
        .iter()
        .map(|past| (past.version.0, past.revision.0, past.value.as_ref().map(|v| v.to_vec())))
        .collect();
    assert_eq!(shown, [(3, 3, Some(b"b".to_vec())), (2, 2, None), (1, 1, Some(b"a".to_vec()))]);
    assert_eq!(text(session.get_version(b"k", Version(1))).as_deref(), Some("a"));
    assert_eq!(text(session.get_version(b"k", Version(2))), None);
    assert_eq!(text(session.get_version(b"k", Version(4))), None);
    assert_eq!(session.history(b"k", Some(1)).unwrap().len(), 1);
}

#[test]
fn created_and_deleted_in_one_transaction_makes_no_version() {
    let db = Database::builder().open();
    let before = db.revision();
    db.update(|txn| {
        txn.put(b"k", b"1")?;
        txn.delete(b"k")
    })
    .unwrap();
    assert_eq!(db.revision(), before);
    db.update(|txn| {
        txn.put(b"k", b"1")?;
        txn.delete(b"k")?;
        txn.put(b"other", b"1")
    })
    .unwrap();
    assert!(db.session().history(b"k", None).unwrap().is_empty());
    assert_eq!(db.revision(), Revision(before.0 + 1));
}

#[test]
fn history_is_bounded_and_what_is_gone_says_so() {
    let db = Database::builder().history(Some(3)).open();
    (1..=10).for_each(|n| _ = put(&db, b"k", &n.to_string()));
    // The next write trims what was not visible yet when it was superseded.
    put(&db, b"k", "11");
    let mut session = db.session();
    let versions: Vec<u64> =
        session.history(b"k", None).unwrap().iter().map(|past| past.version.0).collect();
    assert_eq!(versions, [11, 10, 9]);
    let gone = error(session.get_version(b"k", Version(2)).unwrap_err());
    assert_eq!(gone, Error::Pruned((*b"k").into()));
    assert_eq!(error(session.get_at(b"k", Revision(2)).unwrap_err()).code(), "PRUNED");
    assert_eq!(text(session.get_at(b"k", Revision(10))).as_deref(), Some("10"));
    assert_eq!(text(session.get_at(b"k", Revision(0)).or_else(|_| Ok(None))), None);
    let future = error(session.get_at(b"k", Revision(99)).unwrap_err());
    assert_eq!(future.code(), "ARGUMENT");
    assert_eq!(db.stats().versions, 3);
}

#[test]
fn an_open_view_keeps_what_it_needs_and_nothing_between() {
    let db = Database::builder().history(Some(1)).open();
    put(&db, b"k", "old");
    let mut early = readonly_at(&db, None);
    (0..100).for_each(|n| _ = put(&db, b"k", &n.to_string()));
    let mut late = readonly_at(&db, None);
    (100..200).for_each(|n| _ = put(&db, b"k", &n.to_string()));
    assert_eq!(text(early.get(None, b"k")).as_deref(), Some("old"));
    assert_eq!(text(late.get(None, b"k")).as_deref(), Some("99"));
    assert!(db.stats().versions <= 4, "{} versions for two views", db.stats().versions);
    // A view of the past between them finds its version gone, and is not given another.
    let mut between = readonly_at(&db, Some(Revision(50)));
    assert_eq!(error(between.get(None, b"k").unwrap_err()).code(), "PRUNED");
    let mut scan = between.scan(None, &ScanOptions::default()).unwrap();
    assert_eq!(error(scan.next_row().unwrap_err()).code(), "PRUNED");
    drop((early, late, between, scan));
    (0..3).for_each(|n| _ = put(&db, b"k", &n.to_string()));
    assert_eq!(db.stats().versions, 1);
    db.check_idle().unwrap();
}

#[test]
fn a_view_that_is_too_old_is_aborted() {
    let clock = Arc::new(ManualClock::new(0));
    let db = Database::builder().clock(clock.clone()).view_age_max(Duration::from_secs(60)).open();
    let mut session = readonly_at(&db, None);
    clock.advance(Duration::from_secs(60));
    assert_eq!(text(session.get(None, b"k")), None);
    clock.advance(Duration::from_secs(1));
    assert_eq!(error(session.get(None, b"k").unwrap_err()).code(), "ABORTED");
    assert_eq!(error(session.commit(None).unwrap_err()).code(), "ABORTED");
    assert_eq!(db.stats().views_open, 0, "its versions are free at once");
    session.rollback(None).unwrap();
    db.check_idle().unwrap();
}

#[test]
fn a_session_reads_its_own_commits() {
    let db = Database::builder().open();
    let mut session = db.session();
    for n in 0..100 {
        let value = n.to_string();
        session.put(None, b"k", value.as_bytes(), ValueKind::Text, None).unwrap();
        assert_eq!(text(session.get(None, b"k")), Some(value));
        assert_eq!(session.depends_on(), session.last_commit());
    }
}

#[test]
fn nested_transactions_share_their_roots_view() {
    let db = Database::builder().open();
    put(&db, b"k", "1");
    let mut session = db.session();
    let isolation = Some(Isolation::Snapshot);
    session.begin(BeginOptions { isolation, ..BeginOptions::default() }).unwrap();
    put(&db, b"k", "2");
    session.begin(BeginOptions { parent: Parent::Current, ..BeginOptions::default() }).unwrap();
    assert_eq!(text(session.get(None, b"k")).as_deref(), Some("1"));
}

/// Fetches from a value that it keeps, and counts.
#[derive(Debug)]
struct Shelf(std::sync::atomic::AtomicU32);

impl Fetcher for Shelf {
    fn value(&self, key: &[u8], _version: Version, place: Place) -> Result<Vec<u8>, Error> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(place, PLACE);
        match key {
            b"lost" => Err(Error::Internal("the shelf is empty".into())),
            key => Ok([b"value of ".as_slice(), key].concat()),
        }
    }

    fn older(&self, _key: &[u8], older: Older) -> Result<Vec<Fetched>, Error> {
        panic!("all versions are in memory, yet {older:?} was asked for")
    }
}

const PLACE: Place = Place { area: 7, offset: 8, value_bytes: 12 };

#[test]
fn a_value_that_is_elsewhere_is_asked_for_and_the_operation_repeated() {
    let shelf = Arc::new(Shelf(0.into()));
    let db = Database::builder().fetcher(shelf.clone()).open();
    for key in [&b"one"[..], b"two"] {
        db.put(key, [b"value of ".as_slice(), key].concat()).unwrap();
        db.evict(key, Version(1), PLACE);
    }
    let mut session = db.session();
    assert!(matches!(session.get(None, b"one").unwrap_err(), Pause::Fetch(_)));
    assert!(session.exists(None, b"one").unwrap(), "needs no value");
    assert_eq!(session.meta(None, b"one").unwrap().unwrap().value_bytes, 12);
    assert_eq!(db.get(b"one").unwrap().as_deref(), Some(&b"value of one"[..]));
    let rows = db.view(|txn| txn.scan(&ScanOptions::default())).unwrap();
    let values: Vec<_> = rows.iter().map(|row| row.value().unwrap().to_vec()).collect();
    assert_eq!(values, [b"value of one", b"value of two"]);
    assert_eq!(shelf.0.load(std::sync::atomic::Ordering::Relaxed), 2, "each was fetched once");
    // A write that needs the old value pauses before it has changed anything.
    db.evict(b"one", Version(1), PLACE);
    let not_a_number = db.update(|txn| txn.add(b"one", 1)).unwrap_err();
    assert_eq!(not_a_number.code(), "TYPE");
    db.check_idle().unwrap();
}

#[test]
fn a_value_that_cannot_be_fetched_fails_its_reader_only() {
    let db = Database::builder().fetcher(Arc::new(Shelf(0.into()))).open();
    db.put(b"lost", b"x").unwrap();
    db.put(b"here", b"y").unwrap();
    db.evict(b"lost", Version(1), PLACE);
    assert_eq!(db.get(b"lost").unwrap_err().code(), "INTERNAL");
    assert!(db.get(b"here").unwrap().is_some());
    db.put(b"lost", b"new").unwrap();
    assert_eq!(db.get(b"lost").unwrap().as_deref(), Some(&b"new"[..]));
}
