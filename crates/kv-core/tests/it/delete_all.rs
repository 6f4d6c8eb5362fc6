//! Deleting every key at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kv_core::clock::ManualClock;
use kv_core::{
    BeginOptions, Database, Error, Holds, Isolation, Mode, Parent, Pause, Revision, ScanOptions,
    Session, Step, ValueKind, Version,
};

use crate::bounded::{Cellar, run};

fn store() -> Database {
    Database::builder().shards(3).open()
}

fn put(session: &mut Session, key: &str, value: &str) {
    run(session, |s| s.put(None, key.as_bytes(), value.as_bytes(), ValueKind::Text, None)).unwrap();
}

fn get(session: &mut Session, key: &str) -> Option<String> {
    let value = run(session, |s| s.get(None, key.as_bytes())).unwrap();
    value.map(|value| String::from_utf8_lossy(value.bytes()).into_owned())
}

fn delete_all(session: &mut Session) {
    run(session, |s| s.delete_all(None)).unwrap();
}

fn begin(session: &mut Session, isolation: Isolation) {
    session.begin(BeginOptions { isolation: Some(isolation), ..BeginOptions::default() }).unwrap();
}

fn begin_child(session: &mut Session) {
    session.begin(BeginOptions { parent: Parent::Current, ..BeginOptions::default() }).unwrap();
}

fn commit(session: &mut Session) {
    run(session, |s| s.commit(None)).unwrap();
}

fn keys(session: &mut Session) -> Vec<String> {
    let mut scan = run(session, |s| s.scan(None, &ScanOptions::default())).unwrap();
    let mut keys = Vec::new();
    while let Some(row) = run(session, |_| scan.next_row()).unwrap() {
        keys.push(String::from_utf8_lossy(row.key()).into_owned());
    }
    keys
}

/// Number, and whether it is a value, of each version, newest first.
fn versions(session: &mut Session, key: &str) -> Vec<(u64, bool)> {
    let history = run(session, |s| s.history(key.as_bytes(), None)).unwrap();
    history.iter().map(|past| (past.version.0, past.value.is_some())).collect()
}

fn waits<T: std::fmt::Debug>(step: Step<T>) -> bool {
    matches!(step, Err(Pause::Lock(_)))
}

#[test]
fn it_is_one_revision_and_versions_go_on() {
    let db = store();
    let mut session = db.session();
    (0..2000).for_each(|n| put(&mut session, &format!("k{n}"), "1"));
    put(&mut session, "k0", "2");
    run(&mut session, |s| s.delete(None, b"k1", None)).unwrap();
    let before = db.revision();
    delete_all(&mut session);
    assert_eq!(db.revision(), Revision(before.0 + 1));
    assert_eq!((session.last_commit(), db.stats().keys), (db.revision(), 0));
    assert_eq!(keys(&mut session), [""; 0]);
    assert_eq!(versions(&mut session, "k0"), [(3, false), (2, true), (1, true)]);
    assert_eq!(versions(&mut session, "k1"), [(2, false), (1, true)], "it was deleted already");
    assert_eq!(run(&mut session, |s| s.get_at(b"k7", before)).unwrap().unwrap().bytes(), b"1");
    delete_all(&mut session);
    assert_eq!(db.revision(), Revision(before.0 + 1), "there was nothing to delete");
    put(&mut session, "k0", "3");
    assert_eq!(versions(&mut session, "k0")[0], (4, true));
    assert_eq!(db.stats().keys, 1);
    drop(session);
    db.check_idle().unwrap();
}

#[test]
fn within_a_transaction_what_is_written_afterwards_stays() {
    let db = store();
    let (mut session, mut other) = (db.session(), db.session());
    for key in ["a", "b", "c"] {
        put(&mut session, key, "old");
    }
    begin(&mut session, Isolation::Serializable);
    put(&mut session, "a", "before");
    put(&mut session, "new", "before");
    delete_all(&mut session);
    assert_eq!((get(&mut session, "a"), get(&mut session, "b")), (None, None));
    assert!(!run(&mut session, |s| s.delete(None, b"b", None)).unwrap(), "it is not there");
    put(&mut session, "b", "after");
    put(&mut session, "d", "after");
    put(&mut session, "e", "after");
    assert!(run(&mut session, |s| s.delete(None, b"e", None)).unwrap());
    assert_eq!(run(&mut session, |s| s.add(None, b"c", 5)).unwrap(), 5);
    assert_eq!(keys(&mut session), ["b", "c", "d"]);
    let shown: Vec<_> = {
        let mut scan = session.show_all();
        std::iter::from_fn(|| scan.next_row().unwrap())
            .map(|row| (row.key().to_vec(), row.value().is_some(), row.txn.is_some()))
            .collect()
    };
    let row = |key: &str, is_there| (key.as_bytes().to_vec(), is_there, true);
    assert_eq!(shown, [row("a", false), row("b", true), row("c", true), row("d", true)]);
    assert_eq!(get(&mut other, "a").as_deref(), Some("old"), "nothing is committed");
    let before = db.revision();
    commit(&mut session);
    assert_eq!(db.revision(), Revision(before.0 + 1));
    assert_eq!(keys(&mut other), ["b", "c", "d"]);
    assert_eq!(versions(&mut other, "a"), [(2, false), (1, true)]);
    assert_eq!(versions(&mut other, "b"), [(2, true), (1, true)]);
    assert_eq!(versions(&mut other, "new"), []);
    assert_eq!((db.stats().keys, versions(&mut other, "e")), (3, vec![]));
    drop((session, other));
    db.check_idle().unwrap();
}

