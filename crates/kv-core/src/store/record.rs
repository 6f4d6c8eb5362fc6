//! A record: one version of one key, in one allocation, immutable once it is committed.
//!
//! Layout, 24 bytes of header beside the 16 of reference count and length:
//!
//! ```text
//! count 8 | length 8 | revision 8 | time 48 bits, flags 16 | version 48 bits, key length 16 | key | value
//! ```
//!
//! With 16 bytes of key and 64 of value that is 120 bytes, one size class of the common
//! allocators. A handle is one word, and cloning it does not copy the bytes: a reader takes a
//! handle under the latch and copies outside it.
//!
//! The value of a record may be *elsewhere* (evicted to a log or a file); then the bytes after
//! the key say where, and whoever wants the value gets a [`Place`] to fetch it from.

use smallvec::SmallVec;
use triomphe::{Arc, ThinArc};

use crate::types::{Revision, ValueKind, Version};

const FLAG_TOMBSTONE: u64 = 1;
const FLAG_JSON: u64 = 2;
const FLAG_ELSEWHERE: u64 = 4;
const FLAG_BITS: u32 = 16;
const FLAG_MASK: u64 = (1 << FLAG_BITS) - 1;
const KEY_LEN_BITS: u32 = 16;
const KEY_LEN_MASK: u64 = (1 << KEY_LEN_BITS) - 1;
/// Keys and values up to this together are put side by side without a second allocation.
const SCRATCH_BYTES: usize = 512;

#[derive(Debug, Clone, Copy)]
struct Header {
    revision: u64,
    time_flags: u64,
    version_key_len: u64,
}

/// One version of one key. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Record(ThinArc<Header, u8>);

/// Where a value that is not in memory can be found. The engine does not interpret it: it hands
/// it to whoever is able to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which log segment, or which other store; the meaning is the fetcher's.
    pub area: u64,
    /// The position in it.
    pub offset: u64,
    /// The value's length in bytes.
    pub value_bytes: u64,
}

const PLACE_BYTES: usize = 24;

impl Place {
    fn to_bytes(self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..8].copy_from_slice(&self.area.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..].copy_from_slice(&self.value_bytes.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Place {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Place { area: word(0), offset: word(8), value_bytes: word(16) }
    }
}

impl Record {
    /// A value that is not committed yet: revision, version and time are stamped at commit.
    pub(crate) fn value(key: &[u8], value: &[u8], kind: ValueKind) -> Record {
        let flags = match kind {
            ValueKind::Text => 0,
            ValueKind::Json => FLAG_JSON,
        };
        Record::build(key, value, 0, flags, 0)
    }

    /// A delete that is not committed yet.
    pub(crate) fn tombstone(key: &[u8]) -> Record {
        Record::build(key, &[], 0, FLAG_TOMBSTONE, 0)
    }

