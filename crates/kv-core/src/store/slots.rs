//! The slots of one shard: for each known key its newest record and what belongs to it.
//!
//! Slots stand in chunks that are never moved, so that a growing store neither copies them nor
//! leaves the room of the copy behind.

use std::ops::{Index, IndexMut};

use super::order::KeyOf;
use super::record::Record;

const CHUNK_SLOTS: usize = 512;

/// One key's place.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) newest: Record,
    /// One more than the number of its list of older versions; 0 is none.
    pub(crate) older: u32,
    /// Whether it is in the queue of slots to be trimmed.
    pub(crate) is_queued: bool,
}

/// Slots by number, from 0.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    chunks: Vec<Vec<Slot>>,
    len: usize,
}

impl Slots {
    /// Adds a slot; answers its number.
    pub(crate) fn push(&mut self, slot: Slot) -> u32 {
        let number = u32::try_from(self.len).unwrap_or(u32::MAX);
        assert!(number < u32::MAX, "a shard holds at most 2^32 - 1 keys; use more shards");
        if self.len.is_multiple_of(CHUNK_SLOTS) {
            self.chunks.push(Vec::with_capacity(CHUNK_SLOTS));
        }
        self.chunks[self.len / CHUNK_SLOTS].push(slot);
        self.len += 1;
        number
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.chunks.iter().flatten()
    }
}

impl Index<u32> for Slots {
    type Output = Slot;

    fn index(&self, number: u32) -> &Slot {
        let number = number as usize;
        &self.chunks[number / CHUNK_SLOTS][number % CHUNK_SLOTS]
    }
}

impl IndexMut<u32> for Slots {
    fn index_mut(&mut self, number: u32) -> &mut Slot {
        let number = number as usize;
        &mut self.chunks[number / CHUNK_SLOTS][number % CHUNK_SLOTS]
    }
}

impl KeyOf for Slots {
    fn key_of(&self, slot: u32) -> &[u8] {
        self[slot].newest.key()
    }
}
