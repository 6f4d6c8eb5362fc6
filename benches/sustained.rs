//! Writes for minutes on end: which rate holds when the log has to be folded as fast as it grows.
//!
//! At first the log takes what comes. Then writers are slowed to the pace of the fold, so that
//! neither the log nor memory passes its bound. So the first rate and the last one differ, and the
//! last is what can be counted on.

#![expect(clippy::print_stdout, reason = "a summary stands below the table")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kv_benches::arguments::Arguments;
use kv_benches::control::{Control, Stats};
use kv_benches::files::{bytes_below, scratch};
use kv_benches::measure::median;
use kv_benches::process::{Server, resident_bytes, server_binary};
use kv_benches::table::Table;
use kv_benches::traffic::{Connections, Operation, Protocol, Requests, Until};
use kv_benches::workload;

const HELP: &str = "
sustained: durable PUTs of random keys for a long time

  --server PATH    the server's binary; default: one that is built now
  --keys N         keys in the store; default 1000000
  --connections N  default 50
  --in-flight P    PUTs in flight on each connection; default 64
  --seconds S      in all; default 600
  --window S       of each row; default 10
  --quick          tiny sizes
";

const MIB: f64 = (1 << 20) as f64;
/// How often the server is asked how much it has in its log.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What was seen of the log during a window.
#[derive(Default)]
struct Seen {
    looks: usize,
    slowed: usize,
    log_bytes_most: u64,
}

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let keys: u64 = arguments.value("keys", 1_000_000, 5_000);
    let count = arguments.value("connections", 50, 3);
    let depth = arguments.value("in-flight", 64, 16);
    let seconds: f64 = arguments.value("seconds", 600.0, 1.0);
    let window = arguments.value("window", 10.0, 0.5);
    let binary = server_binary(arguments.text("server"));
    arguments.finish();
    let dir = scratch("sustained");
    let server = Server::start_durable(&binary, dir.path(), &[]);
    let mut keys = workload::keys(0..keys);
    workload::shuffle(&mut keys, 0);
    let puts = Requests::new(Protocol::Lines, Operation::Put, &keys, &workload::values());
    let mut connections = Connections::open(server.address, count, 1);
    let mut control = Control::open(server.address);
    let title = format!("{count} connections, {depth} PUTs in flight, {} keys", keys.len());
    let heading =
        ["second", "PUTs/s", "folded keys/s", "log MiB, most", "slowed, %", "resident MiB"];
    let mut table = Table::new(title, &heading);
    let (mut rates, mut log_bytes_most) = (Vec::new(), 0);
    let mut before = control.stats();
    let time = Until::Elapsed(Duration::from_secs_f64(window));
    for nth in 1..=(seconds / window).ceil() as usize {
        let (run, seen) = watched(&mut control, || connections.run(&puts, depth, time));
        let after = control.stats();
        let folded = after.since(&before, "checkpoint_keys") as f64 / run.elapsed.as_secs_f64();
        rates.push(run.commands_per_second());
        log_bytes_most = log_bytes_most.max(seen.log_bytes_most);
        table.row([
            format!("{}", nth as f64 * window),
            format!("{:.0}", run.commands_per_second()),
            format!("{folded:.0}"),
            format!("{:.0}", seen.log_bytes_most as f64 / MIB),
            format!("{:.0}", 100.0 * seen.slowed as f64 / seen.looks.max(1) as f64),
            format!("{:.0}", resident_bytes(server.process.id()) as f64 / MIB),
        ]);
        before = after;
    }
    table.print();
    // By then the log is full, if it ever will be.
    let last_third = &rates[rates.len() - rates.len().div_ceil(3)..];
    println!(
        "{:.0} PUTs a second at first, {:.0} in the last third; the log had {:.0} MiB at most of \
         the {:.0} that it may have, all files {:.0} in the end.",
        rates[0],
        median(last_third),
        log_bytes_most as f64 / MIB,
        before.get("log_bytes_max") as f64 / MIB,
        bytes_below(dir.path()) as f64 / MIB
    );
}

/// Does something, and meanwhile asks the server how it is.
fn watched<T>(control: &mut Control, act: impl FnOnce() -> T) -> (T, Seen) {
    let is_done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let mut seen = Seen::default();
            while !is_done.load(Ordering::SeqCst) {
                seen.look(&control.stats());
                thread::sleep(LOOK_EVERY);
            }
            seen
        });
        let done = act();
        is_done.store(true, Ordering::SeqCst);
        (done, watcher.join().expect("the watcher"))
    })
}

impl Seen {
    fn look(&mut self, stats: &Stats) {
        self.looks += 1;
        self.slowed += usize::from(stats.get("writers_slowed") > 0);
        self.log_bytes_most = self.log_bytes_most.max(stats.get("log_bytes"));
    }
}
