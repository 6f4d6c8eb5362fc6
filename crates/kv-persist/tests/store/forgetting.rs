//! Version counters of deleted keys, which are not kept for ever.

use std::sync::Arc;

use kv_core::Version;
use kv_core::clock::ManualClock;
use kv_persist::fs::Disk;
use kv_persist::log::{LogOptions, WriterThread};
use kv_persist::snapshot::Forgotten;
use kv_persist::snapshot::sqlite::{SqliteOptions, SqliteSnapshot};
use kv_persist::store::{Opened, Parts};
use kv_persist::verify::verify;
use parking_lot::Mutex;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A store that does what it is told, by a clock that stands still, and what it tells.
struct ByHand {
    parts: Parts,
    folded: Arc<Mutex<Vec<Revision>>>,
    forgotten: Arc<Mutex<Vec<Forgotten>>>,
    /// Has what was committed in the log, so that this is dropped as a kill would leave it.
    _writer: WriterThread,
}

impl ByHand {
    fn open(options: &StoreOptions, clock: &Arc<ManualClock>) -> ByHand {
        let path = options.dir.join("kv.sqlite");
        let database = SqliteSnapshot::look(&path).unwrap().database;
        let StoreOptions { keep, compression, .. } = *options;
        let snapshot = SqliteOptions { path, keep, cipher: None, compression };
        let opened = Opened {
            snapshot: Box::new(SqliteSnapshot::open(snapshot).unwrap()),
            log: LogOptions::new(options.dir.join("log"), database),
            begins_log: false,
        };
        let mut builder = builder();
        builder.clock(Arc::<ManualClock>::clone(clock)).view_age_max(400 * DAY);
        let mut parts = Parts::assemble(opened, Arc::new(Disk), keep, &mut builder, 1).unwrap();
        let (folded, forgotten) = <(Arc<Mutex<Vec<_>>>, Arc<Mutex<Vec<_>>>)>::default();
        let (tell_folded, tell_forgotten) = (Arc::clone(&folded), Arc::clone(&forgotten));
        let checkpointer = &mut parts.checkpointer;
        checkpointer.clock(Arc::<ManualClock>::clone(clock)).tombstone_retention(30 * DAY);
        checkpointer.on_folded(move |revision| tell_folded.lock().extend(revision));
        checkpointer.on_forgotten(move |keys| tell_forgotten.lock().extend_from_slice(keys));
        let writer = parts.log.spawn_writer().unwrap();
        ByHand { parts, folded, forgotten, _writer: writer }
    }

    fn db(&self) -> &Database {
        &self.parts.database
    }

    fn step(&mut self) {
        self.parts.checkpointer.step().unwrap();
    }

    fn forget(&mut self) -> usize {
        self.parts.checkpointer.forget().unwrap()
    }
}

/// The versions of a key, newest first.
fn versions(db: &Database, key: &str) -> Vec<u64> {
    let past = db.view(|txn| txn.history(key, None)).unwrap();
    past.iter().map(|past| past.version.0).collect()
}

