//! What a transaction costs: ten PUTs between BEGIN and COMMIT beside ten single PUTs.
//!
//! Each thread has a session and keys of its own, so nobody waits for a lock: what is measured is
//! the price of locks, of the write set and of an atomic commit when they are not contended.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use kv_benches::arguments::Arguments;
use kv_benches::measure::{Ratio, alternate, median};
use kv_benches::table::Table;
use kv_benches::workload::{self, Key, Value, shuffle};
use kv_core::{BeginOptions, Database, Error, Session, ValueKind};

const HELP: &str = "
transactions: ten PUTs in a transaction against ten single PUTs, in process

  --keys N           keys in the store; default 1000000
  --history N        versions kept; default 1
  --threads N,N      default 1,2
  --transactions N   of each thread and measurement; default 20000
  --rounds N         rounds, after one to warm up; default 7
  --quick            tiny sizes
";

/// PUTs of a transaction.
const PUTS: usize = 10;

/// Writes ten keys in one way or another.
type Write = fn(&Database, &mut Session, &[Key], &[Value]);

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let mut keys = workload::keys(0..arguments.value("keys", 1_000_000, 4_000));
    let history = arguments.value("history", 1, 1);
    let thread_counts = arguments.values("threads", &[1, 2], &[1, 2]);
    let transactions = arguments.value("transactions", 20_000, 100);
    let rounds = arguments.value("rounds", 7, 1);
    arguments.finish();
    let values = workload::values();
    let db = Database::builder().history(Some(history)).open();
    let mut session = db.session();
    shuffle(&mut keys, u64::MAX);
    keys.iter().for_each(|key| put(&mut session, key, &values[0]));
    let title = format!("{PUTS} PUTs, {} keys, history {history}", keys.len());
    let heading = ["", "ns", "ns a PUT", "by single (least to most)"];
    let mut table = Table::new(title, &heading);
    for threads in thread_counts {
        assert!(threads * transactions * PUTS <= keys.len(), "more PUTs than --keys");
        let samples = alternate(rounds, |round| {
            shuffle(&mut keys, round);
            [singles, transaction, update]
                .map(|write| ns_each_write(threads, transactions, &db, write, &keys, &values))
        });
        for (name, ns) in ["single", "BEGIN … COMMIT", "db.update"].iter().zip(&samples) {
            let of_threads = if threads == 1 { "1 thread" } else { "2 or more threads" };
            table.row([
                format!("{name}, {}", of_threads.replace("2 or more", &threads.to_string())),
                format!("{:.0}", median(ns)),
                format!("{:.0}", median(ns) / PUTS as f64),
                Ratio::of_pairs(ns, &samples[0]).to_string(),
            ]);
        }
    }
    table.print();
    drop(session);
    db.check_idle().unwrap();
}

/// Wall time of one group of ten PUTs on each thread, from the first to begin to the last to end.
///
/// The threads look at the clock themselves: one that only waits for them may be given the
/// processor when they are done.
fn ns_each_write(
    threads: usize,
    transactions: usize,
    db: &Database,
    write: Write,
    keys: &[Key],
    values: &[Value],
) -> f64 {
    let start = &Barrier::new(threads);
    let work = |keys: &[Key]| {
        let mut session = db.session();
        start.wait();
        let began = Instant::now();
        let groups = keys.chunks_exact(PUTS).take(transactions);
        groups.for_each(|keys| write(db, &mut session, keys, values));
        (began, Instant::now())
    };
    let times: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let shares = keys.chunks(keys.len() / threads).take(threads);
        let workers: Vec<_> = shares.map(|keys| scope.spawn(move || work(keys))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let began = times.iter().map(|(began, _)| *began).min().unwrap();
    let ended = times.iter().map(|(_, ended)| *ended).max().unwrap();
    (ended - began).as_nanos() as f64 / transactions as f64
}

fn singles(_: &Database, session: &mut Session, keys: &[Key], values: &[Value]) {
    for (nth, key) in keys.iter().enumerate() {
        put(session, key, workload::value(values, nth));
    }
}

fn transaction(_: &Database, session: &mut Session, keys: &[Key], values: &[Value]) {
    session.begin(BeginOptions::default()).unwrap();
    for (nth, key) in keys.iter().enumerate() {
        put(session, key, workload::value(values, nth));
    }
    session.commit(None).unwrap();
}

fn update(db: &Database, _: &mut Session, keys: &[Key], values: &[Value]) {
    db.update(|txn| {
        for (nth, key) in keys.iter().enumerate() {
            txn.put(key, workload::value(values, nth))?;
        }
        Ok::<(), Error>(())
    })
    .unwrap();
}

fn put(session: &mut Session, key: &Key, value: &Value) {
    session.put(None, key, value, ValueKind::Text, None).unwrap();
}
