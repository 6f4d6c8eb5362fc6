//! What durability costs: the real server beside Redis with every command synced, and beside
//! itself without files.
//!
//! Both servers have their data on the same disk and are loaded in turn by the same generator.
//! Each works on its files for a while after its replies (ours folds the log, Redis rewrites its
//! own), so between turns that is waited for; what of it falls into a turn counts.

use std::path::Path;
use std::thread;
use std::time::Duration;

use kv_benches::arguments::Arguments;
use kv_benches::control::{Control, Stats};
use kv_benches::files::scratch;
use kv_benches::measure::{Ratio, alternate, median};
use kv_benches::process::{Server, has_redis, server_binary};
use kv_benches::sides::{Figures, Side};
use kv_benches::table::Table;
use kv_benches::traffic::{COUNTER_START, Operation, Protocol, Requests, send_all};
use kv_benches::workload::{self, Key, Value};

const HELP: &str = "
durable: the real server with files, against redis-server --appendfsync always

  --server PATH        the server's binary; default: one that is built now
  --against PATH       another binary of this server, in the place of redis-server
  --keys N             keys in the store; default 1000000
  --connections N      default 50
  --put P,P            PUTs in flight on each connection; default 1,64
  --incr P,P           INCRs of one key in flight on each connection; default 1,16
  --interval P,P       PUTs in flight, --durability interval against --in-memory; default 16
  --only PUT|INCR|interval   one part only
  --seconds S          of each turn; default 10
  --rounds N           rounds, after one to warm up; default 3
  --quick              tiny sizes
";

/// How often it is asked whether a server has settled.
const ASK_EVERY: Duration = Duration::from_millis(50);

struct Bench {
    keys: Vec<Key>,
    values: Vec<Value>,
    connections: usize,
    time: Duration,
    rounds: usize,
    only: Option<String>,
}

/// A server that is loaded, and asked how it is.
struct Measured {
    side: Side,
    control: Control,
    is_durable: bool,
}

/// What was measured of it.
#[derive(Default)]
struct Samples {
    figures: Figures,
    commits_per_sync: Vec<f64>,
    /// Processor time of folding the log, per commit.
    fold_us: Vec<f64>,
}

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let keys: u64 = arguments.value("keys", 1_000_000, 5_000);
    let mut bench = Bench {
        keys: workload::keys(0..keys),
        values: workload::values(),
        connections: arguments.value("connections", 50, 3),
        time: Duration::from_secs_f64(arguments.value("seconds", 10.0, 0.1)),
        rounds: arguments.value("rounds", 3, 1),
        only: arguments.text("only"),
    };
    let put = arguments.values("put", &[1, 64], &[1, 4]);
    let incr = arguments.values("incr", &[1, 16], &[2]);
    let interval = arguments.values("interval", &[16], &[4]);
    let server = server_binary(arguments.text("server"));
    let against = arguments.text("against");
    arguments.finish();
    workload::shuffle(&mut bench.keys, 0);
    let title = |what: &str| {
        let (connections, keys) = (bench.connections, bench.keys.len());
        format!("{what}; {connections} connections, {keys} keys of 16 bytes with values of 64")
    };
    if ["PUT", "INCR"].iter().any(|part| bench.has(part)) {
        let (ours_dir, other_dir) = (scratch("ours"), scratch("other"));
        let ours = Server::start_durable(&server, ours_dir.path(), &[]);
        let mut sides = vec![bench.side("kv-server", ours, Protocol::Lines, true)];
        if let Some(path) = against {
            let other = Server::start_durable(Path::new(&path), other_dir.path(), &[]);
            sides.push(bench.side("the other", other, Protocol::Lines, true));
        } else if has_redis() {
            let redis = Server::start_redis_durable(other_dir.path());
            sides.push(bench.side("redis-server", redis, Protocol::Resp, true));
        } else {
            eprintln!("redis-server is not there: only this server is measured");
        }
        let cases = [(Operation::Put, put), (Operation::Incr, incr)];
        bench.compare(&title("Every reply is durable"), &mut sides, &cases);
    }
    if bench.has("interval") {
        let dir = scratch("interval");
        let with_files = Server::start_durable(&server, dir.path(), &["--durability", "interval"]);
        let without = Server::start_with(&server, &["--in-memory"]);
        let mut sides = [
            bench.side("--durability interval", with_files, Protocol::Lines, true),
            bench.side("--in-memory", without, Protocol::Lines, false),
        ];
        bench.compare(&title("Synced each second"), &mut sides, &[(Operation::Put, interval)]);
    }
}

