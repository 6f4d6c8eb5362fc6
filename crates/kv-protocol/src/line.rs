//! Framing: where one line ends in the bytes that a connection has received so far.
//!
//! The caller owns the bytes; a [`LineDecoder`] only remembers how far it has searched, so that a
//! line of 40 MiB that arrives in small pieces is searched once and not once a piece. It bounds
//! the length of a line whether or not its end has arrived, and it recognises HTTP spoken to the
//! wrong port, where a web page could otherwise smuggle commands in its body. It does not look
//! into a line beyond that; see [`word`](crate::word).

use std::ops::Range;

use crate::word::{Word, Words, is_blank};

/// What the received bytes begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// A whole line.
    Line {
        /// Where the line stands, without its LF or CRLF.
        line: Range<usize>,
        /// How many bytes to drop from the front before asking again.
        consumed: usize,
    },
    /// No whole line yet: append more bytes behind these and ask again.
    Incomplete,
    /// The line is over the limit. Answer TOOBIG and close: where it ends is not known.
    TooLong,
    /// HTTP was spoken to this port. Close at once, without an answer.
    HttpRequest,
}

/// Finds lines in a growing buffer. One decoder serves one connection.
///
/// ```
/// use kv_protocol::{Framed, LineDecoder};
///
/// let mut decoder = LineDecoder::new(100);
/// assert_eq!(decoder.next(b"GET ho"), Framed::Incomplete);
/// assert_eq!(decoder.next(b"GET house\r\nPI"), Framed::Line { line: 0..9, consumed: 11 });
/// assert_eq!(decoder.next(b"PI"), Framed::Incomplete);
/// ```
#[derive(Clone, Debug)]
pub struct LineDecoder {
    /// The longest line, without its LF or CRLF.
    line_bytes_max: usize,
    /// How many bytes at the front are known to hold no LF.
    searched: usize,
    /// Whether a line with a word in it has been returned.
    past_first_request: bool,
}

impl LineDecoder {
    /// A decoder for a new connection.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, searched: 0, past_first_request: false }
    }

    /// Changes the limit from the next call on, as authentication does.
    pub fn set_line_bytes_max(&mut self, line_bytes_max: usize) {
        self.line_bytes_max = line_bytes_max;
    }

    /// The limit in force.
    pub fn line_bytes_max(&self) -> usize {
        self.line_bytes_max
    }

    /// Whether part of a line has been searched: its end was not there.
    #[inline]
    pub fn is_within(&self) -> bool {
        self.searched > 0
    }

    /// Looks for a line at the front of `buf`.
    ///
    /// After [`Framed::Line`], `buf` must begin behind the bytes consumed; after
    /// [`Framed::Incomplete`], it must begin with the same bytes as before.
    #[inline]
    pub fn next(&mut self, buf: &[u8]) -> Framed {
        // Beyond the limit only CR and LF can follow, so nothing further away matters.
        let window = &buf[..buf.len().min(self.line_bytes_max.saturating_add(2))];
        let unsearched = window.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', unsearched) else {
            return self.without_end(window);
        };
        let line_feed = self.searched + found;
        let end = line_feed - usize::from(buf[..line_feed].ends_with(b"\r"));
        if end > self.line_bytes_max {
            return Framed::TooLong;
        }
        self.searched = 0;
        if self.is_http(&buf[..end]) {
            return Framed::HttpRequest;
        }
        Framed::Line { line: 0..end, consumed: line_feed + 1 }
    }

    fn without_end(&mut self, window: &[u8]) -> Framed {
        // The one byte over the limit may be the CR of a CRLF whose LF is still under way.
        let line_bytes = window.len() - usize::from(window.ends_with(b"\r"));
        if line_bytes > self.line_bytes_max {
            return Framed::TooLong;
        }
        self.searched = window.len();
        Framed::Incomplete
    }

    #[inline]
    fn is_http(&mut self, line: &[u8]) -> bool {
        if line.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'h')) {
            const HEADER: &[u8] = b"host:";
            if line.get(..HEADER.len()).is_some_and(|head| head.eq_ignore_ascii_case(HEADER)) {
                return true;
            }
        }
        if self.past_first_request {
            return false;
        }
        // An empty line is no request, so the first one is still to come after it.
        self.past_first_request = !line.iter().all(|byte| is_blank(*byte));
        ends_with_http_version(line)
    }
}

/// Whether a word names a version of HTTP that is spoken in lines.
pub(crate) fn is_http_version(word: &[u8]) -> bool {
    matches!(word, b"HTTP/1.0" | b"HTTP/1.1")
}

