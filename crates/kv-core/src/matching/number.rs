//! Numbers as they stand in values, compared exactly.
//!
//! A number is kept as its decimal digits, so that neither 2^53 + 1 nor 0.1 loses anything. Only
//! the difference of two numbers that are far apart in size, which the k nearest need, is taken in
//! floating point.

use std::cmp::Ordering;

use smallvec::SmallVec;

use crate::error::Error;
use crate::limits::{NUMBER_BYTES_MAX, NUMBER_EXPONENT_DIGITS_MAX};
use crate::types::{ValueKind, show_key};

/// A decimal number: `0.digits × 10^magnitude`, with its sign.
///
/// Equal numbers are the same: the digits begin and end with one that is not zero, and zero has no
/// digits, no sign and the magnitude 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    is_negative: bool,
    magnitude: i64,
    /// ASCII.
    digits: SmallVec<[u8; 24]>,
}

impl Number {
    /// Reads `[+|-]digits[.digits][e[+|-]digits]`: JSON's numbers, and leading zeros and a plus
    /// besides. None for anything else: spaces, `inf`, `nan`, `.5`, a text of more than
    /// [`NUMBER_BYTES_MAX`] bytes, or an exponent of more than [`NUMBER_EXPONENT_DIGITS_MAX`]
    /// digits.
    pub fn parse(text: &[u8]) -> Option<Number> {
        if text.len() > NUMBER_BYTES_MAX {
            return None;
        }
        let (is_negative, unsigned) = signed(text);
        let (mantissa, exponent) = match split(unsigned, |byte| matches!(byte, b'e' | b'E')) {
            (mantissa, None) => (mantissa, 0),
            (mantissa, Some(text)) => (mantissa, exponent(text)?),
        };
        let (whole, fraction) = split(mantissa, |byte| byte == b'.');
        if !is_digits(whole) || !fraction.is_none_or(is_digits) {
            return None;
        }
        let all = || whole.iter().chain(fraction.unwrap_or_default()).copied();
        let zeros = all().take_while(|&digit| digit == b'0').count();
        let mut digits: SmallVec<[u8; 24]> = all().skip(zeros).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Number { is_negative: false, magnitude: 0, digits });
        }
        // Both are below NUMBER_BYTES_MAX.
        let magnitude = whole.len() as i64 - zeros as i64 + exponent;
        Some(Number { is_negative, magnitude, digits })
    }

    /// Reads the number that a request must name.
    ///
    /// # Errors
    ///
    /// [`Error::Condition`] if it is none.
    pub fn needed(text: &[u8]) -> Result<Number, Error> {
        Number::parse(text).ok_or_else(|| {
            let text = show_key(text);
            Error::Condition(format!("{text} is not a number such as 5, -0.5 or 1e9"))
        })
    }

    /// The number that a value is. A JSON value may have white space around it, as JSON may.
    pub fn of_value(value: &[u8], kind: ValueKind) -> Option<Number> {
        match kind {
            ValueKind::Text => Number::parse(value),
            ValueKind::Json => {
                let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
                let from = value.iter().position(|byte| !is_space(byte))?;
                let last = value.iter().rposition(|byte| !is_space(byte))?;
                Number::parse(&value[from..=last])
            }
        }
    }

    /// The same on the other side of zero.
    pub(crate) fn negated(mut self) -> Number {
        self.is_negative = !self.is_negative && !self.digits.is_empty();
        self
    }

    /// Compares this number's distances from one that is not above it and one that is not below.
    /// Exact if the three have no more than 37 digits from the first to the last place that any
    /// of them has.
    pub(crate) fn compare_distances(&self, below: &Number, above: &Number) -> Ordering {
        debug_assert!(below <= self && self <= above);
        self.compare_exactly(below, above).unwrap_or_else(|| {
            let [x, below, above] = [self, below, above].map(Number::approximate);
            (x - below).total_cmp(&(above - x))
        })
    }

    /// `x - below` is to `above - x` as `2x` is to `below + above`.
    fn compare_exactly(&self, below: &Number, above: &Number) -> Option<Ordering> {
        let last_places = [self, below, above].into_iter().filter_map(Number::last_place);
        let unit = last_places.min().unwrap_or(0);
        let twice = self.in_units(unit)?.checked_mul(2)?;
        Some(twice.cmp(&below.in_units(unit)?.checked_add(above.in_units(unit)?)?))
    }

    /// The power of ten of the last digit; none for zero.
    fn last_place(&self) -> Option<i64> {
        (!self.digits.is_empty()).then(|| self.magnitude - self.digits.len() as i64)
    }

    /// As a multiple of `10^unit`, if that fits. The last place must not be below that.
    fn in_units(&self, unit: i64) -> Option<i128> {
        let Some(place) = self.last_place() else { return Some(0) };
        let scale = 10_i128.checked_pow(u32::try_from(place - unit).ok()?)?;
        let text = std::str::from_utf8(&self.digits).ok()?;
        let scaled = text.parse::<i128>().ok()?.checked_mul(scale)?;
        Some(if self.is_negative { -scaled } else { scaled })
    }

    fn approximate(&self) -> f64 {
        let sign = if self.is_negative { "-" } else { "" };
        let digits = String::from_utf8_lossy(&self.digits);
        format!("{sign}0.{digits}e{}", self.magnitude).parse().unwrap_or(0.0)
    }

    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let size = |number: &Number| number.magnitude;
        let farther = || size(self).cmp(&size(other)).then_with(|| self.digits.cmp(&other.digits));
        self.sign().cmp(&other.sign()).then_with(|| match self.is_negative {
            false => farther(),
            true => farther().reverse(),
        })
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn signed(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

/// What stands before the first byte that is meant, and after it.
fn split(text: &[u8], is_meant: impl Fn(u8) -> bool) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| is_meant(byte)) {
        None => (text, None),
        Some(at) => (&text[..at], Some(&text[at + 1..])),
    }
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = signed(text);
    if !is_digits(digits) || digits.len() > NUMBER_EXPONENT_DIGITS_MAX {
        return None;
    }
    let exponent: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if is_negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn texts_of_equal_numbers_are_equal() {
        for same in [
            &["0", "-0", "+0", "0.00", "0e5", "000"][..],
            &["5", "+5", "005", "5.0", "5e0", "0.5e1", "50E-1", "500e-0002"],
            &["-0.001", "-1e-3", "-0.0010"],
            &["9007199254740993", "9007199254740993.0"],
        ] {
            same.iter().for_each(|text| assert_eq!(number(text), number(same[0]), "{text}"));
        }
    }

    #[test]
    fn numbers_are_in_order_whatever_their_size() {
        let ascending = [
            "-1e999999999",
            "-10.5",
            "-10",
            "-9",
            "-0.1",
            "-1e-9",
            "0",
            "1e-999999999",
            "0.09",
            "0.1",
            "0.1000000000000000055511151231257827",
            "1",
            "9",
            "10",
            "9007199254740992",
            "9007199254740993",
            "170141183460469231731687303715884105728",
            "1e400",
        ];
        for (at, text) in ascending.iter().enumerate() {
            for (other_at, other) in ascending.iter().enumerate() {
                assert_eq!(number(text).cmp(&number(other)), at.cmp(&other_at), "{text} {other}");
            }
        }
    }

    #[test]
    fn everything_else_is_no_number() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "e",
            "5.",
            ".5",
            "1e",
            "1e+",
            "e5",
            "1.e5",
            "--1",
            "+-1",
            " 1",
            "1 ",
            "1\n",
            "0x10",
            "1_000",
            "1,5",
            "inf",
            "-inf",
            "nan",
            "NaN",
            "Infinity",
            "1e1.5",
            "1e1234567890",
            "1.2.3",
            "1e5e5",
            "\"5\"",
            "٣",
        ] {
            assert_eq!(Number::parse(text.as_bytes()), None, "{text}");
        }
        assert!(Number::parse(&[b'1'; NUMBER_BYTES_MAX]).is_some());
        assert!(Number::parse(&[b'1'; NUMBER_BYTES_MAX + 1]).is_none());
    }

    #[test]
    fn only_json_may_have_white_space_around_it() {
        assert_eq!(Number::of_value(b" 5\n", ValueKind::Json), Some(number("5")));
        assert_eq!(Number::of_value(b" 5\n", ValueKind::Text), None);
        for value in [&b""[..], b" ", b"null", b"\"5\"", b"[5]", b"true"] {
            assert_eq!(Number::of_value(value, ValueKind::Json), None);
        }
    }

    #[test]
    fn distances_are_exact_where_floating_point_would_err() {
        let compare = |x: &str, below: &str, above: &str| {
            number(x).compare_distances(&number(below), &number(above))
        };
        assert_eq!(compare("5", "4", "6"), Ordering::Equal);
        assert_eq!(compare("0.3", "0.2", "0.4"), Ordering::Equal);
        assert_eq!(compare("0", "-1", "1"), Ordering::Equal);
        let (x, below, above) = ("9007199254740993", "9007199254740991", "9007199254740994");
        assert_eq!(compare(x, below, above), Ordering::Greater);
        assert_eq!(compare("1e300", "-1", "3e300"), Ordering::Less);
        assert_eq!(compare("1e-300", "-1e300", "1e290"), Ordering::Greater);
    }

    proptest! {
        #[test]
        fn short_numbers_compare_as_integers_do(one: i64, other: i64, x: i64) {
            let text = |number: i64| Number::parse(number.to_string().as_bytes()).unwrap();
            prop_assert_eq!(text(one).cmp(&text(other)), one.cmp(&other));
            prop_assert_eq!(text(one).negated().cmp(&text(0)), 0.cmp(&one));
            let mut sorted = [one, other, x];
            sorted.sort_unstable();
            let [below, x, above] = sorted;
            let expected = x.abs_diff(below).cmp(&above.abs_diff(x));
            prop_assert_eq!(text(x).compare_distances(&text(below), &text(above)), expected);
        }

        #[test]
        fn floats_compare_as_floats_do(one: f64, other: f64) {
            let text = |number: f64| Number::parse(format!("{number:e}").as_bytes());
            if let (Some(a), Some(b)) = (text(one), text(other)) {
                prop_assert_eq!(Some(a.cmp(&b)), one.partial_cmp(&other));
            }
        }
    }
}
