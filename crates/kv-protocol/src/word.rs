//! Splitting one line into words, and (in [`quote`]) writing words so that they split again.
//!
//! Spaces and tabs separate words; every other byte is taken as it is, UTF-8 or not, NUL and lone
//! CR included. Two rules decide what a quote is:
//!
//! - A word that *begins* with `"` is quoted: it ends at the next unescaped `"`, which must be
//!   followed by a space, a tab or the end of the line. `"a"b` is an error rather than two words,
//!   because it is nearly always a quote that should have been escaped.
//! - Anywhere else a `"` is an ordinary byte: `5"disk` is one word of six bytes. Backslashes mean
//!   something in quoted words only.
//!
//! A word without escapes is borrowed from the line; nothing is allocated on the common path. The
//! line comes without its LF or CRLF: framing is [`line`](crate::line)'s work, meaning is
//! [`request`](crate::request)'s.

use std::borrow::Cow;
use std::fmt;

pub mod quote;

pub use quote::{Shown, write_quoted, write_word};

/// One word of a line. Commands treat quoted and unquoted words alike; replies do not, since
/// `NIL` and `"NIL"` differ there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// What the word says, escapes resolved.
    pub bytes: Cow<'a, [u8]>,
    /// Whether it stood in quotes.
    pub quoted: bool,
}

impl Word<'_> {
    /// The same word, free of the line.
    pub fn into_owned(self) -> Word<'static> {
        Word { bytes: Cow::Owned(self.bytes.into_owned()), quoted: self.quoted }
    }
}

/// Why a line could not be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordError {
    /// Where in the line, in bytes from 0. The text counts from 1, as people do.
    pub position: usize,
    /// What is wrong there.
    pub fault: WordFault,
}

/// The ways in which a quoted word can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordFault {
    /// The quote at the position has no partner.
    QuoteNotClosed,
    /// The backslash at the position is followed by this byte, which makes no escape.
    EscapeUnknown(u8),
    /// The `\x` at the position is not followed by two hexadecimal digits.
    HexExpected,
    /// The closing quote at the position is followed by something other than a space or tab.
    SpaceExpected,
}

impl fmt::Display for WordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: ", self.position + 1)?;
        match self.fault {
            WordFault::QuoteNotClosed => {
                f.write_str("this quote is never closed; put a \" before the end of the line")
            }
            WordFault::EscapeUnknown(byte) => write!(
                f,
                "\\{} is not an escape; expected \\\" \\\\ \\n \\r \\t \\0 or \\xHH",
                byte.escape_ascii()
            ),
            WordFault::HexExpected => {
                f.write_str("\\x must be followed by two hexadecimal digits, as in \\x0a")
            }
            WordFault::SpaceExpected => f.write_str(
                "expected a space or the end of the line after this closing quote; \
                 a quote inside a quoted word is written \\\"",
            ),
        }
    }
}

impl std::error::Error for WordError {}

/// The words of one line, split one at a time as they are asked for.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    /// Starts at the beginning of a line, given without its LF or CRLF.
    pub fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The next word, or `None` at the end of the line. After an error there are no more words.
    pub fn next_word(&mut self) -> Result<Option<Word<'a>>, WordError> {
        if self.is_at_end() {
            return Ok(None);
        }
        let quoted = self.line[self.at] == b'"';
        let bytes = match self.next_borrowed() {
            Some(bytes) => Cow::Borrowed(bytes),
            None => self.next_unescaped()?,
        };
        Ok(Some(Word { bytes, quoted }))
    }

    /// The next word, if it can be borrowed from the line. `None`, with nothing read, at the end
    /// of the line, before a word with escapes and before a fault.
    ///
    /// This is the hot path: what it returns fits into two registers.
    #[inline]
    pub(crate) fn next_borrowed(&mut self) -> Option<&'a [u8]> {
        if self.is_at_end() {
            return None;
        }
        let rest = &self.line[self.at..];
        if rest[0] != b'"' {
            let length = unquoted_length(rest);
            self.at += length;
            return Some(&rest[..length]);
        }
        let length = memchr::memchr2(b'"', b'\\', &rest[1..])?;
        let (open, after) = (1, 1 + length);
        let is_whole = rest[after] == b'"' && rest.get(after + 1).is_none_or(|b| is_blank(*b));
        if !is_whole {
            return None;
        }
        self.at += after + 1;
        Some(&rest[open..after])
    }

    /// Skips blanks; whether nothing follows them.
    #[inline]
    pub(crate) fn is_at_end(&mut self) -> bool {
        while let Some(byte) = self.line.get(self.at) {
            if !is_blank(*byte) {
                return false;
            }
            self.at += 1;
        }
        true
    }

    /// The quoted word here, which has escapes or a fault.
    #[cold]
    fn next_unescaped(&mut self) -> Result<Cow<'a, [u8]>, WordError> {
        let scanned = unescape(self.line, self.at);
        let (bytes, end) = scanned.inspect_err(|_| self.at = self.line.len())?;
        self.at = end;
        Ok(Cow::Owned(bytes))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Result<Word<'a>, WordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_word().transpose()
    }
}

