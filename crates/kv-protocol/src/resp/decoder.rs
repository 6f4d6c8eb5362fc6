//! Finding requests in what a client sends: arrays of bulk strings.
//!
//! ```text
//!   *2 CRLF  $3 CRLF  GET CRLF  $5 CRLF  house CRLF
//!   words    length   word      length   word
//! ```
//!
//! A decoder looks at received bytes and never owns them. It remembers how far it has come, so that
//! a request which arrives in many pieces is read once. What a client *claims* costs nothing: room
//! is taken for what has arrived only. Faults are those of Redis, in its words, and like there the
//! connection is of no use after one, because where the next request begins is not known.

use std::fmt;
use std::ops::Range;

use smallvec::SmallVec;

use crate::limits::{RESP_HEADER_BYTES_MAX, RESP_WORD_BYTES_MAX, RESP_WORDS_MAX};

/// The byte that a request in this framing begins with; no line does that means something.
pub const ARRAY: u8 = b'*';
const BULK: u8 = b'$';

/// What the received bytes begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RespFramed {
    /// A whole request; [`RespDecoder::words`] has its words. An empty array has none, and is to be
    /// ignored.
    Request {
        /// How many bytes to drop from the front before asking again.
        consumed: usize,
    },
    /// No whole request yet: append more bytes behind these and ask again.
    Incomplete,
    /// It is none. Answer this and close.
    Fault(RespFault),
}

/// Why something is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespFault {
    /// The line with the number of words does not end.
    CountTooLong,
    /// The number of words is none, or beyond [`RESP_WORDS_MAX`].
    Count,
    /// The line with the length of a word does not end.
    LengthTooLong,
    /// Something else than a bulk string.
    NoBulk(u8),
    /// The length of a word is none, or beyond [`RESP_WORD_BYTES_MAX`] and all that is taken.
    Length,
    /// The request would be longer than a request may be, in bytes.
    TooBig(usize),
}

impl fmt::Display for RespFault {
    /// The text behind `-`, with Redis's code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RespFault::TooBig(max) => {
                write!(f, "TOOBIG the request is longer than {max} bytes; the connection is closed")
            }
            RespFault::CountTooLong => {
                f.write_str("ERR Protocol error: too big mbulk count string")
            }
            RespFault::Count => f.write_str("ERR Protocol error: invalid multibulk length"),
            RespFault::LengthTooLong => {
                f.write_str("ERR Protocol error: too big bulk count string")
            }
            RespFault::Length => f.write_str("ERR Protocol error: invalid bulk length"),
            RespFault::NoBulk(byte) => {
                // As Redis does: what could end the line early is shown as a blank.
                let shown = if byte.is_ascii_control() { ' ' } else { char::from(*byte) };
                write!(f, "ERR Protocol error: expected '$', got '{shown}'")
            }
        }
    }
}

/// The words of a request, borrowed from the received bytes.
pub type Words<'a> = SmallVec<[&'a [u8]; 8]>;

/// Finds requests in a growing buffer. One decoder serves one connection.
///
/// ```
/// use kv_protocol::{RespDecoder, RespFramed};
///
/// let mut decoder = RespDecoder::new(100);
/// let received = b"*2\r\n$3\r\nGET\r\n$5\r\nhouse\r\n*1";
/// assert_eq!(decoder.next(received), RespFramed::Request { consumed: 24 });
/// assert_eq!(decoder.words(received)[..], [&b"GET"[..], b"house"]);
/// assert_eq!(decoder.next(b"*1"), RespFramed::Incomplete);
/// ```
#[derive(Clone, Debug)]
pub struct RespDecoder {
    /// The longest request.
    request_bytes_max: usize,
    /// How many bytes at the front have been read.
    at: usize,
    /// Words that are still to come; none before their number is known.
    missing: Option<usize>,
    words: SmallVec<[Range<usize>; 4]>,
}

/// A header line that was looked for.
pub(crate) enum Header {
    /// It says this number, and ends here.
    Number(i64, usize),
    NoNumber,
    Incomplete,
    TooLong,
}

impl RespDecoder {
    /// A decoder for a new connection.
    pub fn new(request_bytes_max: usize) -> Self {
        Self { request_bytes_max, at: 0, missing: None, words: SmallVec::new() }
    }

    /// Whether part of a request has been read: what follows belongs to it, however it begins.
    #[inline]
    pub fn is_within(&self) -> bool {
        self.at > 0
    }

