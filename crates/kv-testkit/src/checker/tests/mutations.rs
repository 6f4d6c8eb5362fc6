//! Right histories with one thing corrupted, where the corruption is a violation for certain.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::super::Value;
use super::simulation::{SMALL, Setting, simulate};
use super::*;

const PLAIN: Setting = Setting { deletes: 0, unknown: 0, ..SMALL };

/// A version that a committed transaction made.
#[derive(Debug, Clone)]
struct Made {
    key: String,
    value: Value,
    revision: u64,
    writer: usize,
}

/// Versions of all keys by revision; exact, as nothing is deleted and every outcome is known.
fn versions(history: &History) -> Vec<Made> {
    let mut versions = Vec::new();
    for (writer, transaction) in history.transactions.iter().enumerate() {
        let Outcome::Committed { revision: Some(revision) } = transaction.outcome else { continue };
        for (place, operation) in transaction.operations.iter().enumerate() {
            let Operation::Write { key, value } = operation else { continue };
            let rest = &transaction.operations[place + 1..];
            let again =
                |later: &Operation| matches!(later, Operation::Write { key: k, .. } if k == key);
            if !rest.iter().any(again) {
                versions.push(Made { key: key.clone(), value: *value, revision, writer });
            }
        }
    }
    versions.sort_by_key(|made| made.revision);
    versions
}

fn next_of<'a>(versions: &'a [Made], of: &Made) -> Option<&'a Made> {
    versions.iter().find(|made| made.key == of.key && made.revision > of.revision)
}

fn is_committed(transaction: &Transaction) -> bool {
    matches!(transaction.outcome, Outcome::Committed { .. })
}

fn wrote_before(transaction: &Transaction, place: usize, key: &str) -> bool {
    transaction.operations[..place].iter().any(|operation| match operation {
        Operation::Write { key: other, .. } | Operation::Delete { key: other } => other == key,
        Operation::Read { .. } | Operation::Scan { .. } => false,
    })
}

/// Reads of others' writes, by those who committed: transaction and place.
fn reads(history: &History) -> Vec<(usize, usize)> {
    let mut reads = Vec::new();
    for (number, transaction) in history.transactions.iter().enumerate() {
        for (place, operation) in transaction.operations.iter().enumerate() {
            let Operation::Read { key, .. } = operation else { continue };
            if is_committed(transaction) && !wrote_before(transaction, place, key) {
                reads.push((number, place));
            }
        }
    }
    reads
}

/// Corrupts right histories, and asserts that each corrupted one is rejected.
fn must_reject(corrupt: impl Fn(&mut History, &[Made], &mut StdRng) -> bool) {
    let mut corrupted = 0;
    for seed in 0..100 {
        let mut history = simulate(seed, PLAIN);
        let versions = versions(&history);
        let mut random = StdRng::seed_from_u64(seed);
        if corrupt(&mut history, &versions, &mut random) {
            corrupted += 1;
            assert!(verify(&history).is_err(), "seed {seed} was not rejected: {history:#?}");
        }
    }
    assert!(corrupted >= 30, "only {corrupted} of 100 could be corrupted");
}

/// Chooses one of those that the corruption applies to.
fn choose<T: Clone>(random: &mut StdRng, candidates: Vec<T>) -> Option<T> {
    candidates.choose(random).cloned()
}

#[test]
fn a_read_of_a_version_that_was_over_before_its_begin() {
    must_reject(|history, versions, random| {
        let mut candidates = Vec::new();
        for (number, place) in reads(history) {
            let reader = &history.transactions[number];
            let Operation::Read { key, .. } = &reader.operations[place] else { continue };
            for made in versions.iter().filter(|made| made.key == *key) {
                let next = next_of(versions, made).map(|next| &history.transactions[next.writer]);
                if next.is_some_and(|next| next.end < reader.begin) {
                    candidates.push((number, place, made.value));
                }
            }
        }
        let Some((number, place, old)) = choose(random, candidates) else { return false };
        let operation = &mut history.transactions[number].operations[place];
        if let Operation::Read { value, .. } = operation {
            *value = Some(old);
        }
        true
    });
}

#[test]
fn a_read_of_what_its_own_write_did_not_follow() {
    must_reject(|history, versions, random| {
        let mut candidates = Vec::new();
        for (number, place) in reads(history) {
            let reader = &history.transactions[number];
            let Operation::Read { key, .. } = &reader.operations[place] else { continue };
            let mine = versions.iter().find(|made| made.writer == number && made.key == *key);
            let Some(mine) = mine else { continue };
            let older = versions.iter().filter(|made| made.key == *key);
            let older = older.filter(|made| made.revision < mine.revision);
            for made in older {
                if next_of(versions, made).is_some_and(|next| next.writer != number) {
                    candidates.push((number, place, made.value));
                }
            }
        }
        let Some((number, place, old)) = choose(random, candidates) else { return false };
        if let Operation::Read { value, .. } = &mut history.transactions[number].operations[place] {
            *value = Some(old);
        }
        true
    });
}

