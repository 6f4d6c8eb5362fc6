//! The small words of the engine: identifiers, modes and intervals, each its own type.
//!
//! Nothing here has behaviour beyond conversion and display, so that every other module can use
//! it without depending on any of them. No bare `u64` crosses a module: a revision cannot be taken
//! for a version.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The store-wide number of a commit. Log order, visibility order and revision order are one.
    /// Revision 0 is the empty store.
    Revision
}
id! {
    /// The number of one committed state of one key: 1, 2, 3 … A delete counts. 0 is "not there".
    Version
}
id! {
    /// One client. Ids are never reused within the life of a [`crate::Database`].
    SessionId
}
id! {
    /// A transaction as its session names it: 1, 2, 3 … in each session.
    TxnId
}
id! {
    /// A whole transaction, root and nested ones together, as the lock manager knows it.
    TreeId
}

/// Which shard a key lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub usize);

impl TxnId {
    /// The transaction of a [group](crate::Session::group), which its client has no name for. It
    /// is above all others, since it is always the innermost.
    pub(crate) const GROUP: TxnId = TxnId(u64::MAX);
}

impl Revision {
    /// Above every revision: "the newest, whatever it is".
    pub const NEWEST: Revision = Revision(u64::MAX);
}

/// What a transaction is promised about others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// Strict two-phase locking: as if transactions ran one after the other.
    #[default]
    Serializable,
    /// Reads from the read view taken at BEGIN; the first updater of a key wins.
    Snapshot,
    /// Reads from a read view; refuses writes; never waits and is never aborted for a conflict.
    Readonly,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isolation::Serializable => "SERIALIZABLE",
            Isolation::Snapshot => "SNAPSHOT",
            Isolation::Readonly => "READONLY",
        })
    }
}

/// What a value is, beyond its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ValueKind {
    /// Text or any bytes.
    #[default]
    Text,
    /// A JSON document, kept as the text that was stored. The engine does not look inside.
    Json,
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueKind::Text => "text",
            ValueKind::Json => "json",
        })
    }
}

/// What must hold for a conditional write. Missing and deleted keys have version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The key is not there.
    Absent,
    /// The key is there.
    Present,
    /// The key's current version is this one.
    Version(Version),
}

impl Condition {
    /// Whether a key whose current version is `current` meets the condition.
    pub fn is_met_by(self, current: Version) -> bool {
        match self {
            Condition::Absent => current == Version(0),
            Condition::Present => current != Version(0),
            Condition::Version(wanted) => current == wanted,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Absent => f.write_str("IF ABSENT"),
            Condition::Present => f.write_str("IF PRESENT"),
            Condition::Version(version) => write!(f, "IF VERSION {version}"),
        }
    }
}

/// An interval of keys, `from ≤ key < to`; no `to` means up to the last key.
///
/// Every other shape of interval becomes this one: a prefix ends at its successor, and the key
/// just after `k` is `k` followed by a zero byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Interval {
    /// The first key that may be in it.
    pub from: Box<[u8]>,
    /// The first key that is beyond it.
    pub to: Option<Box<[u8]>>,
}

impl Interval {
    /// Every key.
    pub fn all() -> Interval {
        Interval::default()
    }

    /// One key alone.
    pub fn key(key: &[u8]) -> Interval {
        Interval { from: key.into(), to: Some(just_after(key)) }
    }

    /// The keys `from ≤ key < to`. Empty if `to` is not above `from`.
    pub fn range(from: &[u8], to: &[u8]) -> Interval {
        Interval { from: from.into(), to: Some(to.into()) }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Interval {
        Interval { from: prefix.into(), to: prefix_end(prefix) }
    }

    /// The part of it that lies after `key`.
    #[must_use]
    pub fn after(self, key: &[u8]) -> Interval {
        if *self.from > *key {
            return self;
        }
        Interval { from: just_after(key), to: self.to }
    }

    /// The part of it that ends with `key`, included.
    #[must_use]
    pub fn up_to(self, key: &[u8]) -> Interval {
        Interval { from: self.from, to: Some(just_after(key)) }
    }

    /// The part of it that lies in `other` too; it may be empty.
    #[must_use]
    pub fn within(self, other: Interval) -> Interval {
        let to = match (self.to, other.to) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Interval { from: self.from.max(other.from), to }
    }

    /// Whether `key` lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.from <= *key && self.to.as_deref().is_none_or(|to| key < to)
    }

