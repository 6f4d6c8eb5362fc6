//! What a commit's payload in the log looks like: its changes, one after the other, till the
//! payload ends, and perhaps a mark before them. Nothing outside this file knows that bincode
//! writes them.
//!
//! ```text
//!   change   key       length, bytes
//!            version   integer
//!            value     0: a delete.  1: a value follows
//!            kind      0 text or any bytes, 1 JSON; others are to come
//!            expires   0: never.  1: an integer follows, milliseconds since the Unix epoch
//!            bytes     length, bytes
//!   mark     0, 0, 0   every key that is not among the changes is deleted: a wipe
//! ```
//!
//! The mark is a change of the key that has no bytes, and no key is that. Format 1 has none.
//!
//! Lengths and integers take 1 byte up to 250, else a byte that tells their width and 2, 4 or 8
//! bytes, little endian (bincode 2, its standard configuration). Decoding borrows: it allocates
//! nothing, whatever lengths the bytes claim, and refuses whatever encoding would not have written.

use std::fmt;

use bincode::config::{self, Configuration};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use kv_core::{Change, CommitSize, Datum, Payload, ValueKind, Version};

const CONFIGURATION: Configuration = config::standard();

/// Most bytes of an integer or a length: one that tells the width, and eight.
const INTEGER_BYTES_MAX: usize = 9;
/// Most bytes that a change takes beside its key and value: two lengths, the version, the expiry,
/// and three tags.
const CHANGE_BYTES_MAX: usize = 4 * INTEGER_BYTES_MAX + 3;
/// Changes that are sure to be no longer than this are encoded on the stack and appended whole:
/// appending each of a change's eight parts costs more than copying all of it once.
const SHORT_BYTES_MAX: usize = 256;

/// A change as bincode sees it: key, version, and for a value kind, expiry and bytes.
type Encoded<'a> = (&'a [u8], u64, Option<(u8, Option<u64>, &'a [u8])>);

/// The bytes are no changes, although their checksum was right: another program wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPayload;

impl fmt::Display for BadPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its checksum is right, but its content is not a commit's changes")
    }
}

impl std::error::Error for BadPayload {}

/// Most bytes that a commit of this size may take.
pub fn size_max(size: CommitSize) -> usize {
    size.bytes.saturating_add(size.changes.saturating_mul(CHANGE_BYTES_MAX))
}

/// What the payload of a wipe begins with.
const WIPE: [u8; 3] = [0; 3];

/// Begins a payload with the mark of a wipe.
pub fn encode_wipe(payload: &mut Payload) {
    debug_assert!(payload.is_empty(), "the mark comes first");
    payload.extend_from_slice(&WIPE);
}

/// Whether a payload is that of a wipe.
pub fn is_wipe(payload: &[u8]) -> bool {
    payload.starts_with(&WIPE)
}

/// Appends changes to a payload.
pub fn encode(changes: &mut dyn Iterator<Item = Change<'_>>, payload: &mut Payload) {
    let mut appender = Appender(payload);
    for change in changes {
        let value =
            change.datum.map(|datum| (kind_code(datum.kind), datum.expires_ms, datum.bytes));
        let encoded: Encoded<'_> = (change.key, change.version.0, value);
        let data_bytes = change.key.len() + change.datum.map_or(0, |datum| datum.bytes.len());
        if data_bytes <= SHORT_BYTES_MAX - CHANGE_BYTES_MAX {
            let mut short = [0; SHORT_BYTES_MAX];
            let length = bincode::encode_into_slice(encoded, &mut short, CONFIGURATION)
                .expect("what is short fits");
            appender.0.extend_from_slice(&short[..length]);
        } else {
            bincode::encode_into_writer(encoded, &mut appender, CONFIGURATION)
                .expect("bytes and integers can always be encoded");
        }
    }
}

/// The changes of a payload. Ends after the first error.
pub fn changes(payload: &[u8]) -> Changes<'_> {
    Changes { rest: payload.strip_prefix(&WIPE).unwrap_or(payload) }
}

/// An iterator over the changes of a payload.
#[derive(Debug, Clone)]
pub struct Changes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, BadPayload>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let decoded = decode(self.rest);
        self.rest = decoded.map_or(&[], |(_, rest)| rest);
        Some(decoded.map(|(change, _)| change).ok_or(BadPayload))
    }
}

