//! The checker against the definition itself: for small histories, try every order.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const KEYS: [&str; 3] = ["x", "y", "z"];

/// Concurrent transactions under locks that read whatever chance says.
fn random_history(random: &mut StdRng) -> History {
    let count: u64 = random.random_range(2..6);
    let mut transactions = Vec::new();
    for number in 0..count {
        let begin = random.random_range(0..6);
        let end = random.random_range(begin + 1..begin + 5);
        let mut running = transaction(&format!("ser {begin}..{end} c{}:", number + 1));
        for _ in 0..random.random_range(1..4) {
            let key = KEYS[random.random_range(0..KEYS.len())].to_string();
            let by = random.random_range(0..=count);
            // Who writes a key writes this value; 0 stands for missing.
            let value = by * 10 + KEYS.iter().position(|other| *other == key).unwrap() as u64;
            let value = (by > 0).then_some(value);
            running.operations.push(match random.random_range(0..3) {
                0 => Operation::Write { value: (number + 1) * 10 + value.unwrap_or(0) % 10, key },
                1 => Operation::Read { key, value },
                _ => {
                    let to = format!("{key}0");
                    let pairs = value.map(|value| (key.clone(), value)).into_iter().collect();
                    Operation::Scan { from: key, to: Some(to), pairs }
                }
            });
        }
        transactions.push(running);
    }
    normalised(transactions)
}

/// Each key is written at most once by each, with the right value, and only writers have
/// revisions; reads see values that somebody wrote.
fn normalised(mut transactions: Vec<Transaction>) -> History {
    let number_of = |key: &String| KEYS.iter().position(|other| other == key).unwrap() as u64;
    let mut written = Vec::new();
    for (number, transaction) in transactions.iter_mut().enumerate() {
        let mut own = Vec::new();
        transaction.operations.retain_mut(|operation| {
            let Operation::Write { key, value } = operation else { return true };
            *value = (number as u64 + 1) * 10 + number_of(key);
            let is_new = !own.contains(value);
            own.push(*value);
            is_new
        });
        if own.is_empty() {
            transaction.outcome = Outcome::Committed { revision: None };
        }
        written.extend(own);
    }
    for transaction in &mut transactions {
        for operation in &mut transaction.operations {
            match operation {
                Operation::Read { value, .. } => {
                    *value = value.filter(|value| written.contains(value));
                }
                Operation::Scan { pairs, .. } => pairs.retain(|pair| written.contains(&pair.1)),
                Operation::Write { .. } | Operation::Delete { .. } => {}
            }
        }
    }
    History { transactions, ..History::default() }
}

/// Whether running the transactions one after the other in this order explains everything.
fn explains(order: &[usize], all: &[Transaction]) -> bool {
    let mut state: std::collections::BTreeMap<&str, (u64, u64)> = Default::default();
    for (place, &number) in order.iter().enumerate() {
        let me = &all[number];
        if order[place + 1..].iter().any(|&later| all[later].end < me.begin) {
            return false;
        }
        let mut own = state.clone();
        for operation in &me.operations {
            match operation {
                Operation::Read { key, value } => {
                    if own.get(key.as_str()).map(|found| found.1) != *value {
                        return false;
                    }
                }
                Operation::Scan { from, pairs, .. } => {
                    let found = own.get(from.as_str()).map(|found| found.1);
                    if found != pairs.first().map(|pair| pair.1) {
                        return false;
                    }
                }
                Operation::Write { key, value } => {
                    let Outcome::Committed { revision: Some(revision) } = me.outcome else {
                        return false;
                    };
                    // Versions of a key are in the order of the revisions.
                    if state.get(key.as_str()).is_some_and(|found| found.0 > revision) {
                        return false;
                    }
                    own.insert(key, (revision, *value));
                }
                Operation::Delete { .. } => return false,
            }
        }
        state = own;
    }
    true
}

fn some_order_explains(all: &[Transaction]) -> bool {
    fn extend(order: &mut Vec<usize>, all: &[Transaction]) -> bool {
        if order.len() == all.len() {
            return explains(order, all);
        }
        (0..all.len()).any(|next| {
            if order.contains(&next) {
                return false;
            }
            order.push(next);
            let found = extend(order, all);
            order.pop();
            found
        })
    }
    extend(&mut Vec::new(), all)
}

#[test]
fn the_checker_agrees_with_trying_every_order() {
    let mut random = StdRng::seed_from_u64(7);
    let (mut explained, mut rejected) = (0, 0);
    for _ in 0..30_000 {
        let history = random_history(&mut random);
        let mut found = check(&history);
        // That all revisions follow real time is asked beyond the order of each key.
        let only_revisions = found.iter().all(|violation| violation.kind == Kind::VersionOrder);
        if only_revisions && !found.is_empty() {
            continue;
        }
        found.retain(|violation| violation.kind != Kind::VersionOrder);
        let expected = some_order_explains(&history.transactions);
        assert_eq!(found.is_empty(), expected, "{history:#?}\n{found:#?}");
        if expected { explained += 1 } else { rejected += 1 }
    }
    assert!(explained > 1_000 && rejected > 1_000, "{explained} explained, {rejected} rejected");
}
