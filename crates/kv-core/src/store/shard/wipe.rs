//! A *wipe*: a commit that deletes every key that it does not write itself.
//!
//! Each key in memory gets a delete, a few of them under one hold of the latch. Nobody else writes
//! meanwhile, since the commit has all keys locked; whoever reads without locks does not see its
//! revision before all of it is done. A key that can leave memory leaves instead, since it would
//! only take more room as a deleted one.
//!
//! What has left is not brought back for that. The shard remembers the wipe: what is fetched from
//! a place that has not heard of it yet gets its delete then, with the version that it would have
//! got.
//!
//! ```text
//!   stored    house 3 at revision 10        the snapshot is folded through revision 30
//!   wipes     at 40, at 50                  not folded yet
//!   fetched   house 3, then house 4, deleted at 40: the first that came after it
//! ```
//!
//! Whether a key has expired does not matter: it is deleted too. So neither has anybody to judge
//! that, nor need what is stored be looked at to know that no key is left.

use super::ShardState;
use crate::durability::{Stamp, first_wipe_after};
use crate::limits::KEYS_PER_LATCH_MAX;
use crate::memory::{Memory, Way};
use crate::store::placement::Placement;
use crate::store::record::Record;
use crate::store::shard::sweep::Sweep;
use crate::types::{Revision, Version};

/// The wipes that what is stored may lack, oldest first.
#[derive(Debug, Default)]
pub(super) struct Wipes {
    kept: Vec<Stamp>,
    /// The newest of those that are not kept any more.
    passed: Revision,
}

impl ShardState {
    /// Deletes some of the keys that were committed before `wipe`; from slot 0 on at first, then
    /// from where the last call says, until there are no more.
    pub(crate) fn wipe_some(&mut self, from: u32, wipe: Stamp, sweep: &Sweep<'_>) -> Option<u32> {
        if from == 0 {
            self.begin_wipe(wipe, sweep.memory);
        }
        // Slots that are added from now on are of keys that are fetched, and deleted by that.
        let to = self.slots.numbers().min(from + KEYS_PER_LATCH_MAX as u32);
        for number in from..to {
            self.wipe_slot(number, wipe, sweep);
        }
        self.sweep(sweep, KEYS_PER_LATCH_MAX as u32);
        (to < self.slots.numbers()).then_some(to)
    }

    fn begin_wipe(&mut self, wipe: Stamp, memory: &Memory) {
        self.live_away = 0;
        if memory.way() != Way::Leave {
            return;
        }
        let folded = memory.folded();
        let Wipes { kept, passed } = &mut self.wipes;
        kept.retain(|earlier| {
            let is_folded = earlier.revision <= folded;
            if is_folded {
                *passed = earlier.revision;
            }
            !is_folded
        });
        kept.push(wipe);
    }

    fn wipe_slot(&mut self, number: u32, wipe: Stamp, sweep: &Sweep<'_>) {
        let Some(slot) = self.slots.get(number) else { return };
        if slot.newest.is_tombstone() || slot.newest.revision() >= wipe.revision {
            return;
        }
        let hash = sweep.placement.hash(slot.newest.key());
        if sweep.memory.way() == Way::Leave && self.let_leave(number, hash, sweep) {
            return;
        }
        self.bury(number, hash, wipe, sweep.placement);
        self.trim_slot(number, sweep.retention);
    }

    /// Gives the key in a slot the delete of a wipe.
    pub(super) fn bury(&mut self, number: u32, hash: u64, wipe: Stamp, placement: &Placement) {
        let newest = &self.slots[number].newest;
        let mut delete = Record::tombstone(newest.key());
        let version = Version(newest.version().0 + 1);
        delete.stamp(wipe.revision, version, wipe.time_ms);
        self.install(hash, Some(number), delete, placement);
    }

    /// The wipe that what is stored of a key may lack, if its newest version there is this one.
    pub(super) fn wipe_after(&self, newest: &Record) -> Option<Stamp> {
        first_wipe_after(&self.wipes.kept, newest.revision()).filter(|_| !newest.is_tombstone())
    }

    /// As [`ShardState::wipe_after`], of a version that is not a delete.
    pub(super) fn is_wiped_after(&self, revision: Revision) -> bool {
        first_wipe_after(&self.wipes.kept, revision).is_some()
    }

    /// The wipes that what is stored may lack.
    pub(crate) fn wipes(&self) -> &[Stamp] {
        &self.wipes.kept
    }

    /// The newest wipe that is not remembered: what was read before it was folded is out of date.
    pub(crate) fn wipes_passed(&self) -> Revision {
        self.wipes.passed
    }
}
