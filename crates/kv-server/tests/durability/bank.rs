//! A bank: tellers who move money between a few accounts, in each other's way, and note each
//! transfer in a ledger of their own, in the same transaction. Whatever happens, money is neither
//! made nor lost, and each ledger says how many of its teller's transfers there are.
//!
//! Unlike the writers of `writers`, tellers wait for each other's locks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use kv_testkit::server::{Client, TestServer};

use crate::journal::{State, read_all};
use crate::numbers::Numbers;

const ACCOUNTS: usize = 5;
const TELLERS: usize = 4;
/// What each account has at first.
const MONEY: i64 = 100;

/// How many transfers each teller has begun to commit, and how many were acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) acknowledged: [u64; TELLERS],
    pub(crate) begun: [u64; TELLERS],
}

#[derive(Debug, Default)]
struct Ledger {
    acknowledged: AtomicU64,
    begun: AtomicU64,
}

/// Tellers at work, until the server is gone or they are told to stop.
#[derive(Debug)]
pub(crate) struct Bank {
    tellers: Vec<JoinHandle<()>>,
    ledgers: Arc<[Ledger; TELLERS]>,
    is_closing: Arc<AtomicBool>,
}

fn account(number: usize) -> String {
    format!("account{number}")
}

fn ledger(teller: usize) -> String {
    format!("ledger{teller}")
}

/// All keys that there can be.
pub(crate) fn keys() -> BTreeSet<String> {
    (0..ACCOUNTS).map(account).chain((0..TELLERS).map(ledger)).collect()
}

impl Bank {
    /// Gives each account its money, and lets the tellers work.
    pub(crate) fn open(server: &TestServer) -> Bank {
        let mut client = server.connect();
        assert_eq!(client.ask("BEGIN"), "OK 1");
        for number in 0..ACCOUNTS {
            assert_eq!(client.ask(format!("PUT {} {MONEY}", account(number))), "OK");
        }
        assert_eq!(client.ask("COMMIT"), "OK");
        let ledgers = Arc::<[Ledger; TELLERS]>::default();
        let is_closing = Arc::new(AtomicBool::new(false));
        let teller = |number: usize| {
            let (ledgers, is_closing) = (Arc::clone(&ledgers), Arc::clone(&is_closing));
            let (mut client, mut numbers) = (server.connect(), Numbers::new(7, number));
            std::thread::spawn(move || {
                while !is_closing.load(Ordering::SeqCst) {
                    if transfer(&mut client, &mut numbers, number, &ledgers[number]).is_none() {
                        return;
                    }
                }
            })
        };
        Bank { tellers: (0..TELLERS).map(teller).collect(), ledgers, is_closing }
    }

    /// How far the tellers are. What was acknowledged then had been begun before.
    pub(crate) fn books(&self) -> Books {
        let of = |count: fn(&Ledger) -> &AtomicU64| {
            std::array::from_fn(|teller| count(&self.ledgers[teller]).load(Ordering::SeqCst))
        };
        let acknowledged = of(|ledger| &ledger.acknowledged);
        Books { acknowledged, begun: of(|ledger| &ledger.begun) }
    }

    /// Has the tellers stop after the transfer that each is at.
    pub(crate) fn close(self) -> Books {
        self.is_closing.store(true, Ordering::SeqCst);
        self.wait()
    }

    /// Waits for the tellers' end, which is the server's.
    pub(crate) fn wait(mut self) -> Books {
        for teller in std::mem::take(&mut self.tellers) {
            teller.join().expect("a teller does not fail");
        }
        self.books()
    }
}

/// Moves some money, unless the transaction is aborted; none if the server is gone.
fn transfer(
    client: &mut Client,
    numbers: &mut Numbers,
    teller: usize,
    counts: &Ledger,
) -> Option<()> {
    let (from, to) = (account(numbers.below(ACCOUNTS)), account(numbers.below(ACCOUNTS)));
    let amount = numbers.below(10) as i64;
    let number = counts.begun.load(Ordering::SeqCst) + 1;
    ask(client, "BEGIN")?;
    for command in [
        format!("INCR {from} BY {}", -amount),
        format!("INCR {to} BY {amount}"),
        format!("PUT {} {number}", ledger(teller)),
    ] {
        let reply = ask(client, &command)?;
        if reply.starts_with("ERR ") {
            let is_usual = ["ERR DEADLOCK ", "ERR TIMEOUT "].iter().any(|e| reply.starts_with(e));
            assert!(is_usual, "{command}: {reply}");
            ask(client, "ROLLBACK")?;
            return Some(());
        }
    }
    counts.begun.store(number, Ordering::SeqCst);
    let reply = ask(client, "COMMIT")?;
    if reply.starts_with("ERR OUTCOME ") {
        return None;
    }
    assert_eq!(reply, "OK");
    counts.acknowledged.store(number, Ordering::SeqCst);
    Some(())
}

fn ask(client: &mut Client, command: &str) -> Option<String> {
    if !client.try_send_raw(format!("{command}\n")) {
        return None;
    }
    client.read_line_or_cut()?.ok()
}

/// Looks at what a server has, and answers all versions: every commit is there as a whole, none
/// before the last is missing, and of each teller there is what was acknowledged to him by then and
/// nothing that he had not begun.
pub(crate) fn check(server: &TestServer, books: Books) -> State {
    let mut client = server.connect();
    assert_eq!(client.ask("CHECK"), "OK");
    let state = read_all(&mut client, &keys());
    let versions = state.values().flatten();
    let last = versions.clone().map(|version| version.revision).max().unwrap_or(0);
    let there: BTreeSet<u64> = versions.map(|version| version.revision).collect();
    assert_eq!(there, (1..=last).collect(), "no commit is missing before the last");
    for revision in 1..=last {
        let balances = (0..ACCOUNTS).filter_map(|of| number_at(&state, &account(of), revision));
        let money: i64 = balances.sum();
        assert_eq!(money, MONEY * ACCOUNTS as i64, "money in all at revision {revision}");
    }
    for teller in 0..TELLERS {
        let transfers = number_at(&state, &ledger(teller), last).unwrap_or(0) as u64;
        let possible = books.acknowledged[teller]..=books.begun[teller];
        assert!(possible.contains(&transfers), "teller {teller}: {transfers}, not in {possible:?}");
        let entries = state.get(&ledger(teller)).map_or(0, Vec::len) as u64;
        assert_eq!(entries, transfers, "teller {teller} numbers each transfer once");
    }
    state
}

/// The number under a key at a revision.
fn number_at(state: &State, key: &str, revision: u64) -> Option<i64> {
    let versions = state.get(key)?.iter();
    let seen = versions.take_while(|version| version.revision <= revision).last()?;
    seen.value.as_ref().map(|value| value.parse().expect("accounts and ledgers are numbers"))
}
