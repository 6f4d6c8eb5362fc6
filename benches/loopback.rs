//! The real server over TCP on this machine: commands a second, latency, and processor time.
//!
//! The generator shares the processor with the server, as any client on the same machine does; so
//! the processor time of a command is the steadier figure, and commands a second follow from it.

use std::time::Duration;

use kv_benches::arguments::Arguments;
use kv_benches::measure::{Ratio, alternate};
use kv_benches::process::{Server, server_binary};
use kv_benches::sides::{Figures, Side};
use kv_benches::table::Table;
use kv_benches::traffic::{Operation, Protocol, Requests, send_all};
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
    let mut sides = vec![bench.side("", Protocol::Lines, ours)];
    if redis {
        sides.push(bench.side(", redis-server", Protocol::Resp, Server::start_redis()));
    }
    sides.iter().for_each(|side| bench.preload(side));
    bench.run(&mut sides, &depths, only.as_deref());
}

impl Bench {
    fn side(&self, name: &'static str, protocol: Protocol, server: Server) -> Side {
        Side::new(name, protocol, server, self.connections, self.threads)
    }

    fn requests(&self, protocol: Protocol, operation: Operation) -> Requests {
        Requests::new(protocol, operation, &self.keys, &self.values)
    }

    fn preload(&self, side: &Side) {
        let requests = self.requests(side.protocol, Operation::Put);
        send_all(side.server.address, &requests, 1, 50);
    }

    fn run(&mut self, sides: &mut [Side], depths: &[usize], only: Option<&str>) {
        let title = format!(
            "{} connections, {} keys of 16 bytes with values of 64",
            self.connections,
            self.keys.len()
        );
        let mut table = Table::new(title, &[&["", "in flight"], &Figures::COLUMNS[..]].concat());
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
                    let what = [operation.name().to_owned() + side.name, depth.to_string()];
                    table.row(what.into_iter().chain(figures.cells()));
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
        let time = Duration::from_secs_f64(self.seconds);
        alternate(self.rounds, |round| {
            for ((side, requests), figures) in sides.iter_mut().zip(requests).zip(&mut figures) {
                side.turn(requests, depth, time, (round > 0).then_some(figures));
            }
            []
        });
        figures
    }
}
