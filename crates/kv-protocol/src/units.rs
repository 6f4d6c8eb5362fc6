//! Durations and sizes as people write them: `250ms` `5s` `1m` `1h` `30d` `0`, and `512mb` `2gb`.
//!
//! Requests (`BEGIN … WAIT 250ms`) and the server's configuration read the same words, so that
//! what works in one place works in the other. Points in time are [`time`](crate::time)'s.

use std::fmt;
use std::time::Duration;

/// The units of a duration in milliseconds, the largest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The units of a size in bytes, the largest first. A `kb` is 1024 bytes.
const SIZE_UNITS: [(&str, u64); 4] =
    [("tb", 1 << 40), ("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)];

/// Why a word is not a duration or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// Not a duration as it is written here.
    NotADuration,
    /// Not a size as it is written here.
    NotASize,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnitError::NotADuration => "expected a duration such as 250ms, 5s, 1m, 1h, 30d or 0",
            UnitError::NotASize => "expected a size such as 65536, 64kb, 512mb or 2gb",
        })
    }
}

impl std::error::Error for UnitError {}

/// Reads a duration: a whole number and one of `ms` `s` `m` `h` `d`, in either case, or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split_number(text).ok_or(UnitError::NotADuration)?;
    let unit_ms = match unit {
        "" if number == 0 => 1,
        _ => lookup(&DURATION_UNITS, unit).ok_or(UnitError::NotADuration)?,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or(UnitError::NotADuration)
}

/// Reads a size in bytes: a whole number, alone or with one of `kb` `mb` `gb` `tb` (powers of
/// 1024), in either case.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split_number(text).ok_or(UnitError::NotASize)?;
    let unit_bytes = match unit {
        "" => 1,
        _ => lookup(&SIZE_UNITS, unit).ok_or(UnitError::NotASize)?,
    };
    number.checked_mul(unit_bytes).ok_or(UnitError::NotASize)
}

/// A duration as [`parse_duration`] reads it, in the largest unit that is exact. What is finer
/// than a millisecond is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub Duration);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        write_units(f, &DURATION_UNITS, ms)
    }
}

/// A size in bytes as [`parse_size`] reads it, in the largest unit that is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeText(pub u64);

impl fmt::Display for SizeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_units(f, &SIZE_UNITS, self.0)
    }
}

fn write_units(f: &mut fmt::Formatter<'_>, units: &[(&str, u64)], amount: u64) -> fmt::Result {
    match units.iter().find(|(_, unit)| amount > 0 && amount.is_multiple_of(*unit)) {
        Some((name, unit)) => write!(f, "{}{name}", amount / unit),
        None => write!(f, "{amount}"),
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((parse_u64(number.as_bytes())?, unit))
}

fn lookup(units: &[(&str, u64)], name: &str) -> Option<u64> {
    units.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(name)).map(|(_, size)| *size)
}

/// An unsigned decimal number: digits only, no sign.
pub(crate) fn parse_u64(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// A signed decimal number: digits, with a `-` before them or not.
pub(crate) fn parse_i64(word: &[u8]) -> Option<i64> {
    match word.strip_prefix(b"-") {
        None => parse_u64(word)?.try_into().ok(),
        Some(digits) => 0i64.checked_sub_unsigned(parse_u64(digits)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ms) in [
            ("250ms", 250),
            ("5s", 5000),
            ("1m", 60_000),
            ("1h", 3_600_000),
            ("30d", 30 * 86_400_000),
            ("0", 0),
            ("0ms", 0),
            ("5S", 5000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "5w", "1m30s", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), Err(UnitError::NotADuration), "{text}");
        }
        assert!(parse_duration("18446744073709551615d").is_err());
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("64kb", 65536),
            ("512mb", 512 << 20),
            ("2GB", 2 << 30),
            ("1tb", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "mb", "-1", "1.5gb", "1 gb", "1pb", "18446744073709551615kb", "1b"] {
            assert_eq!(parse_size(text), Err(UnitError::NotASize), "{text}");
        }
    }

    #[test]
    fn the_largest_exact_unit_is_shown() {
        assert_eq!(DurationText(Duration::from_secs(90)).to_string(), "90s");
        assert_eq!(DurationText(Duration::from_secs(3600)).to_string(), "1h");
        assert_eq!(DurationText(Duration::ZERO).to_string(), "0");
        assert_eq!(SizeText(40 << 20).to_string(), "40mb");
        assert_eq!(SizeText(1000).to_string(), "1000");
        assert_eq!(SizeText(0).to_string(), "0");
    }

    #[test]
    fn numbers_are_exact_at_their_ends() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_i64(b"9223372036854775808"), None);
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"-9223372036854775809"), None);
        for word in [&b""[..], b"-", b"+1", b"1x", b"--1", b" 1"] {
            assert_eq!((parse_u64(word), parse_i64(word)), (None, None));
        }
    }

    proptest! {
        #[test]
        fn showing_is_the_inverse_of_reading(number: u64) {
            let duration = Duration::from_millis(number);
            prop_assert_eq!(parse_duration(&DurationText(duration).to_string()), Ok(duration));
            prop_assert_eq!(parse_size(&SizeText(number).to_string()), Ok(number));
        }
    }
}
