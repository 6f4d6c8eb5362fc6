//! Transactions as programs run them: each command is sent when the reply to the last one is there.
//!
//! A client is a thread with a connection, and it is the same for every system: one `write` and one
//! `read` a command. A transaction that the server aborts because of another one is rolled back and
//! begun again until it commits; its latency counts from its first beginning.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

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
pub trait Client: Send {
    /// Sends a command and waits for the reply. Panics at a reply that is not expected.
    fn say(&mut self, step: Step<'_>) -> Answer;
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

    /// One reply: a line, or a bulk string of two.
    fn read(&mut self) {
        self.reply.clear();
        let lines = |reply: &[u8]| if reply.first() == Some(&b'$') { 2 } else { 1 };
        let count = |reply: &[u8]| reply.iter().filter(|&&byte| byte == b'\n').count();
        while self.reply.is_empty() || count(&self.reply) < lines(&self.reply) {
            let from = self.reply.len();
            self.reply.resize(from + 1024, 0);
            let read = self.stream.read(&mut self.reply[from..]).unwrap();
            assert!(read > 0, "the server has gone");
            self.reply.truncate(from + read);
        }
    }
}

/// Whether a reply says that another transaction was in the way.
fn is_in_the_way(reply: &[u8]) -> bool {
    let text = reply.strip_prefix(b"ERR ").or_else(|| reply.strip_prefix(b"-"));
    let codes: [&[u8]; 4] = [b"DEADLOCK", b"CONFLICT", b"ABORTED", b"TIMEOUT"];
    text.is_some_and(|text| codes.iter().any(|code| text.starts_with(code)))
}

impl Client for OurClient {
    fn say(&mut self, step: Step<'_>) -> Answer {
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
        self.read();
        let starts: &[&[u8]] = match step {
            Step::Begin => &[b"OK ", b":"],
            Step::Get(_) | Step::GetForUpdate(_) => &[b"\"", b"$64"],
            Step::Put(..) | Step::Commit | Step::Rollback => &[b"OK", b"+OK"],
        };
        if starts.iter().any(|start| self.reply.starts_with(start)) {
            return Answer::Done;
        }
        assert!(is_in_the_way(&self.reply), "{step:?}: {}", self.reply.escape_ascii());
        Answer::Again
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
    fn say(&mut self, step: Step<'_>) -> Answer {
        let (outcome, rows) = match step {
            Step::Begin => (self.0.execute("begin", &[]), 0),
            Step::Get(key) => (self.0.execute("get", &[key]), 1),
            Step::GetForUpdate(key) => (self.0.execute("lock", &[key]), 1),
            Step::Put(key, value) => (self.0.execute("put", &[key, value]), 1),
            Step::Commit => (self.0.execute("commit", &[]), 0),
            Step::Rollback => (self.0.execute("rollback", &[]), 0),
        };
        match outcome {
            Outcome::Rows(found) if found == rows => Answer::Done,
            // serialization_failure, deadlock_detected
            Outcome::Refused(code, _) if ["40001", "40P01"].contains(&code.as_str()) => {
                Answer::Again
            }
            other => panic!("{step:?}: {other:?}"),
        }
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
pub fn read_and_write<C: FnMut() -> Key + Send>(
    clients: &mut [Box<dyn Client>],
    chooser: impl Fn(usize) -> C,
    value: &Value,
    is_for_update: bool,
    time: Duration,
) -> Committed {
    let started = Instant::now();
    let runs: Vec<Committed> = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(nth, client)| {
                let mut choose = chooser(nth);
                scope.spawn(move || {
                    let mut run = Committed::default();
                    while started.elapsed() < time {
                        let key = choose();
                        let get = match is_for_update {
                            true => Step::GetForUpdate(&key),
                            false => Step::Get(&key),
                        };
                        let steps = [Step::Begin, get, Step::Put(&key, value), Step::Commit];
                        run.commit(client.as_mut(), &steps);
                    }
                    run
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut total = Committed { elapsed: started.elapsed(), ..Committed::default() };
    for run in runs {
        total.commits += run.commits;
        total.retries += run.retries;
        total.latencies.merge(&run.latencies);
    }
    total
}

impl Committed {
    /// Runs a transaction until it commits.
    fn commit(&mut self, client: &mut dyn Client, steps: &[Step<'_>]) {
        let began = Instant::now();
        while steps.iter().any(|&step| client.say(step) == Answer::Again) {
            self.retries += 1;
            client.say(Step::Rollback);
        }
        self.commits += 1;
        self.latencies.add(began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    /// Aborts each transaction once.
    #[derive(Default)]
    struct Contended {
        begun: usize,
        said: String,
    }

    impl Client for Contended {
        fn say(&mut self, step: Step<'_>) -> Answer {
            let (letter, answer) = match step {
                Step::Begin => ('b', Answer::Done),
                Step::Put(..) if self.begun % 2 == 1 => ('P', Answer::Again),
                Step::Put(..) => ('p', Answer::Done),
                Step::Get(_) | Step::GetForUpdate(_) => ('g', Answer::Done),
                Step::Commit => ('c', Answer::Done),
                Step::Rollback => ('r', Answer::Done),
            };
            self.begun += usize::from(letter == 'b');
            self.said.push(letter);
            answer
        }
    }

    #[test]
    fn an_aborted_transaction_is_begun_again() {
        let (key, values) = (workload::key(1), workload::values());
        let steps = [Step::Begin, Step::Get(&key), Step::Put(&key, &values[0]), Step::Commit];
        let (mut client, mut run) = (Contended::default(), Committed::default());
        run.commit(&mut client, &steps);
        assert_eq!(client.said, "bgPrbgpc");
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
