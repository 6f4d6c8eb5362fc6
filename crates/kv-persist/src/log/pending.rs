//! What has been appended and is not written yet, laid out as it will be on disk.
//!
//! Appending happens in the engine's critical section, so it copies bytes and no more: a record's
//! header, without its checksum, and its payload. Checksums, compression and encryption are put in
//! when the writer makes a [`Batch`] of it. Large payloads are not even copied.

use kv_core::{Payload, Revision, Stamp};

use super::batch::{self, BATCH_HEADER_BYTES, BatchHeader, BatchNumber};
use super::record::{self, Protection, RECORD_HEADER_BYTES, RecordHeader};
use super::segment::SegmentHeader;

/// Payloads longer than this are moved, not copied.
const COPIED_BYTES_MAX: usize = 64 << 10;
/// Copied records are gathered in pieces of about this length: long enough that a write call costs
/// little beside what it writes, short enough that growing one does not hold up commits.
const PIECE_BYTES: usize = 1 << 20;
/// Buffers of pieces that are kept for later ones, at most.
const SPARES_MAX: usize = 8;

/// A part of a batch.
#[derive(Debug)]
enum Piece {
    /// Whole records, but that the last one's payload may be the next piece.
    Records(Vec<u8>),
    /// One payload.
    Payload(Vec<u8>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Records(bytes) | Piece::Payload(bytes) => bytes,
        }
    }
}

/// Records that will become one batch. Room for the batch's header is left at the beginning.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pieces: Vec<Piece>,
    /// The last record.
    last: Option<Stamp>,
    records: u64,
    /// The length of the records, in bytes.
    bytes: u64,
    /// What was set aside for them, in bytes.
    reserved: u64,
    /// Buffers of pieces that were written, for new ones: fresh memory costs more than what is
    /// copied into it.
    spares: Vec<Vec<u8>>,
}

impl Pending {
    /// Nothing yet, with buffers of earlier pieces.
    pub(super) fn with_spares(spares: Vec<Vec<u8>>) -> Pending {
        Pending { spares, ..Pending::default() }
    }

    /// Takes a record in, and perhaps the payload away.
    pub(super) fn push(&mut self, stamp: Stamp, payload: &mut Payload, reserved: u64) {
        let length = payload.len();
        let header = RecordHeader::new(stamp, length, 0).encode();
        if length > COPIED_BYTES_MAX {
            self.push_parts(&header, Err(std::mem::take(payload).into_vec()));
        } else {
            self.push_parts(&header, Ok(payload));
        }
        self.last = Some(stamp);
        self.records += 1;
        self.reserved += reserved;
    }

    fn push_parts(&mut self, header: &[u8; RECORD_HEADER_BYTES], payload: Result<&[u8], Vec<u8>>) {
        let length = payload.as_ref().map_or_else(|large| large.len(), |small| small.len());
        self.bytes += (header.len() + length) as u64;
        let piece = self.piece();
        piece.extend_from_slice(header);
        match payload {
            Ok(small) => piece.extend_from_slice(small),
            Err(large) => self.pieces.push(Piece::Payload(large)),
        }
    }

