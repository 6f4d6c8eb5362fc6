//! Systems under the load of `redis-benchmark`, in turn, and the tables and plots of it.

use kv_benches::measure::{Ratio, alternate, median};
use kv_benches::process::cpu_seconds;
use kv_benches::redis_benchmark::{Case, Said};
use kv_benches::report::Report;
use kv_benches::svg::{Plot, Point};
use kv_benches::table::{Table, range};

use crate::Bench;
use crate::systems::System;

/// Requests of the first round, from which it is known how many the later ones need to last as long
/// as they are meant to.
const REQUESTS_FIRST: u64 = 200_000;
/// Requests of a turn at least: the tool's clock counts milliseconds, and fewer may take none.
const REQUESTS_MIN: u64 = 4_000;

/// What was measured of one system in one case, a sample each round.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    per_second: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    max_us: Vec<f64>,
    /// Processor time of the server for each command.
    server_us: Vec<f64>,
}

impl Samples {
    fn add(&mut self, said: Said, server_us: f64) {
        self.per_second.push(said.per_second);
        self.p50_us.push(said.p50_us);
        self.p99_us.push(said.p99_us);
        self.max_us.push(said.max_us);
        self.server_us.push(server_us);
    }
}

/// All cases of one table: for each of them the samples of each system.
#[derive(Debug)]
pub(crate) struct Contest {
    names: Vec<&'static str>,
    cases: Vec<Case>,
    samples: Vec<Vec<Samples>>,
}

impl Contest {
    /// Between these systems, of which the last is the one that the others are compared with.
    pub(crate) fn new(systems: &[System]) -> Contest {
        let names = systems.iter().map(|system| system.name).collect();
        Contest { names, cases: Vec::new(), samples: Vec::new() }
    }

    /// Measures a case.
    pub(crate) fn add(&mut self, bench: &Bench, systems: &[System], case: Case) {
        self.samples.push(measure(bench, systems, &case));
        self.cases.push(case);
    }

    /// The table of everything, and that of the ratios of all others by the last system.
    pub(crate) fn tables(&self, report: &mut Report, title: &str, vary: Vary) {
        let columns = [
            "",
            vary.name(),
            "commands/s (least to most)",
            "p50 µs",
            "p99 µs",
            "most µs",
            "server CPU µs/command",
        ];
        let mut table = Table::new(title, &columns);
        for (case, samples) in self.cases.iter().zip(&self.samples) {
            for (name, of) in self.names.iter().zip(samples) {
                let figures = [&of.p50_us, &of.p99_us, &of.max_us].map(|us| median(us));
                let mut row = vec![format!("{}, {name}", case.name()), vary.of(case)];
                row.push(range(&of.per_second));
                row.extend(figures.map(|us| format!("{us:.0}")));
                row.push(format!("{:.2}", median(&of.server_us)));
                table.row(row);
            }
        }
        report.table(&table);
        let Some((last, others)) = self.names.split_last().filter(|(_, rest)| !rest.is_empty())
        else {
            return;
        };
        let mut columns = vec!["", vary.name()];
        columns.extend(others);
        let mut ratios = Table::new(format!("Commands a second, by those of {last}"), &columns);
        let mut costs = Table::new(format!("Processor time a command, by {last}'s"), &columns);
        for (case, samples) in self.cases.iter().zip(&self.samples) {
            let (by, others) = samples.split_last().unwrap();
            let row = |of: fn(&Samples) -> &Vec<f64>| {
                let ratios = others.iter().map(move |one| Ratio::of_pairs(of(one), of(by)));
                let cells = ratios.map(|ratio| ratio.to_string());
                [case.name(), vary.of(case)].into_iter().chain(cells)
            };
            ratios.row(row(|of| &of.per_second));
            costs.row(row(|of| &of.server_us));
        }
        report.table(&ratios);
        report.table(&costs);
    }

    /// The rates of a single case, round by round.
    pub(crate) fn rounds(&self, report: &mut Report, title: &str, round: &str, name: &str) {
        let [samples] = &self.samples[..] else { panic!("there is more than one case") };
        let mut table = Table::new(title, &[&[round], &self.names[..]].concat());
        let labels: Vec<String> =
            (1..=samples[0].per_second.len()).map(|round| round.to_string()).collect();
        for (at, label) in labels.iter().enumerate() {
            let cells = samples.iter().map(|of| format!("{:.0}", of.per_second[at]));
            table.row([label.clone()].into_iter().chain(cells));
        }
        report.table(&table);
        let mut plot = Plot::new(title, round, "commands/s", labels);
        for (name, of) in self.names.iter().zip(samples) {
            plot.series(*name, of.per_second.iter().map(|&rate| Point::of(&[rate])).collect());
        }
        report.plot(name, &plot.bars());
    }

    /// A plot of the rates of some cases.
    pub(crate) fn plot(
        &self,
        title: &str,
        vary: Vary,
        label: impl Fn(&Case) -> Option<String>,
    ) -> Plot {
        let chosen = self.cases.iter().zip(&self.samples);
        let chosen = chosen.filter_map(|(case, samples)| Some((label(case)?, samples)));
        let (labels, samples): (Vec<String>, Vec<&Vec<Samples>>) = chosen.unzip();
        let mut plot = Plot::new(title, vary.name(), "commands/s", labels);
        for (at, name) in self.names.iter().enumerate() {
            let points = samples.iter().map(|of| Point::of(&of[at].per_second)).collect();
            plot.series(*name, points);
        }
        plot
    }
}

/// What differs between the rows of a table, beside the command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Vary {
    InFlight,
    Connections,
    Keys,
}

impl Vary {
    fn name(self) -> &'static str {
        match self {
            Vary::InFlight => "in flight",
            Vary::Connections => "connections",
            Vary::Keys => "keys",
        }
    }

    pub(crate) fn of(self, case: &Case) -> String {
        match self {
            Vary::InFlight => case.in_flight.to_string(),
            Vary::Connections => case.connections.to_string(),
            Vary::Keys => case.keys.to_string(),
        }
    }
}

/// Loads the systems in turn.
fn measure(bench: &Bench, systems: &[System], case: &Case) -> Vec<Samples> {
    let batch = (case.connections * case.in_flight) as u64;
    let whole = |requests: u64| requests.max(REQUESTS_MIN).next_multiple_of(batch);
    // If it is only to be seen that it works, the least will do.
    let first = if bench.rounds > 1 { REQUESTS_FIRST } else { REQUESTS_MIN };
    let mut requests = vec![whole(first); systems.len()];
    let mut samples: Vec<Samples> = systems.iter().map(|_| Samples::default()).collect();
    alternate(bench.rounds, |round| {
        for ((system, samples), requests) in systems.iter().zip(&mut samples).zip(&mut requests) {
            let (said, server_us) = turn(bench, system, case, *requests);
            match round {
                0 => {
                    let wanted = (said.per_second * bench.time.as_secs_f64()) as u64;
                    *requests = whole(wanted);
                }
                _ => samples.add(said, server_us),
            }
        }
        []
    });
    samples
}

/// Loads one system with so many requests: what the tool says, and what each cost the server.
fn turn(bench: &Bench, system: &System, case: &Case, requests: u64) -> (Said, f64) {
    let tool = bench.tool.as_ref().expect("parts without the tool are left out");
    system.settle();
    let server = system.server.process.id();
    let before = cpu_seconds(server);
    let said = case.run(tool, bench.tool_threads, system.server.address, requests);
    (said, (cpu_seconds(server) - before) * 1e6 / requests as f64)
}
