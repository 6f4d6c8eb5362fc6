//! Where the random tests get their numbers from, and how a failure is repeated.
//!
//! `KV_SEED` is the first seed, `KV_ROUNDS` how many seeds are tried one after the other, and
//! `KV_TXNS` how much is done in each: transactions of a client, or commands of the model's.

use std::fmt::Display;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One round of a random test. If it panics, it says how to repeat it.
#[derive(Debug)]
pub(crate) struct Round {
    test: &'static str,
    pub(crate) seed: u64,
    /// How much is to be done.
    pub(crate) size: usize,
}

/// Runs a test once a seed. `size` is that of an ordinary run.
pub(crate) fn rounds(test: &'static str, size: usize, run: impl Fn(&Round)) {
    let first = variable("KV_SEED").unwrap_or(1);
    let size = variable("KV_TXNS").map_or(size, |size| usize::try_from(size).unwrap());
    let started = Instant::now();
    for seed in first..first + variable("KV_ROUNDS").unwrap_or(1) {
        run(&Round { test, seed, size });
    }
    say(format_args!("{test}: {} ms in all", started.elapsed().as_millis()));
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Shown by `--nocapture`, and when the test fails.
#[expect(clippy::print_stdout, reason = "what a test did is told to people")]
pub(crate) fn say(what: impl Display) {
    println!("{what}");
}

impl Round {
    /// Random numbers for one client or purpose, different from all others'.
    pub(crate) fn random(&self, purpose: u64) -> Random {
        Random(StdRng::seed_from_u64(self.seed.wrapping_mul(1000).wrapping_add(purpose)))
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Round { test, seed, size } = self;
            say(format_args!(
                "{test} failed with seed {seed}; as the order of threads is not repeated, try \
                 several times:\nKV_SEED={seed} KV_TXNS={size} KV_ROUNDS=20 \
                 cargo test -p kv-server --test histories -- {test} --exact --nocapture"
            ));
        }
    }
}

/// Random numbers.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) StdRng);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    pub(crate) fn one_of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// One of the choices, by weight.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(u32, T)]) -> T {
        let mut left = self.0.random_range(0..choices.iter().map(|(weight, _)| weight).sum());
        for &(weight, choice) in choices {
            if left < weight {
                return choice;
            }
            left -= weight;
        }
        unreachable!("the weights were summed up")
    }

    /// Gives others a turn, now and then, so that transactions overlap though they are short.
    pub(crate) fn linger(&mut self) {
        match self.below(100) {
            0..35 => std::thread::yield_now(),
            35..38 => std::thread::sleep(Duration::from_micros(200)),
            _ => {}
        }
    }
}
