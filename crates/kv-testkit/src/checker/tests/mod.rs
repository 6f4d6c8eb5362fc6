//! That the checker finds what it must find, and nothing else. Histories are written as lines of
//! text, so that a case can be read at a glance:
//!
//! ```text
//! ser 2..9 c3: r x 1; w y 2        SERIALIZABLE, from 2 to 9, committed as revision 3
//! si 2/4..9 c: s a..z x=1,y=2      SNAPSHOT, BEGIN answered at 4, committed without a revision
//! one 2..3 u: d x                  a single command, outcome unknown
//! ro 2..3 a: r x -                 READONLY, aborted; x was missing
//! ```

mod anomalies;
mod brute_force;
mod mutations;
mod simulation;

use super::{History, Installed, Kind, Mode, Operation, Outcome, Transaction, check, verify};

fn history(text: &str) -> History {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    History { transactions: lines.map(transaction).collect(), ..History::default() }
}

fn transaction(line: &str) -> Transaction {
    let (head, operations) = line.split_once(':').unwrap();
    let words: Vec<&str> = head.split_whitespace().collect();
    let mode = match words[0] {
        "ser" => Mode::Serializable,
        "si" => Mode::Snapshot,
        "ro" => Mode::Readonly,
        "one" => Mode::Single,
        other => panic!("no such mode: {other}"),
    };
    let (from, end) = words[1].split_once("..").unwrap();
    let (begin, begun) = from.split_once('/').unwrap_or((from, end));
    let outcome = match words[2] {
        "a" => Outcome::Aborted,
        "u" => Outcome::Unknown,
        committed => Outcome::Committed { revision: committed[1..].parse().ok() },
    };
    let operations = operations.split(';').map(str::trim).filter(|text| !text.is_empty());
    Transaction {
        client: 0,
        mode,
        begin: begin.parse().unwrap(),
        begun: begun.parse().unwrap(),
        end: end.parse().unwrap(),
        operations: operations.map(operation).collect(),
        undone: Vec::new(),
        outcome,
    }
}

fn operation(text: &str) -> Operation {
    let words: Vec<&str> = text.split_whitespace().collect();
    let key = words[1].to_string();
    match words[0] {
        "r" => Operation::Read { key, value: words[2].parse().ok() },
        "w" => Operation::Write { key, value: words[2].parse().unwrap() },
        "d" => Operation::Delete { key },
        "s" => {
            let (from, to) = words[1].split_once("..").unwrap();
            let pairs = words.get(2).into_iter().flat_map(|pairs| pairs.split(','));
            let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
            let pairs = pairs.map(|(key, value)| (key.to_string(), value.parse().unwrap()));
            let to = (!to.is_empty()).then(|| to.to_string());
            Operation::Scan { from: from.to_string(), to, pairs: pairs.collect() }
        }
        other => panic!("no such operation: {other}"),
    }
}

fn kinds(history: &History) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check(history).into_iter().map(|found| found.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn finds(wanted: &[Kind], text: &str) {
    assert_eq!(kinds(&history(text)), wanted, "{text}\n{:?}", verify(&history(text)));
}

fn passes(text: &str) {
    verify(&history(text)).unwrap_or_else(|error| panic!("{text}\n{error}"));
}
