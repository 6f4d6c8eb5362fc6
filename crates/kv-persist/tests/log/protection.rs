//! Compression and encryption of the log.

use std::sync::Arc;

use kv_core::{Change, CommitLog, CommitSize, Datum, Payload, Revision, ValueKind, Version};
use kv_persist::Error;
use kv_persist::compress::Compression;
use kv_persist::crypt::{Cipher, MasterKey};
use kv_persist::log::{Log, Protection};
use kv_persist::stored::{DatabaseId, EMPTY};

use crate::support::{Place, flip, read_back, stamp, write_batch};

fn cipher(letter: char) -> Arc<Cipher> {
    let key = MasterKey::from_text(&letter.to_string().repeat(64)).expect("a key");
    Arc::new(Cipher::new(&key, DatabaseId([7; 16])))
}

fn protected(compression: Compression, cipher: Option<Arc<Cipher>>) -> Place {
    let mut place = Place::new();
    place.options.protection = Protection { compression, cipher };
    place
}

const SECRET: &[u8] = b"nobody knows the trouble I have seen, nobody knows but ";

fn commit_secret(log: &Log, copies: usize) {
    let (value, revision) = (SECRET.repeat(copies), log.stats().last.0 + 1);
    let datum = Datum { bytes: &value, kind: ValueKind::Text, expires_ms: None };
    let change = Change { key: b"secret", version: Version(revision), datum: Some(datum) };
    let size = CommitSize { changes: 1, bytes: value.len() + 6 };
    let reserved = log.reserve(size).or_else(|_| {
        log.write_pending().expect("a step");
        log.reserve(size)
    });
    let mut payload = Payload::new();
    log.encode(&mut std::iter::once(change), &mut payload);
    log.append(stamp(revision), &mut payload, reserved.expect("space"));
    assert!(log.write_pending().expect("a write"));
}

#[test]
fn what_was_protected_is_read_as_it_was() {
    for compression in Compression::ALL {
        for cipher in [None, Some(cipher('a'))] {
            let place = protected(compression, cipher.clone());
            let log = place.open();
            for _ in 0..20 {
                write_batch(&log, 3);
            }
            assert_eq!(read_back(&log, 0), 60);
            drop(log);
            assert_eq!(read_back(&place.open(), 30), 30);

            let place = protected(compression, cipher.clone());
            let log = place.open();
            for copies in [3, 100, 3000] {
                commit_secret(&log, copies);
            }
            let is_compressed = compression != Compression::None;
            let is_short = log.stats().written_bytes < 20_000;
            assert_eq!(is_short, is_compressed, "{compression:?}");
            let bytes = std::fs::read(place.last_segment()).expect("a file");
            let is_readable = bytes.windows(SECRET.len()).any(|window| window == SECRET);
            assert_eq!(is_readable, cipher.is_none() && !is_compressed);
            let mut lengths = Vec::new();
            let read = log.reader(Revision(0)).read(Revision(3), u64::MAX, &mut |record| {
                let change = record.changes().next().expect("a change")?;
                let datum = change.datum.expect("a value");
                assert!(datum.bytes.chunks(SECRET.len()).all(|chunk| chunk == SECRET));
                lengths.push(datum.bytes.len() / SECRET.len());
                Ok(())
            });
            read.expect("readable");
            assert_eq!(lengths, [3, 100, 3000]);
        }
    }
}

#[test]
fn a_wrong_missing_or_needless_key_is_refused_and_changes_nothing() {
    let mut place = protected(Compression::None, Some(cipher('a')));
    write_batch(&place.open(), 2);
    for wrong in [None, Some(cipher('b'))] {
        place.options.protection.cipher = wrong;
        assert!(matches!(place.refusal(), Error::Key { .. }));
    }
    place.options.protection.cipher = Some(cipher('a'));
    assert_eq!(place.last(), 2);

    let mut place = Place::new();
    write_batch(&place.open(), 2);
    place.options.protection.cipher = Some(cipher('a'));
    assert!(matches!(place.refusal(), Error::Key { .. }));
}

#[test]
fn a_flipped_bit_is_found_before_the_seal_is_broken() {
    let place = protected(Compression::Lz4, Some(cipher('a')));
    let log = place.open();
    commit_secret(&log, 50);
    commit_secret(&log, 50);
    drop(log);
    let path = place.last_segment();
    flip(&path, 128 + 32 + 30, 1);
    assert!(matches!(place.refusal(), Error::Damaged { offset: Some(160), .. }));
    flip(&path, 128 + 32 + 30, 1);
    let recovered = kv_persist::log::recover(&*place.fs, &place.options, EMPTY, &mut |_| Ok(()));
    assert_eq!(recovered.expect("recovered").through, stamp(2));
}
