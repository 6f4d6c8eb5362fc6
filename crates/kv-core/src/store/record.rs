//! A record: one version of one key, in one allocation, immutable once it is committed.
//!
//! Layout, 16 bytes of header beside the 16 of reference count and length:
//!
//! ```text
//! count 64 | length 64 | revision 48, key length 16 | time 42, flags 6, version 16 | key | value
//! ```
//!
//! What few records have stands at the end, in eight bytes each: the time at which the version
//! expires, and then a version that does not fit 16 bits. With 16 bytes of key and 64 of value a
//! record has 112 bytes, one size class of the common allocators. A handle is one word, and
//! cloning it does not copy the bytes: a reader takes a handle under the latch and copies outside
//! it.
//!
//! Whether there is anything under a key is asked of its record in one place,
//! [`Record::is_live`]. A *delete* is never live; what expires is live until its time, by the
//! clock of whoever asks. Nothing changes in the store when that time comes.
//!
//! The value of a record may be *elsewhere* (evicted to a log or a file); then the bytes after
//! the key say where, and whoever wants the value gets a [`Place`] to fetch it from.

use smallvec::SmallVec;
use triomphe::{Arc, ThinArc};

use crate::durability::{Change, Datum, Stamp};
use crate::limits::{COMMIT_TIME_MS_MAX, EXPIRY_MS_MAX, REVISION_MAX, SPARE_BYTES_MAX};
use crate::types::{Revision, ValueKind, Version};

const FLAG_TOMBSTONE: u64 = 1;
const FLAG_JSON: u64 = 2;
const FLAG_ELSEWHERE: u64 = 4;
/// The version is in the last eight bytes.
const FLAG_LONG_VERSION: u64 = 8;
/// The time of expiry is in eight bytes at the end, before the version if that is there too.
const FLAG_EXPIRES: u64 = 16;
const FLAG_BITS: u32 = 6;
const FLAG_MASK: u64 = (1 << FLAG_BITS) - 1;
const VERSION_BITS: u32 = 16;
const VERSION_MASK: u64 = (1 << VERSION_BITS) - 1;
/// Of each of the words at the end.
const WORD_BYTES: usize = 8;
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
    expires_ms: Option<u64>,
    flags: u64,
}

impl Marks {
    /// The words at the end.
    fn tail(self) -> impl Iterator<Item = u64> {
        let long_version = (self.version > VERSION_MASK).then_some(self.version);
        self.expires_ms.into_iter().chain(long_version)
    }

