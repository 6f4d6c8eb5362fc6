//! How long a start takes: with many keys in the snapshot, and with many commits in the log.
//!
//! What a start has to read at least is measured beside it: a program of a few lines that reads
//! every row of the file in one thread and puts keys and values into a map of the standard library.
//! It checks nothing and keeps no versions.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]
#![expect(clippy::print_stdout, reason = "a child tells its parent a figure")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use kv_benches::arguments::Arguments;
use kv_benches::built;
use kv_benches::control::Control;
use kv_benches::files::{bytes_below, forget, kept};
use kv_benches::measure::{Ratio, alternate, median};
use kv_benches::process::{
    Running, Server, cpu_seconds, resident_bytes, server_binary, this_program,
};
use kv_benches::table::Table;
use rusqlite::{Connection, OpenFlags};

const HELP: &str = "
startup: from the start of the server until it listens

  --server PATH    the server's binary; default: one that is built now
  --keys N         keys in the snapshot; default 10000000. The data is made once, and kept below
                   the target directory
  --commits N      commits in the log; default 5000000, kept too
  --log-keys N     keys that they change, in turn; default 1000000
  --cold           have the kernel forget the files before each start
  --only snapshot|log   one table only
  --again          make the data again
  --rounds N       rounds, after one to warm up; default 3
  --quick          tiny sizes
";

/// So that what is in the log stays there.
const NO_FOLD: [&str; 6] =
    ["--checkpoint-interval", "30d", "--checkpoint-log", "64gb", "--max-log", "128gb"];
const GIB: f64 = (1 << 30) as f64;

struct Bench {
    server: PathBuf,
    rounds: usize,
    is_cold: bool,
    is_again: bool,
}

/// Samples of starts: wall time and processor time in seconds, resident memory in bytes.
type Starts = [Vec<f64>; 3];

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let child = arguments.text("child-map").map(|map| (map, arguments.text("child-file")));
    if let Some((map, Some(file))) = child {
        println!("{}", seconds_to_fill(&map, Path::new(&file)));
        return;
    }
    let keys: u64 = arguments.value("keys", 10_000_000, 20_000);
    let commits: u64 = arguments.value("commits", 5_000_000, 20_000);
    let log_keys: u64 = arguments.value("log-keys", 1_000_000, 5_000);
    let only = arguments.text("only");
    let bench = Bench {
        server: server_binary(arguments.text("server")),
        rounds: arguments.value("rounds", 3, 1),
        is_cold: arguments.flag("cold"),
        // What an earlier version of the program has made is nothing for a test.
        is_again: arguments.flag("again") || arguments.is_quick(),
    };
    arguments.finish();
    if only.as_deref() != Some("log") {
        let name = format!("snapshot-{keys}");
        bench.snapshot(&bench.data(&name, |dir| built::with_snapshot(dir, keys)), keys);
    }
    if only.as_deref() != Some("snapshot") {
        let name = format!("log-{commits}-{log_keys}");
        bench.log(&bench.data(&name, |dir| built::with_log(dir, commits, log_keys)), commits);
    }
}

impl Bench {
    /// The directory of this name. It gets its name when it is complete.
    fn data(&self, name: &str, build: impl FnOnce(&Path)) -> PathBuf {
        let [dir, unfinished] =
            [name.to_owned(), format!("{name}-unfinished")].map(|name| kept(&name));
        let remove = |dir: &Path| {
            if dir.exists() {
                std::fs::remove_dir_all(dir).unwrap();
            }
        };
        if self.is_again {
            remove(&dir);
        }
        if !dir.exists() {
            remove(&unfinished);
            build(&unfinished);
            std::fs::rename(&unfinished, &dir).unwrap();
        }
        dir
    }

