//! Disks that are full, refuse, or lie low for a while.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kv_core::{CommitLog, CommitSize, Error as EngineError, Pause, Revision, Step};
use kv_persist::fs::{Access, Disk, File, FileSystem};
use kv_persist::log::Log;
use kv_persist::stored::EMPTY;

use crate::support::{Place, commit, commit_and_write, read_back, write_batch};

/// What the system refuses at the moment.
#[derive(Debug, Default)]
struct Faults {
    allocate: AtomicBool,
    write: AtomicBool,
    /// Writes take so many bytes in all before they are refused.
    write_bytes_left: AtomicU64,
    sync: AtomicBool,
    create: AtomicBool,
    /// So many files cannot be created, because too many are open.
    unopened: AtomicU64,
    /// So many times a directory cannot be opened to be synced.
    not_synced: AtomicU64,
}

impl Faults {
    fn set(fault: &AtomicBool, is_on: bool) {
        fault.store(is_on, Ordering::SeqCst);
    }
}

/// EMFILE of Linux: the process has as many descriptors as it may have.
const TOO_MANY_OPEN_FILES: i32 = 24;

fn short_if(left: &AtomicU64) -> io::Result<()> {
    let one_less = |left: u64| left.checked_sub(1);
    match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
        Ok(_) => Err(io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES)),
        Err(_) => Ok(()),
    }
}

#[derive(Debug)]
struct FaultyDisk(Arc<Faults>);

#[derive(Debug)]
struct FaultyFile(Box<dyn File>, Arc<Faults>);

fn full_if(fault: &AtomicBool) -> io::Result<()> {
    if fault.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

impl FileSystem for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        full_if(&self.0.create)?;
        short_if(&self.0.unopened)?;
        Ok(Box::new(FaultyFile(Disk.create(path)?, Arc::clone(&self.0))))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        Disk.open(path, access)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        short_if(&self.0.not_synced)?;
        Disk.sync_dir(dir)
    }
}

impl File for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let Faults { write, write_bytes_left, .. } = &*self.1;
        let is_limited = write.load(Ordering::SeqCst);
        let left = if is_limited { write_bytes_left.load(Ordering::SeqCst) } else { u64::MAX };
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if is_limited {
            write_bytes_left.fetch_sub(taken as u64, Ordering::SeqCst);
        }
        self.0.write_at(&bytes[..taken], offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        full_if(&self.1.allocate)?;
        self.0.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.1.sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("a disk that fails"));
        }
        self.0.sync_data()
    }

    fn is_at(&self, path: &Path) -> bool {
        self.0.is_at(path)
    }
}

fn faulty() -> (Place, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let mut place = Place::new();
    place.fs = Arc::new(FaultyDisk(Arc::clone(&faults)));
    (place, faults)
}

fn is_disk_full<T>(step: Step<T>) -> bool {
    matches!(step, Err(Pause::Failed(error)) if *error == EngineError::DiskFull)
}

fn is_waiting<T>(step: &Step<T>) -> bool {
    matches!(step, Err(Pause::Room(_)))
}

/// Commits and writes until no space is left.
fn fill(log: &Log) -> u64 {
    let mut committed = 0;
    loop {
        match commit(log) {
            Ok(revision) => committed = revision,
            Err(Pause::Room(_)) => {}
            Err(Pause::Failed(error)) => {
                assert_eq!(*error, EngineError::DiskFull);
                return committed;
            }
            Err(other) => panic!("{other:?}"),
        }
        log.write_pending().expect("what was reserved has room");
    }
}

