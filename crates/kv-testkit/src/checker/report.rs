//! Violations as texts that a person can follow: the kind, each step with its reason, and what
//! the transactions did.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::history::{Mode, Operation, Outcome, Transaction, Value};

/// What went wrong, in the words of the literature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The history cannot be judged: a value was written twice, or two commits share a revision.
    Malformed,
    /// Revisions contradict real time, or the store's own list of versions contradicts the
    /// clients: a commit is missing, or something that was not committed is there.
    VersionOrder,
    /// A value that nobody wrote to this key.
    UnwrittenValue,
    /// A transaction did not see its own writes.
    Internal,
    /// G1a: a value whose writer rolled back.
    AbortedRead,
    /// G1b: a value that its writer overwrote before it committed.
    IntermediateRead,
    /// G-SI: the reads of a view are not from one moment.
    FracturedView,
    /// A view older than its begin, or newer.
    WrongView,
    /// A SNAPSHOT transaction wrote a key that was committed after its view.
    FirstUpdaterLost,
    /// G0: a cycle of writes.
    DirtyWrite,
    /// G1c: a cycle of writes and reads.
    CircularFlow,
    /// A cycle with one anti-dependency: lost update, read skew, unrepeatable read.
    GSingle,
    /// A cycle with several anti-dependencies: write skew, phantoms, long fork.
    G2,
    /// A cycle that only real time closes: a stale read, an order turned round.
    RealTime,
}

impl Kind {
    /// For the headline.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "malformed history",
            Self::VersionOrder => "revisions or versions contradict the clients",
            Self::UnwrittenValue => "a value that nobody wrote",
            Self::Internal => "a transaction does not see its own writes",
            Self::AbortedRead => "G1a, aborted read",
            Self::IntermediateRead => "G1b, intermediate read",
            Self::FracturedView => "G-SI, reads of one view are from different moments",
            Self::WrongView => "a view that is not of the moment when it was taken",
            Self::FirstUpdaterLost => "first updater wins does not hold",
            Self::DirtyWrite => "G0, dirty write",
            Self::CircularFlow => "G1c, circular information flow",
            Self::GSingle => "G-single, a cycle with one anti-dependency",
            Self::G2 => "G2, a cycle with several anti-dependencies",
            Self::RealTime => "a cycle closed by real time",
        }
    }
}

/// Something that no allowed execution explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What went wrong.
    pub kind: Kind,
    /// Why, and between whom.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.kind.title())?;
        self.text.lines().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// A violation with its reasons, a line each, and the transactions it is between.
pub(super) fn violation(
    kind: Kind,
    reasons: &[String],
    all: &[Transaction],
    involved: &[usize],
) -> Violation {
    let mut text = reasons.join("\n");
    let involved: BTreeSet<usize> = involved.iter().copied().collect();
    for number in involved {
        text.push('\n');
        describe(&mut text, number, &all[number]);
    }
    Violation { kind, text }
}

/// `T7`
pub(super) fn name(number: usize) -> String {
    format!("T{number}")
}

/// `3`, or `missing`
pub(super) fn shown(value: Option<Value>) -> String {
    value.map_or("missing".into(), |value| value.to_string())
}

fn describe(text: &mut String, number: usize, transaction: &Transaction) {
    let mode = match transaction.mode {
        Mode::Serializable => "SERIALIZABLE",
        Mode::Snapshot => "SNAPSHOT",
        Mode::Readonly => "READONLY",
        Mode::Single => "single command",
    };
    let outcome = match transaction.outcome {
        Outcome::Committed { revision: Some(revision) } => format!("committed as {revision}"),
        Outcome::Committed { revision: None } => "committed".into(),
        Outcome::Aborted => "aborted".into(),
        Outcome::Unknown => "outcome unknown".into(),
    };
    let Transaction { client, begin, end, .. } = transaction;
    // Writing to a String cannot fail.
    let _ = write!(text, "T{number}: client {client}, {mode}, {begin}..{end}, {outcome}:");
    for (index, operation) in transaction.operations.iter().enumerate() {
        text.push_str(if index == 0 { " " } else { "; " });
        let _ = match operation {
            Operation::Read { key, value } => write!(text, "read {key} = {}", shown(*value)),
            Operation::Write { key, value } => write!(text, "write {key} = {value}"),
            Operation::Delete { key } => write!(text, "delete {key}"),
            Operation::Scan { from, to, pairs } => {
                let to = to.as_deref().unwrap_or("end");
                let pairs: Vec<String> =
                    pairs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                write!(text, "scan {from:?}..{to:?} = [{}]", pairs.join(", "))
            }
        };
    }
}