#[test]
fn a_rollback_undoes_it_and_frees_the_keys() {
    let db = store();
    let (mut session, mut other) = (db.session(), db.session());
    put(&mut session, "a", "old");
    put(&mut session, "b", "old");
    begin(&mut session, Isolation::Serializable);
    put(&mut session, "a", "own");
    assert_eq!(get(&mut session, "b").as_deref(), Some("old"));
    begin_child(&mut session);
    put(&mut session, "c", "child");
    delete_all(&mut session);
    put(&mut session, "d", "child");
    begin_child(&mut session);
    assert_eq!(keys(&mut session), ["d"]);
    delete_all(&mut session);
    session.rollback(None).unwrap();
    assert_eq!(keys(&mut session), ["d"]);
    session.rollback(None).unwrap();
    assert_eq!(get(&mut session, "a").as_deref(), Some("own"));
    put(&mut other, "e", "free");
    let written = other.put(None, b"b", b"2", ValueKind::Text, None);
    assert!(waits(written), "what the parent has read stays locked");
    other.give_up();
    // Ended well, it is the parent's.
    begin_child(&mut session);
    delete_all(&mut session);
    commit(&mut session);
    assert_eq!(get(&mut session, "a"), None);
    session.rollback(None).unwrap();
    assert_eq!(keys(&mut other), ["a", "b", "e"]);
    drop((session, other));
    db.check_idle().unwrap();
}

#[test]
fn it_waits_for_all_and_all_who_lock_wait_for_it() {
    let db = store();
    let [mut reader, mut wiper, mut writer, mut late] = [(); 4].map(|()| db.session());
    put(&mut reader, "a", "1");
    begin(&mut reader, Isolation::Serializable);
    assert_eq!(get(&mut reader, "missing"), None);
    assert!(waits(wiper.delete_all(None)));
    let locks: Vec<_> = db.locks().collect();
    assert!(locks.iter().any(|lock| lock.is_waiting && lock.mode == Mode::Exclusive));
    assert!(waits(writer.put(None, b"x", b"1", ValueKind::Text, None)), "nobody overtakes it");
    assert_eq!(get(&mut late, "a").as_deref(), Some("1"), "whoever does not lock does not wait");
    commit(&mut reader);
    // It holds all keys now, and has not gone on.
    begin(&mut reader, Isolation::Serializable);
    assert!(waits(reader.get(None, b"a")));
    let held = db.locks().filter(|lock| !lock.is_waiting).collect::<Vec<_>>();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].target.to_string(), "all keys");
    delete_all(&mut wiper);
    run(&mut writer, |s| s.put(None, b"x", b"1", ValueKind::Text, None)).unwrap();
    assert_eq!(get(&mut reader, "a"), None);
    assert_eq!(keys(&mut late), ["x"]);
    drop((reader, wiper, writer, late));
    db.check_idle().unwrap();
}

