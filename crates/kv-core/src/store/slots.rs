//! The slots of one shard: for each known key its newest record and what belongs to it.
//!
//! Slots stand in chunks that are never moved, so that a growing store neither copies them nor
//! leaves the room of the copy behind. A slot that is given up is used again by the next key.

use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicU8, Ordering};

use super::order::KeyOf;
use super::record::Record;

const CHUNK_SLOTS: usize = 512;

/// One key's place.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) newest: Record,
    /// One more than the number of its list of older versions; 0 is none.
    pub(crate) older: u32,
    /// Whether it is in the queue of slots to be trimmed.
    pub(crate) is_queued: bool,
    /// Who looks at it when memory is full.
    pub(crate) stage: Stage,
    /// How warm it is: raised by who reads it, lowered by the sweep; see [`super::shard::sweep`].
    heat: AtomicU8,
}

/// How far a slot has come; see [`super::shard::turns`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits in the queue of newcomers.
    New,
    /// The hand comes round to it.
    Settled,
    /// It has nothing that could give way.
    Bare,
}

impl Stage {
    pub(crate) const COUNT: usize = 3;
}

/// The heat of a slot that was fetched for somebody: that one use of it will make it 0.
pub(crate) const HEAT_AWAITED: u8 = u8::MAX;

const _: () = assert!(size_of::<Option<Slot>>() == 16, "four slots a cache line");

impl Slot {
    /// A slot that was just used.
    pub(crate) fn new(newest: Record) -> Slot {
        let (stage, heat) = (Stage::Settled, AtomicU8::new(1));
        Slot { newest, older: 0, is_queued: false, stage, heat }
    }

    /// Begins again, in this stage and so warm.
    pub(crate) fn come(&mut self, stage: Stage, heat: u8) {
        self.stage = stage;
        *self.heat.get_mut() = heat;
    }

    /// Notes that it was used. Who reads shares the latch, so a note may be lost to another one.
    #[inline]
    pub(crate) fn warm(&self, heat_max: u8) {
        let warmer = self.heat.load(Ordering::Relaxed).wrapping_add(1);
        if warmer <= heat_max {
            self.heat.store(warmer, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_warm(&self) -> bool {
        !matches!(self.heat.load(Ordering::Relaxed), 0 | HEAT_AWAITED)
    }

    /// Lowers the heat of a warm slot by one.
    pub(crate) fn cool(&mut self) {
        *self.heat.get_mut() -= 1;
    }
}

/// Slots by number, from 0.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    chunks: Vec<Vec<Option<Slot>>>,
    /// Numbers given out so far, those included that are vacant again.
    numbers: usize,
    vacant: Vec<u32>,
}

impl Slots {
    /// Adds a slot; answers its number.
    pub(crate) fn push(&mut self, slot: Slot) -> u32 {
        if let Some(number) = self.vacant.pop() {
            *self.place(number) = Some(slot);
            return number;
        }
        let number = u32::try_from(self.numbers).unwrap_or(u32::MAX);
        assert!(number < u32::MAX, "a shard holds at most 2^32 - 1 keys; use more shards");
        if self.numbers.is_multiple_of(CHUNK_SLOTS) {
            self.chunks.push(Vec::with_capacity(CHUNK_SLOTS));
        }
        self.chunks[self.numbers / CHUNK_SLOTS].push(Some(slot));
        self.numbers += 1;
        number
    }

    /// Gives a slot up.
    pub(crate) fn remove(&mut self, number: u32) {
        debug_assert!(self.get(number).is_some(), "a slot is given up once");
        *self.place(number) = None;
        self.vacant.push(number);
    }

    fn place(&mut self, number: u32) -> &mut Option<Slot> {
        let number = number as usize;
        &mut self.chunks[number / CHUNK_SLOTS][number % CHUNK_SLOTS]
    }

    /// The slot of a number that has been given out, unless it is vacant.
    pub(crate) fn get(&self, number: u32) -> Option<&Slot> {
        let number = number as usize;
        self.chunks[number / CHUNK_SLOTS][number % CHUNK_SLOTS].as_ref()
    }

    /// As [`Slots::get`], to change it.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.place(number).as_mut()
    }

    /// How many numbers have been given out: all are below this.
    pub(crate) fn numbers(&self) -> u32 {
        self.numbers as u32
    }

    /// How many slots are in use.
    pub(crate) fn len(&self) -> usize {
        self.numbers - self.vacant.len()
    }

    /// The slots in use, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(self.chunks.iter().flatten()).filter_map(|(n, slot)| Some((n, slot.as_ref()?)))
    }

    /// Bytes of memory that they take, without what their records do.
    pub(crate) fn memory_bytes(&self) -> usize {
        let slots = self.chunks.len() * CHUNK_SLOTS * size_of::<Option<Slot>>();
        slots + self.vacant.capacity() * size_of::<u32>()
    }
}

impl Index<u32> for Slots {
    type Output = Slot;

    #[inline]
    fn index(&self, number: u32) -> &Slot {
        match self.get(number) {
            Some(slot) => slot,
            None => unreachable!("the indexes name slots that are in use"),
        }
    }
}

impl IndexMut<u32> for Slots {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut Slot {
        match self.place(number) {
            Some(slot) => slot,
            None => unreachable!("the indexes name slots that are in use"),
        }
    }
}

impl KeyOf for Slots {
    fn key_of(&self, slot: u32) -> &[u8] {
        self[slot].newest.key()
    }
}
