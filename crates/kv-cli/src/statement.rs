//! What was typed, piped or read from a file, as statements: one line for the server each.
//!
//! | | |
//! |---|---|
//! | a line | is a statement; one that is empty or begins with `#` is none |
//! | a quote that is still open at the end of a line | goes on in the next one |
//! | `PUT key <<WORD` | the value is what follows, up to a line that is `WORD` |
//! | `;` | separates statements on the command line (`-c`), outside quotes, as a line break does |

use std::io::{self, BufRead};

use kv_protocol::word::write_word;

/// A line for the server, and where it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Counted from 1.
    pub(crate) line: u64,
    /// Without its LF.
    pub(crate) text: Vec<u8>,
}

/// Whether what was typed so far is a whole statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Completeness {
    /// It is.
    Whole,
    /// A quote is open.
    InQuotes,
    /// A value goes on until a line that is this word.
    Until(String),
}

/// Statements of an input, one at a time.
pub(crate) struct Statements<R> {
    input: R,
    line: u64,
}

impl<R: BufRead> Statements<R> {
    pub(crate) fn new(input: R) -> Self {
        Statements { input, line: 0 }
    }

    /// The next one; none at the end of the input. A quote that is open there is taken as it is:
    /// the server says what is wrong with it.
    ///
    /// # Errors
    ///
    /// What reading came to; `UnexpectedEof` if a value below its statement has no end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Statement>> {
        let mut text = Vec::new();
        let mut began = 0;
        let mut value_ends_with: Option<String> = None;
        loop {
            let from = text.len();
            if self.input.read_until(b'\n', &mut text)? == 0 {
                if let Some(word) = value_ends_with {
                    let text = format!("line {began}: its value has no end, a line that is {word}");
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
                let is_over = text.is_empty();
                let statement = || Statement { line: began, text: one_line(&text) };
                return Ok((!is_over).then(statement));
            }
            self.line += 1;
            if from == 0 {
                began = self.line;
            }
            let whole = text.strip_suffix(b"\n").unwrap_or(&text);
            if let Some(word) = &value_ends_with {
                // Only the new line can be the end.
                if whole.get(from..).is_some_and(|line| trim_cr(line) == word.as_bytes()) {
                    return Ok(Some(Statement { line: began, text: one_line(whole) }));
                }
                continue;
            }
            if from == 0 && is_blank(whole) {
                text.clear();
                continue;
            }
            match completeness(whole) {
                Completeness::Whole => {
                    return Ok(Some(Statement { line: began, text: one_line(whole) }));
                }
                Completeness::InQuotes => {}
                Completeness::Until(word) => value_ends_with = Some(word),
            }
        }
    }
}

/// Nothing to do: blank, or a comment.
pub(crate) fn is_blank(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.is_empty() || line.starts_with(b"#")
}

/// Whether more lines belong to a statement.
pub(crate) fn completeness(text: &[u8]) -> Completeness {
    if let Some((first, word, rest)) = heredoc(text) {
        let _ = first;
        return match rest.split(|byte| *byte == b'\n').any(|line| trim_cr(line) == word) {
            true => Completeness::Whole,
            false => Completeness::Until(String::from_utf8_lossy(word).into_owned()),
        };
    }
    match quotes(text).is_open {
        true => Completeness::InQuotes,
        false => Completeness::Whole,
    }
}

/// The same as one line: line breaks within quotes as `\n`, a value that follows as a word.
pub(crate) fn one_line(text: &[u8]) -> Vec<u8> {
    if let Some((first, word, rest)) = heredoc(text) {
        let mut value = Vec::new();
        for line in rest.split(|byte| *byte == b'\n').take_while(|line| trim_cr(line) != word) {
            value.extend_from_slice(line);
            value.push(b'\n');
        }
        value.pop();
        let mut statement = first.to_vec();
        write_word(&mut statement, &value);
        return statement;
    }
    without_line_breaks(trim_cr(text))
}

/// Line breaks, which are within quotes, as escapes.
fn without_line_breaks(text: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            byte => line.push(*byte),
        }
    }
    line
}

