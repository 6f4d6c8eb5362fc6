//! Random commands of one client, right ones and wrong ones.

use std::collections::BTreeMap;

use kv_testkit::model::{Condition, Isolation, Model, Place};

use super::conditions::{self, NUMBERS};
use super::double::isolation_of;
use crate::command::{Answer, Command, Interval, Refusal, Selection};
use crate::seed::Random;

/// The only client.
const CLIENT: u32 = 1;
/// The beginnings of keys; in a run without shared keys, each open root has one to itself.
const SLOTS: [&str; 3] = ["a", "b", "bb"];
/// The ends of keys: neighbours in every way.
const ENDS: [&str; 7] = ["", "\0", "0", "00", "1", "\u{7f}", "é"];
pub(super) const VALUES: [&str; 9] =
    ["", "0", "7", "-3", "9223372036854775807", "seven", "-0.5", "1e1", "7.0"];

#[derive(Clone, Copy)]
enum Choice {
    Begin,
    BeginNested,
    Commit,
    Rollback,
    CommitAll,
    Get,
    GetForUpdate,
    Exists,
    Meta,
    Put,
    PutFor,
    Expire,
    Ttl,
    Delete,
    Add,
    Scan,
    Count,
    Nearest,
    GetVersion,
    GetAt,
    History,
    ShowAll,
    Transactions,
}

const CHOICES: [(u32, Choice); 23] = [
    (6, Choice::Begin),
    (6, Choice::BeginNested),
    (6, Choice::Commit),
    (5, Choice::Rollback),
    (1, Choice::CommitAll),
    (14, Choice::Get),
    (5, Choice::GetForUpdate),
    (3, Choice::Exists),
    (5, Choice::Meta),
    (20, Choice::Put),
    (10, Choice::PutFor),
    (6, Choice::Expire),
    (4, Choice::Ttl),
    (7, Choice::Delete),
    (6, Choice::Add),
    (12, Choice::Scan),
    (5, Choice::Count),
    (4, Choice::Nearest),
    (4, Choice::GetVersion),
    (4, Choice::GetAt),
    (3, Choice::History),
    (2, Choice::ShowAll),
    (1, Choice::Transactions),
];

pub(super) struct Generator {
    random: Random,
    shares_keys: bool,
    /// Whether keys expire.
    expires: bool,
    /// The slot of each root that may be open.
    slots: BTreeMap<u64, usize>,
    /// The slot of the root that the last command begins.
    begins_with: Option<usize>,
}

impl Generator {
    pub(super) fn new(random: Random, shares_keys: bool, expires: bool) -> Generator {
        Generator { random, shares_keys, expires, slots: BTreeMap::new(), begins_with: None }
    }

    /// The next command, and the transaction that it names.
    pub(super) fn next(&mut self, model: &Model) -> (Option<u64>, Command) {
        let choice = self.random.weighted(&CHOICES);
        if matches!(choice, Choice::Begin) {
            return (None, self.begin(model));
        }
        let txn = self.name(model);
        let command = match choice {
            Choice::BeginNested => return (None, self.begin_nested(txn)),
            Choice::Commit => Command::Commit,
            Choice::Rollback => Command::Rollback,
            Choice::CommitAll => return (None, Command::CommitAll),
            Choice::ShowAll => return (None, Command::ShowAll),
            Choice::Transactions => return (None, Command::Transactions),
            _ => self.on_keys(model, txn, choice),
        };
        (txn, command)
    }

    /// Learns the id of what the last command has begun.
    pub(super) fn note(&mut self, told: &Result<Answer, Refusal>) {
        if let (Some(slot), Ok(Answer::Begun(id))) = (self.begins_with.take(), told) {
            self.slots.insert(*id, slot);
        }
    }

    /// Forgets the client's transactions, whose ids will be used again.
    pub(super) fn close(&mut self) {
        self.slots.clear();
    }

    fn name(&mut self, model: &Model) -> Option<u64> {
        let open = model.open_of(CLIENT);
        match self.random.below(100) {
            0..45 => None,
            45..50 => Some(self.random.below(40) as u64),
            _ if open.is_empty() => None,
            _ => Some(self.random.one_of(&open).id),
        }
    }

    fn begin(&mut self, model: &Model) -> Command {
        let isolation = self.random.one_of(&[
            None,
            Some(Isolation::Serializable),
            Some(Isolation::Snapshot),
            Some(Isolation::Readonly),
        ]);
        let open = model.open_of(CLIENT);
        self.slots.retain(|root, _| open.iter().any(|open| open.id == *root));
        let free = (0..SLOTS.len()).find(|slot| !self.slots.values().any(|other| other == slot));
        let at = self.random.percent(10).then(|| self.random.below(model.revision() as usize + 2));
        let at = at.map(|at| at as u64);
        if isolation == Some(Isolation::Readonly) {
            return Command::Begin { place: Place::Root, isolation, at, wait: None };
        }
        if at.is_some() && self.random.percent(20) {
            // This is refused.
            return Command::Begin { place: Place::Root, isolation, at, wait: None };
        }
        let slot = if self.shares_keys { Some(self.random.below(SLOTS.len())) } else { free };
        match slot.filter(|_| open.len() < 12) {
            None => Command::Commit,
            Some(slot) => {
                self.begins_with = Some(slot);
                Command::Begin { place: Place::Root, isolation, at: None, wait: None }
            }
        }
    }

