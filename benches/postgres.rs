//! A connection to PostgreSQL, for a generator: its own protocol, version 3, as far as it takes to
//! run prepared statements one after the other.
//!
//! A client library would do the same in more steps, at the expense of the processor that the
//! server runs on. Here a statement is one `write` and, as a rule, one `read`, as in the clients of
//! the other systems; so what is measured is the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long PostgreSQL may take to start.
const START_MAX: Duration = Duration::from_secs(20);
/// Version 3.0 of the protocol.
const PROTOCOL: i32 = 3 << 16;

/// A connection as the user `postgres`, without a password.
#[derive(Debug)]
pub struct Postgres {
    stream: TcpStream,
    request: Vec<u8>,
    reply: Vec<u8>,
}

/// What a statement came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was run, and so many rows came back or were changed.
    Rows(usize),
    /// It was refused: the code (`SQLSTATE`), and what it says.
    Refused(String, String),
}

impl Postgres {
    /// Connects, once the server lets anybody in: it listens a little before.
    pub fn open(address: SocketAddr) -> Postgres {
        let started = Instant::now();
        loop {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut connection = Postgres { stream, request: Vec::new(), reply: Vec::new() };
            let words = b"user\0postgres\0database\0postgres\0\0";
            let bytes = (8 + words.len()) as i32;
            connection.request.extend_from_slice(&bytes.to_be_bytes());
            connection.request.extend_from_slice(&PROTOCOL.to_be_bytes());
            connection.request.extend_from_slice(words);
            if connection.ask() == Some(Outcome::Rows(0)) {
                return connection;
            }
            assert!(started.elapsed() < START_MAX, "PostgreSQL lets nobody in");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs statements without parameters, which have to succeed.
    pub fn run(&mut self, sql: &str) {
        push(&mut self.request, b'Q', &[sql.as_bytes(), b"\0"]);
        self.must();
    }

    /// Adds rows to a table, each of words without tabs, by `COPY`.
    pub fn copy<'a>(&mut self, table: &str, rows: impl Iterator<Item = Vec<&'a [u8]>>) {
        push(&mut self.request, b'Q', &[format!("COPY {table} FROM STDIN\0").as_bytes()]);
        for row in rows {
            push(&mut self.request, b'd', &[&row.join(&b'\t'), b"\n"]);
            if self.request.len() > 1 << 20 {
                self.stream.write_all(&self.request).unwrap();
                self.request.clear();
            }
        }
        push(&mut self.request, b'c', &[]);
        self.must();
    }

    /// Prepares a statement under a name.
    pub fn prepare(&mut self, name: &str, sql: &str) {
        let words = [name.as_bytes(), b"\0", sql.as_bytes(), b"\0", &0_i16.to_be_bytes()];
        push(&mut self.request, b'P', &words);
        push(&mut self.request, b'S', &[]);
        self.must();
    }

    /// Has a prepared statement run, with parameters as text.
    pub fn send(&mut self, name: &str, parameters: &[&[u8]]) {
        let count = (parameters.len() as i16).to_be_bytes();
        let lengths: Vec<[u8; 4]> =
            parameters.iter().map(|word| (word.len() as i32).to_be_bytes()).collect();
        let mut words = vec![b"\0", name.as_bytes(), b"\0", &[0, 0], &count];
        for (length, word) in lengths.iter().zip(parameters) {
            words.extend([&length[..], word]);
        }
        // All columns come as text.
        words.push(&[0, 0]);
        push(&mut self.request, b'B', &words);
        push(&mut self.request, b'E', &[b"\0", &0_i32.to_be_bytes()]);
        push(&mut self.request, b'S', &[]);
        self.write();
    }

    /// Reads once, and answers what the statement came to, if the reply is whole now.
    pub fn receive(&mut self) -> Option<Outcome> {
        assert!(self.read() > 0, "PostgreSQL has gone");
        outcome(&self.reply)
    }

    /// Where replies come from.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn must(&mut self) {
        let outcome = self.ask();
        assert!(matches!(outcome, Some(Outcome::Rows(_))), "{outcome:?}");
    }

    /// Sends the request and reads until the server is ready for the next; none if it closes the
    /// connection.
    fn ask(&mut self) -> Option<Outcome> {
        self.write();
        loop {
            let read = self.read();
            let outcome = outcome(&self.reply);
            if read == 0 || outcome.is_some() {
                return outcome;
            }
        }
    }

    fn write(&mut self) {
        self.stream.write_all(&self.request).unwrap();
        self.request.clear();
        self.reply.clear();
    }

    fn read(&mut self) -> usize {
        let from = self.reply.len();
        self.reply.resize(from + 4096, 0);
        let read = self.stream.read(&mut self.reply[from..]).unwrap();
        self.reply.truncate(from + read);
        read
    }
}

/// Adds a message: its kind, how long it is, and what is in it.
fn push(out: &mut Vec<u8>, kind: u8, words: &[&[u8]]) {
    let bytes = 4 + words.iter().map(|word| word.len()).sum::<usize>();
    out.push(kind);
    out.extend_from_slice(&(bytes as i32).to_be_bytes());
    words.iter().for_each(|word| out.extend_from_slice(word));
}

/// What a reply says, once it is whole, which is when the server is ready (`Z`).
fn outcome(mut reply: &[u8]) -> Option<Outcome> {
    let mut found = Outcome::Rows(0);
    loop {
        let (kind, rest) = reply.split_first()?;
        let bytes = i32::from_be_bytes(*rest.first_chunk()?) as usize;
        let body = rest.get(4..bytes)?;
        match (kind, &mut found) {
            (b'D', Outcome::Rows(rows)) => *rows += 1,
            // UPDATE 1
            (b'C', Outcome::Rows(rows)) if body.starts_with(b"UPDATE ") => {
                let text = String::from_utf8_lossy(&body[b"UPDATE ".len()..body.len() - 1]);
                *rows += text.parse::<usize>().unwrap();
            }
            (b'E', _) => found = refused(body),
            (b'Z', _) => return Some(found),
            _ => {}
        }
        reply = &rest[bytes..];
    }
}

/// Fields, each of a letter and text: `C` is the code, `M` what it says.
fn refused(body: &[u8]) -> Outcome {
    let field = |letter: u8| {
        let field = body.split(|&byte| byte == 0).find(|field| field.first() == Some(&letter));
        field.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    Outcome::Refused(field(b'C'), field(b'M'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_when_it_is_whole() {
        let mut reply = Vec::new();
        push(&mut reply, b'2', &[]);
        push(&mut reply, b'D', &[b"\0\0"]);
        push(&mut reply, b'C', &[b"SELECT 1\0"]);
        let without_end = reply.clone();
        push(&mut reply, b'Z', &[b"T"]);
        assert_eq!(outcome(&without_end), None);
        assert_eq!(outcome(&reply[..reply.len() - 1]), None);
        assert_eq!(outcome(&reply), Some(Outcome::Rows(1)));
    }

    #[test]
    fn changed_rows_are_counted_and_errors_have_a_code() {
        let mut reply = Vec::new();
        push(&mut reply, b'C', &[b"UPDATE 2\0"]);
        push(&mut reply, b'Z', &[b"I"]);
        assert_eq!(outcome(&reply), Some(Outcome::Rows(2)));
        reply.clear();
        push(&mut reply, b'E', &[b"SERROR\0C40001\0Mcould not serialize\0\0"]);
        push(&mut reply, b'Z', &[b"E"]);
        let expected = Outcome::Refused("40001".into(), "could not serialize".into());
        assert_eq!(outcome(&reply), Some(expected));
    }
}
