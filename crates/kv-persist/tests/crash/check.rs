//! What must hold after a crash, whatever it was and however the system comes back.
//!
//! 1. The store opens: a crash alone is no reason to refuse.
//! 2. The store's own check finds nothing.
//! 3. Its state is that after some commit: all of each transaction or nothing, in their order.
//! 4. That commit is no earlier than the last that was acknowledged.
//! 5. What has been shown once is not lost by a second crash, a power cut at once after the start.
//! 6. Recovery again gives the same.
//! 7. New writes are taken, and survive in their turn.

use kv_core::{Pause, ScanOptions, Session, Step, ValueKind};
use kv_persist::Error;

use crate::journal::{Changes, Journal, State, Value, Version, Violation, violation};
use crate::sim::{Restart, SimFs};
use crate::store::{HISTORY_VERSIONS, Options, Store};

/// A system that is down, and what was expected of it.
#[derive(Debug, Clone)]
pub(crate) struct Crash {
    pub(crate) fs: SimFs,
    pub(crate) journal: Journal,
}

impl Crash {
    /// The same once more, to be brought up in another way.
    pub(crate) fn fork(&self, seed: u64) -> Crash {
        Crash { fs: self.fs.fork(seed), journal: self.journal.clone() }
    }

    /// Brings the system up and checks all of it.
    pub(crate) fn survives(mut self, how: Restart, options: Options) -> Result<(), Violation> {
        self.fs.restart(how);
        match start(&self.fs, options, &mut self.journal)? {
            Start::Open(store) => drop(store),
            // Nothing was hidden, and an operator will restore a backup.
            Start::Refused => return Ok(()),
            Start::Failed(error) => return violation!("it does not open: {error}"),
        }
        self.survives_again(options)
    }

    /// After a first recovery whose outcome is known: a second gives the same, and life goes on.
    pub(crate) fn survives_again(mut self, options: Options) -> Result<(), Violation> {
        self.fs.restart(Restart::Lost);
        let mut store = open(&self.fs, options)?;
        let revision = check_state(&store, &self.journal)?;
        if revision != self.journal.last() {
            let shown = self.journal.last();
            return violation!("revision {shown} was shown, and then {revision} after a power cut");
        }
        self.write(&mut store)?;
        drop(store);
        self.fs.restart(Restart::Lost);
        let store = open(&self.fs, options)?;
        let revision = check_state(&store, &self.journal)?;
        if revision != self.journal.last() {
            return violation!("a write after recovery was acknowledged and lost");
        }
        Ok(())
    }

    fn write(&mut self, store: &mut Store) -> Result<(), Violation> {
        let mut session = store.db.session();
        let value = format!("after-{}", self.journal.last());
        let mut put = || session.put(None, b"new", value.as_bytes(), ValueKind::Text, None);
        let done = put().or_else(|pause| match pause {
            // The log has not allocated anything yet.
            Pause::Room(_) => {
                store.flush();
                put()
            }
            failed => Err(failed),
        });
        if let Err(error) = done {
            return violation!("a write after recovery is refused: {error:?}");
        }
        let changes = Changes::from([("new".to_owned(), Some(value.into()))]);
        self.journal.commit(changes, session.last_commit().0)?;
        store.flush();
        self.journal.acknowledge(store.durable());
        if self.journal.acknowledged() != self.journal.last() {
            return violation!("a write after recovery is not acknowledged");
        }
        Ok(())
    }
}

/// Opens a store that has to open.
pub(crate) fn open(fs: &SimFs, options: Options) -> Result<Store, Violation> {
    Store::open(fs, options).map_err(|error| Violation(format!("it does not open: {error}")))
}

/// How a start went.
#[derive(Debug)]
pub(crate) enum Start {
    /// With a state as it may be; what recovery decided is in the journal.
    Open(Box<Store>),
    /// Refused, as it has to be when a write has lied.
    Refused,
    /// The system failed.
    Failed(Error),
}

