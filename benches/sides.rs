//! Servers that are measured in turn under the same load, and what was measured of each.

use std::time::Duration;

use crate::measure::{Latencies, median};
use crate::process::{Server, cpu_seconds};
use crate::table::range;
use crate::traffic::{Connections, Protocol, Requests, Until};

/// A server with its connections.
#[derive(Debug)]
pub struct Side {
    /// What it is called in tables.
    pub name: &'static str,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The server.
    pub server: Server,
    connections: Connections,
}

/// What was measured of one side: a sample each turn, but all latencies together.
#[derive(Debug, Default)]
pub struct Figures {
    /// Commands a second.
    pub commands_per_second: Vec<f64>,
    /// The server's processor time for each command.
    pub server_us: Vec<f64>,
    /// The load generator's processor time for each command.
    pub generator_us: Vec<f64>,
    /// Of batches.
    pub latencies: Latencies,
}

impl Side {
    /// Connects to a server, with a generator of so many threads.
    pub fn new(
        name: &'static str,
        protocol: Protocol,
        server: Server,
        connections: usize,
        threads: usize,
    ) -> Side {
        let connections = Connections::open(server.address, connections, threads);
        Side { name, protocol, server, connections }
    }

    /// Loads it for a while, and adds what was measured to `figures`, if there are any.
    pub fn turn(
        &mut self,
        requests: &Requests,
        depth: usize,
        time: Duration,
        figures: Option<&mut Figures>,
    ) {
        let server = self.server.process.id();
        let measured = || [cpu_seconds(server), cpu_seconds(std::process::id())];
        let before = measured();
        let run = self.connections.run(requests, depth, Until::Elapsed(time));
        let after = measured();
        let Some(figures) = figures else { return };
        let cpu_us = |at: usize| (after[at] - before[at]) * 1e6 / run.commands as f64;
        figures.commands_per_second.push(run.commands_per_second());
        figures.server_us.push(cpu_us(0));
        figures.generator_us.push(cpu_us(1));
        figures.latencies.merge(&run.latencies);
    }
}

impl Figures {
    /// Titles of [`Figures::cells`].
    pub const COLUMNS: [&str; 5] = [
        "commands/s (least to most)",
        "p50 µs",
        "p99 µs",
        "server CPU µs/command",
        "generator CPU",
    ];

    /// Medians for a table.
    pub fn cells(&mut self) -> [String; 5] {
        [
            range(&self.commands_per_second),
            format!("{:.0}", self.latencies.quantile_us(0.5)),
            format!("{:.0}", self.latencies.quantile_us(0.99)),
            format!("{:.2}", median(&self.server_us)),
            format!("{:.2}", median(&self.generator_us)),
        ]
    }
}
