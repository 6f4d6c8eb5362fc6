//! The server beside Redis, memcached and PostgreSQL: one command, all on this machine, each with
//! the same load in turn.
//!
//! ```text
//!   systems       how each is started, filled, and left alone until it has settled
//!   contest       systems under redis-benchmark in turn; the tables and plots of what they did
//!   tables        parts by redis-benchmark: memory, durable, long
//!   scaling       by redis-benchmark too: more and more connections, more and more keys
//!   mixed         by our own generator: reads and writes of hot keys
//!   interactive   transactions, beside PostgreSQL
//!   resident      memory a key, and how long a start takes
//! ```
//!
//! A system that is not installed is left out, and the report says so.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]

mod contest;
mod interactive;
mod mixed;
mod resident;
mod scaling;
mod systems;
mod tables;

use std::path::PathBuf;
use std::time::Duration;

use kv_benches::arguments::Arguments;
use kv_benches::peers;
use kv_benches::process::{find_program, server_binary};
use kv_benches::report::{Report, machine};

const HELP: &str = "
compare: the server beside Redis, memcached and PostgreSQL, as they are installed here

  --only PART,PART     parts to run; default all but long
       memory          redis-benchmark: GET and SET, 1, 16 and 64 in flight, nothing on disk
       durable         redis-benchmark: SET and INCR, every reply durable
       mixed           our own generator: 95 % GET, 5 % SET, Zipfian; memcached too
       interactive     BEGIN, GET, PUT, COMMIT, each awaited, beside PostgreSQL
       resident        memory a key, and how long a start takes
       connections     redis-benchmark: 1 to 1000 connections
       keys            redis-benchmark: 10 thousand to 10 million keys
       long            the middle rows of the first table for ten minutes of each, by the minute
  --long               the same as --only long
  --server PATH        the server's binary; default: one that is built now
  --ours-is PATH       a program that takes the options of redis-server, in the place of ours:
                       with redis-server itself the report shows what is noise
  --keys N             keys in the stores; default 1000000
  --connections N      default 50
  --in-flight P,P      commands in flight on each connection; default 1,16,64
  --clients N          of the transactions; default 16
  --rows N             keys that they draw from; default 100000
  --scale-connections N,N   default 1,10,50,100,300,1000
  --scale-keys N,N     default 10000,100000,1000000,10000000
  --minutes N          of each row of long; default 10
  --tool-threads N     threads of redis-benchmark; default 1
  --seconds S          of each turn; default 5
  --rounds N           rounds, after one to warm up; default 5
  --out DIR            where the report and its plots go; default target/compare
  --quick              tiny sizes
";

const PARTS: [(&str, Part); 8] = [
    ("memory", tables::memory),
    ("durable", tables::durable),
    ("mixed", mixed::mixed),
    ("interactive", interactive::interactive),
    ("resident", resident::resident),
    ("connections", scaling::connections),
    ("keys", scaling::keys),
    ("long", tables::long),
];
/// What runs only if it is asked for.
const ON_REQUEST: &str = "long";

/// Measures, and adds to the report.
type Part = fn(&Bench, &mut Report);

/// What all parts need to know.
#[derive(Clone)]
struct Bench {
    server: PathBuf,
    ours_is: Option<PathBuf>,
    redis: Option<PathBuf>,
    memcached: Option<PathBuf>,
    tool: Option<PathBuf>,
    tool_threads: usize,
    keys: u64,
    connections: usize,
    in_flight: Vec<usize>,
    clients: usize,
    rows: u64,
    scale_connections: Vec<usize>,
    scale_keys: Vec<u64>,
    time: Duration,
    rounds: usize,
    /// Minutes of the long part, and how long one is.
    minutes: usize,
    minute: Duration,
}

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let only = arguments.text("only").or(arguments.flag("long").then(|| "long".to_owned()));
    let mut bench = Bench {
        server: PathBuf::new(),
        ours_is: arguments.text("ours-is").map(PathBuf::from),
        redis: find_program("redis-server"),
        memcached: find_program("memcached"),
        tool: find_program("redis-benchmark"),
        tool_threads: arguments.value("tool-threads", 1, 1),
        keys: arguments.value("keys", 1_000_000, 2_000),
        connections: arguments.value("connections", 50, 3),
        in_flight: arguments.values("in-flight", &[1, 16, 64], &[1, 16]),
        clients: arguments.value("clients", 16, 2),
        rows: arguments.value("rows", 100_000, 500),
        scale_connections: arguments.values(
            "scale-connections",
            &[1, 10, 50, 100, 300, 1000],
            &[1, 3],
        ),
        scale_keys: arguments.values(
            "scale-keys",
            &[10_000, 100_000, 1_000_000, 10_000_000],
            &[500, 2_000],
        ),
        time: Duration::from_secs_f64(arguments.value("seconds", 5.0, 0.05)),
        rounds: arguments.value("rounds", 5, 1),
        minutes: arguments.value("minutes", 10, 2),
        minute: Duration::from_secs_f64(arguments.value("minute", 60.0, 0.1)),
    };
    let server = arguments.text("server");
    let out = arguments.text("out").map_or_else(default_out, PathBuf::from);
    arguments.finish();
    bench.server = server_binary(server);
    let parts: Vec<&str> = match &only {
        Some(only) => only.split(',').collect(),
        None => {
            PARTS.map(|(name, _)| name).into_iter().filter(|&name| name != ON_REQUEST).collect()
        }
    };
    let unknown = parts.iter().find(|name| PARTS.iter().all(|(part, _)| part != *name));
    assert!(unknown.is_none(), "there is no part {unknown:?}; try --help");
    let mut report = Report::new(out, "Compared with other systems");
    bench.preface(&mut report);
    for (_, part) in PARTS.iter().filter(|(name, _)| parts.contains(name)) {
        part(&bench, &mut report);
        report.save();
    }
}

/// Beside the profile's directory: this program is target/PROFILE/deps/NAME.
fn default_out() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("compare")
}

impl Bench {
    fn preface(&self, report: &mut Report) {
        report.say(&machine());
        let versions = peers::versions().into_iter().map(|(name, version)| match version {
            Some(version) => format!("- {version}"),
            None => format!("- {name} is not installed: what needs it is left out"),
        });
        report.say(&versions.collect::<Vec<_>>().join("\n"));
        if let Some(path) = &self.ours_is {
            report.say(&format!("**In the place of this server: {}.**", path.display()));
        }
        report.say(&format!(
            "Medians of {} rounds of {:?}, after one to warm up; systems in turn. A ratio is taken \
             within each round: its median, least and greatest. All systems and the generator \
             share this machine.",
            self.rounds, self.time
        ));
    }
}
