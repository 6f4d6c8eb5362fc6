//! Writing bytes as words: the inverse of splitting, for replies, requests and error texts.
//!
//! There are two quoted forms on purpose. A *reply* shows a value to people, so control bytes and
//! bytes that are not UTF-8 become `\xhh` and the whole line is text. A *request* is written by a
//! program and must fit the line limit, so it escapes only what would end the word or the line and
//! never more than doubles the size.

use std::fmt;

use crate::limits::SHOWN_BYTES_MAX;

/// How many bytes are judged at once. The compiler turns the fold over one chunk into vector
/// instructions.
const CHUNK_BYTES: usize = 16;

/// Appends `bytes` as replies show them: always in quotes; `\"` `\\` `\n` `\r` `\t` `\0`; other
/// control bytes and bytes that are not part of valid UTF-8 as `\xhh`; all else raw.
pub fn write_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    write_escaped(out, bytes);
    out.push(b'"');
}

/// What stands between the quotes of [`write_quoted`].
fn write_escaped(out: &mut Vec<u8>, mut rest: &[u8]) {
    loop {
        let (plain, after) = rest.split_at(plain_length(rest, stands_in_reply));
        out.extend_from_slice(plain);
        let Some(first) = after.first() else { return };
        if first.is_ascii() {
            write_escape(out, *first);
            rest = &after[1..];
        } else {
            // Sequences of UTF-8 consist of bytes above ASCII only, so such a run stands alone.
            let length = after.iter().take_while(|byte| !byte.is_ascii()).count();
            write_beyond_ascii(out, &after[..length]);
            rest = &after[length..];
        }
    }
}

/// Whether a byte stands for itself in a reply.
const fn stands_in_reply(byte: u8) -> bool {
    byte >= 0x20 && byte < 0x7f && byte != b'"' && byte != b'\\'
}

/// How many bytes at the start satisfy `is_plain`, and can be copied in one go.
#[inline]
pub(crate) fn plain_length(bytes: &[u8], is_plain: impl Fn(u8) -> bool) -> usize {
    let (chunks, _) = bytes.as_chunks::<CHUNK_BYTES>();
    let is_whole = |chunk: &&[u8; CHUNK_BYTES]| {
        // Not `all`, which would stop early: without a branch a byte, the chunk is one vector.
        chunk.iter().fold(true, |plain, byte| plain & is_plain(*byte))
    };
    let start = chunks.iter().take_while(is_whole).count() * CHUNK_BYTES;
    start + bytes[start..].iter().take_while(|byte| is_plain(**byte)).count()
}

fn write_beyond_ascii(out: &mut Vec<u8>, run: &[u8]) {
    for chunk in run.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        for byte in chunk.invalid() {
            write_hex(out, *byte);
        }
    }
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0 => b'0',
        _ => return write_hex(out, byte),
    };
    out.extend_from_slice(&[b'\\', letter]);
}

fn write_hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
    out.extend_from_slice(&[b'\\', b'x', high, low]);
}

