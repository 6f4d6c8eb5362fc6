//! Reads and writes of keys of which some are much hotter than others, as caches see them.

use kv_benches::measure::{Ratio, alternate, median};
use kv_benches::peers;
use kv_benches::process::Server;
use kv_benches::report::Report;
use kv_benches::sides::{Figures, Side};
use kv_benches::svg::{Plot, Point};
use kv_benches::table::{Table, range};
use kv_benches::traffic::{Operation, Protocol, Requests, send_all};
use kv_benches::workload::{self, Key, Zipf};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Bench;
use crate::systems::{Files, System};

const IN_FLIGHT: usize = 16;
const SKEW: f64 = 0.99;
/// Of twenty commands one writes.
const READS_PERCENT: u32 = 95;
/// Requests that are made before the clock starts, and sent again and again.
const REQUESTS: usize = 1_000_000;
const SEED: u64 = 95;

/// 95 % GET and 5 % SET, on all systems that there are.
pub(crate) fn mixed(bench: &Bench, report: &mut Report) {
    report.part("95 % GET and 5 % SET of Zipfian keys");
    let keys = workload::keys(0..bench.keys);
    let mut sides = sides(bench, report);
    for side in &sides {
        let requests = Requests::new(side.protocol, Operation::Put, &keys, &workload::values());
        send_all(side.server.address, &requests, 4, 256);
    }
    let wanted = wanted(&keys);
    let requests: Vec<Requests> = sides
        .iter()
        .map(|side| Requests::mixed(side.protocol, wanted.iter().copied(), &workload::values()))
        .collect();
    let mut figures: Vec<Figures> = sides.iter().map(|_| Figures::default()).collect();
    alternate(bench.rounds, |round| {
        for ((side, requests), figures) in sides.iter_mut().zip(&requests).zip(&mut figures) {
            side.turn(requests, IN_FLIGHT, bench.time, (round > 0).then_some(figures));
        }
        []
    });
    let title = format!(
        "{} connections, {IN_FLIGHT} in flight, {} keys of 16 bytes with values of 64, Zipfian \
         {SKEW}; ours with `--in-memory --history 1`. Latencies are of batches of {IN_FLIGHT}.",
        bench.connections, bench.keys
    );
    let columns = [
        "",
        "commands/s (least to most)",
        "by ours (least to most)",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "server CPU µs/command",
    ];
    let mut table = Table::new(title, &columns);
    let ours = figures[0].commands_per_second.clone();
    let names = sides.iter().map(|side| side.name.to_owned()).collect();
    let mut plot = Plot::new("95 % GET, 5 % SET, Zipfian", "system", "commands/s", names);
    plot.series(
        "commands/s",
        figures.iter().map(|of| Point::of(&of.commands_per_second)).collect(),
    );
    for (side, of) in sides.iter().zip(&mut figures) {
        let rate = &of.commands_per_second;
        let mut row = vec![side.name.to_owned(), range(rate)];
        row.push(Ratio::of_pairs(rate, &ours).to_string());
        let shares = [0.5, 0.99, 0.999];
        row.extend(shares.map(|share| format!("{:.0}", of.latencies.quantile_us(share))));
        row.push(format!("{:.2}", median(&of.server_us)));
        table.row(row);
    }
    report.table(&table);
    report.plot("mixed", &plot.bars());
}

/// Ours both ways, and whatever is installed. Ours by lines and in the framing of Redis is one
/// server each, so that all are alike.
fn sides(bench: &Bench, report: &mut Report) -> Vec<Side> {
    let side =
        |name, protocol, server: Server| Side::new(name, protocol, server, bench.connections, 1);
    let mut sides = Vec::new();
    let ours = System::ours(bench, "ours", Files::None);
    match ours.speaks_resp() {
        true => sides.push(side("ours", Protocol::Resp, ours.server)),
        false => report.say("*ours* does not take the commands of Redis: by lines only."),
    }
    let ours = System::ours(bench, "ours, lines", Files::None);
    if ours.is_ours {
        sides.push(side("ours, lines", Protocol::Lines, ours.server));
    }
    match bench.redis(Files::None) {
        Some(redis) => sides.push(side("Redis", Protocol::Resp, redis.server)),
        None => report.say("redis-server is not installed: left out."),
    }
    match &bench.memcached {
        Some(path) => sides.push(side("memcached", Protocol::Memcached, peers::memcached(path))),
        None => report.say("memcached is not installed: left out."),
    }
    sides
}

/// What is asked for, in order: the same of every system.
fn wanted(keys: &[Key]) -> Vec<(Operation, Key)> {
    let mut zipf = Zipf::new(keys.len() as u64, SKEW, SEED);
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut one = |_| {
        let is_read = random.random_range(0..100) < READS_PERCENT;
        let operation = if is_read { Operation::Get } else { Operation::Put };
        (operation, keys[zipf.draw() as usize])
    };
    (0..REQUESTS.min(keys.len() * 10)).map(&mut one).collect()
}
