//! The header of a batch: what one write, and one sync, brought to the disk together.

use kv_core::Revision;

use super::bytes::{self, Reader, Writer};

/// Length of a batch's header, in bytes.
pub(super) const BATCH_HEADER_BYTES: usize = 32;
/// How it begins; what damage is searched through for.
pub(super) const BATCH_MAGIC: [u8; 4] = *b"\xb7kvb";

const CHECKED_FROM: usize = 8;

/// The number of a batch: 1, 2, 3 … through all segments.
pub(super) type BatchNumber = u64;

/// What a batch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) number: BatchNumber,
    /// The revision that was durable when the batch was written.
    pub(super) durable: Revision,
    /// The length of its records, in bytes.
    pub(super) bytes: u64,
}

impl BatchHeader {
    pub(super) fn encode(&self, segment_seed: u32) -> [u8; BATCH_HEADER_BYTES] {
        let mut header = [0; BATCH_HEADER_BYTES];
        Writer::new(&mut header)
            .put(&BATCH_MAGIC)
            .put(&[0; 4])
            .put(&self.number.to_le_bytes())
            .put(&self.durable.0.to_le_bytes())
            .put(&self.bytes.to_le_bytes());
        let checksum = crc32c::crc32c_append(segment_seed, &header[CHECKED_FROM..]);
        header[4..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    /// Reads the header at the beginning of `bytes`; none if there is none of this segment.
    pub(super) fn decode(bytes: &[u8], segment_seed: u32) -> Option<BatchHeader> {
        let header = bytes.get(..BATCH_HEADER_BYTES)?;
        if header[..4] != BATCH_MAGIC
            || bytes::u32_at(header, 4)
                != crc32c::crc32c_append(segment_seed, &header[CHECKED_FROM..])
        {
            return None;
        }
        let mut reader = Reader::new(&header[CHECKED_FROM..]);
        Some(BatchHeader {
            number: u64::from_le_bytes(reader.take()),
            durable: Revision(u64::from_le_bytes(reader.take())),
            bytes: u64::from_le_bytes(reader.take()),
        })
    }
}

/// What the checksums of a batch's records begin with.
pub(super) fn seed(segment_seed: u32, number: BatchNumber) -> u32 {
    crc32c::crc32c_append(segment_seed, &number.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_of_one_segment_and_whole() {
        let header = BatchHeader { number: 7, durable: Revision(8), bytes: 9 };
        let good = header.encode(1);
        assert_eq!(BatchHeader::decode(&good, 1), Some(header));
        assert_eq!(BatchHeader::decode(&good, 2), None);
        assert_eq!(BatchHeader::decode(&good[..31], 1), None);
        assert_eq!(BatchHeader::decode(&[0; 32], 1), None);
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::decode(&bad, 1), None, "bit {bit}");
        }
    }
}
