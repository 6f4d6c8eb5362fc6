//! What a checkpoint costs those who read meanwhile: GETs at a third of the most that they could
//! be, while all keys that were changed are folded, beside the same without.
//!
//! The requests come at a fixed rate and their latency counts from when they were due, so that a
//! server that stands still is seen to.

#![expect(clippy::print_stdout, reason = "what the table is about is said above it")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kv_benches::arguments::Arguments;
use kv_benches::control::Control;
use kv_benches::files::scratch;
use kv_benches::measure::{Ratio, alternate, median};
use kv_benches::paced::{Paced, PacedRun};
use kv_benches::process::{Server, server_binary};
use kv_benches::table::Table;
use kv_benches::traffic::{Connections, Operation, Protocol, Requests, Until, send_all};
use kv_benches::workload::{self, Key, Value};

const HELP: &str = "
checkpoint: latency of GETs while a checkpoint runs, by that without

  --server PATH    the server's binary; default: one that is built now
  --keys N         keys in the store, all of which are changed before each checkpoint; default
                   1000000
  --connections N  default 50
  --seconds S      of GETs without a checkpoint; default 10
  --share F        of the most GETs a second, which is measured first; default 0.333
  --rounds N       rounds, after one to warm up; default 3
  --quick          tiny sizes
";

/// Quantiles that are shown.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

struct Bench {
    server: Server,
    control: Control,
    connections: usize,
    gets: Requests,
    per_second: f64,
}

/// Quantiles of the latency, and the greatest of the sender's lateness, in microseconds.
type Figures = [f64; 4];

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let keys: u64 = arguments.value("keys", 1_000_000, 5_000);
    let connections = arguments.value("connections", 50, 3);
    let time = Duration::from_secs_f64(arguments.value("seconds", 10.0, 0.2));
    let share: f64 = arguments.value("share", 1.0 / 3.0, 0.1);
    let rounds = arguments.value("rounds", 3, 1);
    let binary = server_binary(arguments.text("server"));
    arguments.finish();
    let dir = scratch("checkpoint");
    // Only when it is told to, and whatever has been written.
    let never = ["--checkpoint-interval", "30d", "--checkpoint-log", "4gb", "--max-log", "8gb"];
    let server = Server::start_durable(&binary, dir.path(), &never);
    let mut keys = workload::keys(0..keys);
    let values = workload::values();
    workload::shuffle(&mut keys, 1000);
    let gets = Requests::new(Protocol::Lines, Operation::Get, &keys, &values);
    let control = Control::open(server.address);
    let mut bench = Bench { server, control, connections, gets, per_second: 0.0 };
    bench.change_all(&keys, &values);
    bench.control.must("CHECKPOINT");
    bench.per_second = bench.most_gets(time) * share;
    println!("{:.0} GETs a second on {connections} connections", bench.per_second);
    let mut fold_seconds = Vec::new();
    let samples = alternate(rounds, |round| {
        workload::shuffle(&mut keys, round);
        bench.change_all(&keys, &values);
        let without = figures(bench.paced().run(|elapsed| elapsed >= time));
        let (during, seconds) = bench.gets_during_checkpoint(keys.len() as u64);
        fold_seconds.push(seconds);
        let during = figures(during);
        std::array::from_fn::<f64, 8, _>(|at| if at < 4 { without[at] } else { during[at - 4] })
    });
    let title = format!(
        "GETs while {} changed keys are folded, which took {:.1} s",
        keys.len(),
        median(&fold_seconds)
    );
    print(title, &samples);
}

impl Bench {
    fn change_all(&self, keys: &[Key], values: &[Value]) {
        let puts = Requests::new(Protocol::Lines, Operation::Put, keys, values);
        send_all(self.server.address, &puts, self.connections, 64);
    }

    /// GETs a second when all connections always have one in flight.
    fn most_gets(&self, time: Duration) -> f64 {
        let mut connections = Connections::open(self.server.address, self.connections, 1);
        connections.run(&self.gets, 1, Until::Elapsed(time)).commands_per_second()
    }

    fn paced(&self) -> Paced<'_> {
        Paced {
            address: self.server.address,
            requests: &self.gets,
            connections: self.connections,
            per_second: self.per_second,
        }
    }

    /// Has all changes folded, and reads as long as that takes, which is returned in seconds.
    fn gets_during_checkpoint(&mut self, keys: u64) -> (PacedRun, f64) {
        let is_done = &AtomicBool::new(false);
        let before = self.control.stats();
        let mut control = Control::open(self.server.address);
        let (run, seconds) = thread::scope(|scope| {
            let fold = scope.spawn(move || {
                let started = Instant::now();
                control.must("CHECKPOINT");
                is_done.store(true, Ordering::SeqCst);
                started.elapsed().as_secs_f64()
            });
            let run = self.paced().run(|_| is_done.load(Ordering::SeqCst));
            (run, fold.join().expect("the checkpoint"))
        });
        let folded = self.control.stats().since(&before, "checkpoint_keys");
        // Some are sent twice: batches are of one size.
        assert!(folded >= keys, "the checkpoint had less to fold than was changed");
        (run, seconds)
    }
}

fn figures(mut run: PacedRun) -> Figures {
    let [p50, p99, p999] = QUANTILES.map(|(_, share)| run.latencies.quantile_us(share));
    [p50, p99, p999, run.lateness.quantile_us(0.99)]
}

fn print(title: String, samples: &[Vec<f64>; 8]) {
    let heading = ["", "without, µs", "during, µs", "ratio (least to most)"];
    let mut table = Table::new(title, &heading);
    let names = QUANTILES.map(|(name, _)| name).into_iter().chain(["the sender's delay, p99"]);
    let (without, during) = samples.split_at(4);
    for ((name, without), during) in names.zip(without).zip(during) {
        let cell = |us: &[f64]| format!("{:.0}", median(us));
        let ratio = Ratio::of_pairs(during, without).to_string();
        table.row([name.to_owned(), cell(without), cell(during), ratio]);
    }
    table.print();
}
