//! Regular expressions, searched for in bytes.
//!
//! There are no backreferences, and nothing is tried twice. But at its slowest a search looks at
//! all states of an expression with every byte, and a short expression can have many thousands. So
//! there are two engines: `regex`, which is quick as a rule, and [one](search) that can pause, for
//! what could take longer than a turn. What an expression compiles to is bounded, so that a short
//! one cannot take much memory.

mod search;

use regex::bytes::{Regex, RegexBuilder};
use regex_automata::nfa::thompson::{NFA, WhichCaptures};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Look;
use regex_syntax::hir::literal::Extractor;

pub(super) use self::search::Search;
use super::turn::Turn;
use crate::limits::{
    EFFORT_PER_TURN_MAX, LOOKS_PER_EFFORT, LOOKS_PER_EFFORT_AT_WORST, REGEX_COMPILED_BYTES_MAX,
};
use crate::step::Step;

/// An expression that was compiled.
#[derive(Debug)]
pub(super) struct Regular {
    regex: Regex,
    /// The same for searches that pause.
    nfa: NFA,
}

impl Regular {
    /// Whether the expression is found in the text.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The same, in turns.
    pub(super) fn search(&self, text: &[u8], turn: &mut Turn) -> Step<bool> {
        let looks_max = self.nfa.states().len().saturating_mul(text.len());
        if looks_max <= EFFORT_PER_TURN_MAX * LOOKS_PER_EFFORT_AT_WORST {
            turn.spend(looks_max / LOOKS_PER_EFFORT_AT_WORST);
            return Ok(self.is_in(text));
        }
        let mut search =
            turn.search.take().unwrap_or_else(|| Box::new(Search::new(&self.nfa, text)));
        let mut looks_left = turn.left() * LOOKS_PER_EFFORT;
        let is_found = search.run(&self.nfa, text, &mut looks_left);
        turn.spend(turn.left() - looks_left / LOOKS_PER_EFFORT);
        match is_found {
            Some(is_found) => Ok(is_found),
            None => {
                turn.search = Some(search);
                Err(turn.end())
            }
        }
    }
}

/// Compiles an expression. Answers it with what everything begins with in which it is found:
/// nothing unless it is anchored. The error says what is wrong.
pub(super) fn compile(pattern: &[u8]) -> Result<(Regular, Vec<u8>), String> {
    let Ok(text) = std::str::from_utf8(pattern) else {
        return Err("it is not UTF-8; write a byte that is not as (?-u:\\xff)".into());
    };
    // Text may be searched that is not UTF-8, so the expression may match such.
    let parsed = ParserBuilder::new().utf8(false).build().parse(text);
    let parsed = parsed.map_err(|error| match error {
        regex_syntax::Error::Parse(error) => at(error.span().start.offset, error.kind()),
        regex_syntax::Error::Translate(error) => at(error.span().start.offset, error.kind()),
        other => other.to_string().replace('\n', " "),
    })?;
    let regex = RegexBuilder::new(text)
        .size_limit(REGEX_COMPILED_BYTES_MAX)
        .dfa_size_limit(REGEX_COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(bytes_max) => too_big(bytes_max),
            other => other.to_string().replace('\n', " "),
        })?;
    let config = NFA::config().utf8(false).which_captures(WhichCaptures::None);
    let config = config.nfa_size_limit(Some(REGEX_COMPILED_BYTES_MAX));
    let nfa = NFA::compiler().configure(config).build_from_hir(&parsed);
    let nfa = nfa.map_err(|error| match error.size_limit() {
        Some(bytes_max) => too_big(bytes_max),
        None => error.to_string().replace('\n', " "),
    })?;
    let is_anchored = parsed.properties().look_set_prefix().contains(Look::Start);
    let literals = is_anchored.then(|| Extractor::new().extract(&parsed));
    let prefix = literals.as_ref().and_then(|found| found.longest_common_prefix());
    Ok((Regular { regex, nfa }, prefix.unwrap_or_default().to_vec()))
}

fn too_big(bytes_max: usize) -> String {
    format!("compiled, it would take more than {bytes_max} bytes; repeat less in it")
}