    fn build(key: &[u8], rest: &[u8], revision: u64, time_flags: u64, version: u64) -> Record {
        debug_assert!(!key.is_empty() && key.len() <= crate::limits::KEY_BYTES_MAX);
        let key_len = key.len() as u64 - 1;
        let header =
            Header { revision, time_flags, version_key_len: version << KEY_LEN_BITS | key_len };
        let mut bytes: SmallVec<[u8; SCRATCH_BYTES]> =
            SmallVec::with_capacity(key.len() + rest.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(rest);
        Record(ThinArc::from_header_and_slice(header, &bytes))
    }

    /// The same version with its value elsewhere.
    pub(crate) fn to_elsewhere(&self, place: Place) -> Record {
        let header = self.header();
        let time_flags = header.time_flags | FLAG_ELSEWHERE;
        let version = self.version().0;
        Record::build(self.key(), &place.to_bytes(), header.revision, time_flags, version)
    }

    /// The same version with its value in memory again.
    pub(crate) fn to_resident(&self, value: &[u8]) -> Record {
        let header = self.header();
        let time_flags = header.time_flags & !FLAG_ELSEWHERE;
        Record::build(self.key(), value, header.revision, time_flags, self.version().0)
    }

    /// Makes it a committed version. Copies it if a reader of the own writes still shares it.
    pub(crate) fn stamp(&mut self, revision: Revision, version: Version, time_ms: u64) {
        let stamp = |header: &mut Header| {
            header.revision = revision.0;
            header.time_flags = time_ms << FLAG_BITS | header.time_flags & FLAG_MASK;
            header.version_key_len =
                version.0 << KEY_LEN_BITS | header.version_key_len & KEY_LEN_MASK;
        };
        let stamped = self.0.with_arc_mut(|arc| match Arc::get_mut(arc) {
            Some(unique) => {
                stamp(unique.header_mut());
                true
            }
            None => false,
        });
        if !stamped {
            let mut header = *self.header();
            stamp(&mut header);
            self.0 = ThinArc::from_header_and_slice(header, self.bytes());
        }
    }

    fn header(&self) -> &Header {
        &self.0.header.header
    }

    fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    fn key_len(&self) -> usize {
        (self.header().version_key_len & KEY_LEN_MASK) as usize + 1
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes()[..self.key_len()]
    }

    /// The value's bytes. Only for a record that is not elsewhere.
    pub(crate) fn value_bytes(&self) -> &[u8] {
        debug_assert!(self.place().is_none(), "the value of an evicted record is fetched first");
        &self.bytes()[self.key_len()..]
    }

    /// Where the value is, if not here.
    pub(crate) fn place(&self) -> Option<Place> {
        let elsewhere = self.header().time_flags & FLAG_ELSEWHERE != 0;
        elsewhere.then(|| Place::from_bytes(&self.bytes()[self.key_len()..]))
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.header().time_flags & FLAG_TOMBSTONE != 0
    }

    pub(crate) fn kind(&self) -> ValueKind {
        if self.header().time_flags & FLAG_JSON != 0 { ValueKind::Json } else { ValueKind::Text }
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.header().revision)
    }

    pub(crate) fn version(&self) -> Version {
        Version(self.header().version_key_len >> KEY_LEN_BITS)
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.header().time_flags >> FLAG_BITS
    }

    /// Bytes of memory that it holds, without the allocator's own.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Header>() + 2 * size_of::<usize>() + self.bytes().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_what_it_is_given() {
        let mut record = Record::value(b"key", b"value", ValueKind::Json);
        record.stamp(Revision(7), Version(3), 1_700_000_000_123);
        assert_eq!(record.key(), b"key");
        assert_eq!(record.value_bytes(), b"value");
        assert_eq!(record.kind(), ValueKind::Json);
        assert_eq!(record.revision(), Revision(7));
        assert_eq!(record.version(), Version(3));
        assert_eq!(record.time_ms(), 1_700_000_000_123);
        assert!(!record.is_tombstone());
    }

    #[test]
    fn the_longest_key_fits() {
        let key = vec![b'k'; crate::limits::KEY_BYTES_MAX];
        let record = Record::value(&key, b"", ValueKind::Text);
        assert_eq!(record.key().len(), key.len());
        assert_eq!(record.value_bytes(), b"");
    }

    #[test]
    fn stamping_a_shared_record_leaves_the_sharer_alone() {
        let mut record = Record::tombstone(b"k");
        let shared = record.clone();
        record.stamp(Revision(1), Version(1), 5);
        assert_eq!((record.revision(), shared.revision()), (Revision(1), Revision(0)));
        assert!(record.is_tombstone() && shared.is_tombstone());
    }

    #[test]
    fn a_value_goes_elsewhere_and_comes_back() {
        let mut record = Record::value(b"key", b"value", ValueKind::Json);
        record.stamp(Revision(7), Version(3), 11);
        let place = Place { area: 1, offset: 2, value_bytes: 5 };
        let away = record.to_elsewhere(place);
        assert_eq!((away.key(), away.place()), (&b"key"[..], Some(place)));
        assert_eq!((away.revision(), away.version()), (Revision(7), Version(3)));
        let back = away.to_resident(b"value");
        assert_eq!((back.value_bytes(), back.place()), (&b"value"[..], None));
        assert_eq!((back.kind(), back.time_ms()), (ValueKind::Json, 11));
    }

    #[test]
    fn sixteen_and_sixty_four_bytes_make_one_size_class() {
        let record = Record::value(&[b'k'; 16], &[b'v'; 64], ValueKind::Text);
        assert_eq!(record.memory_bytes(), 120);
        assert_eq!(size_of::<Option<Record>>(), 8);
    }
}
