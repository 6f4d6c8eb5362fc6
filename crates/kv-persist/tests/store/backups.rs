//! Backups, and what becomes of one that a store is opened on.

use std::path::Path;

use kv_persist::crypt::MasterKey;
use kv_persist::snapshot::sqlite::SqliteSnapshot;
use kv_persist::stored::DatabaseId;
use kv_persist::{Store, StoreOptions};

use crate::{builder, open, options};

#[test]
fn a_backup_is_a_store_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = open(&options);
    store.database().put("k", "kept").unwrap();
    let restored = dir.path().join("restored");
    std::fs::create_dir(&restored).unwrap();
    let through = store.checkpoint().backup(restored.join("kv.sqlite")).unwrap();
    store.database().put("k", "changed afterwards").unwrap();
    let restored = StoreOptions { dir: restored, ..options.clone() };
    let copy = open(&restored);
    assert_eq!(copy.database().revision(), through.revision);
    assert_eq!(copy.database().get("k").unwrap().as_deref(), Some(&b"kept"[..]));
    copy.database().put("k", "goes on").unwrap();
    drop(copy);
    assert_eq!(open(&restored).database().get("k").unwrap().as_deref(), Some(&b"goes on"[..]));
    // A snapshot without its log is refused unless it is a backup.
    drop(store);
    std::fs::remove_dir_all(options.dir.join("log")).unwrap();
    let refused = Store::open(options, &mut builder()).unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
}

#[test]
fn a_restored_backup_is_none_any_more_once_it_has_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let store = open(&options);
    store.database().put("k", "v").unwrap();
    store.checkpoint().checkpoint().unwrap();
    let backup = dir.path().join("backup");
    store.checkpoint().backup(backup.clone()).unwrap();
    drop(store);
    std::fs::remove_dir_all(&options.dir).unwrap();
    std::fs::create_dir(&options.dir).unwrap();
    std::fs::copy(backup, options.dir.join("kv.sqlite")).unwrap();
    let store = open(&options);
    store.database().put("k", "acknowledged").unwrap();
    drop(store);
    std::fs::remove_dir_all(options.dir.join("log")).unwrap();
    let refused = Store::open(options, &mut builder()).unwrap_err();
    assert!(refused.to_string().contains("the log that goes on from it is missing"), "{refused}");
}

fn identity(options: &StoreOptions) -> DatabaseId {
    SqliteSnapshot::look(&options.dir.join("kv.sqlite")).unwrap().database
}

/// A store with something in it, closed, and the directory of a backup of it.
fn store_and_backup(dir: &Path, key: Option<MasterKey>) -> (StoreOptions, StoreOptions) {
    let options = StoreOptions { key, ..options(dir) };
    let backup = StoreOptions { dir: dir.join("restored"), ..options.clone() };
    std::fs::create_dir(&backup.dir).unwrap();
    let store = open(&options);
    store.database().put("k", "v").unwrap();
    store.checkpoint().backup(backup.dir.join("kv.sqlite")).unwrap();
    drop(store);
    assert_eq!(identity(&backup), identity(&options));
    (options, backup)
}

#[test]
fn a_restored_backup_is_another_database_and_takes_no_log_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (first, restored) = store_and_backup(dir.path(), None);
    let store = open(&restored);
    let id = identity(&restored);
    assert_ne!(id, identity(&first));
    store.database().put("k", "of the restored one").unwrap();
    drop(store);
    assert_eq!(
        open(&restored).database().get("k").unwrap().as_deref(),
        Some(b"of the restored one".as_slice())
    );
    assert_eq!(identity(&restored), id, "it is given once");
    // The log of the one begins where the snapshot of the other ends.
    std::fs::rename(first.dir.join("log"), dir.path().join("aside")).unwrap();
    std::fs::rename(restored.dir.join("log"), first.dir.join("log")).unwrap();
    let refused = Store::open(first, &mut builder()).unwrap_err();
    assert!(refused.is_refusal() && refused.to_string().contains("another database"), "{refused}");
}

#[test]
fn an_encrypted_backup_keeps_the_identity_that_its_keys_come_from() {
    let dir = tempfile::tempdir().unwrap();
    let key = MasterKey::from_text(&"4b".repeat(32)).unwrap();
    let (first, restored) = store_and_backup(dir.path(), Some(key));
    open(&restored).database().put("k", "goes on").unwrap();
    assert_eq!(identity(&restored), identity(&first));
    assert_eq!(open(&restored).database().get("k").unwrap().as_deref(), Some(&b"goes on"[..]));
}

#[test]
fn a_backup_that_is_refused_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (_, restored) = store_and_backup(dir.path(), None);
    let file = restored.dir.join("kv.sqlite");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute("update pair set value = 'w'", []).unwrap();
    drop(connection);
    let before = std::fs::read(&file).unwrap();
    let refused = Store::open(restored, &mut builder()).unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    assert!(std::fs::read(&file).unwrap() == before);
}
