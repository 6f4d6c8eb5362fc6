//! The header of a segment, and the name of its file.

use std::path::{Path, PathBuf};

use kv_core::{Revision, Stamp};

use super::batch::BatchNumber;
use super::bytes::{self, Reader, Writer};
use crate::crypt::KeyId;
use crate::error::Error;
use crate::stored::DatabaseId;

/// Length of a segment's header, in bytes.
pub(super) const SEGMENT_HEADER_BYTES: usize = 128;
/// The format that this program writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 2;

/// The oldest one that it reads. It lacks nothing but the mark of a wipe.
const FORMAT_MIN: u32 = 1;

const MAGIC: [u8; 8] = *b"kv-log\r\n";
const CHECKED_BYTES: usize = SEGMENT_HEADER_BYTES - 4;

/// The number of a segment: 1, 2, 3 …
pub(super) type SegmentNumber = u64;

/// A random number that seeds the checksums of one segment, so that bytes of another are never
/// taken for its own.
pub(super) type Salt = [u8; 16];

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) database: DatabaseId,
    pub(super) number: SegmentNumber,
    /// The last commit before those in this segment. It was durable when the segment got its name;
    /// what earlier segments have after it counts no longer.
    pub(super) base: Stamp,
    /// Through which revision the segment had records when it got its name: all durable.
    pub(super) carried_through: Revision,
    pub(super) salt: Salt,
    pub(super) key: KeyId,
    /// The number of its first batch.
    pub(super) first_batch: BatchNumber,
    /// The salt of the segment before it, by which the two know each other.
    pub(super) previous: Salt,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut header = [0; SEGMENT_HEADER_BYTES];
        Writer::new(&mut header)
            .put(&MAGIC)
            .put(&FORMAT.to_le_bytes())
            .put(&[0; 4])
            .put(&self.database.0)
            .put(&self.number.to_le_bytes())
            .put(&self.base.revision.0.to_le_bytes())
            .put(&self.base.time_ms.to_le_bytes())
            .put(&self.carried_through.0.to_le_bytes())
            .put(&self.salt)
            .put(&self.key.0)
            .put(&self.first_batch.to_le_bytes())
            .put(&self.previous);
        let checksum = crc32c::crc32c(&header[..CHECKED_BYTES]);
        header[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    /// Reads a header. `bytes` may be shorter than one, if the file is.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], and [`Error::FromTheFuture`].
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<SegmentHeader, Error> {
        let damaged = |what: &str| Error::Damaged {
            path: path.to_owned(),
            offset: Some(0),
            what: format!("{what}, and a segment gets its name only when its header is on disk"),
        };
        if bytes.len() < SEGMENT_HEADER_BYTES {
            return Err(damaged("it is shorter than its header"));
        }
        let mut reader = Reader::new(bytes);
        if reader.take::<8>() != MAGIC {
            return Err(damaged("it does not begin like a segment of the log"));
        }
        let format = u32::from_le_bytes(reader.take());
        if format > FORMAT {
            let (found, known) = (u64::from(format), u64::from(FORMAT));
            return Err(Error::FromTheFuture { path: path.to_owned(), found, known });
        }
        let checksum = bytes::u32_at(bytes, CHECKED_BYTES);
        let flags = u32::from_le_bytes(reader.take());
        let is_whole = checksum == crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        if !is_whole || format < FORMAT_MIN || flags != 0 {
            return Err(damaged("the checksum of its header is wrong"));
        }
        Ok(SegmentHeader::fields(reader))
    }

    /// Reads a header as if it said that it has a format that this program knows.
    ///
    /// # Errors
    ///
    /// As [`SegmentHeader::decode`].
    pub(super) fn decode_as_known(path: &Path, bytes: &[u8]) -> Result<SegmentHeader, Error> {
        let mut bytes = bytes[..bytes.len().min(SEGMENT_HEADER_BYTES)].to_vec();
        let mut decoded = SegmentHeader::decode(path, &bytes);
        for format in FORMAT_MIN..=FORMAT {
            if let (Err(_), Some(said)) = (&decoded, bytes.get_mut(MAGIC.len()..MAGIC.len() + 4)) {
                said.copy_from_slice(&format.to_le_bytes());
                decoded = SegmentHeader::decode(path, &bytes);
            }
        }
        decoded
    }

    /// Reads a header whatever its checksum says: each field may be right or wrong.
    pub(super) fn decode_unchecked(bytes: &[u8]) -> Option<SegmentHeader> {
        let header: &[u8; SEGMENT_HEADER_BYTES] = bytes.first_chunk()?;
        Some(SegmentHeader::fields(Reader::new(&header[MAGIC.len() + 8..])))
    }

    /// Reads what follows magic number, format and flags.
    fn fields(mut reader: Reader<'_>) -> SegmentHeader {
        SegmentHeader {
            database: DatabaseId(reader.take()),
            number: u64::from_le_bytes(reader.take()),
            base: Stamp {
                revision: Revision(u64::from_le_bytes(reader.take())),
                time_ms: u64::from_le_bytes(reader.take()),
            },
            carried_through: Revision(u64::from_le_bytes(reader.take())),
            salt: reader.take(),
            key: KeyId(reader.take()),
            first_batch: u64::from_le_bytes(reader.take()),
            previous: reader.take(),
        }
    }

    /// What the checksums of its batch headers begin with.
    pub(super) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.salt)
    }
}

