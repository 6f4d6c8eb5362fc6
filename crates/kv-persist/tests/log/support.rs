//! A log in a directory of its own, and commits whose content follows from their revision.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_core::{
    Change, CommitLog, CommitSize, Datum, Payload, Revision, Stamp, Step, ValueKind, Version,
};
use kv_persist::Error;
use kv_persist::fs::{Disk, FileSystem};
use kv_persist::log::{Log, LogOptions, RecordView, Recovered, recover};
use kv_persist::stored::{DatabaseId, EMPTY, Through};
use tempfile::TempDir;

/// A directory for one log, and how it is kept.
pub(crate) struct Place {
    _dir: TempDir,
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) options: LogOptions,
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = TempDir::new().expect("a directory");
        let mut options = LogOptions::new(dir.path(), DatabaseId([7; 16]));
        options.allocate_bytes = 4 << 10;
        Place { _dir: dir, fs: Arc::new(Disk), options }
    }

    /// Recovers and starts the log; every record must be what its revision says. Panics if it is
    /// refused.
    pub(crate) fn open(&self) -> Arc<Log> {
        self.start(self.recover(EMPTY).expect("a log that can be recovered"))
    }

    pub(crate) fn recover(&self, snapshot: Through) -> Result<Recovered, Error> {
        let mut next = snapshot.revision.0 + 1;
        recover(&*self.fs, &self.options, snapshot, &mut |record| {
            assert_eq!(record.stamp.revision.0, next);
            next += 1;
            check(record)
        })
    }

    pub(crate) fn start(&self, recovered: Recovered) -> Arc<Log> {
        Log::start(Arc::clone(&self.fs), self.options.clone(), recovered).expect("a start")
    }

    /// The segments' paths, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let names = Disk.list(&self.options.dir).expect("a list");
        let mut names: Vec<_> = names.into_iter().filter(|name| name.ends_with(".log")).collect();
        names.sort();
        names.iter().map(|name| self.options.dir.join(name)).collect()
    }

    pub(crate) fn last_segment(&self) -> PathBuf {
        self.segments().pop().expect("a segment")
    }

    /// The last revision that is recovered.
    pub(crate) fn last(&self) -> u64 {
        self.recover(EMPTY).expect("a log that can be recovered").through.revision.0
    }

    /// Why recovery refuses the directory.
    pub(crate) fn refusal(&self) -> Error {
        match self.recover(EMPTY) {
            Ok(recovered) => panic!("not refused: {recovered:?}"),
            Err(error) => {
                assert!(error.is_refusal(), "{error}");
                error
            }
        }
    }
}

pub(crate) fn stamp(revision: u64) -> Stamp {
    Stamp { revision: Revision(revision), time_ms: 1_700_000_000_000 + revision / 3 }
}

/// The value that a commit writes.
fn value(revision: u64) -> Vec<u8> {
    let length = if revision.is_multiple_of(17) { 300 } else { revision % 40 };
    (0..length).map(|at| (revision * 31 + at) as u8).collect()
}

/// Shows the changes that a commit makes: a put, and for some a delete.
pub(crate) fn with_changes(revision: u64, mut use_them: impl FnMut(&[Change<'_>])) {
    let (key, value) = (format!("key {}", revision % 5), value(revision));
    let datum = Datum {
        bytes: &value,
        kind: if revision.is_multiple_of(2) { ValueKind::Json } else { ValueKind::Text },
        expires_ms: revision.is_multiple_of(3).then_some(revision * 1000),
    };
    let put = Change { key: key.as_bytes(), version: Version(revision), datum: Some(datum) };
    let delete = Change { key: b"gone", version: Version(revision), datum: None };
    let both = [put, delete];
    use_them(if revision.is_multiple_of(7) { &both } else { &both[..1] });
}

/// Whether a record is what its revision says.
pub(crate) fn check(record: RecordView<'_>) -> Result<(), Error> {
    let revision = record.stamp.revision.0;
    assert_eq!(record.stamp, stamp(revision));
    let changes = record.changes().collect::<Result<Vec<Change<'_>>, Error>>()?;
    with_changes(revision, |wanted| assert_eq!(changes, wanted, "revision {revision}"));
    Ok(())
}

/// Reserves space for the commit that follows, and appends it.
pub(crate) fn commit(log: &Log) -> Step<u64> {
    let revision = log.stats().last.0 + 1;
    let mut payload = Payload::new();
    let mut size = CommitSize::default();
    with_changes(revision, |changes| {
        for change in changes {
            size.changes += 1;
            size.bytes += change.key.len() + change.datum.map_or(0, |datum| datum.bytes.len());
        }
    });
    let reserved = log.reserve(size)?;
    with_changes(revision, |changes| log.encode(&mut changes.iter().copied(), &mut payload));
    log.append(stamp(revision), &mut payload, reserved);
    log.appended();
    Ok(revision)
}

/// Commits once, and writes it as a batch of its own.
pub(crate) fn commit_and_write(log: &Log) -> u64 {
    write_batch(log, 1)
}

/// Writes a batch of so many commits; answers the last revision.
pub(crate) fn write_batch(log: &Log, commits: u64) -> u64 {
    let mut last = 0;
    for _ in 0..commits {
        last = match commit(log) {
            Ok(revision) => revision,
            // Space is allocated by the writer's next step.
            Err(_) => {
                log.write_pending().expect("a step");
                commit(log).expect("space")
            }
        };
    }
    assert!(log.write_pending().expect("a write"));
    last
}

/// Reads what is durable after a revision, and checks it; answers how many records there are.
pub(crate) fn read_back(log: &Arc<Log>, after: u64) -> u64 {
    let mut reader = log.reader(Revision(after));
    let mut next = after + 1;
    reader
        .read(Revision(log.synced().get()), u64::MAX, &mut |record| {
            assert_eq!(record.stamp.revision.0, next);
            next += 1;
            check(record)
        })
        .expect("what is durable can be read");
    next - after - 1
}

/// Flips bits of one byte.
pub(crate) fn flip(path: &Path, at: usize, bits: u8) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).expect("a byte");
    file.write_all_at(&[byte[0] ^ bits], at as u64).expect("a write");
}

pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("a file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("a write");
}
