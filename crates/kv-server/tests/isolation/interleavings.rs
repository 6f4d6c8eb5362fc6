//! Every interleaving of a script's sessions, judged by the history checker.
//!
//! A script says what must happen in one order of its steps. Here the sessions' commands stay as
//! they are, each session's in its order, but the sessions take turns in every way there is: all
//! on one thread, so that each way can be repeated. A session that waits does not send, so where
//! it would be its turn the branch is cut off. What the sessions saw must be explained by their
//! isolation levels, and nothing may be left of them. Of a script with very many ways, a sample is
//! taken.
//!
//! The same is done with random commands, of which some ways are tried each. `KV_SEED` is the
//! first seed and `KV_TXNS` how many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kv_server::server::Server;
use kv_testkit::checker::{self, Installed, Mode, Outcome, Recorder, Running};
use kv_testkit::script::{Action, Driver, Script, script_files};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::engine::EngineDriver;
use crate::served::{server, server_on};

/// If a script has more interleavings than this, so many more are chosen at random.
const WAYS_MAX: usize = 3_000;
/// Interleavings that are tried of a random plan.
const WAYS_OF_RANDOM: usize = 20;
/// How a failure of a random plan is repeated; it is the same to the last step.
const REPEAT: &str = "a random plan; to repeat it:";
const COMMAND: &str = "cargo test -p kv-server --test isolation -- some_interleavings";
/// Interleavings that share a store, each with keys of its own.
const RUNS_PER_STORE: u64 = 200;

/// What a script's sessions do.
pub(crate) struct Plan {
    name: String,
    setup: Vec<String>,
    /// Sent before the others take turns: BEGINs.
    opening: Vec<(String, String)>,
    turns: BTreeMap<String, Vec<String>>,
}

/// What was tried.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) scripts: usize,
    pub(crate) interleavings: usize,
    /// Scripts of which not all interleavings were tried.
    pub(crate) sampled: usize,
    /// Branches that were cut off as it was the turn of a session that waited.
    pub(crate) cut_off: usize,
    pub(crate) commits: u64,
    pub(crate) deadlocks: u64,
    pub(crate) conflicts: u64,
    pub(crate) evictions: u64,
}

/// Runs the interleavings of every script in the directory.
pub(crate) fn run_directory(directory: &str) -> Totals {
    let mut totals = Totals::default();
    let files = script_files("").unwrap();
    for file in files.iter().filter(|file| file.parent().unwrap().ends_with(directory)) {
        totals.scripts += 1;
        let plan = Plan::read(file);
        let mut interleaver = Interleaver::new(plan, &mut totals, false);
        if !interleaver.run_all() {
            let mut random = StdRng::seed_from_u64(variable("KV_SEED").unwrap_or(1));
            interleaver.run_some(WAYS_MAX, &mut random);
            totals.sampled += 1;
        }
    }
    totals
}

/// Runs some interleavings of random plans; if it is bounded, with nothing in memory before each
/// turn that need not be.
pub(crate) fn run_random(plans: u64, is_bounded: bool) -> Totals {
    let mut totals = Totals::default();
    let first = variable("KV_SEED").unwrap_or(1);
    for seed in first..first + variable("KV_TXNS").unwrap_or(plans) {
        totals.scripts += 1;
        let mut random = StdRng::seed_from_u64(seed);
        let plan = Plan::random(seed, &mut random);
        let mut interleaver = Interleaver::new(plan, &mut totals, is_bounded);
        interleaver.run_some(WAYS_OF_RANDOM, &mut random);
    }
    totals
}

impl Plan {
    fn read(file: &Path) -> Plan {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.display().to_string();
        let script = Script::parse(&name, &text).unwrap();
        let mut plan =
            Plan { name, setup: Vec::new(), opening: Vec::new(), turns: BTreeMap::new() };
        for step in script.steps {
            let Action::Send { session, command } = step.action else { continue };
            match session.as_str() {
                "setup" => plan.setup.push(command),
                "check" => {}
                _ if plan.turns.is_empty() && command.starts_with("BEGIN") => {
                    plan.opening.push((session, command));
                }
                _ => plan.turns.entry(session).or_default().push(command),
            }
        }
        plan
    }

