//! What is known of a run: each transaction with its operations, its outcome and its place in
//! real time; and the recorder that many client threads write it with. Nothing is judged here.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A value. Each one is written at most once in a run.
pub type Value = u64;

/// How a transaction ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Under locks.
    Serializable,
    /// Reads a view, writes under locks.
    Snapshot,
    /// Reads a view.
    Readonly,
    /// A single command outside a transaction.
    Single,
}

/// What a transaction did, and saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// It read a key; `None` if it was missing.
    Read {
        /// The key.
        key: String,
        /// What it saw.
        value: Option<Value>,
    },
    /// It wrote a key.
    Write {
        /// The key.
        key: String,
        /// What it wrote.
        value: Value,
    },
    /// It deleted a key that was there. (A delete that found nothing is a read.)
    Delete {
        /// The key.
        key: String,
    },
    /// It read all pairs with `from` ≤ key < `to`.
    Scan {
        /// The first key.
        from: String,
        /// The first key beyond; `None`: to the end.
        to: Option<String>,
        /// What it saw.
        pairs: Vec<(String, Value)>,
    },
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was told OK. `None`: no revision, as it changed nothing, or it is not known.
    Committed {
        /// The revision of its commit.
        revision: Option<u64>,
    },
    /// It was told that nothing of it was done, or rolled back itself.
    Aborted,
    /// It was told nothing, or that nobody knows.
    Unknown,
}

/// One transaction, as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The client that ran it.
    pub client: u32,
    /// How it ran.
    pub mode: Mode,
    /// A moment before its first command was sent.
    pub begin: u64,
    /// A moment after BEGIN was answered, at most `end`.
    pub begun: u64,
    /// A moment after its last reply had come.
    pub end: u64,
    /// What it did, in order.
    pub operations: Vec<Operation>,
    /// What it wrote in nested transactions that it rolled back.
    pub undone: Vec<(String, Value)>,
    /// How it ended.
    pub outcome: Outcome,
}

/// One version, as the store itself lists it after the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// Of the commit that made it.
    pub revision: u64,
    /// `None` is a delete.
    pub value: Option<Value>,
}

/// All that is known of a run. The store was empty before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// In any order.
    pub transactions: Vec<Transaction>,
    /// What the store lists as all versions of a key, the oldest first. Need not be known of any
    /// key; where it is, it decides the order of versions, and every commit must be in it.
    pub installed: BTreeMap<String, Vec<Installed>>,
}

/// Collects a history from many threads.
#[derive(Debug, Default)]
pub struct Recorder {
    clock: AtomicU64,
    values: AtomicU64,
    transactions: Mutex<Vec<Transaction>>,
}

impl Recorder {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Call before the first command is sent.
    pub fn begin(&self, client: u32, mode: Mode) -> Running<'_> {
        let now = self.now();
        let transaction = Transaction {
            client,
            mode,
            begin: now,
            begun: u64::MAX,
            end: u64::MAX,
            operations: Vec::new(),
            undone: Vec::new(),
            outcome: Outcome::Unknown,
        };
        Running { recorder: self, transaction }
    }

    /// A value that nobody has written.
    pub fn new_value(&self) -> Value {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What was recorded. Transactions that are still running are missing from it.
    #[must_use]
    pub fn finish(self) -> History {
        let transactions = self.transactions.into_inner().unwrap_or_else(PoisonError::into_inner);
        History { transactions, installed: BTreeMap::new() }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

/// A transaction that is being recorded. Dropped without [`Running::end`], its outcome is unknown.
#[derive(Debug)]
pub struct Running<'a> {
    recorder: &'a Recorder,
    transaction: Transaction,
}

impl Running<'_> {
    /// Call when BEGIN was answered; a view must be as old as that.
    pub fn begun(&mut self) {
        self.transaction.begun = self.recorder.now();
    }

    /// A read was answered.
    pub fn read(&mut self, key: &str, value: Option<Value>) {
        self.push(Operation::Read { key: key.into(), value });
    }

    /// A write is about to be sent. If it is refused and the transaction goes on, take it back
    /// with [`Running::undo`].
    pub fn write(&mut self, key: &str, value: Value) {
        self.push(Operation::Write { key: key.into(), value });
    }

    /// A delete has found something.
    pub fn delete(&mut self, key: &str) {
        self.push(Operation::Delete { key: key.into() });
    }

    /// A scan was answered.
    pub fn scan(&mut self, from: &str, to: Option<&str>, pairs: Vec<(String, Value)>) {
        self.push(Operation::Scan { from: from.into(), to: to.map(str::to_string), pairs });
    }

    /// A place to come back to: take it at the begin of a nested transaction.
    #[must_use]
    pub fn savepoint(&self) -> usize {
        self.transaction.operations.len()
    }

    /// What was written after the savepoint was rolled back. What was read before the first of
    /// those writes still counts; later reads may have seen them, and are forgotten.
    pub fn undo(&mut self, savepoint: usize) {
        let operations = &mut self.transaction.operations;
        let writes = |operation: &Operation| {
            matches!(operation, Operation::Write { .. } | Operation::Delete { .. })
        };
        let first = operations.iter().skip(savepoint).position(writes);
        let Some(first) = first else { return };
        for operation in operations.split_off(savepoint + first) {
            if let Operation::Write { key, value } = operation {
                self.transaction.undone.push((key, value));
            }
        }
    }

    /// Call when the last reply has come.
    pub fn end(mut self, outcome: Outcome) {
        self.transaction.outcome = outcome;
    }

    fn push(&mut self, operation: Operation) {
        self.transaction.operations.push(operation);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let empty = Transaction { operations: Vec::new(), undone: Vec::new(), ..self.transaction };
        let mut transaction = mem::replace(&mut self.transaction, empty);
        transaction.end = self.recorder.now();
        transaction.begun = transaction.begun.min(transaction.end);
        let list = self.recorder.transactions.lock();
        list.unwrap_or_else(PoisonError::into_inner).push(transaction);
    }
}
