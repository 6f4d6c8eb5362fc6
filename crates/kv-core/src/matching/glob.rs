//! Globs: `*`, `?`, `[…]` and `\`, compared with the whole of a text.
//!
//! A glob and its texts are read as [characters](Unit) of UTF-8. A byte that belongs to no
//! character counts as one of its own, equal only to itself: `?` takes an `ü` whole, and keys that
//! are not text can be matched too.
//!
//! The stars divide a glob into segments, and each token of a segment takes one character. The
//! first segment must stand at the beginning and the last at the end. Those in the middle are
//! [searched](search) for from the left, each after the one before: whatever a star could take
//! beyond that, the next one can take instead. So nothing is tried twice, and the time taken is
//! linear in the text.

mod search;
mod unit;

use self::search::Search;
use self::unit::{Unit, last, take};

/// A glob that was read.
#[derive(Debug)]
pub(super) struct Glob {
    first: Segment,
    /// What stands between two stars.
    middle: Box<[Search]>,
    /// What follows the last star; none if there is no star.
    last: Option<Segment>,
}

type Segment = Box<[Token]>;

/// What takes one character.
#[derive(Debug, Clone)]
enum Token {
    One(Unit),
    /// `?`
    Any,
    Class {
        is_negated: bool,
        /// First and last, both included.
        ranges: Box<[(Unit, Unit)]>,
    },
}

impl Glob {
    /// Reads a glob; the error says what is wrong with it.
    pub(super) fn parse(pattern: &[u8]) -> Result<Glob, &'static str> {
        let mut segments = segments(pattern)?;
        let last = if segments.len() > 1 { segments.pop() } else { None };
        let mut segments = segments.into_iter();
        let first = segments.next().unwrap_or_default();
        let middle = segments.filter(|segment| !segment.is_empty());
        let middle = middle.map(|segment| Search::new(&segment)).collect();
        Ok(Glob { first, middle, last })
    }

    /// Whether all of the text fits.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let Some(rest) = after(&self.first, text) else { return false };
        let Some(last) = &self.last else { return rest.is_empty() };
        let Some(mut rest) = before(last, rest) else { return false };
        self.middle.iter().all(|search| match search.find(rest) {
            Some(end) => {
                rest = &rest[end..];
                true
            }
            None => false,
        })
    }

    /// By how much it is slower than comparing bytes; in whole numbers, and at worst.
    pub(super) fn slowness(&self) -> usize {
        self.middle.iter().map(Search::slowness).max().unwrap_or(1)
    }

    /// What every text that fits begins with.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        for token in &self.first {
            let Token::One(unit) = token else { break };
            unit.write(&mut prefix);
        }
        prefix
    }
}

/// What remains of a text after a segment that it begins with.
fn after<'a>(segment: &[Token], mut text: &'a [u8]) -> Option<&'a [u8]> {
    let fits = segment.iter().all(|token| take(&mut text).is_some_and(|unit| token.takes(unit)));
    fits.then_some(text)
}

/// What remains of a text before a segment that it ends with.
fn before<'a>(segment: &[Token], mut text: &'a [u8]) -> Option<&'a [u8]> {
    let fits = segment.iter().rev().all(|token| {
        let Some((unit, bytes)) = last(text) else { return false };
        text = &text[..text.len() - bytes];
        token.takes(unit)
    });
    fits.then_some(text)
}

impl Token {
    fn takes(&self, unit: Unit) -> bool {
        match self {
            Token::One(wanted) => *wanted == unit,
            Token::Any => true,
            Token::Class { is_negated, ranges } => {
                let is_in = ranges.iter().any(|(first, last)| (first..=last).contains(&&unit));
                is_in != *is_negated
            }
        }
    }
}

/// The tokens of a glob, divided at its stars.
fn segments(mut pattern: &[u8]) -> Result<Vec<Segment>, &'static str> {
    let (mut segments, mut tokens) = (Vec::new(), Vec::new());
    while let Some(unit) = take(&mut pattern) {
        match unit.ascii() {
            Some(b'*') => segments.push(std::mem::take(&mut tokens).into()),
            Some(b'?') => tokens.push(Token::Any),
            Some(b'[') => tokens.push(class(&mut pattern)?),
            Some(b'\\') => tokens.push(Token::One(escaped(&mut pattern)?)),
            _ => tokens.push(Token::One(unit)),
        }
    }
    segments.push(tokens.into());
    Ok(segments)
}

