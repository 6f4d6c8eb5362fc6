//! Reading one shard in key order.
//!
//! Neighbours in key order are strangers in memory: for each key two lines have to come from there,
//! the slot's and the record's, one after the other. So a few slots ahead are touched in a loop
//! that does nothing else, and all that they lead to comes at the same time.

use std::hint::black_box;

use smallvec::SmallVec;

use super::{Seen, ShardState};
use crate::limits::KEYS_PER_LATCH_MAX;
use crate::types::{Interval, Revision};

/// Slots that are touched ahead: few at first, since a short scan may end soon.
const AHEAD_MIN: usize = 8;
const AHEAD_MAX: usize = 32;

impl ShardState {
    /// Calls `each` with what a view at `revision` sees, in key order, until it answers false. Keys
    /// that did not exist then, or were deleted, are passed over unless they are wanted too. After
    /// a number of keys, shown or not, it stops, so that others get the latch, and answers where to
    /// go on.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        revision: Revision,
        with_hidden: bool,
        mut each: impl FnMut(Seen<'_>, &[u8]) -> bool,
    ) -> Option<Box<[u8]>> {
        let mut numbers = self.order.range_from(from, &self.slots);
        let mut ahead: SmallVec<[u32; AHEAD_MAX]> = SmallVec::new();
        let (mut visited, mut ahead_max) = (0, AHEAD_MIN);
        loop {
            ahead.clear();
            ahead.extend(numbers.by_ref().take(ahead_max));
            ahead_max = (2 * ahead_max).min(AHEAD_MAX);
            if ahead.is_empty() {
                return None;
            }
            self.touch(&ahead);
            for &number in &ahead {
                let slot = &self.slots[number];
                let key = slot.newest.key();
                if to.is_some_and(|to| key >= to) {
                    return None;
                }
                if visited == KEYS_PER_LATCH_MAX {
                    return Some(key.into());
                }
                visited += 1;
                let seen = self.slot_at(slot, revision);
                let is_hidden = match &seen {
                    Seen::Record(record) => record.is_tombstone(),
                    Seen::Nothing => true,
                    Seen::Gone(_) | Seen::Away => false,
                };
                if (with_hidden || !is_hidden) && !each(seen, key) {
                    return Some(Interval::all().after(key).from);
                }
            }
        }
    }

    /// Has what these slots lead to come from memory.
    fn touch(&self, numbers: &[u32]) {
        let touched = numbers
            .iter()
            .fold(0, |touched, &number| touched ^ self.slots[number].newest.revision().0);
        black_box(touched);
    }
}
