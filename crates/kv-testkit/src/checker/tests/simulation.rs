//! Histories from a simulated store: clients interleave at random, the store does what the
//! isolation levels say, or has one mistake. Right stores must pass, wrong ones must be noticed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::Value;
use super::*;

/// What the simulated store does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    Nothing,
    /// SERIALIZABLE and single commands read what was there at their begin.
    LocksComeLate,
    /// Every read finds the newest state, at different moments.
    NoIsolation,
    /// SNAPSHOT writes whatever was committed since.
    NoConflicts,
    /// A view lags behind what was acknowledged.
    OldViews,
    /// Scans do not see keys that were inserted since the begin.
    ScansMissInserts,
    /// A commit shows its first write before the others.
    CommitsTear,
    /// What was aborted stays.
    AbortsStay,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) transactions: usize,
    pub(super) clients: usize,
    pub(super) keys: u64,
    /// In a hundred.
    pub(super) deletes: u32,
    pub(super) unknown: u32,
    pub(super) mistake: Mistake,
}

pub(super) const SMALL: Setting = Setting {
    transactions: 200,
    clients: 6,
    keys: 6,
    deletes: 15,
    unknown: 5,
    mistake: Mistake::Nothing,
};

/// Where a client is with its transaction; each step is another event in time.
enum Step {
    Idle,
    Sent,
    Viewed,
    Begun,
    Operates,
    Done,
}

struct Client {
    step: Step,
    view: u64,
    left: usize,
    running: Transaction,
    own: BTreeMap<String, Option<Value>>,
    /// What it wrote, in order: key and value.
    torn: Vec<(String, Option<Value>)>,
}

struct Store {
    random: StdRng,
    setting: Setting,
    clock: u64,
    values: Value,
    revision: u64,
    keys: BTreeMap<String, Vec<(u64, Option<Value>)>>,
    begun: usize,
    done: Vec<Transaction>,
}

pub(super) fn simulate(seed: u64, setting: Setting) -> History {
    let mut store = Store {
        random: StdRng::seed_from_u64(seed),
        setting,
        clock: 0,
        values: 0,
        revision: 0,
        keys: BTreeMap::new(),
        begun: 0,
        done: Vec::new(),
    };
    let mut clients: Vec<Client> = (0..setting.clients).map(Client::new).collect();
    while store.done.len() < setting.transactions {
        let next = store.random.random_range(0..clients.len());
        store.clock += 1;
        store.advance(&mut clients[next]);
    }
    History { transactions: store.done, installed: BTreeMap::new() }
}

impl Client {
    fn new(number: usize) -> Self {
        let mut running = transaction("one 0..0 u:");
        running.client = u32::try_from(number).unwrap();
        let (own, torn) = (BTreeMap::new(), Vec::new());
        Self { step: Step::Idle, view: 0, left: 0, running, own, torn }
    }
}

