//! Many threads on a store of which a tenth is in memory, while it is folded and swept: nothing is
//! lost, and every state that is read is one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use kv_core::{Error as Refusal, Interval};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const ACCOUNTS: usize = 400;
const COUNTERS: usize = 40;
const BALANCE: i64 = 100;
/// An account has its balance, and something that takes room.
const FILLING: usize = 300;
/// About a tenth of the accounts, and what 4 shards take themselves.
const BYTES_MAX: usize = 16_000 + 4 * 12_500;
/// The same where only values leave, and all keys stay.
const BYTES_MAX_WITH_KEYS: usize = BYTES_MAX + 100_000;
const TRANSFERS: usize = 25;

fn account(number: usize) -> String {
    format!("account/{number:03}")
}

fn filled(balance: i64) -> String {
    format!("{balance} {}", "x".repeat(FILLING))
}

fn balance(value: &[u8]) -> i64 {
    let text = std::str::from_utf8(value).unwrap();
    let (balance, filling) = text.split_once(' ').unwrap();
    assert_eq!(filling.len(), FILLING);
    balance.parse().unwrap()
}

fn accounts() -> ScanOptions {
    ScanOptions::of(Interval::prefix(b"account/"))
}

/// Asks again when it lost against others, or when open views left no room.
fn insist<T>(mut attempt: impl FnMut() -> Result<T, Refusal>) -> T {
    let started = std::time::Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) if error.is_retryable() || error.code() == "OOM" => {
                assert!(started.elapsed() < Duration::from_secs(60), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

struct Bank<'a> {
    db: &'a Database,
    is_over: AtomicBool,
    /// Increments that were acknowledged.
    added: AtomicU64,
    /// States that were checked.
    checked: AtomicU64,
}

impl Bank<'_> {
    fn transfer(&self, random: &mut StdRng) {
        let [from, to] = [(); 2].map(|()| random.random_range(0..ACCOUNTS));
        let amount = random.random_range(1..10i64);
        insist(|| {
            self.db.update(|txn| {
                let [before, other] = [from, to].map(|it| txn.get_for_update(account(it)));
                let (before, other) = (balance(&before?.unwrap()), balance(&other?.unwrap()));
                if from != to {
                    txn.put(account(from), filled(before - amount))?;
                    txn.put(account(to), filled(other + amount))?;
                }
                Ok::<_, Refusal>(())
            })
        });
    }

    /// As a client does without a transaction, and in one with others.
    fn count(&self, random: &mut StdRng) {
        let counter = format!("counter/{:02}", random.random_range(0..COUNTERS));
        insist(|| self.db.update(|txn| txn.add(&counter, 1)));
        self.added.fetch_add(1, Relaxed);
        // Deleted and put again, so that its versions go on where they were.
        let passing = format!("passing/{:02}", random.random_range(0..COUNTERS));
        insist(|| self.db.put(&passing, &counter));
        insist(|| self.db.delete(&passing));
    }

    fn check(&self, isolation: Isolation) {
        let begin = BeginOptions { isolation: Some(isolation), ..BeginOptions::default() };
        let mut txn = self.db.begin(begin).unwrap();
        let rows = txn.scan(&accounts()).unwrap();
        let sum: i64 = rows.iter().map(|row| balance(&row.value().unwrap())).sum();
        assert_eq!((rows.len(), sum), (ACCOUNTS, BALANCE * ACCOUNTS as i64), "{isolation:?}");
        // It stays the same, for single keys too.
        let again: i64 = rows
            .iter()
            .step_by(7)
            .map(|row| {
                let value = txn.get(row.key()).unwrap().unwrap();
                assert_eq!(*value, *row.value().unwrap());
                balance(&value)
            })
            .sum();
        assert!(again.abs() <= BALANCE * ACCOUNTS as i64 * 10);
        self.checked.fetch_add(1, Relaxed);
    }

    fn look(&self, random: &mut StdRng) {
        let number = random.random_range(0..ACCOUNTS * 2);
        let found = self.db.get(account(number)).unwrap();
        assert_eq!(found.is_some(), number < ACCOUNTS, "{number}");
        let missing = format!("nothing/{}", random.random_range(0..10_000));
        assert_eq!(self.db.get(missing).unwrap(), None);
    }

    fn run(&self) {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3u64)
                .map(|seed| {
                    scope.spawn(move || {
                        let mut random = StdRng::seed_from_u64(seed);
                        for _ in 0..TRANSFERS {
                            self.transfer(&mut random);
                            self.count(&mut random);
                        }
                    })
                })
                .collect();
            let until_over = |act: &mut dyn FnMut()| {
                while !self.is_over.load(Relaxed) {
                    act();
                }
            };
            for isolation in [Isolation::Snapshot, Isolation::Readonly] {
                scope.spawn(move || until_over(&mut || self.check(isolation)));
            }
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(9);
                until_over(&mut || self.look(&mut random));
            });
            scope.spawn(move || {
                until_over(&mut || {
                    self.db.sweep();
                    std::thread::sleep(Duration::from_millis(1));
                });
            });
            let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            self.is_over.store(true, Relaxed);
            ended.into_iter().for_each(|ended| ended.unwrap());
        });
    }
}