/// Whether the last word of a line is a version of HTTP and does not stand in quotes.
fn ends_with_http_version(line: &[u8]) -> bool {
    let trimmed = line.trim_ascii_end();
    if !trimmed.len().checked_sub(8).is_some_and(|start| is_http_version(&trimmed[start..])) {
        return false;
    }
    // Only now, once a connection at most, it is worth finding out where quotes begin and end.
    let last = Words::new(line).last();
    matches!(last, Some(Ok(Word { ref bytes, quoted: false })) if is_http_version(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `stream` in pieces of the given sizes; returns the lines, and what ended them.
    fn decode(stream: &[u8], pieces: &[usize], line_bytes_max: usize) -> (Vec<Vec<u8>>, Framed) {
        let mut decoder = LineDecoder::new(line_bytes_max);
        let (mut buf, mut lines) = (Vec::new(), Vec::new());
        let (mut fed, mut pieces) = (0, pieces.iter().cycle());
        loop {
            match decoder.next(&buf) {
                Framed::Line { line, consumed } => {
                    lines.push(buf[line].to_vec());
                    buf.drain(..consumed);
                }
                Framed::Incomplete if fed < stream.len() => {
                    let piece = *pieces.next().unwrap();
                    let end = stream.len().min(fed + piece);
                    buf.extend_from_slice(&stream[fed..end]);
                    fed = end;
                }
                last => return (lines, last),
            }
        }
    }

    #[test]
    fn lf_and_crlf_end_a_line_and_a_lone_cr_does_not() {
        let (lines, last) = decode(b"a\nb\r\n\r\n\nc\rd\r\r\nrest", &[100], 50);
        assert_eq!(lines, [&b"a"[..], b"b", b"", b"", b"c\rd\r"]);
        assert_eq!(last, Framed::Incomplete);
    }

    #[test]
    fn the_limit_is_exact() {
        for end in ["\n", "\r\n"] {
            for piece in [1, 2, 100] {
                let lines_of = |length: usize| {
                    let stream = format!("{}{end}", "x".repeat(length));
                    decode(stream.as_bytes(), &[piece], 10)
                };
                assert_eq!(lines_of(9).0.len(), 1);
                assert_eq!(lines_of(10), (vec![vec![b'x'; 10]], Framed::Incomplete));
                assert_eq!(lines_of(11), (vec![], Framed::TooLong));
            }
        }
    }

    #[test]
    fn a_line_too_long_is_refused_before_its_end_has_arrived() {
        let next = |buf: &[u8]| LineDecoder::new(4).next(buf);
        assert_eq!(next(b"1234"), Framed::Incomplete);
        assert_eq!(next(b"1234\r"), Framed::Incomplete);
        assert_eq!(next(b"12345"), Framed::TooLong);
        assert_eq!(next(b"1234\r\r"), Framed::TooLong);
        assert_eq!(next(b"1234\r\r\n"), Framed::TooLong);
    }

    #[test]
    fn the_limit_can_be_raised_within_a_connection() {
        let mut decoder = LineDecoder::new(4);
        assert_eq!(decoder.next(b"1234"), Framed::Incomplete);
        decoder.set_line_bytes_max(6);
        assert_eq!(decoder.next(b"123456\n"), Framed::Line { line: 0..6, consumed: 7 });
        assert_eq!(decoder.line_bytes_max(), 6);
    }

    #[test]
    fn what_was_searched_is_not_searched_again() {
        let mut decoder = LineDecoder::new(100);
        assert_eq!(decoder.next(b"abc"), Framed::Incomplete);
        assert_eq!(decoder.searched, 3);
        assert_eq!(decoder.next(b"abcdef\n"), Framed::Line { line: 0..6, consumed: 7 });
        assert_eq!(decoder.searched, 0);
    }

    #[test]
    fn http_as_the_first_request_is_recognised() {
        for http in ["POST / HTTP/1.1\r\n", "\n  \nGET /x HTTP/1.0\n", "GET / HTTP/1.1 \t\n"] {
            assert_eq!(decode(http.as_bytes(), &[100], 100).1, Framed::HttpRequest, "{http}");
        }
        let lines = ["PUT k \"x HTTP/1.1\"\n", "PUT k \"HTTP/1.1\"\n", "PUT k xHTTP/1.1\n"];
        for line in lines.into_iter().chain(["PUT k \"x HTTP/1.1\n", "PUT k HTTP/1.1 x\n"]) {
            assert_eq!(decode(line.as_bytes(), &[100], 100).0.len(), 1, "{line}");
        }
        assert_eq!(decode(b"PING\nPUT k HTTP/1.1\n", &[100], 100).0.len(), 2);
    }

    #[test]
    fn a_host_header_is_recognised_wherever_it_comes() {
        let (lines, last) = decode(b"PING\nhOsT: localhost\r\n", &[100], 100);
        assert_eq!((lines.len(), last), (1, Framed::HttpRequest));
        assert_eq!(decode(b"Host:\n", &[3], 100).1, Framed::HttpRequest);
        assert_eq!(decode(b"HOST\nHELP\n Host:\n", &[3], 100).0.len(), 3);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            stream in prop::collection::vec(
                prop::sample::select(b"ab\r\n\n \"Host:HTTP/1.1".to_vec()), 0..120),
            pieces in prop::collection::vec(1usize..9, 1..8),
            line_bytes_max in 0usize..20,
        ) {
            let whole = decode(&stream, &[stream.len().max(1)], line_bytes_max);
            prop_assert_eq!(decode(&stream, &pieces, line_bytes_max), whole);
        }
    }
}