    /// Gives up the room of a request of many words, between requests.
    pub fn shrink(&mut self) {
        if self.at == 0 && self.words.spilled() {
            self.words = SmallVec::new();
        }
    }

    /// The words of the request that was found, in the bytes in which it was found.
    #[inline]
    pub fn words<'a>(&self, buf: &'a [u8]) -> Words<'a> {
        self.words.iter().map(|word| &buf[word.clone()]).collect()
    }

    /// Looks for a request at the front of `buf`, which begins with [`ARRAY`].
    ///
    /// After [`RespFramed::Request`], `buf` must begin behind the bytes consumed; after
    /// [`RespFramed::Incomplete`], it must begin with the same bytes as before.
    #[inline]
    pub fn next(&mut self, buf: &[u8]) -> RespFramed {
        if self.missing.is_none() {
            self.words.clear();
            match header(buf, self.at) {
                Header::Number(count, end) => {
                    let Ok(count) = usize::try_from(count.max(0)) else {
                        return RespFramed::Fault(RespFault::Count);
                    };
                    if count > RESP_WORDS_MAX {
                        return RespFramed::Fault(RespFault::Count);
                    }
                    self.missing = Some(count);
                    self.at = end;
                }
                Header::NoNumber => return RespFramed::Fault(RespFault::Count),
                Header::TooLong => return RespFramed::Fault(RespFault::CountTooLong),
                Header::Incomplete => return RespFramed::Incomplete,
            }
        }
        while let Some(missing @ 1..) = self.missing {
            match self.next_word(buf) {
                Ok(true) => self.missing = Some(missing - 1),
                Ok(false) => return RespFramed::Incomplete,
                Err(fault) => return RespFramed::Fault(fault),
            }
        }
        self.missing = None;
        RespFramed::Request { consumed: std::mem::take(&mut self.at) }
    }

    /// Reads a word; false if it is not there yet.
    #[inline]
    fn next_word(&mut self, buf: &[u8]) -> Result<bool, RespFault> {
        let Some(&mark) = buf.get(self.at) else { return Ok(false) };
        if mark != BULK {
            return Err(RespFault::NoBulk(mark));
        }
        let (length, start) = match header(buf, self.at) {
            Header::Number(length, end) => (length, end),
            Header::NoNumber => return Err(RespFault::Length),
            Header::TooLong => return Err(RespFault::LengthTooLong),
            Header::Incomplete => return Ok(false),
        };
        let Ok(length) = usize::try_from(length) else { return Err(RespFault::Length) };
        if length > self.request_bytes_max.max(RESP_WORD_BYTES_MAX) {
            return Err(RespFault::Length);
        }
        if length > self.request_bytes_max || start + length > self.request_bytes_max {
            return Err(RespFault::TooBig(self.request_bytes_max));
        }
        let end = start + length;
        // The CRLF behind a word is not looked at, as in Redis.
        if buf.len() < end + 2 {
            return Ok(false);
        }
        self.words.push(start..end);
        self.at = end + 2;
        Ok(true)
    }
}

/// Reads the number behind the mark at `at`.
#[inline]
pub(crate) fn header(buf: &[u8], at: usize) -> Header {
    let digits = &buf[buf.len().min(at + 1)..];
    // Nearly every number has few digits, and has arrived whole.
    let mut number = 0;
    for (length, &byte) in digits.iter().take(8).enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + i64::from(byte - b'0'),
            b'\r' if length > 0 && (digits[0] != b'0' || length == 1) => {
                return if digits.len() > length + 1 {
                    Header::Number(number, at + 1 + length + 2)
                } else {
                    Header::Incomplete
                };
            }
            _ => break,
        }
    }
    long_header(digits, at)
}

