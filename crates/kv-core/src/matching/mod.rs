//! What a scan asks of keys and values, beyond the interval: patterns and conditions, compiled.
//!
//! A [`Pattern`] is a glob, which the whole must fit, or a regular expression, which is found
//! anywhere unless it is anchored. What comparing with a glob takes is linear in the text; with a
//! regular expression it is bounded by the product of its size and the text's, so that may take
//! several turns of a scan. Every key that a pattern fits begins with its literal
//! [prefix](Pattern::prefix), if it has one; that narrows what a scan examines, and so what it
//! locks.
//!
//! What a condition means depends on nothing but the bytes of the value and its kind. Ranges go by
//! bytes, as the order of keys does; [numbers](Number) are compared exactly.

mod glob;
mod number;
mod regular;
mod turn;

use std::sync::Arc;

use self::glob::Glob;
pub use self::number::Number;
use self::regular::Regular;
pub(crate) use self::turn::Turn;
use crate::error::Error;
use crate::limits::{BYTES_PER_EFFORT, PATTERN_BYTES_MAX};
use crate::step::Step;
use crate::types::{Interval, ValueKind, show_key};

/// What a scan asks of its rows. All of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Of the key.
    pub key: Option<Pattern>,
    /// Of the value.
    pub value: Option<ValueCondition>,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueCondition {
    /// These bytes.
    Equal(Box<[u8]>),
    /// It fits the pattern.
    Matches(Pattern),
    /// `from ≤ value < to`, by bytes.
    Within(Interval),
    /// It is a number, and `low ≤ value ≤ high`.
    Between {
        /// The least number.
        low: Number,
        /// The greatest number.
        high: Number,
    },
}

/// A compiled pattern. Cheap to clone; equal to any that was compiled from the same.
#[derive(Debug, Clone)]
pub struct Pattern(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: Box<[u8]>,
    matcher: Matcher,
    prefix: Box<[u8]>,
}

#[derive(Debug)]
enum Matcher {
    Glob(Glob),
    Regex(Regular),
}

impl Conditions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.key.is_none() && self.value.is_none()
    }

    /// The part of the interval in which keys can fit.
    pub(crate) fn narrow(&self, interval: &Interval) -> Interval {
        match &self.key {
            Some(pattern) => interval.clone().within(Interval::prefix(pattern.prefix())),
            None => interval.clone(),
        }
    }

    /// Whether a key fits. If that takes more than this turn, it pauses, and is to be called again
    /// with the same key before it is asked of others; so is the next.
    pub(crate) fn is_met_by_key(&self, key: &[u8], turn: &mut Turn) -> Step<bool> {
        self.key.as_ref().map_or(Ok(true), |pattern| pattern.compare(key, turn))
    }

    /// Whether a value fits.
    pub(crate) fn is_met_by_value(
        &self,
        value: &[u8],
        kind: ValueKind,
        turn: &mut Turn,
    ) -> Step<bool> {
        match &self.value {
            None => Ok(true),
            Some(ValueCondition::Matches(pattern)) => pattern.compare(value, turn),
            Some(condition) => {
                turn.spend(value.len() / BYTES_PER_EFFORT);
                Ok(condition.is_met_by(value, kind))
            }
        }
    }
}

impl ValueCondition {
    /// A number from `low` to `high`, both given as text and both included.
    ///
    /// # Errors
    ///
    /// [`Error::Condition`] if one is no number, or they are the wrong way round.
    pub fn between(low: &[u8], high: &[u8]) -> Result<ValueCondition, Error> {
        let (from, to) = (Number::needed(low)?, Number::needed(high)?);
        if from > to {
            let (low, high) = (show_key(low), show_key(high));
            let text = format!("no number lies between {low} and {high}: the greater comes first");
            return Err(Error::Condition(text));
        }
        Ok(ValueCondition::Between { low: from, high: to })
    }

    /// Whether a value is what is asked for.
    pub fn is_met_by(&self, value: &[u8], kind: ValueKind) -> bool {
        match self {
            ValueCondition::Equal(bytes) => **bytes == *value,
            ValueCondition::Matches(pattern) => pattern.matches(value),
            ValueCondition::Within(interval) => interval.contains(value),
            ValueCondition::Between { low, high } => {
                Number::of_value(value, kind).is_some_and(|number| (low..=high).contains(&&number))
            }
        }
    }
}

impl Pattern {
    /// A glob: `*` is any number of characters, `?` is one, `[abc]` and `[a-z]` one of those,
    /// `[^…]` or `[!…]` one that is none of those; a backslash takes the next as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Condition`] if it is none, or longer than [`PATTERN_BYTES_MAX`].
    pub fn glob(source: &[u8]) -> Result<Pattern, Error> {
        let refused = |why: &str| refused("a glob", source, why);
        check_length("a glob", source)?;
        let glob = Glob::parse(source).map_err(refused)?;
        let prefix = glob.prefix().into();
        Ok(Pattern::new(source, Matcher::Glob(glob), prefix))
    }

