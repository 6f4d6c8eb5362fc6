//! One shard's granted locks.
//!
//! The table answers at once and never blocks: a request is granted, or it is not and the caller
//! turns to the queue ([`super::waits`]). Whoever queues leaves a mark here (`waiters` on the key,
//! `waiting_ranges` on the shard), so that no later request is granted past it by this table
//! alone, and so that a release knows that it has somebody to wake.
//!
//! Everything takes `&mut self` or `&self` of a table inside a latched shard: holding the latch is
//! what the compiler checks.

use std::time::Instant;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use smallvec::SmallVec;

use super::{Mode, Owner};
use crate::key::Key;
use crate::types::{Interval, TreeId};

/// A granted lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    pub(crate) owner: Owner,
    pub(crate) mode: Mode,
    pub(crate) since: Instant,
}

#[derive(Debug)]
struct KeyLock {
    key: Key,
    hash: u64,
    holders: SmallVec<[Holder; 1]>,
    /// Requests in the queue for this key.
    waiters: u32,
}

#[derive(Debug)]
struct RangeLock {
    interval: Interval,
    holder: Holder,
}

/// The locks granted in one shard.
#[derive(Debug, Default)]
pub(crate) struct LockTable {
    keys: HashTable<KeyLock>,
    ranges: Vec<RangeLock>,
    /// Requests in the queue for keys of this shard.
    waiting_keys: u32,
    /// Requests in the queue for ranges, which concern every shard.
    waiting_ranges: u32,
}

/// Whom a release may have to wake.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Keys that somebody waits for.
    pub(crate) keys: Vec<Key>,
    /// Somebody waits for a range.
    pub(crate) ranges: bool,
    /// A range was released: anyone may be able to go on.
    pub(crate) all: bool,
}

impl Wake {
    pub(crate) fn is_needed(&self) -> bool {
        self.ranges || self.all || !self.keys.is_empty()
    }
}

impl LockTable {
    /// Whether a write of the key would have nobody to wait for and nobody to overtake.
    pub(crate) fn is_free(&self, hash: u64, key: &[u8]) -> bool {
        self.waiting_ranges == 0
            && (self.keys.is_empty() || self.find(hash, key).is_none())
            && !self.ranges.iter().any(|range| range.interval.contains(key))
    }

    /// Whether somebody has the key locked to write it.
    pub(crate) fn is_written(&self, hash: u64, key: &[u8]) -> bool {
        !self.keys.is_empty()
            && self.find(hash, key).is_some_and(|lock| {
                lock.holders.iter().any(|holder| holder.mode == Mode::Exclusive)
            })
    }

    /// Grants the lock if nobody holds anything that stands against it, and nobody waits.
    ///
    /// Past a mark it grants nothing, not even an upgrade: whoever has set the mark may just have
    /// looked at this table, and be about to enter its own lock. The queue decides then.
    pub(crate) fn try_acquire(&mut self, hash: u64, key: &Key, holder: Holder) -> bool {
        let tree = holder.owner.tree;
        if self.waiting_ranges > 0 || self.range_conflicts(key, tree, holder.mode) {
            return false;
        }
        match self.keys.entry(hash, |lock| *lock.key == **key, |lock| lock.hash) {
            Entry::Vacant(vacant) => {
                vacant.insert(KeyLock::new(key, hash, Some(holder)));
                true
            }
            Entry::Occupied(occupied) => {
                let lock = occupied.into_mut();
                let is_free = lock.waiters == 0
                    && !lock.holders.iter().any(|other| conflicts(other, tree, holder.mode));
                if is_free {
                    lock.add(holder);
                }
                is_free
            }
        }
    }

    /// Whether the owner asks for more on a key that it has locked, alone or within a range.
    pub(crate) fn is_upgrade(&self, hash: u64, key: &[u8], tree: TreeId, mode: Mode) -> bool {
        mode == Mode::Exclusive
            && (self.is_held_by(hash, key, tree) || self.holds_range_on(key, tree))
    }

    fn is_held_by(&self, hash: u64, key: &[u8], tree: TreeId) -> bool {
        self.find(hash, key).is_some_and(|lock| lock.is_held_by(tree))
    }

    fn holds_range_on(&self, key: &[u8], tree: TreeId) -> bool {
        self.ranges
            .iter()
            .any(|range| range.holder.owner.tree == tree && range.interval.contains(key))
    }

