//! A client that knows no more than the framing, so that replies are seen as they are sent.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use kv_protocol::resp::write::request;
use kv_testkit::server::PATIENCE;

/// A reply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// A line: simple string, error, integer, null, with its mark.
    Line(String),
    /// A bulk string or verbatim string.
    Bulk(Vec<u8>),
    /// An array, a set, or the names and values of a map.
    Many(char, Vec<Value>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Line(line) => f.write_str(line),
            Value::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Many('*', values) => f.debug_list().entries(values).finish(),
            Value::Many(mark, values) => {
                write!(f, "{mark}")?;
                f.debug_list().entries(values).finish()
            }
        }
    }
}

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    received: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let received = BufReader::new(stream.try_clone().unwrap());
        Wire { stream, received }
    }

    /// The received bytes as they are.
    pub(crate) fn stream(&mut self) -> &mut impl Read {
        &mut self.received
    }

    pub(crate) fn send(&mut self, words: &[&[u8]]) {
        let mut bytes = Vec::new();
        request(&mut bytes, words.iter().copied());
        self.send_raw(&bytes);
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends words that blanks divide, and reads the reply; shown as text.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        format!("{:?}", self.ask_words(&words))
    }

    pub(crate) fn ask_words(&mut self, words: &[&[u8]]) -> Value {
        self.send(words);
        self.read()
    }

    pub(crate) fn read(&mut self) -> Value {
        self.try_read().unwrap()
    }

    /// None when the server has closed the connection.
    pub(crate) fn try_read(&mut self) -> Option<Value> {
        let mut line = Vec::new();
        self.received.read_until(b'\n', &mut line).ok().filter(|bytes| *bytes > 0)?;
        let line = String::from_utf8(line).unwrap();
        let line = line.strip_suffix("\r\n").unwrap().to_owned();
        let (mark, rest) = (line.chars().next().unwrap(), &line[1..]);
        Some(match mark {
            '$' | '=' if rest != "-1" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.received.read_exact(&mut bytes).unwrap();
                assert!(bytes.ends_with(b"\r\n"));
                bytes.truncate(bytes.len() - 2);
                Value::Bulk(bytes)
            }
            '*' | '~' | '%' if rest != "-1" => {
                let count: usize = rest.parse().unwrap();
                let count = if mark == '%' { 2 * count } else { count };
                Value::Many(mark, (0..count).map(|_| self.read()).collect())
            }
            _ => Value::Line(line),
        })
    }
}

/// Asks for each of the first, which is to be answered with the second.
pub(crate) fn converse(wire: &mut Wire, exchanges: &[(&str, &str)]) {
    for (request, reply) in exchanges {
        assert_eq!(wire.ask(request), *reply, "{request}");
    }
}
