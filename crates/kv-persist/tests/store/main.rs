//! A store in a directory, seen from outside: what is committed is there when it is opened again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod backups;
mod bounded;
mod busy;
mod clock;
mod delete_all;
mod forgetting;

use std::path::Path;
use std::time::Duration;

use kv_core::{BeginOptions, Builder, Database, Isolation, Revision, ScanOptions, ValueKind};
use kv_persist::checkpoint::thread::Schedule;
use kv_persist::compress::Compression;
use kv_persist::crypt::MasterKey;
use kv_persist::directory::SnapshotKind;
use kv_persist::log::Durability;
use kv_persist::stored::Keep;
use kv_persist::{Error, Store, StoreOptions};

const NEVER: Schedule = Schedule { interval: Duration::from_secs(3600), log_bytes: u64::MAX };

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        dir: dir.join("data"),
        snapshot: SnapshotKind::Sqlite,
        durability: Durability::Fsync,
        keep: Keep::Newest(3),
        tombstone_retention: None,
        schedule: NEVER,
        log_bytes_max: 1 << 30,
        piece_bytes_max: u64::MAX,
        key: None,
        compression: Compression::None,
        threads: 2,
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.history(Some(3));
    builder
}

fn open(options: &StoreOptions) -> Store {
    Store::open(options.clone(), &mut builder()).unwrap()
}

fn pairs(db: &Database) -> Vec<(String, String)> {
    let rows = db.view(|txn| txn.scan(&ScanOptions::default())).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    rows.iter().map(|row| (text(row.key()), text(&row.value().unwrap()))).collect()
}

fn each_kind(test: impl Fn(StoreOptions)) {
    let key = MasterKey::from_text(&"4b".repeat(32)).unwrap();
    for snapshot in [SnapshotKind::Sqlite, SnapshotKind::Json] {
        for (key, compression) in
            [(None, Compression::None), (Some(key.clone()), Compression::Zstd)]
        {
            let dir = tempfile::tempdir().unwrap();
            test(StoreOptions { snapshot, key, compression, ..options(dir.path()) });
        }
    }
}

#[test]
fn what_is_committed_is_there_again_however_it_was_left() {
    each_kind(|options| {
        let store = open(&options);
        let db = store.database().clone();
        for i in 0..100 {
            db.put(format!("key {i:02}"), format!("value {i}")).unwrap();
        }
        db.delete("key 07").unwrap();
        db.update(|txn| {
            txn.put_if("json", "{\"a\":1}", ValueKind::Json, kv_core::Condition::Absent)?;
            txn.put([0xff, 0], [0, 1, 2])
        })
        .unwrap();
        let (before, revision) = (pairs(&db), db.revision());
        drop(db);
        // As a kill leaves it: nothing folded.
        drop(store);
        let store = open(&options);
        assert_eq!(store.recovery().replayed, 102);
        assert_eq!(
            (pairs(store.database()), store.database().revision()),
            (before.clone(), revision)
        );
        store.checkpoint().checkpoint().unwrap();
        store.database().put("after", "the checkpoint").unwrap();
        drop(store);
        let store = open(&options);
        assert_eq!(store.recovery().replayed, 1);
        assert_eq!(store.database().get("after").unwrap().as_deref(), Some(&b"the checkpoint"[..]));
        store.close(Duration::from_secs(60)).unwrap();
        drop(store);
        let store = open(&options);
        assert_eq!(store.recovery().replayed, 0);
        let mut expected = before;
        expected.push(("after".into(), "the checkpoint".into()));
        expected.sort();
        assert_eq!(pairs(store.database()), expected);
        let kind = store.database().get("json").unwrap().unwrap().kind();
        assert_eq!(kind, ValueKind::Json);
        store.database().check_idle().unwrap();
    });
}

#[test]
fn versions_go_on_and_older_ones_are_found_again() {
    each_kind(|options| {
        let store = open(&options);
        let mut revisions = vec![Revision(0)];
        for value in 1..=4 {
            revisions.push(store.database().put("k", value.to_string()).unwrap());
        }
        store.checkpoint().checkpoint().unwrap();
        revisions.push(store.database().put("k", "5").unwrap());
        drop(store);
        let store = open(&options);
        let db = store.database();
        let history = |db: &Database| -> Vec<(u64, String)> {
            let past = db.view(|txn| txn.history("k", None)).unwrap();
            let text = |past: &kv_core::Past| {
                past.value
                    .as_ref()
                    .map_or("-".into(), |value| String::from_utf8_lossy(value).into())
            };
            past.iter().map(|past| (past.version.0, text(past))).collect()
        };
        assert_eq!(history(db), [(5, "5".into()), (4, "4".into()), (3, "3".into())]);
        let at = |revision| BeginOptions {
            isolation: Some(Isolation::Readonly),
            at: Some(revision),
            ..BeginOptions::default()
        };
        let mut past = db.begin(at(revisions[3])).unwrap();
        assert_eq!(past.get("k").unwrap().as_deref(), Some(&b"3"[..]));
        drop(past);
        let mut pruned = db.begin(at(revisions[2])).unwrap();
        assert_eq!(pruned.get("k").unwrap_err().code(), "PRUNED");
        drop(pruned);
        assert!(db.delete("k").unwrap());
        store.checkpoint().checkpoint().unwrap();
        store.close(Duration::from_secs(60)).unwrap();
        drop(store);
        let store = open(&options);
        store.database().put("k", "again").unwrap();
        let expected = [(7, "again".into()), (6, "-".into()), (5, "5".into())];
        assert_eq!(history(store.database()), expected);
    });
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = open(&options);
    let second = Store::open(options.clone(), &mut builder()).unwrap_err();
    assert!(matches!(&second, Error::Locked { holder: Some(_), .. }), "{second}");
    drop(store);
    open(&options);
}