    /// Whether every key of `other` lies in it.
    pub fn covers(&self, other: &Interval) -> bool {
        other.is_empty()
            || self.from <= other.from
                && match (&self.to, &other.to) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(mine), Some(theirs)) => theirs <= mine,
                }
    }

    /// Whether some key could lie in both.
    pub fn overlaps(&self, other: &Interval) -> bool {
        let starts_before_end =
            |a: &Interval, b: &Interval| b.to.as_deref().is_none_or(|to| *a.from < *to);
        !self.is_empty()
            && !other.is_empty()
            && starts_before_end(self, other)
            && starts_before_end(other, self)
    }

    /// The two as one, if no key lies between them. Neither may be empty.
    pub fn merged(&self, other: &Interval) -> Option<Interval> {
        let touches = |a: &Interval, b: &Interval| b.to.as_ref().is_none_or(|to| a.from <= *to);
        if !touches(self, other) || !touches(other, self) {
            return None;
        }
        let to = match (&self.to, &other.to) {
            (Some(one), Some(other)) => Some(one.max(other).clone()),
            _ => None,
        };
        Some(Interval { from: self.from.clone().min(other.from.clone()), to })
    }

    /// Whether no key can lie in it.
    pub fn is_empty(&self) -> bool {
        self.to.as_deref().is_some_and(|to| *to <= *self.from)
    }
}

/// The smallest key above `key`.
fn just_after(key: &[u8]) -> Box<[u8]> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// The smallest key above every key with this prefix; none for a prefix of 0xff bytes only.
fn prefix_end(prefix: &[u8]) -> Option<Box<[u8]>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// Shows a key in an error: quoted, escaped, cut when long.
pub(crate) fn show_key(key: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 64;
    let cut = key.len() > SHOWN_BYTES_MAX;
    let shown = String::from_utf8_lossy(&key[..key.len().min(SHOWN_BYTES_MAX)]);
    let ellipsis = if cut { "…" } else { "" };
    format!("\"{}{ellipsis}\"", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_its_successor_begins() {
        assert_eq!(Interval::prefix(b"ab").to.as_deref(), Some(&b"ac"[..]));
        assert_eq!(Interval::prefix(b"a\xff\xff").to.as_deref(), Some(&b"b"[..]));
        assert_eq!(Interval::prefix(b"\xff").to, None);
        assert_eq!(Interval::prefix(b"").to, None);
        assert!(Interval::prefix(b"\xff").contains(b"\xff\xff\x00"));
    }

    #[test]
    fn after_and_up_to_cut_at_the_key() {
        let interval = Interval::range(b"b", b"d");
        assert_eq!(interval.clone().after(b"a"), interval);
        assert!(!interval.clone().after(b"b").contains(b"b"));
        assert!(interval.clone().after(b"b").contains(b"b\0"));
        assert!(interval.clone().up_to(b"c").contains(b"c"));
        assert!(!interval.up_to(b"c").contains(b"c\0"));
    }

    #[test]
    fn what_lies_within_both_ends_where_either_does() {
        let (bd, ce) = (Interval::range(b"b", b"d"), Interval::range(b"c", b"e"));
        assert_eq!(bd.clone().within(ce.clone()), Interval::range(b"c", b"d"));
        assert_eq!(bd.clone().within(Interval::all()), bd);
        assert_eq!(Interval::all().within(bd.clone()), bd);
        assert!(bd.within(Interval::prefix(b"x")).is_empty());
        assert!(!ce.is_empty());
    }

    #[test]
    fn covering_and_overlapping() {
        let (bd, cc) = (Interval::range(b"b", b"d"), Interval::range(b"c", b"c"));
        assert!(cc.is_empty() && bd.covers(&cc) && !bd.overlaps(&cc));
        assert!(Interval::all().covers(&bd) && !bd.covers(&Interval::all()));
        assert!(bd.overlaps(&Interval::range(b"c", b"z")));
        assert!(!bd.overlaps(&Interval::range(b"d", b"z")));
        assert!(bd.overlaps(&Interval::all()));
        assert_eq!(bd.merged(&Interval::range(b"d", b"f")), Some(Interval::range(b"b", b"f")));
        assert_eq!(bd.merged(&Interval::range(b"a", b"c")), Some(Interval::range(b"a", b"d")));
        assert_eq!(bd.merged(&Interval::range(b"e", b"f")), None);
        assert_eq!(bd.merged(&Interval::prefix(b"\xff")), None);
        assert_eq!(Interval::all().merged(&bd), Some(Interval::all()));
    }
}
