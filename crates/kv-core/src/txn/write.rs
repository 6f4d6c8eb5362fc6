//! What a write command does to a key, given the key's state: pure decisions, no locks.

use crate::durability::Datum;
use crate::error::Error;
use crate::step::Step;
use crate::store::record::Record;
use crate::types::{Condition, ValueKind, Version};
use crate::value::Value;

/// What is to become of a key, as [`Session::modify`](crate::Session::modify) is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Nothing is changed, and no version made.
    Keep,
    /// It is deleted, if it is there.
    Delete,
    /// It gets this value.
    Put {
        /// The bytes.
        value: Vec<u8>,
        /// What they are.
        kind: ValueKind,
        /// When it expires, in milliseconds since the Unix epoch; none is never.
        expires_ms: Option<u64>,
    },
}

/// Decides a change, given the value that is there. Called again if the write has to pause.
pub(crate) type Decide<'a> = &'a mut dyn FnMut(Option<Datum<'_>>) -> Result<Update, Error>;

/// Bytes of the longest 64-bit integer, its sign included.
const INTEGER_DIGITS_MAX: usize = 20;

/// A write command, ready to be decided.
pub(crate) enum Write<'a> {
    /// Store this. The record was built before any latch was taken; it is given out once, so that
    /// nobody else shares it when it is stamped.
    Put { record: Option<Record>, condition: Option<Condition> },
    /// Delete what is there.
    Delete { if_version: Option<Version> },
    /// Add to the integer that is there; nothing counts as 0. It keeps its time to live.
    Add { by: i64 },
    /// Give what is there another time to live; none is without end.
    Expire { expires_ms: Option<u64> },
    /// Whatever the caller decides, given what is there.
    Modify {
        decide: Decide<'a>,
        /// Bytes of the longest value that it may decide for, if that is known.
        value_bytes_max: Option<usize>,
    },
}

/// What a write command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    /// There was nothing to delete, or to give a time to live.
    NotThere,
    /// The sum.
    Sum(i64),
}

/// The state of a key as the writer sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current<'a> {
    /// What is there; none for a missing, deleted or expired key.
    pub(crate) record: Option<&'a Record>,
    /// Its version, or the one that the writer's own write will get; 0 if nothing is there.
    pub(crate) version: Version,
}

impl<'a> Current<'a> {
    /// `own` is the transaction's own write, if it has one; `newest` what is committed, of which
    /// `is_live` says whether it is there. An own value is there whatever its time to live: that
    /// ends after everything that the transaction judges by.
    pub(crate) fn new(
        own: Option<&'a Record>,
        newest: Option<&'a Record>,
        is_live: impl FnOnce(&Record) -> bool,
    ) -> Current<'a> {
        let record = match own {
            Some(own) => Some(own).filter(|own| !own.is_tombstone()),
            None => newest.filter(|newest| is_live(newest)),
        };
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

impl Write<'_> {
    /// Whether the answer depends on the key's state. A plain PUT's does not.
    pub(crate) fn shows_state(&self) -> bool {
        !matches!(self, Write::Put { condition: None, .. })
    }

    /// Bytes of key and value that it writes at most; none if that depends on what is there.
    pub(crate) fn data_bytes_max(&self, key: &[u8]) -> Option<usize> {
        match self {
            Write::Put { record, .. } => {
                Some(record.as_ref().map_or(key.len(), Record::data_bytes))
            }
            Write::Delete { .. } => Some(key.len()),
            Write::Add { .. } => Some(key.len() + INTEGER_DIGITS_MAX),
            Write::Modify { value_bytes_max, .. } => value_bytes_max.map(|max| key.len() + max),
            Write::Expire { .. } => None,
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
            Write::Add { .. } | Write::Expire { .. } | Write::Modify { .. } => None,
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
                let expires_ms = current.record.and_then(Record::expires_ms);
                let digits = sum.to_string();
                let datum = Datum { bytes: digits.as_bytes(), kind, expires_ms };
                let record = Record::value_for(key, datum, Version(current.version.0 + 1));
                Ok((Written::Sum(sum), Some(record)))
            }
            Write::Expire { expires_ms } => {
                let Some(record) = current.record else { return Ok((Written::NotThere, None)) };
                let value = Value::of(record)?;
                let expires_ms = *expires_ms;
                let datum = Datum { bytes: value.bytes(), kind: value.kind(), expires_ms };
                let record = Record::value_for(key, datum, Version(current.version.0 + 1));
                Ok((Written::Done, Some(record)))
            }
            Write::Modify { decide, .. } => Ok((Written::Done, modified(key, current, decide)?)),
        }
    }
}

