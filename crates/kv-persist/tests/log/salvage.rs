//! Damaged logs of which everything is found that was not damaged, and nothing else.

use std::path::Path;

use kv_core::{Change, Revision};
use kv_persist::codec;
use kv_persist::log::{FoundRecord, Salvaged, salvage};
use kv_persist::stored::EMPTY;

use crate::support::{Place, edit, flip, stamp, with_changes, write_batch};

const SEGMENT_HEADER_BYTES: usize = 128;
/// Where the salt is in it, without which nothing in a segment can be told from nonsense.
const SALT: std::ops::Range<usize> = 64..80;

/// What can be found; every record must be what its revision says.
fn salvaged(place: &Place) -> Salvaged {
    salvage(&*place.fs, &place.options, &mut |found| {
        check(found);
        Ok(())
    })
    .expect("a directory that can be read")
}

fn check(found: FoundRecord<'_>) {
    let revision = found.stamp.revision.0;
    assert_eq!(found.stamp, stamp(revision));
    let changes: Vec<Change<'_>> =
        codec::changes(found.payload).map(|change| change.expect("good")).collect();
    with_changes(revision, |wanted| assert_eq!(changes, wanted, "revision {revision}"));
}

/// A closed log of so many batches of three commits, in one segment.
fn filled(batches: u64) -> Place {
    let place = Place::new();
    let log = place.open();
    (0..batches).for_each(|_| {
        write_batch(&log, 3);
    });
    place
}

fn end_of(path: &Path) -> usize {
    let bytes = std::fs::read(path).expect("a file");
    bytes.iter().rposition(|&byte| byte != 0).expect("more than zeros") + 1
}

#[test]
fn a_flipped_bit_costs_one_record_at_most() {
    let place = filled(5);
    assert_eq!(salvaged(&place).revisions, [1..=15]);
    let path = place.last_segment();
    for at in 0..end_of(&path) {
        flip(&path, at, 1 << (at % 8));
        let found = salvaged(&place);
        let lost = 15 - found.records;
        let lost_max = if SALT.contains(&at) { 15 } else { u64::from(at >= SEGMENT_HEADER_BYTES) };
        assert!(lost <= lost_max, "byte {at}: {found:?}");
        assert_eq!(found.lost.is_empty(), !SALT.contains(&at), "byte {at}: {found:?}");
        let in_ranges = found.revisions.iter().map(|range| range.clone().count() as u64);
        assert_eq!(in_ranges.sum::<u64>(), found.records);
        flip(&path, at, 1 << (at % 8));
    }
}

#[test]
fn what_lies_behind_a_hole_is_found() {
    let place = filled(9);
    let path = place.last_segment();
    let end = end_of(&path);
    // Longer than a batch, so that whole headers are gone.
    edit(&path, |bytes| bytes[end / 3..end / 2].fill(0xb7));
    let found = salvaged(&place);
    let [before, after] = &found.revisions[..] else { panic!("{found:?}") };
    assert_eq!((*before.start(), *after.end()), (1, 27), "{found:?}");
    assert!(after.start() - before.end() > 3, "the hole is longer than a batch");
}

#[test]
fn what_was_cut_off_once_does_not_come_back() {
    let place = filled(3);
    let path = place.last_segment();
    // The last batch loses its first record: all of it is a torn tail.
    let bytes = std::fs::read(&path).expect("a file");
    let header = bytes.windows(4).rposition(|window| window == b"\xb7kvb").expect("a batch");
    flip(&path, header + 40, 1);
    let log = place.start(place.recover(EMPTY).expect("a torn tail is no damage"));
    assert_eq!(log.stats().last, Revision(6));
    assert_eq!(write_batch(&log, 1), 7);
    drop(log);
    let found = salvaged(&place);
    assert_eq!((found.revisions, found.records), (vec![1..=7], 7));
}