#[test]
fn it_gives_up_in_time_and_two_that_have_read_all_do_not_wait_for_each_other() {
    let db = Database::builder().lock_timeout(Some(Duration::ZERO)).open();
    let [mut one, mut other] = [(); 2].map(|()| db.session());
    put(&mut one, "a", "1");
    begin(&mut one, Isolation::Serializable);
    assert_eq!(keys(&mut one), ["a"]);
    let refused = run(&mut other, |s| s.delete_all(None)).unwrap_err();
    assert_eq!(refused.code(), "TIMEOUT");
    let wait = BeginOptions { lock_wait_max: Some(Duration::from_secs(9)), ..Default::default() };
    one.rollback_all();
    for session in [&mut one, &mut other] {
        session.begin(wait).unwrap();
        assert_eq!(keys(session), ["a"]);
    }
    assert!(waits(one.delete_all(None)));
    let lost = run(&mut other, |s| s.delete_all(None)).unwrap_err();
    assert_eq!(lost.code(), "DEADLOCK");
    delete_all(&mut one);
    commit(&mut one);
    assert_eq!(get(&mut one, "a"), None);
    // The same client waits for none of its own.
    put(&mut one, "a", "1");
    begin(&mut one, Isolation::Serializable);
    assert_eq!(keys(&mut one), ["a"]);
    begin(&mut one, Isolation::Serializable);
    let busy = run(&mut one, |s| s.delete_all(None)).unwrap_err();
    assert_eq!(busy.code(), "BUSY");
    drop((one, other));
    db.check_idle().unwrap();
}

#[test]
fn an_operation_that_was_given_up_does_not_keep_its_place() {
    let db = store();
    let [mut one, mut other] = [(); 2].map(|()| db.session());
    put(&mut one, "a", "1");
    begin(&mut one, Isolation::Serializable);
    put(&mut one, "a", "2");
    begin(&mut other, Isolation::Serializable);
    assert!(waits(other.delete_all(None)));
    assert!(waits(other.scan(None, &ScanOptions::default())));
    let waiting: Vec<_> = db.locks().filter(|lock| lock.is_waiting).map(|lock| lock.mode).collect();
    assert_eq!(waiting, [Mode::Shared]);
    assert!(waits(other.delete_all(None)));
    commit(&mut one);
    delete_all(&mut other);
    assert_eq!(keys(&mut other), [""; 0]);
    drop((one, other));
    db.check_idle().unwrap();
}

#[test]
fn views_go_on_and_first_updaters_win() {
    let db = store();
    let [mut view, mut writer, mut wiper] = [(); 3].map(|()| db.session());
    put(&mut wiper, "a", "1");
    begin(&mut view, Isolation::Readonly);
    begin(&mut writer, Isolation::Snapshot);
    let refused = run(&mut writer, |s| s.delete_all(None)).unwrap_err();
    assert_eq!(refused, Error::DeleteAllNeedsSerializable);
    assert_eq!(run(&mut view, |s| s.delete_all(None)).unwrap_err(), Error::ReadOnly);
    delete_all(&mut wiper);
    for session in [&mut view, &mut writer] {
        assert_eq!((keys(session), get(session, "a").as_deref()), (vec!["a".into()], Some("1")));
    }
    let lost = run(&mut writer, |s| s.put(None, b"a", b"2", ValueKind::Text, None)).unwrap_err();
    assert_eq!(lost.code(), "CONFLICT");
    drop((view, writer, wiper));
    db.check_idle().unwrap();
}

#[test]
fn what_has_expired_is_deleted_too() {
    let clock = Arc::new(ManualClock::new(0));
    let db = Database::builder().clock(clock.clone()).open();
    let mut session = db.session();
    let put = |s: &mut Session| s.put_expiring(None, b"k", b"v", ValueKind::Text, None, 1);
    run(&mut session, put).unwrap();
    clock.advance(Duration::from_secs(2));
    delete_all(&mut session);
    assert_eq!(versions(&mut session, "k"), [(2, false), (1, true)]);
    assert_eq!(db.stats().keys, 0);
}

#[test]
fn what_is_not_kept_of_all_keys_is_given_back_in_a_while() {
    let db = Database::builder().shards(2).history(Some(1)).open();
    let mut session = db.session();
    (0..3000).for_each(|n| put(&mut session, &format!("k{n}"), &"v".repeat(1000)));
    delete_all(&mut session);
    (0..5).for_each(|_| db.end_expired());
    assert!(db.stats().bytes < 3000 * 100, "{:?}", db.stats());
    assert_eq!(db.stats().versions, 3000);
}

