//! The engine over a log: what is asked of it, and what its answers do; and a store that is opened
//! with what was there before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use kv_core::{
    BeginOptions, Change, CommitLog, CommitSize, Database, Datum, Error, Fetched, Fetcher,
    Isolation, Older, Pause, Payload, Place, Revision, ScanOptions, Session, Stamp, Step, TxnId,
    ValueKind, Version, Watermark,
};

/// A log that keeps what it is given as text, and is durable when the test says so.
#[derive(Debug)]
struct Notes {
    lines: Mutex<Vec<String>>,
    reserved: Mutex<u64>,
    is_full: AtomicBool,
    has_room: Arc<Watermark>,
    durable: Arc<Watermark>,
}

impl Notes {
    fn new() -> Arc<Notes> {
        Arc::new(Notes {
            lines: Mutex::default(),
            reserved: Mutex::default(),
            is_full: AtomicBool::new(false),
            has_room: Watermark::new(1),
            durable: Watermark::new(0),
        })
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn database(self: &Arc<Self>) -> Database {
        Database::builder().loader().open(NOTHING, Some(self.clone()))
    }
}

const NOTHING: Stamp = Stamp { revision: Revision(0), time_ms: 0 };

impl CommitLog for Notes {
    fn reserve(&self, size: CommitSize) -> Step<u64> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(Error::DiskFull.into());
        }
        if self.has_room.get() == 0 {
            return Err(Pause::Room(self.has_room.reached(1)));
        }
        let bytes = (size.changes + size.bytes) as u64;
        *self.reserved.lock().unwrap() += bytes;
        Ok(bytes)
    }

    fn release(&self, reserved: u64) {
        *self.reserved.lock().unwrap() -= reserved;
    }

    fn encode(&self, changes: &mut dyn Iterator<Item = Change<'_>>, payload: &mut Payload) {
        for Change { key, version, datum } in changes {
            let value = datum.map_or(&b"-"[..], |datum| datum.bytes);
            let text = format!(" {}.{version}={}", key.escape_ascii(), value.escape_ascii());
            payload.extend_from_slice(text.as_bytes());
        }
    }

    fn encode_wipe(&self, payload: &mut Payload) {
        payload.extend_from_slice(b" all=-");
    }

    fn append(&self, stamp: Stamp, payload: &mut Payload, reserved: u64) {
        let changes = String::from_utf8_lossy(payload).into_owned();
        self.lines.lock().unwrap().push(format!("{}:{changes}", stamp.revision));
        self.release(reserved);
    }

    fn appended(&self) {}

    fn durable(&self) -> Arc<Watermark> {
        Arc::clone(&self.durable)
    }
}

fn put(session: &mut Session, txn: Option<TxnId>, key: &str, value: &str) {
    session.put(txn, key.as_bytes(), value.as_bytes(), ValueKind::Text, None).unwrap();
}

fn begin(session: &mut Session) -> TxnId {
    session.begin(BeginOptions::default()).unwrap()
}

#[test]
fn the_log_gets_each_commit_once_with_its_versions() {
    let notes = Notes::new();
    let db = notes.database();
    let mut session = db.session();
    put(&mut session, None, "a", "1");
    let txn = begin(&mut session);
    put(&mut session, Some(txn), "b", "2");
    put(&mut session, Some(txn), "a", "3");
    session.delete(Some(txn), b"gone", None).unwrap();
    session.commit(None).unwrap();
    assert!(session.delete(None, b"a", None).unwrap());
    assert!(!session.delete(None, b"a", None).unwrap(), "and makes no version");
    let txn = begin(&mut session);
    session.get(Some(txn), b"b").unwrap();
    session.commit(None).unwrap();
    let mut lines = notes.lines();
    // The order of keys within a commit is that of their shards.
    lines[1] = lines[1].split_once(':').map_or(String::new(), |(revision, changes)| {
        let mut changes: Vec<&str> = changes.split_whitespace().collect();
        changes.sort_unstable();
        format!("{revision}: {}", changes.join(" "))
    });
    assert_eq!(lines, ["1: a.1=1", "2: a.2=3 b.1=2", "3: a.3=-"]);
    assert_eq!(*notes.reserved.lock().unwrap(), 0, "what was reserved was used or given back");
}

