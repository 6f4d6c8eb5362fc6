//! The command line of a benchmark: `--name value` pairs, and how large a run is.
//!
//! `cargo bench` passes `--bench`; without it the run is a test (`cargo test --benches` passes
//! nothing, or what was meant for another harness) and every size is tiny.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// What was asked for on the command line.
#[derive(Debug)]
pub struct Arguments {
    is_quick: bool,
    is_strict: bool,
    given: BTreeMap<String, String>,
}

impl Arguments {
    /// Reads the process's own command line. `--help` prints `help` and ends the process.
    pub fn from_process(help: &str) -> Arguments {
        let words: Vec<String> = std::env::args().skip(1).collect();
        if words.iter().any(|word| word == "--help") {
            println!("{}", help.trim());
            std::process::exit(0);
        }
        Arguments::parse(words)
    }

    fn parse(words: Vec<String>) -> Arguments {
        let mut given = BTreeMap::new();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                given.insert(word, String::new());
                continue;
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, words.next_if(|next| !next.starts_with("--"))),
            };
            given.insert(name.to_owned(), value.unwrap_or_default());
        }
        let is_strict = given.remove("bench").is_some();
        let asked = [given.remove("test"), given.remove("quick")];
        Arguments { is_quick: !is_strict || asked.iter().any(Option::is_some), is_strict, given }
    }

    /// Whether the run only has to show that the benchmark works.
    pub fn is_quick(&self) -> bool {
        self.is_quick
    }

    /// The value of `--name`: what was given, or one of two defaults.
    pub fn value<T: FromStr<Err: Display>>(&mut self, name: &str, full: T, quick: T) -> T {
        match self.given.remove(name) {
            None if self.is_quick => quick,
            None => full,
            Some(text) => read(name, &text),
        }
    }

    /// The values of `--name a,b,c`.
    pub fn values<T: FromStr<Err: Display> + Clone>(
        &mut self,
        name: &str,
        full: &[T],
        quick: &[T],
    ) -> Vec<T> {
        match self.given.remove(name) {
            None if self.is_quick => quick.to_vec(),
            None => full.to_vec(),
            Some(text) => text.split(',').map(|word| read(name, word)).collect(),
        }
    }

    /// The text after `--name`, if it was given; empty if nothing follows.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.given.remove(name)
    }

    /// Whether `--name` was given.
    pub fn flag(&mut self, name: &str) -> bool {
        self.given.remove(name).is_some()
    }

    /// Refuses what no option has asked for. A test ignores it: it was meant for another harness.
    pub fn finish(self) {
        let unknown: Vec<&String> = self.given.keys().collect();
        assert!(!self.is_strict || unknown.is_empty(), "unknown options {unknown:?}; try --help");
    }
}

fn read<T: FromStr<Err: Display>>(name: &str, text: &str) -> T {
    // 1_000_000 reads better than 1000000.
    text.replace('_', "").parse().unwrap_or_else(|error| panic!("--{name} {text}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Arguments {
        Arguments::parse(line.split_whitespace().map(String::from).collect())
    }

    #[test]
    fn without_bench_it_is_a_test_of_tiny_size() {
        assert_eq!(parse("").value("keys", 1000, 10), 10);
        assert_eq!(parse("--bench").value("keys", 1000, 10), 1000);
        assert_eq!(parse("--bench --quick").value("keys", 1000, 10), 10);
        assert_eq!(parse("--keys 5_000 --bench").value("keys", 1000, 10), 5000);
        parse("some_test --nocapture").finish();
    }

    #[test]
    fn lists_flags_and_equals_signs() {
        let mut arguments = parse("--bench --keys=1,2 --redis --server here");
        assert_eq!(arguments.values("keys", &[9], &[8]), [1, 2]);
        assert!(arguments.flag("redis") && !arguments.flag("redis"));
        assert_eq!(arguments.text("server").as_deref(), Some("here"));
        arguments.finish();
    }

    #[test]
    #[should_panic(expected = "unknown options")]
    fn a_misspelt_option_is_refused() {
        parse("--bench --kyes 5").finish();
    }
}
