//! Sessions that nobody would write by hand: what ever they say, the server lives, answers each
//! request once, and is clean when they have gone.

use kv_testkit::server::Client;

use crate::{Numbers, server};

const WORDS: [&str; 72] = [
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "COMMITALL",
    "PUT",
    "GET",
    "DEL",
    "EXISTS",
    "INCR",
    "META",
    "HISTORY",
    "SCAN",
    "COUNT",
    "SHOWALL",
    "TRANSACTIONS",
    "REVISION",
    "LOCKS",
    "SHARDS",
    "STATS",
    "CHECK",
    "FORMAT",
    "PING",
    "VERSION",
    "HELP",
    "NESTED",
    "SERIALIZABLE",
    "SNAPSHOT",
    "READONLY",
    "AT",
    "WAIT",
    "0",
    "1",
    "2",
    "3",
    "4",
    "7",
    "9223372036854775807",
    "18446744073709551615",
    "-1",
    "10ms",
    "a",
    "b",
    "c",
    "\"\"",
    "\"a b\"",
    "\"\\xff\"",
    "\"\\",
    "\"",
    "JSON",
    "TEXT",
    "IF",
    "ABSENT",
    "PRESENT",
    "VERSION",
    "FOR",
    "UPDATE",
    "BY",
    "PREFIX",
    "RANGE",
    "LIMIT",
    "MATCH",
    "REGEX",
    "VALUE",
    "EQ",
    "NUMBER",
    "NEAREST",
    "a*[",
    "^a?",
    "AFTER",
    "\0",
    "\u{80}",
    "Host",
];

/// A line of words that may belong together.
fn line(numbers: &mut Numbers) -> Vec<u8> {
    let mut line = Vec::new();
    for _ in 0..1 + numbers.below(6) {
        line.extend(numbers.choose(&WORDS).as_bytes());
        line.push(*numbers.choose(b"    \t"));
    }
    if numbers.below(20) == 0 {
        let at = numbers.below(line.len());
        line[at] = numbers.below(256) as u8;
    }
    line.retain(|byte| *byte != b'\n');
    if line.first() == Some(&b'*') {
        // That would be no line.
        line[0] = b'x';
    }
    line
}

/// Reads replies until that of a request that is recognised, whatever the format.
fn read_to_mark(client: &mut Client) {
    loop {
        let line = client.read_line();
        if line.contains("mark-of-the-end") {
            return;
        }
    }
}

#[test]
fn random_requests_do_no_harm() {
    let server = server(&["--lock-timeout", "5ms", "--max-nesting", "8"]);
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let mut numbers = Numbers(seed);
                for _ in 0..12 {
                    let mut client = server.connect();
                    client.send("PING");
                    for _ in 0..80 {
                        client.send(line(&mut numbers));
                    }
                    client.send("mark-of-the-end");
                    read_to_mark(&mut client);
                }
            });
        }
    });
    server.check_idle();
}

#[test]
fn random_bytes_do_no_harm() {
    let server = server(&["--max-value", "1kb", "--max-key", "1kb", "--max-line", "8kb"]);
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let alphabet: &[u8] = if seed % 2 == 0 { b"PUTGEab \"\\x0\n\r\0\xff" } else { b"" };
        let byte = |numbers: &mut Numbers| match alphabet {
            [] => numbers.below(256) as u8,
            some => *numbers.choose(some),
        };
        let bytes: Vec<u8> = (0..20_000).map(|_| byte(&mut numbers)).collect();
        let mut client = server.connect();
        let _ = client.try_send_raw(&bytes);
        let _ = client.try_send_raw("\nQUIT\n");
        let replies = client.read_to_end();
        assert!(replies.lines().all(|reply| !reply.starts_with("ERR INTERNAL")), "{seed}");
    }
    assert_eq!(server.connect().ask("CHECK"), "OK");
}

/// The trees of a session, and what is open in them, as a plain model.
#[derive(Default)]
struct Model {
    begun: u64,
    /// The open levels of each tree, the root first.
    trees: Vec<Vec<u64>>,
}

impl Model {
    fn open(&self) -> Vec<u64> {
        let mut open: Vec<u64> = self.trees.concat();
        open.sort_unstable();
        open
    }

