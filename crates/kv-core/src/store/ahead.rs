//! Touching keys before they are read, so that the memory they lie in comes while something else is
//! done.
//!
//! A read or write of a random key waits for memory three times in a row: for the index's bucket,
//! for the slot, for the record. A client that pipelines has said which keys come next; so the
//! waits of several keys can go on side by side. Each step is done for all keys before the next
//! one: within a step no load depends on another.
//!
//! ```text
//!   one by one     a: bucket ─ slot ─ record   b: bucket ─ slot ─ record   c: …
//!   ahead          a, b, c: bucket ─ slot ─ record   then each finds all of it in the cache
//! ```
//!
//! Nothing is decided by what is found, and a latch that is not free is passed by. Several shards
//! are latched at the same time here, and nowhere else: to read, for as long as the three steps
//! take, and without ever waiting for one while another is held.

use std::hint::black_box;

use parking_lot::RwLockReadGuard;

use super::shard::ShardState;
use super::shards::Shards;
use super::slots::Slot;
use crate::limits::KEYS_AHEAD_MAX;

impl Shards {
    /// Touches what is in memory of these keys; of more than [`KEYS_AHEAD_MAX`], the first.
    pub(crate) fn touch(&self, keys: &[&[u8]]) {
        let mut latched: [Option<(usize, RwLockReadGuard<'_, ShardState>)>; KEYS_AHEAD_MAX] =
            [const { None }; KEYS_AHEAD_MAX];
        let mut of_keys = [(0, 0); KEYS_AHEAD_MAX];
        let mut count = 0;
        for key in keys.iter().take(KEYS_AHEAD_MAX) {
            let hash = self.placement.hash(key);
            let shard = self.placement.shard(hash).0;
            let place = latched.iter_mut().position(|held| match held {
                Some((held, _)) => *held == shard,
                None => true,
            });
            let Some(place) = place else { continue };
            if latched[place].is_none() {
                let Some(state) = self.try_read(shard) else { continue };
                latched[place] = Some((shard, state));
            }
            of_keys[count] = (hash, place);
            count += 1;
        }
        let state = |place: usize| latched[place].as_ref().map(|(_, state)| &**state);
        let mut numbers = [(None, 0); KEYS_AHEAD_MAX];
        for (number, (hash, place)) in numbers.iter_mut().zip(&of_keys[..count]) {
            *number = (state(*place).and_then(|state| state.number_by_hash(*hash)), *place);
        }
        let mut slots: [Option<&Slot>; KEYS_AHEAD_MAX] = [None; KEYS_AHEAD_MAX];
        for (slot, (number, place)) in slots.iter_mut().zip(&numbers[..count]) {
            *slot = number.and_then(|number| state(*place)?.slot(number));
        }
        let touched = slots[..count].iter().flatten().map(|slot| slot.newest.touch());
        black_box(touched.fold(0, u64::wrapping_add));
    }
}
