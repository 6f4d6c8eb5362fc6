//! The tables by `redis-benchmark`: nothing on disk, every reply durable, and ten minutes
//! of each.

use std::path::Path;

use kv_benches::files::scratch;
use kv_benches::redis_benchmark::Case;
use kv_benches::report::Report;

use crate::Bench;
use crate::contest::{Contest, Vary};
use crate::systems::{Files, System};

/// Commands in flight of the rows that are repeated for ten minutes.
const LONG_IN_FLIGHT: usize = 16;

/// GET and SET with nothing on disk; and ours as it is by itself, with everything on disk.
pub(crate) fn memory(bench: &Bench, report: &mut Report) {
    report.part("Single commands, by redis-benchmark");
    let dir = scratch("compare");
    let Some(systems) = bench.filled(report, || first_table(bench, dir.path())) else { return };
    let mut contest = Contest::new(&systems);
    for test in ["get", "set"] {
        for &in_flight in &bench.in_flight {
            contest.add(bench, &systems, bench.case(test, in_flight));
        }
    }
    let title = format!(
        "{} connections, {} keys of 16 bytes with values of 64. *In memory*: `--in-memory \
         --history 1`; *by default*: ten versions of each key, every reply durable. Redis has \
         `--save \"\" --appendonly no`.",
        bench.connections, bench.keys
    );
    contest.tables(report, &title, Vary::InFlight);
    let label = |case: &Case| Some(format!("{} {}", case.name(), case.in_flight));
    let plot = contest.plot("Single commands", Vary::InFlight, label);
    report.plot("memory", &plot.bars());
}

/// SET and INCR with every reply on disk before it is sent.
pub(crate) fn durable(bench: &Bench, report: &mut Report) {
    report.part("Every reply durable, by redis-benchmark");
    let dirs = [scratch("compare"), scratch("compare")];
    let systems = || {
        let mut systems = vec![System::ours(bench, "ours", Files::Durable(dirs[0].path()))];
        systems.extend(bench.redis(Files::Durable(dirs[1].path())));
        systems
    };
    let Some(systems) = bench.filled(report, systems) else { return };
    let mut contest = Contest::new(&systems);
    contest.add(bench, &systems, bench.case("set", 64));
    contest.add(bench, &systems, bench.case("incr", 16));
    let title = format!(
        "{} connections, {} keys; INCR is of one key. Ours as it is by itself, Redis with \
         `--appendonly yes --appendfsync always`, on the same disk. Between turns what each does \
         with its files afterwards is waited for.",
        bench.connections, bench.keys
    );
    contest.tables(report, &title, Vary::InFlight);
    let label = |case: &Case| Some(format!("{} {}", case.name(), case.in_flight));
    let plot = contest.plot("Every reply durable", Vary::InFlight, label);
    report.plot("durable", &plot.bars());
}

/// The middle rows of the first table, minute by minute.
pub(crate) fn long(bench: &Bench, report: &mut Report) {
    let minutes = bench.minutes;
    report.part(&format!("{minutes} minutes of each, by redis-benchmark"));
    let dir = scratch("compare");
    let Some(systems) = bench.filled(report, || first_table(bench, dir.path())) else { return };
    let by_minute = Bench { rounds: minutes, time: bench.minute, ..bench.clone() };
    for test in ["get", "set"] {
        let mut contest = Contest::new(&systems);
        contest.add(&by_minute, &systems, bench.case(test, LONG_IN_FLIGHT));
        let title = format!("{}, {LONG_IN_FLIGHT} in flight, commands/s", test.to_uppercase());
        contest.rounds(report, &title, "minute", &format!("long-{test}"));
        contest.tables(report, "All of it", Vary::InFlight);
    }
}

/// The systems of the first table.
fn first_table(bench: &Bench, dir: &Path) -> Vec<System> {
    let mut systems = vec![
        System::ours(bench, "in memory", Files::None),
        System::ours(bench, "by default", Files::Durable(dir)),
    ];
    systems.extend(bench.redis(Files::None));
    systems
}

impl Bench {
    pub(crate) fn case(&self, test: &'static str, in_flight: usize) -> Case {
        Case { test, connections: self.connections, in_flight, keys: self.keys }
    }

    /// Systems that have all keys; or none, if the tool is missing or one of them does not
    /// understand it.
    pub(crate) fn filled(
        &self,
        report: &mut Report,
        systems: impl FnOnce() -> Vec<System>,
    ) -> Option<Vec<System>> {
        if self.tool.is_none() {
            report.say("redis-benchmark is not installed: this part is left out.");
            return None;
        }
        let mut systems = systems();
        systems.retain(|system| {
            let is_understood = system.speaks_resp();
            if !is_understood {
                let name = system.name;
                report.say(&format!("*{name}* does not take the commands of Redis: left out."));
            }
            is_understood
        });
        systems.iter().for_each(|system| system.fill(0..self.keys));
        (!systems.is_empty()).then_some(systems)
    }
}