    fn range_conflicts(&self, key: &[u8], tree: TreeId, mode: Mode) -> bool {
        self.ranges
            .iter()
            .any(|range| conflicts(&range.holder, tree, mode) && range.interval.contains(key))
    }

    /// Adds the lock, or raises the owner's to its mode.
    pub(crate) fn grant(&mut self, hash: u64, key: &Key, holder: Holder) {
        self.entry(hash, key).add(holder);
    }

    /// Adds the lock on an interval. Intervals of one tree that touch become one, so that a scan
    /// page by page holds one lock.
    pub(crate) fn grant_range(&mut self, interval: &Interval, holder: Holder) {
        let mut interval = interval.clone();
        self.ranges.retain(|range| {
            let held = &range.holder;
            let is_same = held.owner.tree == holder.owner.tree && held.mode == holder.mode;
            let merged = is_same.then(|| interval.merged(&range.interval)).flatten();
            let is_absorbed = merged.is_some();
            interval = merged.unwrap_or_else(|| std::mem::take(&mut interval));
            !is_absorbed
        });
        self.ranges.push(RangeLock { interval, holder });
    }

    /// Has the tree's lock on a key belong to who `to` says.
    pub(crate) fn hand_over(
        &mut self,
        hash: u64,
        key: &[u8],
        tree: TreeId,
        to: impl Fn(&mut Owner),
    ) {
        let lock = self.keys.find_mut(hash, |lock| *lock.key == *key);
        let holders = lock.into_iter().flat_map(|lock| &mut lock.holders);
        holders.filter(|held| held.owner.tree == tree).for_each(|held| to(&mut held.owner));
    }

    /// Has the tree's locks on ranges belong to who `to` says.
    pub(crate) fn hand_over_ranges(&mut self, tree: TreeId, to: impl Fn(&mut Owner)) {
        let holders = self.ranges.iter_mut().map(|range| &mut range.holder);
        holders.filter(|held| held.owner.tree == tree).for_each(|held| to(&mut held.owner));
    }

    /// Takes the owner's lock on the key away, or lowers it to `keep`.
    pub(crate) fn release(
        &mut self,
        hash: u64,
        key: &[u8],
        tree: TreeId,
        keep: Option<Mode>,
        wake: &mut Wake,
    ) {
        let Ok(mut entry) = self.keys.find_entry(hash, |lock| *lock.key == *key) else {
            debug_assert!(false, "a lock is released by who holds it");
            return;
        };
        let lock = entry.get_mut();
        match keep {
            Some(mode) => lock
                .holders
                .iter_mut()
                .filter(|holder| holder.owner.tree == tree)
                .for_each(|holder| holder.mode = mode),
            None => lock.holders.retain(|holder| holder.owner.tree != tree),
        }
        if lock.waiters > 0 {
            wake.keys.push(lock.key.clone());
        } else if lock.holders.is_empty() {
            entry.remove();
        }
        wake.ranges |= self.waiting_ranges > 0;
    }

    /// Takes the owner's range locks away, but for those of the mode `keep`.
    pub(crate) fn release_ranges(&mut self, tree: TreeId, keep: Option<Mode>, wake: &mut Wake) {
        let before = self.ranges.len();
        self.ranges.retain(|range| {
            let held = range.holder;
            held.owner.tree != tree || keep == Some(held.mode)
        });
        let released = self.ranges.len() < before;
        wake.all |= released && (self.waiting_keys > 0 || self.waiting_ranges > 0);
    }

    /// Marks that somebody is about to wait for the key.
    pub(crate) fn mark_key(&mut self, hash: u64, key: &Key) {
        self.entry(hash, key).waiters += 1;
        self.waiting_keys += 1;
    }

    /// Takes the mark away again.
    pub(crate) fn unmark_key(&mut self, hash: u64, key: &[u8]) {
        self.waiting_keys -= 1;
        if let Some(lock) = self.keys.find_mut(hash, |lock| *lock.key == *key) {
            lock.waiters -= 1;
        }
        self.forget_if_unused(hash, key);
    }

    fn forget_if_unused(&mut self, hash: u64, key: &[u8]) {
        if let Ok(entry) = self.keys.find_entry(hash, |lock| *lock.key == *key)
            && entry.get().waiters == 0
            && entry.get().holders.is_empty()
        {
            entry.remove();
        }
    }

    /// Marks that somebody is about to wait for a range.
    pub(crate) fn mark_range(&mut self) {
        self.waiting_ranges += 1;
    }

    /// Takes the mark away again.
    pub(crate) fn unmark_range(&mut self) {
        self.waiting_ranges -= 1;
    }

