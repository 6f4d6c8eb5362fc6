//! How much memory a store may take, and what leaves it when that is reached.
//!
//! Every shard counts what its records and indexes take, with the allocator's rounding, and adds
//! it up here. Above the bound, whoever adds something has a few keys of the same shard give way
//! ([`crate::store::shard::sweep`]). What giving way means depends on what else has the data:
//!
//! | with | a key that gives way | what is needed of it later |
//! |---|---|---|
//! | a fetcher that holds keys | leaves memory as a whole, once it is folded | is fetched |
//! | a fetcher that holds values | leaves its value there, once folded | its value is fetched |
//! | no files | is gone, with its version counter | nothing: there is none |
//! | any, [`Eviction::None`] | none does | writes are refused |
//!
//! Nothing gives way that cannot be had back as it was: what is not folded yet, what an open
//! transaction has locked to write it, older versions that an open view reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::error::Error;
use crate::limits::FILTER_SHARE;
use crate::step::{Holds, Pause, Step};
use crate::types::Revision;
use crate::watermark::Watermark;

/// Who gives way when memory is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// Nobody: writes are refused.
    None,
    /// The least recently used keys, about: CLOCK (Corbató, "A Paging Experiment with the Multics
    /// System", 1968), which knows of each key whether it was used since it was last looked at.
    #[default]
    Lru,
    /// Keys that were used once, before those that were used again and again: S3-FIFO (Yang et al.,
    /// "FIFO Queues are All You Need for Cache Eviction", 2023). Whoever reads all keys once does
    /// not drive out those that others use all the time. A key takes four to eight bytes more.
    S3Fifo,
}

/// What it means for a key to give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It does not.
    Stay,
    /// Its value leaves memory.
    Value,
    /// It leaves memory.
    Leave,
    /// It is gone.
    Drop,
}

/// The bound, and what is used.
#[derive(Debug)]
pub(crate) struct Memory {
    way: Way,
    eviction: Eviction,
    /// Whether others keep what is folded, so that what leaves memory is not lost.
    is_stored: bool,
    /// Whether there is a bound at all.
    is_bounded: bool,
    bytes_max: AtomicUsize,
    bytes_used: AtomicUsize,
    /// Bytes that there was no room for; made by what gives way at the end of the next fold.
    bytes_wanted: AtomicUsize,
    /// The newest revision when nothing could give way, or 0.
    in_vain_at: AtomicU64,
    /// What the fetcher has: everything up to this revision.
    folded: AtomicU64,
    /// How many folds have ended, well or not; waited for by writers that have no room.
    folds: Arc<Watermark>,
    /// Whether the last one failed: then nobody waits for another.
    is_fold_failing: AtomicBool,
    /// Whether somebody waits for more to be folded.
    is_fold_wanted: AtomicBool,
    /// Whether any key ever left memory, so that whoever reads keys in order has to ask for others.
    has_left: AtomicBool,
    /// The highest revision of a counter that was forgotten.
    forgotten: AtomicU64,
    /// How many times something was forgotten by others; counted under the key's latch.
    forgets: AtomicU64,
}

impl Memory {
    /// For a store that is being loaded, and of which nothing is dropped.
    pub(crate) fn new(bytes_max: Option<usize>, eviction: Eviction, holds: Holds) -> Memory {
        let way = match (bytes_max, eviction, holds) {
            (None, _, _) | (_, Eviction::None, _) | (_, _, Holds::Nothing) => Way::Stay,
            (_, _, Holds::Values) => Way::Value,
            (_, _, Holds::Keys) => Way::Leave,
        };
        Memory {
            way,
            eviction,
            is_stored: true,
            is_bounded: bytes_max.is_some(),
            bytes_max: AtomicUsize::new(bytes_max.unwrap_or(usize::MAX)),
            bytes_used: AtomicUsize::new(0),
            bytes_wanted: AtomicUsize::new(0),
            in_vain_at: AtomicU64::new(0),
            folded: AtomicU64::new(0),
            folds: Watermark::new(0),
            is_fold_failing: AtomicBool::new(false),
            is_fold_wanted: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            forgotten: AtomicU64::new(0),
            forgets: AtomicU64::new(0),
        }
    }

