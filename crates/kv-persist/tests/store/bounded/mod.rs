//! A store of which little is in memory, beside one without files that has everything: they must
//! answer the same, whatever has left memory, been folded, and been opened again.

mod commands;
mod side;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kv_core::clock::ManualClock;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::*;
use commands::{Command, Opening, commands};
use side::Side;

/// Often, and as soon as it looks.
const OFTEN: Schedule = Schedule { interval: Duration::from_millis(5), log_bytes: 1 };

/// How a store is set up.
#[derive(Debug, Clone)]
struct Setting {
    options: StoreOptions,
    history: usize,
    /// The bound, without what the shards take themselves.
    bytes_max_of_keys: usize,
    bytes_max: usize,
}

/// What happened in all runs.
#[derive(Debug, Default)]
struct Counts {
    commands: AtomicU64,
    refused: AtomicU64,
    evictions: AtomicU64,
    fetches: AtomicU64,
    /// Keys that were not in memory when a store was opened.
    left_out: AtomicU64,
}

/// Runs the same on a store with files and a bound, and on one without.
fn agree(setting: Setting, shards: usize, commands: &[Command], counts: &Arc<Counts>) {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let opening = Opening { shards, is_closed_before: false, bytes_max: None };
    let mut bounded = Side::with_files(setting.clone(), opening, &clock, counts);
    let mut unbounded = Side::without_files(setting.history, &clock);
    for (at, command) in commands.iter().enumerate() {
        counts.commands.fetch_add(1, Relaxed);
        let answer = bounded.execute(command);
        if matches!(answer, Err(kv_core::Error::OutOfMemory { .. })) {
            counts.refused.fetch_add(1, Relaxed);
            // Open transactions hold what could give way; the other store cannot refuse as much.
            bounded.end_all();
            unbounded.end_all();
            bounded.empty_memory();
            continue;
        }
        let expected = unbounded.execute(command);
        // Which of several holders an error names is chance.
        let [answer, expected] = [answer, expected].map(|it| it.map_err(|error| error.code()));
        if [&answer, &expected].contains(&&Err("PRUNED")) && unbounded.may_be_pruned(command) {
            continue;
        }
        assert_eq!(answer, expected, "command {at}: {command:?}");
    }
    bounded.end_all();
    unbounded.end_all();
    // What was not looked at above is looked at now.
    bounded.execute(&Command::Open(Opening { bytes_max: Some(4_000), ..opening })).unwrap();
    unbounded.open_sessions();
    for command in commands::everything() {
        let both = [bounded.execute(&command).unwrap(), unbounded.execute(&command).unwrap()];
        assert_eq!(both[0], both[1], "{command:?}");
    }
    assert_eq!(bounded.keys(), unbounded.keys());
    bounded.finish();
    unbounded.finish();
}

/// Runs so many cases.
fn run(cases: u32, change: impl Fn(&mut StoreOptions)) -> Arc<Counts> {
    let counts = Arc::<Counts>::default();
    let sizes = (1..4usize, 1..6usize, 2_000..25_000usize, prop::bool::ANY);
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&(commands(), sizes), |(commands, sizes)| {
        let (history, shards, bytes_max_of_keys, is_folded_often) = sizes;
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.keep = Keep::Newest(history as u64);
        options.piece_bytes_max = 10_000;
        if is_folded_often {
            options.schedule = OFTEN;
        }
        change(&mut options);
        agree(
            Setting { options, history, bytes_max_of_keys, bytes_max: 0 },
            shards,
            &commands,
            &counts,
        );
        Ok(())
    });
    eprintln!("{counts:?}");
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let few = counts.commands.load(Relaxed) / 20;
    assert!(counts.refused.load(Relaxed) < few, "much was refused: {counts:?}");
    counts
}

#[test]
fn what_has_left_memory_is_still_there() {
    let counts = run(40, |_| {});
    for count in [&counts.evictions, &counts.fetches, &counts.left_out] {
        assert!(count.load(Relaxed) > 100, "{counts:?}");
    }
}

#[test]
fn encrypted_values_that_have_left_memory_are_still_there() {
    let counts = run(20, |options| {
        options.key = Some(MasterKey::from_text(&"4b".repeat(32)).unwrap());
        options.compression = Compression::Lz4;
    });
    for count in [&counts.evictions, &counts.fetches] {
        assert!(count.load(Relaxed) > 300, "{counts:?}");
    }
}
