//! All shards of a store, each under its latch.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::placement::Placement;
use super::shard::check::ShardStats;
use super::shard::sweep::Sweep;
use super::shard::{Retention, ShardState};
use crate::critical::Critical;
use crate::durability::Stamp;
use crate::failpoint;
use crate::memory::Memory;
use crate::types::ShardIndex;

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
    /// Keys read without a lock or fetched, beside the latch that was just taken for it.
    reads: AtomicU64,
}

impl Shards {
    /// So many, whose keys give way as this says.
    pub(crate) fn new(count: usize, memory: &Memory) -> Shards {
        let state = || RwLock::new(ShardState::new(memory));
        let shard = || Shard { state: state(), reads: AtomicU64::new(0) };
        Shards { placement: Placement::new(count), shards: (0..count).map(|_| shard()).collect() }
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        (0..self.shards.len()).map(ShardIndex)
    }

    /// What a sweep of any of these shards goes by.
    pub(crate) fn sweep<'a>(&'a self, memory: &'a Memory, retention: Retention<'a>) -> Sweep<'a> {
        let filter_bytes_max = memory.filter_bytes_max(self.count());
        Sweep { memory, placement: &self.placement, retention, filter_bytes_max }
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn read(&self, shard: ShardIndex) -> RwLockReadGuard<'_, ShardState> {
        self.shards[shard.0].state.read()
    }

    /// As [`Shards::read`], if that is possible at once.
    pub(super) fn try_read(&self, shard: usize) -> Option<RwLockReadGuard<'_, ShardState>> {
        self.shards[shard].state.try_read()
    }

    /// As [`Shards::read`], to read one key: that is counted.
    #[inline]
    pub(crate) fn read_key(&self, shard: ShardIndex) -> RwLockReadGuard<'_, ShardState> {
        let shard = &self.shards[shard.0];
        let state = shard.state.read();
        shard.reads.fetch_add(1, Ordering::Relaxed);
        state
    }

    /// What a shard holds, for people.
    pub(crate) fn stats(&self, index: ShardIndex) -> ShardStats {
        let reads = self.shards[index.0].reads.load(Ordering::Relaxed);
        self.read(index).stats(index, reads)
    }

    /// Deletes every key that was committed before `wipe`, latching each shard for short.
    pub(crate) fn wipe<'a>(
        &'a self,
        wipe: Stamp,
        memory: &'a Memory,
        retention: &dyn Fn() -> Retention<'a>,
    ) {
        for shard in self.indices() {
            let mut from = Some(0);
            while let Some(at) = from {
                let mut state = self.write(shard);
                from = state.wipe_some(at, wipe, &self.sweep(memory, retention()));
                failpoint::cross("txn.mid_install");
            }
        }
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
