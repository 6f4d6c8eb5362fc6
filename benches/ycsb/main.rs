//! Embedded stores under the mixes A to F of YCSB, in process: this repository's engine and store
//! beside a bare concurrent map, redb, fjall and SQLite.
//!
//! The map is what a hash map costs that several threads may use; it has no order, so it cannot
//! take part in E. A read copies the value out, as a caller does that keeps it.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]

mod engine;
mod fjall;
mod others;
mod ours;

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use engine::{Engine, Worker};
use kv_benches::arguments::Arguments;
use kv_benches::files::scratch;
use kv_benches::measure::{Ratio, alternate};
use kv_benches::report::{Report, machine};
use kv_benches::svg::{Plot, Point};
use kv_benches::table::{Table, range};
use kv_benches::workload::{self, KEY_BYTES, VALUE_BYTES, Value};
use kv_benches::ycsb::{Inserted, Kind, MIXES, Mix, SCAN_ROWS_MAX, SKEW, Wanted};

const HELP: &str = "
ycsb: embedded stores under the mixes A to F of YCSB, in process

  --keys N         keys in each store at first; default 1000000
  --threads N      default 2
  --only A,B       some of the mixes; default all
  --engines E,E    some of the stores; default kv-core,kv-persist,DashMap,redb,fjall,SQLite
  --durable        every write is on disk before it returns, in those that have files
  --seconds S      of each turn; default 2
  --rounds N       rounds, after one to warm up; default 5
  --out DIR        where the report and its plot go; default target/ycsb
  --quick          tiny sizes
";

/// Operations that each thread draws before the clock starts; they are done again and again.
const DRAWN: usize = 1 << 18;
/// Operations between two looks at the clock.
const LOOK_EVERY: usize = 32;

struct Bench {
    keys: u64,
    threads: u64,
    time: Duration,
    rounds: usize,
    values: Vec<Value>,
}

/// A store, and what each thread has inserted.
struct Side {
    engine: Box<dyn Engine>,
    inserted: Vec<Inserted>,
}

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let bench = Bench {
        keys: arguments.value("keys", 1_000_000, 1_000),
        threads: arguments.value("threads", 2, 2),
        time: Duration::from_secs_f64(arguments.value("seconds", 2.0, 0.02)),
        rounds: arguments.value("rounds", 5, 1),
        values: workload::values(),
    };
    let only = arguments.text("only");
    let engines = arguments.text("engines");
    let is_durable = arguments.flag("durable");
    let out = arguments.text("out").map_or_else(default_out, PathBuf::from);
    arguments.finish();
    let is_named = |list: &Option<String>, name: &str| {
        list.as_ref().is_none_or(|list| list.split(',').any(|one| one == name))
    };
    let mixes: Vec<Mix> =
        MIXES.into_iter().filter(|mix| is_named(&only, &mix.letter.to_string())).collect();
    assert!(!mixes.is_empty(), "--only {only:?}: there is no such mix");
    let dir = scratch("ycsb");
    let mut sides: Vec<Side> = Vec::new();
    for (name, open) in engine::ENGINES.iter().filter(|(name, _)| is_named(&engines, name)) {
        let below = dir.path().join(name);
        std::fs::create_dir(&below).unwrap();
        let engine = open(&below, is_durable);
        fill(&bench, engine.as_ref());
        let inserted = |thread| Inserted::new(bench.keys, thread, bench.threads);
        sides.push(Side { engine, inserted: (0..bench.threads).map(inserted).collect() });
    }
    assert!(!sides.is_empty(), "--engines {engines:?}: there is no such store");
    let samples: Vec<Vec<Vec<f64>>> =
        mixes.iter().map(|mix| measure(&bench, &mut sides, mix)).collect();
    let names: Vec<&str> = sides.iter().map(|side| side.engine.name()).collect();
    let mut report = Report::new(out, "Embedded stores under YCSB");
    report.say(&machine());
    write(&bench, &mut report, is_durable, &mixes, &names, &samples);
    report.save();
}

/// Beside the profile's directory: this program is target/PROFILE/deps/NAME.
fn default_out() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("ycsb")
}

fn fill(bench: &Bench, engine: &dyn Engine) {
    let mut keys = workload::keys(0..bench.keys);
    workload::shuffle(&mut keys, 0);
    engine.worker().fill(&keys, &bench.values);
}

