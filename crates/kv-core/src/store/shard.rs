//! One shard: hash index, ordered index, version chains and lock table under one latch.
//!
//! ```text
//!   hash ──► slot number ──► slot: newest record, and a list of older ones if there are any
//!   key order ──► slot number
//! ```
//!
//! A slot keeps its number as long as its key is in memory, deleted or not (its version counter
//! goes on), so that both indexes store four bytes a key and an update touches neither.
//!
//! Under a memory bound a key may have left ([`sweep`]): then it is in neither index, and
//! only the [filter](super::filter) says that it may be stored elsewhere. What was looked for there
//! in vain is kept for a while as a record of [nothing](Record::nothing).
//!
//! Invariants: the records of a key have rising versions and revisions, the newest in the slot;
//! every slot is in both indexes; a version that an open read view needs is never dropped; whoever
//! changes a key has its newest version in memory.

mod away;
pub(crate) mod check;
pub(crate) mod expiry;
mod scan;
pub(crate) mod sweep;
mod turns;
pub(crate) mod wipe;

use std::collections::VecDeque;

use self::turns::Turns;
use self::wipe::Wipes;
use super::filter::Filter;
use super::index::HashIndex;
use super::order::OrderedIndex;
use super::placement::Placement;
use super::record::Record;
use super::slots::{HEAT_AWAITED, Slot, Slots};
use crate::limits::{KEYS_PER_LATCH_MAX, KEYS_PER_MEASURE, TRIM_PER_WRITE};
use crate::lock::table::LockTable;
use crate::memory::{Memory, size_class};
use crate::mvcc::views::{Horizon, Views};
use crate::types::{Revision, Version};

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
    /// Keys in memory that exist.
    live_keys: usize,
    superseded_records: usize,
    /// Records of nothing.
    nothings: usize,
    /// Slots whose newest version is a delete, or can expire.
    mortals: usize,
    /// The slot that is looked at next for what has expired.
    ending_hand: u32,
    bytes: Bytes,
    /// The record that was dropped last. Not counted, since it is gone as soon as somebody writes.
    spare: Option<Record>,

    // ---- What has left memory.
    /// Keys that exist and are not in memory.
    live_away: usize,
    /// What deleted them, as long as what is stored may not know of it.
    wipes: Wipes,
    /// Keys that have left, and some that never were.
    filter: Filter,
    /// Everything that has left was committed at this revision at the latest.
    left_through: Revision,
    /// Whom the sweep looks at next.
    turns: Turns,
    counts: Counts,
}

/// What a shard takes, in bytes.
#[derive(Debug, Default)]
struct Bytes {
    /// Its records, without the allocator's rounding.
    records: usize,
    /// What the allocator gives for its records and lists.
    allocated: usize,
    /// Its indexes, when they were last measured.
    indexes: usize,
    /// Keys that have come or gone since then.
    unmeasured: usize,
    /// What the store has been told of.
    published: usize,
}

impl Bytes {
    fn add(&mut self, record: &Record) {
        self.records += record.memory_bytes();
        self.allocated += size_class(record.memory_bytes());
    }

    fn take(&mut self, record: &Record) {
        self.records -= record.memory_bytes();
        self.allocated -= size_class(record.memory_bytes());
    }

    fn relist(&mut self, before: usize, list: &VecDeque<Superseded>) {
        self.allocated += list.capacity() * size_of::<Superseded>();
        self.allocated -= before * size_of::<Superseded>();
    }
}

/// What has happened in a shard since it was opened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Keys or values that gave way.
    pub(crate) evictions: u64,
    /// Keys or values that were fetched.
    pub(crate) fetches: u64,
    /// Fetches that found no such key: the filter was wrong.
    pub(crate) fetched_nothing: u64,
}

/// An older version, and the revision that ended its time. (Its successor may have been dropped.)
#[derive(Debug)]
struct Superseded {
    record: Record,
    at: Revision,
}