fn counted(db: &Database) -> u64 {
    let counters = ScanOptions::of(Interval::prefix(b"counter/"));
    let rows = db.view(|txn| txn.scan(&counters)).unwrap();
    let number = |value: &[u8]| -> u64 { std::str::from_utf8(value).unwrap().parse().unwrap() };
    rows.iter().map(|row| number(&row.value().unwrap())).sum()
}

fn bounded(bytes_max: usize) -> Builder {
    let mut builder = builder();
    builder.shards(4).memory_max(Some(bytes_max));
    builder
}

fn keep_busy(bytes_max: usize, change: impl Fn(&mut StoreOptions)) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.schedule = Schedule { interval: Duration::from_millis(1), log_bytes: 1 };
    options.piece_bytes_max = 20_000;
    change(&mut options);
    let store = Store::open(options.clone(), &mut bounded(bytes_max)).unwrap();
    let db = store.database();
    for number in 0..ACCOUNTS {
        insist(|| db.put(account(number), filled(BALANCE)));
    }
    let (is_over, added, checked) = Default::default();
    let bank = Bank { db, is_over, added, checked };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Oftener than the checkpoint looks by itself.
            while !bank.is_over.load(Relaxed) {
                store.checkpoint().checkpoint().unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        bank.run();
    });
    db.check_idle().unwrap();
    bank.check(Isolation::Readonly);
    let (added, checked) = (bank.added.load(Relaxed), bank.checked.load(Relaxed));
    assert_eq!((added, counted(db)), (3 * TRANSFERS as u64, added));
    assert!(checked > 3, "{checked}");
    let shards = db.shards();
    let evictions: u64 = shards.iter().map(|shard| shard.evictions).sum();
    let fetches: u64 = shards.iter().map(|shard| shard.fetches).sum();
    eprintln!("{checked} states, {evictions} gave way, {fetches} were fetched");
    assert!(evictions.min(fetches) > 100, "{evictions}, {fetches}");
    let keys = db.stats().keys;
    drop(store);
    for bytes_max in [bytes_max, 5_000] {
        let store = Store::open(options.clone(), &mut bounded(bytes_max)).unwrap();
        let db = store.database();
        assert_eq!((db.stats().keys, counted(db)), (keys, added));
        let (is_over, added, checked) = Default::default();
        Bank { db, is_over, added, checked }.check(Isolation::Readonly);
        db.check_idle().unwrap();
        store.close(Duration::from_secs(60)).unwrap();
    }
}

#[test]
fn every_state_that_is_read_is_one_while_keys_come_and_go() {
    keep_busy(BYTES_MAX, |_| {});
}

#[test]
fn every_state_that_is_read_is_one_while_values_come_and_go() {
    keep_busy(BYTES_MAX_WITH_KEYS, |options| {
        options.key = Some(MasterKey::from_text(&"4b".repeat(32)).unwrap());
    });
}