#[test]
fn what_has_left_memory_is_not_brought_back_for_it() {
    const KEYS: usize = 8000;
    let cellar = Cellar::new(Holds::Keys, 3);
    let mut builder = Database::builder();
    builder.shards(2).memory_max(Some(256 << 10));
    let db = cellar.open(&mut builder);
    let mut session = db.session();
    let name = |n: usize| format!("key{n:04}");
    for n in 0..KEYS {
        put(&mut session, &name(n), "0123456789");
        if n % 20 == 0 {
            cellar.fold(&db);
        }
    }
    cellar.fold(&db);
    let mut view = db.session();
    begin(&mut view, Isolation::Readonly);
    let (fetches, before) = (cellar.fetches(), db.revision());
    delete_all(&mut session);
    let (bytes_max, bytes) = db.memory().unwrap();
    assert!(bytes <= bytes_max, "{bytes} bytes, at most {bytes_max}");
    assert_eq!((cellar.fetches(), db.stats().keys), (fetches, 0));
    put(&mut session, &name(7), "again");
    assert_eq!(versions(&mut session, &name(7)), [(3, true), (2, false), (1, true)]);
    assert_eq!((keys(&mut session), db.stats().keys), (vec![name(7)], 1));
    // Once more, before anything of it is folded.
    delete_all(&mut session);
    assert_eq!(keys(&mut session), [""; 0]);
    for is_folded in [false, true] {
        if is_folded {
            cellar.fold(&db);
            db.sweep();
        }
        assert_eq!(versions(&mut session, &name(8)), [(2, false), (1, true)]);
        assert_eq!(versions(&mut session, &name(7))[0], (4, false));
        assert_eq!(get(&mut view, &name(9)).as_deref(), Some("0123456789"));
        let there = run(&mut session, |s| s.get_version(name(3).as_bytes(), Version(1))).unwrap();
        assert!(there.is_some() && get(&mut session, &name(3)).is_none());
        assert_eq!(
            run(&mut session, |s| s.get_at(b"key0005", before)).unwrap().map(|_| ()),
            Some(())
        );
        assert_eq!((keys(&mut view).len(), keys(&mut session).len()), (KEYS, 0));
        assert_eq!(db.stats().keys, 0);
        db.check().unwrap();
    }
    drop((session, view));
    db.check_idle().unwrap();
}

#[test]
fn a_key_that_is_fetched_while_all_is_deleted_and_folded_is_deleted() {
    let cellar = Cellar::new(Holds::Keys, 3);
    let mut builder = Database::builder();
    builder.shards(1).memory_max(Some(16 << 10));
    let db = cellar.open(&mut builder);
    let mut session = db.session();
    for n in 0..600 {
        put(&mut session, &format!("key{n:03}"), "0123456789");
        cellar.fold(&db);
    }
    let fetch_meanwhile = |act: Box<dyn Fn(&mut Session) + Send>| {
        let (db, cellar) = (db.clone(), Arc::clone(&cellar));
        move || {
            let mut other = db.session();
            act(&mut other);
            cellar.fold(&db);
            // So that the first of them is not remembered any more.
            put(&mut other, "another", "1");
            delete_all(&mut other);
        }
    };
    cellar.after_next_read(fetch_meanwhile(Box::new(delete_all)));
    assert_eq!(get(&mut session, "key000"), None);
    assert_eq!(versions(&mut session, "key000"), [(2, false), (1, true)]);
    let history = run(&mut session, |s| s.history(b"key000", None)).unwrap();
    assert_eq!(history[0].revision, Revision(601), "by the first of the two");
    assert_eq!(db.stats().keys, 0);
    drop(session);
    db.check_idle().unwrap();
}

#[test]
fn pairs_are_there_as_a_whole_or_not_at_all_whatever_is_deleted_meanwhile() {
    const ROUNDS: usize = 300;
    let db = Database::builder().shards(4).open();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers = (0..2).map(|writer| {
            let db = db.clone();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let number = (writer * 31 + round) % 50;
                    let pair = [format!("a{number}"), format!("b{number}")];
                    let put = |txn: &mut kv_core::Transaction| {
                        pair.iter().try_for_each(|key| txn.put(key, round.to_string()))
                    };
                    db.update(put).unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let wiper = scope.spawn(|| {
            let mut session = db.session();
            while !is_over.load(Ordering::Relaxed) {
                block(&mut session, |s| s.delete_all(None));
            }
        });
        let reader = scope.spawn(|| {
            let mut session = db.session();
            while !is_over.load(Ordering::Relaxed) {
                let all = keys(&mut session);
                let (a, b): (Vec<_>, Vec<_>) = all.iter().partition(|key| key.starts_with('a'));
                let numbers = |keys: Vec<&String>| {
                    keys.iter().map(|key| key[1..].to_owned()).collect::<Vec<_>>()
                };
                assert_eq!(numbers(a), numbers(b));
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        wiper.join().unwrap();
        reader.join().unwrap();
    });
    db.check_idle().unwrap();
}

/// Calls an operation until it has a result, and blocks where it has to wait.
fn block(session: &mut Session, operation: impl Fn(&mut Session) -> Step<()>) {
    loop {
        match operation(session) {
            Ok(()) => return,
            Err(Pause::Lock(wait)) => wait.block(),
            Err(Pause::Failed(error)) => panic!("{error}"),
            Err(_) => {}
        }
    }
}