#[cold]
fn long_header(digits: &[u8], at: usize) -> Header {
    let end = memchr::memchr(b'\r', digits);
    let text = &digits[..end.unwrap_or(digits.len())];
    // Redis waits for the end of what cannot become a number; nobody needs to.
    if !text.strip_prefix(b"-").unwrap_or(text).iter().all(u8::is_ascii_digit) {
        return Header::NoNumber;
    }
    if text.len() > RESP_HEADER_BYTES_MAX {
        return Header::TooLong;
    }
    let Some(length) = end else { return Header::Incomplete };
    match crate::redis::number::integer(text) {
        Some(_) if digits.len() < length + 2 => Header::Incomplete,
        Some(number) => Header::Number(number, at + 1 + length + 2),
        None => Header::NoNumber,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `stream` in pieces of the given sizes; returns the requests, and what ended them.
    fn decode(stream: &[u8], pieces: &[usize], max: usize) -> (Vec<Vec<Vec<u8>>>, RespFramed) {
        let mut decoder = RespDecoder::new(max);
        let (mut buf, mut requests) = (Vec::new(), Vec::new());
        let (mut fed, mut pieces) = (0, pieces.iter().cycle());
        loop {
            match decoder.next(&buf) {
                RespFramed::Request { consumed } => {
                    requests.push(decoder.words(&buf).iter().map(|word| word.to_vec()).collect());
                    buf.drain(..consumed);
                }
                RespFramed::Incomplete if fed < stream.len() => {
                    let end = stream.len().min(fed + *pieces.next().unwrap());
                    buf.extend_from_slice(&stream[fed..end]);
                    fed = end;
                }
                last => return (requests, last),
            }
        }
    }

    fn fault(stream: &[u8]) -> String {
        match decode(stream, &[3], 1000).1 {
            RespFramed::Fault(fault) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_are_found_one_after_the_other() {
        let stream =
            b"*1\r\n$4\r\nPING\r\n*0\r\n*-1\r\n*2\r\n$0\r\n\r\n$3\r\n\r\n\0\r\n*1\r\n$1\r\n";
        let (requests, last) = decode(stream, &[100], 1000);
        let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
        assert_eq!(requests, [words(&[b"PING"]), words(&[]), words(&[]), words(&[b"", b"\r\n\0"])]);
        assert_eq!(last, RespFramed::Incomplete);
    }

    #[test]
    fn faults_are_told_in_redis_words() {
        for (stream, told) in [
            (&b"*x\r\n"[..], "ERR Protocol error: invalid multibulk length"),
            (b"*\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*01\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*2147483648\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*99999999999999999999\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*1\r\nPING\r\n", "ERR Protocol error: expected '$', got 'P'"),
            (b"*1\r\n\n", "ERR Protocol error: expected '$', got ' '"),
            (b"*1\r\n$x\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*1\r\n$9223372036854775807\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*1\r\n$ 3\r\n", "ERR Protocol error: invalid bulk length"),
            (
                b"*1\r\n$999\r\n",
                "TOOBIG the request is longer than 1000 bytes; the connection is closed",
            ),
        ] {
            assert_eq!(fault(stream), told, "{}", stream.escape_ascii());
        }
        let endless = |begin: &[u8]| [begin, &[b'1'; RESP_HEADER_BYTES_MAX + 1]].concat();
        assert_eq!(fault(&endless(b"*")), "ERR Protocol error: too big mbulk count string");
        assert_eq!(fault(&endless(b"*1\r\n$")), "ERR Protocol error: too big bulk count string");
    }

    #[test]
    fn what_is_claimed_takes_no_room() {
        let mut decoder = RespDecoder::new(usize::MAX / 2);
        let claim = format!("*{RESP_WORDS_MAX}\r\n${RESP_WORD_BYTES_MAX}\r\n");
        assert_eq!(decoder.next(claim.as_bytes()), RespFramed::Incomplete);
        assert!(!decoder.words.spilled());
    }

    #[test]
    fn the_limit_of_a_request_is_exact() {
        let request = |length: usize| {
            let word = "x".repeat(length);
            format!("*1\r\n${length}\r\n{word}\r\n").into_bytes()
        };
        assert_eq!(decode(&request(20), &[7], 29).0.len(), 1);
        assert_eq!(decode(&request(21), &[7], 29).1, RespFramed::Fault(RespFault::TooBig(29)));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_requests(
            stream in prop::collection::vec(
                prop::sample::select(b"*$\r\n\n0123aP".to_vec()), 0..60),
            pieces in prop::collection::vec(1usize..9, 1..8),
        ) {
            let stream = [b"*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n", &stream[..]].concat();
            let whole = decode(&stream, &[stream.len()], 30);
            prop_assert_eq!(decode(&stream, &pieces, 30), whole);
        }

        #[test]
        fn what_was_written_is_read(
            words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..12),
            pieces in prop::collection::vec(1usize..20, 1..8),
        ) {
            let mut stream = Vec::new();
            crate::resp::write::request(&mut stream, words.iter().map(Vec::as_slice));
            let (requests, last) = decode(&stream, &pieces, 10_000);
            prop_assert_eq!(requests, [words]);
            prop_assert_eq!(last, RespFramed::Incomplete);
        }
    }
}
