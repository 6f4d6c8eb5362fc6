//! Thousands of connections that do nothing: what each holds of the server's memory, and whether
//! a busy client notices them.
//!
//! The idle clients live in child processes, because both ends of a connection need a descriptor.
//! Only the server's own memory is counted, not what the kernel keeps for a socket.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]
#![expect(clippy::print_stdout, reason = "a child tells its parent that it is ready")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use kv_benches::arguments::Arguments;
use kv_benches::measure::{Ratio, alternate, median};
use kv_benches::process::{
    Running, Server, command_with_descriptors, descriptors_open, resident_bytes, server_binary,
    this_program,
};
use kv_benches::table::Table;
use kv_benches::traffic::{Connections, Operation, Protocol, Requests, Until};
use kv_benches::workload;

const HELP: &str = "
idle_connections: what idle connections cost the real server

  --server PATH    the server's binary; default: one that is built now
  --connections N  idle connections; default 10000. The server needs a descriptor for each:
                   it gets as many as `ulimit -H -n` allows
  --seconds S      of each measurement of the busy client; default 2
  --rounds N       rounds, after one to warm up; default 5
  --quick          tiny sizes
";

/// Idle connections of one child, which has to have a descriptor for each.
const CONNECTIONS_PER_CHILD: usize = 5_000;
const KEYS: u64 = 10_000;
const CLOSE_MAX: Duration = Duration::from_secs(30);

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let connections: usize = arguments.value("connections", 10_000, 50);
    let seconds = arguments.value("seconds", 2.0, 0.1);
    let rounds = arguments.value("rounds", 5, 1);
    let named = arguments.text("server");
    let child = arguments.text("child-address");
    arguments.finish();
    match child {
        Some(address) => be_idle(address.parse().unwrap(), connections),
        None => run(connections, Duration::from_secs_f64(seconds), rounds, named),
    }
}

fn run(connections: usize, time: Duration, rounds: usize, named: Option<String>) {
    let most = (connections + 16).to_string();
    let server = Server::start(&server_binary(named), &["--max-connections", &most]);
    let (keys, values) = (workload::keys(0..KEYS), workload::values());
    let [put, get] = [Operation::Put, Operation::Get]
        .map(|operation| Requests::new(Protocol::Lines, operation, &keys, &values));
    let mut busy = Connections::open(server.address, 1, 1);
    busy.run(&put, 50, Until::Batches(keys.len() / 50));
    let mut busy_us = || {
        let mut latencies = busy.run(&get, 1, Until::Elapsed(time)).latencies;
        [latencies.quantile_us(0.5), latencies.quantile_us(0.99)]
    };
    busy_us();
    let process = server.process.id();
    let alone = descriptors_open(process);
    let mut grown_bytes = Vec::new();
    let [p50_alone, p99_alone, p50_among, p99_among] = alternate(rounds, |_| {
        let [p50_alone, p99_alone] = busy_us();
        let before = resident_bytes(process);
        let idle = idle_clients(server.address, connections);
        grown_bytes.push(resident_bytes(process) as f64 - before as f64);
        let [p50_among, p99_among] = busy_us();
        drop(idle);
        wait_for_descriptors(process, alone);
        [p50_alone, p99_alone, p50_among, p99_among]
    });
    let mut table = Table::new(
        format!("One busy client, one GET in flight, among {connections} idle connections"),
        &["", "alone, µs", "among them, µs", "ratio (least to most)"],
    );
    for (name, alone, among) in [("p50", &p50_alone, &p50_among), ("p99", &p99_alone, &p99_among)] {
        let figure = |us: &[f64]| format!("{:.1}", median(us));
        let ratio = Ratio::of_pairs(among, alone).to_string();
        table.row([name.to_owned(), figure(alone), figure(among), ratio]);
    }
    table.print();
    // What they took first; later ones are given what the server has kept of it.
    let kib_each = grown_bytes[0] / connections as f64 / 1024.0;
    println!("The server grew by {kib_each:.1} KiB for each idle connection.");
}

/// Clients that have been answered once and are idle until they are dropped.
fn idle_clients(address: SocketAddr, connections: usize) -> Vec<Running> {
    let mut children = Vec::new();
    let mut left = connections;
    while left > 0 {
        let share = left.min(CONNECTIONS_PER_CHILD);
        let mut command = command_with_descriptors(&this_program());
        command.args(["--bench", "--child-address", &address.to_string()]);
        command.args(["--connections", &share.to_string()]);
        children.push(Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped())));
        left -= share;
    }
    for child in &mut children {
        assert_eq!(child.line(), "ready", "the idle clients could not be opened");
    }
    children
}

/// What a child does.
fn be_idle(address: SocketAddr, connections: usize) {
    let open = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"PING\n").unwrap();
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"PONG\n");
        stream
    };
    let _streams: Vec<TcpStream> = (0..connections).map(open).collect();
    println!("ready");
    // Until the parent is done, or has gone.
    let _ = std::io::stdin().read(&mut [0]);
}

/// Returns when the server has closed its ends.
fn wait_for_descriptors(process: u32, count: usize) {
    let started = Instant::now();
    while descriptors_open(process) > count {
        assert!(started.elapsed() < CLOSE_MAX, "the server keeps connections that have gone");
        thread::sleep(Duration::from_millis(20));
    }
}
