//! A server in this process and clients that talk to it through real sockets, line by line.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use kv_protocol::units::DurationText;
use kv_protocol::word::Words;
use kv_server::config::{Config, Endpoint, Surroundings};
use kv_server::server::Server;
use kv_server::shutdown::Shutdown;
use kv_testkit::model::{Condition, Conditions, Isolation, Open, Pattern, Place, ValueCondition};

use crate::command::{Answer, Client, Command, Interval, Past, Refusal, Selection};

/// After so long without a reply, something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a free port, for as long as this lives. Unlike the one that the scripts use, it
/// has several worker threads, so that commands truly overlap.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) server: Arc<Server>,
    shutdown: Shutdown,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Where its data is, if it keeps any.
    _data: Option<tempfile::TempDir>,
}

impl Served {
    pub(crate) fn start(flags: &[&str]) -> Served {
        Served::start_with(&[&["--in-memory"], flags].concat(), None)
    }

    /// One that keeps its data, and folds all the time.
    pub(crate) fn start_durable(flags: &[&str]) -> Served {
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().to_str().unwrap().to_owned();
        let files = ["--data-dir", &dir, "--checkpoint-interval", "20ms"];
        Served::start_with(&[&files, flags].concat(), Some(data))
    }

    fn start_with(flags: &[&str], data: Option<tempfile::TempDir>) -> Served {
        let arguments = ["kv-server", "--listen", "127.0.0.1:0"];
        let config = Config::from_surroundings(&Surroundings {
            arguments: arguments.iter().chain(flags).map(Into::into).collect(),
            variable: &|_| None,
            descriptors_max: None,
            cores: 2,
        });
        let server = Server::open(config.unwrap()).unwrap();
        let (shutdown, (sender, receiver)) = (Shutdown::new(), std::sync::mpsc::channel());
        let (stop, serving) = (shutdown.clone(), Arc::clone(&server));
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listeners = serving.bind().unwrap();
                let Endpoint::Tcp(address) = listeners[0].endpoint() else { unreachable!() };
                sender.send(*address).unwrap();
                serving.serve(listeners, None, stop).await;
            });
        });
        let address = receiver.recv().unwrap();
        Served { address, server, shutdown, thread: Some(thread), _data: data }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cut();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A client that connects when it first has something to say.
pub(crate) struct TcpClient {
    address: SocketAddr,
    connection: Option<(TcpStream, BufReader<TcpStream>)>,
}

impl TcpClient {
    pub(crate) fn new(address: SocketAddr) -> TcpClient {
        TcpClient { address, connection: None }
    }

    fn connection(&mut self) -> &mut (TcpStream, BufReader<TcpStream>) {
        self.connection.get_or_insert_with(|| {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let received = BufReader::new(stream.try_clone().unwrap());
            (stream, received)
        })
    }

    fn send(&mut self, lines: &str) {
        self.connection().0.write_all(lines.as_bytes()).unwrap();
    }

    fn line(&mut self) -> Result<String, Refusal> {
        let mut line = String::new();
        let read = self.connection().1.read_line(&mut line);
        assert!(read.unwrap() > 0, "the server has closed the connection");
        line.pop();
        match line.strip_prefix("ERR ") {
            None => Ok(line),
            Some(error) => Err(refusal(error)),
        }
    }

    /// The rows of a list.
    fn list(&mut self) -> Result<Vec<Vec<String>>, Refusal> {
        let mut rows = Vec::new();
        loop {
            let line = self.line()?;
            if line.starts_with("END ") {
                return Ok(rows);
            }
            let words = Words::new(line.as_bytes()).map(|word| word.unwrap().bytes.into_owned());
            rows.push(words.map(|word| String::from_utf8(word).unwrap()).collect());
        }
    }

    /// Sends the line, reads the answer, and learns of the commit that it may have made.
    fn committing<T>(
        &mut self,
        line: &str,
        read: impl Fn(&mut TcpClient) -> Result<T, Refusal>,
    ) -> (Result<T, Refusal>, Option<u64>) {
        // All at once, so that the other answers come with that to the line.
        self.send(&format!("REVISION\n{line}\nREVISION\n"));
        let before = self.line().unwrap();
        let told = read(self);
        let revision = self.line().unwrap();
        (told, (revision != before).then(|| revision.parse().unwrap()))
    }

