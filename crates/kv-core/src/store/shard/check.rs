//! What a shard says of itself, and what is wrong with it, if anything.

use std::collections::VecDeque;

use super::{Counts, ShardState};
use crate::store::placement::Placement;
use crate::types::{Revision, ShardIndex, Version};

/// What a shard holds, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardStats {
    /// Which shard.
    pub index: ShardIndex,
    /// Keys that exist, deleted ones not counted.
    pub keys: usize,
    /// Bytes of its records in memory, all versions, without the allocator's overhead.
    pub bytes: usize,
    /// Keys in memory, deleted ones counted.
    pub resident_keys: usize,
    /// Bytes that it takes in memory, indexes and the allocator's rounding included.
    pub memory_bytes: usize,
    /// Reads of single keys since the store was opened.
    pub reads: u64,
    /// Keys or values that gave way since then.
    pub evictions: u64,
    /// Keys or values that were fetched because they had given way, or might have.
    pub fetches: u64,
    /// Of these, those for which there was no such key.
    pub fetched_nothing: u64,
}

impl ShardState {
    pub(crate) fn stats(&self, index: ShardIndex, reads: u64) -> ShardStats {
        let Counts { evictions, fetches, fetched_nothing } = self.counts;
        ShardStats {
            index,
            keys: self.key_count(),
            bytes: self.bytes.records,
            resident_keys: self.slots.len() - self.nothings,
            memory_bytes: self.bytes.allocated + self.index_bytes(),
            reads,
            evictions,
            fetches,
            fetched_nothing,
        }
    }

    /// What is wrong with the shard, if anything.
    pub(crate) fn fault(&self, index: ShardIndex, placement: &Placement) -> Option<String> {
        let (mut live, mut bytes, mut nothings, mut mortals) = (0, 0, 0, 0);
        for (number, slot) in self.slots.iter() {
            let key = slot.newest.key();
            let hash = placement.hash(key);
            if placement.shard(hash) != index || self.find(hash, key) != Some(number) {
                return Some(format!("{key:?} is not found where it is stored"));
            }
            let mut last = None;
            let older = self.older_of(slot).into_iter().flatten().map(|old| &old.record);
            for record in older.chain([&slot.newest]) {
                let this = (record.version(), record.revision());
                if record.key() != key || last.is_some_and(|last| !follows(this, last)) {
                    return Some(format!("{key:?} has version {} out of order", this.0));
                }
                last = Some(this);
                bytes += record.memory_bytes();
            }
            live += usize::from(!slot.newest.is_tombstone());
            nothings += usize::from(slot.newest.is_nothing());
            mortals += usize::from(slot.newest.is_mortal());
        }
        let (found, counted) =
            ((bytes, nothings, mortals), (self.bytes.records, self.nothings, self.mortals));
        if found != counted {
            return Some(format!(
                "{found:?} bytes, records of nothing, and keys that end; {counted:?} counted"
            ));
        }
        // Of keys that have left, nobody here knows whether they are deleted.
        if live != self.live_keys {
            return Some(format!("{live} keys, {} counted", self.live_keys));
        }
        let superseded = self.older.iter().map(VecDeque::len).sum::<usize>();
        if superseded != self.superseded_records {
            let counted = self.superseded_records;
            return Some(format!("{superseded} older versions, {counted} counted"));
        }
        let (slots, ordered) = (self.slots.len(), self.order.len());
        if slots != self.index.len() || slots != ordered {
            return Some(format!("{slots} keys, {} hashed, {ordered} ordered", self.index.len()));
        }
        let fault = self.order.fault(&self.slots).or_else(|| self.locks.fault());
        fault.or_else(|| self.turns.fault(&self.slots))
    }
}

/// Whether one version of a key can stand above the other.
fn follows(this: (Version, Revision), last: (Version, Revision)) -> bool {
    this.0 > last.0 && this.1 > last.1
}