#[test]
fn when_no_space_can_be_allocated_commits_are_refused_and_later_go_on() {
    let (place, faults) = faulty();
    let log = place.open();
    commit_and_write(&log);
    Faults::set(&faults.allocate, true);
    let last = fill(&log);
    assert!(last > 10 && log.stats().is_full && !log.stats().is_failed);
    assert_eq!(log.synced().get(), last, "everything that was let in is durable");
    assert_eq!(read_back(&log, 0), last);
    assert!(is_disk_full(commit(&log)));
    Faults::set(&faults.allocate, false);
    log.write_pending().expect("a step");
    assert!(!log.stats().is_full);
    assert_eq!(write_batch(&log, 1), last + 1);
    drop(log);
    assert_eq!(place.last(), last + 1);
}

#[test]
fn a_write_that_is_refused_is_made_again_and_nothing_is_acknowledged_before() {
    let (place, faults) = faulty();
    let log = place.open();
    commit_and_write(&log);
    faults.write_bytes_left.store(40, Ordering::SeqCst);
    Faults::set(&faults.write, true);
    for _ in 0..3 {
        commit(&log).expect("space was allocated");
    }
    for _ in 0..2 {
        let error = log.write_pending().expect_err("the disk is full");
        assert!(error.is_full() && log.failure().is_none());
        assert_eq!(log.synced().get(), 1);
        assert!(is_disk_full(commit(&log)) && log.stats().is_full);
    }
    assert_eq!(place.last(), 1, "a crash now leaves a torn tail");
    Faults::set(&faults.write, false);
    assert!(log.write_pending().expect("a write"));
    assert_eq!(log.synced().get(), 4);
    assert_eq!(commit_and_write(&log), 5);
    assert_eq!(read_back(&log, 0), 5);
    drop(log);
    assert_eq!(place.last(), 5);
}

#[test]
fn short_writes_are_gone_on_with() {
    let (place, faults) = faulty();
    let log = place.open();
    // Enough for everything, but the first write is cut short at 1 byte by the second's limit.
    faults.write_bytes_left.store(1, Ordering::SeqCst);
    Faults::set(&faults.write, true);
    commit(&log).expect("space");
    log.write_pending().expect_err("cut short, then refused");
    faults.write_bytes_left.store(1 << 20, Ordering::SeqCst);
    assert!(log.write_pending().expect("a write"));
    assert_eq!(read_back(&log, 0), 1);
}

#[test]
fn a_failed_sync_ends_the_log_and_is_never_tried_again() {
    let (place, faults) = faulty();
    let log = place.open();
    commit_and_write(&log);
    commit(&log).expect("space");
    Faults::set(&faults.sync, true);
    assert!(!log.write_pending().expect_err("a failed sync").is_full());
    Faults::set(&faults.sync, false);
    assert!(log.write_pending().is_err() && log.sync().is_err() && log.close().is_err());
    assert_eq!(log.synced().get(), 1);
    assert!(log.synced().is_stuck() && log.durable().is_stuck());
    assert!(log.failure().expect("a cause").contains("a disk that fails"));
    let Err(Pause::Failed(error)) = commit(&log) else { panic!("commits are refused") };
    assert!(matches!(*error, EngineError::Io(_)));
    drop(log);
    // The next start decides: it found the second commit, and makes it durable before it serves.
    let log = place.open();
    assert_eq!((log.synced().get(), log.failure()), (2, None));
}

#[test]
fn a_start_that_cannot_sync_leaves_all_as_it_was() {
    let (place, faults) = faulty();
    write_batch(&place.open(), 3);
    Faults::set(&faults.sync, true);
    let recovered = place.recover(EMPTY).expect("recovered");
    let started = Log::start(Arc::clone(&place.fs), place.options.clone(), recovered);
    assert!(started.is_err());
    assert_eq!(place.segments().len(), 1);
    Faults::set(&faults.sync, false);
    assert_eq!(place.open().synced().get(), 3);
}

/// Writes so many batches, of two commits each; answers the last revision.
fn write_batches(log: &Log, batches: u64) -> u64 {
    for _ in 1..batches {
        write_batch(log, 2);
    }
    write_batch(log, 2)
}