    fn begin_nested(&mut self, txn: Option<u64>) -> Command {
        let place = txn.map_or(Place::Current, Place::Inside);
        let isolation = self.random.percent(15).then_some(Isolation::Snapshot);
        let at = self.random.percent(2).then_some(1);
        Command::Begin { place, isolation, at, wait: None }
    }

    fn on_keys(&mut self, model: &Model, txn: Option<u64>, choice: Choice) -> Command {
        let key = self.key(model, txn);
        match choice {
            Choice::Get => Command::Get { key, for_update: false },
            Choice::GetForUpdate => Command::Get { key, for_update: true },
            Choice::Exists => Command::Exists { key },
            Choice::Meta => Command::Meta { key },
            Choice::PutFor | Choice::Expire if !self.expires => {
                Command::Expire { key, ttl_s: None }
            }
            Choice::Put => {
                let value = self.random.one_of(&VALUES).to_string();
                Command::Put { key, value, condition: self.condition() }
            }
            Choice::PutFor => {
                let value = self.random.one_of(&VALUES).to_string();
                Command::PutFor { key, value, ttl_s: self.ttl_s() }
            }
            Choice::Expire => {
                let ttl_s = self.random.percent(70).then(|| self.ttl_s());
                Command::Expire { key, ttl_s }
            }
            Choice::Ttl => Command::Ttl { key },
            Choice::Delete => {
                let version = self.random.percent(25).then(|| self.random.below(6) as u64);
                Command::Delete { key, version }
            }
            Choice::Add => {
                Command::Add { key, by: self.random.one_of(&[1, -5, i64::MAX, i64::MIN]) }
            }
            Choice::Scan => Command::Scan(self.selection(model, txn)),
            Choice::Count => Command::Count(self.selection(model, txn)),
            Choice::Nearest => self.nearest(model, txn),
            Choice::GetVersion => {
                let versions = model.history(key.as_bytes()).len();
                let version = self.random.below(versions + 2) as u64;
                Command::GetVersion { key, version }
            }
            Choice::GetAt => {
                let revision = self.random.below(model.revision() as usize + 2) as u64;
                Command::GetAt { key, revision }
            }
            _ => Command::History { key },
        }
    }

    /// Mostly so short that it is over within the next commands.
    fn ttl_s(&mut self) -> u64 {
        self.random.one_of(&[1, 1, 2, 3, 1000])
    }

    /// How far the clock goes on before the next command: not at all, mostly.
    pub(super) fn pause_ms(&mut self) -> u64 {
        if !self.expires {
            return 0;
        }
        self.random.one_of(&[0, 0, 0, 0, 0, 1, 400, 999])
    }

    fn condition(&mut self) -> Condition {
        match self.random.below(12) {
            0 => Condition::Absent,
            1 => Condition::Present,
            2 => Condition::Version(self.random.below(6) as u64),
            _ => Condition::Always,
        }
    }

    /// The slot that the command has to keep to.
    fn slot(&mut self, model: &Model, txn: Option<u64>) -> Option<usize> {
        let meant = txn.or_else(|| model.current(CLIENT));
        let root = meant.map(|meant| model.root(CLIENT, meant));
        let slot = root.and_then(|root| self.slots.get(&root).copied());
        slot.filter(|_| !self.shares_keys)
    }

    fn key(&mut self, model: &Model, txn: Option<u64>) -> String {
        let slot = self.slot(model, txn).unwrap_or_else(|| self.random.below(SLOTS.len()));
        let end = self.random.one_of(&ENDS);
        // No key is in two slots.
        format!("{}/{end}", SLOTS[slot])
    }

    /// The slot whose keys a list has to keep to.
    fn slot_of_list(&mut self, model: &Model, txn: Option<u64>) -> Option<usize> {
        let meant = txn.or_else(|| model.current(CLIENT));
        let isolation = meant.and_then(|meant| isolation_of(model, meant));
        self.slot(model, txn).filter(|_| isolation == Some(Isolation::Serializable))
    }

    fn nearest(&mut self, model: &Model, txn: Option<u64>) -> Command {
        let prefix = match self.slot_of_list(model, txn) {
            Some(slot) => Some(format!("{}/", SLOTS[slot])),
            None => self.random.one_of(&[None, Some("a".into()), Some("bb/".into())]),
        };
        let number = self.random.one_of(&NUMBERS).to_string();
        let rows = self.random.one_of(&[0, 1, 2, 3, 10_000, 10_000, 10_001]);
        Command::Nearest { number, rows, prefix }
    }

    fn selection(&mut self, model: &Model, txn: Option<u64>) -> Selection {
        let slot = self.slot_of_list(model, txn);
        let (one, other) = (self.key(model, txn), self.key(model, txn));
        let interval = match (self.random.below(5), slot) {
            (0, None) => Interval::All,
            (1, None) => Interval::Prefix(self.random.one_of(&["a", "b", "bb/", "\u{7f}"]).into()),
            (0 | 1, Some(slot)) => Interval::Prefix(format!("{}/", SLOTS[slot])),
            (2, _) => Interval::Range(one.clone().max(other.clone()), one.min(other)),
            _ => Interval::Range(one.clone().min(other.clone()), one.max(other)),
        };
        let after = self.random.percent(20).then(|| self.key(model, txn));
        let limit = self.random.percent(40).then(|| self.random.below(5) as u64);
        let conditions = conditions::random(&mut self.random);
        Selection { interval, conditions, after, limit }
    }
}
