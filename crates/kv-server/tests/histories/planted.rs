//! That all this catches something: violations are planted in real histories, where they are
//! violations for certain, and the checker must reject each.

use std::collections::BTreeMap;

use kv_testkit::checker::{self, History, Installed, Mode, Operation, Outcome, Transaction, Value};

use crate::run::{LOCKING, MIXED, Plan, Store, record};
use crate::seed::{Random, rounds, say};
use crate::worker::Tally;

/// Each kind of violation is planted so often at least.
const PLANTED_MIN: usize = 20;

/// A version with the time in which it surely was the newest.
struct Stay {
    key: String,
    value: Value,
    from: u64,
    to: u64,
}

/// Plants a violation in each of several places, one at a time; all must be rejected.
fn must_reject(
    test: &'static str,
    plan: Plan,
    plant: impl Fn(&mut History, &BTreeMap<Value, Transaction>, &mut Random) -> bool,
) {
    rounds(test, 150, |round| {
        let history = record(&Store::engine(4, None), plan, round, &mut Tally::default());
        checker::verify(&history).unwrap_or_else(|violations| panic!("{violations}"));
        let writers = writers(&history);
        let mut random = round.random(77);
        let mut planted = 0;
        for _ in 0..40 * PLANTED_MIN {
            if planted == PLANTED_MIN {
                break;
            }
            let mut corrupt = history.clone();
            if plant(&mut corrupt, &writers, &mut random) {
                planted += 1;
                let verdict = checker::verify(&corrupt);
                assert!(verdict.is_err(), "not rejected: {:?}", difference(&history, &corrupt));
            }
        }
        say(format_args!("{planted} planted and found"));
        assert!(planted >= PLANTED_MIN, "only {planted} could be planted");
    });
}

fn plan() -> Plan {
    Plan { modes: &LOCKING, clients: 4, keys: 4, lists_versions: true }
}

fn difference<'a>(history: &'a History, corrupt: &'a History) -> Vec<[&'a Transaction; 2]> {
    let pairs = history.transactions.iter().zip(&corrupt.transactions);
    pairs.filter(|(one, other)| one != other).map(|(one, other)| [one, other]).collect()
}

fn is_committed(transaction: &Transaction) -> bool {
    matches!(transaction.outcome, Outcome::Committed { .. })
}

/// Who wrote which value, rolled back or not.
fn writers(history: &History) -> BTreeMap<Value, Transaction> {
    let mut writers = BTreeMap::new();
    for transaction in &history.transactions {
        for operation in &transaction.operations {
            if let Operation::Write { value, .. } = operation {
                writers.insert(*value, transaction.clone());
            }
        }
    }
    writers
}

/// The versions of all keys whose writer and successor are known, with their times.
fn stays(history: &History, writers: &BTreeMap<Value, Transaction>) -> Vec<Stay> {
    let mut stays = Vec::new();
    for (key, versions) in &history.installed {
        for (place, version) in versions.iter().enumerate() {
            let Some(value) = version.value else { continue };
            let next = versions.get(place + 1).map(|next| next.value);
            let to = match next {
                None => u64::MAX,
                Some(Some(next)) => writers[&next].begin,
                // Who deleted it is not looked up.
                Some(None) => continue,
            };
            if is_committed(&writers[&value]) {
                stays.push(Stay { key: key.clone(), value, from: writers[&value].end, to });
            }
        }
    }
    stays
}

/// Whether the transaction had not written the key when it came to this place.
fn is_of_others(transaction: &Transaction, place: usize, key: &str) -> bool {
    !transaction.operations[..place].iter().any(|operation| match operation {
        Operation::Write { key: other, .. } | Operation::Delete { key: other } => other == key,
        Operation::Read { .. } | Operation::Scan { .. } => false,
    })
}

/// Reads of one key by those who committed: transaction and place, chosen at random.
fn a_read(history: &History, random: &mut Random) -> Option<(usize, usize, String)> {
    let mut reads = Vec::new();
    for (number, transaction) in history.transactions.iter().enumerate() {
        if !is_committed(transaction) || transaction.mode == Mode::Snapshot {
            continue;
        }
        for (place, operation) in transaction.operations.iter().enumerate() {
            if let Operation::Read { key, .. } = operation
                && is_of_others(transaction, place, key)
            {
                reads.push((number, place, key.clone()));
            }
        }
    }
    (!reads.is_empty()).then(|| random.one_of(&reads))
}

fn set_read(history: &mut History, number: usize, place: usize, new: Option<Value>) {
    match &mut history.transactions[number].operations[place] {
        Operation::Read { value, .. } => *value = new,
        other => panic!("a read, not {other:?}"),
    }
}