    fn begin(&mut self, parent: Option<u64>) -> String {
        let Some(parent) = parent else {
            self.begun += 1;
            self.trees.push(vec![self.begun]);
            return format!("OK {}", self.begun);
        };
        match self.trees.iter_mut().find(|tree| tree.contains(&parent)) {
            None => "ERR NOTX".to_owned(),
            Some(tree) if tree.last() != Some(&parent) => "ERR BUSY".to_owned(),
            Some(tree) => {
                self.begun += 1;
                tree.push(self.begun);
                format!("OK {}", self.begun)
            }
        }
    }

    fn end(&mut self, txn: u64) -> String {
        for tree in &mut self.trees {
            if let Some(at) = tree.iter().position(|open| *open == txn) {
                tree.truncate(at);
                self.trees.retain(|tree| !tree.is_empty());
                return "OK".to_owned();
            }
        }
        "ERR NOTX".to_owned()
    }

    fn use_one(&self, txn: u64) -> String {
        match self.trees.iter().find(|tree| tree.contains(&txn)) {
            None => "ERR NOTX".to_owned(),
            Some(tree) if tree.last() != Some(&txn) => "ERR BUSY".to_owned(),
            Some(_) => "OK".to_owned(),
        }
    }
}

/// Transactions begun, nested and ended in every order, parents before children and twice.
#[test]
fn transactions_may_be_ended_in_any_order() {
    let server = server(&[]);
    for seed in 0..6 {
        let (mut client, mut model) = (server.connect(), Model::default());
        let mut numbers = Numbers(seed);
        for _ in 0..300 {
            let txn = 1 + numbers.below(model.begun as usize + 2) as u64;
            let txn = match model.open() {
                open if !open.is_empty() && numbers.below(3) > 0 => *numbers.choose(&open),
                _ => txn,
            };
            let (request, expected) = match numbers.below(8) {
                0 => ("BEGIN".to_owned(), model.begin(None)),
                1..=3 => (format!("BEGIN {txn}"), model.begin(Some(txn))),
                4 => (format!("COMMIT {txn}"), model.end(txn)),
                5 => (format!("ROLLBACK {txn}"), model.end(txn)),
                // Each tree has keys of its own, as others would be BUSY.
                _ => {
                    let root = model.trees.iter().find(|tree| tree.contains(&txn));
                    let root = root.map_or(0, |tree| tree[0]);
                    (format!("PUT key{root} {txn} {txn}"), model.use_one(txn))
                }
            };
            let reply = client.ask(&request);
            let is_right = reply == expected
                || (expected.starts_with("ERR") && reply.starts_with(&format!("{expected} ")));
            assert!(is_right, "seed {seed}: {request}: {reply}, not {expected}");
        }
        let rows = client.ask_list("TRANSACTIONS");
        let ids: Vec<u64> =
            rows.iter().map_while(|row| row.split(' ').next()?.parse().ok()).collect();
        assert_eq!(ids, model.open(), "seed {seed}");
        assert_eq!(client.ask("COMMITALL"), format!("OK {}", ids.len()));
    }
}

/// COMMITALL with trees that are aborted among others that are not.
#[test]
fn commitall_commits_what_can_be() {
    let server = server(&[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    for (request, reply) in [
        ("BEGIN SNAPSHOT", "OK 1"),
        ("BEGIN", "OK 2"),
        ("BEGIN SNAPSHOT", "OK 3"),
        ("BEGIN 3", "OK 4"),
        ("BEGIN 2", "OK 5"),
        ("PUT two 1 5", "OK"),
        ("PUT one 1 1", "OK"),
    ] {
        assert_eq!(client.ask(request), reply);
    }
    assert_eq!(other.ask("PUT a 1"), "OK");
    assert!(client.ask("PUT a 2 4").starts_with("ERR CONFLICT "));
    let reply = client.ask("COMMITALL");
    assert!(reply.starts_with("ERR ABORTED 3 committed; 3 not: "), "{reply}");
    assert_eq!(client.ask_list("TRANSACTIONS").len(), 3);
    assert!(client.ask("COMMITALL").starts_with("ERR ABORTED 0 committed; 3 not: "));
    assert_eq!(client.ask("ROLLBACK 4"), "OK");
    assert_eq!(client.ask("COMMITALL"), "OK 0");
    assert_eq!(other.ask_list("SCAN").len(), 4);
}
