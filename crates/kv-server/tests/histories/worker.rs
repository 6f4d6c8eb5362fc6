//! A client that does random transactions, several at a time, and records what it is told.
//!
//! It does what a well-meaning client may do and some of what clients do when they die: commands
//! in several open transactions by turns, nested ones that end well or not, single commands,
//! connections dropped between commands, while waiting, and with a COMMIT under way.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use kv_testkit::checker::{Mode, Outcome, Recorder, Running, Value};
use kv_testkit::model::{Condition, Isolation, Place};

use crate::command::{Answer, Client, Command, Interval, Refusal, Selection};
use crate::seed::Random;

/// Open transactions of one client.
const OPEN_MAX: usize = 3;
/// Levels of nesting, the root's included.
const LEVELS_MAX: usize = 4;

/// What happened how often, over all clients.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<String, usize>>);

impl Tally {
    pub(crate) fn count(&self, what: &str) {
        *self.0.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    pub(crate) fn of(&self, what: &str) -> usize {
        self.0.lock().unwrap().get(what).copied().unwrap_or(0)
    }

    pub(crate) fn shown(&self) -> String {
        let counts = self.0.lock().unwrap();
        let counts: Vec<String> = counts.iter().map(|(what, n)| format!("{what} {n}")).collect();
        counts.join(", ")
    }
}

/// What all clients of a run share.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) recorder: Recorder,
    pub(crate) tally: Tally,
    pub(crate) modes: Vec<Mode>,
    pub(crate) keys: usize,
}

/// One client.
pub(crate) struct Worker<'a> {
    load: &'a Load,
    number: u32,
    client: Box<dyn Client + Send>,
    random: Random,
    open: Vec<Open<'a>>,
}

/// A transaction with its nested ones.
struct Open<'a> {
    running: Running<'a>,
    mode: Mode,
    /// The id of each level, and where the recording was at its begin.
    levels: Vec<(u64, usize)>,
    /// Commands until it ends.
    left: usize,
    /// Whether it has deleted a key. If it is then not known when it was committed, the checker
    /// has to believe every read of a missing key; so that is not done.
    deletes: bool,
}

impl Open<'_> {
    fn innermost(&self) -> Option<u64> {
        self.levels.last().map(|(id, _)| *id)
    }

    fn root(&self) -> Option<u64> {
        self.levels.first().map(|(id, _)| *id)
    }
}

#[derive(Clone, Copy)]
enum Choice {
    Get,
    GetForUpdate,
    Exists,
    Scan,
    Count,
    Put,
    PutIfAbsent,
    Delete,
    Add,
    BeginNested,
    EndNested,
}

const READS: [(u32, Choice); 4] =
    [(50, Choice::Get), (10, Choice::Exists), (30, Choice::Scan), (10, Choice::Count)];
const READS_AND_WRITES: [(u32, Choice); 11] = [
    (24, Choice::Get),
    (10, Choice::GetForUpdate),
    (4, Choice::Exists),
    (10, Choice::Scan),
    (3, Choice::Count),
    (20, Choice::Put),
    (4, Choice::PutIfAbsent),
    (8, Choice::Delete),
    (7, Choice::Add),
    (6, Choice::BeginNested),
    (6, Choice::EndNested),
];
const SINGLE: [(u32, Choice); 7] = [
    (30, Choice::Get),
    (5, Choice::Exists),
    (15, Choice::Scan),
    (25, Choice::Put),
    (5, Choice::PutIfAbsent),
    (10, Choice::Delete),
    (10, Choice::Add),
];

