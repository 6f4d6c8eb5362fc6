//! What is found again, whatever happened to the files.

use kv_core::Revision;
use kv_persist::log::{Log, Recovered, identity};
use kv_persist::stored::EMPTY;

use crate::support::{Place, commit_and_write, read_back, stamp, write_batch};

#[test]
fn what_was_written_is_found_again_however_often_it_is_started() {
    let place = Place::new();
    let mut expected = 0;
    for _ in 0..4 {
        let log = place.open();
        assert_eq!(log.stats().last, Revision(expected));
        assert_eq!(log.synced().get(), expected);
        expected = write_batch(&log, 3);
        expected = commit_and_write(&log).max(expected);
        assert_eq!(read_back(&log, 0), expected);
        drop(log);
        assert_eq!(place.last(), expected);
    }
    assert_eq!(place.segments().len(), 4);
}

#[test]
fn a_snapshot_spares_what_it_has() {
    let place = Place::new();
    let log = place.open();
    for _ in 0..9 {
        commit_and_write(&log);
    }
    drop(log);
    let recovered = place.recover(stamp(6)).expect("recovered");
    assert_eq!((recovered.records, recovered.through), (3, stamp(9)));
    let log = place.start(recovered);
    log.cut(Revision(6)).expect("a cut");
    assert_eq!(place.segments().len(), 2, "the old one has what the snapshot has not");
    log.cut(Revision(9)).expect("a cut");
    assert_eq!(place.segments().len(), 1);
    drop(log);
    assert!(place.recover(EMPTY).is_err_and(|error| error.is_refusal()), "revisions are missing");
    assert_eq!(place.recover(stamp(9)).expect("recovered").through, stamp(9));
}

#[test]
fn a_tail_that_is_cut_anywhere_leaves_a_prefix() {
    let place = Place::new();
    let log = place.open();
    for _ in 0..4 {
        write_batch(&log, 2);
    }
    drop(log);
    let path = place.last_segment();
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
    let whole = file.metadata().expect("a file").len();
    let mut last = 8;
    for length in (128..whole).rev() {
        file.set_len(length).expect("cut");
        let found = place.last();
        assert!(found == last || found + 1 == last, "{found} after {last}");
        last = found;
    }
    assert_eq!(last, 0);
}

#[test]
fn leftovers_of_starts_and_cuts_that_were_interrupted_are_removed() {
    let mut place = Place::new();
    place.options.segment_bytes = 300;
    let log = place.open();
    for _ in 0..20 {
        write_batch(&log, 2);
    }
    drop(log);
    let paths = place.segments();
    assert!(paths.len() > 6);
    // As if a cut had removed the third, and a crash had kept the first two from being removed.
    std::fs::remove_file(&paths[2]).expect("removed");
    let unfinished = place.options.dir.join(format!("{:016}.log.new", paths.len() + 1));
    std::fs::write(&unfinished, b"half a header").expect("written");
    assert!(place.recover(EMPTY).is_err_and(|error| error.is_refusal()));
    let log = place.start(place.recover(stamp(30)).expect("recovered"));
    assert_eq!(log.stats().last, Revision(40));
    let left = place.segments();
    assert!(!left.contains(&paths[0]) && !left.contains(&paths[1]) && !unfinished.exists());
    assert_eq!(left.len(), paths.len() - 3 + 1);
}

#[test]
fn what_may_not_be_on_disk_is_written_again_before_anybody_is_told() {
    let place = Place::new();
    let log = place.open();
    write_batch(&log, 2);
    write_batch(&log, 3);
    drop(log);
    for _ in 0..3 {
        let recovered = place.recover(EMPTY).expect("recovered");
        let suspect = recovered.through.revision.0 - recovered.durable.0;
        assert_eq!(recovered.through, stamp(5));
        let log = place.start(recovered);
        // The new segment has what was suspect, and is enough together with what was durable.
        assert_eq!(log.synced().get(), 5);
        assert_eq!(read_back(&log, 5 - suspect), suspect);
        drop(log);
        let first = place.segments().remove(0);
        let bytes = std::fs::read(&first).expect("a file");
        let file = std::fs::OpenOptions::new().write(true).open(&first).expect("a file");
        let keep = bytes.len() as u64 - 40;
        file.set_len(keep).expect("the suspect end of the first segment is lost");
        assert_eq!(place.last(), 5);
        std::fs::write(&first, bytes).expect("written");
    }
}

#[test]
fn an_empty_log_is_never_begun_over_one_that_is_there() {
    let place = Place::new();
    write_batch(&place.open(), 2);
    let begun = Log::start(place.fs.clone(), place.options.clone(), Recovered::empty(EMPTY));
    assert!(begun.is_err_and(|error| error.is_refusal()));
    assert_eq!(place.last(), 2);
}

#[test]
fn a_log_may_begin_after_a_snapshot_that_was_restored() {
    let place = Place::new();
    let log = place.start(Recovered::empty(stamp(41)));
    assert_eq!(commit_and_write(&log), 42);
    drop(log);
    let recovered = place.recover(stamp(41)).expect("recovered");
    assert_eq!((recovered.records, recovered.through), (1, stamp(42)));
    let identity = identity(&*place.fs, &place.options.dir).expect("readable").expect("a segment");
    assert_eq!(identity.0, place.options.database);
}

#[test]
fn a_start_over_and_over_takes_little_space() {
    let mut place = Place::new();
    place.options.allocate_bytes = 1 << 20;
    for _ in 0..10 {
        write_batch(&place.open(), 1);
    }
    let length = |path: &std::path::PathBuf| path.metadata().expect("a file").len();
    let total: u64 = place.segments().iter().map(length).sum();
    assert!(total < 2 << 20, "{total} bytes");
    assert_eq!(place.last(), 10);
}