#[test]
fn a_read_from_the_future() {
    must_reject(|history, versions, random| {
        let mut candidates = Vec::new();
        for (number, place) in reads(history) {
            let reader = &history.transactions[number];
            let Operation::Read { key, .. } = &reader.operations[place] else { continue };
            for made in versions.iter().filter(|made| made.key == *key) {
                if history.transactions[made.writer].begin > reader.end {
                    candidates.push((number, place, made.value));
                }
            }
        }
        let Some((number, place, new)) = choose(random, candidates) else { return false };
        if let Operation::Read { value, .. } = &mut history.transactions[number].operations[place] {
            *value = Some(new);
        }
        true
    });
}

#[test]
fn a_row_that_a_scan_does_not_return() {
    must_reject(|history, versions, random| {
        let mut candidates = Vec::new();
        for (number, reader) in history.transactions.iter().enumerate() {
            for (place, operation) in reader.operations.iter().enumerate() {
                let Operation::Scan { pairs, .. } = operation else { continue };
                for (row, (key, _)) in pairs.iter().enumerate() {
                    // Nothing is deleted: what was there at the begin is there for ever.
                    let first = versions.iter().find(|made| made.key == *key);
                    let first = first.map(|made| &history.transactions[made.writer]);
                    let was_there = first.is_some_and(|first| first.end < reader.begin);
                    if is_committed(reader) && was_there {
                        candidates.push((number, place, row));
                    }
                }
            }
        }
        let Some((number, place, row)) = choose(random, candidates) else { return false };
        if let Operation::Scan { pairs, .. } = &mut history.transactions[number].operations[place] {
            pairs.remove(row);
        }
        true
    });
}

#[test]
fn a_value_that_nobody_wrote() {
    must_reject(|history, _, random| {
        let Some((number, place)) = choose(random, reads(history)) else { return false };
        if let Operation::Read { value, .. } = &mut history.transactions[number].operations[place] {
            *value = Some(random.random_range(1_000_000..2_000_000));
        }
        true
    });
}

#[test]
fn a_writer_whose_value_was_seen_and_that_did_not_commit() {
    must_reject(|history, versions, random| {
        let mut candidates = Vec::new();
        for (number, place) in reads(history) {
            let reader = &history.transactions[number];
            let Operation::Read { value: Some(value), .. } = reader.operations[place] else {
                continue;
            };
            let writer = versions.iter().find(|made| made.value == value);
            candidates.extend(writer.map(|made| made.writer));
        }
        let Some(writer) = choose(random, candidates) else { return false };
        history.transactions[writer].outcome = Outcome::Aborted;
        true
    });
}

#[test]
fn commits_in_another_order() {
    must_reject(|history, versions, random| {
        let mut candidates = Vec::new();
        for one in versions {
            for other in versions.iter().filter(|other| other.revision > one.revision) {
                let (first, second) = (one.writer, other.writer);
                if history.transactions[first].end < history.transactions[second].begin {
                    candidates.push((first, second));
                }
            }
        }
        let Some((first, second)) = choose(random, candidates) else { return false };
        let outcome = history.transactions[first].outcome;
        history.transactions[first].outcome = history.transactions[second].outcome;
        history.transactions[second].outcome = outcome;
        true
    });
}

#[test]
fn a_commit_between_a_read_and_a_write_of_the_same_key() {
    must_reject(|history, versions, random| {
        for transaction in &mut history.transactions {
            if let Outcome::Committed { revision: Some(revision) } = &mut transaction.outcome {
                *revision *= 10;
            }
        }
        let mut candidates = Vec::new();
        for (number, place) in reads(history) {
            let reader = &history.transactions[number];
            let Operation::Read { key, .. } = &reader.operations[place] else { continue };
            let mine = versions.iter().find(|made| made.writer == number && made.key == *key);
            candidates.extend(mine.map(|made| (key.clone(), made.revision * 10 - 5)));
        }
        let Some((key, revision)) = choose(random, candidates) else { return false };
        let latest = history.transactions.iter().map(|transaction| transaction.end).max();
        let mut between = transaction(&format!("ser 0..{} c{revision}:", latest.unwrap_or(0)));
        between.operations.push(Operation::Write { key, value: 3_000_000 });
        history.transactions.push(between);
        true
    });
}