impl Superseded {
    /// Whether a view that is open, or one still to come, needs it.
    fn is_needed(&self, retention: Retention<'_>) -> bool {
        // The first version also tells views before it that there was nothing.
        let needed_from = match self.record.version() {
            Version(1) => Revision(0),
            _ => self.record.revision(),
        };
        retention.views.need(retention.horizon, needed_from, self.at)
    }
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
    /// Whether there is such a key is not known here: its newest version has to be fetched.
    Away,
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

impl ShardState {
    /// An empty shard, whose keys give way as this says.
    pub(crate) fn new(memory: &Memory) -> ShardState {
        ShardState { turns: Turns::new(memory), ..ShardState::default() }
    }

    /// The slot of a key that is in memory, deleted or not.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.index.find(hash, key, &self.slots)
    }

    /// The newest committed version, which may be a delete, as far as it is in memory.
    pub(crate) fn newest(&self, hash: u64, key: &[u8]) -> Option<&Record> {
        self.find(hash, key).map(|slot| &self.slots[slot].newest)
    }

    /// As [`ShardState::newest`], for whoever reads or changes the key.
    pub(crate) fn newest_used(&self, hash: u64, key: &[u8]) -> Option<&Record> {
        let slot = &self.slots[self.find(hash, key)?];
        slot.warm(self.turns.heat_max);
        Some(&slot.newest)
    }

    /// The newest committed version in a slot.
    pub(crate) fn newest_in(&self, slot: u32) -> &Record {
        &self.slots[slot].newest
    }

