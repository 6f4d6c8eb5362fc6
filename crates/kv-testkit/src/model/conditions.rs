//! What SCAN, COUNT and NEAREST ask for, evaluated as it would be explained.
//!
//! A pattern is read as characters that are taken so and so often, and whatever could be taken is
//! tried. Regular expressions may be no more than that: characters, `.` and brackets, each with a
//! `*`, `+` or `?` at most, between `^` and `$` or not. A number is counted in millionths.

use super::{Bytes, Interval, Model, Refusal};

/// Digits after the point that numbers may have.
const PLACES: u32 = 6;
/// The most rows of a NEAREST.
pub const NEAREST_MAX: u64 = 10_000;

/// What must hold for a pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// For its key.
    pub key: Option<Pattern>,
    /// For its value.
    pub value: Option<ValueCondition>,
}

/// What a text must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// MATCH.
    Glob(String),
    /// REGEX.
    Regex(String),
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueCondition {
    /// VALUE EQ.
    Equal(String),
    /// VALUE MATCH or VALUE REGEX.
    Matches(Pattern),
    /// VALUE RANGE: the first value, and the first that is not in it any more.
    Range(String, String),
    /// VALUE NUMBER: the least and the greatest.
    Number(String, String),
}

/// Characters, taken so often.
struct Piece {
    takes: Takes,
    least: usize,
    most: usize,
}

enum Takes {
    One(char),
    Any,
    /// All but the end of a line.
    AnyInLine,
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern that was read.
struct Reading {
    pieces: Vec<Piece>,
    from_start: bool,
    to_end: bool,
}

/// With conditions.
impl Model {
    /// SCAN, of the pairs that meet the conditions.
    ///
    /// # Errors
    /// As the command would.
    pub fn select(
        &self,
        client: u32,
        id: Option<u64>,
        interval: &Interval,
        conditions: &Conditions,
    ) -> Result<Vec<(Bytes, Bytes)>, Refusal> {
        conditions.check()?;
        let all = Interval { limit: None, ..interval.clone() };
        let pairs = self.scan(client, id, &all)?.into_iter();
        let selected = pairs.filter(|(key, value)| conditions.hold(key, value));
        Ok(selected.take(interval.limit.unwrap_or(usize::MAX)).collect())
    }

    /// NEAREST.
    ///
    /// # Errors
    /// As the command would.
    pub fn nearest(
        &self,
        client: u32,
        id: Option<u64>,
        x: &str,
        rows: u64,
        interval: &Interval,
    ) -> Result<Vec<(Bytes, Bytes)>, Refusal> {
        let x = millionths(x).ok_or(Refusal::Argument)?;
        if rows > NEAREST_MAX {
            return Err(Refusal::Limit);
        }
        let pairs = self.scan(client, id, interval)?.into_iter();
        let distance = |value: &[u8]| millionths(&text(value)).map(|number| (number - x).abs());
        let mut numbers: Vec<_> =
            pairs.filter_map(|(key, value)| Some((distance(&value)?, key, value))).collect();
        numbers.sort();
        Ok(numbers.into_iter().take(rows as usize).map(|(_, key, value)| (key, value)).collect())
    }
}

impl Conditions {
    /// The part of an interval that has to be looked at: keys begin with what stands before the
    /// first wildcard.
    #[must_use]
    pub fn examined(&self, interval: &Interval) -> Interval {
        let Some(Ok(reading)) = self.key.as_ref().map(Pattern::read) else {
            return interval.clone();
        };
        let within = Interval::prefix(&reading.prefix());
        let to = match (&interval.to, within.to) {
            (Some(one), Some(other)) => Some(one.clone().min(other)),
            (one, other) => one.clone().or(other),
        };
        Interval { from: interval.from.clone().max(within.from), to, ..interval.clone() }
    }

    fn check(&self) -> Result<(), Refusal> {
        if let Some(pattern) = &self.key {
            pattern.read()?;
        }
        match &self.value {
            Some(ValueCondition::Matches(pattern)) => pattern.read().map(|_| ()),
            Some(ValueCondition::Number(low, high)) => match (millionths(low), millionths(high)) {
                (Some(low), Some(high)) if low <= high => Ok(()),
                _ => Err(Refusal::Argument),
            },
            Some(ValueCondition::Equal(_) | ValueCondition::Range(..)) | None => Ok(()),
        }
    }