#[test]
fn a_start_that_was_cut_short_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    drop(open(&options));
    // As if it had been killed before the snapshot had its name.
    let (named, unfinished) = (options.dir.join("kv.sqlite"), options.dir.join("kv.sqlite.new"));
    std::fs::rename(named, unfinished).unwrap();
    let store = open(&options);
    store.database().put("k", "v").unwrap();
    drop(store);
    assert_eq!(open(&options).recovery().keys, 1);
}

#[test]
fn what_looks_unfinished_of_one_kind_costs_no_log_of_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = options(dir.path());
    let json = StoreOptions { snapshot: SnapshotKind::Json, ..sqlite.clone() };
    let store = open(&json);
    store.database().put("k", "v").unwrap();
    drop(store);
    std::fs::write(sqlite.dir.join("kv.sqlite.new"), "").unwrap();
    let segments = || {
        let names = std::fs::read_dir(sqlite.dir.join("log")).unwrap();
        let mut files: Vec<_> = names
            .map(|name| name.unwrap().path())
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        files.sort();
        files
    };
    let before = segments();
    let refused = Store::open(sqlite.clone(), &mut builder()).unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    assert_eq!(segments(), before);
    assert_eq!(pairs(open(&json).database()), [("k".into(), "v".into())]);
}

#[test]
fn a_name_that_cannot_be_looked_at_is_not_taken_for_one_that_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = open(&options);
    store.database().put("k", "v").unwrap();
    drop(store);
    // A link to itself cannot be opened, by nobody.
    let unfinished = options.dir.join("kv.sqlite.new");
    std::os::unix::fs::symlink("kv.sqlite.new", &unfinished).unwrap();
    let error = Store::open(options.clone(), &mut builder()).unwrap_err();
    assert!(error.to_string().contains("kv.sqlite.new"), "{error}");
    std::fs::remove_file(unfinished).unwrap();
    assert_eq!(open(&options).recovery().keys, 1);
}

#[test]
fn what_sqlite_left_beside_an_earlier_database_is_no_part_of_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = open(&options);
    store.database().put("old", "v").unwrap();
    store.checkpoint().checkpoint().unwrap();
    // As a kill leaves it, except that somebody then removes the database without this.
    let wal = std::fs::read(options.dir.join("kv.sqlite-wal")).unwrap();
    drop(store);
    std::fs::remove_dir_all(&options.dir).unwrap();
    std::fs::create_dir(&options.dir).unwrap();
    std::fs::write(options.dir.join("kv.sqlite-wal"), wal).unwrap();
    let store = open(&options);
    assert_eq!(pairs(store.database()), []);
    store.database().put("new", "v").unwrap();
    drop(store);
    assert_eq!(pairs(open(&options).database()), [("new".into(), "v".into())]);
}

#[test]
fn a_start_that_is_refused_after_a_kill_leaves_what_the_kill_left() {
    const FILES: [&str; 2] = ["kv.sqlite", "kv.sqlite-wal"];
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = open(&options);
    store.database().put("k", "v").unwrap();
    store.checkpoint().checkpoint().unwrap();
    // As they are at this moment, and without their log.
    let killed = StoreOptions { dir: dir.path().join("killed"), ..options.clone() };
    std::fs::create_dir(&killed.dir).unwrap();
    let content = |options: &StoreOptions| FILES.map(|name| std::fs::read(options.dir.join(name)));
    for (name, content) in FILES.iter().zip(content(&options)) {
        std::fs::write(killed.dir.join(name), content.unwrap()).unwrap();
    }
    let before = content(&killed).map(Result::unwrap);
    assert!(!before[1].is_empty());
    let refused = Store::open(killed.clone(), &mut builder()).unwrap_err();
    assert!(refused.to_string().contains("the log that goes on from it is missing"), "{refused}");
    assert!(content(&killed).map(Result::unwrap) == before);
    assert!(!killed.dir.join("kv.sqlite-shm").exists());
}

#[test]
fn clients_that_write_at_once_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&options(dir.path()));
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let db = store.database().clone();
            scope.spawn(move || {
                for i in 0..50 {
                    db.put(format!("{thread}.{i}"), "v").unwrap();
                    db.update(|txn| txn.add("counter", 1)).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!(stats.log.records, 1600);
    assert!(stats.log.syncs < 1600, "{stats:?}");
    assert_eq!(store.database().get("counter").unwrap().as_deref(), Some(&b"800"[..]));
}
