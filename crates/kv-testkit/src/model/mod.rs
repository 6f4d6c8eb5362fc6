//! A store so plain that it cannot be wrong, to compare the real one with.
//!
//! Keys and versions in a `BTreeMap`, one call at a time, every transaction a full copy of its
//! parent's writes. It knows what commands *mean*: visibility, versions, revisions, nesting,
//! conditions, first updater wins. It knows nothing of *waiting*: there are no locks here, so a
//! caller with several open SERIALIZABLE transactions must keep them off each other's keys, and
//! says what they have locked, by which it is judged what has expired. It has no JSON type, no
//! pruned history and no limits on sizes, and its clock is moved by hand.
//!
//! ```text
//! commit     BEGIN: the child starts with a copy of the parent's writes
//! the child  COMMIT: its copy becomes the parent's        ROLLBACK: its copy is dropped
//! the root   COMMIT: each write becomes the key's next version, all under one new revision
//! ```

mod commands;
mod conditions;
mod expiry;
mod transactions;

use std::collections::BTreeMap;

pub use conditions::{Conditions, NEAREST_MAX, Pattern, ValueCondition};
pub use expiry::only;

/// Any bytes.
pub type Bytes = Vec<u8>;

/// Levels of nesting, the root's included.
const NESTING_MAX: usize = 64;

/// What a transaction sees and whether it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Reads the newest commit.
    Serializable,
    /// Reads the view of its root's begin; a write to a key committed since then is a CONFLICT.
    Snapshot,
    /// Reads its view, writes nothing.
    Readonly,
}

/// Why a call was refused. The names are those of the error codes that clients see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such open transaction.
    NotOpen,
    /// The transaction has an open child.
    Busy,
    /// Aborted, until it is rolled back.
    Aborted,
    /// Somebody committed the key after the read view; the tree is aborted.
    Conflict,
    /// It must not write.
    Readonly,
    /// The words make no sense together.
    Argument,
    /// The condition does not hold for this version.
    Precondition(u64),
    /// Not a number, or it would overflow.
    Type,
    /// Nested too deep.
    Limit,
}

impl Refusal {
    /// The word that clients see.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotOpen => "NOTX",
            Self::Busy => "BUSY",
            Self::Aborted => "ABORTED",
            Self::Conflict => "CONFLICT",
            Self::Readonly => "READONLY",
            Self::Argument => "ARGUMENT",
            Self::Precondition(_) => "PRECONDITION",
            Self::Type => "TYPE",
            Self::Limit => "LIMIT",
        }
    }
}

/// Where a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On its own.
    Root,
    /// Inside this one.
    Inside(u64),
    /// Inside the current one.
    Current,
}

/// What must hold for a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The key is missing.
    Absent,
    /// The key is there.
    Present,
    /// The key has this version; 0 is missing.
    Version(u64),
}

/// One committed state of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// 1, 2, 3 … per key.
    pub version: u64,
    /// Of the commit that made it.
    pub revision: u64,
    /// `None` is a delete.
    pub value: Option<Bytes>,
    /// When it was committed.
    pub time_ms: u64,
    /// When it expires; `None` is never.
    pub expires_ms: Option<u64>,
}

/// What is known of a key that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The version, or the one that the transaction's own write will get.
    pub version: u64,
    /// `None` for the transaction's own write.
    pub revision: Option<u64>,
    /// Length of the value.
    pub bytes: usize,
    /// Milliseconds that it has to live; `None` is without end.
    pub ttl_ms: Option<u64>,
}

/// What a scan looks at: `from` ≤ key < `to`, key > `after`, the first `limit` of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interval {
    /// The first key; empty for the very first.
    pub from: Bytes,
    /// The first key that is not in it any more.
    pub to: Option<Bytes>,
    /// The last key before the first.
    pub after: Option<Bytes>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Interval {
    /// All keys with this prefix.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut to = prefix.to_vec();
        while to.last() == Some(&u8::MAX) {
            to.pop();
        }
        let to = match to.last_mut() {
            Some(last) => {
                *last += 1;
                Some(to)
            }
            None => None,
        };
        Self { from: prefix.to_vec(), to, after: None, limit: None }
    }

    /// Whether it holds the key, whatever the limit.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.from.as_slice()
            && self.to.as_ref().is_none_or(|to| key < to.as_slice())
            && self.after.as_ref().is_none_or(|after| key > after.as_slice())
    }
}

