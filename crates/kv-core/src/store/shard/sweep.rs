//! The sweep: which keys of a shard give way when memory is full.
//!
//! A hand goes round over the slots. A slot that was used since the hand was there last is *warm*,
//! and only cools down; one that is cold gives way. That is CLOCK: about the least recently used
//! go, and whoever reads does nothing but store a byte next to the record that it reads, under a
//! latch that it shares.
//!
//! ```text
//!   slot   0     1     2     3     4     5
//!   heat   1     0     1     1     0     1         hand at 3: cools 3, takes 4, stops
//!                      ▲ was here  ▲ stops here
//! ```
//!
//! With another order, in which slots can be warmer than 1, newcomers come before the hand: that is
//! told in [`turns`](super::turns). What happens to a slot whose turn it is is the same, but that a
//! newcomer that is warm is one no longer.
//!
//! Older versions go first: they are seldom read, and can be fetched as soon as they are folded.
//!
//! What giving way means is told by [`Way`]. Only what can be had back as it was gives way:
//!
//! - it is *folded*: the fetcher has it;
//! - it is *readable*, so that no reader needs the version before it;
//! - nobody has it locked to write it: a commit counts on its newest version being here;
//! - its older versions in memory are gone before it: each is folded, and no open view reads it.
//!
//! Without a fetcher nothing can be had back. Then a key stays also while a transaction has it
//! locked to read it, or a view is open that may have shown it.

use super::turns::Turn;
use super::{Retention, ShardState};
use crate::limits::TRIM_PER_WRITE;
use crate::memory::{Memory, Way};
use crate::store::placement::Placement;
use crate::store::record::Record;
use crate::store::slots::Stage;
use crate::types::{Revision, Version};

/// A value so short stays: to say where it is would take as much.
pub(super) const VALUE_BYTES_STAYING: usize = 64;

/// What comes of it when a cold slot is to give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Gave,
    /// Something still needs it here.
    NotNow,
    /// As long as it stays as it is, there is nothing to gain.
    Never,
}

/// What a sweep goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) placement: &'a Placement,
    pub(crate) retention: Retention<'a>,
    /// Bytes that the shard's filter may take.
    pub(crate) filter_bytes_max: usize,
}

impl ShardState {
    /// Has keys give way until the store is within its bound, as far as so many looks at a slot
    /// lead, at most one for each slot. Answers whether it made the store smaller.
    pub(crate) fn sweep(&mut self, sweep: &Sweep<'_>, looks_max: u32) -> bool {
        let spared = self.turns.take_latest();
        self.publish(sweep.memory);
        if sweep.memory.way() == Way::Stay || !sweep.memory.is_over() {
            return false;
        }
        self.trim_earlier(sweep.retention, TRIM_PER_WRITE);
        let numbers = self.slots.numbers();
        let looks = looks_max.min(numbers);
        let mut has_given = false;
        for look in 0..looks {
            let turn = self.turns.next(numbers, !has_given && look > looks / 2);
            if self.visit(turn, spared, sweep) {
                has_given = true;
                self.publish(sweep.memory);
                if !sweep.memory.is_over() {
                    break;
                }
            }
        }
        has_given
    }

    /// Has a slot whose turn it is cool down or give way; whether something takes less now.
    fn visit(&mut self, turn: Turn, spared: Option<u32>, sweep: &Sweep<'_>) -> bool {
        let number = turn.number;
        let mut has_given = self.drop_older_folded(number, sweep);
        if turn.stage == Stage::New
            && let Some(aside) = self.turns.aside(self.slots.numbers())
        {
            has_given |= self.drop_older_folded(aside, sweep);
        }
        let Some(slot) = self.slots.get_mut(number).filter(|slot| slot.stage == turn.stage) else {
            return has_given;
        };
        if spared == Some(number) {
            self.turns.wait(turn);
        } else if slot.is_warm() {
            slot.cool();
            self.turns.settle(turn, slot);
        } else {
            let hash = sweep.placement.hash(slot.newest.key());
            match self.give_way(number, hash, sweep) {
                Outcome::Gave => {
                    self.turns.remember(turn, hash);
                    return true;
                }
                Outcome::NotNow => self.turns.wait(turn),
                Outcome::Never => self.turns.bare(&mut self.slots[number]),
            }
        }
        has_given
    }

