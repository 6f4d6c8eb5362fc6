//! Deleting every key at once: what is in the log and what comes of it in the snapshot.

use kv_core::{Pause, Session};
use kv_persist::repair::repair;
use kv_persist::verify::verify;

use super::*;

fn delete_all(session: &mut Session) {
    loop {
        match session.delete_all(None) {
            Ok(()) => return,
            Err(Pause::Lock(wait)) => wait.block(),
            Err(Pause::Room(room)) => room.block().unwrap(),
            Err(pause) => panic!("{pause:?}"),
        }
    }
}

fn delete_all_of(db: &Database) {
    let mut session = db.session();
    delete_all(&mut session);
    db.settle(session.depends_on()).unwrap();
}

/// Number and revision of each version, newest first, and whether it is a value.
fn history(db: &Database, key: &str) -> Vec<(u64, u64, bool)> {
    let past = db.view(|txn| txn.history(key, None)).unwrap();
    past.iter().map(|past| (past.version.0, past.revision.0, past.value.is_some())).collect()
}

fn faults(options: &StoreOptions) -> Vec<String> {
    verify(options.clone()).unwrap().faults
}

/// Four revisions: two keys, everything deleted, and one key again, in the commit that deletes.
fn fill(db: &Database) {
    db.put("a", "1").unwrap();
    db.put("b", [b'b'; 3000]).unwrap();
    delete_all_of(db);
    db.put("b", "2").unwrap();
    let mut session = db.session();
    session.begin(BeginOptions::default()).unwrap();
    session.put(None, b"c", b"lost", ValueKind::Text, None).unwrap();
    delete_all(&mut session);
    session.put(None, b"a", b"3", ValueKind::Text, None).unwrap();
    while let Err(pause) = session.commit(None) {
        assert!(matches!(pause, Pause::Room(_)), "{pause:?}");
    }
    db.settle(session.depends_on()).unwrap();
}

fn check(db: &Database) {
    assert_eq!(pairs(db), [("a".into(), "3".into())]);
    assert_eq!(history(db, "a"), [(3, 5, true), (2, 3, false), (1, 1, true)]);
    assert_eq!(history(db, "b"), [(4, 5, false), (3, 4, true), (2, 3, false)]);
    assert_eq!(history(db, "c"), []);
    assert_eq!((db.stats().keys, db.revision()), (1, Revision(5)));
    db.check().unwrap();
}

#[test]
fn it_is_replayed_and_folded_wherever_a_start_or_a_fold_falls() {
    each_kind(|options| {
        for folded_after in 0..6 {
            let options =
                StoreOptions { dir: options.dir.join(folded_after.to_string()), ..options.clone() };
            let store = open(&options);
            let db = store.database();
            if folded_after == 0 {
                fill(db);
            } else {
                // A fold after so many commits, and a start that replays the rest.
                let done = db.clone();
                let folded = Revision(folded_after);
                std::thread::scope(|scope| {
                    scope.spawn(|| fill(&done));
                    scope.spawn(|| {
                        db.settle(folded).unwrap();
                        store.checkpoint().checkpoint().unwrap();
                    });
                });
            }
            check(db);
            drop(store);
            assert_eq!(faults(&options), [""; 0]);
            let store = open(&options);
            check(store.database());
            store.checkpoint().checkpoint().unwrap();
            check(store.database());
            drop(store);
            assert_eq!(faults(&options), [""; 0]);
            let store = open(&options);
            assert_eq!(store.recovery().replayed, 0);
            check(store.database());
        }
    });
}

#[test]
fn each_fold_of_one_commit_gives_the_same() {
    each_kind(|mut options| {
        options.piece_bytes_max = 1;
        let store = open(&options);
        fill(store.database());
        store.checkpoint().checkpoint().unwrap();
        drop(store);
        assert_eq!(faults(&options), [""; 0]);
        check(open(&options).database());
    });
}

#[test]
fn many_keys_are_deleted_in_one_fold_and_a_later_one_goes_on_from_there() {
    const KEYS: u64 = 1000;
    each_kind(|mut options| {
        options.keep = Keep::Newest(1);
        let mut builder = Database::builder();
        builder.history(Some(1));
        let open = |builder: &mut Builder| Store::open(options.clone(), builder).unwrap();
        let store = open(&mut builder);
        let db = store.database();
        let key = |n: u64| format!("key {n:03}");
        let put_all = || {
            let mut session = db.session();
            for n in 0..KEYS {
                while session.put(None, key(n).as_bytes(), b"v", ValueKind::Text, None).is_err() {}
            }
            db.settle(session.depends_on()).unwrap();
        };
        put_all();
        store.checkpoint().checkpoint().unwrap();
        delete_all_of(db);
        // Part of the same fold, before and after another one.
        db.put(key(1), "after").unwrap();
        delete_all_of(db);
        db.put(key(2), "after").unwrap();
        store.checkpoint().checkpoint().unwrap();
        drop(store);
        assert_eq!(faults(&options), [""; 0]);
        let store = open(&mut builder);
        let db = store.database();
        assert_eq!(pairs(db), [(key(2), "after".into())]);
        assert_eq!(history(db, &key(0)), [(2, KEYS + 1, false)]);
        assert_eq!(history(db, &key(1)), [(4, KEYS + 3, false)]);
        assert_eq!(history(db, &key(2)), [(3, KEYS + 4, true)]);
        db.put(key(0), "again").unwrap();
        assert_eq!(history(db, &key(0))[0], (3, KEYS + 5, true));
        store.checkpoint().checkpoint().unwrap();
        drop(store);
        assert_eq!(faults(&options), [""; 0]);
    });
}

#[test]
fn what_was_deleted_is_forgotten_in_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { tombstone_retention: Some(Duration::ZERO), ..options(dir.path()) };
    let store = open(&options);
    fill(store.database());
    store.checkpoint().checkpoint().unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while !history(store.database(), "b").is_empty() {
        assert!(std::time::Instant::now() < until, "it is never forgotten");
        store.database().put("another", "1").unwrap();
        store.checkpoint().checkpoint().unwrap();
    }
    assert_eq!(store.database().stats().keys, pairs(store.database()).len());
    store.database().put("b", "anew").unwrap();
    assert_eq!(history(store.database(), "b")[0].0, 1);
    store.database().check().unwrap();
}

#[test]
fn a_backup_and_a_repair_have_it_too() {
    each_kind(|options| {
        let dir = options.dir.parent().unwrap().to_owned();
        let store = open(&options);
        fill(store.database());
        drop(store);
        let into = dir.join("repaired");
        repair(options.clone(), &into).unwrap();
        let repaired = StoreOptions { dir: into, ..options.clone() };
        check(open(&repaired).database());
        let store = open(&options);
        let restored = dir.join("restored");
        std::fs::create_dir(&restored).unwrap();
        store.checkpoint().backup(restored.join("kv.sqlite")).unwrap();
        let restored =
            StoreOptions { dir: restored, snapshot: SnapshotKind::Sqlite, ..options.clone() };
        check(open(&restored).database());
    });
}