    /// Says that nobody else has the data, so that what gives way is gone.
    pub(crate) fn stand_alone(&mut self) {
        self.is_stored = false;
        if self.is_bounded && self.eviction != Eviction::None {
            self.way = Way::Drop;
        }
    }

    /// Whether others keep what is folded.
    pub(crate) fn is_stored(&self) -> bool {
        self.is_stored
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    /// How warm a key can get; 0 if nobody looks.
    pub(crate) fn heat_max(&self) -> u8 {
        match self.eviction {
            _ if !self.is_bounded => 0,
            Eviction::None | Eviction::Lru => 1,
            Eviction::S3Fifo => 3,
        }
    }

    /// Whether keys that are new are told apart from others.
    pub(crate) fn has_newcomers(&self) -> bool {
        self.is_bounded && self.eviction == Eviction::S3Fifo
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Sets another bound, in a store that has one.
    pub(crate) fn set_bytes_max(&self, bytes: usize) {
        if self.is_bounded {
            self.bytes_max.store(bytes, Ordering::Relaxed);
        }
    }

    /// The bytes that the filter of one of so many shards may take.
    pub(crate) fn filter_bytes_max(&self, shards: usize) -> usize {
        self.bytes_max() / FILTER_SHARE / shards
    }

    pub(crate) fn bytes_used(&self) -> usize {
        self.bytes_used.load(Ordering::Relaxed)
    }

    /// Notes that a shard that had so many bytes has so many now.
    pub(crate) fn note_used(&self, before: usize, now: usize) {
        // Wrapping, so that one addition does for both signs.
        self.bytes_used.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Whether something has to give way.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_bounded
            && self.bytes_used() + self.bytes_wanted.load(Ordering::Relaxed) > self.bytes_max()
    }

    /// Whether it is worth while to look for something that gives way, after somebody has found no
    /// room: not if there was nothing, and nobody has written since.
    pub(crate) fn may_be_relieved(&self, newest: Revision) -> bool {
        self.way != Way::Stay && self.in_vain_at.load(Ordering::Relaxed) != newest.0
    }

    /// Ends a search for what gives way; whether there is the room now that was wanted.
    pub(crate) fn note_relief(&self, newest: Revision) -> bool {
        let has_room = !self.is_over();
        self.bytes_wanted.store(0, Ordering::Relaxed);
        self.in_vain_at.store(if has_room { 0 } else { newest.0 }, Ordering::Relaxed);
        has_room
    }

    /// Refuses a write of so many bytes that there is no room for, even if others give way. As long
    /// as something is newer than what is folded, it pauses instead: there may be room afterwards.
    pub(crate) fn check_room(&self, bytes: usize, newest: Revision) -> Step<()> {
        if !self.is_bounded {
            return Ok(());
        }
        let bytes_max = self.bytes_max();
        if bytes > bytes_max / VALUE_SHARE {
            return Err(Error::OutOfMemory { bytes, bytes_max, is_too_large: true }.into());
        }
        // Where keys give way, that may take a moment.
        let slack = if self.way == Way::Stay { 0 } else { bytes_max / SLACK_SHARE };
        if self.bytes_used() + bytes <= bytes_max + slack {
            return Ok(());
        }
        if self.way != Way::Stay {
            self.bytes_wanted.fetch_max(bytes, Ordering::Relaxed);
        }
        // Counted before it is asked how far the last one came.
        let folds = self.folds.get();
        let may_give_way = matches!(self.way, Way::Leave | Way::Value) && self.folded() < newest;
        if may_give_way && !self.is_fold_failing.load(Ordering::SeqCst) {
            self.is_fold_wanted.store(true, Ordering::SeqCst);
            return Err(Pause::Room(self.folds.reached(folds + 1)));
        }
        Err(Error::OutOfMemory { bytes, bytes_max, is_too_large: false }.into())
    }

    /// Whether somebody waits for more to be folded, since it was asked last.
    pub(crate) fn take_fold_wanted(&self) -> bool {
        self.is_fold_wanted.swap(false, Ordering::SeqCst)
    }

    /// Everything up to this revision is in the fetcher's hands.
    pub(crate) fn folded(&self) -> Revision {
        Revision(self.folded.load(Ordering::SeqCst))
    }

    pub(crate) fn note_folded(&self, through: Revision) {
        self.folded.fetch_max(through.0, Ordering::SeqCst);
        self.is_fold_failing.store(false, Ordering::SeqCst);
    }

    /// Wakes those who wait for a fold, when what it has has given way.
    pub(crate) fn note_fold_ended(&self) {
        self.folds.advance(self.folds.get() + 1);
    }

    pub(crate) fn note_fold_failed(&self) {
        self.is_fold_failing.store(true, Ordering::SeqCst);
        self.note_fold_ended();
    }

    /// Whether any key may be stored that is not in memory.
    pub(crate) fn has_left(&self) -> bool {
        self.has_left.load(Ordering::SeqCst)
    }

    /// To be called before the first key leaves, under its shard's latch.
    pub(crate) fn note_left(&self) {
        if !self.has_left.load(Ordering::Relaxed) {
            self.has_left.store(true, Ordering::SeqCst);
        }
    }

    /// The highest revision of a counter that was forgotten.
    pub(crate) fn forgotten(&self) -> Revision {
        Revision(self.forgotten.load(Ordering::SeqCst))
    }

    /// How many times something was forgotten by others.
    pub(crate) fn forgets(&self) -> u64 {
        self.forgets.load(Ordering::SeqCst)
    }

    pub(crate) fn note_forget(&self) {
        self.forgets.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn note_forgotten(&self, revision: Revision) {
        self.forgotten.fetch_max(revision.0, Ordering::SeqCst);
    }
}

/// A value may take this part of the bound: others have to stay while it is read and written.
const VALUE_SHARE: usize = 4;
/// Where keys give way, writes are refused only beyond this part above the bound.
const SLACK_SHARE: usize = 16;

/// The bytes that an allocator takes for so many: its size classes are multiples of 16 at first,
/// and then four to each doubling, as those of mimalloc and jemalloc.
pub(crate) fn size_class(bytes: usize) -> usize {
    if bytes <= 64 {
        return bytes.next_multiple_of(16);
    }
    let step = 1 << ((bytes - 1).ilog2() - 2);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_are_four_a_doubling() {
        let classes = [1, 16, 17, 64, 65, 80, 81, 112, 113, 128, 129, 1025].map(size_class);
        assert_eq!(classes, [16, 16, 32, 64, 80, 80, 96, 112, 128, 128, 160, 1280]);
    }

    #[test]
    fn what_is_used_goes_up_and_down() {
        let memory = Memory::new(Some(100), Eviction::Lru, Holds::Keys);
        memory.note_used(0, 90);
        assert!(!memory.is_over());
        memory.note_used(90, 120);
        assert!(memory.is_over());
        memory.note_used(120, 30);
        assert_eq!(memory.bytes_used(), 30);
    }

    #[test]
    fn what_gives_way_depends_on_who_else_has_it() {
        let way = |bytes, eviction, holds| Memory::new(bytes, eviction, holds).way();
        assert_eq!(way(None, Eviction::Lru, Holds::Keys), Way::Stay);
        assert_eq!(way(Some(1), Eviction::Lru, Holds::Keys), Way::Leave);
        assert_eq!(way(Some(1), Eviction::Lru, Holds::Values), Way::Value);
        assert_eq!(way(Some(1), Eviction::Lru, Holds::Nothing), Way::Stay, "the log has it");
        assert_eq!(way(Some(1), Eviction::None, Holds::Keys), Way::Stay);
        let mut memory = Memory::new(Some(1), Eviction::Lru, Holds::Nothing);
        memory.stand_alone();
        assert_eq!(memory.way(), Way::Drop);
    }
}