    /// The holders of what stands against a lock on this key.
    pub(crate) fn against_key(
        &self,
        hash: u64,
        key: &[u8],
        tree: TreeId,
        mode: Mode,
    ) -> impl Iterator<Item = Owner> {
        let on_key = self.find(hash, key).into_iter().flat_map(|lock| &lock.holders);
        let on_ranges = self
            .ranges
            .iter()
            .filter(move |range| range.interval.contains(key))
            .map(|range| &range.holder);
        let against = on_key.chain(on_ranges).filter(move |held| conflicts(held, tree, mode));
        against.map(|holder| holder.owner)
    }

    /// The holders of what stands against a lock on this interval, within this shard, each with
    /// the key and hash of a lock on a key.
    pub(crate) fn against_range(
        &self,
        interval: &Interval,
        tree: TreeId,
        mode: Mode,
    ) -> impl Iterator<Item = (Owner, Option<(&Key, u64)>)> {
        let on_keys = self
            .keys
            .iter()
            .filter(|lock| interval.contains(&lock.key))
            .flat_map(|lock| lock.holders.iter().map(move |held| (held, Some(lock))));
        let on_ranges = self
            .ranges
            .iter()
            .filter(|range| range.interval.overlaps(interval))
            .map(|range| (&range.holder, None));
        on_keys
            .chain(on_ranges)
            .filter(move |(held, _)| conflicts(held, tree, mode))
            .map(|(held, lock)| (held.owner, lock.map(|lock| (&lock.key, lock.hash))))
    }

    /// Every granted lock on a key.
    pub(crate) fn held_keys(&self) -> impl Iterator<Item = (&Key, &Holder)> {
        self.keys.iter().flat_map(|lock| lock.holders.iter().map(move |held| (&lock.key, held)))
    }

    /// Every granted lock on an interval.
    pub(crate) fn held_ranges(&self) -> impl Iterator<Item = (&Interval, &Holder)> {
        self.ranges.iter().map(|range| (&range.interval, &range.holder))
    }

    /// Whether nothing is held or waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty() && self.waiting_ranges == 0
    }

    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let waiters: u32 = self.keys.iter().map(|lock| lock.waiters).sum();
        if waiters != self.waiting_keys {
            return Some(format!("{waiters} marks on keys, {} counted", self.waiting_keys));
        }
        let are_against = |(at, one): (usize, &RangeLock)| {
            let RangeLock { interval, holder } = one;
            self.ranges[..at].iter().any(|other| {
                conflicts(&other.holder, holder.owner.tree, holder.mode)
                    && other.interval.overlaps(interval)
            })
        };
        if self.ranges.iter().enumerate().any(are_against) {
            return Some("a range is locked against another's range".into());
        }
        self.keys.iter().find_map(|lock| {
            let against = lock
                .holders
                .iter()
                .find(|holder| self.range_conflicts(&lock.key, holder.owner.tree, holder.mode));
            if against.is_some() {
                return Some(format!("{:?} is locked against another's range", lock.key));
            }
            let exclusive = lock.holders.iter().any(|holder| holder.mode == Mode::Exclusive);
            if exclusive && lock.holders.len() > 1 {
                Some(format!("{:?} is locked exclusively and by another", lock.key))
            } else if lock.holders.is_empty() && lock.waiters == 0 {
                Some(format!("{:?} has a lock entry that nobody needs", lock.key))
            } else {
                None
            }
        })
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<&KeyLock> {
        self.keys.find(hash, |lock| *lock.key == *key)
    }

    fn entry(&mut self, hash: u64, key: &Key) -> &mut KeyLock {
        self.keys
            .entry(hash, |lock| *lock.key == **key, |lock| lock.hash)
            .or_insert_with(|| KeyLock::new(key, hash, None))
            .into_mut()
    }
}

impl KeyLock {
    fn new(key: &Key, hash: u64, holder: Option<Holder>) -> KeyLock {
        KeyLock { key: key.clone(), hash, holders: holder.into_iter().collect(), waiters: 0 }
    }

    fn is_held_by(&self, tree: TreeId) -> bool {
        self.holders.iter().any(|holder| holder.owner.tree == tree)
    }

    fn add(&mut self, holder: Holder) {
        match self.holders.iter_mut().find(|held| held.owner.tree == holder.owner.tree) {
            Some(held) => held.mode = held.mode.max(holder.mode),
            None => self.holders.push(holder),
        }
    }
}