    /// The piece to which the next record goes.
    fn piece(&mut self) -> &mut Vec<u8> {
        let is_open = match self.pieces.last() {
            Some(Piece::Records(bytes)) => bytes.len() < PIECE_BYTES,
            Some(Piece::Payload(_)) | None => false,
        };
        if !is_open {
            let header_bytes = if self.pieces.is_empty() { BATCH_HEADER_BYTES } else { 0 };
            let mut bytes = self.spares.pop().unwrap_or_default();
            bytes.resize(header_bytes, 0);
            self.pieces.push(Piece::Records(bytes));
        }
        match self.pieces.last_mut() {
            Some(Piece::Records(bytes)) => bytes,
            _ => unreachable!("the last piece takes records, or has just been made to"),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The length of its records, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes a batch of it, for one place only. `last` is the last record before it.
    pub(super) fn into_batch(
        self,
        place: &Place<'_>,
        protection: &Protection,
        last: Stamp,
    ) -> Batch {
        let counts = Counts { records: self.records, reserved: self.reserved };
        let last = self.last.unwrap_or(last);
        let seed = batch::seed(place.segment.seed(), place.number);
        let mut finished = if protection.is_nothing() {
            self.with_checksums(seed)
        } else {
            self.protected(place, protection, seed)
        };
        finished.put_header(place);
        Batch {
            offset: place.offset,
            bytes: BATCH_HEADER_BYTES as u64 + finished.bytes,
            pieces: finished.pieces,
            spares: finished.spares,
            last,
            counts,
        }
    }

    fn with_checksums(mut self, seed: u32) -> Pending {
        self.each_record(|header, payload| record::put_checksum(header, payload, seed));
        self
    }

    fn protected(mut self, place: &Place<'_>, protection: &Protection, seed: u32) -> Pending {
        let mut out = Pending::default();
        let first_record = place.offset + BATCH_HEADER_BYTES as u64;
        self.each_record(|header, payload| {
            let offset = first_record + out.bytes;
            let stamp = RecordHeader::decode(header).stamp;
            let (mut header, stored) =
                protection.protect(stamp, payload, &place.segment.salt, offset);
            record::put_checksum(&mut header, &stored, seed);
            if stored.len() > COPIED_BYTES_MAX {
                out.push_parts(&header, Err(stored));
            } else {
                out.push_parts(&header, Ok(&stored));
            }
        });
        out
    }

    /// Visits each record's header and payload.
    fn each_record(&mut self, mut visit: impl FnMut(&mut [u8; RECORD_HEADER_BYTES], &mut [u8])) {
        let mut pieces = self.pieces.iter_mut();
        let mut at = BATCH_HEADER_BYTES;
        while let Some(piece) = pieces.next() {
            let Piece::Records(bytes) = piece else {
                unreachable!("a payload's piece is taken together with its header's");
            };
            let mut rest = &mut bytes[at..];
            at = 0;
            while let Some((header, after)) = rest.split_first_chunk_mut() {
                let length = RecordHeader::decode(header).length as usize;
                if after.is_empty() {
                    match pieces.next() {
                        Some(Piece::Payload(payload)) => visit(header, payload),
                        _ => unreachable!("a payload is in its header's piece or the next"),
                    }
                    break;
                }
                let (payload, after) = after.split_at_mut(length);
                visit(header, payload);
                rest = after;
            }
        }
    }

    fn put_header(&mut self, place: &Place<'_>) {
        let header =
            BatchHeader { number: place.number, durable: place.durable, bytes: self.bytes };
        let header = header.encode(place.segment.seed());
        if self.pieces.is_empty() {
            self.pieces.push(Piece::Records(header.to_vec()));
        } else if let Some(Piece::Records(bytes)) = self.pieces.first_mut() {
            bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header);
        }
    }
}

/// Where a batch will be written, and what is known at that moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) segment: &'a SegmentHeader,
    pub(super) offset: u64,
    pub(super) number: BatchNumber,
    pub(super) durable: Revision,
}

/// Records with all that belongs to them, ready to be written, as often as it takes.
#[derive(Debug)]
pub(super) struct Batch {
    pieces: Vec<Piece>,
    spares: Vec<Vec<u8>>,
    pub(super) offset: u64,
    /// Its length, its header included.
    pub(super) bytes: u64,
    /// The last record in it, or before it.
    pub(super) last: Stamp,
    pub(super) counts: Counts,
}

/// What a batch was made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) records: u64,
    /// What was set aside for it, in bytes.
    pub(super) reserved: u64,
}

impl Batch {
    /// Its buffers, emptied, once it is written.
    pub(super) fn into_spares(self) -> Vec<Vec<u8>> {
        let mut spares = self.spares;
        for piece in self.pieces {
            if let Piece::Records(mut bytes) = piece
                && spares.len() < SPARES_MAX
            {
                bytes.clear();
                spares.push(bytes);
            }
        }
        spares
    }

    /// Its bytes, in order, each part with its offset in the segment.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pieces.iter().scan(self.offset, |offset, piece| {
            let bytes = piece.bytes();
            let at = *offset;
            *offset += bytes.len() as u64;
            Some((at, bytes))
        })
    }
}