/// Appends `bytes` as one word of a request: unquoted where that splits back to the same bytes,
/// else quoted with the fewest escapes.
///
/// A word that is `HTTP/1.0` or `HTTP/1.1` is quoted although it need not be, because a first
/// request that ends with it would be taken for HTTP and the connection closed.
pub fn write_word(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_unquotable(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    loop {
        let (plain, after) = rest.split_at(plain_length(rest, stands_in_request));
        out.extend_from_slice(plain);
        let Some((first, others)) = after.split_first() else { break };
        write_escape(out, *first);
        rest = others;
    }
    out.push(b'"');
}

/// Whether a byte stands for itself in a quoted word of a request.
const fn stands_in_request(byte: u8) -> bool {
    !matches!(byte, b'"' | b'\\' | b'\n' | b'\r')
}

/// Whether a word can go without quotes. Other control bytes could too, but a terminal that shows
/// the line is better served with quotes around them.
fn is_unquotable(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes[0] != b'"'
        && bytes.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
        && !crate::line::is_http_version(bytes)
}

/// Bytes of a client's as an error text shows them: quoted as in replies, and cut off after
/// [`SHOWN_BYTES_MAX`] bytes, so that a mistake of 16 MiB is not answered with 16 MiB.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = cut_length(self.0);
        let mut quoted = Vec::with_capacity(cut + 2);
        write_quoted(&mut quoted, &self.0[..cut]);
        f.write_str(&String::from_utf8_lossy(&quoted))?;
        if cut < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

/// How much of `bytes` to show: the limit, less a character of UTF-8 that it would cut in two.
fn cut_length(bytes: &[u8]) -> usize {
    if bytes.len() <= SHOWN_BYTES_MAX {
        return bytes.len();
    }
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    (SHOWN_BYTES_MAX - 3..=SHOWN_BYTES_MAX)
        .rev()
        .find(|at| !is_continuation(bytes[*at]))
        .unwrap_or(SHOWN_BYTES_MAX)
}

/// Appends a text for people with its control characters escaped, so that it stays on one line.
/// Quotes and backslashes stay as they are: the text is read, not split.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            0..0x20 | 0x7f => write_escape(out, byte),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::Words;
    use proptest::prelude::*;

    fn quoted(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_quoted(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    fn word(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_word(&mut out, bytes);
        out
    }

    #[test]
    fn replies_escape_exactly_what_they_must() {
        assert_eq!(quoted(b"value999"), r#""value999""#);
        assert_eq!(quoted(b""), r#""""#);
        assert_eq!(quoted(b"\"\\\n\r\t\0"), r#""\"\\\n\r\t\0""#);
        assert_eq!(quoted(b"\x01\x1f\x7f"), r#""\x01\x1f\x7f""#);
        assert_eq!(quoted("Häuser 家".as_bytes()), r#""Häuser 家""#);
        assert_eq!(quoted(b"\xffa\xc3(\xe5\xae"), r#""\xffa\xc3(\xe5\xae""#);
        // A control character of Unicode is valid UTF-8 and no control byte.
        assert_eq!(quoted("\u{85}".as_bytes()), "\"\u{85}\"");
    }

    #[test]
    fn an_escape_is_found_at_every_place_of_a_chunk() {
        for at in 0..3 * CHUNK_BYTES {
            let mut bytes = vec![b'x'; 3 * CHUNK_BYTES];
            bytes[at] = b'\n';
            assert_eq!(quoted(&bytes).find("\\n"), Some(at + 1));
        }
    }

    #[test]
    fn requests_quote_only_what_needs_it() {
        assert_eq!(word(b"house"), b"house");
        assert_eq!(word(b"5\"disk"), b"5\"disk");
        assert_eq!(word(b"\xff\xfe"), b"\xff\xfe");
        assert_eq!(word(b""), b"\"\"");
        assert_eq!(word(b"a b"), b"\"a b\"");
        assert_eq!(word(b"\"a"), b"\"\\\"a\"");
        assert_eq!(word(b"a\n\r\0"), b"\"a\\n\\r\0\"");
        assert_eq!(word(b"HTTP/1.1"), b"\"HTTP/1.1\"");
    }

    #[test]
    fn shown_input_is_cut_off_between_characters() {
        assert_eq!(Shown(b"a b").to_string(), r#""a b""#);
        let long = vec![b'x'; 100];
        assert_eq!(Shown(&long).to_string(), format!("\"{}\"…", "x".repeat(64)));
        let accents = "é".repeat(50);
        assert_eq!(Shown(accents.as_bytes()).to_string(), format!("\"{}\"…", "é".repeat(32)));
        let shifted = format!("x{accents}");
        assert_eq!(Shown(shifted.as_bytes()).to_string(), format!("\"x{}\"…", "é".repeat(31)));
        assert!(Shown(&[0x80; 100]).to_string().starts_with("\"\\x80"));
    }

    proptest! {
        #[test]
        fn both_forms_split_back_to_the_same_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let line = [quoted(&bytes).as_bytes(), b" ", &word(&bytes)].concat();
            let words: Vec<_> = Words::new(&line).map(|word| word.unwrap().bytes).collect();
            prop_assert_eq!(words.len(), 2);
            prop_assert_eq!(&*words[0], &bytes[..]);
            prop_assert_eq!(&*words[1], &bytes[..]);
            prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
        }

        #[test]
        fn a_request_never_more_than_doubles(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(word(&bytes).len() <= 2 * bytes.len() + 2);
        }

        #[test]
        fn text_of_utf8_stays_readable(text in "[a-zA-Zäöü家 ]{0,40}") {
            prop_assert_eq!(quoted(text.as_bytes()), format!("\"{text}\""));
        }
    }
}