    fn header(self, key_len: usize) -> Header {
        debug_assert!(self.revision <= REVISION_MAX && self.time_ms <= COMMIT_TIME_MS_MAX);
        debug_assert!(self.expires_ms.is_none_or(|at| at <= EXPIRY_MS_MAX));
        let (flags, version) = match self.version {
            short if short <= VERSION_MASK => (self.flags & !FLAG_LONG_VERSION, short),
            _ => (self.flags | FLAG_LONG_VERSION, 0),
        };
        let flags = match self.expires_ms {
            None => flags & !FLAG_EXPIRES,
            Some(_) => flags | FLAG_EXPIRES,
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

    /// As [`Record::value`], in the allocation of a record that nobody needs any more, if that has
    /// the right length: it is still in the processor's cache, as a new one would not be.
    pub(crate) fn value_in(
        spare: Option<Record>,
        key: &[u8],
        value: &[u8],
        kind: ValueKind,
    ) -> Record {
        if let Some(mut spare) = spare
            && spare.rewrite(key, value, kind)
        {
            return spare;
        }
        Record::value(key, value, kind)
    }

    /// Whether it may be kept as a spare one.
    pub(crate) fn is_small(&self) -> bool {
        self.bytes().len() <= SPARE_BYTES_MAX
    }

    /// Makes it another record of the same length; false if somebody shares it.
    fn rewrite(&mut self, key: &[u8], value: &[u8], kind: ValueKind) -> bool {
        debug_assert!(!key.is_empty() && key.len() <= crate::limits::KEY_BYTES_MAX);
        let marks = Marks { flags: kind_flags(kind), ..Marks::default() };
        self.bytes().len() == key.len() + value.len()
            && self.0.with_arc_mut(|arc| match Arc::get_mut(arc) {
                Some(unique) => {
                    *unique.header_mut() = marks.header(key.len());
                    let (its_key, its_value) = unique.slice_mut().split_at_mut(key.len());
                    its_key.copy_from_slice(key);
                    its_value.copy_from_slice(value);
                    true
                }
                None => false,
            })
    }

    /// As [`Record::value`], for a value that may expire, and that will probably get this version:
    /// it has room for it.
    pub(crate) fn value_for(key: &[u8], datum: Datum<'_>, version: Version) -> Record {
        let (flags, expires_ms) = (kind_flags(datum.kind), datum.expires_ms);
        let marks = Marks { flags, expires_ms, version: version.0, ..Marks::default() };
        Record::build(key, datum.bytes, marks)
    }

    /// A delete that is not committed yet.
    pub(crate) fn tombstone(key: &[u8]) -> Record {
        Record::build(key, &[], Marks { flags: FLAG_TOMBSTONE, ..Marks::default() })
    }

    /// Says that there is no such key, and never was: version 0, which every version follows. It
    /// is never shown, and gives way like others.
    pub(crate) fn nothing(key: &[u8]) -> Record {
        Record::tombstone(key)
    }

    /// Whether it says that there never was such a key.
    pub(crate) fn is_nothing(&self) -> bool {
        self.is_tombstone() && self.version() == Version(0)
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
        // A time that no clock here can reach is no other than the last that one can.
        let expires_ms = datum.and_then(|datum| datum.expires_ms).map(|at| at.min(EXPIRY_MS_MAX));
        let marks = Marks { revision, time_ms, version: version.0, expires_ms, flags };
        Record::build(key, datum.map_or(&[], |datum| datum.bytes), marks)
    }

    fn build(key: &[u8], rest: &[u8], marks: Marks) -> Record {
        debug_assert!(!key.is_empty() && key.len() <= crate::limits::KEY_BYTES_MAX);
        let header = marks.header(key.len());
        let length = key.len() + rest.len();
        let is_plain = marks.version <= VERSION_MASK && marks.expires_ms.is_none();
        if length <= SCRATCH_BYTES && is_plain {
            let mut bytes = [0; SCRATCH_BYTES];
            bytes[..key.len()].copy_from_slice(key);
            bytes[key.len()..length].copy_from_slice(rest);
            return Record(ThinArc::from_header_and_slice(header, &bytes[..length]));
        }
        let mut bytes: SmallVec<[u8; SCRATCH_BYTES]> =
            SmallVec::with_capacity(length + 2 * WORD_BYTES);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(rest);
        marks.tail().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
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
        let (flags, expires_ms) = (self.flags(), self.expires_ms());
        let marks = Marks { revision: revision.0, version: version.0, time_ms, expires_ms, flags };
        let header = marks.header(self.key_len());
        let is_long = version.0 > VERSION_MASK;
        let is_in_place = is_long == (flags & FLAG_LONG_VERSION != 0)
            && self.0.with_arc_mut(|arc| match Arc::get_mut(arc) {
                Some(unique) => {
                    *unique.header_mut() = header;
                    if is_long {
                        let bytes = unique.slice_mut();
                        let from = bytes.len() - WORD_BYTES;
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

    /// Something of both its ends, to have it in the cache.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        let last = self.bytes().last().copied().unwrap_or(0);
        self.header().revision_key_len.wrapping_add(u64::from(last))
    }

    /// Whether it is the same one, not one that is like it.
    pub(crate) fn is_same(&self, other: &Record) -> bool {
        std::ptr::eq(self.0.as_ptr(), other.0.as_ptr())
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
            expires_ms: self.expires_ms(),
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
        let words = (self.flags() & (FLAG_LONG_VERSION | FLAG_EXPIRES)).count_ones() as usize;
        &self.bytes()[self.key_len()..self.bytes().len() - words * WORD_BYTES]
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

    /// Whether it is a delete. Whether there is something to be seen is another question: see
    /// [`Record::is_live`].
    pub(crate) fn is_tombstone(&self) -> bool {
        self.flags() & FLAG_TOMBSTONE != 0
    }

    /// Whether there is something under the key, for whoever judges it at this time, which is
    /// asked for only if it matters.
    #[inline]
    pub(crate) fn is_live(&self, as_of_ms: impl FnOnce() -> u64) -> bool {
        match self.flags() & (FLAG_TOMBSTONE | FLAG_EXPIRES) {
            0 => true,
            FLAG_EXPIRES => self.expires_ms().is_some_and(|expires_ms| as_of_ms() < expires_ms),
            _ => false,
        }
    }

    /// Whether there is nothing under the key, or will be nothing some day if nobody writes it.
    pub(crate) fn is_mortal(&self) -> bool {
        self.flags() & (FLAG_TOMBSTONE | FLAG_EXPIRES) != 0
    }

    /// When it expires, in milliseconds since the Unix epoch; none is never.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        if self.flags() & FLAG_EXPIRES == 0 {
            return None;
        }
        let from_end = 1 + usize::from(self.flags() & FLAG_LONG_VERSION != 0);
        Some(self.word(from_end))
    }

    /// One of the words at the end; the last is 1.
    fn word(&self, from_end: usize) -> u64 {
        let from = self.bytes().len() - from_end * WORD_BYTES;
        let mut word = [0; WORD_BYTES];
        word.copy_from_slice(&self.bytes()[from..from + WORD_BYTES]);
        u64::from_le_bytes(word)
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
        Version(self.word(1))
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
        Change { key: self.key(), version, datum: (!self.is_tombstone()).then(|| self.datum()) }
    }

    /// Its value with what belongs to it. Only for a record that is not elsewhere, and no delete.
    pub(crate) fn datum(&self) -> Datum<'_> {
        Datum { bytes: self.value_bytes(), kind: self.kind(), expires_ms: self.expires_ms() }
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
    fn a_spare_record_becomes_another_of_its_length() {
        let mut spare = Record::value(b"key", b"value", ValueKind::Json);
        spare.stamp(Revision(7), Version(3), 11);
        let shared = spare.clone();
        let copy = Record::value_in(Some(spare), b"k", b"longer.", ValueKind::Text);
        assert!(!copy.is_same(&shared) && shared.value_bytes() == b"value");
        let same = Record::value_in(Some(copy.clone()), b"k", b"longer.", ValueKind::Text);
        assert!(!same.is_same(&copy), "it is shared");
        drop(same);
        let at = copy.0.as_ptr();
        let other = Record::value_in(Some(copy), b"other", b"abc", ValueKind::Text);
        assert_eq!((other.key(), other.value_bytes()), (&b"other"[..], &b"abc"[..]));
        assert_eq!((other.revision(), other.kind()), (Revision(0), ValueKind::Text));
        assert_eq!(other.0.as_ptr(), at);
        let longer = Record::value_in(Some(other), b"other", b"abcd", ValueKind::Text);
        assert_eq!(longer.value_bytes(), b"abcd");
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
    fn what_expires_is_live_until_its_time() {
        for version in [1, 65_535, 65_536] {
            let datum = Datum { bytes: b"value", kind: ValueKind::Json, expires_ms: Some(1000) };
            let mut record = Record::value_for(b"key", datum, Version(version));
            record.stamp(Revision(7), Version(version), 500);
            let away = record.to_elsewhere(Place { area: 1, offset: 2, value_bytes: 5 });
            for record in [&record, &away, &away.to_resident(b"value")] {
                assert_eq!((record.version(), record.expires_ms()), (Version(version), Some(1000)));
                assert!(record.is_live(|| 999) && !record.is_live(|| 1000));
            }
            assert_eq!(record.datum(), datum);
        }
    }

    #[test]
    fn a_time_is_asked_for_only_by_what_expires() {
        assert!(Record::value(b"k", b"v", ValueKind::Text).is_live(|| unreachable!()));
        assert!(!Record::tombstone(b"k").is_live(|| unreachable!()));
    }

    #[test]
    fn a_version_that_grows_long_leaves_the_expiry_in_its_place() {
        let datum = Datum { bytes: b"v", kind: ValueKind::Text, expires_ms: Some(9) };
        let mut record = Record::value_for(b"k", datum, Version(1));
        record.stamp(Revision(1), Version(70_000), 3);
        assert_eq!((record.version(), record.datum()), (Version(70_000), datum));
        record.stamp(Revision(2), Version(2), 4);
        assert_eq!((record.version(), record.datum()), (Version(2), datum));
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