    fn snapshot(&self, dir: &Path, keys: u64) {
        let file = dir.join("kv.sqlite");
        let [wall, cpu, resident, hash, tree] = alternate(self.rounds, |_| {
            let [wall, cpu, resident] = self.start(dir, &[], keys);
            let [hash, tree] = ["HashMap", "BTreeMap"].map(|map| {
                self.prepare(dir);
                in_child(map, &file)
            });
            [wall, cpu, resident, hash, tree]
        });
        let heading =
            ["", "seconds", "keys/s", "by the start (least to most)", "CPU s", "resident GiB"];
        let mut table =
            Table::new(self.title(dir, &format!("{keys} keys in the snapshot")), &heading);
        table.row([
            "until it listens".to_owned(),
            seconds(&wall),
            per_second(keys, &wall),
            "-".to_owned(),
            seconds(&cpu),
            format!("{:.2}", median(&resident) / GIB),
        ]);
        for (name, read) in [("HashMap", &hash), ("BTreeMap", &tree)] {
            table.row([
                format!("one thread reads all rows into a {name}"),
                seconds(read),
                per_second(keys, read),
                Ratio::of_pairs(read, &wall).to_string(),
                "-".to_owned(),
                "-".to_owned(),
            ]);
        }
        table.print();
    }

    fn log(&self, dir: &Path, commits: u64) {
        let [wall, cpu, resident]: Starts =
            alternate(self.rounds, |_| self.start(dir, &NO_FOLD, 0));
        let heading = ["", "seconds", "commits/s", "CPU s", "resident GiB"];
        let mut table =
            Table::new(self.title(dir, &format!("{commits} commits in the log")), &heading);
        table.row([
            "until it listens".to_owned(),
            seconds(&wall),
            per_second(commits, &wall),
            seconds(&cpu),
            format!("{:.2}", median(&resident) / GIB),
        ]);
        table.print();
    }

    fn title(&self, dir: &Path, what: &str) -> String {
        let memory = if self.is_cold { "read from the disk" } else { "in the kernel's memory" };
        format!("{what}; {:.2} GiB of files, {memory}", bytes_below(dir) as f64 / GIB)
    }

    fn prepare(&self, dir: &Path) {
        if self.is_cold {
            forget(dir);
        }
    }

    /// Starts the server once.
    fn start(&self, dir: &Path, more: &[&str], keys_min: u64) -> [f64; 3] {
        self.prepare(dir);
        let started = Instant::now();
        let server = Server::start_durable(&self.server, dir, more);
        let wall = started.elapsed().as_secs_f64();
        let process = server.process.id();
        let figures = [wall, cpu_seconds(process), resident_bytes(process) as f64];
        let keys = Control::open(server.address).stats().get("keys");
        assert!(keys >= keys_min.max(1), "the server has only {keys} keys");
        figures
    }
}

fn seconds(samples: &[f64]) -> String {
    format!("{:.2}", median(samples))
}

fn per_second(count: u64, seconds: &[f64]) -> String {
    format!("{:.0}", count as f64 / median(seconds))
}

fn in_child(map: &str, file: &Path) -> f64 {
    let mut command = Command::new(this_program());
    command.args(["--bench", "--child-map", map, "--child-file"]).arg(file);
    Running::start(command.stdout(Stdio::piped())).line().parse().unwrap()
}

/// What a child does.
fn seconds_to_fill(map: &str, file: &Path) -> f64 {
    let started = Instant::now();
    match map {
        "HashMap" => {
            let mut map: HashMap<Box<[u8]>, Box<[u8]>> = HashMap::new();
            each_row(file, |key, value| drop(map.insert(key.into(), value.into())));
            let seconds = started.elapsed().as_secs_f64();
            // Its end, and with it that of the map, is not waited for.
            std::mem::forget(map);
            seconds
        }
        _ => {
            let mut map: BTreeMap<Box<[u8]>, Box<[u8]>> = BTreeMap::new();
            each_row(file, |key, value| drop(map.insert(key.into(), value.into())));
            let seconds = started.elapsed().as_secs_f64();
            std::mem::forget(map);
            seconds
        }
    }
}

fn each_row(file: &Path, mut take: impl FnMut(&[u8], &[u8])) {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = connection.prepare("SELECT key, value FROM pair").unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let [key, value] = [0, 1].map(|column| row.get_ref(column).unwrap());
        take(key.as_bytes().unwrap(), value.as_bytes().unwrap());
    }
}
