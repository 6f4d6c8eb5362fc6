//! One simulated file: what a program sees of it, what the disk holds of it, and what lies between.
//!
//! Between the two are *changes*: whole sectors as they were after a write, and lengths. A sync
//! carries all of them to the disk; a power cut any of them. A sector is taken as it stood in
//! memory, because a disk writes no less: the second of two writes to a sector never reaches the
//! disk without the first. Intermediate states may, since the system writes back when it likes.

use std::ops::Range;

use rand::RngExt;
use rand::rngs::StdRng;

/// What a disk writes at once or not at all, in bytes.
pub(crate) const SECTOR_BYTES: usize = 512;

/// A place in the order of all changes to all files and directories.
pub(crate) type Sequence = u64;

/// A file's content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    /// What reads see.
    pub(crate) live: Vec<u8>,
    /// What surely survives a power cut.
    durable: Vec<u8>,
    /// What would take the one to the other.
    unsynced: Vec<(Sequence, Change)>,
}

/// A change that may reach the disk or not, on its own.
#[derive(Debug, Clone)]
enum Change {
    /// A sector, with its bytes up to the end of the file.
    Sector(usize, Vec<u8>),
    /// The file is at least so long, with zeros where nothing was written.
    AtLeast(usize),
    /// The file ends here; what was behind is gone.
    Cut(usize),
}

/// What becomes of a change when the power is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Kept,
    /// A sector of which the disk got only the first bytes.
    Torn,
    Lost,
}

impl Content {
    /// Changes bytes in place, or behind the end.
    pub(crate) fn write(&mut self, bytes: &[u8], offset: usize, last: &mut Sequence) {
        let end = offset + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
            self.change(Change::AtLeast(end), last);
        }
        self.live[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let image = self.live[self.extent(sector)].to_vec();
            self.change(Change::Sector(sector, image), last);
        }
    }

    fn change(&mut self, change: Change, last: &mut Sequence) {
        *last += 1;
        self.unsynced.push((*last, change));
    }

    fn extent(&self, sector: usize) -> Range<usize> {
        let start = sector * SECTOR_BYTES;
        start..self.live.len().min(start + SECTOR_BYTES)
    }

    pub(crate) fn set_len(&mut self, bytes: usize, last: &mut Sequence) {
        let is_shorter = bytes < self.live.len();
        self.live.resize(bytes, 0);
        let change = if is_shorter { Change::Cut(bytes) } else { Change::AtLeast(bytes) };
        self.change(change, last);
    }

    /// Everything reaches the disk.
    pub(crate) fn sync(&mut self) {
        self.settle(|_| Fate::Kept, &mut |_| 0);
    }

    /// What a failed sync leaves: any part may have reached the disk, and no later sync brings the
    /// rest, because the system takes it for written.
    pub(crate) fn fail_to_sync(&mut self, random: &mut StdRng) {
        let fates: Vec<bool> = self.unsynced.iter().map(|_| random.random()).collect();
        let mut fates = fates.into_iter();
        let fate = |_| if fates.next().unwrap_or(false) { Fate::Kept } else { Fate::Lost };
        self.settle(fate, &mut |_| 0);
    }

    /// The power is cut, and comes back: only what the disk got is there.
    pub(crate) fn cut_power(&mut self, fate: impl FnMut(Sequence) -> Fate, random: &mut StdRng) {
        self.settle(fate, &mut |bytes| random.random_range(0..=bytes));
        self.live = self.durable.clone();
    }

    /// The places of all that is not synced.
    pub(crate) fn unsynced(&self) -> impl Iterator<Item = Sequence> {
        self.unsynced.iter().map(|&(sequence, _)| sequence)
    }

    /// Decides about every change. `tear` answers how many of a torn sector's bytes arrive.
    fn settle(
        &mut self,
        mut fate: impl FnMut(Sequence) -> Fate,
        tear: &mut dyn FnMut(usize) -> usize,
    ) {
        let mut bytes = std::mem::take(&mut self.durable);
        let mut length = bytes.len();
        for (sequence, change) in self.unsynced.drain(..) {
            let fate = fate(sequence);
            match (change, fate) {
                (_, Fate::Lost) => {}
                (Change::Sector(sector, mut image), _) => {
                    if matches!(fate, Fate::Torn) {
                        image.truncate(tear(image.len()));
                    }
                    let start = sector * SECTOR_BYTES;
                    let end = start + image.len();
                    if bytes.len() < end {
                        bytes.resize(end, 0);
                    }
                    bytes[start..end].copy_from_slice(&image);
                }
                (Change::AtLeast(at_least), _) => length = length.max(at_least),
                (Change::Cut(at), _) => {
                    bytes.truncate(at);
                    length = at;
                }
            }
        }
        bytes.resize(length, 0);
        self.durable = bytes;
    }
}