    /// Has a cold slot give way.
    fn give_way(&mut self, number: u32, hash: u64, sweep: &Sweep<'_>) -> Outcome {
        if self.slots[number].is_queued {
            return Outcome::NotNow;
        }
        match sweep.memory.way() {
            Way::Stay => Outcome::NotNow,
            Way::Value => self.give_value(number, hash, sweep),
            Way::Leave => self.leave(number, hash, sweep),
            Way::Drop => self.drop_key(number, hash, sweep),
        }
    }

    /// Drops older versions that can be had back; whether it was all that there were.
    fn drop_older_folded(&mut self, number: u32, sweep: &Sweep<'_>) -> bool {
        let had_older = self.slots.get(number).is_some_and(|slot| slot.older != 0);
        if !had_older || sweep.memory.way() == Way::Drop {
            return false;
        }
        let folded = sweep.memory.folded();
        self.drop_older(number, |old| {
            old.record.revision() <= folded && !old.is_needed(sweep.retention)
        });
        self.slots[number].older == 0
    }

    /// Whether the newest version in a slot can be fetched again.
    fn is_kept_elsewhere(&self, number: u32, hash: u64, sweep: &Sweep<'_>) -> bool {
        let slot = &self.slots[number];
        let revision = slot.newest.revision();
        slot.older == 0
            && revision <= sweep.memory.folded()
            && !sweep.retention.horizon.is_beyond_readers(revision)
            && !self.locks.is_written(hash, slot.newest.key())
            // It may expire and be forgotten while who has seen it may look again.
            && (slot.newest.expires_ms().is_none() || self.locks.is_free(hash, slot.newest.key()))
    }

    /// Has a key leave, if it can; whether it could.
    pub(super) fn let_leave(&mut self, number: u32, hash: u64, sweep: &Sweep<'_>) -> bool {
        !self.slots[number].is_queued && self.leave(number, hash, sweep) == Outcome::Gave
    }

    fn leave(&mut self, number: u32, hash: u64, sweep: &Sweep<'_>) -> Outcome {
        if !self.is_kept_elsewhere(number, hash, sweep) {
            return Outcome::NotNow;
        }
        let newest = &self.slots[number].newest;
        let is_live = !newest.is_tombstone();
        // One that is wiped exists no more, although what is stored of it does not say so yet.
        self.live_away += usize::from(is_live && self.wipe_after(newest).is_none());
        self.live_keys -= usize::from(is_live);
        if !newest.is_nothing() {
            self.left_through = self.left_through.max(newest.revision());
            self.filter.add(hash, sweep.filter_bytes_max);
            sweep.memory.note_left();
        }
        self.remove(hash, number);
        self.counts.evictions += 1;
        Outcome::Gave
    }

    fn give_value(&mut self, number: u32, hash: u64, sweep: &Sweep<'_>) -> Outcome {
        if !self.is_kept_elsewhere(number, hash, sweep) {
            return Outcome::NotNow;
        }
        if !self.give_value_back(number, hash) {
            return Outcome::Never;
        }
        self.turns.bare(&mut self.slots[number]);
        Outcome::Gave
    }

    fn drop_key(&mut self, number: u32, hash: u64, sweep: &Sweep<'_>) -> Outcome {
        if self.may_be_seen(number, hash, sweep.retention) {
            return Outcome::NotNow;
        }
        sweep.memory.note_forgotten(self.slots[number].newest.revision());
        self.drop_older(number, |_| true);
        self.remove_for_good(hash, number);
        self.counts.evictions += 1;
        Outcome::Gave
    }

    /// Whether a transaction or a view that is open may have been shown something of a key, or may
    /// yet be: then it must not be gone for good.
    pub(super) fn may_be_seen(&self, number: u32, hash: u64, retention: Retention<'_>) -> bool {
        let newest = &self.slots[number].newest;
        let oldest = self.oldest_in(number);
        // A view before the first version is shown nothing; one before another is told that it is
        // pruned, and must go on being told.
        let shown_from = match oldest.version() {
            Version(1) => oldest.revision(),
            _ => Revision(0),
        };
        !self.locks.is_free(hash, newest.key())
            || retention.horizon.is_beyond_readers(newest.revision())
            || retention.views.is_any_open_from(shown_from)
    }

    /// The oldest version in memory.
    pub(super) fn oldest_in(&self, number: u32) -> &Record {
        let slot = &self.slots[number];
        let list = slot.older.checked_sub(1).and_then(|list| self.older.get(list as usize));
        list.and_then(|older| older.front()).map_or(&slot.newest, |old| &old.record)
    }
}