impl<'a> Worker<'a> {
    pub(crate) fn new(
        load: &'a Load,
        number: u32,
        client: Box<dyn Client + Send>,
        random: Random,
    ) -> Worker<'a> {
        Worker { load, number, client, random, open: Vec::new() }
    }

    /// Does so many transactions, and ends them all.
    pub(crate) fn run(mut self, transactions: usize) {
        let mut begun = 0;
        while begun < transactions || !self.open.is_empty() {
            let may_begin = begun < transactions && self.open.len() < OPEN_MAX;
            if may_begin && (self.open.is_empty() || self.random.percent(12)) {
                self.begin();
                begun += 1;
            } else {
                self.go_on();
            }
            self.random.linger();
        }
        self.client.vanish();
    }

    fn begin(&mut self) {
        let mode = self.random.one_of(&self.load.modes);
        let isolation = match mode {
            Mode::Single if self.open.is_empty() => return self.single(),
            Mode::Serializable | Mode::Single => Isolation::Serializable,
            Mode::Snapshot => Isolation::Snapshot,
            Mode::Readonly => Isolation::Readonly,
        };
        let mode = if mode == Mode::Single { Mode::Serializable } else { mode };
        let wait = match self.random.below(10) {
            0 => Some(Duration::ZERO),
            1..4 => Some(Duration::from_millis(2)),
            _ => None,
        };
        let isolation = Some(isolation);
        let begin = Command::Begin { place: Place::Root, isolation, at: None, wait };
        let mut running = self.load.recorder.begin(self.number, mode);
        let id = self.client.ask(None, &begin).unwrap().begun();
        running.begun();
        let levels = vec![(id, running.savepoint())];
        let left = 1 + self.random.below(7);
        self.load.tally.count("transactions");
        self.open.push(Open { running, mode, levels, left, deletes: false });
    }

    fn single(&mut self) {
        self.load.tally.count("transactions");
        let mut running = self.load.recorder.begin(self.number, Mode::Single);
        running.begun();
        let choice = self.random.weighted(&SINGLE);
        let command = self.command(choice);
        note_intent(&mut running, &command);
        if matches!(choice, Choice::Put) && self.random.percent(5) {
            // Nobody knows what became of it.
            return self.client.ask_and_vanish(None, &command);
        }
        let (answer, revision) = self.client.ask_alone(&command);
        match answer {
            Ok(answer) => {
                note_answer(&mut running, &command, answer);
                running.end(Outcome::Committed { revision });
            }
            Err(refusal) => {
                self.load.tally.count(&refusal.code);
                assert!(["TIMEOUT", "PRECONDITION"].contains(&refusal.code.as_str()), "{refusal}");
                running.end(Outcome::Aborted);
            }
        }
    }

    /// Does one thing in one of the open transactions.
    fn go_on(&mut self) {
        let number = self.random.below(self.open.len());
        let mut open = self.open.swap_remove(number);
        if self.random.percent(1) {
            return self.die(open);
        }
        if self.random.percent(1) {
            self.open.push(open);
            return self.commit_all();
        }
        if open.left == 0 {
            return self.end(open);
        }
        open.left -= 1;
        if let Some(open) = self.command_in(open) {
            self.open.push(open);
        }
    }

    /// None if it came to its end.
    fn command_in(&mut self, mut open: Open<'a>) -> Option<Open<'a>> {
        let choice = match open.mode {
            Mode::Readonly => self.random.weighted(&READS),
            _ => self.random.weighted(&READS_AND_WRITES),
        };
        match choice {
            Choice::BeginNested if open.levels.len() < LEVELS_MAX => self.begin_nested(&mut open),
            Choice::EndNested if open.levels.len() > 1 => self.end_nested(&mut open),
            Choice::BeginNested | Choice::EndNested => {}
            _ => {
                let command = self.command(choice);
                let before = open.running.savepoint();
                note_intent(&mut open.running, &command);
                let told = if self.random.percent(5) {
                    self.client.ask_impatiently(open.innermost(), &command)
                } else {
                    Some(self.client.ask(open.innermost(), &command))
                };
                let Some(told) = told else {
                    self.load.tally.count("given up");
                    open.running.undo(before);
                    return Some(open);
                };
                match told {
                    Ok(answer) => {
                        self.compare_count(&open, &command, &answer);
                        open.deletes |= matches!(command, Command::Delete { .. });
                        note_answer(&mut open.running, &command, answer);
                    }
                    Err(refusal) => return self.refused(open, before, &refusal),
                }
            }
        }
        Some(open)
    }

    fn begin_nested(&mut self, open: &mut Open<'a>) {
        let place = open.innermost().map_or(Place::Current, Place::Inside);
        let begin = Command::Begin { place, isolation: None, at: None, wait: None };
        let id = self.client.ask(None, &begin).unwrap().begun();
        open.levels.push((id, open.running.savepoint()));
        self.load.tally.count("nested");
    }

    fn end_nested(&mut self, open: &mut Open<'a>) {
        // Ending a level ends those inside it.
        let level = 1 + self.random.below(open.levels.len() - 1);
        let (id, savepoint) = open.levels[level];
        if self.random.percent(50) {
            self.client.ask(Some(id), &Command::Commit).unwrap();
        } else {
            self.client.ask(Some(id), &Command::Rollback).unwrap();
            open.running.undo(savepoint);
        }
        open.levels.truncate(level);
    }

    /// What was counted is what a scan finds now, in the same transaction.
    fn compare_count(&mut self, open: &Open<'a>, command: &Command, answer: &Answer) {
        if let (Command::Count(selection), Answer::Number(count)) = (command, answer) {
            let scan = Command::Scan(selection.clone());
            let found = self.client.ask(open.innermost(), &scan).unwrap().pairs();
            assert_eq!(i64::try_from(found.len()), Ok(*count), "{command:?} and {found:?}");
        }
    }

    fn refused(
        &mut self,
        mut open: Open<'a>,
        before: usize,
        refusal: &Refusal,
    ) -> Option<Open<'a>> {
        self.load.tally.count(&refusal.code);
        if refusal.aborts() {
            assert_ne!(open.mode, Mode::Readonly, "{refusal}");
            assert!(refusal.code != "CONFLICT" || open.mode == Mode::Snapshot, "{refusal}");
            for _ in 0..self.random.below(3) {
                let anything = self.random.one_of(&[Command::Commit, Command::get("k0")]);
                let told = self.client.ask(open.innermost(), &anything);
                assert_eq!(told, Err(Refusal::new("ABORTED")), "{anything:?} after {refusal}");
            }
            let (any, _) = self.random.one_of(&open.levels);
            self.client.ask(Some(any), &Command::Rollback).unwrap();
            open.running.end(Outcome::Aborted);
            return None;
        }
        let known = ["TIMEOUT", "BUSY", "PRECONDITION"];
        assert!(known.contains(&refusal.code.as_str()), "{refusal}");
        open.running.undo(before);
        if refusal.code != "PRECONDITION" && self.random.percent(40) {
            self.roll_back(open);
            return None;
        }
        Some(open)
    }

    fn end(&mut self, open: Open<'a>) {
        if self.random.percent(20) {
            return self.roll_back(open);
        }
        let committed = self.client.ask(open.root(), &Command::Commit).unwrap();
        open.running.end(Outcome::Committed { revision: committed.revision() });
        self.load.tally.count("commits");
    }

    fn roll_back(&mut self, open: Open<'a>) {
        self.client.ask(open.root(), &Command::Rollback).unwrap();
        open.running.end(Outcome::Aborted);
        self.load.tally.count("rollbacks");
    }

    fn commit_all(&mut self) {
        if self.open.iter().any(|open| open.deletes) {
            return;
        }
        let levels: usize = self.open.iter().map(|open| open.levels.len()).sum();
        let answer = self.client.ask(None, &Command::CommitAll).unwrap();
        let Answer::Committed { count, .. } = answer else { panic!("a count, not {answer:?}") };
        assert_eq!(usize::try_from(count), Ok(levels));
        for open in self.open.drain(..) {
            open.running.end(Outcome::Committed { revision: None });
        }
        self.load.tally.count("commits of all");
    }

    /// Goes away, in one of several ways.
    fn die(&mut self, mut open: Open<'a>) {
        self.load.tally.count("deaths");
        match self.random.below(3) {
            0 => {
                self.client.vanish();
                open.running.end(Outcome::Aborted);
            }
            // Without an answer, the outcome stays unknown.
            1 if !open.deletes => self.client.ask_and_vanish(open.root(), &Command::Commit),
            _ if open.mode == Mode::Readonly => self.client.vanish(),
            _ => {
                let choice = self.random.one_of(&[Choice::Put, Choice::Scan, Choice::GetForUpdate]);
                let command = self.command(choice);
                note_intent(&mut open.running, &command);
                self.client.ask_and_vanish(open.innermost(), &command);
                open.running.end(Outcome::Aborted);
            }
        }
        for other in self.open.drain(..) {
            other.running.end(Outcome::Aborted);
        }
    }

    fn key(&mut self) -> String {
        format!("k{}", self.random.below(self.load.keys))
    }

    fn command(&mut self, choice: Choice) -> Command {
        let key = self.key();
        match choice {
            Choice::Get => Command::Get { key, for_update: false },
            Choice::GetForUpdate => Command::Get { key, for_update: true },
            Choice::Exists => Command::Exists { key },
            Choice::Scan => Command::Scan(self.selection()),
            Choice::Count => Command::Count(self.selection()),
            Choice::Put => Command::put(&key, self.load.recorder.new_value()),
            Choice::PutIfAbsent => {
                let value = self.load.recorder.new_value().to_string();
                Command::Put { key, value, condition: Condition::Absent }
            }
            Choice::Delete => Command::delete(&key),
            Choice::Add => Command::Add { key, by: amount(self.load.recorder.new_value()) },
            Choice::BeginNested | Choice::EndNested => unreachable!("no command on keys"),
        }
    }

    fn selection(&mut self) -> Selection {
        let (one, other) = (self.key(), self.key());
        let interval = match self.random.below(4) {
            0 => Interval::All,
            1 => Interval::Prefix("k".into()),
            _ => Interval::Range(one.clone().min(other.clone()), one.max(other)),
        };
        let after = self.random.percent(15).then(|| self.key());
        let limit = self.random.percent(50).then(|| self.random.below(4) as u64);
        Selection { interval, after, limit, ..Selection::default() }
    }
}