impl Bench {
    fn has(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == part)
    }

    /// Fills a server with all keys and the counter.
    fn side(
        &self,
        name: &'static str,
        server: Server,
        protocol: Protocol,
        is_durable: bool,
    ) -> Measured {
        let mut control = Control::open(server.address);
        let set = match protocol {
            Protocol::Lines => "PUT",
            Protocol::Resp | Protocol::Memcached => "SET",
        };
        // A key like the others, so that requests are of one size.
        let counter = String::from_utf8_lossy(&counter()[0]).into_owned();
        control.must(&format!("{set} {counter} {COUNTER_START}"));
        let requests = self.requests(protocol, Operation::Put);
        send_all(server.address, &requests, self.connections, 64);
        let side = Side::new(name, protocol, server, self.connections, 1);
        Measured { side, control, is_durable }
    }

    fn requests(&self, protocol: Protocol, operation: Operation) -> Requests {
        match operation {
            Operation::Incr => Requests::new(protocol, operation, &counter(), &self.values),
            Operation::Get | Operation::Put => {
                Requests::new(protocol, operation, &self.keys, &self.values)
            }
        }
    }

    /// Measures the sides in turn, and prints what they did and the first by the second.
    fn compare(&self, title: &str, sides: &mut [Measured], cases: &[(Operation, Vec<usize>)]) {
        let heading = [&["", "in flight"], &Figures::COLUMNS[..], &["fold CPU", "commits/sync"]];
        let mut table = Table::new(title, &heading.concat());
        let names: Vec<&str> = sides.iter().map(|measured| measured.side.name).collect();
        let mut ratios = Table::new(names.join(" by "), &["", "in flight", "ratio"]);
        for (operation, depths) in
            cases.iter().filter(|(operation, _)| match self.only.as_deref() {
                Some("interval") | None => true,
                Some(only) => only == operation.name(),
            })
        {
            for &depth in depths {
                let mut samples = self.measure(sides, *operation, depth);
                for (measured, samples) in sides.iter().zip(&mut samples) {
                    table.row(samples.row(measured.side.name, *operation, depth));
                }
                if let [one, other] = &samples[..] {
                    let rate = |samples: &Samples| samples.figures.commands_per_second.clone();
                    let ratio = Ratio::of_pairs(&rate(one), &rate(other)).to_string();
                    ratios.row([operation.name().to_owned(), depth.to_string(), ratio]);
                }
            }
        }
        table.print();
        if sides.len() > 1 {
            ratios.print();
        }
    }

    fn measure(&self, sides: &mut [Measured], operation: Operation, depth: usize) -> Vec<Samples> {
        let requests: Vec<Requests> =
            sides.iter().map(|of| self.requests(of.side.protocol, operation)).collect();
        let mut samples: Vec<Samples> = sides.iter().map(|_| Samples::default()).collect();
        alternate(self.rounds, |round| {
            for ((measured, requests), samples) in sides.iter_mut().zip(&requests).zip(&mut samples)
            {
                measured.settle();
                let before = measured.commits();
                let figures = (round > 0).then_some(&mut samples.figures);
                measured.side.turn(requests, depth, self.time, figures);
                let Some((before, after)) = before.zip(measured.commits()) else { continue };
                if round > 0 {
                    let [commits, syncs] =
                        ["log_commits", "log_syncs"].map(|name| after.since(&before, name) as f64);
                    samples.commits_per_sync.push(commits / syncs.max(1.0));
                    let fold_ms = after.since(&before, "checkpoint_cpu_ms") as f64;
                    samples.fold_us.push(fold_ms * 1e3 / commits.max(1.0));
                }
                measured.settle();
            }
            []
        });
        samples
    }
}

/// As many times as a batch can be long, the key of the counter.
fn counter() -> Vec<Key> {
    vec![workload::key(u64::MAX); 1024]
}

impl Measured {
    /// Figures of the log, if this server gives any.
    fn commits(&mut self) -> Option<Stats> {
        let is_ours = self.side.protocol == Protocol::Lines;
        (is_ours && self.is_durable).then(|| self.control.stats())
    }

    /// Waits until the server has nothing left to do with its files.
    fn settle(&mut self) {
        match self.side.protocol {
            Protocol::Lines if self.is_durable => self.control.must("CHECKPOINT"),
            Protocol::Lines => {}
            Protocol::Resp | Protocol::Memcached => {
                let is_busy = |info: &Stats| {
                    info.get("aof_rewrite_in_progress") + info.get("aof_rewrite_scheduled") > 0
                };
                while is_busy(&self.control.redis_info()) {
                    thread::sleep(ASK_EVERY);
                }
            }
        }
    }
}

impl Samples {
    fn row(&mut self, name: &str, operation: Operation, depth: usize) -> Vec<String> {
        let mut cells = vec![format!("{}, {name}", operation.name()), depth.to_string()];
        cells.extend(self.figures.cells());
        for (figures, digits) in [(&self.fold_us, 2), (&self.commits_per_sync, 1)] {
            cells.push(match figures.is_empty() {
                true => "-".to_owned(),
                false => format!("{:.digits$}", median(figures)),
            });
        }
        cells
    }
}