/// Opens a store and checks its state.
pub(crate) fn start(
    fs: &SimFs,
    options: Options,
    journal: &mut Journal,
) -> Result<Start, Violation> {
    let before = fs.contents();
    if fs.lie() == Some(true) {
        // The last batch of all looks like one that was torn.
        journal.forgive();
    }
    match Store::open(fs, options) {
        Ok(store) => {
            let revision = check_state(&store, journal)?;
            journal.decide(revision);
            Ok(Start::Open(Box::new(store)))
        }
        Err(error) if !error.is_refusal() => Ok(Start::Failed(error)),
        Err(error) if fs.lie().is_none() => violation!("it is refused: {error}"),
        Err(error) if fs.contents() != before && !before.is_empty() => {
            violation!("it is refused, and something was changed: {error}")
        }
        Err(_) => Ok(Start::Refused),
    }
}

/// Compares the store with what is expected; answers at which revision it is.
pub(crate) fn check_state(store: &Store, journal: &Journal) -> Result<u64, Violation> {
    if let Err(fault) = store.db.check_idle() {
        return violation!("the store's check says: {fault}");
    }
    let revision = store.db.revision().0;
    let (acknowledged, last) = (journal.acknowledged(), journal.last());
    if revision < acknowledged {
        return violation!("revision {acknowledged} was acknowledged, {revision} is there");
    }
    if revision > last {
        return violation!("revision {last} was the last, {revision} is there");
    }
    let (expected, all) = (journal.state_at(revision), journal.state());
    let found = kept(store, all)?;
    // Keys that do not exist yet are not there, rather than there without versions.
    let difference = all.keys().find(|key| found.get(*key) != kept_of(&expected, key).as_ref());
    if let Some(key) = difference {
        let (found, expected) = (found.get(key), kept_of(&expected, key));
        return violation!("at revision {revision}, {key} has {found:?} instead of {expected:?}");
    }
    check_rows(store, &expected, revision)?;
    Ok(revision)
}

/// The versions that are to be kept of a key.
fn kept_of(state: &State, key: &str) -> Option<Vec<Version>> {
    let versions = state.get(key)?;
    Some(versions[versions.len().saturating_sub(HISTORY_VERSIONS)..].to_vec())
}

/// What the store says of the history of each key.
fn kept(store: &Store, keys: &State) -> Result<State, Violation> {
    let mut session = store.db.session();
    let mut kept = State::new();
    for key in keys.keys() {
        let history = drive(store, &mut session, |session| session.history(key.as_bytes(), None))?;
        let version = |past: &kv_core::Past| Version {
            number: past.version.0,
            revision: past.revision.0,
            value: past.value.as_ref().map(|value| Value::from(String::from_utf8_lossy(value))),
        };
        let versions: Vec<Version> = history.iter().rev().map(version).collect();
        if !versions.is_empty() {
            kept.insert(key.clone(), versions);
        }
    }
    Ok(kept)
}

/// The current state is what a scan shows, and nothing besides.
fn check_rows(store: &Store, expected: &State, revision: u64) -> Result<(), Violation> {
    let mut session = store.db.session();
    let all = ScanOptions::default();
    let mut scan = drive(store, &mut session, |session| session.scan(None, &all))?;
    let mut rows = Vec::new();
    while let Some(row) = drive(store, &mut session, |_| scan.next_row())? {
        let value = row.value().map(|value| Value::from(String::from_utf8_lossy(&value)));
        rows.push((String::from_utf8_lossy(row.key()).into_owned(), value));
    }
    let newest = |(key, versions): (&String, &Vec<Version>)| {
        let value = versions.last()?.value.clone()?;
        Some((key.clone(), Some(value)))
    };
    let expected: Vec<_> = expected.iter().filter_map(newest).collect();
    if rows != expected {
        return violation!("at revision {revision}, a scan finds other rows: {rows:?}");
    }
    Ok(())
}

/// Reads on until there is a result.
fn drive<T>(
    store: &Store,
    session: &mut Session,
    mut read: impl FnMut(&mut Session) -> Step<T>,
) -> Result<T, Violation> {
    loop {
        match read(session) {
            Ok(done) => return Ok(done),
            Err(Pause::Fetch(fetch)) => {
                if let Err(error) = store.db.fetch(&fetch) {
                    return violation!("a read fails: {error}");
                }
            }
            Err(pause) => return violation!("a read fails: {pause:?}"),
        }
    }
}
