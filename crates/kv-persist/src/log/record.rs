//! One record: the stamp and the payload of one commit, with what protects them.
//!
//! The payload is encoded changes, perhaps compressed, then perhaps sealed. The checksum is over
//! what is on disk, so that damage is told from a wrong key.

use std::borrow::Cow;
use std::sync::Arc;

use kv_core::{Revision, Stamp};

use super::bytes::{self, Reader, Writer};
use super::segment::Salt;
use crate::compress::{self, Compression};
use crate::crypt::{Cipher, NONCE_BYTES, Purpose, SEAL_BYTES};

/// Length of a record's header, in bytes.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// Longest payload, in bytes, encoded and not compressed: well above the largest write set, so
/// that a wrong length is not believed.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// By how much protection may lengthen a payload.
pub(super) const PROTECTION_BYTES_MAX: usize = SEAL_BYTES;

const CHECKED_FROM: usize = 4;
const COMPRESSION_BITS: u64 = 0xf;
const FLAG_BITS: u32 = 16;

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) checksum: u32,
    /// The length of the payload as it is on disk, in bytes.
    pub(super) length: u32,
    pub(super) stamp: Stamp,
    /// [`Compression::code`] of the payload's compression.
    pub(super) compression: u8,
    /// Bits that this format leaves zero.
    pub(super) reserved: u64,
}

impl RecordHeader {
    /// A header for a payload of `length` bytes; its checksum is still missing.
    pub(super) fn new(stamp: Stamp, length: usize, compression: u8) -> RecordHeader {
        assert!(length > 0, "a commit without changes has no record");
        assert!(stamp.time_ms < 1 << (64 - FLAG_BITS), "a time has 48 bits");
        let length = u32::try_from(length).expect("a write set is far below 4 GiB");
        RecordHeader { checksum: 0, length, stamp, compression, reserved: 0 }
    }

    pub(super) fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let time_and_flags = self.stamp.time_ms << FLAG_BITS | u64::from(self.compression);
        let mut header = [0; RECORD_HEADER_BYTES];
        Writer::new(&mut header)
            .put(&self.checksum.to_le_bytes())
            .put(&self.length.to_le_bytes())
            .put(&self.stamp.revision.0.to_le_bytes())
            .put(&time_and_flags.to_le_bytes());
        header
    }

    pub(super) fn decode(header: &[u8; RECORD_HEADER_BYTES]) -> RecordHeader {
        let mut reader = Reader::new(header);
        let checksum = u32::from_le_bytes(reader.take());
        let length = u32::from_le_bytes(reader.take());
        let revision = Revision(u64::from_le_bytes(reader.take()));
        let time_and_flags = u64::from_le_bytes(reader.take());
        let flags = time_and_flags & ((1 << FLAG_BITS) - 1);
        RecordHeader {
            checksum,
            length,
            stamp: Stamp { revision, time_ms: time_and_flags >> FLAG_BITS },
            compression: (flags & COMPRESSION_BITS) as u8,
            reserved: flags & !COMPRESSION_BITS,
        }
    }
}

/// Puts the checksum into an encoded header.
pub(super) fn put_checksum(header: &mut [u8], payload: &[u8], batch_seed: u32) {
    let checksum = crc32c::crc32c_append(batch_seed, &header[CHECKED_FROM..]);
    let checksum = crc32c::crc32c_append(checksum, payload);
    header[..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
}

/// Whether the checksum of a record, header and payload in one, is right.
pub(super) fn is_intact(record: &[u8], batch_seed: u32) -> bool {
    bytes::u32_at(record, 0) == crc32c::crc32c_append(batch_seed, &record[CHECKED_FROM..])
}

/// What is done to payloads beside writing them down.
#[derive(Debug, Clone, Default)]
pub struct Protection {
    /// Compression, before encryption.
    pub compression: Compression,
    /// Encryption; none is none.
    pub cipher: Option<Arc<Cipher>>,
}

/// Why a payload with a right checksum cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

impl Protection {
    /// Whether payloads are written as they are.
    pub(super) fn is_nothing(&self) -> bool {
        self.compression == Compression::None && self.cipher.is_none()
    }

    /// A payload as it is to be on disk, and its header without the checksum.
    pub(super) fn protect(
        &self,
        stamp: Stamp,
        payload: &[u8],
        salt: &Salt,
        offset: u64,
    ) -> ([u8; RECORD_HEADER_BYTES], Vec<u8>) {
        let (compression, mut stored) = match self.compression.compress(payload) {
            Some(shorter) => (self.compression, shorter),
            None => (Compression::None, payload.to_vec()),
        };
        let sealed_by = if self.cipher.is_some() { SEAL_BYTES } else { 0 };
        let length = stored.len() + sealed_by;
        let header = RecordHeader::new(stamp, length, compression.code()).encode();
        if let Some(cipher) = &self.cipher {
            let associated = &header[CHECKED_FROM..];
            cipher.seal(Purpose::Log, &nonce(salt, offset), associated, &mut stored);
        }
        debug_assert_eq!(stored.len(), length, "sealing lengthens by as much as it says");
        (header, stored)
    }

    /// The payload of an intact record, as it was before it was protected.
    pub(super) fn restore<'a>(
        &self,
        record: &'a [u8],
        salt: &Salt,
        offset: u64,
    ) -> Result<Cow<'a, [u8]>, Unreadable> {
        let (encoded, payload) =
            record.split_first_chunk().expect("an intact record has a whole header");
        let header = RecordHeader::decode(encoded);
        if header.reserved != 0 {
            return Err(Unreadable("its flags are unknown"));
        }
        let mut payload = Cow::Borrowed(payload);
        if let Some(cipher) = &self.cipher {
            let associated = &encoded[CHECKED_FROM..];
            cipher
                .open(Purpose::Log, &nonce(salt, offset), associated, payload.to_mut())
                .map_err(|_| Unreadable("its checksum is right, but its seal is not"))?;
        }
        if header.compression != Compression::None.code() {
            let restored = compress::decompress(header.compression, &payload, PAYLOAD_BYTES_MAX)
                .map_err(|_| Unreadable("its checksum is right, but it cannot be decompressed"))?;
            payload = Cow::Owned(restored);
        }
        Ok(payload)
    }
}

/// Unique for each record: no two segments share a salt, no two records of one an offset.
fn nonce(salt: &Salt, offset: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    Writer::new(&mut nonce).put(salt).put(&offset.to_le_bytes());
    nonce
}
