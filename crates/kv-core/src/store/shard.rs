//! One shard: hash index, ordered index, version chains and lock table under one latch.
//!
//! ```text
//!   hash ──► slot number ──► slot: newest record, and a list of older ones if there are any
//!   key order ──► slot number
//! ```
//!
//! A slot keeps its number as long as its key is known, deleted or not (its version counter goes
//! on), so that both indexes store four bytes a key and an update touches neither.
//!
//! Invariants: the records of a key have rising versions and revisions, the newest in the slot;
//! every slot is in both indexes; a version that an open read view needs is never dropped.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::index::HashIndex;
use super::order::{KeyOf, OrderedIndex};
use super::placement::Placement;
use super::record::Record;
use super::slots::{Slot, Slots};
use crate::critical::Critical;
use crate::limits::{KEYS_PER_LATCH_MAX, TRIM_PER_WRITE};
use crate::lock::table::LockTable;
use crate::mvcc::views::{Horizon, Views};
use crate::types::{Interval, Revision, ShardIndex, Version};

/// All shards, and the way from a key to its shard.
#[derive(Debug)]
pub(crate) struct Shards {
    pub(crate) placement: Placement,
    shards: Box<[Shard]>,
}

/// A cache line pair of its own, so that one shard's latch does not slow its neighbour's.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    state: RwLock<ShardState>,
}

/// What a shard's latch guards.
#[derive(Debug, Default)]
pub(crate) struct ShardState {
    pub(crate) locks: LockTable,
    index: HashIndex,
    slots: Slots,
    order: OrderedIndex,
    /// Lists of older versions, oldest first, by the number that a slot has for its list.
    older: Vec<VecDeque<Superseded>>,
    /// Lists that no slot has.
    older_free: Vec<u32>,
    /// Slots that kept more versions than the history asks for, to be looked at again.
    untrimmed: VecDeque<u32>,
    live_keys: usize,
    superseded_records: usize,
    record_bytes: usize,
}

/// An older version, and the revision that ended its time. (Its successor may have been dropped.)
#[derive(Debug)]
struct Superseded {
    record: Record,
    at: Revision,
}

/// What a read view finds under a key.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    /// This version, which may be a delete.
    Record(&'a Record),
    /// The key did not exist then.
    Nothing,
    /// What the view would show is not in memory.
    Gone(Gone),
}

/// A version that is not in memory: it was dropped, or never loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone {
    /// It is older than this one, which is in memory.
    pub(crate) below: Version,
    /// The key's newest version.
    pub(crate) newest: Version,
}

/// How many versions to keep, and what may still be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention<'a> {
    /// Versions kept of each key, the newest included. At least 1.
    pub(crate) versions: usize,
    pub(crate) horizon: Horizon,
    pub(crate) views: &'a Views,
}

/// What a shard holds, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardStats {
    /// Which shard.
    pub index: ShardIndex,
    /// Keys that exist, deleted ones not counted.
    pub keys: usize,
    /// Bytes of its records, all versions, without the allocator's overhead.
    pub bytes: usize,
}

impl Shards {
    pub(crate) fn new(count: usize) -> Shards {
        let shard = || Shard { state: RwLock::default() };
        Shards { placement: Placement::new(count), shards: (0..count).map(|_| shard()).collect() }
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        (0..self.shards.len()).map(ShardIndex)
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn read(&self, shard: ShardIndex) -> RwLockReadGuard<'_, ShardState> {
        self.shards[shard.0].state.read()
    }

    pub(crate) fn write(&self, shard: ShardIndex) -> Writing<'_> {
        let state = self.shards[shard.0].state.write();
        Writing { _whole: Critical::enter(), state }
    }
}

/// A shard that is latched for writing: nobody else sees it before it is whole again.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    // Dropped in this order: what is not whole stays latched.
    _whole: Critical,
    state: RwLockWriteGuard<'a, ShardState>,
}

impl Deref for Writing<'_> {
    type Target = ShardState;

    fn deref(&self) -> &ShardState {
        &self.state
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut ShardState {
        &mut self.state
    }
}

