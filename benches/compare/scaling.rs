//! What becomes of the rates with more and more connections, and with more and more keys.

use kv_benches::redis_benchmark::Case;
use kv_benches::report::Report;

use crate::Bench;
use crate::contest::{Contest, Vary};
use crate::systems::{Files, System};

/// Commands in flight on each connection.
const IN_FLIGHT: usize = 16;
const TESTS: [&str; 2] = ["get", "set"];

/// More and more connections.
pub(crate) fn connections(bench: &Bench, report: &mut Report) {
    report.part("More and more connections, by redis-benchmark");
    let Some(systems) = bench.filled(report, || in_memory(bench)) else { return };
    let mut contest = Contest::new(&systems);
    for test in TESTS {
        for &connections in &bench.scale_connections {
            let case = Case { connections, ..bench.case(test, IN_FLIGHT) };
            contest.add(bench, &systems, case);
        }
    }
    let title = format!("{IN_FLIGHT} in flight, {} keys, nothing on disk", bench.keys);
    contest.tables(report, &title, Vary::Connections);
    plots(&contest, report, "connections", Vary::Connections);
}

/// More and more keys, in the same servers.
pub(crate) fn keys(bench: &Bench, report: &mut Report) {
    report.part("More and more keys, by redis-benchmark");
    let few = Bench { keys: 0, ..bench.clone() };
    let Some(systems) = few.filled(report, || in_memory(bench)) else { return };
    let mut contest = Contest::new(&systems);
    let mut there = 0;
    for &keys in &bench.scale_keys {
        systems.iter().for_each(|system| system.fill(there..keys));
        there = there.max(keys);
        for test in TESTS {
            contest.add(bench, &systems, Case { keys, ..bench.case(test, IN_FLIGHT) });
        }
    }
    let title =
        format!("{IN_FLIGHT} in flight, {} connections, nothing on disk", bench.connections);
    contest.tables(report, &title, Vary::Keys);
    plots(&contest, report, "keys", Vary::Keys);
}

fn in_memory(bench: &Bench) -> Vec<System> {
    let mut systems = vec![System::ours(bench, "ours", Files::None)];
    systems.extend(bench.redis(Files::None));
    systems
}

fn plots(contest: &Contest, report: &mut Report, name: &str, vary: Vary) {
    for test in TESTS {
        let label = |case: &Case| (case.test == test).then(|| vary.of(case));
        let title = format!("{}, {IN_FLIGHT} in flight", test.to_uppercase());
        let plot = contest.plot(&title, vary, label);
        report.plot(&format!("{name}-{test}"), &plot.lines());
    }
}
