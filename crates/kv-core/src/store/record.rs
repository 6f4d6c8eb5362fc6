//! A record: one version of one key, in one allocation, immutable once it is committed.
//!
//! Layout, 16 bytes of header beside the 16 of reference count and length:
//!
//! ```text
//! count 64 | length 64 | revision 48, key length 16 | time 42, flags 6, version 16 | key | value
//! ```
//!
//! A version that does not fit 16 bits, which is rare, has eight bytes more at the end. With 16
//! bytes of key and 64 of value a record has 112 bytes, one size class of the common allocators.
//! A handle is one word, and cloning it does not copy the bytes: a reader takes a handle under
//! the latch and copies outside it.
//!
//! The value of a record may be *elsewhere* (evicted to a log or a file); then the bytes after
//! the key say where, and whoever wants the value gets a [`Place`] to fetch it from.

use smallvec::SmallVec;
use triomphe::{Arc, ThinArc};

use crate::durability::{Change, Datum, Stamp};
use crate::limits::{COMMIT_TIME_MS_MAX, REVISION_MAX};
use crate::types::{Revision, ValueKind, Version};

const FLAG_TOMBSTONE: u64 = 1;
const FLAG_JSON: u64 = 2;
const FLAG_ELSEWHERE: u64 = 4;
/// The version is in the last eight bytes.
const FLAG_LONG_VERSION: u64 = 8;
const FLAG_BITS: u32 = 6;
const FLAG_MASK: u64 = (1 << FLAG_BITS) - 1;
const VERSION_BITS: u32 = 16;
const VERSION_MASK: u64 = (1 << VERSION_BITS) - 1;
const LONG_VERSION_BYTES: usize = 8;
const KEY_LEN_BITS: u32 = 16;
const KEY_LEN_MASK: u64 = (1 << KEY_LEN_BITS) - 1;
/// Keys and values up to this together are put side by side without a second allocation.
const SCRATCH_BYTES: usize = 512;

const _: () = assert!(REVISION_MAX < 1 << (u64::BITS - KEY_LEN_BITS));
const _: () = assert!(COMMIT_TIME_MS_MAX < 1 << (u64::BITS - FLAG_BITS - VERSION_BITS));

#[derive(Debug, Clone, Copy)]
struct Header {
    revision_key_len: u64,
    time_flags_version: u64,
}

/// What is stamped on a record, and its flags.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    revision: u64,
    time_ms: u64,
    version: u64,
    flags: u64,
}

