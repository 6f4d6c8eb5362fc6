//! The keys of requests that are still to be read, guessed: nearly every command has its key as the
//! second word. A server that knows them can bring them into the processor's cache meanwhile.
//!
//! Nothing here decides anything. What is not yet whole ends the guessing, and so does whatever
//! looks odd; the decoders will say what it is.

use crate::resp::decoder::{ARRAY, Header, header};
use crate::word::is_blank;

/// The second words of whole requests, in either framing, from the front of what was received.
#[derive(Debug, Clone)]
pub struct KeysAhead<'a> {
    received: &'a [u8],
}

impl<'a> KeysAhead<'a> {
    /// Begins at a request.
    pub fn new(received: &'a [u8]) -> Self {
        Self { received }
    }

    fn next_of_array(&mut self) -> Option<&'a [u8]> {
        let number = |at| match header(self.received, at) {
            Header::Number(number, end) => Some((usize::try_from(number).ok()?, end)),
            Header::NoNumber | Header::Incomplete | Header::TooLong => None,
        };
        let (words, mut at) = number(0)?;
        let mut key = &self.received[..0];
        for word in 0..words {
            let (length, start) = number(at)?;
            at = start.checked_add(length)?;
            let bytes = self.received.get(start..at)?;
            if word == 1 {
                key = bytes;
            }
            at += 2;
        }
        self.received = self.received.get(at..)?;
        Some(key)
    }

    fn next_of_line(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.received)?;
        let line = &self.received[..end];
        self.received = &self.received[end + 1..];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let verb = line.iter().position(|byte| is_blank(*byte)).unwrap_or(line.len());
        let rest = line[verb..].trim_ascii_start();
        let (rest, ends): (&[u8], fn(&u8) -> bool) = match rest {
            [b'"', rest @ ..] => (rest, |byte| *byte == b'"'),
            rest => (rest, |byte| is_blank(*byte)),
        };
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        Some(&rest[..length])
    }
}

impl<'a> Iterator for KeysAhead<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self.received.first() {
            Some(&ARRAY) => self.next_of_array(),
            Some(_) => self.next_of_line(),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_words_of_either_framing() {
        let arrays = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPUT b 1\n*1\r\n$4\r\nPING\r\n";
        let lines = b"get \"c d\"\r\n\nPING\n";
        let last = b"*3\r\n$3\r\nSET\r\n$1\r\ne\r\n$1\r\n1\r\n*2\r\n$3\r\nGET";
        let received = [&arrays[..], lines, last].concat();
        let keys: Vec<&[u8]> = KeysAhead::new(&received).collect();
        assert_eq!(keys, [&b"a"[..], b"b", b"", b"c d", b"", b"", b"e"]);
    }

    #[test]
    fn what_is_odd_ends_it() {
        for received in
            [&b"*x\r\n"[..], b"*2\r\n$99999999999999999999\r\n", b"*1\r\n$-1\r\n", b"GET"]
        {
            assert_eq!(KeysAhead::new(received).next(), None);
        }
        let claim = format!("*2\r\n$3\r\nGET\r\n${}\r\n", usize::MAX / 2);
        assert_eq!(KeysAhead::new(claim.as_bytes()).next(), None);
        assert_eq!(KeysAhead::new(b"*0\r\n*-1\r\n").count(), 1);
    }
}