fn modified(key: &[u8], current: Current<'_>, decide: Decide<'_>) -> Step<Option<Record>> {
    let value = current.record.map(Value::of).transpose()?;
    let expires_ms = current.record.and_then(Record::expires_ms);
    let datum = |value| Datum { bytes: Value::bytes(value), kind: value.kind(), expires_ms };
    Ok(match decide(value.as_ref().map(datum))? {
        Update::Keep => None,
        Update::Delete => current.record.map(|_| Record::tombstone(key)),
        Update::Put { value, kind, expires_ms } => {
            let datum = Datum { bytes: &value, kind, expires_ms };
            Some(Record::value_for(key, datum, Version(current.version.0 + 1)))
        }
    })
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

    fn version_of(own: Option<&Record>, newest: Option<&Record>) -> Version {
        Current::new(own, newest, |newest| newest.is_live(|| 1000)).version
    }

    fn expiring(at_ms: u64) -> Record {
        let datum = Datum { bytes: b"1", kind: ValueKind::Json, expires_ms: Some(at_ms) };
        Record::value_for(b"k", datum, Version(4))
    }

    #[test]
    fn own_writes_count_as_the_version_they_will_get() {
        let (newest, own) = (committed(b"1", 4), Record::value(b"k", b"2", ValueKind::Text));
        assert_eq!(version_of(None, Some(&newest)), Version(4));
        assert_eq!(version_of(Some(&own), Some(&newest)), Version(5));
        assert_eq!(version_of(Some(&own), None), Version(1));
        assert_eq!(version_of(Some(&Record::tombstone(b"k")), Some(&newest)), Version(0));
    }

    #[test]
    fn what_has_expired_is_version_0_and_its_numbers_go_on() {
        let mut newest = expiring(1000);
        newest.stamp(Revision(4), Version(4), 0);
        assert_eq!(version_of(None, Some(&newest)), Version(0));
        assert_eq!(next_version(Some(&newest)), Version(5));
        let own = expiring(1000);
        assert_eq!(version_of(Some(&own), Some(&newest)), Version(5), "own writes are there");
    }

    #[test]
    fn an_addition_keeps_the_time_to_live_and_expire_changes_it() {
        let newest = expiring(1001);
        let current = Current { record: Some(&newest), version: Version(4) };
        let decide = |mut write: Write<'_>| write.decide(b"k", current).expect("it can be decided");
        let (sum, added) = decide(Write::Add { by: 1 });
        let added = added.expect("an addition writes");
        let kept = Datum { bytes: b"2", kind: ValueKind::Json, expires_ms: Some(1001) };
        assert_eq!((sum, added.datum()), (Written::Sum(2), kept));
        for expires_ms in [None, Some(7)] {
            let (_, record) = decide(Write::Expire { expires_ms });
            let record = record.expect("the same value is written");
            assert_eq!(record.datum(), Datum { expires_ms, ..newest.datum() });
        }
        let nothing = Current { record: None, version: Version(0) };
        let decided = Write::Expire { expires_ms: Some(7) }.decide(b"k", nothing);
        assert!(matches!(decided, Ok((Written::NotThere, None))));
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
