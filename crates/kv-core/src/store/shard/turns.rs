//! Whose turn it is: the order in which the sweep looks at the slots of a shard.
//!
//! Under [`Eviction::Lru`](crate::memory::Eviction::Lru) there is the hand alone, which goes round
//! over all slots. Under [`Eviction::S3Fifo`](crate::memory::Eviction::S3Fifo) it passes over
//! newcomers. They wait in a queue of their own, which has the first turn as long as it holds a
//! tenth of all that could give way:
//!
//! ```text
//!              unknown              warm                     the hand: cools by one
//!   comes ───────────────► new ───────────────► settled ◄────────────┐
//!     │                     │                      │  └──────────────┘
//!     │                     │ cold                 │ cold
//!     │                     ▼                      ▼
//!     │                gives way, and         gives way
//!     │                is a ghost
//!     └── a ghost ───────────────────────────► settled
//! ```
//!
//! So what is used once, such as by someone who reads all keys, passes through a tenth of memory
//! and leaves the rest alone. Whoever comes back soon after it gave way has proved that a tenth was
//! too little for it.
//!
//! In the paper the settled ones stand in a queue too. Here the hand does for them, at no bytes.

use std::collections::VecDeque;

use crate::memory::Memory;
use crate::store::ghosts::Ghosts;
use crate::store::slots::{Slot, Slots, Stage};

/// Newcomers have the first turn from this part of all that could give way.
const NEW_SHARE: usize = 10;
/// Entries of the queue that may be out of date, beside as many as are not.
const STALE_MAX: usize = 64;

/// The order, and what it goes by.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// How warm a slot can get; 0 if nobody looks.
    pub(super) heat_max: u8,
    /// The slot that the hand comes to next.
    hand: u32,
    /// Under S3-FIFO.
    newcomers: Option<Newcomers>,
}

/// A slot to be looked at. If it is in another stage it is passed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) number: u32,
    pub(super) stage: Stage,
}

#[derive(Debug, Default)]
struct Newcomers {
    /// In the order in which they came. A slot that was given up otherwise is still in it, and may
    /// be in it twice once it is used again.
    queue: VecDeque<u32>,
    ghosts: Ghosts,
    /// Slots in each stage.
    counts: [usize; Stage::COUNT],
    /// Who came since the last sweep, and is spared by the next.
    latest: Option<u32>,
    /// The slot to be relieved of its older versions next.
    aside: u32,
}

impl Turns {
    pub(super) fn new(memory: &Memory) -> Turns {
        let newcomers = memory.has_newcomers().then(Newcomers::default);
        Turns { heat_max: memory.heat_max(), hand: 0, newcomers }
    }

    /// The next turn, in a shard that has given out so many numbers. If those who have the first
    /// turn were asked `in_vain`, it is the others'.
    pub(super) fn next(&mut self, numbers: u32, in_vain: bool) -> Turn {
        if let Some(newcomers) = &mut self.newcomers
            && newcomers.are_many() != in_vain
            && let Some(number) = newcomers.pop()
        {
            return Turn { number, stage: Stage::New };
        }
        Turn { number: step(&mut self.hand, numbers), stage: Stage::Settled }
    }

    /// While newcomers have their turns, the hand stands still; but older versions go first
    /// wherever they are. The slot to look at for that.
    pub(super) fn aside(&mut self, numbers: u32) -> Option<u32> {
        Some(step(&mut self.newcomers.as_mut()?.aside, numbers))
    }

    /// A slot has got something that can give way. It has been used so often.
    pub(super) fn come(&mut self, number: u32, hash: u64, heat: u8, slots: &mut Slots) {
        let Some(newcomers) = &mut self.newcomers else { return };
        let is_known = newcomers.ghosts.take(hash);
        let stage = if is_known { Stage::Settled } else { Stage::New };
        slots[number].come(stage, heat);
        newcomers.counts[stage as usize] += 1;
        newcomers.latest = Some(number);
        if !is_known {
            newcomers.compact(slots);
            newcomers.queue.push_back(number);
        }
    }

    /// As [`Turns::come`], of a slot that was there, if it had nothing that could give way.
    pub(super) fn come_back(&mut self, number: u32, hash: u64, heat: u8, slots: &mut Slots) {
        if slots[number].stage == Stage::Bare {
            self.leave(Stage::Bare);
            self.come(number, hash, heat, slots);
        }
    }

