//! A value as readers get it: a handle on the record, so that reading copies nothing.

use std::fmt;
use std::ops::Deref;

use crate::step::{Fetch, Pause, Step};
use crate::store::record::Record;
use crate::types::{Revision, ValueKind, Version};

/// A value that was read. Cheap to clone; dereferences to its bytes.
///
/// It stays what it was, whatever happens to the key meanwhile.
#[derive(Clone)]
pub struct Value(Record);

impl Value {
    /// The record's value, unless it has to be fetched first.
    pub(crate) fn of(record: &Record) -> Step<Value> {
        debug_assert!(!record.is_tombstone());
        match record.place() {
            None => Ok(Value(record.clone())),
            Some(place) => Err(Pause::Fetch(Box::new(Fetch::value(record, place)))),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.value_bytes()
    }

    /// What it is, beyond its bytes.
    pub fn kind(&self) -> ValueKind {
        self.0.kind()
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.kind() == other.kind() && self.bytes() == other.bytes()
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({:?} \"{}\")", self.kind(), self.bytes().escape_ascii())
    }
}

/// What is known of a key's current state without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Its version; of a transaction's own write, the one it will get.
    pub version: Version,
    /// The commit that made it; none for a transaction's own write.
    pub revision: Option<Revision>,
    /// What the value is.
    pub kind: ValueKind,
    /// The value's length.
    pub value_bytes: usize,
    /// When it was committed, in milliseconds since the Unix epoch; none for an own write.
    pub updated_ms: Option<u64>,
    /// How long it has to live, in milliseconds; none is without end. Counted from when it was
    /// judged that it is there, so that it repeats as other reads do; for an own write from now,
    /// and 0 when its time is over before it is committed.
    pub ttl_ms: Option<u64>,
    /// When it expires, in milliseconds since the Unix epoch; none is never.
    pub expires_ms: Option<u64>,
}

impl Meta {
    /// Of a committed version that was judged to be there at this time.
    pub(crate) fn committed(record: &Record, judged_ms: u64) -> Meta {
        // A view of the past may not know its time exactly, but it is after the commit.
        let judged_ms = judged_ms.max(record.time_ms());
        let own = Meta::own(record, record.version(), judged_ms);
        Meta {
            revision: Some(record.revision()),
            updated_ms: Some(record.time_ms()),
            // It is there, even if its time has come since.
            ttl_ms: own.ttl_ms.map(|ttl_ms| ttl_ms.max(1)),
            ..own
        }
    }

    /// Whole seconds that it has to live, rounded up; none is without end.
    pub fn ttl_s(&self) -> Option<u64> {
        self.ttl_ms.map(|ttl_ms| ttl_ms.div_ceil(1000))
    }

    /// Of a transaction's own write, which will get this version.
    pub(crate) fn own(record: &Record, version: Version, now_ms: u64) -> Meta {
        let value_bytes = match record.place() {
            Some(place) => usize::try_from(place.value_bytes).unwrap_or(usize::MAX),
            None => record.value_bytes().len(),
        };
        let expires_ms = record.expires_ms();
        let ttl_ms = expires_ms.map(|expires_ms| expires_ms.saturating_sub(now_ms));
        let kind = record.kind();
        Meta { version, revision: None, kind, value_bytes, updated_ms: None, ttl_ms, expires_ms }
    }
}

/// One version of a key, as HISTORY shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its number.
    pub version: Version,
    /// The commit that made it.
    pub revision: Revision,
    /// When that was, in milliseconds since the Unix epoch.
    pub updated_ms: u64,
    /// The value; none for a delete.
    pub value: Option<Value>,
}

impl Past {
    pub(crate) fn of(record: &Record) -> Step<Past> {
        Ok(Past {
            version: record.version(),
            revision: record.revision(),
            updated_ms: record.time_ms(),
            value: if record.is_tombstone() { None } else { Some(Value::of(record)?) },
        })
    }
}
