//! What is found again, whatever happened to the files.

use kv_core::Revision;
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