fn conflicts(held: &Holder, tree: TreeId, mode: Mode) -> bool {
    held.owner.tree != tree && !held.mode.is_compatible_with(mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};
    use crate::types::{SessionId, TxnId};

    fn holder(tree: u64, mode: Mode) -> Holder {
        let owner = Owner { tree: TreeId(tree), session: SessionId(tree), txn: TxnId(1) };
        Holder { owner, mode, since: ManualClock::new(0).now() }
    }

    fn key(name: &str) -> Key {
        Key::from(name.as_bytes())
    }

    #[test]
    fn shared_locks_share_and_exclusive_ones_do_not() {
        let mut table = LockTable::default();
        let k = key("k");
        assert!(table.try_acquire(1, &k, holder(1, Mode::Shared)));
        assert!(table.try_acquire(1, &k, holder(2, Mode::Shared)));
        assert!(!table.try_acquire(1, &k, holder(1, Mode::Exclusive)), "another shares it");
        table.release(1, b"k", TreeId(2), None, &mut Wake::default());
        assert!(table.try_acquire(1, &k, holder(1, Mode::Exclusive)), "the only holder upgrades");
        assert!(!table.try_acquire(1, &k, holder(2, Mode::Shared)));
        assert_eq!(table.fault(), None);
        table.release(1, b"k", TreeId(1), None, &mut Wake::default());
        assert!(table.is_empty());
    }

    #[test]
    fn nobody_is_granted_past_a_mark() {
        let mut table = LockTable::default();
        let k = key("k");
        assert!(table.try_acquire(1, &k, holder(1, Mode::Shared)));
        table.mark_key(1, &k);
        assert!(!table.try_acquire(1, &k, holder(2, Mode::Shared)));
        // Who marked the key may have seen that it is only shared, and be about to share it.
        assert!(!table.try_acquire(1, &k, holder(1, Mode::Exclusive)), "not even an upgrade");
        let mut wake = Wake::default();
        table.release(1, b"k", TreeId(1), None, &mut wake);
        assert_eq!(wake.keys, std::slice::from_ref(&k));
        table.unmark_key(1, b"k");
        table.mark_range();
        assert!(!table.try_acquire(1, &k, holder(1, Mode::Shared)));
        table.unmark_range();
        assert!(table.is_empty());
    }

    #[test]
    fn a_range_stands_against_writers_inside_it_only() {
        let mut table = LockTable::default();
        table.grant_range(&Interval::prefix(b"a"), holder(1, Mode::Shared));
        assert!(!table.is_free(1, b"ab") && table.is_free(2, b"b"));
        assert!(!table.try_acquire(1, &key("ab"), holder(2, Mode::Exclusive)));
        assert!(table.try_acquire(1, &key("ab"), holder(2, Mode::Shared)));
        assert!(table.try_acquire(2, &key("b"), holder(2, Mode::Exclusive)));
        assert!(table.try_acquire(3, &key("ac"), holder(1, Mode::Exclusive)), "its own range");
        let mut wake = Wake::default();
        table.release_ranges(TreeId(1), None, &mut wake);
        assert!(!wake.is_needed(), "nobody waits");
    }

    #[test]
    fn an_exclusive_range_stands_against_readers_too() {
        let mut table = LockTable::default();
        table.grant_range(&Interval::all(), holder(1, Mode::Exclusive));
        assert!(!table.is_free(1, b"k"));
        assert!(!table.try_acquire(1, &key("k"), holder(2, Mode::Shared)));
        assert!(table.try_acquire(1, &key("k"), holder(1, Mode::Exclusive)), "its own range");
        assert_eq!(table.fault(), None);
        table.grant_range(&Interval::prefix(b"x"), holder(2, Mode::Shared));
        assert!(table.fault().is_some(), "that must not be granted");
    }

    #[test]
    fn what_is_read_stays_locked_when_what_is_written_is_given_back() {
        let mut table = LockTable::default();
        table.grant_range(&Interval::prefix(b"a"), holder(1, Mode::Shared));
        table.grant_range(&Interval::all(), holder(1, Mode::Exclusive));
        table.mark_range();
        let mut wake = Wake::default();
        table.release_ranges(TreeId(1), Some(Mode::Shared), &mut wake);
        assert!(wake.all, "somebody waits");
        table.unmark_range();
        assert!(!table.is_free(1, b"a") && table.is_free(1, b"b"));
        assert!(table.try_acquire(1, &key("a"), holder(2, Mode::Shared)));
    }
}
