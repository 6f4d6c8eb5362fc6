//! A whole run: many clients at once, then what the store itself says of it, then the checker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kv_core::Database;
use kv_testkit::checker::{self, History, Installed, Mode, Recorder};

use crate::command::{Answer, Client, Command, Selection};
use crate::engine::EngineClient;
use crate::seed::{Round, say};
use crate::tcp::{Served, TcpClient};
use crate::worker::{Load, Tally, Worker};

/// A store that is under test, and how to become a client of it.
pub(crate) enum Store {
    Engine(Database),
    Server(Box<Served>),
}

/// The kinds of transactions that run together.
pub(crate) const LOCKING: [Mode; 3] = [Mode::Serializable, Mode::Readonly, Mode::Single];
pub(crate) const SNAPSHOT: [Mode; 1] = [Mode::Snapshot];
pub(crate) const MIXED: [Mode; 4] =
    [Mode::Serializable, Mode::Snapshot, Mode::Readonly, Mode::Single];

/// How long a request waits: so short that some give up.
const LOCK_TIMEOUT: Duration = Duration::from_millis(25);

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) modes: &'static [Mode],
    pub(crate) clients: u32,
    pub(crate) keys: usize,
    /// Whether HISTORY takes part: it then decides the order of versions.
    pub(crate) lists_versions: bool,
}

impl Store {
    /// `history` is how many versions are kept; all if none.
    pub(crate) fn engine(shards: usize, history: Option<usize>) -> Store {
        let mut builder = Database::builder();
        let builder = builder.shards(shards).history(history).lock_timeout(Some(LOCK_TIMEOUT));
        Store::Engine(builder.open())
    }

    /// One whose commits are on disk before anybody is told of them.
    pub(crate) fn durable_server(shards: usize) -> Store {
        let wait = format!("{}ms", LOCK_TIMEOUT.as_millis());
        let shards = shards.to_string();
        let flags = ["--history", "all", "--shards", &shards, "--lock-timeout", &wait];
        Store::Server(Box::new(Served::start_durable(&flags)))
    }

    pub(crate) fn server(shards: usize) -> Store {
        let wait = format!("{}ms", LOCK_TIMEOUT.as_millis());
        let shards = shards.to_string();
        let flags = ["--history", "all", "--shards", &shards, "--lock-timeout", &wait];
        Store::Server(Box::new(Served::start(&flags)))
    }

    /// One in which nobody gives up.
    pub(crate) fn patient_engine(shards: usize) -> Store {
        Store::Engine(Database::builder().shards(shards).lock_timeout(None).open())
    }

    /// One in which nobody gives up.
    pub(crate) fn patient_server(shards: usize) -> Store {
        let shards = shards.to_string();
        Store::Server(Box::new(Served::start(&["--shards", &shards, "--lock-timeout", "1h"])))
    }

    pub(crate) fn client(&self) -> Box<dyn Client + Send> {
        match self {
            Store::Engine(database) => Box::new(EngineClient::new(database)),
            Store::Server(served) => Box::new(TcpClient::new(served.address)),
        }
    }

    /// Asserts that nothing is left when all clients have gone.
    pub(crate) fn assert_idle(&self) {
        match self {
            Store::Engine(database) => database.check_idle().unwrap(),
            Store::Server(served) => {
                // The server notices that a connection has gone when it next looks.
                let started = Instant::now();
                while let Err(left) = served.server.database().check_idle() {
                    assert!(started.elapsed() < Duration::from_secs(10), "{left}");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// Runs random clients, and answers what they and the store say of it. Counts into the tally.
pub(crate) fn record(store: &Store, plan: Plan, round: &Round, tally: &mut Tally) -> History {
    let load = Load {
        recorder: Recorder::new(),
        tally: std::mem::take(tally),
        modes: plan.modes.to_vec(),
        keys: plan.keys,
    };
    std::thread::scope(|scope| {
        for number in 0..plan.clients {
            let worker =
                Worker::new(&load, number, store.client(), round.random(u64::from(number)));
            scope.spawn(move || worker.run(round.size));
        }
    });
    store.assert_idle();
    *tally = load.tally;
    let mut history = load.recorder.finish();
    if plan.lists_versions {
        history.installed = installed(&mut *store.client(), plan.keys);
        store.assert_idle();
    }
    history
}

/// All versions of all keys; they must agree with what a scan finds.
fn installed(client: &mut dyn Client, keys: usize) -> BTreeMap<String, Vec<Installed>> {
    let mut all = BTreeMap::new();
    let mut newest = Vec::new();
    for key in (0..keys).map(|number| format!("k{number}")) {
        let answer = client.ask(None, &Command::History { key: key.clone() }).unwrap();
        let Answer::Versions(mut versions) = answer else { panic!("versions, not {answer:?}") };
        versions.reverse();
        let numbers = versions.iter().map(|past| past.version);
        assert!(numbers.eq(1..=versions.len() as u64), "{key} has versions {versions:?}");
        let last = versions.last().and_then(|past| past.value.clone());
        newest.extend(last.map(|value| (key.clone(), value)));
        let versions = versions.into_iter().map(|past| Installed {
            revision: past.revision,
            value: past.value.map(|value| value.parse().unwrap()),
        });
        all.insert(key, versions.collect());
    }
    newest.sort();
    let found = client.ask(None, &Command::Scan(Selection::default())).unwrap().pairs();
    assert_eq!(found, newest, "a scan and the newest versions");
    client.vanish();
    all
}

/// Records a run and has it checked.
pub(crate) fn run_and_check(store: &Store, plan: Plan, round: &Round, tally: &mut Tally) {
    let started = Instant::now();
    let history = record(store, plan, round, tally);
    let ran = started.elapsed();
    let count = history.transactions.len();
    if let Err(violations) = checker::verify(&history) {
        panic!("seed {}, {plan:?}: {violations}", round.seed);
    }
    say(format_args!(
        "{count} transactions in {} ms, checked in {} ms",
        ran.as_millis(),
        (started.elapsed() - ran).as_millis()
    ));
}
