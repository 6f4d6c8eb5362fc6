//! Drives a running server over TCP, in its line protocol: one connection a session, and one more
//! that looks at `LOCKS` to learn who waits.
//!
//! It only needs the server's address and the standard library, so it knows of the server no more
//! than `nc` does. A thread a connection reads lines; nothing else is concurrent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::driver::{Driver, is_list_command};

/// After so long without rest, something hangs.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait for more replies before looking at the locks again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// A script's view of a server that listens somewhere.
pub struct TcpDriver {
    address: SocketAddr,
    sessions: BTreeMap<String, Connection>,
    observer: Connection,
}

impl TcpDriver {
    /// Connects the observer; sessions connect at their first use.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let observer = Connection::open(address)?;
        Ok(Self { address, sessions: BTreeMap::new(), observer })
    }

    /// The sessions that have not replied to all they were sent.
    fn unanswered(&mut self) -> Vec<&str> {
        let sessions = self.sessions.iter_mut();
        let unanswered = sessions.filter_map(|(name, connection)| {
            connection.receive();
            connection.is_unanswered().then_some(name.as_str())
        });
        unanswered.collect()
    }

    fn describe(&mut self, what: &str) -> String {
        let locks = self.locks().unwrap_or_else(|error| vec![error]);
        let names = self.unanswered().join(", ");
        format!("{what}: no reply from {names}; LOCKS says: {}", locks.join(" / "))
    }
}

impl Driver for TcpDriver {
    fn send(&mut self, session: &str, line: &str) -> Result<(), String> {
        if !self.sessions.contains_key(session) {
            let connection = Connection::open(self.address)
                .map_err(|error| format!("cannot connect to {}: {error}", self.address))?;
            self.sessions.insert(session.to_string(), connection);
        }
        match self.sessions.get_mut(session) {
            Some(connection) => connection.send(line),
            None => Ok(()),
        }
    }

    fn poll(&mut self, session: &str) -> Option<Vec<String>> {
        let connection = self.sessions.get_mut(session)?;
        connection.receive();
        connection.replies.pop_front()
    }

    /// At rest is: the sessions without a reply are as many as the sessions that wait for a lock,
    /// and no reply came while that was looked up. (Who waits has no reply, so as many means the
    /// same ones.)
    fn settle(&mut self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let before = self.unanswered().len();
            if before == 0 {
                return Ok(());
            }
            let rows = self.locks()?;
            let waiting: BTreeSet<&str> =
                rows.iter().filter_map(|row| waiting_session(row)).collect();
            let waiting = waiting.len();
            if self.unanswered().len() == before && waiting == before {
                return Ok(());
            }
            if let Some(name) = self.unanswered_but_closed() {
                return Err(self.describe(&format!("the server closed {name}'s connection")));
            }
            if started.elapsed() > SETTLED_WITHIN {
                return Err(self.describe(&format!("not at rest after {SETTLED_WITHIN:?}")));
            }
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    fn close(&mut self, session: &str) {
        self.sessions.remove(session);
    }

    fn locks(&mut self) -> Result<Vec<String>, String> {
        let mut rows = self.observer.ask("LOCKS")?;
        match rows.pop() {
            Some(last) if last.starts_with("END ") => Ok(rows),
            last => Err(format!("LOCKS was answered with {last:?}")),
        }
    }
}

impl TcpDriver {
    fn unanswered_but_closed(&self) -> Option<String> {
        let mut sessions = self.sessions.iter();
        let closed =
            sessions.find(|(_, connection)| connection.is_closed && connection.is_unanswered());
        closed.map(|(name, _)| name.clone())
    }
}

/// The session that a row of `LOCKS` says is waiting. The key in the middle may hold anything,
/// spaces too, so the row is read from both ends.
fn waiting_session(row: &str) -> Option<&str> {
    let state = row.split_ascii_whitespace().rev().nth(1)?;
    (state == "waiting").then(|| row.split_ascii_whitespace().next())?
}

/// One connection and what has come over it.
struct Connection {
    stream: TcpStream,
    lines: Receiver<String>,
    /// For each command without a complete reply: is it a list?
    due: VecDeque<bool>,
    /// Rows of the list that is being received.
    rows: Vec<String>,
    replies: VecDeque<Vec<String>>,
    is_closed: bool,
}

impl Connection {
    fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let reader = BufReader::new(stream.try_clone()?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in reader.split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let due = VecDeque::new();
        let replies = VecDeque::new();
        Ok(Self { stream, lines, due, rows: Vec::new(), replies, is_closed: false })
    }

    fn send(&mut self, line: &str) -> Result<(), String> {
        self.due.push_back(is_list_command(line));
        let sent = self.stream.write_all(format!("{line}\n").as_bytes());
        sent.map_err(|error| format!("cannot send: {error}"))
    }

    fn is_unanswered(&self) -> bool {
        !self.due.is_empty()
    }

    /// Takes over what has come, without waiting.
    fn receive(&mut self) {
        loop {
            match self.lines.try_recv() {
                Ok(line) => self.accept(line),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }

    fn accept(&mut self, line: String) {
        let is_list = self.due.front().copied().unwrap_or(false);
        let is_last = !is_list || line.starts_with("ERR ") || is_end(&line);
        self.rows.push(line);
        if is_last {
            self.due.pop_front();
            self.replies.push_back(std::mem::take(&mut self.rows));
        }
    }

    /// Sends a line and waits for its reply.
    fn ask(&mut self, line: &str) -> Result<Vec<String>, String> {
        self.send(line)?;
        while self.replies.is_empty() {
            match self.lines.recv_timeout(SETTLED_WITHIN) {
                Ok(line) => self.accept(line),
                Err(RecvTimeoutError::Timeout) => return Err(format!("no reply to {line}")),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the server closed the connection at {line}"));
                }
            }
        }
        Ok(self.replies.pop_front().unwrap_or_default())
    }
}

impl Drop for Connection {
    /// Without this the reader thread's half would keep the connection open.
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// `END 7`
fn is_end(line: &str) -> bool {
    line.strip_prefix("END ").is_some_and(|count| count.parse::<u64>().is_ok())
}
