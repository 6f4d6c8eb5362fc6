//! What a million keys take in memory and on disk, and how long a start takes with them.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kv_benches::control::Control;
use kv_benches::files::{bytes_below, scratch};
use kv_benches::measure::{Ratio, alternate, median};
use kv_benches::peers;
use kv_benches::process::{Server, resident_bytes};
use kv_benches::report::Report;
use kv_benches::svg::{Plot, Point};
use kv_benches::table::Table;
use kv_benches::traffic::{Operation, Protocol, Requests, send_all};
use kv_benches::workload::{self, KEY_BYTES, VALUE_BYTES};

use crate::Bench;
use crate::systems::{Files, System};

const MIB: f64 = (1 << 20) as f64;
/// How often it is asked whether resident memory still changes, unless a turn is shorter: longer
/// than an allocator keeps what it could give back.
const LOOK_EVERY: Duration = Duration::from_millis(1500);
/// Looks at most; by then something else is wrong.
const LOOKS_MAX: usize = 20;

/// A system with files that can be stopped and started again.
struct Kept<'a> {
    name: &'static str,
    is_ours: bool,
    files: Files<'a>,
}

impl Kept<'_> {
    fn start(&self, bench: &Bench) -> Option<System> {
        match self.is_ours {
            true => Some(System::ours(bench, self.name, self.files)),
            false => bench.redis_as(self.name, self.files),
        }
    }
}

/// Memory, files, and starts.
pub(crate) fn resident(bench: &Bench, report: &mut Report) {
    report.part("Memory a key, and starts");
    let dirs = [scratch("compare"), scratch("compare"), scratch("compare")];
    let [ours, aof, rdb] = dirs.each_ref().map(|dir| dir.path());
    let kept = [
        Kept { name: "ours, by default", is_ours: true, files: Files::Durable(ours) },
        Kept { name: "Redis, append-only file", is_ours: false, files: Files::Durable(aof) },
        Kept { name: "Redis, dump at the end", is_ours: false, files: Files::AtTheEnd(rdb) },
    ];
    let mut sizes = Sizes::new(bench);
    sizes.system(bench, &System::ours(bench, "ours, in memory", Files::None));
    let mut systems: Vec<(&Kept<'_>, &Path)> = Vec::new();
    for (kept, dir) in kept.iter().zip([ours, aof, rdb]) {
        let Some(system) = kept.start(bench) else { continue };
        sizes.system(bench, &system);
        system.server.process.stop();
        sizes.files.push(Some(bytes_below(dir)));
        systems.push((kept, dir));
    }
    match bench.redis_as("Redis, in memory", Files::None) {
        Some(system) => sizes.system(bench, &system),
        None => report.say("redis-server is not installed: left out."),
    }
    match &bench.memcached {
        Some(path) => {
            let keys = workload::keys(0..bench.keys);
            sizes.server("memcached", &peers::memcached(path), |server| {
                let values = workload::values();
                let puts = Requests::new(Protocol::Memcached, Operation::Put, &keys, &values);
                send_all(server.address, &puts, 4, 256);
            });
        }
        None => report.say("memcached is not installed: left out."),
    }
    sizes.report(bench, report);
    starts(bench, report, &systems);
}

/// What is known of each system so far.
struct Sizes {
    keys: u64,
    look_every: Duration,
    names: Vec<&'static str>,
    resident: Vec<u64>,
    grown: Vec<u64>,
    files: Vec<Option<u64>>,
}

impl Sizes {
    fn new(bench: &Bench) -> Sizes {
        Sizes {
            keys: bench.keys,
            look_every: LOOK_EVERY.min(bench.time),
            names: vec![],
            resident: vec![],
            grown: vec![],
            files: vec![],
        }
    }

    fn system(&mut self, bench: &Bench, system: &System) {
        self.server(system.name, &system.server, |_| {
            system.fill(0..bench.keys);
            system.settle();
        });
    }

    /// Fills an empty server, and notes what it has grown by.
    fn server(&mut self, name: &'static str, server: &Server, fill: impl FnOnce(&Server)) {
        // Those before it that had no files.
        self.files.resize(self.names.len(), None);
        let process = server.process.id();
        let empty = level(process, self.look_every);
        fill(server);
        let filled = level(process, self.look_every);
        self.names.push(name);
        self.resident.push(filled);
        self.grown.push(filled.saturating_sub(empty));
    }

    fn report(&mut self, bench: &Bench, report: &mut Report) {
        self.files.resize(self.names.len(), None);
        let title = format!(
            "{} keys of {KEY_BYTES} bytes with values of {VALUE_BYTES}. *By default* keeps ten \
             versions of each key, of which there is one here. Bytes a key are what the process \
             has grown by, key and value included; files as they are after it was stopped.",
            bench.keys
        );
        let mut table = Table::new(title, &["", "resident MiB", "bytes/key", "files MiB"]);
        let each = |bytes: u64| bytes as f64 / self.keys as f64;
        for (at, name) in self.names.iter().enumerate() {
            let mib = |bytes: u64| format!("{:.0}", bytes as f64 / MIB);
            table.row([
                (*name).to_owned(),
                mib(self.resident[at]),
                format!("{:.1}", each(self.grown[at])),
                self.files[at].map_or("-".to_owned(), mib),
            ]);
        }
        report.table(&table);
        let names = self.names.iter().map(|name| (*name).to_owned()).collect();
        let mut plot = Plot::new("Resident bytes a key", "system", "bytes", names);
        plot.series("bytes", self.grown.iter().map(|&bytes| Point::of(&[each(bytes)])).collect());
        report.plot("resident", &plot.bars());
    }
}

/// Resident bytes of a process once they hardly change any more.
fn level(process: u32, look_every: Duration) -> u64 {
    let mut last = resident_bytes(process);
    for _ in 0..LOOKS_MAX {
        thread::sleep(look_every);
        let now = resident_bytes(process);
        if now.abs_diff(last) <= now / 500 {
            return now;
        }
        last = now;
    }
    last
}

/// From the start of the process until it answers a GET, in turn.
fn starts(bench: &Bench, report: &mut Report, systems: &[(&Kept<'_>, &Path)]) {
    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); systems.len()];
    alternate(bench.rounds, |round| {
        for ((kept, _), seconds) in systems.iter().zip(&mut seconds) {
            let started = Instant::now();
            let Some(system) = kept.start(bench) else { continue };
            let mut control = Control::open(system.server.address);
            // Redis listens before it has read its files, and says so.
            while control.say("GET key:000000000000").starts_with("-LOADING") {
                thread::sleep(Duration::from_millis(1));
            }
            if round > 0 {
                seconds.push(started.elapsed().as_secs_f64());
            }
            drop(control);
            system.server.process.stop();
        }
        []
    });
    let title = format!(
        "Seconds from the start of the process to its first reply, {} keys, after it was stopped \
         as it should be; files in the system's cache",
        bench.keys
    );
    let mut table = Table::new(title, &["", "s", "by ours (least to most)"]);
    for ((kept, _), of) in systems.iter().zip(&seconds) {
        let ratio = Ratio::of_pairs(of, &seconds[0]).to_string();
        table.row([kept.name.to_owned(), format!("{:.2}", median(of)), ratio]);
    }
    report.table(&table);
    let names = systems.iter().map(|(kept, _)| kept.name.to_owned()).collect();
    let mut plot = Plot::new("Start", "system", "s", names);
    plot.series("s", seconds.iter().map(|of| Point::of(of)).collect());
    report.plot("starts", &plot.bars());
}
