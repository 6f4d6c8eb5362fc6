//! Encryption, compression and the change of keys.

use std::sync::Arc;

use super::*;
use crate::crypt::{Cipher, MasterKey};

fn cipher(digit: &str) -> Option<Arc<Cipher>> {
    let master = MasterKey::from_text(&digit.repeat(64)).expect("a key");
    Some(Arc::new(Cipher::new(&master, DATABASE)))
}

/// Folds some secrets in: short, long, deleted, with a long key, with several versions.
fn secrets(snapshot: &mut SqliteSnapshot) -> BTreeMap<Vec<u8>, Vec<StoredBuf>> {
    let secret = |bytes: usize| -> Vec<u8> {
        b"SECRET-VALUE ".iter().copied().cycle().take(bytes).collect()
    };
    let long_key = b"SECRET-KEY ".repeat(100);
    let mut model = BTreeMap::<Vec<u8>, Vec<StoredBuf>>::new();
    let mut revision = 0;
    let keys: [&[u8]; 4] = [b"SECRET-KEY", b"SECRET-KEY \xff", &long_key, b"SECRET-KEY 4"];
    for (number, bytes) in [(1, Some(20)), (2, Some(1000)), (3, Some(70_000)), (4, None)] {
        for (index, key) in keys.iter().enumerate().take(if number == 4 { 2 } else { 4 }) {
            revision += 1;
            let value = bytes.map(|bytes| secret(bytes + index));
            let version = version(key, number, revision, value.as_deref());
            fold(snapshot, std::slice::from_ref(&version)).expect("a fold");
            model.entry(key.to_vec()).or_default().insert(0, version);
        }
    }
    model
}

