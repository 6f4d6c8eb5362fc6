//! Files that were damaged, copied, renamed or lost: refused, or what was durable is found.

use std::path::Path;

use kv_core::Revision;
use kv_persist::Error;
use kv_persist::log::verify;
use kv_persist::stored::{DatabaseId, EMPTY};

use crate::support::{Place, commit_and_write, edit, flip, stamp, write_batch};

const HEADER_BYTES: usize = 128;

/// The end of a file but for the zeros that were allocated ahead.
fn end_of(path: &Path) -> usize {
    let bytes = std::fs::read(path).expect("a file");
    bytes.iter().rposition(|&byte| byte != 0).expect("more than zeros") + 1
}

/// Batches of two commits each, in one segment; the offsets at which they end.
fn batches(place: &Place, count: u64) -> Vec<usize> {
    let log = place.open();
    let path = place.last_segment();
    let write = |_| {
        write_batch(&log, 2);
        end_of(&path)
    };
    (0..count).map(write).collect()
}

#[test]
fn no_flipped_bit_is_taken_for_data_or_loses_what_was_durable() {
    let place = Place::new();
    let ends = batches(&place, 3);
    let path = place.last_segment();
    let last_batch = ends[1]..ends[2];
    for at in 0..ends[2] + 40 {
        for bit in 0..8 {
            flip(&path, at, 1 << bit);
            match place.recover(EMPTY) {
                // Every record that was handed over was compared with what it should be.
                Ok(recovered) if at >= ends[2] => {
                    assert_eq!(recovered.through, stamp(6));
                    assert_eq!(recovered.torn.map(|torn| torn.after), Some(Revision(6)));
                }
                Ok(recovered) => {
                    assert!(last_batch.contains(&at), "byte {at} is in no torn tail");
                    assert!((4..6).contains(&recovered.through.revision.0), "byte {at}");
                    assert!(recovered.torn.is_some(), "byte {at} was not said to be torn");
                }
                Err(error) => {
                    assert!(error.is_refusal(), "byte {at}: {error}");
                    assert!(at < last_batch.start, "byte {at}: {error}");
                }
            }
            flip(&path, at, 1 << bit);
        }
    }
    assert_eq!(place.last(), 6);
}

#[test]
fn no_flipped_bit_of_what_a_start_carried_over_is_overlooked() {
    let place = Place::new();
    batches(&place, 2);
    drop(place.open());
    let path = place.last_segment();
    let end = end_of(&path);
    assert!(end > HEADER_BYTES, "the last batch was suspect, and is carried over");
    for at in 0..end {
        flip(&path, at, 4);
        place.refusal();
        flip(&path, at, 4);
    }
    assert_eq!(place.last(), 4);
}

#[test]
fn damage_is_named_with_file_offset_and_revision() {
    let place = Place::new();
    let ends = batches(&place, 3);
    let path = place.last_segment();
    flip(&path, ends[0] + 40, 1);
    let error = place.refusal();
    assert!(matches!(error, Error::Damaged { offset, .. } if offset == Some(ends[0] as u64 + 32)));
    let text = error.to_string();
    assert!(text.contains("0000000000000001.log"), "{text}");
    assert!(text.contains("after revision 2, although everything through revision 4"), "{text}");
    let verified = verify(&*place.fs, &place.options, EMPTY).expect("readable");
    assert_eq!((verified.faults.len(), verified.records), (1, 2));
}

#[test]
fn a_torn_tail_is_kept_aside_and_then_cut_off() {
    let place = Place::new();
    let ends = batches(&place, 2);
    let path = place.last_segment();
    edit(&path, |bytes| {
        bytes.truncate(ends[1]);
        bytes[ends[0] + 33] ^= 1;
    });
    let torn_bytes = std::fs::read(&path).expect("a file")[ends[0] + 32..].to_vec();
    let verified = verify(&*place.fs, &place.options, EMPTY).expect("readable");
    assert_eq!((verified.faults.len(), verified.remarks.len()), (0, 1));
    let recovered = place.recover(EMPTY).expect("a torn tail");
    let torn = recovered.torn.clone().expect("torn");
    assert_eq!((torn.offset, torn.bytes as usize), (ends[0] as u64 + 32, torn_bytes.len()));
    let log = place.start(recovered);
    assert_eq!(commit_and_write(&log), 3);
    drop(log);
    let aside = place.options.dir.join(format!("0000000000000001-{}.torn", torn.offset));
    assert_eq!(std::fs::read(aside).expect("a copy"), torn_bytes);
    let recovered = place.recover(EMPTY).expect("a log");
    assert_eq!((recovered.through, recovered.torn), (stamp(3), None));
}