    /// A regular expression in the syntax of the crate `regex`.
    ///
    /// # Errors
    ///
    /// [`Error::Condition`] if it is none, longer than [`PATTERN_BYTES_MAX`], or compiles to too
    /// much.
    pub fn regex(source: &[u8]) -> Result<Pattern, Error> {
        let what = "a regular expression that can be used";
        check_length(what, source)?;
        let (regex, prefix) =
            regular::compile(source).map_err(|why| refused(what, source, &why))?;
        Ok(Pattern::new(source, Matcher::Regex(regex), prefix.into()))
    }

    fn new(source: &[u8], matcher: Matcher, prefix: Box<[u8]>) -> Pattern {
        Pattern(Arc::new(Compiled { source: source.into(), matcher, prefix }))
    }

    /// Whether the bytes fit a glob, or the expression is found in them.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match &self.0.matcher {
            Matcher::Glob(glob) => glob.matches(bytes),
            Matcher::Regex(regular) => regular.is_in(bytes),
        }
    }

    /// The same, in turns if need be.
    fn compare(&self, bytes: &[u8], turn: &mut Turn) -> Step<bool> {
        match &self.0.matcher {
            Matcher::Glob(glob) => {
                turn.spend(bytes.len() / BYTES_PER_EFFORT * glob.slowness());
                Ok(glob.matches(bytes))
            }
            Matcher::Regex(regular) => regular.search(bytes, turn),
        }
    }

    /// What everything begins with that it fits.
    pub fn prefix(&self) -> &[u8] {
        &self.0.prefix
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        let kind = |pattern: &Pattern| matches!(pattern.0.matcher, Matcher::Glob(_));
        self.0.source == other.0.source && kind(self) == kind(other)
    }
}

impl Eq for Pattern {}

fn check_length(what: &str, source: &[u8]) -> Result<(), Error> {
    if source.len() <= PATTERN_BYTES_MAX {
        return Ok(());
    }
    let why = format!("it has {} bytes, and at most {PATTERN_BYTES_MAX} are taken", source.len());
    Err(refused(what, source, &why))
}

fn refused(what: &str, source: &[u8], why: &str) -> Error {
    Error::Condition(format!("{} is not {what}: {why}", show_key(source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_compared_as_the_condition_says() {
        let (text, json) = (ValueKind::Text, ValueKind::Json);
        let equal = ValueCondition::Equal((*b"5").into());
        assert!(equal.is_met_by(b"5", text) && equal.is_met_by(b"5", json));
        assert!(!equal.is_met_by(b"5.0", text) && !equal.is_met_by(b"", text));
        let within = ValueCondition::Within(Interval::range(b"b", b"d"));
        assert!(within.is_met_by(b"b", text) && within.is_met_by(b"c9", text));
        assert!(!within.is_met_by(b"d", text) && !within.is_met_by(b"10", text));
        let between = ValueCondition::between(b"-1.5", b"1e1").unwrap();
        assert!(between.is_met_by(b"-1.5", text) && between.is_met_by(b"10", text));
        assert!(between.is_met_by(b" 3 ", json) && !between.is_met_by(b" 3 ", text));
        assert!(!between.is_met_by(b"10.01", text) && !between.is_met_by(b"v", text));
        let matches = ValueCondition::Matches(Pattern::regex(b"^[0-9]+$").unwrap());
        assert!(matches.is_met_by(b"12", text) && !matches.is_met_by(b"v", text));
    }

    #[test]
    fn what_means_nothing_is_refused_as_a_wrong_argument() {
        let long = [b'a'; PATTERN_BYTES_MAX + 1];
        for (error, text) in [
            (Pattern::glob(b"a[").unwrap_err(), "\"a[\" is not a glob: its [ has no ]"),
            (Pattern::glob(&long).unwrap_err(), "at most 1024 are taken"),
            (Pattern::regex(&long).unwrap_err(), "at most 1024 are taken"),
            (Pattern::regex(b"(").unwrap_err(), "\"(\" is not a regular expression"),
            (ValueCondition::between(b"nan", b"1").unwrap_err(), "\"nan\" is not a number"),
            (ValueCondition::between(b"2", b"1.99").unwrap_err(), "the greater comes first"),
        ] {
            assert_eq!(error.code(), "ARGUMENT");
            assert!(error.to_string().contains(text), "{error}");
        }
        assert!(Pattern::glob(&long[1..]).is_ok());
    }

    #[test]
    fn patterns_are_equal_if_they_were_written_so() {
        assert_eq!(Pattern::glob(b"a*").unwrap(), Pattern::glob(b"a*").unwrap());
        assert_ne!(Pattern::glob(b"a*").unwrap(), Pattern::regex(b"a*").unwrap());
        assert_ne!(Pattern::glob(b"a*").unwrap(), Pattern::glob(b"b*").unwrap());
    }

    #[test]
    fn a_prefix_narrows_the_interval() {
        let narrow = |interval: Interval, glob: &[u8]| {
            let key = Some(Pattern::glob(glob).unwrap());
            Conditions { key, value: None }.narrow(&interval)
        };
        assert_eq!(narrow(Interval::all(), b"b*"), Interval::prefix(b"b"));
        assert_eq!(narrow(Interval::all(), b"*b"), Interval::all());
        assert_eq!(narrow(Interval::range(b"a", b"ba"), b"b?"), Interval::range(b"b", b"ba"));
        assert!(narrow(Interval::prefix(b"a"), b"b*").is_empty());
    }
}
