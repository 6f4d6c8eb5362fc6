//! Serializable transactions whose commands are sent one by one, beside PostgreSQL: keys that
//! hardly ever meet, and ten keys that everybody wants.

use kv_benches::files::scratch;
use kv_benches::interactive::{Client, Committed, OurClient, PostgresClient, read_and_write};
use kv_benches::measure::{Latencies, Ratio, alternate, median};
use kv_benches::peers;
use kv_benches::process::{Server, cpu_seconds_with_children};
use kv_benches::report::Report;
use kv_benches::svg::{Plot, Point};
use kv_benches::table::{Table, range};
use kv_benches::traffic::{Operation, Protocol, Requests, send_all};
use kv_benches::workload::{self, Key};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Bench;
use crate::systems::{Files, System};

/// Keys that all clients want.
const HOT_KEYS: usize = 10;
const SEED: u64 = 16;

/// A row of the table: how many keys are drawn from, and whether they are locked when they are
/// read.
struct Case {
    name: &'static str,
    keys: usize,
    is_for_update: bool,
}

/// A system, and its clients.
struct Measured {
    name: &'static str,
    server: u32,
    clients: Vec<Box<dyn Client>>,
}

/// What was measured of one system in one case.
#[derive(Default)]
struct Samples {
    commits_per_second: Vec<f64>,
    retries_per_commit: Vec<f64>,
    server_us: Vec<f64>,
    latencies: Latencies,
}

/// BEGIN, GET, PUT and COMMIT, each awaited.
pub(crate) fn interactive(bench: &Bench, report: &mut Report) {
    report.part("Interactive serializable transactions");
    let keys = workload::keys(0..bench.rows);
    let dirs = [scratch("compare"), scratch("compare")];
    let mut servers = Vec::new();
    let mut systems = ours(bench, report, &keys, dirs[0].path(), &mut servers);
    match peers::postgres(dirs[1].path()) {
        Ok(server) => {
            PostgresClient::fill(server.address, &keys, &workload::values());
            let open = |_| Box::new(PostgresClient::open(server.address)) as Box<dyn Client>;
            let clients = (0..bench.clients).map(open).collect();
            systems.push(Measured { name: "PostgreSQL", server: server.process.id(), clients });
            servers.push(server);
        }
        Err(why) => report.say(&format!("PostgreSQL is left out: {why}.")),
    }
    if systems.is_empty() {
        return;
    }
    let cases = [
        Case { name: "all keys", keys: keys.len(), is_for_update: false },
        Case { name: "ten keys", keys: HOT_KEYS, is_for_update: false },
        Case { name: "ten keys, FOR UPDATE", keys: HOT_KEYS, is_for_update: true },
    ];
    let samples: Vec<Vec<Samples>> =
        cases.iter().map(|case| measure(bench, &mut systems, &keys[..case.keys], case)).collect();
    let names: Vec<&str> = systems.iter().map(|system| system.name).collect();
    tables(bench, report, &names, &cases, samples);
}

/// Ours with files, every commit on disk: by lines, and in the framing of Redis where it begins
/// transactions in that.
fn ours(
    bench: &Bench,
    report: &mut Report,
    keys: &[Key],
    dir: &std::path::Path,
    servers: &mut Vec<Server>,
) -> Vec<Measured> {
    let system = System::ours(bench, "ours", Files::Durable(dir));
    if !system.is_ours {
        report.say("What stands in the place of ours has no such transactions: left out.");
        return Vec::new();
    }
    let address = system.server.address;
    let requests = Requests::new(Protocol::Lines, Operation::Put, keys, &workload::values());
    send_all(address, &requests, 4, 256);
    system.settle();
    let measured = |name, is_resp| {
        let open = |_| Box::new(OurClient::open(address, is_resp)) as Box<dyn Client>;
        let clients = (0..bench.clients).map(open).collect();
        Measured { name, server: system.server.process.id(), clients }
    };
    let mut systems = vec![measured("ours, lines", false)];
    match system.begins_in_resp() {
        true => systems.push(measured("ours, RESP", true)),
        false => report.say("*ours* does not begin transactions in the framing of Redis yet."),
    }
    servers.push(system.server);
    systems
}

fn measure(bench: &Bench, systems: &mut [Measured], keys: &[Key], case: &Case) -> Vec<Samples> {
    let mut samples: Vec<Samples> = systems.iter().map(|_| Samples::default()).collect();
    let value = workload::values()[0];
    alternate(bench.rounds, |round| {
        for (system, samples) in systems.iter_mut().zip(&mut samples) {
            let chooser = |client: usize| {
                let seed = SEED ^ round ^ (client as u64) << 32;
                let mut random = SmallRng::seed_from_u64(seed);
                move || keys[random.random_range(0..keys.len())]
            };
            let before = cpu_seconds_with_children(system.server);
            let clients = &mut system.clients;
            let run = read_and_write(clients, chooser, &value, case.is_for_update, bench.time);
            let server_s = cpu_seconds_with_children(system.server) - before;
            if round > 0 {
                samples.add(&run, server_s);
            }
        }
        []
    });
    samples
}

impl Samples {
    fn add(&mut self, run: &Committed, server_s: f64) {
        let commits = run.commits.max(1) as f64;
        self.commits_per_second.push(run.commits as f64 / run.elapsed.as_secs_f64());
        self.retries_per_commit.push(run.retries as f64 / commits);
        self.server_us.push(server_s * 1e6 / commits);
        self.latencies.merge(&run.latencies);
    }
}

fn tables(
    bench: &Bench,
    report: &mut Report,
    names: &[&str],
    cases: &[Case],
    mut samples: Vec<Vec<Samples>>,
) {
    let title = format!(
        "BEGIN, GET, PUT and COMMIT of one key, each awaited; {} clients, {} keys of 16 bytes with \
         values of 64. Every commit is durable, on the same disk. Latencies are of whole \
         transactions, from their first beginning.",
        bench.clients, bench.rows
    );
    let columns = [
        "",
        "commits/s (least to most)",
        "retries/commit",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "server CPU µs/commit",
    ];
    let mut table = Table::new(title, &columns);
    let labels = cases.iter().map(|case| case.name.to_owned()).collect();
    let mut plot = Plot::new("Interactive transactions", "keys", "commits/s", labels);
    for (at, name) in names.iter().enumerate() {
        let points = samples.iter().map(|of| Point::of(&of[at].commits_per_second));
        plot.series(*name, points.collect());
    }
    let (last, others) = names.split_last().unwrap();
    let mut ratios =
        Table::new(format!("Commits a second, by those of {last}"), &[&[""], others].concat());
    for (case, samples) in cases.iter().zip(&mut samples) {
        for (name, of) in names.iter().zip(samples.iter_mut()) {
            let mut row = vec![format!("{}: {name}", case.name), range(&of.commits_per_second)];
            row.push(format!("{:.2}", median(&of.retries_per_commit)));
            let shares = [0.5, 0.99, 0.999];
            row.extend(shares.map(|share| format!("{:.0}", of.latencies.quantile_us(share))));
            row.push(format!("{:.0}", median(&of.server_us)));
            table.row(row);
        }
        let (by, others) = samples.split_last().unwrap();
        let ratio = |of: &Samples| {
            Ratio::of_pairs(&of.commits_per_second, &by.commits_per_second).to_string()
        };
        ratios.row([case.name.to_owned()].into_iter().chain(others.iter().map(ratio)));
    }
    report.table(&table);
    if !others.is_empty() {
        report.table(&ratios);
    }
    report.plot("interactive", &plot.bars());
}