#[test]
fn zeros_and_stale_bytes_are_the_end_of_the_log() {
    let place = Place::new();
    let ends = batches(&place, 2);
    let path = place.last_segment();
    edit(&path, |bytes| bytes.resize(ends[1] + 4096, 0));
    let recovered = place.recover(EMPTY).expect("a log");
    assert_eq!((recovered.through, recovered.torn), (stamp(4), None));
    // As if the space had belonged to a segment before: batches with older numbers.
    edit(&path, |bytes| {
        let batch = bytes[HEADER_BYTES..ends[0]].to_vec();
        bytes.splice(ends[1].., batch);
    });
    let recovered = place.recover(EMPTY).expect("a log");
    assert_eq!(recovered.through, stamp(4));
    assert_eq!(
        recovered.torn.map(|torn| torn.what),
        Some("a batch has a number that does not follow")
    );
}

#[test]
fn batches_of_another_segment_are_no_batches() {
    let place = Place::new();
    batches(&place, 1);
    let first = place.last_segment();
    let log = place.open();
    commit_and_write(&log);
    drop(log);
    let second = place.last_segment();
    let foreign = std::fs::read(&first).expect("a file")[HEADER_BYTES..end_of(&first)].to_vec();
    let end = end_of(&second);
    edit(&second, |bytes| bytes.splice(end.., foreign).for_each(drop));
    let recovered = place.recover(EMPTY).expect("a log");
    assert_eq!(recovered.through, stamp(3));
    assert_eq!(recovered.torn.map(|torn| torn.what), Some("no valid batch begins here"));
}

/// Three segments, with two commits each.
fn three_segments() -> Place {
    let place = Place::new();
    for _ in 0..3 {
        let log = place.open();
        write_batch(&log, 2);
        log.close().expect("a close");
    }
    assert_eq!(place.segments().len(), 3);
    assert_eq!(place.last(), 6);
    place
}

#[test]
fn segments_that_are_missing_swapped_or_duplicated_are_refused() {
    let remove = |at: usize| {
        move |paths: &[std::path::PathBuf]| std::fs::remove_file(&paths[at]).expect("removed")
    };
    let place = three_segments();
    remove(1)(&place.segments());
    assert!(matches!(place.refusal(), Error::Mismatch { .. }));

    let place = three_segments();
    remove(0)(&place.segments());
    let text = place.refusal().to_string();
    assert!(text.contains("revisions 1 to 2 is missing"), "{text}");
    assert_eq!(place.recover(stamp(2)).expect("enough").through, stamp(6));

    let place = three_segments();
    let paths = place.segments();
    std::fs::rename(&paths[0], place.options.dir.join("x")).expect("renamed");
    std::fs::rename(&paths[1], &paths[0]).expect("renamed");
    std::fs::rename(place.options.dir.join("x"), &paths[1]).expect("renamed");
    assert!(matches!(place.refusal(), Error::Mismatch { .. }));

    let place = three_segments();
    let copy = place.options.dir.join("0000000000000004.log");
    std::fs::copy(&place.segments()[1], copy).expect("copied");
    let text = place.refusal().to_string();
    assert!(text.contains("by its header this is segment 2"), "{text}");
}

#[test]
fn the_last_segment_s_loss_is_noticed_by_what_the_snapshot_has() {
    let place = three_segments();
    std::fs::remove_file(place.last_segment()).expect("removed");
    assert_eq!(place.last(), 4, "without a snapshot nothing tells");
    assert!(place.recover(stamp(5)).is_err_and(|error| error.is_refusal()));
    for path in place.segments() {
        std::fs::remove_file(path).expect("removed");
    }
    assert!(place.recover(stamp(5)).is_err_and(|error| error.is_refusal()));
    assert_eq!(place.last(), 0, "without either it is a new database");
}

#[test]
fn a_segment_of_another_database_or_from_the_future_is_refused() {
    let place = three_segments();
    let mut other = Place::new();
    other.options.database = DatabaseId([8; 16]);
    for _ in 0..3 {
        write_batch(&other.open(), 2);
    }
    std::fs::copy(other.last_segment(), place.last_segment()).expect("copied");
    let text = place.refusal().to_string();
    assert!(text.contains("another database"), "{text}");

    let place = three_segments();
    edit(&place.last_segment(), |bytes| bytes[8] = 3);
    assert!(matches!(place.refusal(), Error::FromTheFuture { found: 3, known: 2, .. }));
}

#[test]
fn a_segment_of_the_same_database_in_another_life_is_refused() {
    // A copy of the directory went its own way, and one of its segments came back.
    let (place, other) = (three_segments(), Place::new());
    for path in place.segments() {
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, other.options.dir.join(name)).expect("copied");
    }
    write_batch(&place.open(), 2);
    let log = place.open();
    write_batch(&log, 2);
    drop(log);
    let log = other.open();
    write_batch(&log, 1);
    log.close().expect("closed");
    let fifth = other.open();
    drop(fifth);
    let last = place.last_segment();
    std::fs::copy(other.options.dir.join(last.file_name().expect("a name")), &last)
        .expect("copied");
    place.refusal();
}