    fn read_answer(&mut self, command: &Command) -> Result<Answer, Refusal> {
        match command {
            Command::Scan(_) | Command::Nearest { .. } => {
                Ok(Answer::Pairs(self.list()?.into_iter().map(pair).collect()))
            }
            Command::ShowAll => Ok(Answer::Shown(self.list()?.into_iter().map(shown).collect())),
            Command::Transactions => Ok(Answer::Open(self.list()?.into_iter().map(open).collect())),
            Command::History { .. } => {
                Ok(Answer::Versions(self.list()?.into_iter().map(past).collect()))
            }
            _ => Ok(answer(command, &self.line()?)),
        }
    }
}

impl Client for TcpClient {
    fn ask(&mut self, txn: Option<u64>, command: &Command) -> Result<Answer, Refusal> {
        let line = line_of(txn, command);
        if matches!(command, Command::Commit | Command::CommitAll) {
            let (told, revision) = self.committing(&line, TcpClient::line);
            let count = told?.strip_prefix("OK ").map_or(1, |count| count.parse().unwrap());
            return Ok(Answer::Committed { revision, count });
        }
        self.send(&(line + "\n"));
        self.read_answer(command)
    }

    fn ask_alone(&mut self, command: &Command) -> (Result<Answer, Refusal>, Option<u64>) {
        self.committing(&line_of(None, command), |client| client.read_answer(command))
    }

    fn ask_and_vanish(&mut self, txn: Option<u64>, command: &Command) {
        self.send(&(line_of(txn, command) + "\n"));
        self.vanish();
    }

    fn vanish(&mut self) {
        self.connection = None;
    }
}

fn answer(command: &Command, line: &str) -> Answer {
    let value = || (line != "NIL").then(|| line.trim_matches('"').to_string());
    match command {
        Command::Begin { .. } => Answer::Begun(line.strip_prefix("OK ").unwrap().parse().unwrap()),
        Command::Get { .. } | Command::GetVersion { .. } | Command::GetAt { .. } => {
            Answer::Value(value())
        }
        Command::Delete { .. } | Command::Expire { .. } => Answer::Flag(line == "OK"),
        Command::Ttl { .. } => Answer::Ttl(line.parse().ok()),
        Command::Exists { .. } => Answer::Flag(line == "1"),
        Command::Meta { .. } => Answer::Meta(value().map(|words| {
            let words: Vec<&str> = words.split(' ').collect();
            let word = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).unwrap();
            let (version, bytes) = (word("version=").parse().unwrap(), word("bytes="));
            (version, word("revision=").parse().ok(), bytes.parse().unwrap())
        })),
        Command::Add { .. } | Command::Count(_) => Answer::Number(line.parse().unwrap()),
        Command::Rollback | Command::Put { .. } | Command::PutFor { .. } => {
            assert_eq!(line, "OK", "{command:?}");
            Answer::Done
        }
        _ => panic!("{command:?} is not asked over TCP"),
    }
}

fn pair(row: Vec<String>) -> (String, String) {
    let [key, value] = row.try_into().unwrap();
    (key, value)
}

fn shown(row: Vec<String>) -> (String, Option<String>, Option<u64>) {
    let mut words = row.into_iter();
    let (key, value) = (words.next().unwrap(), words.next().unwrap());
    let txn = words.next().map(|id| id.parse().unwrap());
    (key, Some(value).filter(|value| value != "NIL"), txn)
}

fn open(row: Vec<String>) -> Open {
    let [id, parent, isolation, state, ..] = &row[..] else { panic!("{row:?}") };
    Open {
        id: id.parse().unwrap(),
        parent: parent.parse().ok(),
        isolation: match isolation.as_str() {
            "SERIALIZABLE" => Isolation::Serializable,
            "SNAPSHOT" => Isolation::Snapshot,
            _ => Isolation::Readonly,
        },
        aborted: state == "aborted",
    }
}

fn past(row: Vec<String>) -> Past {
    let [version, revision, _, value] = row.try_into().unwrap();
    Past {
        version: version.parse().unwrap(),
        revision: revision.parse().unwrap(),
        value: Some(value).filter(|value| value != "NIL"),
    }
}

fn refusal(error: &str) -> Refusal {
    let (code, text) = error.split_once(' ').unwrap_or((error, ""));
    assert!(!["INTERNAL", "SYNTAX", "UNKNOWN"].contains(&code), "{error}");
    let current = text.split_once("has version ").and_then(|(_, rest)| rest.split_once(';'));
    let version = current.map(|(version, _)| version.parse().unwrap());
    Refusal { code: code.into(), version }
}