/// The first change, and what follows it.
fn decode(bytes: &[u8]) -> Option<(Change<'_>, &[u8])> {
    let (encoded, length): (Encoded<'_>, usize) =
        bincode::borrow_decode_from_slice(bytes, CONFIGURATION).ok()?;
    let (key, version, value) = encoded;
    if key.is_empty() {
        return None;
    }
    let datum = match value {
        None => None,
        Some((code, expires_ms, bytes)) => Some(Datum { bytes, kind: kind(code)?, expires_ms }),
    };
    Some((Change { key, version: Version(version), datum }, bytes.get(length..)?))
}

fn kind_code(kind: ValueKind) -> u8 {
    match kind {
        ValueKind::Text => 0,
        ValueKind::Json => 1,
    }
}

fn kind(code: u8) -> Option<ValueKind> {
    match code {
        0 => Some(ValueKind::Text),
        1 => Some(ValueKind::Json),
        _ => None,
    }
}

struct Appender<'a>(&'a mut Payload);

impl Writer for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Vec<u8>, u64, Option<(bool, Option<u64>, Vec<u8>)>);

    fn borrowed((key, version, value): &Owned) -> Change<'_> {
        let datum = value.as_ref().map(|(is_json, expires_ms, bytes)| Datum {
            bytes,
            kind: if *is_json { ValueKind::Json } else { ValueKind::Text },
            expires_ms: *expires_ms,
        });
        Change { key, version: Version(*version), datum }
    }

    fn encoded(owned: &[Owned]) -> Payload {
        let mut payload = Payload::new();
        encode(&mut owned.iter().map(borrowed), &mut payload);
        payload
    }

    #[test]
    fn the_bytes_are_those_of_the_published_format() {
        let owned = [
            (b"k".to_vec(), 1, Some((true, Some(1000), b"42".to_vec()))),
            (b"k2".to_vec(), 300, None),
        ];
        let wanted =
            [1, b'k', 1, 1, 1, 1, 251, 0xe8, 3, 2, b'4', b'2', 2, b'k', b'2', 251, 44, 1, 0];
        assert_eq!(encoded(&owned)[..], wanted);
    }

    #[test]
    fn the_mark_of_a_wipe_comes_first_and_counts_as_a_change() {
        let owned = [(b"k".to_vec(), 1, None)];
        let mut payload = Payload::new();
        encode_wipe(&mut payload);
        assert_eq!(changes(&payload).count(), 0);
        encode(&mut owned.iter().map(borrowed), &mut payload);
        assert_eq!(payload[..], [0, 0, 0, 1, b'k', 1, 0]);
        assert!(
            is_wipe(&payload) && payload.len() <= size_max(CommitSize { changes: 2, bytes: 1 })
        );
        let decoded: Vec<_> = changes(&payload).map(|change| change.expect("valid")).collect();
        assert_eq!(decoded, owned.iter().map(borrowed).collect::<Vec<_>>());
        assert!(!is_wipe(&encoded(&owned)));
    }

    #[test]
    fn a_length_beyond_the_end_and_an_unknown_kind_are_refused() {
        let twice = &[0; 6];
        let long = &[253, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        for bad in [&long[..], &[1, b'k', 1, 1, 2, 0, 0], twice] {
            let all: Vec<_> = changes(bad).collect();
            assert_eq!(all, [Err(BadPayload)]);
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_and_no_larger_than_promised(mut owned: Vec<Owned>) {
            // No key is empty.
            owned.iter_mut().for_each(|(key, ..)| key.push(b'k'));
            let payload = encoded(&owned);
            let decoded: Vec<_> = changes(&payload).map(|change| change.expect("valid")).collect();
            prop_assert_eq!(decoded, owned.iter().map(borrowed).collect::<Vec<_>>());
            let bytes = owned.iter().map(|(key, _, value)| {
                key.len() + value.as_ref().map_or(0, |(_, _, bytes)| bytes.len())
            });
            let size = CommitSize { changes: owned.len(), bytes: bytes.sum() };
            prop_assert!(payload.len() <= size_max(size));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let good = changes(&bytes).take_while(Result::is_ok).count();
            prop_assert!(good <= bytes.len());
        }

        #[test]
        fn no_cut_and_no_flip_makes_it_panic(owned: Vec<Owned>, at: usize, bit in 0..8u8) {
            let mut payload = encoded(&owned);
            if !payload.is_empty() {
                let at = at % payload.len();
                prop_assert!(changes(&payload[..at]).count() <= owned.len() + 1);
                payload[at] ^= 1 << bit;
                prop_assert!(changes(&payload).count() <= payload.len());
            }
        }
    }
}