fn escaped(pattern: &mut &[u8]) -> Result<Unit, &'static str> {
    take(pattern).ok_or("its last backslash has nothing after it; write \\\\ for a backslash")
}

/// What follows a `[`, with the `]`.
fn class(pattern: &mut &[u8]) -> Result<Token, &'static str> {
    let is_negated = matches!(pattern.first(), Some(b'^' | b'!'));
    if is_negated {
        *pattern = &pattern[1..];
    }
    let mut ranges = Vec::new();
    while pattern.first() != Some(&b']') {
        let first = member(pattern)?;
        let last = match pattern {
            [b'-', b']', ..] => first,
            [b'-', after @ ..] => {
                *pattern = after;
                member(pattern)?
            }
            _ => first,
        };
        if last < first {
            return Err("a range between its brackets is the wrong way round");
        }
        ranges.push((first, last));
    }
    *pattern = &pattern[1..];
    if ranges.is_empty() {
        return Err("there is nothing between its brackets; write \\[ and \\] for brackets");
    }
    Ok(Token::Class { is_negated, ranges: ranges.into() })
}

fn member(pattern: &mut &[u8]) -> Result<Unit, &'static str> {
    let unit = take(pattern).ok_or("its [ has no ]; write \\[ for a bracket")?;
    if unit.ascii() == Some(b'\\') { escaped(pattern) } else { Ok(unit) }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    fn matches(glob: &str, text: impl AsRef<[u8]>) -> bool {
        Glob::parse(glob.as_bytes()).unwrap().matches(text.as_ref())
    }

    #[test]
    fn stars_take_any_number_of_characters_and_question_marks_one() {
        for (glob, fits, others) in [
            ("", &[""][..], &["a"][..]),
            ("abc", &["abc"], &["ab", "abcd", "Abc", ""]),
            ("*", &["", "a", "äöü\n\0"], &[]),
            ("**a**", &["a", "aa", "bab"], &["", "b"]),
            ("a*c", &["ac", "abc", "acbc"], &["a", "acb", "bac"]),
            ("*ab*ab", &["abab", "xabyab", "ababab"], &["ab", "abxb"]),
            ("?", &["a", "ü", "€", "😀"], &["", "ab", "e\u{301}"]),
            ("h?llo*", &["hello", "hüllo!"], &["hllo", "heello"]),
        ] {
            fits.iter().for_each(|text| assert!(matches(glob, text), "{glob} {text}"));
            others.iter().for_each(|text| assert!(!matches(glob, text), "{glob} {text}"));
        }
    }

    #[test]
    fn brackets_have_characters_ranges_and_their_opposite() {
        for (glob, fits, others) in [
            ("[abc]", &["a", "c"][..], &["d", "", "ab"][..]),
            ("[a-cx]", &["b", "x"], &["d", "-"]),
            ("[^a-c]", &["d", "ü"], &["a", "b", ""]),
            ("[!a]", &["b", "!"], &["a"]),
            ("[a^!]", &["a", "^", "!"], &["b"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[\\]\\-a]", &["]", "-", "a"], &["\\"]),
            ("[ä-ü]", &["ö"], &["a"]),
            ("\\*\\?\\[\\\\", &["*?[\\"], &["abc\\"]),
            ("]-^", &["]-^"], &[]),
        ] {
            fits.iter().for_each(|text| assert!(matches(glob, text), "{glob} {text}"));
            others.iter().for_each(|text| assert!(!matches(glob, text), "{glob} {text}"));
        }
    }

    #[test]
    fn bytes_that_are_no_characters_stand_for_themselves() {
        assert!(matches("?", b"\xff") && !matches("?", b"\xff\xff"));
        assert!(matches("??", b"\xc3\xff") && !matches("??", b"\xc3\xbc"));
        let glob = |bytes: &[u8], text: &[u8]| Glob::parse(bytes).unwrap().matches(text);
        assert!(glob(b"\xff*", b"\xff\x00") && !glob(b"\xff*", b"\xfe"));
        assert!(glob(b"[\xf0-\xff]", b"\xfa") && !glob(b"[\xf0-\xff]", "ü".as_bytes()));
    }

    #[test]
    fn a_glob_that_is_none_is_refused_with_the_reason() {
        for (glob, reason) in [
            ("a\\", "backslash"),
            ("[a\\", "backslash"),
            ("[a", "has no ]"),
            ("[", "has no ]"),
            ("[a-", "has no ]"),
            ("[]", "nothing between"),
            ("[^]", "nothing between"),
            ("[b-a]", "wrong way round"),
        ] {
            let error = Glob::parse(glob.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{glob}: {error}");
        }
    }

    #[test]
    fn the_prefix_ends_before_the_first_wildcard() {
        for (glob, prefix) in [
            ("user:*", "user:"),
            ("user", "user"),
            ("a\\*b?", "a*b"),
            ("ü[a]", "ü"),
            ("*a", ""),
            ("", ""),
        ] {
            assert_eq!(Glob::parse(glob.as_bytes()).unwrap().prefix(), prefix.as_bytes(), "{glob}");
        }
        assert_eq!(Glob::parse(b"\xff\xfe*").unwrap().prefix(), b"\xff\xfe");
    }

    #[test]
    fn no_glob_takes_long() {
        let text = "a".repeat(1 << 18);
        for glob in ["a*".repeat(500) + "b", format!("*{}?*b", "a".repeat(1000))] {
            assert!(!matches(&glob, &text));
        }
        assert!(!matches(&format!("*{}[^ü]b*", "?a".repeat(500)), "aü".repeat(1 << 17)));
    }

    /// A glob as its segments, and what it means as it would be explained.
    fn naive(segments: &[Segment], units: &[Unit]) -> bool {
        let Some((first, others)) = segments.split_first() else { return false };
        let fits = first.len() <= units.len()
            && first.iter().zip(units).all(|(token, unit)| token.takes(*unit));
        let rest = &units[first.len().min(units.len())..];
        match others {
            [] => fits && rest.is_empty(),
            others => fits && (0..=rest.len()).any(|taken| naive(others, &rest[taken..])),
        }
    }

    fn check(pattern: &[u8], text: &[u8]) {
        let glob = Glob::parse(pattern).unwrap();
        let (mut rest, fits) = (text, glob.matches(text));
        let units: Vec<Unit> = std::iter::from_fn(|| take(&mut rest)).collect();
        assert_eq!(fits, naive(&segments(pattern).unwrap(), &units));
        assert!(!fits || text.starts_with(&glob.prefix()));
    }

    fn pieces(of: &[&'static str], count: Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        let mut pieces: Vec<&[u8]> = of.iter().map(|piece| piece.as_bytes()).collect();
        pieces.push(b"\xc3");
        let pieces = prop::collection::vec(prop::sample::select(pieces), count);
        pieces.prop_map(|pieces| pieces.concat())
    }

    /// Part of a text with some characters replaced, so that it is found there.
    fn part(text: &[u8], from: usize, length: usize, replaced: usize) -> Vec<u8> {
        let mut rest = &text[from.min(text.len())..];
        let units = std::iter::from_fn(|| take(&mut rest)).take(length);
        let mut part = Vec::new();
        for (at, unit) in units.enumerate() {
            match (at + replaced) % 7 {
                0 => part.push(b'?'),
                3 => part.extend_from_slice(b"[^x]"),
                _ => unit.write(&mut part),
            }
        }
        part
    }

    proptest! {
        #[test]
        fn globs_mean_what_the_naive_reading_says(
            pattern in pieces(&["a", "b", "ü", "?", "*", "*", "[ab]", "[^a]", "[b-ü]"], 0..7),
            text in pieces(&["a", "b", "ü", "a", "\u{bc}"], 0..10),
        ) {
            check(&pattern, &text);
        }

        #[test]
        fn long_segments_are_found_where_the_naive_reading_finds_them(
            text in pieces(&["a", "a", "a", "b", "ü"], 100..400),
            froms in [0..400_usize, 0..400],
            lengths in [0..300_usize, 0..100],
            replaced in 0..7_usize,
        ) {
            let [one, other] = [0, 1].map(|at| part(&text, froms[at], lengths[at], replaced));
            check(&[b"*", &one[..], b"*"].concat(), &text);
            check(&[b"*", &one[..], b"*", &other, b"*"].concat(), &text);
            check(&[b"*", &one[..], b"*", &other].concat(), &text);
        }

        #[test]
        fn hostile_globs_never_panic(
            pattern in prop::collection::vec(any::<u8>(), 0..20),
            text in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let _ = Glob::parse(&pattern).map(|glob| glob.matches(&text));
        }
    }
}