fn check(snapshot: &SqliteSnapshot, model: &BTreeMap<Vec<u8>, Vec<StoredBuf>>) {
    let loaded = load(snapshot, 2).expect("a load");
    assert_eq!(loaded.len(), model.len());
    let history = snapshot.history().expect("it has history");
    for (key, versions) in model {
        assert_eq!(loaded[key], versions[0]);
        assert_eq!(history.newest(key).expect("a row").as_ref(), Some(&versions[0]));
        assert_eq!(older(snapshot, key, ALL).expect("history"), *versions);
    }
    let verified = snapshot.verify().expect("a verification");
    assert_eq!(verified.faults, Vec::<String>::new());
    assert_eq!(verified.versions, model.values().map(|of_key| of_key.len() as u64).sum::<u64>());
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn nothing_secret_is_in_an_encrypted_file() {
    for compression in Compression::ALL {
        let mut place = Place::new(Keep::All);
        place.options.cipher = cipher("a");
        place.options.compression = compression;
        let mut snapshot = place.create();
        let model = secrets(&mut snapshot);
        check(&snapshot, &model);
        snapshot.tidy().unwrap();
        let wal = std::fs::read(super::super::open::beside(&place.path(), "-wal")).unwrap();
        let to = place.dir.path().join("copy");
        snapshot.backup(&to).unwrap();
        drop(snapshot);
        for bytes in [place.bytes(), wal, std::fs::read(to).unwrap()] {
            assert!(!contains(&bytes, b"SECRET") && !contains(&bytes, b"VALUE"));
        }
        check(&place.open().unwrap(), &model);
        let views: i64 = place
            .outside()
            .query_row("select count(*) from sqlite_schema where type = 'view'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(views, 0);
    }
}

#[test]
fn a_wrong_or_missing_key_is_refused_untouched() {
    for created_with in [None, cipher("a")] {
        let mut place = Place::new(Keep::All);
        place.options.cipher = created_with.clone();
        secrets(&mut place.create());
        let before = place.bytes();
        let wrong = match created_with {
            None => [cipher("a"), cipher("b")],
            Some(_) => [None, cipher("b")],
        };
        for wrong in wrong {
            place.options.cipher = wrong;
            for refused in [place.open(), SqliteSnapshot::open_to_read(place.options.clone())] {
                assert!(matches!(refused, Err(Error::Key { .. })), "{refused:?}");
            }
            assert_eq!(place.bytes(), before);
            assert_eq!(place.names(), ["kv.sqlite"]);
        }
    }
}

#[test]
fn sealed_rows_open_only_as_what_they_are() {
    let mut place = Place::new(Keep::All);
    place.options.cipher = cipher("a");
    let mut snapshot = place.create();
    let versions = [version(b"a", 1, 1, Some(b"of a")), version(b"b", 1, 1, Some(b"of b"))];
    fold(&mut snapshot, &versions).unwrap();
    drop(snapshot);
    // The value of one under the key of the other, with a checksum that is right: whoever can write
    // the file can do that, the seal is what tells.
    let outside = place.outside();
    let sealed: Vec<Vec<u8>> = {
        let mut select = outside.prepare("select value from pair order by key").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect()
    };
    let mut select = outside
        .prepare(concat!("select ", super::super::row::columns!(), " from pair order by key"))
        .unwrap();
    let mut rows = select.query([]).unwrap();
    let row = rows.next().unwrap().unwrap();
    let mut forged = super::super::row::Row::read(row).unwrap();
    forged.value = rusqlite::types::ValueRef::Blob(&sealed[1]);
    let sum = forged.sum().unwrap();
    let key: Vec<u8> = row.get(0).unwrap();
    drop(rows);
    drop(select);
    outside
        .execute(
            "update pair set value = ?1, checksum = ?2 where key = ?3",
            rusqlite::params![sealed[1], sum, key],
        )
        .unwrap();
    drop(outside);
    let refused = load(&place.open().unwrap(), 1);
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
}

#[test]
fn compressed_values_come_back_and_show_as_null() {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let mut place = Place::new(Keep::All);
        place.options.compression = compression;
        let mut snapshot = place.create();
        let model = secrets(&mut snapshot);
        check(&snapshot, &model);
        drop(snapshot);
        assert!(place.bytes().len() < 70_000);
        let outside = place.outside();
        let shown = |key: &str| -> (Option<String>, Option<String>) {
            let one = "select value, codec from pairs where key = ?1";
            outside.query_row(one, [key], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        assert_eq!(shown("SECRET-KEY 4"), (None, Some(compression.to_string())));
        // What a setting compressed, every setting reads.
        place.options.compression = Compression::None;
        check(&place.open().unwrap(), &model);
    }
}

#[test]
fn another_key_is_another_file_with_the_same_in_it() {
    let mut place = Place::new(Keep::All);
    place.options.compression = Compression::Zstd;
    let mut snapshot = place.create();
    let model = secrets(&mut snapshot);
    let through = snapshot.through();
    drop(snapshot);
    for next in [cipher("a"), cipher("b"), None, cipher("c")] {
        SqliteSnapshot::rekey(&place.options, next.clone()).unwrap();
        assert_eq!(place.names(), ["kv.sqlite"]);
        if next.is_some() {
            assert!(!contains(&place.bytes(), b"SECRET"));
        }
        let before = std::mem::replace(&mut place.options.cipher, next);
        assert_eq!(place.open().unwrap().through(), through);
        check(&place.open().unwrap(), &model);
        // The key before is of no use any more.
        let wrong =
            SqliteSnapshot::rekey(&SqliteOptions { cipher: before, ..place.options.clone() }, None);
        assert!(matches!(wrong, Err(Error::Key { .. })), "{wrong:?}");
    }
    let mut snapshot = place.open().unwrap();
    fold(&mut snapshot, &[version(b"SECRET-KEY", 5, 100, Some(b"more"))]).unwrap();
    assert_eq!(older(&snapshot, b"SECRET-KEY", ALL).unwrap().len(), 5);
}

#[test]
fn a_change_of_keys_that_fails_changes_nothing() {
    let place = village(Keep::All);
    place.change("update history set value = 'tiny' where value = 'small'");
    let before = place.bytes();
    let refused = SqliteSnapshot::rekey(&place.options, cipher("a"));
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    assert_eq!((place.bytes(), place.names()), (before, vec!["kv.sqlite".to_owned()]));
}