fn at(byte: usize, what: impl std::fmt::Display) -> String {
    format!("at its byte {}: {what}", byte + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::step::Pause;

    fn prefix(pattern: &str) -> String {
        String::from_utf8(compile(pattern.as_bytes()).unwrap().1).unwrap()
    }

    #[test]
    fn an_anchored_expression_has_the_prefix_that_all_it_matches_has() {
        for (pattern, expected) in [
            ("^user:", "user:"),
            ("^user:[0-9]+$", "user:"),
            ("\\Auser", "user"),
            ("^(?:ab|ac)x", "a"),
            ("^a.c", "a"),
            ("(^ab)c*", "ab"),
            ("^a?b", ""),
            ("^a|^b", ""),
            ("^a|b", ""),
            ("user:", ""),
            ("(?m)^user", ""),
            ("(?i)^user", ""),
            ("a^b", ""),
            ("", ""),
        ] {
            assert_eq!(prefix(pattern), expected, "{pattern}");
        }
        assert_eq!(compile(b"^(?-u:\\xff)a").unwrap().1, b"\xffa");
    }

    #[test]
    fn expressions_are_found_anywhere_in_any_bytes() {
        let finds = |pattern: &str, text: &[u8]| compile(pattern.as_bytes()).unwrap().0.is_in(text);
        assert!(finds("b", b"abc") && !finds("^b", b"abc") && finds("^abc$", b"abc"));
        assert!(finds("^.$", "ü".as_bytes()) && !finds("^.$", b"\xff"));
        assert!(finds("^(?-u:.)$", b"\xff") && finds("a", b"\xffa"));
    }

    #[test]
    fn an_expression_that_is_none_is_refused_with_place_and_reason() {
        for (pattern, reason) in [
            (&b"(a"[..], "at its byte 1: unclosed group"),
            (b"a**b[", "at its byte 5: unclosed character class"),
            (b"(a)\\1", "backreferences are not supported"),
            (b"\\p{Nonsense}", "Unicode property not found"),
            (b"[b-a]", "invalid character class range"),
            (b"\xff", "not UTF-8"),
            (b"(\\pL{1000}){1000}", "compiled"),
        ] {
            let error = compile(pattern).unwrap_err();
            assert!(error.contains(reason) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_search_that_could_take_long_takes_turns() {
        let text = "ab".repeat(2000);
        let (regular, _) = compile(b"(?s-u)a(?:.{2,9}){400}x?$").unwrap();
        let (mut turn, mut turns) = (Turn::default(), 1);
        let is_found = loop {
            match regular.search(text.as_bytes(), &mut turn) {
                Ok(is_found) => break is_found,
                Err(Pause::Yield) => turns += 1,
                Err(other) => panic!("{other:?}"),
            }
        };
        assert!(is_found && turns > 100, "{turns}");
        let (short, _) = compile(b"(?s-u)a.x$").unwrap();
        assert!(!short.search(text.as_bytes(), &mut Turn::default()).unwrap());
    }

    const PIECES: &[&str] = &[
        "a", "b", "ü", "^", "$", ".", "*", "?", "{2}", "|", "(", ")", "[ab]", "[^a]", r"\b", r"\B",
        r"\w", "(?i)", "(?m)", "(?-u:.)",
    ];
    const TEXTS: &[&[u8]] = &[b"a", b"b", b"A", b"\n", b" ", "ü".as_bytes(), b"\xff"];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn both_engines_find_the_same(
            pattern in prop::collection::vec(prop::sample::select(PIECES), 0..8),
            text in prop::collection::vec(prop::sample::select(TEXTS), 0..8),
            looks in 1..20_usize,
        ) {
            let text = text.concat();
            if let Ok((regular, _)) = compile(pattern.concat().as_bytes()) {
                let mut search = Search::new(&regular.nfa, &text);
                let is_found = loop {
                    if let Some(is_found) = search.run(&regular.nfa, &text, &mut { looks }) {
                        break is_found;
                    }
                };
                prop_assert_eq!(is_found, regular.is_in(&text));
            }
        }

        #[test]
        fn what_matches_begins_with_the_prefix(
            pattern in r"\^?\(?[ab^$.*?|()\[\]]{0,8}",
            text in "[ab]{0,6}",
        ) {
            if let Ok((regular, prefix)) = compile(pattern.as_bytes()) {
                let fits = regular.is_in(text.as_bytes());
                prop_assert!(!fits || text.as_bytes().starts_with(&prefix));
            }
        }
    }
}
