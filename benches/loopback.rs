//! The real server over TCP on this machine: commands a second, latency, and processor time.
//!
//! The generator shares the processor with the server, as any client on the same machine does; so
//! the processor time of a command is the steadier figure, and commands a second follow from it.

use std::time::Duration;

use kv_benches::arguments::Arguments;
use kv_benches::measure::{Latencies, Ratio, alternate, median};
use kv_benches::process::{Server, cpu_seconds, server_binary};
use kv_benches::table::Table;
use kv_benches::traffic::{Connections, Operation, Protocol, Requests, Until};
use kv_benches::workload::{self, Key, Value};

const HELP: &str = "
loopback: a load generator against the real server over TCP

  --server PATH        the server's binary; default: one that is built now
  --keys N             keys in the store; default 1000000
  --connections N      default 50
  --in-flight P,P      commands in flight on each connection, at most 1024; default 1,16,64
  --only GET|PUT       one operation only
  --seconds S          of each measurement; default 2
  --rounds N           rounds, after one to warm up; default 5
  --threads N          of the generator; default 1
  --server-threads N   of the server; default as it does by itself
  --redis              also measure redis-server, in turn with ours
  --quick              tiny sizes
";

/// Commands in flight on a connection at most: both sides' socket buffers hold them.
const IN_FLIGHT_MAX: usize = 1024;

struct Bench {
    keys: Vec<Key>,
    values: Vec<Value>,
    connections: usize,
    threads: usize,
    seconds: f64,
    rounds: usize,
}

/// A server with its connections.
struct Side {
    protocol: Protocol,
    server: Server,
    connections: Connections,
}

/// What was measured of one side: a sample each round, but all latencies together.
#[derive(Default)]
struct Figures {
    commands_per_second: Vec<f64>,
    server_us: Vec<f64>,
    generator_us: Vec<f64>,
    latencies: Latencies,
}

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let keys: u64 = arguments.value("keys", 1_000_000, 5_000);
    let mut bench = Bench {
        keys: workload::keys(0..keys),
        values: workload::values(),
        connections: arguments.value("connections", 50, 3),
        threads: arguments.value("threads", 1, 2),
        seconds: arguments.value("seconds", 2.0, 0.1),
        rounds: arguments.value("rounds", 5, 1),
    };
    let depths = arguments.values("in-flight", &[1, 16, 64], &[1, 16]);
    assert!(depths.iter().all(|depth| (1..=IN_FLIGHT_MAX).contains(depth)), "--in-flight");
    let only = arguments.text("only");
    let server_threads = arguments.text("server-threads");
    let named = arguments.text("server");
    let redis = arguments.flag("redis");
    arguments.finish();
    let more: Vec<&str> =
        server_threads.iter().flat_map(|threads| ["--threads", threads]).collect();
    let ours = Server::start(&server_binary(named), &more);
    let mut sides = vec![bench.side(Protocol::Lines, ours)];
    if redis {
        sides.push(bench.side(Protocol::Resp, Server::start_redis()));
    }
    sides.iter_mut().for_each(|side| bench.preload(side));
    bench.run(&mut sides, &depths, only.as_deref());
}

impl Bench {
    fn side(&self, protocol: Protocol, server: Server) -> Side {
        let connections = Connections::open(server.address, self.connections, self.threads);
        Side { protocol, server, connections }
    }

    fn requests(&self, protocol: Protocol, operation: Operation) -> Requests {
        Requests::new(protocol, operation, &self.keys, &self.values)
    }

    fn preload(&self, side: &mut Side) {
        const DEPTH: usize = 50;
        let requests = self.requests(side.protocol, Operation::Put);
        let mut one = Connections::open(side.server.address, 1, 1);
        let batches = self.keys.len().div_ceil(DEPTH);
        one.run(&requests, DEPTH, Until::Batches(batches));
    }

    fn run(&mut self, sides: &mut [Side], depths: &[usize], only: Option<&str>) {
        let title = format!(
            "{} connections, {} keys of 16 bytes with values of 64",
            self.connections,
            self.keys.len()
        );
        let heading = [
            "",
            "in flight",
            "commands/s (least to most)",
            "p50 µs",
            "p99 µs",
            "server CPU µs/command",
            "generator CPU",
        ];
        let mut table = Table::new(title, &heading);
        let mut ratios = Table::new("Ours by redis-server", &["", "in flight", "ratio"]);
        workload::shuffle(&mut self.keys, 1);
        for operation in [Operation::Get, Operation::Put] {
            if only.is_some_and(|only| only != operation.name()) {
                continue;
            }
            let requests: Vec<Requests> =
                sides.iter().map(|side| self.requests(side.protocol, operation)).collect();
            for &depth in depths {
                let mut figures = self.measure(sides, &requests, depth);
                for (side, figures) in sides.iter().zip(&mut figures) {
                    table.row(figures.row(side.protocol, operation, depth));
                }
                if let [ours, redis] = &figures[..] {
                    let (ours, redis) = (&ours.commands_per_second, &redis.commands_per_second);
                    let ratio = Ratio::of_pairs(ours, redis).to_string();
                    ratios.row([operation.name().to_owned(), depth.to_string(), ratio]);
                }
            }
        }
        table.print();
        if sides.len() > 1 {
            ratios.print();
        }
    }

    fn measure(&self, sides: &mut [Side], requests: &[Requests], depth: usize) -> Vec<Figures> {
        let mut figures: Vec<Figures> = sides.iter().map(|_| Figures::default()).collect();
        alternate(self.rounds, |round| {
            let until = Until::Elapsed(Duration::from_secs_f64(self.seconds));
            for ((side, requests), figures) in sides.iter_mut().zip(requests).zip(&mut figures) {
                let processes = [side.server.process.id(), std::process::id()];
                let before = processes.map(cpu_seconds);
                let run = side.connections.run(requests, depth, until);
                let after = processes.map(cpu_seconds);
                if round > 0 {
                    let cpu_us = |at: usize| (after[at] - before[at]) * 1e6 / run.commands as f64;
                    figures.commands_per_second.push(run.commands_per_second());
                    figures.server_us.push(cpu_us(0));
                    figures.generator_us.push(cpu_us(1));
                    figures.latencies.merge(&run.latencies);
                }
            }
            []
        });
        figures
    }
}

impl Figures {
    fn row(&mut self, protocol: Protocol, operation: Operation, depth: usize) -> [String; 7] {
        let server = match protocol {
            Protocol::Lines => "",
            Protocol::Resp => ", redis-server",
        };
        let rates = &self.commands_per_second;
        let [least, most] = [f64::min, f64::max].map(|of| rates.iter().copied().reduce(of));
        [
            format!("{}{server}", operation.name()),
            depth.to_string(),
            format!(
                "{:.0} ({:.0} to {:.0})",
                median(rates),
                least.unwrap_or_default(),
                most.unwrap_or_default()
            ),
            format!("{:.0}", self.latencies.quantile_us(0.5)),
            format!("{:.0}", self.latencies.quantile_us(0.99)),
            format!("{:.2}", median(&self.server_us)),
            format!("{:.2}", median(&self.generator_us)),
        ]
    }
}
