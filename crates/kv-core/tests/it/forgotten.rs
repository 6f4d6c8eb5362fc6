//! Keys that are forgotten while somebody is about to read or write them.

use std::sync::Arc;
use std::time::Duration;

use kv_core::clock::ManualClock;
use kv_core::{
    BeginOptions, Database, Error, Holds, Isolation, Pause, Revision, ScanOptions, Session,
    ValueKind, Version,
};

use crate::bounded::Cellar;
use crate::driving::run;

const START_MS: u64 = 1_700_000_000_000;

fn put(session: &mut Session, value: &[u8]) {
    run(session, |session| session.put(None, b"k", value, ValueKind::Text, None)).unwrap();
}

fn get(session: &mut Session) -> Option<Vec<u8>> {
    run(session, |session| session.get(None, b"k")).unwrap().map(|value| value.to_vec())
}

/// A store whose key "k" has expired, and has left memory; and the revision that made it.
fn expired() -> (Arc<Cellar>, Database, Session, Revision) {
    let (cellar, clock) = (Cellar::new(Holds::Keys, 3), Arc::new(ManualClock::new(START_MS)));
    let mut builder = Database::builder();
    builder.shards(1).clock(Arc::clone(&clock) as _).memory_max(Some(1_000_000));
    let db = cellar.open(&mut builder);
    let mut session = db.session();
    session.put_expiring(None, b"k", &[b'v'; 200], ValueKind::Text, None, 1).unwrap();
    let revision = session.last_commit();
    cellar.fold(&db);
    db.set_memory_max(1);
    while db.shards()[0].resident_keys > 0 {
        db.sweep();
    }
    db.set_memory_max(1_000_000);
    clock.advance(Duration::from_secs(5));
    (cellar, db, session, revision)
}

#[test]
fn a_key_that_is_written_anew_before_the_store_is_told_stays() {
    let (cellar, db, mut session, revision) = expired();
    cellar.forget(b"k");
    put(&mut session, b"new");
    db.forget(b"k", Version(1), revision, false);
    assert_eq!(get(&mut session).as_deref(), Some(&b"new"[..]));
    put(&mut session, b"newer");
    let meta = run(&mut session, |session| session.meta(None, b"k")).unwrap();
    assert_eq!(meta.map(|meta| meta.version), Some(Version(2)));
    cellar.fold(&db);
    assert_eq!(db.stats().keys, 1);
    drop(session);
    db.check_idle().unwrap();
}

#[test]
fn what_was_read_before_it_was_forgotten_is_not_taken_into_memory_after() {
    let (cellar, db, mut session, revision) = expired();
    let Err(Pause::Fetch(fetch)) = session.get(None, b"k") else { panic!("it has left") };
    let (forgetting, told) = (Arc::clone(&cellar), db.clone());
    cellar.after_next_read(move || {
        forgetting.forget(b"k");
        told.forget(b"k", Version(1), revision, false);
    });
    db.fetch(&fetch).unwrap();
    db.check().unwrap();
    assert_eq!((get(&mut session), db.stats().keys), (None, 0));
    put(&mut session, b"new");
    assert_eq!(db.stats().keys, 1);
    assert!(run(&mut session, |session| session.delete(None, b"k", None)).unwrap());
    assert_eq!(db.stats().keys, 0);
    db.check().unwrap();
}

#[test]
fn the_past_of_a_key_that_was_forgotten_is_pruned() {
    let (cellar, db, mut session, revision) = expired();
    cellar.forget(b"k");
    db.forget(b"k", Version(1), revision, false);
    db.put("other", "1").unwrap();
    let before = Revision(revision.0 - 1);
    let at = run(&mut session, |session| session.get_at(b"k", before)).unwrap_err();
    assert_eq!(at, Error::Pruned((*b"k").into()));
}

#[test]
fn a_view_before_a_key_that_expires_is_shown_nothing() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = Database::builder().clock(Arc::clone(&clock) as _).open();
    let (mut writer, mut reader) = (db.session(), db.session());
    db.put("other", "1").unwrap();
    let isolation = Some(Isolation::Readonly);
    reader.begin(BeginOptions { isolation, ..BeginOptions::default() }).unwrap();
    put(&mut writer, &[b'a'; 200]);
    writer.put_expiring(None, b"k", &[b'b'; 200], ValueKind::Text, None, 1).unwrap();
    clock.advance(Duration::from_secs(5));
    db.end_expired();
    assert_eq!(get(&mut reader), None);
    let mut scan = reader.scan(None, &ScanOptions::default()).unwrap();
    let mut keys = Vec::new();
    while let Some(row) = run(&mut writer, |_| scan.next_row()).unwrap() {
        keys.push(row.key().to_vec());
    }
    assert_eq!(keys, [b"other"]);
}

#[test]
fn an_operation_that_is_given_up_leaves_no_lock() {
    let (_cellar, db, mut session, _) = expired();
    let expire = session.expire_after(None, b"k", Some(5));
    assert!(matches!(expire.unwrap_err(), Pause::Fetch(_)));
    session.give_up();
    db.check_idle().unwrap();
}
