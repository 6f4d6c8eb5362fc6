//! The HTTP face: single values by `wrk`, beside lines with one command in flight; and how fast an
//! export comes.
//!
//! Both have 50 connections to the same server, with one request in flight on each, and are loaded
//! in turn.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]
#![expect(clippy::print_stdout, reason = "what the tables come to is said below them")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kv_benches::arguments::Arguments;
use kv_benches::measure::{Ratio, alternate};
use kv_benches::process::{Server, cpu_seconds, find_program, server_binary};
use kv_benches::table::{Table, range};
use kv_benches::traffic::{Connections, Operation, Protocol, Requests, Until, send_all};
use kv_benches::workload;

const HELP: &str = "
http: GET /v1/kv/{key} by wrk beside lines, and an export

  --server PATH     the server's binary; default: one that is built now
  --keys N          keys in the store; default 1000000
  --connections N   default 50
  --seconds S       of each turn; default 5
  --rounds N        rounds, after one to warm up; default 5
  --quick           tiny sizes
";

/// Asks for keys at random. The requests are made before the clock starts, as those of the own
/// generator are: made one by one they take wrk longer than all else.
const SCRIPT: &str = "
local requests = {}
function init(args)
  for key in io.lines(os.getenv('KV_BENCH_KEYS')) do
    requests[#requests + 1] = wrk.format('GET', '/v1/kv/' .. key)
  end
end
function request() return requests[math.random(#requests)] end
";

/// As many as Lua has room for.
const KEYS_MAX: usize = 100_000;

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let mut keys = workload::keys(0..arguments.value("keys", 1_000_000, 5_000));
    let connections: usize = arguments.value("connections", 50, 3);
    let time = Duration::from_secs_f64(arguments.value("seconds", 5.0, 1.0));
    let rounds = arguments.value("rounds", 5, 1);
    let binary = server_binary(arguments.text("server"));
    arguments.finish();
    workload::shuffle(&mut keys, 0);
    let http = free_address();
    let server = Server::start_with(&binary, &["--in-memory", &format!("--http={http}")]);
    let values = workload::values();
    send_all(
        server.address,
        &Requests::new(Protocol::Lines, Operation::Put, &keys, &values),
        4,
        256,
    );
    match find_program("wrk") {
        Some(wrk) => single(&server, &http, &wrk, &keys, (connections, time, rounds)),
        None => eprintln!("wrk is not installed: single values are left out"),
    }
    export(&server, &http, keys.len(), rounds);
}

/// Nobody else should have it when the server asks for it.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn single(
    server: &Server,
    http: &str,
    wrk: &Path,
    keys: &[workload::Key],
    (connections, time, rounds): (usize, Duration, usize),
) {
    let directory = tempfile::tempdir().unwrap();
    let (script, names) = (directory.path().join("get.lua"), directory.path().join("keys"));
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::write(&names, keys[..keys.len().min(KEYS_MAX)].join(&b'\n')).unwrap();
    let by_wrk = |is_scripted: bool| {
        let mut command = Command::new(wrk);
        command.args([
            "-t1",
            &format!("-c{connections}"),
            &format!("-d{}s", time.as_secs().max(1)),
        ]);
        if is_scripted {
            command.arg("-s").arg(&script).env("KV_BENCH_KEYS", &names);
        }
        let one = String::from_utf8_lossy(&keys[0]).into_owned();
        let output = command.arg(format!("http://{http}/v1/kv/{one}")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("Non-2xx"), "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        line.unwrap_or_else(|| panic!("{text}")).trim().parse::<f64>().unwrap()
    };
    let requests = Requests::new(Protocol::Lines, Operation::Get, keys, &workload::values());
    let mut by_lines = Connections::open(server.address, connections, 1);
    let (mut rates, mut cpu_us): ([Vec<f64>; 3], [Vec<f64>; 3]) = Default::default();
    alternate(rounds, |round| {
        for face in 0..3 {
            let (began, before) = (Instant::now(), cpu_seconds(server.process.id()));
            let rate = match face {
                0 => by_wrk(false),
                1 => by_wrk(true),
                _ => by_lines.run(&requests, 1, Until::Elapsed(time)).commands_per_second(),
            };
            let commands = rate * began.elapsed().as_secs_f64();
            let used = cpu_seconds(server.process.id()) - before;
            if round > 0 {
                rates[face].push(rate);
                cpu_us[face].push(used * 1e6 / commands);
            }
        }
        []
    });
    let title = format!(
        "One value, {connections} connections, one in flight; {} keys of 16 bytes, values of 64",
        keys.len()
    );
    let columns = ["", "requests/s (least to most)", "server CPU µs/request"];
    let mut table = Table::new(title, &columns);
    for (face, name) in [
        "GET /v1/kv/{key}, wrk",
        "the same with keys at random, by a script",
        "GET by lines, keys at random, own generator",
    ]
    .into_iter()
    .enumerate()
    {
        table.row([name.to_owned(), range(&rates[face]), range(&cpu_us[face])]);
    }
    table.print();
    let [one, random] = [0, 1].map(|face| Ratio::of_pairs(&rates[face], &rates[2]));
    println!("HTTP by lines: {one}, with keys at random {random}. The aim is 0.5.\n");
}

/// All pairs, as fast as they come.
fn export(server: &Server, http: &str, keys: usize, rounds: usize) {
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    alternate(rounds, |round| {
        let (began, before) = (Instant::now(), cpu_seconds(server.process.id()));
        let mut stream = TcpStream::connect(http).unwrap();
        let request =
            format!("GET /v1/export HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let (mut buf, mut bytes) = (vec![0; 1 << 20], 0);
        let mut end = Vec::new();
        loop {
            let read = stream.read(&mut buf).unwrap();
            if read == 0 {
                break;
            }
            bytes += read;
            end = buf[read.saturating_sub(64)..read].to_vec();
        }
        let end = String::from_utf8_lossy(&end).into_owned();
        assert!(end.contains(&format!("\"count\":{keys}")) || end.len() < 64, "{end}");
        if round > 0 {
            let seconds = began.elapsed().as_secs_f64();
            rates.push(bytes as f64 / 1e6 / seconds);
            cpu.push((cpu_seconds(server.process.id()) - before) / seconds);
        }
        []
    });
    let mut table =
        Table::new(format!("GET /v1/export, {keys} pairs"), &["MB/s", "server's processors"]);
    table.row([range(&rates), format!("{:.2}", kv_benches::measure::median(&cpu))]);
    table.print();
    println!("The aim is 100 MB/s.");
}