fn is_sound(options: &StoreOptions) {
    assert_eq!(verify(options.clone()).unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_deleted_key_is_forgotten_after_the_retention_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    open(&options).close(Duration::from_secs(60)).unwrap();
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let mut store = ByHand::open(&options, &clock);
    store.db().put("house", "small").unwrap();
    store.db().put("car", "red").unwrap();
    store.step();
    assert!(store.db().delete("car").unwrap());
    let deleted = store.db().revision();
    store.step();
    assert_eq!(*store.folded.lock(), [Revision(2), deleted]);
    clock.advance(30 * DAY);
    assert_eq!(store.forget(), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(store.forget(), 1);
    assert_eq!(
        *store.forgotten.lock(),
        [Forgotten {
            key: b"car".to_vec(),
            version: Version(2),
            revision: deleted,
            was_deleted: true
        }]
    );
    assert_eq!(store.forget(), 0);
    drop(store);
    is_sound(&options);
    let mut store = ByHand::open(&options, &clock);
    store.db().put("car", "blue").unwrap();
    assert_eq!(versions(store.db(), "car"), [1]);
    store.step();
    store.db().put("car", "green").unwrap();
    drop(store);
    is_sound(&options);
    let mut store = ByHand::open(&options, &clock);
    assert_eq!(versions(store.db(), "car"), [2, 1]);
    assert_eq!(
        pairs(store.db()),
        [("car".into(), "green".into()), ("house".into(), "small".into())]
    );
    store.step();
    assert_eq!(*store.forgotten.lock(), []);
}

#[test]
fn a_key_that_is_written_while_it_is_forgotten_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    open(&options).close(Duration::from_secs(60)).unwrap();
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let mut store = ByHand::open(&options, &clock);
    store.db().put("car", "red").unwrap();
    store.db().delete("car").unwrap();
    store.step();
    clock.advance(31 * DAY);
    // The engine has the key in memory, and nobody tells it.
    assert_eq!(store.forget(), 1);
    store.db().put("car", "blue").unwrap();
    assert_eq!(versions(store.db(), "car")[0], 3);
    drop(store);
    // The snapshot has nothing of it, and the log goes on with version 3.
    is_sound(&options);
    let mut store = ByHand::open(&options, &clock);
    assert_eq!(versions(store.db(), "car"), [3]);
    store.step();
    drop(store);
    is_sound(&options);
    let mut store = ByHand::open(&options, &clock);
    assert_eq!(versions(store.db(), "car"), [3]);
    store.db().delete("car").unwrap();
    store.step();
    clock.advance(31 * DAY);
    // It is done after a fold, too.
    store.db().put("house", "small").unwrap();
    store.step();
    assert_eq!(store.forgotten.lock().len(), 1);
    drop(store);
    is_sound(&options);
    let store = open(&options);
    store.database().put("car", "new").unwrap();
    assert_eq!(versions(store.database(), "car"), [1]);
}

#[test]
fn deleted_keys_go_on_a_quiet_server_too_unless_the_snapshot_keeps_counters() {
    each_kind(|options| {
        let options = StoreOptions { tombstone_retention: Some(Duration::ZERO), ..options };
        let store = open(&options);
        store.database().put("house", "small").unwrap();
        store.database().put("car", "red").unwrap();
        store.database().delete("car").unwrap();
        store.checkpoint().checkpoint().unwrap();
        let is_json = options.snapshot == SnapshotKind::Json;
        if !is_json {
            let outside = rusqlite::Connection::open(options.dir.join("kv.sqlite")).unwrap();
            let pairs = || -> i64 {
                outside.query_row("select count(*) from pair", [], |row| row.get(0)).unwrap()
            };
            for _ in 0..1000 {
                if pairs() == 1 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(pairs(), 1);
        }
        store.close(Duration::from_secs(60)).unwrap();
        drop(store);
        is_sound(&options);
        let store = open(&options);
        store.database().put("car", "blue").unwrap();
        assert_eq!(versions(store.database(), "car")[0], if is_json { 3 } else { 1 });
        assert_eq!(versions(store.database(), "house"), [1]);
    });
}

#[test]
fn what_an_open_view_still_shows_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    open(&options).close(Duration::from_secs(60)).unwrap();
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let mut store = ByHand::open(&options, &clock);
    let mut session = store.db().session();
    session.put_expiring(None, b"car", b"red", ValueKind::Text, None, 5).unwrap();
    store.db().settle(session.depends_on()).unwrap();
    store.step();
    let isolation = Some(Isolation::Snapshot);
    session.begin(BeginOptions { isolation, ..BeginOptions::default() }).unwrap();
    clock.advance(40 * DAY);
    assert_eq!(store.forget(), 0);
    assert!(session.get(None, b"car").unwrap().is_some(), "it was there when the view was opened");
    session.rollback(None).unwrap();
    assert_eq!(store.forget(), 1);
}
