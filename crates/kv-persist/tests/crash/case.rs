//! Where the tests get their numbers from, and how a failure is repeated.
//!
//! `KV_SEED` is the first seed, `KV_ROUNDS` how many are tried one after the other. `KV_CRASH_AT`
//! and `KV_RESTART` choose one crash of them; then every operation on the file system is printed.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use crate::journal::Violation;
use crate::sim::Restart;

/// One crash of one test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) test: &'static str,
    pub(crate) seed: u64,
    /// At which I/O.
    pub(crate) crash_at: u64,
    pub(crate) how: Restart,
}

impl Case {
    /// A seed of its own for what is decided by chance after this crash.
    pub(crate) fn chance(&self) -> u64 {
        let how = Restart::ALL.iter().position(|&how| how == self.how).unwrap_or_default();
        (self.seed << 32) + (self.crash_at << 4) + how as u64
    }

    pub(crate) fn is_wanted(&self) -> bool {
        let is_named = |name| name == format!("{:?}", self.how);
        variable("KV_CRASH_AT").is_none_or(|io: u64| io == self.crash_at)
            && variable("KV_RESTART").is_none_or(|name: String| is_named(name))
    }

    /// Fails the test, and says how to repeat it.
    pub(crate) fn fail(&self, violation: &Violation) -> ! {
        panic!("{violation}\nwith {self}");
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { test, seed, crash_at, how } = self;
        write!(
            f,
            "KV_SEED={seed} KV_CRASH_AT={crash_at} KV_RESTART={how:?} cargo test -p kv-persist \
             --features testing --test crash -- {test} --exact --nocapture"
        )
    }
}

/// Whether one crash was chosen, of which everything is to be told.
pub(crate) fn is_repetition() -> bool {
    std::env::var_os("KV_CRASH_AT").is_some()
}

/// The seeds of a test; `rounds` is how many an ordinary run tries.
pub(crate) fn seeds(test: &'static str, rounds: u64, run: impl Fn(u64) -> u64) {
    let first = variable("KV_SEED").unwrap_or(1);
    let rounds = if is_repetition() { 1 } else { variable("KV_ROUNDS").unwrap_or(rounds) };
    let started = Instant::now();
    let crashes: u64 = (first..first + rounds).map(run).sum();
    say(format_args!("{test}: {crashes} crashes in {} ms", started.elapsed().as_millis()));
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not understood")))
}

/// Shown by `--nocapture`, and when the test fails.
#[expect(clippy::print_stdout, reason = "what a test did is told to people")]
pub(crate) fn say(what: impl fmt::Display) {
    println!("{what}");
}