#[test]
fn readers_without_locks_see_what_is_durable_or_what_they_depend_on() {
    let notes = Notes::new();
    let db = notes.database();
    let (mut writer, mut reader) = (db.session(), db.session());
    put(&mut writer, None, "k", "1");
    notes.durable.advance(1);
    put(&mut writer, None, "k", "2");
    let seen = |session: &mut Session| session.get(None, b"k").unwrap().unwrap().to_vec();
    assert_eq!((seen(&mut reader), seen(&mut writer)), (b"1".to_vec(), b"2".to_vec()));
    assert_eq!((reader.depends_on(), writer.depends_on()), (Revision(0), Revision(2)));
    assert!(db.is_settled(Revision(1)) && !db.is_settled(Revision(2)));
    // A view shows what is durable; a lock shows the newest, and the reply depends on it.
    let snapshot = BeginOptions { isolation: Some(Isolation::Snapshot), ..BeginOptions::default() };
    reader.begin(snapshot).unwrap();
    assert_eq!(seen(&mut reader), b"1");
    reader.rollback(None).unwrap();
    begin(&mut reader);
    assert_eq!(seen(&mut reader), b"2");
    assert_eq!(reader.depends_on(), Revision(2));
    reader.rollback(None).unwrap();
    assert_eq!(db.revision(), Revision(1));
    notes.durable.advance(2);
    assert_eq!(seen(&mut db.session()), b"2");
    db.settle(Revision(2)).unwrap();
}

#[test]
fn a_failed_log_leaves_the_outcome_open() {
    let notes = Notes::new();
    let db = notes.database();
    let put = std::thread::spawn({
        let db = db.clone();
        move || db.put("k", "1")
    });
    while notes.lines().is_empty() {
        std::thread::yield_now();
    }
    notes.durable.get_stuck();
    assert_eq!(put.join().unwrap().unwrap_err().code(), "OUTCOME");
    assert_eq!(db.get("k").unwrap(), None, "it is not known to be durable");
}