impl Store {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.setting.mistake == mistake
    }

    fn advance(&mut self, client: &mut Client) {
        client.step = match client.step {
            Step::Idle if self.begun == self.setting.transactions => Step::Idle,
            Step::Idle => {
                self.begun += 1;
                let modes = [Mode::Serializable, Mode::Snapshot, Mode::Readonly, Mode::Single];
                let mode = modes[self.random.random_range(0..4)];
                let number = client.running.client as usize;
                let running =
                    Transaction { mode, begin: self.clock, ..Client::new(number).running };
                let left = if mode == Mode::Single { 1 } else { self.random.random_range(1..5) };
                *client = Client { running, left, ..Client::new(number) };
                Step::Sent
            }
            Step::Sent => {
                let lag = if self.has(Mistake::OldViews) { 3 } else { 0 };
                client.view = self.revision.saturating_sub(lag);
                Step::Viewed
            }
            Step::Viewed => {
                client.running.begun = self.clock;
                Step::Begun
            }
            Step::Begun => Step::Operates,
            Step::Operates => self.operate(client),
            Step::Done => {
                client.running.end = self.clock;
                client.running.begun = client.running.begun.min(self.clock);
                self.done.push(client.running.clone());
                Step::Idle
            }
        };
    }

    /// All operations and the commit at one moment, so that locks need not be simulated.
    fn operate(&mut self, client: &mut Client) -> Step {
        let torn = self.has(Mistake::CommitsTear) && !client.torn.is_empty();
        while client.left > 0 && !torn {
            client.left -= 1;
            self.one_operation(client);
            if self.has(Mistake::NoIsolation) && client.left > 0 {
                return Step::Operates;
            }
        }
        let writes: Vec<_> = client.own.clone().into_iter().collect();
        let mut aborts = self.random.random_range(0..100) < 5 && !torn;
        if client.running.mode == Mode::Snapshot && !self.has(Mistake::NoConflicts) && !torn {
            let changed = |key: &String| self.keys.get(key).map_or(0, |all| all[all.len() - 1].0);
            aborts |= writes.iter().any(|(key, _)| changed(key) > client.view);
        }
        let revision = if aborts && !self.has(Mistake::AbortsStay) {
            None
        } else if self.has(Mistake::CommitsTear) && !torn && writes.len() > 1 {
            client.torn = writes[1..].to_vec();
            self.install(&writes[..1]);
            return Step::Operates;
        } else if torn {
            self.install(&client.torn.clone())
        } else {
            self.install(&writes)
        };
        client.running.outcome = match aborts {
            true => Outcome::Aborted,
            false if self.chance(self.setting.unknown) => Outcome::Unknown,
            false => Outcome::Committed { revision },
        };
        Step::Done
    }

    fn one_operation(&mut self, client: &mut Client) {
        let key = format!("k{}", self.random.random_range(0..self.setting.keys));
        let what = self.random.random_range(0..100);
        let writes = client.running.mode != Mode::Readonly;
        let operation = if writes && what < self.setting.deletes {
            match self.read(client, &key) {
                None => Operation::Read { key, value: None },
                Some(_) => {
                    client.own.insert(key.clone(), None);
                    Operation::Delete { key }
                }
            }
        } else if writes && what < 50 {
            self.values += 1;
            client.own.insert(key.clone(), Some(self.values));
            Operation::Write { key, value: self.values }
        } else if what < 85 {
            let value = self.read(client, &key);
            Operation::Read { key, value }
        } else {
            let to = format!("k{}", self.random.random_range(0..self.setting.keys));
            let to = (to > key).then_some(to);
            let keys = (0..self.setting.keys).map(|number| format!("k{number}"));
            let inside = keys.filter(|k| *k >= key && to.as_ref().is_none_or(|to| k < to));
            let mut pairs: Vec<(String, Value)> = inside
                .filter_map(|key| {
                    let known = self.at(client.view, &key).is_some();
                    let known = known || client.own.contains_key(&key);
                    let seen = known || !self.has(Mistake::ScansMissInserts);
                    Some((key.clone(), self.read(client, &key).filter(|_| seen)?))
                })
                .collect();
            pairs.sort();
            Operation::Scan { from: key, to, pairs }
        };
        client.running.operations.push(operation);
    }

    fn read(&self, client: &Client, key: &str) -> Option<Value> {
        if let Some(own) = client.own.get(key) {
            return *own;
        }
        let views = match client.running.mode {
            Mode::Snapshot | Mode::Readonly => !self.has(Mistake::NoIsolation),
            Mode::Serializable | Mode::Single => self.has(Mistake::LocksComeLate),
        };
        self.at(if views { client.view } else { u64::MAX }, key)
    }

    fn at(&self, revision: u64, key: &str) -> Option<Value> {
        let mut versions = self.keys.get(key)?.iter();
        versions.rfind(|version| version.0 <= revision)?.1
    }

    fn install(&mut self, writes: &[(String, Option<Value>)]) -> Option<u64> {
        let is_change = |(key, value): &&(String, Option<Value>)| {
            value.is_some() || self.at(u64::MAX, key).is_some()
        };
        let changes: Vec<_> = writes.iter().filter(is_change).cloned().collect();
        if changes.is_empty() {
            return None;
        }
        self.revision += 1;
        for (key, value) in changes {
            self.keys.entry(key).or_default().push((self.revision, value));
        }
        Some(self.revision)
    }
}

#[test]
fn a_right_store_passes() {
    for seed in 0..300 {
        let history = simulate(seed, SMALL);
        verify(&history).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn every_mistake_is_noticed() {
    // Not every run of a wrong store goes wrong. A scan that misses an insert, for one, may just as
    // well have come before it.
    for (mistake, runs_min) in [
        (Mistake::LocksComeLate, 18),
        (Mistake::NoIsolation, 18),
        (Mistake::NoConflicts, 18),
        (Mistake::OldViews, 18),
        (Mistake::ScansMissInserts, 10),
        (Mistake::CommitsTear, 18),
        (Mistake::AbortsStay, 18),
    ] {
        let setting = Setting { mistake, transactions: 600, deletes: 30, ..SMALL };
        let noticed = (0..20).filter(|&seed| verify(&simulate(seed, setting)).is_err()).count();
        assert!(noticed >= runs_min, "{mistake:?} was noticed in {noticed} of 20 runs");
    }
}

#[test]
fn twenty_thousand_transactions_are_checked_quickly() {
    let setting = Setting { transactions: 20_000, clients: 50, keys: 100, ..SMALL };
    let history = simulate(1, setting);
    let started = Instant::now();
    verify(&history).unwrap();
    let took = started.elapsed();
    println!("20,000 transactions in {took:?}");
    // Without optimisation, on a busy machine; it is a second or so otherwise.
    assert!(took < Duration::from_secs(60), "{took:?}");
}
