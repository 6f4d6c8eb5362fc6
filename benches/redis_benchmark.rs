//! `redis-benchmark` as the generator: the tool by which Redis is measured elsewhere, so that
//! nobody has to trust ours.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use crate::process::{Running, command_with_descriptors};
use crate::workload::VALUE_BYTES;

/// One line of a table: a command, and how many clients send how many of it at once.
#[derive(Debug, Clone)]
pub struct Case {
    /// As the tool names it: `get`, `set` or `incr`.
    pub test: &'static str,
    /// Clients.
    pub connections: usize,
    /// What each of them has in flight.
    pub in_flight: usize,
    /// From how many keys one is drawn; `incr` has one key.
    pub keys: u64,
}

/// What the tool says of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Said {
    /// Commands a second.
    pub per_second: f64,
    /// Half of the commands took no longer.
    pub p50_us: f64,
    /// Of a hundred commands, 99 took no longer.
    pub p99_us: f64,
    /// The longest took so long.
    pub max_us: f64,
}

impl Case {
    /// Its name in tables.
    pub fn name(&self) -> String {
        self.test.to_uppercase()
    }

    /// Sends so many requests.
    pub fn run(&self, tool: &Path, threads: usize, address: SocketAddr, requests: u64) -> Said {
        let mut command = command_with_descriptors(tool);
        let numbers = [
            ("-p", u64::from(address.port())),
            ("-c", self.connections as u64),
            ("-P", self.in_flight as u64),
            ("-n", requests),
            ("-d", VALUE_BYTES as u64),
        ];
        command.args(["--csv", "-t", self.test, "-h", &address.ip().to_string()]);
        for (option, number) in numbers {
            command.args([option, &number.to_string()]);
        }
        if self.test != "incr" {
            command.args(["-r", &self.keys.to_string()]);
        }
        if threads > 1 {
            command.args(["--threads", &threads.to_string()]);
        }
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let (head, line) = (running.line(), running.line());
        parse(&head, &line).unwrap_or_else(|| panic!("{command:?} says {head:?}, {line:?}"))
    }
}

/// Reads the two lines of `--csv`; latencies are in milliseconds there.
fn parse(head: &str, line: &str) -> Option<Said> {
    let cells = |line: &str| -> Vec<String> {
        line.trim().split(',').map(|cell| cell.trim_matches('"').to_owned()).collect()
    };
    let (head, line) = (cells(head), cells(line));
    let figure = |name: &str| -> Option<f64> {
        let at = head.iter().position(|column| column == name)?;
        line.get(at)?.parse().ok()
    };
    Some(Said {
        per_second: figure("rps")?,
        p50_us: figure("p50_latency_ms")? * 1e3,
        p99_us: figure("p99_latency_ms")? * 1e3,
        max_us: figure("max_latency_ms")? * 1e3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tool_says_is_understood() {
        let head = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\
                    \"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"";
        let line = "\"GET\",\"320512.81\",\"1.797\",\"0.152\",\"1.5\",\"5.007\",\"12.5\",\"12.75\"";
        let said = parse(head, line).unwrap();
        let expected =
            Said { per_second: 320_512.81, p50_us: 1500.0, p99_us: 12_500.0, max_us: 12_750.0 };
        assert_eq!(said, expected);
        assert_eq!(parse(head, "Could not connect"), None);
    }
}
