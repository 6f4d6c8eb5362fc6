//! Rotation, reading while writing, and durability that nobody waits for.

use kv_core::{Change, CommitSize, Datum, ValueKind, Version};
use kv_core::{CommitLog, Payload, Revision};
use kv_persist::log::{Durability, Log};
use kv_persist::stored::EMPTY;

use crate::support::{Place, commit, commit_and_write, read_back, stamp, write_batch};

#[test]
fn segments_follow_each_other_and_are_cut_when_folded() {
    let mut place = Place::new();
    place.options.segment_bytes = 1000;
    let log = place.open();
    for _ in 0..60 {
        write_batch(&log, 2);
    }
    let segments = place.segments().len();
    assert!(segments > 5, "{segments} segments");
    assert_eq!(read_back(&log, 0), 120);
    log.cut(Revision(60)).expect("a cut");
    assert!(place.segments().len() < segments);
    assert_eq!(read_back(&log, 60), 60);
    let recovered = place.recover(stamp(60)).expect("recovered");
    assert_eq!(recovered.records, 60);
    log.cut(Revision(120)).expect("a cut");
    assert_eq!(place.segments().len(), 1);
}

#[test]
fn a_reader_goes_on_where_it_was_whatever_was_rotated_and_cut() {
    let mut place = Place::new();
    place.options.segment_bytes = 500;
    let log = place.open();
    let mut reader = log.reader(Revision(0));
    let mut read = Vec::new();
    for round in 0..40 {
        let last = write_batch(&log, 1 + round % 4);
        if round % 3 == 0 {
            assert!(log.rotate_if_folded(Revision(last)).is_ok());
        }
        // In small pieces, and never the same twice.
        while reader.after().0 < last {
            let before = reader.after();
            let piece = reader.read(Revision(last), 100, &mut |record| {
                read.push(record.stamp.revision.0);
                crate::support::check(record)
            });
            piece.expect("readable");
            assert!(reader.after() > before);
        }
        log.cut(reader.after()).expect("a cut");
    }
    assert!(read.iter().copied().eq(1..=log.synced().get()));
    assert!(place.segments().len() <= 2);
}

#[test]
fn after_an_error_a_reader_hands_over_the_same_again() {
    let place = Place::new();
    let log = place.open();
    write_batch(&log, 4);
    let mut reader = log.reader(Revision(1));
    let error = || kv_persist::Error::Key { what: String::from("not now") };
    let mut seen = Vec::new();
    let outcome = reader.read(Revision(4), u64::MAX, &mut |record| {
        seen.push(record.stamp.revision.0);
        if record.stamp.revision.0 == 3 { Err(error()) } else { Ok(()) }
    });
    assert!(outcome.is_err());
    assert_eq!((reader.after(), &seen[..]), (Revision(1), &[2, 3][..]));
    reader
        .read(Revision(4), u64::MAX, &mut |record| {
            seen.push(record.stamp.revision.0);
            Ok(())
        })
        .expect("readable");
    assert_eq!(seen, [2, 3, 2, 3, 4]);
}

#[test]
fn a_clean_end_leaves_nothing_to_carry_over_or_to_replay() {
    let place = Place::new();
    let log = place.open();
    write_batch(&log, 3);
    log.close().expect("a close");
    assert_eq!(place.recover(EMPTY).expect("recovered").durable, Revision(3));
    assert!(!log.rotate_if_folded(Revision(2)).expect("a step"));
    assert!(log.rotate_if_folded(Revision(3)).expect("a step"));
    assert!(!log.rotate_if_folded(Revision(3)).expect("a step"), "it is empty already");
    log.cut(Revision(3)).expect("a cut");
    drop(log);
    let recovered = place.recover(stamp(3)).expect("recovered");
    assert_eq!((recovered.records, recovered.through), (0, stamp(3)));
    assert_eq!(commit_and_write(&place.start(recovered)), 4);
}

#[test]
fn without_fsync_nobody_waits_and_what_is_synced_is_known() {
    for durability in [Durability::Interval, Durability::None] {
        let mut place = Place::new();
        place.options.durability = durability;
        let log = place.open();
        assert_eq!(log.durable().get(), u64::MAX);
        write_batch(&log, 3);
        write_batch(&log, 3);
        assert_eq!((log.synced().get(), log.stats().syncs), (0, 0));
        assert_eq!(place.recover(EMPTY).expect("recovered").durable, Revision(0));
        log.sync().expect("a sync");
        assert_eq!((log.synced().get(), log.stats().syncs), (6, 1));
        write_batch(&log, 1);
        assert_eq!(place.recover(EMPTY).expect("recovered").durable, Revision(6));
        log.close().expect("a close");
        let recovered = place.recover(EMPTY).expect("recovered");
        assert_eq!((recovered.through, recovered.durable), (stamp(7), Revision(7)));
    }
}

/// Commits one value of so many bytes.
fn commit_large(log: &Log, bytes: usize) -> u64 {
    let revision = log.stats().last.0 + 1;
    let value = vec![revision as u8; bytes];
    let datum = Datum { bytes: &value, kind: ValueKind::Text, expires_ms: None };
    let change = Change { key: b"large", version: Version(revision), datum: Some(datum) };
    let size = CommitSize { changes: 1, bytes: bytes + 5 };
    let reserved = loop {
        match log.reserve(size) {
            Ok(reserved) => break reserved,
            Err(_) => {
                log.write_pending().expect("a step");
            }
        }
    };
    let mut payload = Payload::new();
    log.encode(&mut std::iter::once(change), &mut payload);
    log.append(stamp(revision), &mut payload, reserved);
    revision
}

#[test]
fn large_commits_go_between_small_ones_whatever_their_size() {
    let mut place = Place::new();
    place.options.segment_bytes = 100 << 10;
    let log = place.open();
    for bytes in [64 << 10, (64 << 10) - 20, (1 << 20) + 7, 3 << 20, 1] {
        commit_large(&log, bytes);
        commit_large(&log, bytes + 1);
        assert!(log.write_pending().expect("a write"));
        commit_large(&log, 10);
        commit_large(&log, bytes);
        commit_large(&log, 10);
        assert!(log.write_pending().expect("a write"));
    }
    let mut sizes = Vec::new();
    log.reader(Revision(0))
        .read(Revision(25), u64::MAX, &mut |record| {
            let change = record.changes().next().expect("a change")?;
            let datum = change.datum.expect("a value");
            assert!(datum.bytes.iter().all(|&byte| u64::from(byte) == record.stamp.revision.0));
            sizes.push(datum.bytes.len());
            Ok(())
        })
        .expect("readable");
    assert_eq!(sizes.len(), 25);
    assert_eq!(sizes[10..15], [(1 << 20) + 7, (1 << 20) + 8, 10, (1 << 20) + 7, 10]);
}

#[test]
fn reserved_space_is_given_back() {
    let place = Place::new();
    let log = place.open();
    let size = CommitSize { changes: 2, bytes: 100 };
    let reserved = log.reserve(size).expect("space");
    assert_eq!(log.stats().held_bytes, reserved);
    log.release(reserved);
    assert_eq!(log.stats().held_bytes, 0);
    commit(&log).expect("space");
    let claimed = log.stats().held_bytes;
    log.write_pending().expect("a write");
    assert!(log.stats().held_bytes < claimed, "what a record does not need is given back");
    assert_eq!(log.stats().held_bytes, log.stats().written_bytes);
}