/// Operations a second of each store, by store and round.
fn measure(bench: &Bench, sides: &mut [Side], mix: &Mix) -> Vec<Vec<f64>> {
    let mut samples = vec![Vec::new(); sides.len()];
    alternate(bench.rounds, |round| {
        let drawn: Vec<Vec<Wanted>> = (0..bench.threads)
            .map(|thread| mix.draw(bench.keys, DRAWN, round << 8 | thread))
            .collect();
        for (side, samples) in sides.iter_mut().zip(&mut samples) {
            let can_scan = side.engine.is_ordered() || mix.letter != 'E';
            let rate = can_scan.then(|| turn(bench, side, mix, &drawn));
            samples.extend(rate.filter(|_| round > 0));
        }
        []
    });
    samples
}

/// One turn of one store: operations a second of all threads.
fn turn(bench: &Bench, side: &mut Side, mix: &Mix, drawn: &[Vec<Wanted>]) -> f64 {
    let Side { engine, inserted } = side;
    let start = &Barrier::new(drawn.len());
    let runs: Vec<(usize, Duration)> = thread::scope(|scope| {
        let threads = drawn.iter().zip(inserted).map(|(drawn, inserted)| {
            let engine = &*engine;
            scope.spawn(move || {
                let mut worker = engine.worker();
                start.wait();
                let began = Instant::now();
                let done = work(bench, worker.as_mut(), mix, drawn, inserted, began);
                (done, began.elapsed())
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    runs.iter().map(|(done, elapsed)| *done as f64 / elapsed.as_secs_f64()).sum()
}

fn work(
    bench: &Bench,
    worker: &mut dyn Worker,
    mix: &Mix,
    drawn: &[Wanted],
    inserted: &mut Inserted,
    began: Instant,
) -> usize {
    let mut out = Vec::with_capacity(SCAN_ROWS_MAX * (KEY_BYTES + VALUE_BYTES));
    for (nth, wanted) in drawn.iter().cycle().enumerate() {
        if nth.is_multiple_of(LOOK_EVERY) && began.elapsed() >= bench.time {
            return nth;
        }
        out.clear();
        let key = |inserted: &Inserted| workload::key(inserted.number(mix, wanted.rank));
        let value = workload::value(&bench.values, nth);
        match wanted.kind {
            Kind::Read => assert!(worker.read(&key(inserted), &mut out), "a key is missing"),
            Kind::Update => worker.write(&key(inserted), value),
            Kind::Insert => worker.write(&workload::key(inserted.insert()), value),
            Kind::Scan => worker.scan(&key(inserted), wanted.rows, &mut out),
            Kind::Modify => worker.modify(&key(inserted)),
        }
        std::hint::black_box(&out);
    }
    unreachable!("operations are done again and again")
}

fn write(
    bench: &Bench,
    report: &mut Report,
    is_durable: bool,
    mixes: &[Mix],
    names: &[&str],
    samples: &[Vec<Vec<f64>>],
) {
    let words = mixes.iter().map(|mix| format!("- {}: {}", mix.letter, mix.what));
    report.say(&words.collect::<Vec<_>>().join("\n"));
    let durability = match is_durable {
        true => "Stores with files have every write on disk before it returns",
        false => "Nobody syncs: stores with files leave it to the system when a write is on disk",
    };
    let title = format!(
        "Operations a second, {} threads, {} keys of {KEY_BYTES} bytes with values of \
         {VALUE_BYTES} at first, Zipfian {SKEW}. {durability}. {}",
        bench.threads,
        bench.keys,
        engine::SETTINGS
    );
    let letters: Vec<String> = mixes.iter().map(|mix| mix.letter.to_string()).collect();
    let mut columns = vec![""];
    columns.extend(letters.iter().map(String::as_str));
    let mut table = Table::new(title, &columns);
    for (at, name) in names.iter().enumerate() {
        let cell = |of: &Vec<Vec<f64>>| match of[at].is_empty() {
            true => "-".to_owned(),
            false => range(&of[at]),
        };
        table.row([(*name).to_owned()].into_iter().chain(samples.iter().map(cell)));
    }
    report.table(&table);
    let mut ratios = Table::new("One by another, within each round", &columns);
    for (one, by) in engine::PAIRS {
        let at = |name: &str| names.iter().position(|other| *other == name);
        let Some((one_at, by_at)) = at(one).zip(at(by)) else { continue };
        let cell = |of: &Vec<Vec<f64>>| match of[one_at].is_empty() || of[by_at].is_empty() {
            true => "-".to_owned(),
            false => Ratio::of_pairs(&of[one_at], &of[by_at]).to_string(),
        };
        let row = [format!("{one} by {by}")].into_iter();
        ratios.row(row.chain(samples.iter().map(cell)));
    }
    report.table(&ratios);
    let mut plot = Plot::new("YCSB, in process", "mix", "operations/s", letters).logarithmic();
    for (at, name) in names.iter().enumerate() {
        plot.series(*name, samples.iter().map(|of| Point::of(&of[at])).collect());
    }
    report.plot("ycsb", &plot.bars());
}
