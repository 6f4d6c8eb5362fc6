//! What clients do, one step at a time and all on one thread: single commands, nested transactions,
//! rollbacks; and what the server does between: writing the log, folding it, stopping and starting.
//! All of it follows from one seed.

use kv_core::{
    BeginOptions, Error, Isolation, Parent, Pause, Session, Step as Outcome, TxnId, ValueKind,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::journal::{Changes, Journal, State, Value, Violation, value_in};
use crate::store::Store;

const CLIENTS: usize = 3;
const DEPTH_MAX: usize = 3;

/// Few keys, so that they are written again and again.
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const COUNTERS: [&str; 2] = ["n0", "n1"];

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A client sends a command.
    Command,
    /// The log writes what it has been given.
    Flush,
    /// The log is folded into the snapshot.
    Checkpoint,
    /// The operator sees to it that the disk has room, if it had none.
    MakeRoom,
    /// A clean stop, and a start.
    Restart,
    /// The process is killed and started again.
    Kill,
}

const STEPS: [(u32, Step); 6] = [
    (100, Step::Command),
    (24, Step::Flush),
    (5, Step::Checkpoint),
    (5, Step::MakeRoom),
    (1, Step::Restart),
    (1, Step::Kill),
];

/// The clients of one run of the store, and the random numbers of all runs.
#[derive(Debug)]
pub(crate) struct Workload {
    random: StdRng,
    clients: Vec<Client>,
    values_made: u64,
}

#[derive(Debug)]
struct Client {
    session: Session,
    /// The open transaction and what is nested in it, outermost first.
    scopes: Vec<Scope>,
}

#[derive(Debug)]
struct Scope {
    txn: TxnId,
    isolation: Isolation,
    changes: Changes,
}

/// Why a command did nothing.
enum Refusal {
    /// As it may: a lock was not free, the disk was full.
    Refused,
    /// The whole transaction is gone.
    Aborted,
    /// As it must not.
    Violation(Violation),
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Workload {
        Workload { random: StdRng::seed_from_u64(seed), clients: Vec::new(), values_made: 0 }
    }

    pub(crate) fn next_step(&mut self) -> Step {
        weighted(&mut self.random, &STEPS)
    }

    /// New clients, of a store that was just started.
    pub(crate) fn connect(&mut self, store: &Store) {
        let client = |_| Client { session: store.db.session(), scopes: Vec::new() };
        self.clients = (0..CLIENTS).map(client).collect();
    }

    /// All clients go, as before a clean stop.
    pub(crate) fn disconnect(&mut self) {
        self.clients.clear();
    }

    /// A command of some client. What it commits goes to the journal.
    pub(crate) fn command(
        &mut self,
        store: &Store,
        journal: &mut Journal,
    ) -> Result<(), Violation> {
        let number = self.random.random_range(0..self.clients.len());
        let Workload { random, clients, values_made } = self;
        let client = &mut clients[number];
        let in_transaction = !client.scopes.is_empty();
        let outcome = match (random.random_range(0..100), in_transaction) {
            (0..20, false) => client.begin(store, random),
            (0..10, true) if client.scopes.len() < DEPTH_MAX => client.begin(store, random),
            (10..40, true) => return client.commit(store, journal),
            (40..50, true) => client.rollback(store),
            (50..52, _) if client.can_delete_all() => client.delete_all(store, journal),
            _ => client.write(store, journal, random, values_made),
        };
        match outcome {
            Ok(()) | Err(Refusal::Refused) => Ok(()),
            Err(Refusal::Aborted) => {
                client.scopes.clear();
                client.session.rollback_all();
                Ok(())
            }
            Err(Refusal::Violation(violation)) => Err(violation),
        }
    }
}

impl Client {
    fn begin(&mut self, store: &Store, random: &mut StdRng) -> Result<(), Refusal> {
        let parent = if self.scopes.is_empty() { Parent::None } else { Parent::Current };
        let isolation = [Isolation::Serializable, Isolation::Snapshot][random.random_range(0..2)];
        let isolation = self.scopes.last().map_or(isolation, |parent| parent.isolation);
        let isolated = self.scopes.is_empty().then_some(isolation);
        let options = BeginOptions { parent, isolation: isolated, ..Default::default() };
        let txn = self.session.begin(options);
        let txn = txn.map_err(|error| refusal(store, error.into()))?;
        self.scopes.push(Scope { txn, isolation, changes: Changes::new() });
        Ok(())
    }

    fn commit(&mut self, store: &Store, journal: &mut Journal) -> Result<(), Violation> {
        let Some(scope) = self.scopes.pop() else { return Ok(()) };
        let Scope { txn, isolation, changes } = scope;
        let outcome = drive(store, &mut self.session, |session| session.commit(Some(txn)));
        match (outcome, self.scopes.last_mut()) {
            (Ok(()), Some(parent)) => parent.changes.extend(changes),
            (Ok(()), None) => return journal.commit(changes, self.session.last_commit().0),
            // It stays open, and may be committed again.
            (Err(Refusal::Refused), _) => self.scopes.push(Scope { txn, isolation, changes }),
            (Err(Refusal::Aborted), _) => {
                self.scopes.clear();
                self.session.rollback_all();
            }
            (Err(Refusal::Violation(violation)), _) => return Err(violation),
        }
        Ok(())
    }

