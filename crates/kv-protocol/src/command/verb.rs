//! Finding a command by its verb: one multiplication and one comparison.
//!
//! Every request begins with this search, so it must not walk the registry. A verb is packed into
//! an integer, which both hashes and compares it at once; the table is computed by the compiler.

use super::{ALL, CommandSpec};
use crate::limits::VERB_BYTES_MAX;

/// A packed verb and the place of its command in the registry. The verb 0 marks a free entry: it
/// is the packed form of no name, because names hold no NUL.
type Entry = (u128, usize);

/// Verbs and where they lead; `LENGTH` is a power of 2.
pub(crate) struct Table<const LENGTH: usize> {
    entries: [Entry; LENGTH],
    verbs: usize,
}

static TABLE: Table<{ 1 << 7 }> = {
    let mut table = Table::new();
    let mut index = 0;
    while index < ALL.len() {
        table.insert(ALL[index].name, index);
        let aliases = ALL[index].aliases;
        let mut alias = 0;
        while alias < aliases.len() {
            table.insert(aliases[alias], index);
            alias += 1;
        }
        index += 1;
    }
    table
};

/// The command of a verb, in either case.
#[inline]
pub(super) fn find(verb: &[u8]) -> Option<&'static CommandSpec> {
    TABLE.find(verb).map(|index| ALL[index])
}

impl<const LENGTH: usize> Table<LENGTH> {
    /// No verbs.
    pub(crate) const fn new() -> Self {
        assert!(LENGTH.is_power_of_two());
        Table { entries: [(0, 0); LENGTH], verbs: 0 }
    }

    /// Adds a verb.
    pub(crate) const fn insert(&mut self, name: &str, index: usize) {
        assert!(!name.is_empty() && name.len() <= VERB_BYTES_MAX);
        let packed = pack(name.as_bytes());
        let mut at = Self::place(packed);
        while self.entries[at].0 != 0 {
            assert!(self.entries[at].0 != packed, "two commands have the same verb");
            at = (at + 1) % LENGTH;
        }
        self.entries[at] = (packed, index);
        self.verbs += 1;
        assert!(self.verbs * 2 <= LENGTH, "raise LENGTH: a full table is searched slowly");
    }

    /// Where a verb leads, in either case.
    #[inline]
    pub(crate) fn find(&self, verb: &[u8]) -> Option<usize> {
        if verb.len() > VERB_BYTES_MAX {
            return None;
        }
        let packed = pack(verb);
        let mut at = Self::place(packed);
        loop {
            match self.entries[at] {
                (0, _) => return None,
                // The packed form has the length, so a NUL at a verb's end is not taken for its
                // end.
                (found, index) if found == packed => return Some(index),
                _ => at = (at + 1) % LENGTH,
            }
        }
    }

    /// Where the search for a packed verb begins.
    #[inline]
    const fn place(packed: u128) -> usize {
        let folded = (packed as u64) ^ ((packed >> 64) as u64);
        // 2^64 divided by the golden ratio spreads the bytes over the highest bits.
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - LENGTH.trailing_zeros())) as usize
    }
}

/// The bytes of a verb in upper case, and its length in the highest byte.
#[inline]
const fn pack(verb: &[u8]) -> u128 {
    // In halves, because one register holds a half.
    let mut halves = [0u64; 2];
    let mut at = verb.len();
    while at > 0 {
        at -= 1;
        let half = &mut halves[at / 8];
        *half = *half << 8 | verb[at].to_ascii_uppercase() as u64;
    }
    let [low, high] = halves;
    (verb.len() as u128) << 120 | (high as u128) << 64 | low as u128
}