/// A write that is not committed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Write {
    /// `None` is a delete.
    value: Option<Bytes>,
    /// When it expires; `None` is never.
    expires_ms: Option<u64>,
    /// The innermost open transaction that it belongs to.
    owner: u64,
}

#[derive(Debug, Clone)]
struct Transaction {
    parent: Option<u64>,
    isolation: Isolation,
    /// The newest revision that it reads; only SERIALIZABLE reads beyond it.
    view: u64,
    aborted: bool,
    /// When its view was taken, or of the past, when that was the newest.
    view_ms: u64,
    /// Its own writes and its parents'.
    writes: BTreeMap<Bytes, Write>,
}

/// One open transaction, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its number in its client's session.
    pub id: u64,
    /// The one it is nested in.
    pub parent: Option<u64>,
    /// Its isolation.
    pub isolation: Isolation,
    /// Whether it waits for a ROLLBACK only.
    pub aborted: bool,
}

/// The store.
#[derive(Debug, Clone, Default)]
pub struct Model {
    revision: u64,
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// By client and id.
    open: BTreeMap<(u32, u64), Transaction>,
    begun: BTreeMap<u32, u64>,
    last_commit: BTreeMap<u32, u64>,
    now_ms: u64,
    /// When each revision was committed.
    times_ms: Vec<u64>,
    /// What the SERIALIZABLE transactions have judged and when, by client and root, in order.
    judged: BTreeMap<(u32, u64), Vec<(Interval, u64)>>,
}

/// What is committed.
impl Model {
    /// The revision of the newest commit.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// REVISION: of the client's last commit, 0 before the first.
    #[must_use]
    pub fn last_commit(&self, client: u32) -> u64 {
        self.last_commit.get(&client).copied().unwrap_or(0)
    }

    /// HISTORY: every version of the key, newest first.
    #[must_use]
    pub fn history(&self, key: &[u8]) -> Vec<Version> {
        self.keys.get(key).into_iter().flatten().rev().cloned().collect()
    }

    /// GET … VERSION.
    #[must_use]
    pub fn get_version(&self, key: &[u8], number: u64) -> Option<Bytes> {
        let mut versions = self.keys.get(key)?.iter();
        versions.find(|version| version.version == number)?.value.clone()
    }

    /// GET … AT.
    ///
    /// # Errors
    /// When there is no such revision yet.
    pub fn get_at(&self, key: &[u8], revision: u64) -> Result<Option<Bytes>, Refusal> {
        if revision > self.revision {
            return Err(Refusal::Argument);
        }
        let as_of_ms = self.time_of(revision);
        Ok(self.committed(key, revision, as_of_ms).and_then(|version| version.value.clone()))
    }

    /// SHOWALL: what is committed with the client's open writes over it, each with its owner.
    #[must_use]
    pub fn show_all(&self, client: u32) -> Vec<(Bytes, Option<Bytes>, Option<u64>)> {
        let mut rows: BTreeMap<&Bytes, (Option<Bytes>, Option<u64>)> = BTreeMap::new();
        for key in self.keys.keys() {
            if let Some(version) = self.committed(key, self.revision, self.now_ms) {
                rows.insert(key, (version.value.clone(), None));
            }
        }
        for (_, transaction) in self.open.range((client, 0)..=(client, u64::MAX)) {
            for (key, write) in transaction.writes.iter().filter(|_| !transaction.aborted) {
                rows.insert(key, (write.value.clone(), Some(write.owner)));
            }
        }
        rows.into_iter().map(|(key, (value, owner))| (key.clone(), value, owner)).collect()
    }

    /// The key's version at that revision, if the key was there at that time.
    fn committed(&self, key: &[u8], revision: u64, as_of_ms: u64) -> Option<&Version> {
        let mut versions = self.keys.get(key)?.iter();
        let newest = versions.rfind(|version| version.revision <= revision)?;
        let is_live = newest.expires_ms.is_none_or(|expires_ms| as_of_ms < expires_ms);
        (newest.value.is_some() && is_live).then_some(newest)
    }

    fn newest_version(&self, key: &[u8]) -> u64 {
        self.keys.get(key).map_or(0, |versions| versions.len() as u64)
    }
}

#[cfg(test)]
mod tests;