    /// Some sessions that do a few commands each on three keys.
    fn random(seed: u64, random: &mut StdRng) -> Plan {
        let mut plan = Plan {
            name: format!("{REPEAT}\nKV_SEED={seed} KV_TXNS=1 {COMMAND}"),
            setup: vec!["PUT k1 0".into(), "PUT k2 0".into()],
            opening: Vec::new(),
            turns: BTreeMap::new(),
        };
        for session in ["A", "B", "C", "D"].iter().take(random.random_range(2..=4)) {
            let mode = ["SERIALIZABLE", "SERIALIZABLE", "SNAPSHOT", "READONLY"];
            let mode = mode[random.random_range(0..mode.len())];
            let mut turns = vec![format!("BEGIN {mode}")];
            for _ in 0..random.random_range(1..=5) {
                let key = format!("k{}", random.random_range(1..=3));
                let kinds = if mode == "READONLY" { 4 } else { 10 };
                turns.push(match random.random_range(0..kinds) {
                    0 | 1 => format!("GET {key}"),
                    2 | 3 => "SCAN PREFIX k".into(),
                    4 => format!("GET {key} FOR UPDATE"),
                    5 => format!("DEL {key}"),
                    _ => format!("PUT {key} 0"),
                });
            }
            let end = if random.random_range(0..5) == 0 { "ROLLBACK" } else { "COMMIT" };
            turns.push(end.into());
            plan.turns.insert((*session).into(), turns);
        }
        plan
    }
}

/// Tries one plan's interleavings.
struct Interleaver<'a> {
    plan: Plan,
    totals: &'a mut Totals,
    server: Arc<Server>,
    runs: u64,
    tried: BTreeSet<Vec<usize>>,
    /// Where the files are, if memory is bounded.
    _directory: Option<TempDir>,
}

/// One turn in an interleaving.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Which of those who could go on did.
    choice: usize,
    /// How many could.
    choices: usize,
    /// How many could not, as they waited.
    waiting: usize,
}

impl<'a> Interleaver<'a> {
    fn new(plan: Plan, totals: &'a mut Totals, is_bounded: bool) -> Interleaver<'a> {
        let directory = is_bounded.then(|| tempfile::tempdir().unwrap());
        let server = match &directory {
            Some(directory) => server_on(directory.path()),
            None => server(&[]),
        };
        let tried = BTreeSet::new();
        Interleaver { plan, totals, server, runs: 0, tried, _directory: directory }
    }

    fn run_some(&mut self, ways: usize, random: &mut StdRng) {
        for _ in 0..ways {
            let path = self.run_one(|_, left| {
                // By what they have left to do, so that every way is about as likely.
                let mut place = random.random_range(0..left.iter().sum::<usize>());
                let mut choice = 0;
                while place >= left[choice] {
                    place -= left[choice];
                    choice += 1;
                }
                choice
            });
            self.note(&path, 0);
        }
        let shards = self.server.database().shards();
        self.totals.evictions += shards.iter().map(|shard| shard.evictions).sum::<u64>();
    }

    /// Depth first, each way from its begin: the one before tells where to turn off next. False if
    /// there are too many.
    fn run_all(&mut self) -> bool {
        let mut prefix: Vec<usize> = Vec::new();
        while self.tried.len() < WAYS_MAX {
            let mut path = self.run_one(|step, _| prefix.get(step).copied().unwrap_or(0));
            self.note(&path, prefix.len());
            while path.last().is_some_and(|turn| turn.choice + 1 == turn.choices) {
                path.pop();
            }
            let Some(last) = path.last_mut() else { return true };
            last.choice += 1;
            prefix = path.into_iter().map(|turn| turn.choice).collect();
        }
        false
    }

    /// Counts a way that was tried, unless it was before. The first turns were counted already.
    fn note(&mut self, path: &[Turn], counted: usize) {
        if self.tried.insert(path.iter().map(|turn| turn.choice).collect()) {
            self.totals.interleavings += 1;
            self.totals.cut_off +=
                path.iter().skip(counted).map(|turn| turn.waiting).sum::<usize>();
        }
    }

    /// One interleaving: `choose` is told the step and how much each of those who can go on has
    /// left.
    fn run_one(&mut self, mut choose: impl FnMut(usize, &[usize]) -> usize) -> Vec<Turn> {
        if self.runs > 0 && self.runs.is_multiple_of(RUNS_PER_STORE) {
            self.server = server(&[]);
        }
        self.runs += 1;
        let recorder = Recorder::new();
        let mut run = Run::new(&self.server, &recorder, self.runs);
        self.plan.setup.iter().for_each(|command| run.set_up(command));
        for (session, command) in &self.plan.opening {
            run.send(session, command);
        }
        let mut left: BTreeMap<&str, &[String]> =
            self.plan.turns.iter().map(|(name, turns)| (&**name, &**turns)).collect();
        let mut path = Vec::new();
        loop {
            left.retain(|_, turns| !turns.is_empty());
            let can_go_on: Vec<&str> =
                left.keys().copied().filter(|name| !run.driver.is_waiting(name)).collect();
            let waiting = left.len() - can_go_on.len();
            if can_go_on.is_empty() {
                assert!(left.is_empty(), "all wait: {}", run.told());
                break;
            }
            let counts: Vec<usize> = can_go_on.iter().map(|name| left[name].len()).collect();
            let choice = choose(path.len(), &counts);
            path.push(Turn { choice, choices: can_go_on.len(), waiting });
            let name = can_go_on[choice];
            run.send(name, &left[name][0]);
            left.entry(name).and_modify(|turns| *turns = &turns[1..]);
        }
        let (installed, log) = run.finish(self.totals);
        let mut history = recorder.finish();
        history.installed = installed;
        if let Err(violations) = checker::verify(&history) {
            panic!("{}, {path:?}:\n{log}\n{violations}", self.plan.name);
        }
        if let Err(left) = self.server.database().check_idle() {
            panic!("{}, {path:?}:\n{log}\n{left}", self.plan.name);
        }
        path
    }
}

/// One interleaving under way.
struct Run<'a> {
    driver: EngineDriver,
    recorder: &'a Recorder,
    /// Put before every key, so that runs over one store do not meet.
    prefix: String,
    keys: BTreeSet<String>,
    sessions: BTreeMap<String, Session<'a>>,
    log: Vec<String>,
    counts: Totals,
}