    /// What a view at `revision` sees under the key.
    pub(crate) fn seen_at(&self, hash: u64, key: &[u8], revision: Revision) -> Seen<'_> {
        match self.find(hash, key) {
            Some(slot) => {
                let slot = &self.slots[slot];
                slot.warm(self.turns.heat_max);
                self.slot_at(slot, revision)
            }
            None if self.may_be_away(hash) => Seen::Away,
            None => Seen::Nothing,
        }
    }

    #[inline]
    fn slot_at<'a>(&'a self, slot: &'a Slot, revision: Revision) -> Seen<'a> {
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
        let Some(slot) = self.find(hash, key) else {
            return if self.may_be_away(hash) { Seen::Away } else { Seen::Nothing };
        };
        let slot = &self.slots[slot];
        slot.warm(self.turns.heat_max);
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

    /// The versions of a key in memory that were there at `revision`, newest first; none if it has
    /// to be fetched.
    pub(crate) fn history(
        &self,
        hash: u64,
        key: &[u8],
        revision: Revision,
    ) -> Option<impl Iterator<Item = &Record>> {
        let slot = self.find(hash, key).map(|slot| &self.slots[slot]);
        if slot.is_none() && self.may_be_away(hash) {
            return None;
        }
        let older = slot.and_then(|slot| self.older_of(slot)).into_iter().flatten();
        let all = older.map(|old| &old.record).chain(slot.map(|slot| &slot.newest)).rev();
        Some(all.filter(move |record| record.revision() <= revision && !record.is_nothing()))
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
        self.live_keys += usize::from(!record.is_tombstone());
        let Some(number) = slot else { return self.create(hash, record, 0, placement) };
        self.bytes.add(&record);
        self.turns.come_back(number, hash, 0, &mut self.slots);
        self.mortals += usize::from(record.is_mortal());
        let slot = &mut self.slots[number];
        slot.warm(self.turns.heat_max);
        debug_assert!(record.revision() > slot.newest.revision());
        let at = record.revision();
        debug_assert_eq!(record.version().0, slot.newest.version().0 + 1);
        let superseded = std::mem::replace(&mut slot.newest, record);
        self.live_keys -= usize::from(!superseded.is_tombstone());
        self.mortals -= usize::from(superseded.is_mortal());
        if superseded.is_nothing() {
            self.nothings -= 1;
            self.bytes.take(&superseded);
            return number;
        }
        if slot.older == 0 {
            let list = self.older_free.pop().unwrap_or_else(|| {
                self.older.push(VecDeque::new());
                self.older.len() as u32 - 1
            });
            slot.older = list + 1;
        }
        self.superseded_records += 1;
        let list = &mut self.older[slot.older as usize - 1];
        let before = list.capacity();
        list.push_back(Superseded { record: superseded, at });
        self.bytes.relist(before, list);
        number
    }

    fn create(&mut self, hash: u64, record: Record, heat: u8, placement: &Placement) -> u32 {
        self.bytes.add(&record);
        self.nothings += usize::from(record.is_nothing());
        self.mortals += usize::from(record.is_mortal());
        let number = self.slots.push(Slot::new(record));
        self.turns.come(number, hash, heat, &mut self.slots);
        self.order.insert(number, &self.slots);
        self.index.insert(hash, number, &self.slots, placement);
        self.measure_indexes();
        number
    }

    /// Whether any key in memory is deleted or can expire.
    pub(crate) fn has_mortals(&self) -> bool {
        self.mortals > 0
    }

    /// How many slots the sweep has to look at in a round.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.numbers() as usize
    }

    /// Takes a key that has no older versions here out of the indexes.
    fn remove(&mut self, hash: u64, number: u32) {
        let slot = &self.slots[number];
        debug_assert!(slot.older == 0 && !slot.is_queued);
        self.nothings -= usize::from(slot.newest.is_nothing());
        self.mortals -= usize::from(slot.newest.is_mortal());
        self.bytes.take(&slot.newest);
        self.order.remove(number, &self.slots);
        self.index.remove(hash, number);
        self.turns.leave(slot.stage);
        self.slots.remove(number);
        self.measure_indexes();
    }

    /// As [`ShardState::remove`], of a key that is gone for good.
    fn remove_for_good(&mut self, hash: u64, number: u32) {
        self.live_keys -= usize::from(!self.slots[number].newest.is_tombstone());
        self.remove(hash, number);
    }

    /// Forgets a key whose newest version was this, made at this revision, as those have that store
    /// it. A key that was written since stays, in the same life or in a new one, whose versions
    /// begin at 1 again. So does what a view or a transaction still needs.
    pub(crate) fn forget(
        &mut self,
        hash: u64,
        key: &[u8],
        version: Version,
        revision: Revision,
        was_deleted: bool,
        retention: Retention<'_>,
    ) {
        let found = self.find(hash, key);
        let newest = found.map(|number| &self.slots[number].newest);
        let known = newest.map(|newest| (newest.version(), newest.revision()));
        match found {
            Some(number) if known == Some((version, revision)) => {
                self.drop_older(number, |old| !old.is_needed(retention));
                let slot = &self.slots[number];
                if slot.older == 0 && !slot.is_queued && self.locks.is_free(hash, key) {
                    self.remove_for_good(hash, number);
                }
            }
            // It goes on from there: then it was in memory, and is counted right.
            Some(_) if known.is_some_and(|(known, _)| known > version) => {}
            Some(_) | None if was_deleted || self.is_wiped_after(revision) => {}
            Some(_) | None => self.uncount_away(),
        }
    }

    /// What the indexes take changes in steps: it is looked at now and then.
    fn measure_indexes(&mut self) {
        self.bytes.unmeasured += 1;
        if self.turns.heat_max > 0 && self.bytes.unmeasured >= KEYS_PER_MEASURE {
            self.bytes.unmeasured = 0;
            self.bytes.indexes = self.index_bytes();
        }
    }

    fn index_bytes(&self) -> usize {
        self.slots.memory_bytes()
            + self.index.memory_bytes()
            + self.order.memory_bytes()
            + self.filter.memory_bytes()
            + self.turns.memory_bytes()
            + self.older.capacity() * size_of::<VecDeque<Superseded>>()
    }

    /// Tells the store what the shard takes now.
    pub(crate) fn publish(&mut self, memory: &Memory) {
        let now = self.bytes.allocated + self.bytes.indexes;
        if memory.is_bounded() && now != self.bytes.published {
            memory.note_used(self.bytes.published, now);
            self.bytes.published = now;
        }
    }

    /// Drops versions of the slot that neither the history nor a view needs, and looks again at a
    /// few slots that could not be trimmed earlier.
    pub(crate) fn trim(&mut self, slot: u32, retention: Retention<'_>) {
        self.trim_slot(slot, retention);
        self.trim_earlier(retention, TRIM_PER_WRITE);
    }

    /// Looks again at a few slots that could not be trimmed earlier.
    fn trim_earlier(&mut self, retention: Retention<'_>, slots_max: usize) {
        for _ in 0..slots_max.min(self.untrimmed.len()) {
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
        let (kept_before, capacity_before) = (older.len(), older.capacity());
        let bytes = &mut self.bytes;
        while superfluous > 0
            && older.front().is_some_and(|old| retention.horizon.has_passed(old.at))
        {
            if let Some(old) = older.pop_front() {
                bytes.take(&old.record);
                self.spare = Some(old.record).filter(Record::is_small);
            }
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
            if old.is_needed(retention) {
                at += 1;
            } else {
                older.remove(at).iter().for_each(|old| bytes.take(&old.record));
                superfluous -= 1;
            }
        }
        self.superseded_records -= kept_before - older.len();
        if superfluous > 0 && !slot.is_queued {
            slot.is_queued = true;
            self.untrimmed.push_back(number);
        }
        self.relist(number, list, capacity_before);
    }

    /// Drops the oldest versions of a slot in memory, as long as `may_go` says so.
    fn drop_older(&mut self, number: u32, mut may_go: impl FnMut(&Superseded) -> bool) {
        let slot = &mut self.slots[number];
        let Some(list) = slot.older.checked_sub(1) else { return };
        let older = &mut self.older[list as usize];
        let capacity_before = older.capacity();
        while older.front().is_some_and(&mut may_go) {
            older.pop_front().iter().for_each(|old| self.bytes.take(&old.record));
            self.superseded_records -= 1;
        }
        self.relist(number, list, capacity_before);
    }

    /// After versions were taken out of a slot's list: gives it back if none is left, and counts
    /// what it takes now.
    fn relist(&mut self, number: u32, list: u32, capacity_before: usize) {
        let older = &mut self.older[list as usize];
        if older.is_empty() {
            *older = VecDeque::new();
            self.older_free.push(list);
            self.slots[number].older = 0;
        }
        self.bytes.relist(capacity_before, older);
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
            self.counts.fetches += u64::from(held.place().is_some() && record.place().is_none());
            self.bytes.add(&record);
            self.bytes.take(held);
            *held = record;
            if slot.newest.place().is_none() {
                self.turns.come_back(number, hash, HEAT_AWAITED, &mut self.slots);
            }
        }
    }

    /// The record that was dropped last, for whoever writes one of its length next.
    pub(crate) fn take_spare(&mut self) -> Option<Record> {
        self.spare.take()
    }

    /// A slot whose key has this hash, or seems to.
    #[inline]
    pub(super) fn number_by_hash(&self, hash: u64) -> Option<u32> {
        self.index.find_by_hash(hash)
    }

    /// A slot.
    #[inline]
    pub(super) fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number)
    }

    /// How many numbers its slots have been given, vacant ones included.
    pub(crate) fn slot_numbers(&self) -> u32 {
        self.slots.numbers()
    }

    /// The first key that is there, of a few slots from this one on.
    pub(crate) fn live_key_from(&self, first: u32, now_ms: u64) -> Option<&[u8]> {
        let end = self.slots.numbers().min(first.saturating_add(KEYS_PER_LATCH_MAX as u32));
        let slots = (first..end).map(|number| self.slots.get(number));
        let mut newest = slots.flatten().map(|slot| &slot.newest);
        newest.find(|newest| newest.is_live(|| now_ms)).map(Record::key)
    }

    /// How many versions are kept, deletes included.
    pub(crate) fn version_count(&self) -> usize {
        self.slots.len() - self.nothings + self.superseded_records
    }
}
