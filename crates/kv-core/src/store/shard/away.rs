//! Keys that are not in memory: what a shard knows of them, and how they come back.

use super::ShardState;
use crate::store::placement::Placement;
use crate::store::record::Record;
use crate::store::slots::HEAT_AWAITED;
use crate::types::Revision;

impl ShardState {
    /// Whether a key that is not in memory may be stored elsewhere.
    #[inline]
    pub(crate) fn may_be_away(&self, hash: u64) -> bool {
        self.filter.contains(hash)
    }

    /// What has left was committed at this revision at the latest.
    pub(crate) fn left_through(&self) -> Revision {
        self.left_through
    }

    /// Takes a key back into memory that has left, or notes that there is none. If it was deleted
    /// since by a wipe that is not stored yet, it gets that delete.
    pub(crate) fn admit(&mut self, hash: u64, record: Record, placement: &Placement) {
        self.counts.fetches += 1;
        self.counts.fetched_nothing += u64::from(record.is_nothing());
        let (is_live, wipe) = (!record.is_tombstone(), self.wipe_after(&record));
        self.live_keys += usize::from(is_live);
        if is_live && wipe.is_none() {
            self.uncount_away();
        }
        let number = self.create(hash, record, HEAT_AWAITED, placement);
        if let Some(wipe) = wipe {
            self.bury(number, hash, wipe, placement);
        }
    }

    /// One key less that exists and is not in memory.
    pub(super) fn uncount_away(&mut self) {
        debug_assert!(self.live_away > 0, "what exists is counted");
        self.live_away = self.live_away.saturating_sub(1);
    }

    /// How many keys exist, in memory or not, expired ones included.
    pub(crate) fn key_count(&self) -> usize {
        self.live_keys + self.live_away
    }

    /// A key that is stored, and is not to be in memory.
    pub(crate) fn leave_out(
        &mut self,
        hash: u64,
        revision: Revision,
        is_live: bool,
        filter_bytes_max: usize,
    ) {
        self.left_through = self.left_through.max(revision);
        self.live_away += usize::from(is_live);
        self.filter.add(hash, filter_bytes_max);
    }
}
