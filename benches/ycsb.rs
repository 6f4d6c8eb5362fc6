//! The mixes A to F of YCSB (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB",
//! SoCC 2010), drawn before the clock starts.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::workload::Zipf;

/// How unevenly keys are asked for.
pub const SKEW: f64 = 0.99;
/// Rows of a scan at most.
pub const SCAN_ROWS_MAX: usize = 100;

/// A mix of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Its letter.
    pub letter: char,
    /// What is in it.
    pub what: &'static str,
    /// Operations in percent, see [`Kind`]: the first, and a second one that is the rest.
    first: (u32, Kind),
    second: Kind,
    is_latest: bool,
}

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The value of a key.
    Read,
    /// A new value for a key that is there.
    Update,
    /// A key that was not there.
    Insert,
    /// A key and those after it.
    Scan,
    /// A key is read and written, and nobody else writes it in between.
    Modify,
}

/// What is to be done, with a number that says where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// What.
    pub kind: Kind,
    /// A rank: 0 is the hottest key or, if the newest are the hottest, the newest.
    pub rank: u64,
    /// Rows, if it is a scan.
    pub rows: usize,
}

/// All of them.
pub const MIXES: [Mix; 6] = [
    mix('A', "half reads, half updates", (50, Kind::Read), Kind::Update),
    mix('B', "95 % reads, 5 % updates", (95, Kind::Read), Kind::Update),
    mix('C', "reads only", (100, Kind::Read), Kind::Read),
    Mix {
        is_latest: true,
        ..mix('D', "95 % reads of the newest, 5 % inserts", (95, Kind::Read), Kind::Insert)
    },
    mix('E', "95 % scans of 1 to 100 rows, 5 % inserts", (95, Kind::Scan), Kind::Insert),
    mix('F', "half reads, half read-modify-writes", (50, Kind::Read), Kind::Modify),
];

const fn mix(letter: char, what: &'static str, first: (u32, Kind), second: Kind) -> Mix {
    Mix { letter, what, first, second, is_latest: false }
}

impl Mix {
    /// Draws operations on so many keys.
    pub fn draw(&self, keys: u64, count: usize, seed: u64) -> Vec<Wanted> {
        let mut zipf = Zipf::new(keys, SKEW, seed);
        let mut random = SmallRng::seed_from_u64(seed);
        let one = |_| {
            let is_first = random.random_range(0..100) < self.first.0;
            let kind = if is_first { self.first.1 } else { self.second };
            Wanted { kind, rank: zipf.draw(), rows: random.random_range(1..=SCAN_ROWS_MAX) }
        };
        (0..count).map(one).collect()
    }
}

/// Which keys one of several threads has inserted: each has numbers of its own, so that a thread
/// knows which are there without asking the others.
#[derive(Debug, Clone)]
pub struct Inserted {
    keys: u64,
    thread: u64,
    threads: u64,
    count: u64,
}

impl Inserted {
    /// Of a thread that has inserted nothing beyond the first keys.
    pub fn new(keys: u64, thread: u64, threads: u64) -> Inserted {
        Inserted { keys, thread, threads, count: 0 }
    }

    /// The number of a key that was never there.
    pub fn insert(&mut self) -> u64 {
        self.count += 1;
        self.own(self.count - 1)
    }

    /// The number of the key with a rank in a mix.
    pub fn number(&self, mix: &Mix, rank: u64) -> u64 {
        match self.count.checked_sub(rank + 1) {
            Some(nth) if mix.is_latest => self.own(nth),
            None if mix.is_latest => self.keys - 1 - (rank - self.count).min(self.keys - 1),
            _ => rank,
        }
    }

    fn own(&self, nth: u64) -> u64 {
        self.keys + nth * self.threads + self.thread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_the_shares_that_it_says() {
        for mix in MIXES {
            let drawn = mix.draw(1000, 10_000, 7);
            let first = drawn.iter().filter(|wanted| wanted.kind == mix.first.1).count();
            let expected = mix.first.0 as usize * 100;
            assert!(first.abs_diff(expected) < 300, "{}: {first}", mix.letter);
            assert!(drawn.iter().all(|wanted| wanted.rank < 1000 && wanted.rows >= 1));
            let hottest = drawn.iter().filter(|wanted| wanted.rank == 0).count();
            assert!(hottest > 1000, "{hottest}");
        }
    }

    #[test]
    fn the_newest_are_own_keys_and_then_those_that_were_there() {
        let (hot, latest) = (&MIXES[0], &MIXES[3]);
        let mut inserted = Inserted::new(10, 1, 2);
        assert_eq!((inserted.number(latest, 0), inserted.number(latest, 9)), (9, 0));
        assert_eq!((inserted.insert(), inserted.insert()), (11, 13));
        let newest = [0, 1, 2, 3, 9].map(|rank| inserted.number(latest, rank));
        assert_eq!(newest, [13, 11, 9, 8, 2]);
        assert_eq!(inserted.number(hot, 3), 3);
    }
}