#[test]
fn a_full_disk_refuses_and_leaves_the_transaction_as_it_was() {
    let notes = Notes::new();
    let db = notes.database();
    notes.durable.advance(100);
    let mut session = db.session();
    let outer = begin(&mut session);
    put(&mut session, Some(outer), "a", "1");
    let inner = session
        .begin(BeginOptions { parent: kv_core::Parent::Current, ..BeginOptions::default() })
        .unwrap();
    put(&mut session, Some(inner), "b", "2");
    notes.is_full.store(true, Ordering::SeqCst);
    let code = |pause: Pause| match pause {
        Pause::Failed(error) => error.code(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(session.commit(Some(outer)).unwrap_err()), "DISKFULL");
    assert_eq!(code(session.commit_all().unwrap_err()), "DISKFULL");
    assert_eq!(db.put("c", "3").unwrap_err().code(), "DISKFULL");
    assert_eq!((db.get("a").unwrap(), db.revision()), (None, Revision(0)));
    assert_eq!(session.transactions().len(), 2, "the nested one is still open");
    session.rollback(Some(inner)).unwrap();
    notes.is_full.store(false, Ordering::SeqCst);
    session.commit(Some(outer)).unwrap();
    assert_eq!((db.get("a").unwrap().as_deref(), db.get("b").unwrap()), (Some(&b"1"[..]), None));
    assert_eq!(*notes.reserved.lock().unwrap(), 0);
    drop(session);
    db.check_idle().unwrap();
}

#[test]
fn a_commit_waits_for_room_and_changes_nothing_meanwhile() {
    let notes =
        Arc::new(Notes { has_room: Watermark::new(0), ..Arc::into_inner(Notes::new()).unwrap() });
    let db = notes.database();
    notes.durable.advance(100);
    let mut session = db.session();
    begin(&mut session);
    put(&mut session, None, "a", "1");
    begin(&mut session);
    assert!(matches!(session.commit_all().unwrap_err(), Pause::Room(_)));
    assert!(matches!(db.session().add(None, b"n", 1).unwrap_err(), Pause::Room(_)));
    let adding = std::thread::spawn({
        let db = db.clone();
        move || db.update(|txn| txn.add("n", 5))
    });
    notes.has_room.advance(1);
    assert_eq!(adding.join().unwrap().unwrap(), 5);
    assert_eq!(session.commit_all().unwrap(), 2);
    drop(session);
    db.check_idle().unwrap();
}

/// Knows versions 1 to 4 of the key "k", committed at ten times their number; 3 is a delete.
#[derive(Debug)]
struct Attic(Version);

impl Fetcher for Attic {
    fn value(&self, _key: &[u8], version: Version, _place: Place) -> Result<Vec<u8>, Error> {
        panic!("version {version} has its value in memory")
    }

    fn older(&self, key: &[u8], older: Older) -> Result<Vec<Fetched>, Error> {
        assert_eq!(key, b"k");
        let mut versions = Vec::new();
        for number in (self.0.0..5.min(older.below.0)).rev().take(older.limit) {
            let version = Version(number);
            let revision = Revision(number * 10);
            let value = (number != 3).then(|| (vec![b'0' + number as u8], ValueKind::Text));
            versions.push(Fetched {
                version,
                stamp: Stamp { revision, time_ms: number },
                value,
                expires_ms: None,
            });
            if older.until.is_some_and(|until| revision <= until)
                || older.down_to.is_some_and(|down_to| version <= down_to)
            {
                break;
            }
        }
        Ok(versions)
    }
}

/// A store whose key "k" has versions 5 and 6 in memory, and those from `first` to 4 in the attic.
fn reopened(history: Option<usize>, first: u64) -> Database {
    let mut builder = Database::builder();
    builder.history(history).fetcher(Arc::new(Attic(Version(first))));
    let loader = builder.loader();
    for version in [5, 6] {
        let stamp = Stamp { revision: Revision(version * 10), time_ms: version };
        let value = [b'0' + version as u8];
        let datum = Datum { bytes: &value, kind: ValueKind::Text, expires_ms: None };
        loader.load(b"k", Version(version), stamp, Some(datum)).unwrap();
    }
    loader.open(Stamp { revision: Revision(60), time_ms: 6 }, None)
}

fn text_at(db: &Database, revision: u64) -> Result<Option<String>, &'static str> {
    let (mut session, key) = (db.session(), b"k");
    loop {
        match session.get_at(key, Revision(revision)) {
            Ok(value) => return Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned())),
            Err(Pause::Fetch(fetch)) => db.fetch(&fetch).unwrap(),
            Err(Pause::Failed(error)) => return Err(error.code()),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn older_versions_are_fetched_and_a_gap_is_pruned() {
    let db = reopened(None, 1);
    assert_eq!(text_at(&db, 60), Ok(Some("6".into())));
    assert_eq!(text_at(&db, 49), Ok(Some("4".into())));
    assert_eq!(text_at(&db, 30), Ok(None), "deleted then");
    assert_eq!(text_at(&db, 29), Ok(Some("2".into())));
    assert_eq!(text_at(&db, 9), Ok(None), "not there yet");
    let pruned = reopened(None, 2);
    assert_eq!(text_at(&pruned, 20), Ok(Some("2".into())));
    assert_eq!(text_at(&pruned, 19), Err("PRUNED"));
}

#[test]
fn the_history_setting_decides_what_is_shown_of_what_is_elsewhere() {
    let db = reopened(Some(3), 1);
    assert_eq!(text_at(&db, 40), Ok(Some("4".into())));
    assert_eq!(text_at(&db, 39), Err("PRUNED"));
    let history = db.view(|txn| txn.history("k", None)).unwrap();
    let versions: Vec<u64> = history.iter().map(|past| past.version.0).collect();
    assert_eq!(versions, [6, 5, 4]);
    let history = reopened(None, 1).view(|txn| txn.history("k", Some(5))).unwrap();
    let values: Vec<_> =
        history.iter().map(|past| past.value.as_ref().map(|value| value.to_vec())).collect();
    let expected = [Some("6"), Some("5"), Some("4"), None, Some("2")];
    assert_eq!(values, expected.map(|value| value.map(|value| value.as_bytes().to_vec())));
    // A reopened store goes on with revisions, times and versions.
    assert_eq!(db.put("k", "7").unwrap(), Revision(61));
    let meta = db.view(|txn| txn.meta("k")).unwrap().unwrap();
    assert_eq!(meta.version, Version(7));
    db.check_idle().unwrap();
}

#[test]
fn a_scan_of_the_past_fetches_what_it_comes_upon() {
    let db = reopened(None, 1);
    db.put("z", "new").unwrap();
    let at = |revision| BeginOptions {
        isolation: Some(Isolation::Readonly),
        at: Some(Revision(revision)),
        ..BeginOptions::default()
    };
    let rows = |revision| {
        let mut txn = db.begin(at(revision)).unwrap();
        let rows = txn.scan(&ScanOptions::default()).unwrap();
        rows.iter().map(|row| row.value().unwrap().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(rows(61), [b"6".to_vec(), b"new".to_vec()]);
    assert_eq!(rows(45), [b"4".to_vec()]);
    assert_eq!(rows(35), Vec::<Vec<u8>>::new());
    assert_eq!(rows(5), Vec::<Vec<u8>>::new());
}

#[test]
fn what_contradicts_itself_is_not_loaded() {
    let loader = Database::builder().loader();
    let load = |version, revision| {
        let stamp = Stamp { revision: Revision(revision), time_ms: 0 };
        loader.load(b"k", Version(version), stamp, None).map_err(|error| error.code())
    };
    assert_eq!(load(3, 7), Ok(()));
    assert_eq!(load(3, 8), Err("INTERNAL"));
    assert_eq!(load(5, 8), Err("INTERNAL"));
    assert_eq!(load(4, 7), Err("INTERNAL"));
    assert_eq!(load(4, 8), Ok(()));
}