/// Statements that are separated by `;` or a line break outside quotes.
pub(crate) fn split(text: &[u8]) -> Vec<Statement> {
    let (mut from, mut line) = (0, 1);
    let mut ends = quotes(text).ends;
    ends.push(text.len());
    let mut statements = Vec::new();
    for end in ends {
        let part = text[from..end].trim_ascii();
        if !is_blank(part) {
            statements.push(Statement { line, text: without_line_breaks(part) });
        }
        let upto = text.len().min(end + 1);
        line += text[from..upto].iter().filter(|byte| **byte == b'\n').count() as u64;
        from = end + 1;
    }
    statements
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// `PUT key <<WORD`: what stands before `<<`, the word, and the lines below.
fn heredoc(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (line, rest) = text.split_at(end);
    let line = trim_cr(line);
    let at = line.windows(2).rposition(|pair| pair == b"<<")?;
    let word = &line[at + 2..];
    let is_word = !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric);
    let stands_alone = at > 0 && line[at - 1] == b' ' && !quotes(&line[..at]).is_open;
    (is_word && stands_alone).then(|| (&line[..at], word, rest.get(1..).unwrap_or_default()))
}

struct Quotes {
    is_open: bool,
    /// Where `;` or a line break stands outside quotes.
    ends: Vec<usize>,
}

/// Only a quote at the beginning of a word is one, as for the server.
fn quotes(text: &[u8]) -> Quotes {
    let (mut is_open, mut at_word, mut at) = (false, true, 0);
    let mut ends = Vec::new();
    while at < text.len() {
        match text[at] {
            b'\\' if is_open => at += 1,
            b'"' if is_open || at_word => is_open = !is_open,
            b';' | b'\n' if !is_open => ends.push(at),
            _ => {}
        }
        at_word = !is_open && text.get(at).is_some_and(|byte| b" \t\n;".contains(byte));
        at += 1;
    }
    Quotes { is_open, ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(u64, String)> {
        let mut statements = Statements::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(statement) = statements.next().unwrap() {
            found.push((statement.line, String::from_utf8(statement.text).unwrap()));
        }
        found
    }

    #[test]
    fn a_line_is_a_statement() {
        let text = "PUT a 1\n\n# a comment\n  GET a\r\nDEL a";
        let expected = [(1, "PUT a 1"), (4, "  GET a"), (5, "DEL a")];
        assert_eq!(all(text), expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn an_open_quote_goes_on() {
        let text = "PUT a \"two\nlines\"\nPUT b 5\"disk\nGET a\n";
        let expected = [(1, r#"PUT a "two\nlines""#), (3, "PUT b 5\"disk"), (4, "GET a")];
        assert_eq!(all(text), expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(completeness(br#"PUT a "x\""#), Completeness::InQuotes);
        assert_eq!(completeness(br#"PUT a "x\"""#), Completeness::Whole);
    }

    #[test]
    fn a_value_may_follow_below() {
        let text = "PUT a <<EOF\nsay \"hi\"\n\nbye\nEOF\nGET a\n";
        let expected = [(1, r#"PUT a "say \"hi\"\n\nbye""#), (6, "GET a")];
        assert_eq!(all(text), expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(completeness(b"PUT a <<EOF\nx"), Completeness::Until("EOF".to_owned()));
        assert_eq!(all("PUT a <<EOF\nEOF\n"), [(1, "PUT a \"\"".to_owned())]);
        assert_eq!(completeness(b"PUT a 1<<4"), Completeness::Whole);
        let error = Statements::new(&b"PUT a <<EOF\nx\nEOF \n"[..]).next().unwrap_err();
        assert!(error.to_string().contains("line 1: its value has no end"), "{error}");
    }

    #[test]
    fn semicolons_separate_outside_quotes() {
        let texts: Vec<String> = split(br#"BEGIN; PUT a "1;2" ;;COMMIT;"#)
            .into_iter()
            .map(|statement| String::from_utf8(statement.text).unwrap())
            .collect();
        assert_eq!(texts, ["BEGIN", "PUT a \"1;2\"", "COMMIT"]);
        let lines = split(b"PUT k hello\nPING; GET \"a\nb\"\n\nCOUNT");
        let lines: Vec<_> = lines.iter().map(|of| (of.line, &of.text[..])).collect();
        let expected: [(u64, &[u8]); 4] =
            [(1, b"PUT k hello"), (2, b"PING"), (2, br#"GET "a\nb""#), (5, b"COUNT")];
        assert_eq!(lines, expected);
    }
}
