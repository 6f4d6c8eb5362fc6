//! Regular expressions, searched for in bytes.
//!
//! The search takes time linear in what is searched, whatever the expression is: there are no
//! backreferences, and nothing is tried twice. What an expression compiles to is bounded, so that a
//! short one cannot take much memory.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Look;
use regex_syntax::hir::literal::Extractor;

use crate::limits::REGEX_COMPILED_BYTES_MAX;

/// Compiles an expression. Answers it with what everything begins with in which it is found:
/// nothing unless it is anchored. The error says what is wrong.
pub(super) fn compile(pattern: &[u8]) -> Result<(Regex, Vec<u8>), String> {
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
            regex::Error::CompiledTooBig(bytes_max) => {
                format!("compiled, it would take more than {bytes_max} bytes; repeat less in it")
            }
            other => other.to_string().replace('\n', " "),
        })?;
    let is_anchored = parsed.properties().look_set_prefix().contains(Look::Start);
    let literals = is_anchored.then(|| Extractor::new().extract(&parsed));
    let prefix = literals.as_ref().and_then(|found| found.longest_common_prefix());
    Ok((regex, prefix.unwrap_or_default().to_vec()))
}

fn at(byte: usize, what: impl std::fmt::Display) -> String {
    format!("at its byte {}: {what}", byte + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        let finds =
            |pattern: &str, text: &[u8]| compile(pattern.as_bytes()).unwrap().0.is_match(text);
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

    proptest! {
        #[test]
        fn what_matches_begins_with_the_prefix(
            pattern in r"\^?\(?[ab^$.*?|()\[\]]{0,8}",
            text in "[ab]{0,6}",
        ) {
            if let Ok((regex, prefix)) = compile(pattern.as_bytes()) {
                let fits = regex.is_match(text.as_bytes());
                prop_assert!(!fits || text.as_bytes().starts_with(&prefix));
            }
        }
    }
}
