//! Transactions as programs run them: each command is sent when the reply to the last one is there.
//!
//! A client is a connection, and it is the same for every system: one `write` and one `read` a
//! command. One thread has all clients, and sleeps until a reply is there for one of them, as
//! pgbench does: with a thread for each, most of what is measured is how those are woken up. A
//! transaction that the server aborts because of another one is rolled back and begun again until
//! it commits; its latency counts from its first beginning.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::measure::Latencies;
use crate::postgres::{Outcome, Postgres};
use crate::workload::{Key, Value};

/// A command of a transaction.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// Begins a serializable one.
    Begin,
    /// Reads a key, which is there.
    Get(&'a Key),
    /// Reads a key that is about to be written.
    GetForUpdate(&'a Key),
    /// Writes a key, which is there.
    Put(&'a Key, &'a Value),
    /// Ends it.
    Commit,
    /// Gives it up.
    Rollback,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The transaction cannot go on because of another one, and is to be begun again.
    Again,
}

/// A connection on which transactions are run.
pub trait Client {
    /// Sends a command.
    fn say(&mut self, step: Step<'_>);

    /// Reads once, and answers what became of the command, if its reply is whole now. Panics at a
    /// reply that is not expected.
    fn hear(&mut self, step: Step<'_>) -> Option<Answer>;

    /// Where replies come from.
    fn stream(&self) -> &TcpStream;
}

/// This repository's server, in lines or in the framing of Redis.
#[derive(Debug)]
pub struct OurClient {
    stream: TcpStream,
    is_resp: bool,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl OurClient {
    /// Connects.
    pub fn open(address: SocketAddr, is_resp: bool) -> OurClient {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        OurClient { stream, is_resp, request: Vec::new(), reply: Vec::new() }
    }

    fn write(&mut self, words: &[&[u8]]) {
        self.request.clear();
        if self.is_resp {
            write!(self.request, "*{}\r\n", words.len()).unwrap();
            for word in words {
                write!(self.request, "${}\r\n", word.len()).unwrap();
                self.request.extend_from_slice(word);
                self.request.extend_from_slice(b"\r\n");
            }
        } else {
            self.request.extend_from_slice(&words.join(&b' '));
            self.request.push(b'\n');
        }
        self.stream.write_all(&self.request).unwrap();
    }

    /// Reads once; whether there is a whole reply now: a line, or a bulk string of two.
    fn read(&mut self) -> bool {
        let from = self.reply.len();
        self.reply.resize(from + 1024, 0);
        let read = self.stream.read(&mut self.reply[from..]).unwrap();
        assert!(read > 0, "the server has gone");
        self.reply.truncate(from + read);
        let lines = if self.reply.first() == Some(&b'$') { 2 } else { 1 };
        self.reply.iter().filter(|&&byte| byte == b'\n').count() >= lines
    }
}

/// Whether a reply says that another transaction was in the way.
fn is_in_the_way(reply: &[u8]) -> bool {
    let text = reply.strip_prefix(b"ERR ").or_else(|| reply.strip_prefix(b"-"));
    let codes: [&[u8]; 4] = [b"DEADLOCK", b"CONFLICT", b"ABORTED", b"TIMEOUT"];
    text.is_some_and(|text| codes.iter().any(|code| text.starts_with(code)))
}

impl Client for OurClient {
    fn say(&mut self, step: Step<'_>) {
        self.reply.clear();
        match (step, self.is_resp) {
            (Step::Begin, _) => self.write(&[b"BEGIN"]),
            (Step::Get(key), _) => self.write(&[b"GET", key]),
            (Step::GetForUpdate(key), false) => self.write(&[b"GET", key, b"FOR", b"UPDATE"]),
            (Step::GetForUpdate(key), true) => {
                self.write(&[b"KV", b"GET", key, b"FOR", b"UPDATE"]);
            }
            (Step::Put(key, value), _) => self.write(&[b"PUT", key, value]),
            (Step::Commit, _) => self.write(&[b"COMMIT"]),
            (Step::Rollback, _) => self.write(&[b"ROLLBACK"]),
        }
    }

    fn hear(&mut self, step: Step<'_>) -> Option<Answer> {
        if !self.read() {
            return None;
        }
        let starts: &[&[u8]] = match step {
            Step::Begin => &[b"OK ", b":"],
            Step::Get(_) | Step::GetForUpdate(_) => &[b"\"", b"$64"],
            Step::Put(..) | Step::Commit | Step::Rollback => &[b"OK", b"+OK"],
        };
        if starts.iter().any(|start| self.reply.starts_with(start)) {
            return Some(Answer::Done);
        }
        assert!(is_in_the_way(&self.reply), "{step:?}: {}", self.reply.escape_ascii());
        Some(Answer::Again)
    }

    fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// PostgreSQL with the table `kv (k, v)` and prepared statements.
#[derive(Debug)]
pub struct PostgresClient(Postgres);

impl PostgresClient {
    /// Makes the table and fills it.
    pub fn fill(address: SocketAddr, keys: &[Key], values: &[Value]) {
        let mut connection = Postgres::open(address);
        connection.run("CREATE TABLE kv (k text PRIMARY KEY, v text NOT NULL)");
        let rows = keys.iter().zip(values.iter().cycle());
        connection.copy("kv", rows.map(|(key, value)| vec![&key[..], &value[..]]));
        connection.run("VACUUM ANALYZE kv");
        connection.run("CHECKPOINT");
    }

    /// Connects and prepares what it is going to say.
    pub fn open(address: SocketAddr) -> PostgresClient {
        let mut connection = Postgres::open(address);
        for (name, sql) in [
            ("begin", "BEGIN"),
            ("get", "SELECT v FROM kv WHERE k = $1"),
            ("lock", "SELECT v FROM kv WHERE k = $1 FOR UPDATE"),
            // All keys are there; an INSERT … ON CONFLICT would cost it more.
            ("put", "UPDATE kv SET v = $2 WHERE k = $1"),
            ("commit", "COMMIT"),
            ("rollback", "ROLLBACK"),
        ] {
            connection.prepare(name, sql);
        }
        PostgresClient(connection)
    }
}

impl Client for PostgresClient {
    fn say(&mut self, step: Step<'_>) {
        match step {
            Step::Begin => self.0.send("begin", &[]),
            Step::Get(key) => self.0.send("get", &[key]),
            Step::GetForUpdate(key) => self.0.send("lock", &[key]),
            Step::Put(key, value) => self.0.send("put", &[key, value]),
            Step::Commit => self.0.send("commit", &[]),
            Step::Rollback => self.0.send("rollback", &[]),
        }
    }

    fn hear(&mut self, step: Step<'_>) -> Option<Answer> {
        let rows = match step {
            Step::Get(_) | Step::GetForUpdate(_) | Step::Put(..) => 1,
            Step::Begin | Step::Commit | Step::Rollback => 0,
        };
        match self.0.receive()? {
            Outcome::Rows(found) if found == rows => Some(Answer::Done),
            // serialization_failure, deadlock_detected
            Outcome::Refused(code, _) if ["40001", "40P01"].contains(&code.as_str()) => {
                Some(Answer::Again)
            }
            other => panic!("{step:?}: {other:?}"),
        }
    }

    fn stream(&self) -> &TcpStream {
        self.0.stream()
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Committed {
    /// Transactions that committed.
    pub commits: usize,
    /// Those that were begun again.
    pub retries: usize,
    /// Of transactions, from their first beginning.
    pub latencies: Latencies,
    /// Wall time.
    pub elapsed: Duration,
}

/// Has every client read and write a key in transactions, one after the other, for a while.
/// `chooser(n)` makes what chooses the keys of the n-th client.
pub fn read_and_write<C: FnMut() -> Key>(
    clients: &mut [Box<dyn Client>],
    chooser: impl Fn(usize) -> C,
    value: &Value,
    is_for_update: bool,
    time: Duration,
) -> Committed {
    let started = Instant::now();
    let mut run = Committed::default();
    let mut choosers: Vec<C> = (0..clients.len()).map(chooser).collect();
    let mut under_way: Vec<UnderWay> = choosers
        .iter_mut()
        .zip(clients.iter_mut())
        .map(|(choose, client)| UnderWay::begin(choose(), client.as_mut()))
        .collect();
    let mut ready = Vec::new();
    while under_way.iter().any(|of| !of.is_over) {
        wait(clients, &under_way, &mut ready);
        for &at in &ready {
            let (client, choose) = (clients[at].as_mut(), &mut choosers[at]);
            let of = &mut under_way[at];
            if !of.go_on(client, value, is_for_update, &mut run) {
                continue;
            }
            of.is_over = started.elapsed() >= time;
            if !of.is_over {
                *of = UnderWay::begin(choose(), client);
            }
        }
    }
    run.elapsed = started.elapsed();
    run
}

/// Waits until there is something to read for some, and puts their numbers into `ready`.
fn wait(clients: &[Box<dyn Client>], under_way: &[UnderWay], ready: &mut Vec<usize>) {
    let waiting = || (0..clients.len()).filter(|&at| !under_way[at].is_over);
    let mut streams: Vec<PollFd<'_>> =
        waiting().map(|at| PollFd::new(clients[at].stream(), PollFlags::IN)).collect();
    poll(&mut streams, None).unwrap();
    ready.clear();
    let heard = waiting().zip(&streams).filter(|(_, stream)| !stream.revents().is_empty());
    ready.extend(heard.map(|(at, _)| at));
}

/// The transaction that a client is in.
struct UnderWay {
    key: Key,
    /// Of [`UnderWay::step`], the one whose reply is awaited.
    at: usize,
    began: Instant,
    is_over: bool,
}

/// Behind the steps of a transaction, what undoes it.
const ROLLBACK: usize = 4;

impl UnderWay {
    fn begin(key: Key, client: &mut dyn Client) -> UnderWay {
        client.say(Step::Begin);
        UnderWay { key, at: 0, began: Instant::now(), is_over: false }
    }

    fn step<'a>(&'a self, value: &'a Value, is_for_update: bool) -> Step<'a> {
        match self.at {
            0 => Step::Begin,
            1 if is_for_update => Step::GetForUpdate(&self.key),
            1 => Step::Get(&self.key),
            2 => Step::Put(&self.key, value),
            3 => Step::Commit,
            _ => Step::Rollback,
        }
    }

    /// Hears what there is, and says what comes next; whether it has committed.
    fn go_on(
        &mut self,
        client: &mut dyn Client,
        value: &Value,
        is_for_update: bool,
        run: &mut Committed,
    ) -> bool {
        let Some(answer) = client.hear(self.step(value, is_for_update)) else { return false };
        self.at = match (answer, self.at) {
            (Answer::Again, _) => {
                run.retries += 1;
                ROLLBACK
            }
            (Answer::Done, ROLLBACK) => 0,
            (Answer::Done, at) => at + 1,
        };
        if answer == Answer::Done && self.at == ROLLBACK {
            run.commits += 1;
            run.latencies.add(self.began.elapsed());
            return true;
        }
        client.say(self.step(value, is_for_update));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    /// Aborts each transaction once.
    struct Contended {
        begun: usize,
        said: String,
        stream: TcpStream,
    }

    impl Client for Contended {
        fn say(&mut self, step: Step<'_>) {
            let letter = match step {
                Step::Begin => 'b',
                Step::Get(_) => 'g',
                Step::GetForUpdate(_) => 'G',
                Step::Put(..) => 'p',
                Step::Commit => 'c',
                Step::Rollback => 'r',
            };
            self.begun += usize::from(letter == 'b');
            self.said.push(letter);
        }

        fn hear(&mut self, step: Step<'_>) -> Option<Answer> {
            let is_refused = matches!(step, Step::Put(..)) && self.begun % 2 == 1;
            Some(if is_refused { Answer::Again } else { Answer::Done })
        }

        fn stream(&self) -> &TcpStream {
            &self.stream
        }
    }

    #[test]
    fn an_aborted_transaction_is_begun_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (key, values) = (workload::key(1), workload::values());
        let mut client = Contended { begun: 0, said: String::new(), stream };
        let mut run = Committed::default();
        let mut under_way = UnderWay::begin(key, &mut client);
        while !under_way.go_on(&mut client, &values[0], false, &mut run) {}
        assert_eq!(client.said, "bgprbgpc");
        assert_eq!((run.commits, run.retries, run.latencies.len()), (1, 1, 1));
    }

    #[test]
    fn only_what_another_transaction_did_is_tried_again() {
        assert!(
            is_in_the_way(b"ERR DEADLOCK transaction 2\n") && is_in_the_way(b"-CONFLICT x\r\n")
        );
        assert!(!is_in_the_way(b"ERR NOTX\n") && !is_in_the_way(b"DEADLOCK"));
    }
}