    /// A slot in this stage is given up.
    pub(super) fn leave(&mut self, stage: Stage) {
        if let Some(newcomers) = &mut self.newcomers {
            newcomers.counts[stage as usize] -= 1;
        }
    }

    /// A slot whose turn it was was warm: it is no newcomer any more.
    pub(super) fn settle(&mut self, turn: Turn, slot: &mut Slot) {
        if let (Some(newcomers), Stage::New) = (&mut self.newcomers, turn.stage) {
            newcomers.turn_into(slot, Stage::Settled);
            slot.come(Stage::Settled, 0);
        }
    }

    /// A slot has nothing that could give way, for now.
    pub(super) fn bare(&mut self, slot: &mut Slot) {
        if let Some(newcomers) = &mut self.newcomers {
            newcomers.turn_into(slot, Stage::Bare);
        }
    }

    /// A slot whose turn it was cannot give way now.
    pub(super) fn wait(&mut self, turn: Turn) {
        if let (Some(newcomers), Stage::New) = (&mut self.newcomers, turn.stage) {
            newcomers.queue.push_back(turn.number);
        }
    }

    /// A slot whose turn it was has given way.
    pub(super) fn remember(&mut self, turn: Turn, hash: u64) {
        if let (Some(newcomers), Stage::New) = (&mut self.newcomers, turn.stage) {
            newcomers.ghosts.add(hash, newcomers.that_can_give());
        }
    }

    /// Who came since this was asked last.
    pub(super) fn take_latest(&mut self) -> Option<u32> {
        self.newcomers.as_mut()?.latest.take()
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.newcomers.as_ref().map_or(0, |newcomers| {
            newcomers.queue.capacity() * size_of::<u32>() + newcomers.ghosts.memory_bytes()
        })
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self, slots: &Slots) -> Option<String> {
        let newcomers = self.newcomers.as_ref()?;
        let mut found = [0; Stage::COUNT];
        slots.iter().for_each(|(_, slot)| found[slot.stage as usize] += 1);
        let mut is_waiting = vec![false; slots.numbers() as usize];
        newcomers.queue.iter().for_each(|&number| is_waiting[number as usize] = true);
        let missed =
            slots.iter().find(|(n, slot)| slot.stage == Stage::New && !is_waiting[*n as usize]);
        match missed {
            _ if found != newcomers.counts => {
                Some(format!("{found:?} slots by stage, {:?} counted", newcomers.counts))
            }
            Some((number, _)) => Some(format!("slot {number} is new and not in the queue")),
            None => None,
        }
    }
}

impl Newcomers {
    fn that_can_give(&self) -> usize {
        self.counts[Stage::New as usize] + self.counts[Stage::Settled as usize]
    }

    fn are_many(&self) -> bool {
        self.counts[Stage::New as usize] * NEW_SHARE >= self.that_can_give()
    }

    fn pop(&mut self) -> Option<u32> {
        let number = self.queue.pop_front();
        // When memory is first full, all of it are newcomers.
        if self.queue.capacity() > 4 * self.queue.len() + STALE_MAX {
            self.queue.shrink_to(2 * self.queue.len());
        }
        number
    }

    fn turn_into(&mut self, slot: &mut Slot, stage: Stage) {
        self.counts[slot.stage as usize] -= 1;
        self.counts[stage as usize] += 1;
        slot.stage = stage;
    }

    /// Takes out what is out of date, when that is more than what is not.
    fn compact(&mut self, slots: &Slots) {
        let known = self.counts[Stage::New as usize];
        if self.queue.len() <= 2 * known + STALE_MAX {
            return;
        }
        let mut was_seen = vec![false; slots.numbers() as usize];
        self.queue.retain(|&number| {
            let is_new = slots.get(number).is_some_and(|slot| slot.stage == Stage::New);
            is_new && !std::mem::replace(&mut was_seen[number as usize], true)
        });
    }
}

/// The slot that it stands at; it goes on to the next.
fn step(at: &mut u32, numbers: u32) -> u32 {
    let number = *at;
    *at = (number + 1) % numbers;
    number
}