impl Marks {
    fn header(self, key_len: usize) -> Header {
        debug_assert!(self.revision <= REVISION_MAX && self.time_ms <= COMMIT_TIME_MS_MAX);
        let (flags, version) = match self.version {
            short if short <= VERSION_MASK => (self.flags & !FLAG_LONG_VERSION, short),
            _ => (self.flags | FLAG_LONG_VERSION, 0),
        };
        Header {
            revision_key_len: self.revision << KEY_LEN_BITS | (key_len as u64 - 1),
            time_flags_version: (self.time_ms << FLAG_BITS | flags) << VERSION_BITS | version,
        }
    }
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
        Record::build(key, value, Marks { flags: kind_flags(kind), ..Marks::default() })
    }

    /// As [`Record::value`], for a value that will probably get this version: it has room for it.
    pub(crate) fn value_for(key: &[u8], value: &[u8], kind: ValueKind, version: Version) -> Record {
        let marks = Marks { flags: kind_flags(kind), version: version.0, ..Marks::default() };
        Record::build(key, value, marks)
    }

    /// A delete that is not committed yet.
    pub(crate) fn tombstone(key: &[u8]) -> Record {
        Record::build(key, &[], Marks { flags: FLAG_TOMBSTONE, ..Marks::default() })
    }

    /// A version that was committed earlier.
    pub(crate) fn restored(
        key: &[u8],
        version: Version,
        stamp: Stamp,
        datum: Option<Datum<'_>>,
    ) -> Record {
        let flags = match datum {
            None => FLAG_TOMBSTONE,
            Some(datum) => kind_flags(datum.kind),
        };
        let Stamp { revision: Revision(revision), time_ms } = stamp;
        let marks = Marks { revision, time_ms, version: version.0, flags };
        Record::build(key, datum.map_or(&[], |datum| datum.bytes), marks)
    }

    fn build(key: &[u8], rest: &[u8], marks: Marks) -> Record {
        debug_assert!(!key.is_empty() && key.len() <= crate::limits::KEY_BYTES_MAX);
        let header = marks.header(key.len());
        let length = key.len() + rest.len();
        if length <= SCRATCH_BYTES && marks.version <= VERSION_MASK {
            let mut bytes = [0; SCRATCH_BYTES];
            bytes[..key.len()].copy_from_slice(key);
            bytes[key.len()..length].copy_from_slice(rest);
            return Record(ThinArc::from_header_and_slice(header, &bytes[..length]));
        }
        let mut bytes: SmallVec<[u8; SCRATCH_BYTES]> =
            SmallVec::with_capacity(length + LONG_VERSION_BYTES);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(rest);
        if marks.version > VERSION_MASK {
            bytes.extend_from_slice(&marks.version.to_le_bytes());
        }
        Record(ThinArc::from_header_and_slice(header, &bytes))
    }

    /// The same version with its value elsewhere.
    pub(crate) fn to_elsewhere(&self, place: Place) -> Record {
        let marks = self.marks();
        let flags = marks.flags | FLAG_ELSEWHERE;
        Record::build(self.key(), &place.to_bytes(), Marks { flags, ..marks })
    }

    /// The same version with its value in memory again.
    pub(crate) fn to_resident(&self, value: &[u8]) -> Record {
        let marks = self.marks();
        let flags = marks.flags & !FLAG_ELSEWHERE;
        Record::build(self.key(), value, Marks { flags, ..marks })
    }

    /// Makes it a committed version. Copies it if its length changes, or if a reader of the own
    /// writes still shares it.
    pub(crate) fn stamp(&mut self, revision: Revision, version: Version, time_ms: u64) {
        let flags = self.marks().flags;
        let marks = Marks { revision: revision.0, version: version.0, time_ms, flags };
        let header = marks.header(self.key_len());
        let is_long = version.0 > VERSION_MASK;
        let is_in_place = is_long == (flags & FLAG_LONG_VERSION != 0)
            && self.0.with_arc_mut(|arc| match Arc::get_mut(arc) {
                Some(unique) => {
                    *unique.header_mut() = header;
                    if is_long {
                        let bytes = unique.slice_mut();
                        let from = bytes.len() - LONG_VERSION_BYTES;
                        bytes[from..].copy_from_slice(&version.0.to_le_bytes());
                    }
                    true
                }
                None => false,
            });
        if !is_in_place {
            *self = Record::build(self.key(), self.rest(), marks);
        }
    }

    fn header(&self) -> &Header {
        &self.0.header.header
    }

    fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    fn flags(&self) -> u64 {
        self.header().time_flags_version >> VERSION_BITS & FLAG_MASK
    }

    fn marks(&self) -> Marks {
        Marks {
            revision: self.revision().0,
            time_ms: self.time_ms(),
            version: self.version().0,
            flags: self.flags(),
        }
    }

    fn key_len(&self) -> usize {
        (self.header().revision_key_len & KEY_LEN_MASK) as usize + 1
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes()[..self.key_len()]
    }

    /// What follows the key: the value, or its place.
    fn rest(&self) -> &[u8] {
        let long_version = usize::from(self.flags() & FLAG_LONG_VERSION != 0) * LONG_VERSION_BYTES;
        &self.bytes()[self.key_len()..self.bytes().len() - long_version]
    }

    /// The value's bytes. Only for a record that is not elsewhere.
    pub(crate) fn value_bytes(&self) -> &[u8] {
        debug_assert!(self.place().is_none(), "the value of an evicted record is fetched first");
        self.rest()
    }

    /// Where the value is, if not here.
    pub(crate) fn place(&self) -> Option<Place> {
        (self.flags() & FLAG_ELSEWHERE != 0).then(|| Place::from_bytes(self.rest()))
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.flags() & FLAG_TOMBSTONE != 0
    }

    pub(crate) fn kind(&self) -> ValueKind {
        if self.flags() & FLAG_JSON != 0 { ValueKind::Json } else { ValueKind::Text }
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.header().revision_key_len >> KEY_LEN_BITS)
    }

    pub(crate) fn version(&self) -> Version {
        if self.flags() & FLAG_LONG_VERSION == 0 {
            return Version(self.header().time_flags_version & VERSION_MASK);
        }
        let mut version = [0; LONG_VERSION_BYTES];
        version.copy_from_slice(&self.bytes()[self.bytes().len() - LONG_VERSION_BYTES..]);
        Version(u64::from_le_bytes(version))
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.header().time_flags_version >> (FLAG_BITS + VERSION_BITS)
    }

    /// Bytes of its key and value.
    pub(crate) fn data_bytes(&self) -> usize {
        self.key_len() + self.rest().len()
    }

    /// What a log keeps of it, with the version that it gets. Only for a record that is not
    /// elsewhere.
    pub(crate) fn change(&self, version: Version) -> Change<'_> {
        let datum = Datum { bytes: self.value_bytes(), kind: self.kind(), expires_ms: None };
        Change { key: self.key(), version, datum: (!self.is_tombstone()).then_some(datum) }
    }

    /// Bytes of memory that it holds, without the allocator's own.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Header>() + 2 * size_of::<usize>() + self.bytes().len()
    }
}

fn kind_flags(kind: ValueKind) -> u64 {
    match kind {
        ValueKind::Text => 0,
        ValueKind::Json => FLAG_JSON,
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
    fn versions_beyond_sixteen_bits_fit_too() {
        for version in [65_535, 65_536, u64::MAX] {
            let mut record = Record::value(b"key", b"value", ValueKind::Text);
            record.stamp(Revision(REVISION_MAX), Version(version), COMMIT_TIME_MS_MAX);
            assert_eq!(record.version(), Version(version));
            assert_eq!((record.key(), record.value_bytes()), (&b"key"[..], &b"value"[..]));
            assert_eq!(record.revision(), Revision(REVISION_MAX));
            assert_eq!(record.time_ms(), COMMIT_TIME_MS_MAX);
            let away = record.to_elsewhere(Place { area: 1, offset: 2, value_bytes: 5 });
            assert_eq!(away.to_resident(b"value").version(), Version(version));
        }
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
        assert_eq!(record.memory_bytes(), 112);
        assert_eq!(size_of::<Option<Record>>(), 8);
    }
}
