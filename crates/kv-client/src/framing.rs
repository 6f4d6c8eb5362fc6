//! Where a reply ends: one line, or the rows of a list up to its `END` or `ERR`.
//!
//! The requests are lines, too. Against arrays of the Redis protocol, which the server also takes,
//! lines measure the same for small commands, and lists of any length stream.

use memchr::{memchr, memchr2};

/// Finds the ends of replies in what has arrived so far, looking at each byte once.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    /// Where the line begins that is looked at.
    line: usize,
    /// Up to where it has no end.
    searched: usize,
    /// Whether the lines before it are rows of a list.
    in_list: bool,
}

/// What a line is for the reply that it belongs to.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// A reply by itself, or the end of a list.
    Last,
    /// A row of a list; more lines follow.
    Row,
}

impl Framer {
    /// How many bytes at the beginning of `buf` are the next reply. Then the caller takes them
    /// away; what `buf` begins with must otherwise be what it began with at the last call.
    pub(crate) fn next(&mut self, buf: &[u8]) -> Option<usize> {
        while let Some(found) = memchr(b'\n', &buf[self.searched..]) {
            let end = self.searched + found;
            let kind = classify(&buf[self.line..end], self.in_list);
            self.line = end + 1;
            self.searched = end + 1;
            match kind {
                Line::Row => self.in_list = true,
                Line::Last => {
                    *self = Framer::default();
                    return Some(end + 1);
                }
            }
        }
        self.searched = buf.len();
        None
    }
}

/// What a line is, without its LF. A row begins as no other reply does, or has a second word.
fn classify(line: &[u8], in_list: bool) -> Line {
    let first = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    match first {
        b"END" | b"ERR" => Line::Last,
        _ if in_list => Line::Row,
        b"OK" | b"NIL" | b"PONG" => Line::Last,
        // In the JSON format every reply is one line.
        [b'{', ..] => Line::Last,
        [b'"', ..] if quoted_len(line) == line.len() => Line::Last,
        [b'-' | b'0'..=b'9', ..] if first.len() == line.len() => Line::Last,
        // No reply at all: whoever reads it says so.
        [] => Line::Last,
        _ => Line::Row,
    }
}

/// How long the quoted word is that a line begins with.
fn quoted_len(line: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = line.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if line[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The replies in a text that arrives in pieces of this size.
    fn replies(text: &str, piece_bytes: usize) -> Vec<String> {
        let (mut framer, mut buf, mut found) = (Framer::default(), Vec::new(), Vec::new());
        for piece in text.as_bytes().chunks(piece_bytes) {
            buf.extend_from_slice(piece);
            while let Some(len) = framer.next(&buf) {
                let reply: Vec<u8> = buf.drain(..len).collect();
                found.push(String::from_utf8(reply).unwrap());
            }
        }
        assert!(buf.is_empty(), "left over: {}", buf.escape_ascii());
        found
    }

    #[test]
    fn every_kind_of_reply_is_found_however_it_arrives() {
        let all = [
            "OK\n",
            "OK 12\n",
            "NIL\n",
            "PONG\n",
            "-7\n",
            "\"\"\n",
            "\"a\\\"b c\"\n",
            "\"a\\\\\"\n",
            "ERR NOTX there is none\n",
            "END 0\n",
            "\"a\" \"1\"\n\"END\" \"2\"\nEND 2\n",
            "\"a\\\\\" \"1\"\nERR TIMEOUT midway\n",
            "3 17 2026-11-20T10:00:00.123Z \"v\"\n2 16 2026-11-20T10:00:00.123Z NIL\nEND 2\n",
            "keys=3\ndurability=fsync\nEND 2\n",
            "1 - SERIALIZABLE open 5 2\nEND 1\n",
            "{\"status\":\"Ok\",\"rows\":[],\"count\":0}\n",
            "\n",
        ];
        for piece_bytes in [1, 2, 3, 7, 1000] {
            assert_eq!(replies(&all.concat(), piece_bytes), all, "{piece_bytes}");
        }
    }
}
