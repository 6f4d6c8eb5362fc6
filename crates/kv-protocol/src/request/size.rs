//! Whether the keys and values of a request are within a server's limits.
//!
//! Apart from parsing, because the limits are configured, and because a request that is too big is
//! well formed: the connection goes on.

use crate::error_code::ErrorCode;
use crate::limits::SizeLimits;
use crate::reply::ErrorReply;
use crate::request::{Interval, Request, Selection, ValueCondition};
use crate::units::SizeText;
use crate::word::Shown;

impl Request<'_> {
    /// Checks every key and value against the limits; TOOBIG names the one that is over.
    ///
    /// A prefix or a bound of a range is measured as a key: a longer one could match nothing.
    #[inline]
    pub fn check_sizes(&self, limits: &SizeLimits) -> Result<(), ErrorReply> {
        match self {
            Request::Put { key, value, .. } => {
                check_key(key, limits)?;
                check_value(value, limits, || format!("the value of {}", Shown(key)))
            }
            Request::Scan(selection) | Request::Count(selection) => {
                check_selection(selection, limits)
            }
            Request::Nearest(nearest) => {
                nearest.prefix.as_ref().map_or(Ok(()), |prefix| check_key(prefix, limits))
            }
            other => other.key().map_or(Ok(()), |key| check_key(key, limits)),
        }
    }
}

fn check_selection(selection: &Selection<'_>, limits: &SizeLimits) -> Result<(), ErrorReply> {
    match &selection.interval {
        Interval::All => {}
        Interval::Prefix(prefix) => check_key(prefix, limits)?,
        Interval::Range { from, to } => {
            check_key(from, limits)?;
            check_key(to, limits)?;
        }
    }
    match &selection.value {
        Some(ValueCondition::Equal(value)) => check_compared(value, limits)?,
        Some(ValueCondition::Range { from, to }) => {
            check_compared(from, limits)?;
            check_compared(to, limits)?;
        }
        // A pattern and a number have limits of their own, which the engine knows.
        Some(ValueCondition::Matches(_) | ValueCondition::Number { .. }) | None => {}
    }
    selection.after.as_ref().map_or(Ok(()), |after| check_key(after, limits))
}

fn check_compared(value: &[u8], limits: &SizeLimits) -> Result<(), ErrorReply> {
    check_value(value, limits, || format!("the value {} to compare with", Shown(value)))
}

#[inline]
fn check_value(
    value: &[u8],
    limits: &SizeLimits,
    what: impl FnOnce() -> String,
) -> Result<(), ErrorReply> {
    if value.len() <= limits.value_bytes_max {
        return Ok(());
    }
    Err(too_big(&what(), value.len(), limits.value_bytes_max, "--max-value"))
}

#[inline]
fn check_key(key: &[u8], limits: &SizeLimits) -> Result<(), ErrorReply> {
    if key.len() <= limits.key_bytes_max {
        return Ok(());
    }
    let what = format!("the key {}", Shown(key));
    Err(too_big(&what, key.len(), limits.key_bytes_max, "--max-key"))
}

#[cold]
fn too_big(what: &str, bytes: usize, bytes_max: usize, flag: &str) -> ErrorReply {
    let limit = SizeText(bytes_max as u64);
    ErrorReply::new(
        ErrorCode::TooBig,
        format!("{what} has {bytes} bytes; at most {limit} are allowed ({flag} of the server)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SizeLimits = SizeLimits { key_bytes_max: 4, value_bytes_max: 6 };

    fn check(line: &str) -> Result<(), ErrorReply> {
        Request::parse(line.as_bytes()).unwrap().unwrap().check_sizes(&LIMITS)
    }

    #[test]
    fn the_limits_are_exact() {
        for line in ["PUT 1234 123456", "GET 1234", "SCAN PREFIX 1234 VALUE EQ 123456", "PING"] {
            assert_eq!(check(line), Ok(()), "{line}");
        }
        for line in [
            "PUT 12345 1",
            "PUT 1234 1234567",
            "GET 12345",
            "DEL 12345",
            "EXISTS 12345",
            "INCR 12345",
            "META 12345",
            "EXPIRE 12345 1",
            "PERSIST 12345",
            "TTL 12345",
            "HISTORY 12345",
            "SCAN PREFIX 12345",
            "COUNT RANGE 1 12345",
            "COUNT RANGE 12345 2",
            "SCAN AFTER 12345",
            "SCAN VALUE EQ 1234567",
            "COUNT VALUE RANGE 1 1234567",
            "NEAREST 5 1 PREFIX 12345",
        ] {
            assert_eq!(check(line).unwrap_err().code, ErrorCode::TooBig, "{line}");
        }
    }

    #[test]
    fn the_text_names_what_is_too_big_and_the_limit() {
        assert_eq!(
            check("PUT 1234 1234567").unwrap_err().text,
            "the value of \"1234\" has 7 bytes; at most 6 are allowed (--max-value of the server)"
        );
    }
}
