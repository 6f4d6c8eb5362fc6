//! What a write command does to a key, given the key's state: pure decisions, no locks.

use crate::error::Error;
use crate::step::Step;
use crate::store::record::Record;
use crate::types::{Condition, ValueKind, Version};
use crate::value::Value;

/// Bytes of the longest 64-bit integer, its sign included.
const INTEGER_DIGITS_MAX: usize = 20;

/// A write command, ready to be decided.
#[derive(Debug)]
pub(crate) enum Write {
    /// Store this. The record was built before any latch was taken; it is given out once, so that
    /// nobody else shares it when it is stamped.
    Put { record: Option<Record>, condition: Option<Condition> },
    /// Delete what is there.
    Delete { if_version: Option<Version> },
    /// Add to the integer that is there; nothing counts as 0.
    Add { by: i64 },
}

/// What a write command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    /// There was nothing to delete.
    NotThere,
    /// The sum.
    Sum(i64),
}

/// The state of a key as the writer sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current<'a> {
    /// What is there; none for a missing or deleted key.
    pub(crate) record: Option<&'a Record>,
    /// Its version, or the one that the writer's own write will get; 0 if nothing is there.
    pub(crate) version: Version,
}

impl<'a> Current<'a> {
    /// `own` is the transaction's own write, if it has one; `newest` what is committed.
    pub(crate) fn new(own: Option<&'a Record>, newest: Option<&'a Record>) -> Current<'a> {
        let record = own.or(newest).filter(|record| !record.is_tombstone());
        let version = match (record, own) {
            (None, _) => Version(0),
            (Some(_), Some(_)) => next_version(newest),
            (Some(record), None) => record.version(),
        };
        Current { record, version }
    }
}

/// The version that a change of the key will get.
pub(crate) fn next_version(newest: Option<&Record>) -> Version {
    Version(newest.map_or(0, |record| record.version().0) + 1)
}

impl Write {
    /// Whether the answer depends on the key's state. A plain PUT's does not.
    pub(crate) fn shows_state(&self) -> bool {
        !matches!(self, Write::Put { condition: None, .. })
    }

    /// Bytes of key and value that it writes at most.
    pub(crate) fn data_bytes_max(&self, key: &[u8]) -> usize {
        match self {
            Write::Put { record, .. } => record.as_ref().map_or(key.len(), Record::data_bytes),
            Write::Delete { .. } => key.len(),
            Write::Add { .. } => key.len() + INTEGER_DIGITS_MAX,
        }
    }

    /// The answer, and the record to write, if any.
    pub(crate) fn decide(
        &mut self,
        key: &[u8],
        current: Current<'_>,
    ) -> Step<(Written, Option<Record>)> {
        let condition = match self {
            Write::Put { condition, .. } => *condition,
            Write::Delete { if_version } => if_version.map(Condition::Version),
            Write::Add { .. } => None,
        };
        if let Some(condition) = condition.filter(|demand| !demand.is_met_by(current.version)) {
            let current = current.version;
            return Err(Error::Precondition { key: key.into(), condition, current }.into());
        }
        match self {
            Write::Put { record, .. } => Ok((Written::Done, record.take())),
            Write::Delete { .. } if current.record.is_none() => Ok((Written::NotThere, None)),
            Write::Delete { .. } => Ok((Written::Done, Some(Record::tombstone(key)))),
            Write::Add { by } => {
                let (sum, kind) = add(key, current, *by)?;
                let version = Version(current.version.0 + 1);
                let record = Record::value_for(key, sum.to_string().as_bytes(), kind, version);
                Ok((Written::Sum(sum), Some(record)))
            }
        }
    }
}

fn add(key: &[u8], current: Current<'_>, by: i64) -> Step<(i64, ValueKind)> {
    let Some(record) = current.record else { return Ok((by, ValueKind::Text)) };
    let value = Value::of(record)?;
    let Some(number) = integer(&value) else {
        return Err(Error::NotAnInteger(key.into()).into());
    };
    let sum = number.checked_add(by).ok_or_else(|| Error::Overflow(key.into()))?;
    Ok((sum, value.kind()))
}

/// An integer as INCR writes it: no blanks, no plus sign, no zero in front.
fn integer(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let is_plain = text == "0" || !text.trim_start_matches('-').starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Revision;

    fn committed(value: &[u8], version: u64) -> Record {
        let mut record = Record::value(b"k", value, ValueKind::Text);
        record.stamp(Revision(version), Version(version), 0);
        record
    }

    #[test]
    fn own_writes_count_as_the_version_they_will_get() {
        let (newest, own) = (committed(b"1", 4), Record::value(b"k", b"2", ValueKind::Text));
        assert_eq!(Current::new(None, Some(&newest)).version, Version(4));
        assert_eq!(Current::new(Some(&own), Some(&newest)).version, Version(5));
        assert_eq!(Current::new(Some(&own), None).version, Version(1));
        let deleted = Record::tombstone(b"k");
        assert_eq!(Current::new(Some(&deleted), Some(&newest)).version, Version(0));
    }

    #[test]
    fn integers_are_strict() {
        assert_eq!(integer(b"-7"), Some(-7));
        assert_eq!(integer(b"0"), Some(0));
        assert_eq!(integer(b"\xff"), None);
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        for wrong in [&b"+7"[..], b" 7", b"7 ", b"", b"7.0", b"007", b"-0", b"9223372036854775808"]
        {
            assert_eq!(integer(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