/// A session's only transaction.
struct Session<'a> {
    /// None when it has ended.
    running: Option<Running<'a>>,
    /// What was sent and not answered, and the place in the recording before it.
    asked: Option<(Vec<String>, usize)>,
}

impl<'a> Run<'a> {
    fn new(server: &Arc<Server>, recorder: &'a Recorder, number: u64) -> Run<'a> {
        Run {
            driver: EngineDriver::new(Arc::clone(server)),
            recorder,
            prefix: format!("r{number}-"),
            keys: BTreeSet::new(),
            sessions: BTreeMap::new(),
            log: Vec::new(),
            counts: Totals::default(),
        }
    }

    fn told(&self) -> String {
        self.log.join("\n")
    }

    /// The command with keys of this run, and a value that nobody else writes.
    fn own(&mut self, command: &str) -> Vec<String> {
        let mut words: Vec<String> = command.split(' ').map(str::to_string).collect();
        match words[0].as_str() {
            "GET" | "PUT" | "DEL" => {
                words[1] = format!("{}{}", self.prefix, words[1]);
                self.keys.insert(words[1].clone());
            }
            "SCAN" => {
                assert_eq!((words.len(), words[1].as_str()), (3, "PREFIX"), "{command}");
                words[2] = format!("{}{}", self.prefix, words[2]);
            }
            "BEGIN" | "COMMIT" | "ROLLBACK" => {}
            _ => panic!("{command:?} is not recorded yet"),
        }
        if words[0] == "PUT" {
            assert_eq!(words.len(), 3, "{command}");
            words[2] = self.recorder.new_value().to_string();
        }
        words
    }

    /// A single command that nothing stands in the way of.
    fn set_up(&mut self, command: &str) {
        let words = self.own(command);
        let mut running = self.recorder.begin(0, Mode::Single);
        running.begun();
        running.write(&words[1], words[2].parse().unwrap());
        self.driver.send("setup", &words.join(" ")).unwrap();
        assert_eq!(self.driver.poll("setup"), Some(vec!["OK".to_string()]), "{command}");
        let revision = Some(self.driver.last_commit("setup"));
        running.end(Outcome::Committed { revision });
    }

    /// Sends, and takes in all the replies that come of it.
    fn send(&mut self, name: &str, command: &str) {
        let words = self.own(command);
        self.log.push(format!("{name}: {}", words.join(" ")));
        let number = u32::from(name.as_bytes()[0]);
        if words[0] == "BEGIN" {
            let mode = match words.get(1).map(String::as_str) {
                Some("SNAPSHOT") => Mode::Snapshot,
                Some("READONLY") => Mode::Readonly,
                _ => Mode::Serializable,
            };
            let running = Some(self.recorder.begin(number, mode));
            self.sessions.insert(name.into(), Session { running, asked: None });
        }
        let session = self.sessions.get_mut(name).unwrap();
        let mut savepoint = 0;
        if let Some(running) = &mut session.running {
            savepoint = running.savepoint();
            if words[0] == "PUT" {
                running.write(&words[1], words[2].parse().unwrap());
            }
        }
        session.asked = Some((words.clone(), savepoint));
        self.driver.send(name, &words.join(" ")).unwrap();
        let names: Vec<String> = self.sessions.keys().cloned().collect();
        for name in names {
            while let Some(reply) = self.driver.poll(&name) {
                self.log.push(format!("   {name} is told {}", reply.join(" / ")));
                self.take_in(&name, &reply);
            }
        }
    }

    fn take_in(&mut self, name: &str, reply: &[String]) {
        let revision = self.driver.last_commit(name);
        let session = self.sessions.get_mut(name).unwrap();
        let (words, savepoint) = session.asked.take().unwrap();
        let is_aborted = session.running.is_none();
        assert!(!is_aborted || reply[0].starts_with("ERR ABORTED") || words[0] == "ROLLBACK");
        let Some(mut running) = session.running.take() else { return };
        let code = reply[0].strip_prefix("ERR ").map(|error| error.split(' ').next().unwrap());
        match (words[0].as_str(), code) {
            (_, Some(code @ ("DEADLOCK" | "CONFLICT"))) => {
                self.counts.deadlocks += u64::from(code == "DEADLOCK");
                self.counts.conflicts += u64::from(code == "CONFLICT");
                running.undo(savepoint);
                return running.end(Outcome::Aborted);
            }
            (_, Some(_)) => panic!("{words:?} was refused: {reply:?}"),
            ("BEGIN", None) => running.begun(),
            ("GET", None) => running.read(&words[1], value_of(&reply[0])),
            ("DEL", None) if reply[0] == "OK" => running.delete(&words[1]),
            ("DEL", None) => running.read(&words[1], None),
            ("SCAN", None) => {
                let rows = reply[..reply.len() - 1].iter();
                let pairs = rows.map(|row| row.split_once(' ').unwrap());
                let pairs = pairs.map(|(key, value)| (unquoted(key), value_of(value).unwrap()));
                // After every key with the prefix.
                let end = format!("{}~", words[2]);
                running.scan(&words[2], Some(&end), pairs.collect());
            }
            ("COMMIT", None) => {
                self.counts.commits += 1;
                let revision = Some(revision).filter(|&revision| revision > 0);
                return running.end(Outcome::Committed { revision });
            }
            ("ROLLBACK", None) => return running.end(Outcome::Aborted),
            _ => {}
        }
        session.running = Some(running);
    }

    /// Ends the sessions; answers the versions that the store has now, and what was said.
    fn finish(mut self, totals: &mut Totals) -> (BTreeMap<String, Vec<Installed>>, String) {
        for (name, session) in &mut self.sessions {
            if let Some(running) = session.running.take() {
                running.end(Outcome::Aborted);
            }
            self.driver.close(name);
        }
        let mut installed = BTreeMap::new();
        for key in &self.keys {
            self.driver.send("setup", &format!("HISTORY {key}")).unwrap();
            let mut rows = self.driver.poll("setup").unwrap();
            rows.pop();
            let versions = rows.iter().rev().map(|row| {
                let words: Vec<&str> = row.split(' ').collect();
                Installed { revision: words[1].parse().unwrap(), value: value_of(words[3]) }
            });
            installed.insert(key.clone(), versions.collect());
        }
        totals.commits += self.counts.commits;
        totals.deadlocks += self.counts.deadlocks;
        totals.conflicts += self.counts.conflicts;
        (installed, self.log.join("\n"))
    }
}

fn value_of(word: &str) -> Option<u64> {
    (word != "NIL").then(|| unquoted(word).parse().unwrap())
}

fn unquoted(word: &str) -> String {
    word.trim_matches('"').to_string()
}

fn variable(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap())
}