#[test]
fn a_stale_read_is_rejected() {
    must_reject("planted::a_stale_read_is_rejected", plan(), |history, writers, random| {
        let Some((number, place, key)) = a_read(history, random) else { return false };
        // A version that was over before the reader began.
        let begin = history.transactions[number].begin;
        let over = |version: &[Installed]| match version[1].value {
            Some(next) if is_committed(&writers[&next]) && writers[&next].end < begin => {
                version[0].value
            }
            _ => None,
        };
        let stale: Vec<Value> = history.installed[&key].windows(2).filter_map(over).collect();
        if stale.is_empty() {
            return false;
        }
        set_read(history, number, place, Some(random.one_of(&stale)));
        true
    });
}

#[test]
fn a_lost_row_is_rejected() {
    must_reject("planted::a_lost_row_is_rejected", plan(), |history, writers, random| {
        let stays = stays(history, writers);
        let mut rows = Vec::new();
        for (number, reader) in history.transactions.iter().enumerate() {
            for (place, operation) in reader.operations.iter().enumerate() {
                let Operation::Scan { pairs, .. } = operation else { continue };
                for (row, (key, value)) in pairs.iter().enumerate() {
                    let was_there_throughout = stays.iter().any(|stay| {
                        (&stay.key, stay.value) == (key, *value)
                            && stay.from < reader.begin
                            && reader.end < stay.to
                    });
                    let counts = is_committed(reader) && is_of_others(reader, place, key);
                    if was_there_throughout && counts {
                        rows.push((number, place, row));
                    }
                }
            }
        }
        if rows.is_empty() {
            return false;
        }
        let (number, place, row) = random.one_of(&rows);
        if let Operation::Scan { pairs, .. } = &mut history.transactions[number].operations[place] {
            pairs.remove(row);
        }
        true
    });
}

#[test]
fn a_read_of_what_was_rolled_back_is_rejected() {
    let test = "planted::a_read_of_what_was_rolled_back_is_rejected";
    must_reject(test, Plan { modes: &MIXED, ..plan() }, |history, writers, random| {
        let Some((number, place, key)) = a_read(history, random) else { return false };
        let aborted = writers.iter().filter(|(value, writer)| {
            let written = Operation::Write { key: key.clone(), value: **value };
            writer.outcome == Outcome::Aborted && writer.operations.contains(&written)
        });
        let aborted: Vec<Value> = aborted.map(|(value, _)| *value).collect();
        if aborted.is_empty() {
            return false;
        }
        set_read(history, number, place, Some(random.one_of(&aborted)));
        true
    });
}

#[test]
fn a_read_from_the_future_is_rejected() {
    must_reject(
        "planted::a_read_from_the_future_is_rejected",
        plan(),
        |history, writers, random| {
            let Some((number, place, key)) = a_read(history, random) else { return false };
            let end = history.transactions[number].end;
            let values = history.installed[&key].iter().filter_map(|version| version.value);
            let later: Vec<Value> = values.filter(|value| writers[value].begin > end).collect();
            if later.is_empty() {
                return false;
            }
            set_read(history, number, place, Some(random.one_of(&later)));
            true
        },
    );
}

#[test]
fn a_lost_commit_is_rejected() {
    let test = "planted::a_lost_commit_is_rejected";
    must_reject(test, Plan { modes: &MIXED, ..plan() }, |history, writers, random| {
        let keys: Vec<String> = history.installed.keys().cloned().collect();
        let Some(versions) = history.installed.get_mut(&random.one_of(&keys)) else { return false };
        let place = random.below(versions.len());
        let is_known = versions[place].value.is_some_and(|value| {
            matches!(writers[&value].outcome, Outcome::Committed { revision: Some(_) })
        });
        if is_known {
            versions.remove(place);
        }
        is_known
    });
}

#[test]
fn an_update_that_ignored_another_is_rejected() {
    let test = "planted::an_update_that_ignored_another_is_rejected";
    must_reject(test, plan(), |history, _, random| {
        // It read the version before its own; now it claims the one before that.
        let Some((number, place, key)) = a_read(history, random) else { return false };
        let reader = &history.transactions[number];
        let versions = &history.installed[&key];
        let wrote = |operation: &Operation| match operation {
            Operation::Write { key: other, value } if *other == key => Some(*value),
            _ => None,
        };
        let mine: Vec<Value> = reader.operations.iter().filter_map(wrote).collect();
        let own = versions
            .iter()
            .position(|version| version.value.is_some_and(|value| mine.contains(&value)));
        let Some(older) = own.and_then(|own| versions[..own].iter().rev().nth(1)) else {
            return false;
        };
        let older = older.value;
        set_read(history, number, place, older);
        older.is_some()
    });
}
