//! Globs: `*`, `?`, `[…]` and `\`, compared with the whole of a text.
//!
//! A glob and its texts are read as characters of UTF-8. A byte that belongs to no character counts
//! as one of its own, equal only to itself: `?` takes an `ü` whole, and keys that are not text can
//! be matched too.
//!
//! When the characters after a `*` do not fit, they are tried one character further on. Of several
//! stars only the last one is ever tried again: whatever an earlier one could give up, the later
//! one can take instead. So a comparison takes at most the product of both lengths, whatever the
//! glob is.

/// A glob that was read.
#[derive(Debug)]
pub(super) struct Glob {
    tokens: Box<[Token]>,
}

/// A character, or 0x110000 and the byte that belongs to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Unit(u32);

const STRAY_BYTES_FROM: u32 = char::MAX as u32 + 1;

#[derive(Debug)]
enum Token {
    One(Unit),
    /// `?`
    Any,
    /// `*`
    Many,
    Class {
        is_negated: bool,
        /// First and last, both included.
        ranges: Box<[(Unit, Unit)]>,
    },
}

impl Glob {
    /// Reads a glob; the error says what is wrong with it.
    pub(super) fn parse(mut pattern: &[u8]) -> Result<Glob, &'static str> {
        let mut tokens = Vec::new();
        while let Some(unit) = take(&mut pattern) {
            tokens.push(match unit.ascii() {
                Some(b'*') if matches!(tokens.last(), Some(Token::Many)) => continue,
                Some(b'*') => Token::Many,
                Some(b'?') => Token::Any,
                Some(b'[') => class(&mut pattern)?,
                Some(b'\\') => Token::One(escaped(&mut pattern)?),
                _ => Token::One(unit),
            });
        }
        Ok(Glob { tokens: tokens.into() })
    }

    /// Whether all of the text fits.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let (mut token, mut rest) = (0, text);
        // What follows the last star, and where it was tried last.
        let mut retry = None;
        loop {
            let next = first(rest);
            match (self.tokens.get(token), next) {
                (None, None) => return true,
                (Some(Token::Many), _) if token + 1 == self.tokens.len() => return true,
                (Some(Token::Many), _) => {
                    token += 1;
                    retry = Some((token, rest));
                }
                // Each token takes a character: there would be even fewer further on.
                (Some(_), None) => return false,
                (Some(wanted), Some((unit, bytes))) if wanted.takes(unit) => {
                    token += 1;
                    rest = &rest[bytes..];
                }
                (_, Some(_)) => {
                    let Some((after_star, from)) = &mut retry else { return false };
                    let Some((_, bytes)) = first(from) else { return false };
                    *from = &from[bytes..];
                    (token, rest) = (*after_star, *from);
                }
            }
        }
    }

    /// What every text that fits begins with.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        for token in &self.tokens {
            let Token::One(unit) = token else { break };
            unit.write(&mut prefix);
        }
        prefix
    }
}

impl Token {
    /// Whether the one character fits. A star is not asked.
    fn takes(&self, unit: Unit) -> bool {
        match self {
            Token::One(wanted) => *wanted == unit,
            Token::Any | Token::Many => true,
            Token::Class { is_negated, ranges } => {
                let is_in = ranges.iter().any(|(first, last)| (first..=last).contains(&&unit));
                is_in != *is_negated
            }
        }
    }
}

impl Unit {
    fn ascii(self) -> Option<u8> {
        u8::try_from(self.0).ok().filter(u8::is_ascii)
    }

    fn write(self, out: &mut Vec<u8>) {
        match char::from_u32(self.0) {
            Some(character) => out.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => out.extend(u8::try_from(self.0 - STRAY_BYTES_FROM)),
        }
    }
}

/// The first character and its bytes.
fn first(text: &[u8]) -> Option<(Unit, usize)> {
    let &byte = text.first()?;
    if byte.is_ascii() {
        return Some((Unit(byte.into()), 1));
    }
    let head = &text[..text.len().min(char::MAX.len_utf8())];
    let character = head.utf8_chunks().next()?.valid().chars().next();
    Some(match character {
        Some(character) => (Unit(character.into()), character.len_utf8()),
        None => (Unit(STRAY_BYTES_FROM + u32::from(byte)), 1),
    })
}

fn take(pattern: &mut &[u8]) -> Option<Unit> {
    let (unit, bytes) = first(pattern)?;
    *pattern = &pattern[bytes..];
    Some(unit)
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
    fn many_stars_do_not_take_long() {
        let glob = "a*".repeat(500) + "b";
        assert!(!matches(&glob, "a".repeat(100_000)));
    }

    /// What a glob means, as it would be explained.
    fn naive(tokens: &[Token], units: &[Unit]) -> bool {
        match (tokens, units) {
            ([], units) => units.is_empty(),
            ([Token::Many, rest @ ..], units) => {
                (0..=units.len()).any(|taken| naive(rest, &units[taken..]))
            }
            ([_, ..], []) => false,
            ([token, tokens @ ..], [unit, units @ ..]) => {
                token.takes(*unit) && naive(tokens, units)
            }
        }
    }

    fn units(mut text: &[u8]) -> Vec<Unit> {
        std::iter::from_fn(|| take(&mut text)).collect()
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![&b"a"[..], b"b", b"\xc3", b"\xbc", "ü".as_bytes()]);
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    fn pattern() -> impl Strategy<Value = Vec<u8>> {
        let pieces = ["a", "b", "ü", "?", "*", "*", "[ab]", "[^a]", "\\*"].map(str::as_bytes);
        let piece = prop::sample::select([&pieces[..], &[b"\xc3"]].concat());
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn globs_mean_what_the_naive_reading_says(pattern in pattern(), text in text()) {
            let glob = Glob::parse(&pattern).unwrap();
            let fits = glob.matches(&text);
            prop_assert_eq!(fits, naive(&glob.tokens, &units(&text)));
            prop_assert!(!fits || text.starts_with(&glob.prefix()));
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
