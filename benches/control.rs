//! A connection for a command now and then: what a server says of itself, and checkpoints.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A checkpoint of many keys takes its time.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// A connection to this repository's server or to `redis-server`, which both take lines.
#[derive(Debug)]
pub struct Control(BufReader<TcpStream>);

/// Figures that a server gives of itself, by name.
#[derive(Debug, Default)]
pub struct Stats(BTreeMap<String, u64>);

impl Control {
    /// Opens it.
    pub fn open(address: SocketAddr) -> Control {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        Control(BufReader::new(stream))
    }

    /// Says one line and returns the first line of the reply.
    pub fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.line()
    }

    /// Says one line that has to be answered with OK.
    pub fn must(&mut self, line: &str) {
        let reply = self.say(line);
        assert!(matches!(reply.as_str(), "OK" | "+OK"), "{line}: {reply}");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the server has gone");
        line.trim_end().to_owned()
    }

    /// This repository's server: the rows of STATS that are numbers.
    pub fn stats(&mut self) -> Stats {
        let mut stats = Stats::default();
        let mut line = self.say("STATS");
        while !line.starts_with("END ") {
            stats.add(line.split_once('='));
            line = self.line();
        }
        stats
    }

    /// `redis-server`: the fields of INFO that are numbers.
    pub fn redis_info(&mut self) -> Stats {
        let head = self.say("INFO everything");
        let bytes: usize = head.strip_prefix('$').unwrap().parse().unwrap();
        let mut text = vec![0; bytes + 2];
        self.0.read_exact(&mut text).unwrap();
        let mut stats = Stats::default();
        let text = String::from_utf8(text).unwrap();
        text.lines().for_each(|line| stats.add(line.split_once(':')));
        stats
    }
}

impl Stats {
    fn add(&mut self, named: Option<(&str, &str)>) {
        if let Some((name, Ok(value))) = named.map(|(name, value)| (name, value.parse())) {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// The figure of this name.
    pub fn get(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("the server says nothing of {name}"))
    }

    /// By how much a figure that counts has grown since `before`.
    pub fn since(&self, before: &Stats, name: &str) -> u64 {
        self.get(name) - before.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_figures() {
        let mut stats = Stats::default();
        for line in ["keys=7", "version=0.1.0", "# Server"] {
            stats.add(line.split_once('='));
        }
        assert_eq!(stats.0.len(), 1);
        let mut later = Stats::default();
        later.add(Some(("keys", "9")));
        assert_eq!((stats.get("keys"), later.since(&stats, "keys")), (7, 2));
    }
}