impl ShardState {
    /// The slot of a key that is known, deleted or not.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.index.find(hash, key, &self.slots)
    }

    /// The newest committed version, which may be a delete.
    pub(crate) fn newest(&self, hash: u64, key: &[u8]) -> Option<&Record> {
        self.find(hash, key).map(|slot| &self.slots[slot].newest)
    }

    /// The newest committed version in a slot.
    pub(crate) fn newest_in(&self, slot: u32) -> &Record {
        &self.slots[slot].newest
    }

    /// What a view at `revision` sees under the key.
    pub(crate) fn seen_at(&self, hash: u64, key: &[u8], revision: Revision) -> Seen<'_> {
        match self.find(hash, key) {
            Some(slot) => self.slot_at(slot, revision),
            None => Seen::Nothing,
        }
    }

    fn slot_at(&self, slot: u32, revision: Revision) -> Seen<'_> {
        let slot = &self.slots[slot];
        if slot.newest.revision() <= revision {
            return Seen::Record(&slot.newest);
        }
        let older = self.older_of(slot);
        let known =
            older.map_or(0, |older| older.partition_point(|old| old.record.revision() <= revision));
        if let Some(old) = known.checked_sub(1).and_then(|at| older?.get(at))
            && revision < old.at
        {
            return Seen::Record(&old.record);
        }
        let next = older.and_then(|older| older.get(known)).map(|old| &old.record);
        match next.unwrap_or(&slot.newest).version() {
            Version(1) => Seen::Nothing,
            below => Seen::Gone(Gone { below, newest: slot.newest.version() }),
        }
    }

    /// The version with this number, if it is kept and was there at `revision`.
    pub(crate) fn version(
        &self,
        hash: u64,
        key: &[u8],
        version: Version,
        revision: Revision,
    ) -> Seen<'_> {
        let Some(slot) = self.find(hash, key) else { return Seen::Nothing };
        let slot = &self.slots[slot];
        if version == Version(0) || version > slot.newest.version() {
            return Seen::Nothing;
        }
        let found = if version == slot.newest.version() {
            Some(&slot.newest)
        } else {
            self.older_of(slot).and_then(|older| {
                let at = older.binary_search_by_key(&version, |old| old.record.version()).ok()?;
                older.get(at).map(|old| &old.record)
            })
        };
        match found {
            Some(record) if record.revision() <= revision => Seen::Record(record),
            Some(_) => Seen::Nothing,
            None => Seen::Gone(self.oldest_of(slot, version)),
        }
    }

    /// What is known of a version of the slot that is not in memory.
    fn oldest_of(&self, slot: &Slot, version: Version) -> Gone {
        let newest = slot.newest.version();
        let older = self.older_of(slot).into_iter().flatten();
        let next = older.map(|old| old.record.version()).find(|&known| known > version);
        Gone { below: next.unwrap_or(newest), newest }
    }

    /// The versions of a key that were there at `revision`, newest first.
    pub(crate) fn history(
        &self,
        hash: u64,
        key: &[u8],
        revision: Revision,
    ) -> impl Iterator<Item = &Record> {
        let slot = self.find(hash, key).map(|slot| &self.slots[slot]);
        let older = slot.and_then(|slot| self.older_of(slot)).into_iter().flatten();
        let all = older.map(|old| &old.record).chain(slot.map(|slot| &slot.newest)).rev();
        all.filter(move |record| record.revision() <= revision)
    }

    fn older_of(&self, slot: &Slot) -> Option<&VecDeque<Superseded>> {
        let list = slot.older.checked_sub(1)?;
        self.older.get(list as usize)
    }

    /// Makes a stamped record its key's newest version, in the slot that the key has, if any.
    /// The caller trims afterwards, when the revision may already be visible.
    pub(crate) fn install(
        &mut self,
        hash: u64,
        slot: Option<u32>,
        record: Record,
        placement: &Placement,
    ) -> u32 {
        self.record_bytes += record.memory_bytes();
        self.live_keys += usize::from(!record.is_tombstone());
        let Some(number) = slot else { return self.create(hash, record, placement) };
        let slot = &mut self.slots[number];
        debug_assert!(record.revision() > slot.newest.revision());
        let at = record.revision();
        debug_assert_eq!(record.version().0, slot.newest.version().0 + 1);
        let superseded = std::mem::replace(&mut slot.newest, record);
        self.live_keys -= usize::from(!superseded.is_tombstone());
        if slot.older == 0 {
            let list = self.older_free.pop().unwrap_or_else(|| {
                self.older.push(VecDeque::new());
                self.older.len() as u32 - 1
            });
            slot.older = list + 1;
        }
        self.superseded_records += 1;
        self.older[slot.older as usize - 1].push_back(Superseded { record: superseded, at });
        number
    }

    fn create(&mut self, hash: u64, record: Record, placement: &Placement) -> u32 {
        let number = self.slots.push(Slot { newest: record, older: 0, is_queued: false });
        self.order.insert(number, &self.slots);
        self.index.insert(hash, number, &self.slots, placement);
        number
    }

    /// Drops versions of the slot that neither the history nor a view needs, and looks again at a
    /// few slots that could not be trimmed earlier.
    pub(crate) fn trim(&mut self, slot: u32, retention: Retention<'_>) {
        self.trim_slot(slot, retention);
        for _ in 0..TRIM_PER_WRITE.min(self.untrimmed.len()) {
            let Some(slot) = self.untrimmed.pop_front() else { return };
            self.slots[slot].is_queued = false;
            self.trim_slot(slot, retention);
        }
    }

    fn trim_slot(&mut self, number: u32, retention: Retention<'_>) {
        let slot = &mut self.slots[number];
        let Some(list) = slot.older.checked_sub(1) else { return };
        let older = &mut self.older[list as usize];
        let mut superfluous = (older.len() + 1).saturating_sub(retention.versions);
        let kept_before = older.len();
        let mut dropped_bytes = 0;
        while superfluous > 0
            && older.front().is_some_and(|old| retention.horizon.has_passed(old.at))
        {
            dropped_bytes += older.pop_front().map_or(0, |old| old.record.memory_bytes());
            superfluous -= 1;
        }
        // What is left of the superfluous is behind an open view, or not yet durable. Between two
        // views it can go; from the readable revision on all is needed.
        let mut at = 0;
        while at < superfluous {
            let old = &older[at];
            if retention.horizon.is_beyond_readers(old.at) {
                break;
            }
            // The first version also tells views before it that there was nothing.
            let needed_from = match old.record.version() {
                Version(1) => Revision(0),
                _ => old.record.revision(),
            };
            if retention.views.need(retention.horizon, needed_from, old.at) {
                at += 1;
            } else {
                dropped_bytes += older.remove(at).map_or(0, |old| old.record.memory_bytes());
                superfluous -= 1;
            }
        }
        self.superseded_records -= kept_before - older.len();
        self.record_bytes -= dropped_bytes;
        if superfluous > 0 && !slot.is_queued {
            slot.is_queued = true;
            self.untrimmed.push_back(number);
        }
        if older.is_empty() {
            self.older[list as usize] = VecDeque::new();
            self.older_free.push(list);
            slot.older = 0;
        }
    }

    /// Calls `each` with what a view at `revision` sees, in key order, until it answers false.
    /// Keys that did not exist then, or were deleted, are passed over. After a number of keys,
    /// shown or not, it stops, so that others get the latch, and answers where to go on.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        revision: Revision,
        mut each: impl FnMut(Seen<'_>, &[u8]) -> bool,
    ) -> Option<Box<[u8]>> {
        for (visited, number) in self.order.range_from(from, &self.slots).enumerate() {
            let key = self.slots.key_of(number);
            if to.is_some_and(|to| key >= to) {
                return None;
            }
            if visited == KEYS_PER_LATCH_MAX {
                return Some(key.into());
            }
            let seen = self.slot_at(number, revision);
            let skip = match &seen {
                Seen::Record(record) => record.is_tombstone(),
                Seen::Nothing => true,
                Seen::Gone(_) => false,
            };
            if !skip && !each(seen, key) {
                return Some(Interval::all().after(key).from);
            }
        }
        None
    }

    /// Puts a record in the place of the one of the same key and version, if it is still there.
    pub(crate) fn exchange(&mut self, hash: u64, record: Record) {
        let Some(number) = self.find(hash, record.key()) else { return };
        let slot = &mut self.slots[number];
        let older = slot.older.checked_sub(1).map(|list| &mut self.older[list as usize]);
        let same = std::iter::once(&mut slot.newest)
            .chain(older.into_iter().flatten().map(|old| &mut old.record))
            .find(|held| held.version() == record.version());
        if let Some(held) = same.filter(|held| held.revision() == record.revision()) {
            self.record_bytes += record.memory_bytes();
            self.record_bytes -= held.memory_bytes();
            *held = record;
        }
    }

    pub(crate) fn stats(&self, index: ShardIndex) -> ShardStats {
        ShardStats { index, keys: self.live_keys, bytes: self.record_bytes }
    }

    /// What is wrong with the shard, if anything.
    pub(crate) fn fault(&self, index: ShardIndex, placement: &Placement) -> Option<String> {
        let (mut live, mut bytes) = (0, 0);
        for (number, slot) in (0..).zip(self.slots.iter()) {
            let key = slot.newest.key();
            let hash = placement.hash(key);
            if placement.shard(hash) != index || self.find(hash, key) != Some(number) {
                return Some(format!("{key:?} is not found where it is stored"));
            }
            let mut last = (Version(0), Revision(0));
            let older = self.older_of(slot).into_iter().flatten().map(|old| &old.record);
            for record in older.chain([&slot.newest]) {
                let this = (record.version(), record.revision());
                if record.key() != key || this.0 <= last.0 || this.1 <= last.1 {
                    return Some(format!("{key:?} has version {} out of order", this.0));
                }
                last = this;
                bytes += record.memory_bytes();
            }
            live += usize::from(!slot.newest.is_tombstone());
        }
        if (live, bytes) != (self.live_keys, self.record_bytes) {
            let counted = (self.live_keys, self.record_bytes);
            return Some(format!("{:?} keys and bytes, {counted:?} counted", (live, bytes)));
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
        self.order.fault(&self.slots).or_else(|| self.locks.fault())
    }

    /// How many versions are kept, deletes included.
    pub(crate) fn version_count(&self) -> usize {
        self.slots.len() + self.superseded_records
    }
}
