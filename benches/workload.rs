//! Keys and values: the same in every run, in an order that no store can profit from.
//!
//! Keys are 16 hexadecimal digits of a scrambled number, so that neither their order nor their
//! bits follow the order in which they are made. What is measured walks over a fresh shuffle of
//! them: were it the order of the last writes, the allocator would have put the records in it.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 64;
/// Different values; few enough to stay in the first-level cache.
const VALUES: usize = 64;
const SEED: u64 = 20_261_120;

/// A key.
pub type Key = [u8; KEY_BYTES];
/// A value.
pub type Value = [u8; VALUE_BYTES];

/// The key with this number. Different numbers give different keys.
pub fn key(number: u64) -> Key {
    hexadecimal(scrambled(number))
}

/// The keys with these numbers.
pub fn keys(numbers: std::ops::Range<u64>) -> Vec<Key> {
    numbers.map(key).collect()
}

/// Brings keys into the order of a round.
pub fn shuffle(keys: &mut [Key], round: u64) {
    keys.shuffle(&mut SmallRng::seed_from_u64(SEED ^ round));
}

/// A key of a group whose keys have a prefix in common, see [`group_prefix`].
pub fn group_key(group: u64, row: u64) -> Key {
    debug_assert!(row < 1 << 16);
    hexadecimal(group << 16 | row)
}

/// The first bytes of all keys of a group.
pub fn group_prefix(group: u64) -> [u8; 12] {
    let mut prefix = [0; 12];
    prefix.copy_from_slice(&group_key(group, 0)[..12]);
    prefix
}

/// Some values of letters and digits. There is a power of two of them.
pub fn values() -> Vec<Value> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut letter = || LETTERS[random.random_range(0..LETTERS.len())];
    (0..VALUES).map(|_| std::array::from_fn(|_| letter())).collect()
}

/// The value for the n-th write.
pub fn value(values: &[Value], nth: usize) -> &Value {
    &values[nth % VALUES]
}

/// Numbers that are asked for as in many caches: number n, from 0, has a share in proportion to
/// `1 / (n + 1) ^ skew`. Drawn as YCSB does (Gray et al., "Quickly Generating Billion-Record
/// Synthetic Databases", SIGMOD 1994).
#[derive(Debug)]
pub struct Zipf {
    numbers: u64,
    skew: f64,
    sum: f64,
    eta: f64,
    random: SmallRng,
}

impl Zipf {
    /// Draws from so many numbers.
    pub fn new(numbers: u64, skew: f64, seed: u64) -> Zipf {
        let share = |nth: u64| (nth as f64).powf(-skew);
        let sum: f64 = (1..=numbers).map(share).sum();
        let two = 1.0 + share(2);
        let eta = (1.0 - (2.0 / numbers as f64).powf(1.0 - skew)) / (1.0 - two / sum);
        Zipf { numbers, skew, sum, eta, random: SmallRng::seed_from_u64(SEED ^ seed) }
    }

    /// Draws a number.
    pub fn draw(&mut self) -> u64 {
        let uniform: f64 = self.random.random();
        let scaled = uniform * self.sum;
        let rank = if scaled < 1.0 {
            0
        } else if scaled < 1.0 + 0.5_f64.powf(self.skew) {
            1
        } else {
            let base = self.eta.mul_add(uniform, 1.0 - self.eta);
            (self.numbers as f64 * base.powf(1.0 / (1.0 - self.skew))) as u64
        };
        rank.min(self.numbers - 1)
    }
}

/// The finalizer of SplitMix64, which maps no two numbers to the same.
fn scrambled(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hexadecimal(number: u64) -> Key {
    std::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 15])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_differ_and_rounds_reorder_them() {
        let first = keys(0..1000);
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 1000);
        let (mut one, mut two) = (first.clone(), first.clone());
        shuffle(&mut one, 1);
        shuffle(&mut two, 2);
        assert!(one != two && one != first);
        one.sort_unstable();
        two.sort_unstable();
        assert_eq!(one, two);
    }

    #[test]
    fn a_group_shares_its_prefix() {
        assert_eq!(&group_key(0xab, 0x1f), b"0000000000ab001f");
        assert!(group_key(7, 99).starts_with(&group_prefix(7)));
    }

    #[test]
    fn values_are_one_word_without_quotes() {
        assert!(values().iter().flatten().all(u8::is_ascii_alphanumeric));
    }
}