#[test]
fn without_space_for_a_new_segment_the_last_one_grows_on() {
    let (mut place, faults) = faulty();
    place.options.segment_bytes = 1 << 10;
    let log = place.open();
    Faults::set(&faults.create, true);
    write_batches(&log, 40);
    assert_eq!(place.segments().len(), 1);
    assert!(!log.stats().is_failed);
    Faults::set(&faults.create, false);
    let last = write_batches(&log, 40);
    assert!(place.segments().len() > 1);
    assert_eq!(read_back(&log, 0), last);
    drop(log);
    assert_eq!(place.last(), last);
}

#[test]
fn without_a_descriptor_for_a_new_segment_the_last_one_grows_on() {
    let (mut place, faults) = faulty();
    place.options.segment_bytes = 1 << 10;
    let log = place.open();
    faults.unopened.store(u64::MAX, Ordering::SeqCst);
    write_batches(&log, 40);
    assert_eq!(place.segments().len(), 1);
    assert!(!log.stats().is_failed);
    faults.unopened.store(0, Ordering::SeqCst);
    let last = write_batches(&log, 40);
    assert!(place.segments().len() > 1);
    drop(log);
    assert_eq!(place.last(), last);
}

#[test]
fn a_directory_that_cannot_be_opened_yet_is_synced_later() {
    let (place, faults) = faulty();
    let log = place.open();
    let last = write_batches(&log, 2);
    faults.not_synced.store(3, Ordering::SeqCst);
    assert!(log.rotate_if_folded(Revision(last)).expect("it waits for a descriptor"));
    assert_eq!(faults.not_synced.load(Ordering::SeqCst), 0);
    assert!(!log.stats().is_failed);
    assert_eq!(place.segments().len(), 2);
}

#[test]
fn a_segment_that_vanishes_ends_the_log_at_the_next_rotation() {
    let mut place = Place::new();
    place.options.segment_bytes = 256;
    let log = place.open();
    write_batch(&log, 5);
    std::fs::remove_file(place.last_segment()).expect("removed");
    commit(&log).expect("space");
    assert!(log.write_pending().is_err());
    assert!(log.failure().expect("a cause").contains("removed or renamed"));
}

#[test]
fn the_bound_of_the_log_slows_writers_to_what_is_freed() {
    let mut place = Place::new();
    place.options.log_bytes_max = 2000;
    let log = place.open();
    let mut committed = 0;
    while let Ok(revision) = commit(&log) {
        committed = revision;
        log.write_pending().expect("a write");
    }
    assert!(committed > 5);
    let held = log.stats().held_bytes;
    assert!((2000..3000).contains(&held), "{held}");
    let Err(Pause::Room(room)) = commit(&log) else { panic!("there is room") };
    let waiting = std::thread::spawn(move || room.block());
    log.free(held - 100);
    assert_eq!(waiting.join().expect("no panic"), Ok(()));
    assert_eq!(commit_and_write(&log), committed + 1);
    // What is freed is what the reader says the records take, to the byte.
    let mut bytes = 0;
    log.reader(Revision(0))
        .read(Revision(committed), u64::MAX, &mut |record| {
            bytes += record.log_bytes;
            Ok(())
        })
        .expect("readable");
    assert_eq!(bytes, held);
}

#[test]
fn a_commit_larger_than_a_segment_and_than_what_is_allocated_is_let_in() {
    let mut place = Place::new();
    place.options.segment_bytes = 4 << 10;
    place.options.log_bytes_max = 64 << 10;
    let log = place.open();
    let size = CommitSize { changes: 1, bytes: 300 << 10 };
    let step = log.reserve(size);
    assert!(is_waiting(&step), "{step:?}");
    log.write_pending().expect("allocated");
    let reserved = log.reserve(size).expect("space");
    assert!(reserved >= 300 << 10);
    assert!(is_waiting(&log.reserve(size)), "the log is above its bound now");
    log.release(reserved);
    assert_eq!(log.stats().held_bytes, 0);
}
