//! Room for what is written: where keys can give way, a store that is full refuses nothing.

use kv_core::{Database, Eviction, Holds, Pause, Session, ValueKind};

use crate::bounded::Cellar;

const BYTES_MAX: usize = 400_000;

fn put(session: &mut Session, key: usize, bytes: usize) -> Result<(), Pause> {
    let (key, value) = (format!("key {key}"), vec![b'v'; bytes]);
    loop {
        match session.put(None, key.as_bytes(), &value, ValueKind::Text, None) {
            Err(Pause::Fetch(fetch)) => session.database().fetch(&fetch).unwrap(),
            Err(Pause::Yield) => {}
            done => return done,
        }
    }
}

/// A store of which everything can give way that is folded, and what folds it.
fn full(holds: Holds) -> (Database, Session, std::sync::Arc<Cellar>, usize) {
    let cellar = Cellar::new(holds, 3);
    let mut builder = Database::builder();
    builder.shards(4).memory_max(Some(BYTES_MAX));
    let db = cellar.open(&mut builder);
    let mut session = db.session();
    let written = (0..10_000).find(|&key| match put(&mut session, key, 1_000) {
        Ok(()) => false,
        Err(Pause::Room(_)) => true,
        Err(pause) => panic!("{pause:?}"),
    });
    (db, session, cellar, written.unwrap())
}

#[test]
fn a_writer_that_waited_for_a_fold_has_room_then() {
    for holds in [Holds::Keys, Holds::Values] {
        let (db, mut session, cellar, next) = full(holds);
        // Nobody else sees to it that something gives way.
        cellar.fold(&db);
        put(&mut session, next, 1_000).unwrap();
    }
}

/// Up to a quarter of the bound.
#[test]
fn a_long_value_has_room_in_a_store_that_is_full() {
    for holds in [Holds::Keys, Holds::Values] {
        let (db, mut session, cellar, next) = full(holds);
        cellar.fold(&db);
        db.sweep();
        for key in next..next + 5 {
            put(&mut session, key, BYTES_MAX / 5).unwrap();
            cellar.fold(&db);
        }
    }
}

#[test]
fn a_long_value_has_room_in_a_store_without_files_that_is_full() {
    let db = Database::builder().shards(4).memory_max(Some(BYTES_MAX)).open();
    let mut session = db.session();
    (0..1_000).for_each(|key| put(&mut session, key, 1_000).unwrap());
    (1_000..1_010).for_each(|key| put(&mut session, key, BYTES_MAX / 5).unwrap());
    let (bytes_max, bytes_used) = db.memory().unwrap();
    assert!(bytes_used <= bytes_max + bytes_max / 4, "{bytes_used}");
}

#[test]
fn a_transaction_has_room_for_long_values_too() {
    let db = Database::builder().shards(4).memory_max(Some(BYTES_MAX)).open();
    let mut session = db.session();
    (0..1_000).for_each(|key| put(&mut session, key, 1_000).unwrap());
    session.begin(kv_core::BeginOptions::default()).unwrap();
    put(&mut session, 1_000, BYTES_MAX / 5).unwrap();
    session.commit(None).unwrap();
}

#[test]
fn where_nobody_gives_way_it_is_refused() {
    let mut builder = Database::builder();
    // Else what is deleted stays, as history.
    builder.history(Some(1)).shards(4).memory_max(Some(BYTES_MAX)).eviction(Eviction::None);
    let db = builder.open();
    let mut session = db.session();
    let refused = (0..1_000).find_map(|key| put(&mut session, key, 1_000).err());
    let Some(Pause::Failed(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.code(), "OOM");
    let (bytes_max, bytes_used) = db.memory().unwrap();
    assert!(bytes_used <= bytes_max + bytes_max / 64, "{bytes_used}");
    while let Err(Pause::Failed(_)) = put(&mut session, 2_000, 1_000) {
        let rows = db.view(|txn| txn.scan(&kv_core::ScanOptions::default())).unwrap();
        assert!(db.delete(rows[0].key()).unwrap());
    }
}
