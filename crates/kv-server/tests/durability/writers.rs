//! Clients that write as fast as they are answered, each in a thread of its own, until the server
//! is gone; and one that reads.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use kv_testkit::server::{Client, TestServer};

use crate::journal::{Commit, Journal, Outcome, Written};
use crate::numbers::Numbers;

/// Keys of each writer.
const KEYS: usize = 12;
/// A load on a server.
#[derive(Debug)]
pub(crate) struct Load {
    writers: Vec<JoinHandle<Written>>,
    reader: JoinHandle<u64>,
}

/// How much is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) writers: usize,
    /// Commits of each, unless the server goes before.
    pub(crate) commits_max: usize,
    /// Some values are so long.
    pub(crate) value_bytes: usize,
    /// Most commits that each has under way.
    pub(crate) pipelined_max: usize,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic { writers: 4, commits_max: 400, value_bytes: 2000, pipelined_max: 12 }
    }
}

impl Load {
    /// Lets the clients loose. `life` tells the writers of one start of the server from those of
    /// the next.
    pub(crate) fn start(server: &TestServer, traffic: Traffic, life: usize, seed: u64) -> Load {
        let writer = |(number, client)| {
            let name = format!("w{life}_{number}");
            let numbers = Numbers::new(seed, life * 100 + number);
            std::thread::spawn(move || Writer::new(name, client, numbers, traffic).run())
        };
        // All are there before the first says something: it may be the server's end.
        let clients: Vec<_> =
            (0..traffic.writers).map(|number| (number, server.connect())).collect();
        let reader = {
            let client = server.connect();
            let numbers = Numbers::new(seed, life * 100 + 99);
            std::thread::spawn(move || read(client, numbers, life, traffic))
        };
        Load { writers: clients.into_iter().map(writer).collect(), reader }
    }

    /// Waits for the clients' end, and notes what they did.
    pub(crate) fn join(self, journal: &mut Journal) {
        for writer in self.writers {
            journal.writers.push(writer.join().expect("a writer does not fail"));
        }
        journal.shown = journal.shown.max(self.reader.join().expect("a reader does not fail"));
    }
}

/// Reads until the connection ends; answers the highest revision that it was shown.
fn read(mut client: Client, mut numbers: Numbers, life: usize, traffic: Traffic) -> u64 {
    let mut shown = 0;
    for _ in 0..traffic.commits_max {
        let writer = numbers.below(traffic.writers);
        let line = format!("META w{life}_{writer}-k{}\n", numbers.below(KEYS));
        if !client.try_send_raw(line) {
            break;
        }
        let Some(Ok(reply)) = client.read_line_or_cut() else { break };
        let revision = reply.split_whitespace().find_map(|word| word.strip_prefix("revision="));
        let revision = revision.map(|revision| revision.parse().expect("a revision is a number"));
        shown = shown.max(revision.unwrap_or(0));
    }
    shown
}

#[derive(Debug)]
struct Writer {
    written: Written,
    client: Client,
    numbers: Numbers,
    traffic: Traffic,
    /// What has been sent and not answered: for each reply, which commit it decides, if any.
    awaited: Vec<Option<usize>>,
}

impl Writer {
    fn new(writer: String, client: Client, numbers: Numbers, traffic: Traffic) -> Writer {
        let written = Written { writer, commits: Vec::new() };
        Writer { written, client, numbers, traffic, awaited: Vec::new() }
    }

    fn run(mut self) -> Written {
        while self.written.commits.len() < self.traffic.commits_max {
            let mut lines = String::new();
            for _ in 0..=self.numbers.below(self.traffic.pipelined_max) {
                self.plan(&mut lines);
            }
            if !self.client.try_send_raw(&lines) || !self.read_replies() {
                break;
            }
        }
        self.written
    }

    /// Notes what is to be committed next, and adds the commands to do it.
    fn plan(&mut self, lines: &mut String) {
        let number = self.written.commits.len();
        let mut changes = BTreeMap::new();
        let value = self.value(number);
        match self.numbers.below(10) {
            0..6 => {
                let key = self.key();
                self.command(lines, &format!("PUT {key} {value}"), Some(number));
                changes.insert(key, Some(value));
            }
            kind => {
                self.command(lines, "BEGIN", None);
                for _ in 0..=self.numbers.below(4) {
                    let key = self.key();
                    if self.numbers.below(4) == 0 {
                        self.command(lines, &format!("DEL {key}"), None);
                        changes.insert(key, None);
                    } else {
                        self.command(lines, &format!("PUT {key} {value}"), None);
                        changes.insert(key, Some(value.clone()));
                    }
                }
                if kind >= 8 {
                    self.nested(lines, &value, &mut changes, kind == 8);
                }
                // So that a commit that only deletes can be told, too.
                let last = format!("{}-last", self.written.writer);
                self.command(lines, &format!("PUT {last} {value}"), None);
                changes.insert(last, Some(value));
                self.command(lines, "COMMIT", Some(number));
            }
        }
        self.written.commits.push(Commit { changes, outcome: Outcome::Unknown });
    }

    fn nested(
        &mut self,
        lines: &mut String,
        value: &str,
        changes: &mut BTreeMap<String, Option<String>>,
        is_kept: bool,
    ) {
        let key = self.key();
        self.command(lines, "BEGIN NESTED", None);
        self.command(lines, &format!("PUT {key} {value}"), None);
        if is_kept {
            self.command(lines, "COMMIT", None);
            changes.insert(key, Some(value.to_owned()));
        } else {
            self.command(lines, "ROLLBACK", None);
        }
    }

    fn command(&mut self, lines: &mut String, line: &str, decides: Option<usize>) {
        lines.push_str(line);
        lines.push('\n');
        self.awaited.push(decides);
    }

    fn key(&mut self) -> String {
        format!("{}-k{}", self.written.writer, self.numbers.below(KEYS))
    }

    fn value(&mut self, number: usize) -> String {
        let is_long = self.numbers.below(10) == 0;
        let bytes = if is_long { self.numbers.below(self.traffic.value_bytes) } else { 0 };
        format!("{}.{number}:{}", self.written.writer, "x".repeat(bytes))
    }

    /// Reads the replies to all that was sent; false if the connection has ended.
    fn read_replies(&mut self) -> bool {
        for decides in std::mem::take(&mut self.awaited) {
            let Some(Ok(reply)) = self.client.read_line_or_cut() else { return false };
            if let Some(number) = decides {
                self.written.commits[number].outcome = outcome_of(&reply);
            }
            if reply.starts_with("ERR ") && !self.end_refused() {
                return false;
            }
        }
        true
    }
}

impl Writer {
    /// Ends a transaction whose commit was refused, if it was one: it is still open, and what is
    /// sent next would become part of it. False if the connection has ended, or if that has been
    /// sent already.
    fn end_refused(&mut self) -> bool {
        if self.traffic.pipelined_max > 1 {
            return false;
        }
        if !self.client.try_send_raw("ROLLBACK\n") {
            return false;
        }
        let Some(reply) = self.client.read_line_or_end() else { return false };
        reply == "OK" || reply.starts_with("ERR NOTX ")
    }
}

fn outcome_of(reply: &str) -> Outcome {
    if reply == "OK" {
        return Outcome::Committed;
    }
    let code = reply.strip_prefix("ERR ").and_then(|text| text.split(' ').next());
    match code {
        Some("OUTCOME") => Outcome::Unknown,
        Some("DISKFULL" | "SHUTDOWN" | "NOTX" | "IO") => Outcome::Refused,
        _ => panic!("a commit is answered {reply:?}"),
    }
}