fn line_of(txn: Option<u64>, command: &Command) -> String {
    let id = txn.map(|id| format!(" {id}")).unwrap_or_default();
    match command {
        Command::Begin { place, isolation, at, wait } => {
            let place = match place {
                Place::Root => String::new(),
                Place::Inside(id) => format!(" {id}"),
                Place::Current => " NESTED".into(),
            };
            let isolation = isolation.map(|isolation| match isolation {
                Isolation::Serializable => " SERIALIZABLE",
                Isolation::Snapshot => " SNAPSHOT",
                Isolation::Readonly => " READONLY",
            });
            let at = at.map(|at| format!(" AT {at}")).unwrap_or_default();
            let wait = wait.map(|wait| format!(" WAIT {}", DurationText(wait))).unwrap_or_default();
            format!("BEGIN{place}{}{at}{wait}", isolation.unwrap_or_default())
        }
        Command::Commit => format!("COMMIT{id}"),
        Command::Rollback => format!("ROLLBACK{id}"),
        Command::CommitAll => "COMMITALL".into(),
        Command::Get { key, for_update: false } => format!("GET {}{id}", quoted(key)),
        Command::Get { key, for_update: true } => format!("GET {}{id} FOR UPDATE", quoted(key)),
        Command::GetVersion { key, version } => format!("GET {} VERSION {version}", quoted(key)),
        Command::GetAt { key, revision } => format!("GET {} AT {revision}", quoted(key)),
        Command::Exists { key } => format!("EXISTS {}{id}", quoted(key)),
        Command::Meta { key } => format!("META {}{id}", quoted(key)),
        Command::History { key } => format!("HISTORY {}", quoted(key)),
        Command::Put { key, value, condition } => {
            let condition = match condition {
                Condition::Always => String::new(),
                Condition::Absent => " IF ABSENT".into(),
                Condition::Present => " IF PRESENT".into(),
                Condition::Version(version) => format!(" IF VERSION {version}"),
            };
            format!("PUT {} {}{id}{condition}", quoted(key), quoted(value))
        }
        Command::PutFor { key, value, ttl_s } => {
            format!("PUT {} {}{id} EX {ttl_s}", quoted(key), quoted(value))
        }
        Command::Expire { key, ttl_s: Some(ttl_s) } => {
            format!("EXPIRE {} {ttl_s}{id}", quoted(key))
        }
        Command::Expire { key, ttl_s: None } => format!("PERSIST {}{id}", quoted(key)),
        Command::Ttl { key } => format!("TTL {}{id}", quoted(key)),
        Command::Delete { key, version } => {
            let version = version.map(|version| format!(" IF VERSION {version}"));
            format!("DEL {}{id}{}", quoted(key), version.unwrap_or_default())
        }
        Command::Add { key, by } => format!("INCR {} BY {by}{id}", quoted(key)),
        Command::Scan(selection) => format!("SCAN{}{id}", words_of(selection)),
        Command::Count(selection) => format!("COUNT{}{id}", words_of(selection)),
        Command::Nearest { number, rows, prefix } => {
            let prefix = prefix.as_ref().map(|prefix| format!(" PREFIX {}", quoted(prefix)));
            format!("NEAREST {} {rows}{}{id}", quoted(number), prefix.unwrap_or_default())
        }
        Command::ShowAll => format!("SHOWALL{id}"),
        Command::Transactions => "TRANSACTIONS".into(),
    }
}

fn words_of(Selection { interval, conditions, after, limit }: &Selection) -> String {
    let interval = match interval {
        Interval::All => String::new(),
        Interval::Prefix(prefix) => format!(" PREFIX {}", quoted(prefix)),
        Interval::Range(from, to) => format!(" RANGE {} {}", quoted(from), quoted(to)),
    };
    let Conditions { key, value } = conditions;
    let key = key.as_ref().map(pattern).unwrap_or_default();
    let value = value.as_ref().map(|condition| match condition {
        ValueCondition::Equal(value) => format!(" VALUE EQ {}", quoted(value)),
        ValueCondition::Matches(of) => format!(" VALUE{}", pattern(of)),
        ValueCondition::Range(from, to) => {
            format!(" VALUE RANGE {} {}", quoted(from), quoted(to))
        }
        ValueCondition::Number(low, high) => {
            format!(" VALUE NUMBER {} {}", quoted(low), quoted(high))
        }
    });
    let limit = limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
    let after = after.as_ref().map(|after| format!(" AFTER {}", quoted(after)));
    let [value, after] = [value, after].map(Option::unwrap_or_default);
    interval + &key + &value + &limit + &after
}

fn pattern(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Glob(glob) => format!(" MATCH {}", quoted(glob)),
        Pattern::Regex(regex) => format!(" REGEX {}", quoted(regex)),
    }
}

/// A word that may have any characters but that of a new line.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}
