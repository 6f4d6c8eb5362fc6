//! Whether a line of a reply is the line that the script says: wildcards and remembered words.
//! No regular expressions: three kinds of pieces are all that a script needs.

use std::collections::BTreeMap;

/// The words remembered by `<name>`.
pub(super) type Variables = BTreeMap<String, String>;

enum Piece {
    Literal(String),
    Anything,
    Bind(String),
}

/// Whether `text` matches `pattern`. Names used for the first time are bound when it does.
pub(super) fn matches(pattern: &str, text: &str, variables: &mut Variables) -> bool {
    let pieces = pieces(pattern, variables);
    let mut bound = Variables::new();
    let matched = match_pieces(&pieces, text, &mut bound);
    if matched {
        variables.append(&mut bound);
    }
    matched
}

/// A command with its `<name>`s replaced; a name that nothing was bound to stays as it is.
pub(super) fn substitute(command: &str, variables: &Variables) -> String {
    let mut result = command.to_string();
    for (name, value) in variables {
        result = result.replace(&format!("<{name}>"), value);
    }
    result
}

fn pieces(pattern: &str, variables: &Variables) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let wildcard = ["…", "..."].iter().find_map(|dots| rest.strip_prefix(dots));
        if let Some(after) = wildcard {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            pieces.push(Piece::Anything);
            rest = after;
        } else if let Some((name, after)) = variable(rest) {
            match variables.get(name) {
                Some(value) => literal.push_str(value),
                None => {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    pieces.push(Piece::Bind(name.to_string()));
                }
            }
            rest = after;
        } else {
            literal.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    pieces.push(Piece::Literal(literal));
    pieces
}

/// The name of a `<name>` at the start of the text, and what follows it.
fn variable(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('<')?.split_once('>')?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good);
    is_name.then_some((name, after))
}

fn match_pieces(pieces: &[Piece], text: &str, bound: &mut Variables) -> bool {
    let Some((first, others)) = pieces.split_first() else { return text.is_empty() };
    match first {
        Piece::Literal(literal) => text
            .strip_prefix(literal.as_str())
            .is_some_and(|rest| match_pieces(others, rest, bound)),
        Piece::Anything => ends(text).any(|end| match_pieces(others, &text[end..], bound)),
        Piece::Bind(name) => {
            let word_end = text.find(char::is_whitespace).unwrap_or(text.len());
            let candidates: Vec<usize> =
                ends(text).filter(|end| (1..=word_end).contains(end)).collect();
            candidates.into_iter().rev().any(|end| {
                let found = match_pieces(others, &text[end..], bound);
                if found {
                    bound.insert(name.clone(), text[..end].to_string());
                }
                found
            })
        }
    }
}

/// Every place where the text may be cut.
fn ends(text: &str) -> impl Iterator<Item = usize> {
    text.char_indices().map(|(index, _)| index).chain(std::iter::once(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_any_rest_and_any_middle() {
        let mut none = Variables::new();
        assert!(matches("OK", "OK", &mut none));
        assert!(!matches("OK", "OK 1", &mut none));
        assert!(matches("ERR CONFLICT …", "ERR CONFLICT \"k1\" was changed", &mut none));
        assert!(matches("ERR CONFLICT ...", "ERR CONFLICT x", &mut none));
        assert!(!matches("ERR CONFLICT …", "ERR DEADLOCK x", &mut none));
        assert!(matches("1 … \"v\"", "1 7 2026-11-20T10:00:00.123Z \"v\"", &mut none));
        assert!(!matches("1 … \"v\"", "1 7 2026-11-20T10:00:00.123Z \"w\"", &mut none));
        assert!(matches("…", "", &mut none));
    }

    #[test]
    fn a_name_is_bound_once_and_compared_from_then_on() {
        let mut variables = Variables::new();
        assert!(matches("<r1>", "17", &mut variables));
        assert!(matches(
            "\"version=1 revision=<r1> …\"",
            "\"version=1 revision=17 x\"",
            &mut variables
        ));
        assert!(!matches("<r1>", "18", &mut variables));
        assert_eq!(substitute("GET k AT <r1>", &variables), "GET k AT 17");
        assert_eq!(substitute("GET k AT <r2>", &variables), "GET k AT <r2>");
        assert!(!matches("x <r2>", "x a b", &mut variables), "a name stands for one word");
        assert!(matches("x <r2> …", "x a b", &mut variables));
        assert_eq!(variables["r2"], "a");
    }
}
