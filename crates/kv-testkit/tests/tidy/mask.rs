//! Blanks out what is not code: comments, and what stands in literals.
//!
//! Rules then can look for words and braces without being misled by a text that mentions them.
//! Every character becomes a blank of its own and lines stay lines, so places are kept; the quotes
//! of a literal stay as well. This is far from a parser, and need not be one.

/// `text` with comments and the insides of literals blanked out.
pub(crate) fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let (keep, end) = token(&chars, at);
        for (index, &char) in chars[at..end].iter().enumerate() {
            let is_edge = index < keep.0 || at + index + keep.1 >= end;
            masked.push(if is_edge || char == '\n' { char } else { ' ' });
        }
        at = end;
    }
    masked
}

/// How many characters to keep at the start and at the end.
type Keep = (usize, usize);

/// The token at `at`: what of it to keep, and where it ends.
fn token(chars: &[char], at: usize) -> (Keep, usize) {
    let next = |offset: usize| chars.get(at + offset).copied();
    let in_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next(1) == Some('/') => ((0, 0), find(chars, at, |char| char == '\n')),
        '/' if next(1) == Some('*') => ((0, 0), end_of_block_comment(chars, at)),
        '"' => ((1, 1), end_of_quoted(chars, at, '"')),
        '\'' if next(1) == Some('\\') || next(2) == Some('\'') => {
            ((1, 1), end_of_quoted(chars, at, '\''))
        }
        'r' if !in_word || matches!(chars[at - 1], 'b' | 'c') => {
            let quote = find(chars, at + 1, |char| char != '#');
            match chars.get(quote) {
                Some('"') => ((1, 0), end_of_raw(chars, quote, quote - at - 1)),
                _ => ((1, 0), at + 1),
            }
        }
        _ => ((1, 0), at + 1),
    }
}

pub(crate) fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|&at| wanted(chars[at])).unwrap_or(chars.len())
}

fn end_of_quoted(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() {
        match chars[end] {
            '\\' => end += 2,
            char if char == quote => return end + 1,
            _ => end += 1,
        }
    }
    chars.len()
}

/// The end of a raw string that begins at `quote` and is closed with as many `#`.
fn end_of_raw(chars: &[char], quote: usize, hashes: usize) -> usize {
    let closes = |at: usize| {
        let rest = chars[at..].iter();
        chars[at] == '"' && rest.skip(1).take(hashes).filter(|&&char| char == '#').count() == hashes
    };
    let end = (quote + 1..chars.len()).find(|&at| closes(at));
    end.map_or(chars.len(), |at| at + 1 + hashes)
}

fn end_of_block_comment(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut end = at;
    while end < chars.len() {
        match (chars[end], chars.get(end + 1)) {
            ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
            ('*', Some('/')) if depth == 1 => return end + 2,
            ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
    }
    chars.len()
}

#[test]
fn what_is_not_code_is_blanked() {
    for (text, masked) in [
        ("a(); // b();\nc();", "a();        \nc();"),
        ("a /* b /* c */\n d */ e", "a             \n      e"),
        (r#"a("b \" {", 'c', '\'', '{')"#, r#"a("      ", ' ', '  ', ' ')"#),
        ("fn a<'b>(c: &'b str) {}", "fn a<'b>(c: &'b str) {}"),
        ("r\"\\\" + x", "r    + x"),
        ("br#\"a\"b\"# + r + var\"c\"", "br        + r + var\" \""),
        ("\"open", "\"   n"),
    ] {
        assert_eq!(mask(text), masked, "{text}");
    }
}