    fn hold(&self, key: &[u8], value: &[u8]) -> bool {
        let of_value = |condition: &ValueCondition| match condition {
            ValueCondition::Equal(wanted) => value == wanted.as_bytes(),
            ValueCondition::Matches(pattern) => pattern.fits(value),
            ValueCondition::Range(from, to) => from.as_bytes() <= value && value < to.as_bytes(),
            ValueCondition::Number(low, high) => {
                let number = millionths(&text(value));
                number.is_some() && millionths(low) <= number && number <= millionths(high)
            }
        };
        self.key.as_ref().is_none_or(|pattern| pattern.fits(key))
            && self.value.as_ref().is_none_or(of_value)
    }
}

impl Pattern {
    fn fits(&self, bytes: &[u8]) -> bool {
        let chars: Vec<char> = text(bytes).chars().collect();
        self.read().is_ok_and(|reading| {
            let starts = if reading.from_start { 0..=0 } else { 0..=chars.len() };
            starts.into_iter().any(|start| reading.fits(&reading.pieces, &chars[start..]))
        })
    }

    fn read(&self) -> Result<Reading, Refusal> {
        let (is_glob, source) = match self {
            Pattern::Glob(source) => (true, source.as_str()),
            Pattern::Regex(source) => (false, source.as_str()),
        };
        let from_start = is_glob || source.starts_with('^');
        let to_end = is_glob || source.ends_with('$');
        let source = if is_glob { source } else { source.trim_matches(['^', '$']) };
        let (mut pieces, mut rest) = (Vec::new(), source.chars());
        while let Some(next) = rest.next() {
            let (takes, least, most) = match next {
                '*' if is_glob => (Takes::Any, 0, usize::MAX),
                '?' if is_glob => (Takes::Any, 1, 1),
                '.' if !is_glob => (Takes::AnyInLine, 1, 1),
                '[' => (class(&mut rest).ok_or(Refusal::Argument)?, 1, 1),
                '\\' => (Takes::One(rest.next().ok_or(Refusal::Argument)?), 1, 1),
                '(' if !is_glob => return Err(Refusal::Argument),
                one => (Takes::One(one), 1, 1),
            };
            let often = rest.as_str().chars().next().filter(|_| !is_glob);
            let (least, most) = match often {
                Some('*') => (0, usize::MAX),
                Some('+') => (1, usize::MAX),
                Some('?') => (0, 1),
                _ => (least, most),
            };
            if matches!(often, Some('*' | '+' | '?')) {
                rest.next();
            }
            pieces.push(Piece { takes, least, most });
        }
        Ok(Reading { pieces, from_start, to_end })
    }
}

impl Reading {
    fn fits(&self, pieces: &[Piece], chars: &[char]) -> bool {
        let Some((piece, rest)) = pieces.split_first() else {
            return !self.to_end || chars.is_empty();
        };
        let most = piece.most.min(chars.len());
        (piece.least..=most).any(|taken| {
            chars[..taken].iter().all(|one| piece.takes.takes(*one))
                && self.fits(rest, &chars[taken..])
        })
    }

    fn prefix(&self) -> Bytes {
        let mut prefix = String::new();
        for piece in self.pieces.iter().filter(|_| self.from_start) {
            match piece {
                Piece { takes: Takes::One(one), least: 1, most } => {
                    prefix.push(*one);
                    if *most > 1 {
                        break;
                    }
                }
                _ => break,
            }
        }
        prefix.into_bytes()
    }
}

impl Takes {
    fn takes(&self, one: char) -> bool {
        match self {
            Takes::One(wanted) => one == *wanted,
            Takes::Any => true,
            Takes::AnyInLine => one != '\n',
            Takes::Class { is_negated, ranges } => {
                let is_in = ranges.iter().any(|(from, to)| (*from..=*to).contains(&one));
                is_in != *is_negated
            }
        }
    }
}

/// What follows a `[`: characters and ranges, without escapes.
fn class(rest: &mut std::str::Chars<'_>) -> Option<Takes> {
    let (inside, after) = rest.as_str().split_once(']')?;
    *rest = after.chars();
    let is_negated = inside.starts_with(['^', '!']);
    let mut inside = inside.trim_start_matches(['^', '!']).chars().peekable();
    let mut ranges = Vec::new();
    while let Some(from) = inside.next() {
        let to = inside.next_if_eq(&'-').and_then(|_| inside.next());
        ranges.push((from, to.unwrap_or(from)));
    }
    Some(Takes::Class { is_negated, ranges })
}

/// A number in millionths, if the text is one.
///
/// # Panics
/// If it is too large for that, or too exact.
fn millionths(text: &str) -> Option<i128> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (-1, unsigned),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().expect("few digits");
    let places = i32::try_from(fraction.len()).expect("few digits");
    let shift = u32::try_from(exponent - places + PLACES.cast_signed()).expect("few places");
    Some(sign * digits * 10_i128.pow(shift))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