/// The name of a segment's file.
pub(super) fn path(dir: &Path, number: SegmentNumber) -> PathBuf {
    dir.join(format!("{number:016}.log"))
}

/// The name that it has until its header, and what is carried into it, are on disk.
pub(super) fn unfinished_path(dir: &Path, number: SegmentNumber) -> PathBuf {
    dir.join(format!("{number:016}{UNFINISHED}"))
}

/// The name of a copy of damaged bytes.
pub(super) fn torn_path(dir: &Path, number: SegmentNumber, offset: u64) -> PathBuf {
    dir.join(format!("{number:016}-{offset}.torn"))
}

const UNFINISHED: &str = ".log.new";

/// The number in the name of a segment's file; none if the file is none.
pub(super) fn number_in(name: &str) -> Option<SegmentNumber> {
    let digits = name.strip_suffix(".log")?;
    let is_number = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// Whether a file is a segment that was not finished.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.ends_with(UNFINISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            database: DatabaseId([1; 16]),
            number: 2,
            base: Stamp { revision: Revision(3), time_ms: 4 },
            carried_through: Revision(5),
            salt: [6; 16],
            key: KeyId([7; 16]),
            first_batch: 8,
            previous: [9; 16],
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written_and_no_flipped_bit_is_overlooked() {
        let path = Path::new("x");
        let good = header().encode();
        assert_eq!(SegmentHeader::decode(path, &good).expect("good"), header());
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = SegmentHeader::decode(path, &bad).expect_err("a flipped bit");
            assert!(error.is_refusal(), "{error}");
        }
        assert!(SegmentHeader::decode(path, &good[..127]).is_err());
    }

    #[test]
    fn the_format_before_is_read_and_any_other_refused() {
        let path = Path::new("x");
        let of_format = |format: u32| {
            let mut bytes = header().encode();
            bytes[8..12].copy_from_slice(&format.to_le_bytes());
            let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
            bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
            bytes
        };
        for format in [1, 2] {
            let bytes = of_format(format);
            assert_eq!(SegmentHeader::decode(path, &bytes).expect("known"), header());
            // Only the number is not as it was written.
            let mut bad = bytes;
            bad[8..12].copy_from_slice(&77_u32.to_le_bytes());
            assert_eq!(SegmentHeader::decode_as_known(path, &bad).expect("whole"), header());
        }
        assert!(SegmentHeader::decode(path, &of_format(0)).is_err());
        let later = SegmentHeader::decode(path, &of_format(3)).expect_err("later");
        assert!(matches!(later, Error::FromTheFuture { found: 3, known: 2, .. }), "{later}");
        assert!(SegmentHeader::decode_as_known(path, &of_format(3)).is_err());
    }

    #[test]
    fn names_and_numbers_belong_together() {
        let name = path(Path::new(""), 17);
        assert_eq!(name.to_str(), Some("0000000000000017.log"));
        assert_eq!(name.to_str().and_then(number_in), Some(17));
        for other in ["17.log", "0000000000000017.log.new", "+000000000000017.log", "kv.sqlite"] {
            assert_eq!(number_in(other), None, "{other}");
        }
    }
}
