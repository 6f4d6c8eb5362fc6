//! Giving back what expired keys take, and, without files, forgetting keys.
//!
//! Nothing depends on this but memory: what has expired is judged by whoever reads it. A hand goes
//! round over the slots, a few at a time, and only as long as a shard has anything that can end.
//!
//! What has expired can still be asked for by its version. So where the value is stored elsewhere
//! too, it gives way, and is fetched if anybody asks; where it is not, it is pruned. What is left
//! is the key with its version counter. Where nobody else keeps those, both they and the counters
//! of deleted keys are forgotten after the retention.

use super::{Retention, ShardState};
use crate::memory::Memory;
use crate::store::placement::Placement;
use crate::store::record::{Place, Record};

/// What a look at some slots goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) placement: &'a Placement,
    pub(crate) retention: Retention<'a>,
    /// The time by which it is judged what has expired, in milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
    /// What ended before this is forgotten, in milliseconds since the Unix epoch; none if that is
    /// for others to say.
    pub(crate) forget_before_ms: Option<u64>,
}

/// When there ceased to be something under the key, if there did.
fn ended_ms(newest: &Record) -> Option<u64> {
    if newest.is_tombstone() { Some(newest.time_ms()) } else { newest.expires_ms() }
}

impl ShardState {
    /// Looks at up to so many slots for what has ended, and at as many that kept more versions than
    /// they were to: all keys may have, when all are deleted at once.
    pub(crate) fn end_some(&mut self, ending: &Ending<'_>, slots_max: u32) {
        if self.mortals == 0 {
            return;
        }
        self.trim_earlier(ending.retention, slots_max as usize);
        for _ in 0..slots_max.min(self.slots.numbers()) {
            let number = self.ending_hand % self.slots.numbers();
            self.ending_hand = number + 1;
            let newest = self.slots.get(number).map(|slot| &slot.newest);
            let ended = newest.and_then(ended_ms).filter(|&at| at <= ending.now_ms);
            if let Some(ended_ms) = ended {
                self.end(number, ended_ms, ending);
            }
        }
        self.publish(ending.memory);
    }

    fn end(&mut self, number: u32, ended_ms: u64, ending: &Ending<'_>) {
        let newest = &self.slots[number].newest;
        let hash = ending.placement.hash(newest.key());
        let (revision, is_deleted) = (newest.revision(), newest.is_tombstone());
        // Whoever judged it earlier may have found it there, and look again.
        if self.slots[number].is_queued || self.may_be_seen(number, hash, ending.retention) {
            return;
        }
        if ending.forget_before_ms.is_some_and(|before_ms| ended_ms < before_ms) {
            ending.memory.note_forgotten(revision);
            self.drop_older(number, |_| true);
            self.remove_for_good(hash, number);
        } else if !is_deleted && (!ending.memory.is_stored() || revision <= ending.memory.folded())
        {
            self.drop_older(number, |old| !old.is_needed(ending.retention));
            self.give_value_back(number, hash);
        }
    }

    /// Takes the value of a slot out of memory, if that saves anything.
    pub(super) fn give_value_back(&mut self, number: u32, hash: u64) -> bool {
        let newest = &self.slots[number].newest;
        if newest.place().is_some()
            || newest.is_tombstone()
            || newest.value_bytes().len() <= super::sweep::VALUE_BYTES_STAYING
        {
            return false;
        }
        let value_bytes = newest.value_bytes().len() as u64;
        let away = newest.to_elsewhere(Place { area: 0, offset: 0, value_bytes });
        self.exchange(hash, away);
        self.counts.evictions += 1;
        true
    }
}