    fn rollback(&mut self, store: &Store) -> Result<(), Refusal> {
        let Some(Scope { txn, .. }) = self.scopes.pop() else { return Ok(()) };
        self.session.rollback(Some(txn)).map_err(|error| refusal(store, error.into()))
    }

    fn can_delete_all(&self) -> bool {
        self.scopes.iter().all(|scope| scope.isolation == Isolation::Serializable)
    }

    fn delete_all(&mut self, store: &Store, journal: &mut Journal) -> Result<(), Refusal> {
        let txn = self.scopes.last().map(|scope| scope.txn);
        drive(store, &mut self.session, |session| session.delete_all(txn))?;
        let own = self.scopes.iter().flat_map(|scope| scope.changes.keys());
        let keys = journal.state().keys().chain(own).cloned();
        let changes: Changes = keys.map(|key| (key, None)).collect();
        self.note(changes, journal)
    }

    fn write(
        &mut self,
        store: &Store,
        journal: &mut Journal,
        random: &mut StdRng,
        values_made: &mut u64,
    ) -> Result<(), Refusal> {
        let txn = self.scopes.last().map(|scope| scope.txn);
        let key = KEYS[random.random_range(0..KEYS.len())];
        let session = &mut self.session;
        let (key, value) = match random.random_range(0..100) {
            0..15 => {
                let key_bytes = key.as_bytes();
                drive(store, session, |session| session.delete(txn, key_bytes, None))?;
                (key, None)
            }
            15..35 => {
                let key = COUNTERS[random.random_range(0..COUNTERS.len())];
                let sum = drive(store, session, |session| session.add(txn, key.as_bytes(), 1))?;
                let expected = 1 + self.seen(journal.state(), key);
                if sum != expected {
                    let what = format!("{key} was counted to {sum}, not to {expected}");
                    return Err(Refusal::Violation(Violation(what)));
                }
                (key, Some(Value::from(sum.to_string())))
            }
            kind => {
                *values_made += 1;
                let bytes = match kind {
                    95..100 => random.random_range(1000..6000),
                    _ => random.random_range(0..60),
                };
                let value = format!("{values_made}{:.<bytes$}", ":");
                let put = |session: &mut Session| {
                    session.put(txn, key.as_bytes(), value.as_bytes(), ValueKind::Text, None)
                };
                drive(store, session, put)?;
                (key, Some(Value::from(value)))
            }
        };
        self.note(Changes::from([(key.to_owned(), value)]), journal)
    }

    /// Notes what a command has changed, which is committed if it was outside a transaction.
    fn note(&mut self, changes: Changes, journal: &mut Journal) -> Result<(), Refusal> {
        match self.scopes.last_mut() {
            Some(scope) => scope.changes.extend(changes),
            None => {
                let revision = self.session.last_commit().0;
                journal.commit(changes, revision).map_err(Refusal::Violation)?;
            }
        }
        Ok(())
    }

    /// What a counter is at for this client.
    fn seen(&self, committed: &State, key: &str) -> i64 {
        let own = self.scopes.iter().rev().find_map(|scope| scope.changes.get(key));
        let value = own.map_or_else(|| value_in(committed, key), |own| own.as_deref());
        value.map_or(0, |value| value.parse().expect("counters are counted only"))
    }
}

/// Does what an operation pauses for, until it has an outcome. A lock is not waited for, since
/// whoever holds it is not running; for room, the log gets one chance to make some.
fn drive<T>(
    store: &Store,
    session: &mut Session,
    mut operation: impl FnMut(&mut Session) -> Outcome<T>,
) -> Result<T, Refusal> {
    let mut has_flushed = false;
    loop {
        match operation(session) {
            Ok(done) => return Ok(done),
            Err(Pause::Lock(_)) => session.expire(),
            Err(Pause::Fetch(fetch)) => {
                store.db.fetch(&fetch).map_err(|error| refusal(store, error.into()))?;
            }
            Err(Pause::Room(_)) if !has_flushed => {
                has_flushed = true;
                store.flush();
            }
            Err(pause) => return Err(refusal(store, pause)),
        }
    }
}

fn refusal(store: &Store, pause: Pause) -> Refusal {
    match pause {
        Pause::Failed(error) => match *error {
            Error::LockTimeout { .. } | Error::DiskFull => Refusal::Refused,
            // The system is down, or the log was given up.
            Error::Io(_) if store.has_failed() => Refusal::Refused,
            ref error if error.aborts() => Refusal::Aborted,
            error => Refusal::Violation(Violation(format!("a command is answered {error:?}"))),
        },
        _ => Refusal::Refused,
    }
}

/// One of the choices, by weight.
fn weighted<T: Copy>(random: &mut StdRng, choices: &[(u32, T)]) -> T {
    let mut left = random.random_range(0..choices.iter().map(|(weight, _)| weight).sum());
    for &(weight, choice) in choices {
        if left < weight {
            return choice;
        }
        left -= weight;
    }
    unreachable!("the weights were summed up")
}
