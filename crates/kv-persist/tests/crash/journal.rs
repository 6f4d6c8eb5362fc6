//! The expected state: what the test knows was committed, in order, and how far it was told that
//! it is durable. It lives beside the simulated system and survives all its crashes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A value; cheap to clone.
pub(crate) type Value = Arc<str>;

/// What a transaction leaves behind: a value for each key, none for a delete.
pub(crate) type Changes = BTreeMap<String, Option<Value>>;

/// A promise that was broken, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// Says what is broken.
macro_rules! violation {
    ($($text:tt)*) => { Err($crate::journal::Violation(format!($($text)*))) };
}
pub(crate) use violation;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One version of a key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) number: u64,
    pub(crate) revision: u64,
    pub(crate) value: Option<Value>,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { number, revision, value } = self;
        let value = value.as_deref().map_or("-", |value| &value[..value.len().min(24)]);
        write!(f, "v{number}@{revision}={value}")
    }
}

/// Every key that there has been, with all its versions, oldest first.
pub(crate) type State = BTreeMap<String, Vec<Version>>;

/// The commits, in their order. The revision of the first is 1.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    last: u64,
    /// After the last of them.
    state: State,
    acknowledged: u64,
}

impl Journal {
    /// The revision of the last commit.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The revision up to which everything must survive.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(crate) fn acknowledge(&mut self, revision: u64) {
        self.acknowledged = self.acknowledged.max(revision.min(self.last()));
    }

    /// The disk has lied, and nobody can know it yet: nothing has to survive.
    pub(crate) fn forgive(&mut self) {
        self.acknowledged = 0;
    }

    /// What is there after all commits.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// What is there after the commits up to this revision.
    pub(crate) fn state_at(&self, revision: u64) -> State {
        let mut state = self.state.clone();
        state.retain(|_, versions| {
            versions.retain(|version| version.revision <= revision);
            !versions.is_empty()
        });
        state
    }

    /// Of these changes, those that make a version: a delete of nothing does not.
    fn effective(&self, changes: Changes) -> Changes {
        let is_there = |key: &String| value_in(&self.state, key).is_some();
        changes.into_iter().filter(|(key, value)| value.is_some() || is_there(key)).collect()
    }

    /// A transaction was committed; `revision` is the store's word for the session's last commit.
    pub(crate) fn commit(&mut self, changes: Changes, revision: u64) -> Result<(), Violation> {
        let changes = self.effective(changes);
        if changes.is_empty() {
            return Ok(());
        }
        let next = self.last() + 1;
        for (key, value) in &changes {
            let versions = self.state.entry(key.clone()).or_default();
            let number = versions.last().map_or(1, |newest| newest.number + 1);
            versions.push(Version { number, revision: next, value: value.clone() });
        }
        self.last = next;
        if revision != next {
            return violation!("commit {next} was given revision {revision}");
        }
        Ok(())
    }

    /// Recovery has decided that commits after this revision never happened, and those up to it
    /// have been shown.
    pub(crate) fn decide(&mut self, revision: u64) {
        self.state = self.state_at(revision);
        self.last = revision;
        self.acknowledge(revision);
    }
}

/// The value of a key in a state.
pub(crate) fn value_in<'a>(state: &'a State, key: &str) -> Option<&'a str> {
    state.get(key)?.last()?.value.as_deref()
}