/// Whether a byte separates words.
#[inline]
pub(crate) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Most words are shorter than this; for them, eight bytes at a time beat a call into memchr.
const SHORT_WORD_BYTES: usize = 32;

#[inline]
fn unquoted_length(rest: &[u8]) -> usize {
    let (short, long) = rest.split_at(rest.len().min(SHORT_WORD_BYTES));
    let (groups, tail) = short.as_chunks::<8>();
    for (index, group) in groups.iter().enumerate() {
        let found = blanks_in(u64::from_le_bytes(*group));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    if let Some(end) = tail.iter().position(|byte| is_blank(*byte)) {
        return groups.len() * 8 + end;
    }
    short.len() + memchr::memchr2(b' ', b'\t', long).unwrap_or(long.len())
}

/// Eight bytes as one number: the lowest bit that is set marks the first space or tab.
///
/// A byte is zero where it equals what it was compared with, and only a zero byte borrows into its
/// own highest bit without having had that bit before. A borrow can mark bytes above the first
/// zero byte wrongly, never below it.
#[inline]
fn blanks_in(group: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let zeroes = |bytes: u64| bytes.wrapping_sub(EACH) & !bytes & (EACH << 7);
    zeroes(group ^ (EACH * b' ' as u64)) | zeroes(group ^ (EACH * b'\t' as u64))
}

/// The word whose opening quote is at `open`, and where the line goes on after its closing quote.
fn unescape(line: &[u8], open: usize) -> Result<(Vec<u8>, usize), WordError> {
    let fail = |position, fault| Err(WordError { position, fault });
    let mut bytes = Vec::new();
    let mut at = open + 1;
    loop {
        let Some(run) = memchr::memchr2(b'"', b'\\', &line[at..]) else {
            return fail(open, WordFault::QuoteNotClosed);
        };
        let stop = at + run;
        bytes.extend_from_slice(&line[at..stop]);
        if line[stop] == b'"' {
            return match line.get(stop + 1) {
                Some(byte) if !is_blank(*byte) => fail(stop, WordFault::SpaceExpected),
                _ => Ok((bytes, stop + 1)),
            };
        }
        match escape(&line[stop + 1..]) {
            Ok((byte, length)) => {
                bytes.push(byte);
                at = stop + 1 + length;
            }
            Err(Some(fault)) => return fail(stop, fault),
            Err(None) => return fail(open, WordFault::QuoteNotClosed),
        }
    }
}

/// The byte that an escape stands for and the length of the escape without its backslash. An
/// `Err(None)` means that the line ended first.
fn escape(rest: &[u8]) -> Result<(u8, usize), Option<WordFault>> {
    let byte = match rest.first() {
        None => return Err(None),
        Some(b'"') => b'"',
        Some(b'\\') => b'\\',
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'0') => 0,
        Some(b'x') => {
            let digit = |at: usize| rest.get(at).and_then(|byte| (*byte as char).to_digit(16));
            let (Some(high), Some(low)) = (digit(1), digit(2)) else {
                return Err(Some(WordFault::HexExpected));
            };
            return Ok(((high * 16 + low) as u8, 3));
        }
        Some(other) => return Err(Some(WordFault::EscapeUnknown(*other))),
    };
    Ok((byte, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, WordError> {
        Words::new(line).map(|word| word.map(|word| word.bytes.into_owned())).collect()
    }

    fn fails(line: &[u8]) -> (usize, WordFault) {
        let error = split(line).unwrap_err();
        (error.position, error.fault)
    }

    #[test]
    fn spaces_and_tabs_separate_words() {
        assert_eq!(split(b" GET\t key  1 ").unwrap(), [&b"GET"[..], b"key", b"1"]);
        assert!(split(b"").unwrap().is_empty());
        assert!(split(b" \t  ").unwrap().is_empty());
    }

    #[test]
    fn every_other_byte_is_taken_as_it_is() {
        assert_eq!(
            split(b"a\0b \xff\xfe \r x\ry").unwrap(),
            [&b"a\0b"[..], b"\xff\xfe", b"\r", b"x\ry"]
        );
    }

    #[test]
    fn a_quote_or_backslash_inside_an_unquoted_word_is_literal() {
        assert_eq!(split(br#"5"disk a\n c""#).unwrap(), [&b"5\"disk"[..], b"a\\n", b"c\""]);
    }

    #[test]
    fn escapes_stand_in_quoted_words() {
        let line = br#""\"\\\n\r\t\0\x7f\xAb" "" "a b""#;
        assert_eq!(split(line).unwrap(), [&b"\"\\\n\r\t\0\x7f\xab"[..], b"", b"a b"]);
    }

    #[test]
    fn only_a_word_with_an_escape_is_copied() {
        let copied: Vec<bool> = Words::new(br#"k "a b" "a\tb""#)
            .map(|word| matches!(word.unwrap().bytes, Cow::Owned(_)))
            .collect();
        assert_eq!(copied, [false, false, true]);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told_where_it_was_opened() {
        assert_eq!(fails(b"PUT k \"abc"), (6, WordFault::QuoteNotClosed));
        assert_eq!(fails(b"\""), (0, WordFault::QuoteNotClosed));
        assert_eq!(fails(b"\"abc\\"), (0, WordFault::QuoteNotClosed));
        assert_eq!(fails(b"\"abc\\\""), (0, WordFault::QuoteNotClosed));
    }

    #[test]
    fn each_invalid_escape_is_told() {
        assert_eq!(fails(br#"k "\q""#), (3, WordFault::EscapeUnknown(b'q')));
        assert_eq!(fails(br#"k "\N""#), (3, WordFault::EscapeUnknown(b'N')));
        assert_eq!(fails(br#"k "\ ""#), (3, WordFault::EscapeUnknown(b' ')));
        assert_eq!(fails(br#"k "a\1""#), (4, WordFault::EscapeUnknown(b'1')));
        assert_eq!(fails(br#"k "\X41""#), (3, WordFault::EscapeUnknown(b'X')));
        for bad in [&br#"k "\x""#[..], br#"k "\x4""#, br#"k "\xg0""#, br#"k "\x0g""#, br#"k "\x"#] {
            assert_eq!(fails(bad), (3, WordFault::HexExpected));
        }
    }

    #[test]
    fn a_closing_quote_ends_its_word() {
        assert_eq!(fails(br#"PUT "a"b c"#), (6, WordFault::SpaceExpected));
        assert_eq!(fails(br#""a""b""#), (2, WordFault::SpaceExpected));
        assert_eq!(split(b"\"a\"\t\"b\"").unwrap(), [b"a", b"b"]);
    }

    #[test]
    fn long_words_are_found_whole() {
        for length in [SHORT_WORD_BYTES - 1, SHORT_WORD_BYTES, SHORT_WORD_BYTES + 1, 1000] {
            let word = vec![b'x'; length];
            let line = [&word[..], b"\t", &word, b" y"].concat();
            assert_eq!(split(&line).unwrap(), [&word[..], &word, b"y"]);
        }
    }

    #[test]
    fn texts_say_where_and_what_was_expected() {
        let text = split(b"k \"a").unwrap_err().to_string();
        assert_eq!(text, "byte 3: this quote is never closed; put a \" before the end of the line");
        assert!(split(b"\"\\\n\"").unwrap_err().to_string().contains(r"\\n is not an escape"));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = split(&line);
        }

        #[test]
        fn lines_of_quotes_and_escapes_never_panic(line in r#"["\\x0n a]{0,20}"#) {
            let _ = split(line.as_bytes());
        }
    }
}