/// An amount so unlike all others that the sums are, too.
fn amount(number: Value) -> i64 {
    // The finalizer of SplitMix64 (Steele, Lea, Flood, 2014), cut to 48 bits.
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 16).cast_signed()
}

/// Records what a command may do before anybody can see it.
fn note_intent(running: &mut Running<'_>, command: &Command) {
    if let Command::Put { key, value, condition: Condition::Always } = command {
        running.write(key, value.parse().unwrap());
    }
}

/// Records what a command has shown.
fn note_answer(running: &mut Running<'_>, command: &Command, answer: Answer) {
    match (command, answer) {
        (Command::Get { key, .. }, Answer::Value(value)) => {
            running.read(key, value.map(|value| value.parse().unwrap()));
        }
        (Command::Put { key, value, condition: Condition::Absent }, Answer::Done) => {
            running.read(key, None);
            running.write(key, value.parse().unwrap());
        }
        (Command::Exists { key }, Answer::Flag(false)) => running.read(key, None),
        (Command::Delete { key, .. }, Answer::Flag(true)) => running.delete(key),
        (Command::Delete { key, .. }, Answer::Flag(false)) => running.read(key, None),
        (Command::Add { key, by }, Answer::Number(sum)) => {
            let (before, sum) = (sum - by, u64::try_from(sum).unwrap());
            running.read(key, Some(before.cast_unsigned()).filter(|&before| before > 0));
            running.write(key, sum);
        }
        (Command::Scan(selection), Answer::Pairs(pairs)) => note_scan(running, selection, &pairs),
        (Command::Count(selection), Answer::Number(0)) => note_scan(running, selection, &[]),
        _ => {}
    }
}

fn note_scan(running: &mut Running<'_>, selection: &Selection, pairs: &[(String, String)]) {
    let Selection { interval, after, limit, .. } = selection;
    let (mut from, mut to) = match interval {
        Interval::All => (String::new(), None),
        Interval::Prefix(prefix) => (prefix.clone(), Some("l".to_string())),
        Interval::Range(from, to) => (from.clone(), Some(to.clone())),
    };
    if let Some(after) = after {
        from = from.max(format!("{after}\0"));
    }
    // With a limit, nothing is known of what comes after the last row.
    if limit.is_some_and(|limit| pairs.len() as u64 == limit) {
        let Some((last, _)) = pairs.last() else { return };
        to = Some(format!("{last}\0"));
    }
    let pairs = pairs.iter().map(|(key, value)| (key.clone(), value.parse().unwrap()));
    running.scan(&from, to.as_deref(), pairs.collect());
}
