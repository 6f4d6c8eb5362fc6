//! One client with many transactions against the model: every answer must be the same.
//!
//! The model knows no locks. So in one kind of run, transactions that are open together keep to
//! keys of their own; in the other they share keys, and a command that is refused because another
//! of the client's own transactions holds the lock is not done in the model either.

mod conditions;
mod double;
mod generate;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kv_core::Database;
use kv_core::clock::ManualClock;

use crate::command::{Answer, Client, Past, Refusal};
use crate::engine::EngineClient;
use crate::seed::{Random, Round, rounds, say};
use crate::tcp::{Served, TcpClient};
use double::Double;
use generate::Generator;

/// Commands that a failure shows.
const SHOWN: usize = 40;
/// Commands of each run.
const COMMANDS: usize = 8_000;

/// What is compared.
#[derive(Debug, Clone, Copy)]
struct Setting {
    shards: usize,
    /// Versions kept; all if none.
    history: Option<usize>,
    /// Whether transactions that are open together may meet on a key.
    shares_keys: bool,
    /// Whether the client talks to a server. Then nothing expires, since its clock is not moved by
    /// hand.
    is_wire: bool,
}

#[test]
fn transactions_with_keys_of_their_own() {
    run_all("modelled::transactions_with_keys_of_their_own", false);
}

#[test]
fn transactions_that_share_keys() {
    run_all("modelled::transactions_that_share_keys", true);
}

#[test]
fn the_same_over_the_wire() {
    rounds("modelled::the_same_over_the_wire", COMMANDS / 2, |round| {
        let mut answers = BTreeMap::new();
        for (run, shares_keys) in [(100, false), (101, true)] {
            let setting = Setting { shards: 4, history: None, shares_keys, is_wire: true };
            over_the_wire(setting, round, round.random(run), &mut answers);
        }
        say(format_args!("{} commands: {answers:?}", round.size * 2));
    });
}

fn run_all(test: &'static str, shares_keys: bool) {
    rounds(test, COMMANDS, |round| {
        let mut answers = BTreeMap::new();
        let mut runs = 0;
        for shards in [1, 2, 16] {
            for history in [Some(1), Some(2), None] {
                let random = round.random(runs);
                let setting = Setting { shards, history, shares_keys, is_wire: false };
                over_the_engine(setting, round, random, &mut answers);
                runs += 1;
            }
        }
        say(format_args!("{} commands: {answers:?}", round.size * usize::try_from(runs).unwrap()));
        for expected in ["ok", "NOTX", "BUSY", "PRECONDITION", "TYPE", "ARGUMENT", "READONLY"] {
            assert!(answers.contains_key(expected), "no {expected} among the answers");
        }
        assert!(!shares_keys || answers.contains_key("CONFLICT"), "no CONFLICT");
        assert!(!shares_keys || answers.contains_key("ABORTED"), "no ABORTED");
    });
}

/// How often each answer was given.
type Answers = BTreeMap<String, usize>;

fn over_the_engine(setting: Setting, round: &Round, random: Random, answers: &mut Answers) {
    let clock = Arc::new(ManualClock::new(0));
    let mut builder = Database::builder();
    builder.shards(setting.shards).history(setting.history).view_age_max(Duration::MAX);
    let database = builder.clock(Arc::clone(&clock) as _).open();
    let mut client = EngineClient::new(&database);
    let pass = |pause_ms| clock.advance(Duration::from_millis(pause_ms));
    let check = || {
        database.check().unwrap();
        database.check_idle().unwrap();
    };
    compare(setting, round, random, answers, &mut client, pass, check);
    drop(client);
    database.check_idle().unwrap();
}

fn over_the_wire(setting: Setting, round: &Round, random: Random, answers: &mut Answers) {
    let served = Served::start(&["--shards", &setting.shards.to_string(), "--history", "all"]);
    let mut client = TcpClient::new(served.address);
    let check = || served.server.database().check().unwrap();
    compare(setting, round, random, answers, &mut client, |_| {}, check);
}

/// Does random commands on both, and compares. `pass` lets time pass, `check` is called when the
/// client has gone.
fn compare(
    setting: Setting,
    round: &Round,
    random: Random,
    answers: &mut Answers,
    client: &mut dyn Client,
    pass: impl Fn(u64),
    check: impl Fn(),
) {
    let mut double = Double::new(setting.history, setting.is_wire);
    let mut generator = Generator::new(random, setting.shares_keys, !setting.is_wire);
    let mut past: VecDeque<String> = VecDeque::new();
    for number in 0..round.size {
        let pause_ms = generator.pause_ms();
        pass(pause_ms);
        double.model.advance(pause_ms);
        let (txn, command) = generator.next(&double.model);
        let told = client.ask(txn, &command);
        generator.note(&told);
        past.push_back(format!("{number}: {txn:?} {command:?} -> {told:?}"));
        if past.len() > SHOWN {
            past.pop_front();
        }
        *answers.entry(word_of(&told)).or_default() += 1;
        if setting.shares_keys && double.is_own_lock(txn, &told) {
            continue;
        }
        if let Err(expected) = double.agrees(txn, &command, &told) {
            let past: Vec<String> = past.into();
            panic!("{setting:?}, {}\nbut the model says {expected}", past.join("\n"));
        }
        if number % 500 == 499 {
            client.vanish();
            check();
            double.close();
            generator.close();
        }
    }
}

fn word_of(told: &Result<Answer, Refusal>) -> String {
    match told {
        Ok(_) => "ok".into(),
        Err(refusal) => refusal.code.clone(),
    }
}

/// Whether the store may have kept these of a key's versions, newest first: the newest ones for
/// certain, of the others some.
fn may_be_kept(told: &[Past], all: &[Past], history: Option<usize>) -> bool {
    let newest = history.unwrap_or(usize::MAX).min(all.len());
    let mut rest = all.iter();
    told.len() >= newest
        && told.iter().take(newest).eq(all.iter().take(newest))
        && told.iter().all(|past| rest.any(|other| other == past))
}
