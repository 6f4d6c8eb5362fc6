//! What a memory bound of a tenth of the data costs: how many reads find their key in memory,
//! beside exact LRU with as much room; what such a read takes, beside a store without a bound; what
//! one takes that does not; and how often a missing key is looked for on disk.

use std::time::Instant;

use kv_benches::arguments::Arguments;
use kv_benches::built;
use kv_benches::control::Control;
use kv_benches::files::scratch;
use kv_benches::lru::Lru;
use kv_benches::measure::{Latencies, Ratio, alternate, median, ns_each};
use kv_benches::process::{Server, resident_bytes, server_binary};
use kv_benches::table::Table;
use kv_benches::workload::{self, Key, Zipf};
use kv_core::{Database, Pause, Session};
use kv_persist::Store;

const HELP: &str = "
bounded: reads of a store that may have a tenth of its data in memory

  --server PATH  the server's binary; default: one that is built now
  --keys N       default 1000000
  --reads N      in a round; default 500000
  --rounds N     rounds, after one to warm up; default 5
  --quick        tiny sizes
";

const SKEW: f64 = 0.99;
/// The part of the data that may be in memory.
const PART: usize = 10;
/// Of the hottest keys so many in a thousand are read for what a hit costs: they stay in memory.
const HOT_PER_MILLE: u64 = 20;

/// A store with a bound or without, and the one client that it has.
struct Side {
    store: Store,
    session: Session,
}

impl Side {
    fn new(store: Store) -> Side {
        let session = store.database().session();
        Side { store, session }
    }

    fn database(&self) -> &Database {
        self.store.database()
    }

    /// Reads a key; whether it was there at once.
    fn read(&mut self, key: &Key) -> bool {
        let mut was_there = true;
        loop {
            match self.session.get(None, key) {
                Ok(value) => {
                    std::hint::black_box(&value);
                    return was_there;
                }
                Err(Pause::Fetch(fetch)) => {
                    was_there = false;
                    self.session.database().fetch(&fetch).expect("what was stored is read");
                }
                Err(pause) => panic!("{pause:?}"),
            }
        }
    }

    fn resident(&self) -> usize {
        self.database().shards().iter().map(|shard| shard.resident_keys).sum()
    }

    fn memory_bytes(&self) -> usize {
        self.database().shards().iter().map(|shard| shard.memory_bytes).sum()
    }
}

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let keys: u64 = arguments.value("keys", 1_000_000, 20_000);
    let reads: usize = arguments.value("reads", 500_000, 2_000);
    let rounds = arguments.value("rounds", 5, 1);
    let binary = server_binary(arguments.text("server"));
    arguments.finish();
    let dirs = [(); 2].map(|()| scratch("bounded"));
    dirs.iter().for_each(|dir| built::with_snapshot(dir.path(), keys));
    let mut free = Side::new(built::open(dirs[0].path(), None));
    let bytes_max = free.memory_bytes() / PART;
    let mut bound = Side::new(built::open(dirs[1].path(), Some(bytes_max)));
    hits(&mut free, &mut bound, keys, reads, rounds);
    drop((free, bound));
    over_tcp(&binary, dirs[1].path(), keys, reads);
}

/// Hit rates, and what hits and misses cost, in process.
fn hits(free: &mut Side, bound: &mut Side, keys: u64, reads: usize, rounds: usize) {
    let mut zipf = Zipf::new(keys, SKEW, 1);
    let mut lru = Lru::new(0);
    let mut misses = Latencies::default();
    let hot = keys * HOT_PER_MILLE / 1000;
    let hot_keys = workload::keys(0..hot);
    // Twice as much to warm up as there are keys.
    for nth in 0..2 * keys {
        if nth.is_multiple_of(1000) {
            lru.set_room(bound.resident());
        }
        let number = zipf.draw();
        bound.read(&workload::key(number));
        lru.read(number);
    }
    let samples = alternate(rounds, |_| {
        let numbers: Vec<u64> = (0..reads).map(|_| zipf.draw()).collect();
        let (mut found, mut found_by_lru) = (0, 0);
        lru.set_room(bound.resident());
        for &number in &numbers {
            let key = workload::key(number);
            let began = Instant::now();
            let was_there = bound.read(&key);
            if !was_there {
                misses.add(began.elapsed());
            }
            found += usize::from(was_there);
            found_by_lru += usize::from(lru.read(number));
        }
        let percent = |count: usize| 100.0 * count as f64 / reads as f64;
        let hot_ns = |side: &mut Side| {
            hot_keys.iter().for_each(|key| _ = side.read(key));
            ns_each(hot_keys.len() * 20, || {
                for _ in 0..20 {
                    hot_keys.iter().for_each(|key| _ = side.read(key));
                }
            })
        };
        let (free_ns, bound_ns) = (hot_ns(free), hot_ns(bound));
        [percent(found), percent(found_by_lru), free_ns, bound_ns]
    });
    let [found, found_by_lru, free_ns, bound_ns] = &samples;
    let missing = (0..reads as u64).filter(|&nth| !bound.read(&workload::key(keys + nth))).count();
    let title = format!(
        "{keys} keys, of which {} in memory; Zipfian {SKEW} reads, one thread, in process",
        bound.resident()
    );
    let mut table = Table::new(title, &["", "bounded", "beside", "ratio (least to most)"]);
    let row = |name: &str, cells: [String; 3]| [vec![name.to_owned()], cells.to_vec()].concat();
    let one = |samples: &[f64]| format!("{:.1}", median(samples));
    table.row(row(
        "hits, %, by exact LRU",
        [one(found), one(found_by_lru), Ratio::of_pairs(found, found_by_lru).to_string()],
    ));
    table.row(row(
        "a hit, ns, by a store without a bound",
        [one(bound_ns), one(free_ns), Ratio::of_pairs(bound_ns, free_ns).to_string()],
    ));
    let quantile = |misses: &mut Latencies, share| format!("{:.1}", misses.quantile_us(share));
    let none = || "-".to_owned();
    table.row(row("a miss, p50, µs", [quantile(&mut misses, 0.5), none(), none()]));
    table.row(row("a miss, p99, µs", [quantile(&mut misses, 0.99), none(), none()]));
    let in_vain = format!("{:.2}", 100.0 * missing as f64 / reads as f64);
    table.row(row("missing keys looked for on disk, %", [in_vain, none(), none()]));
    table.print();
}

/// One client, one GET in flight: keys that are in memory, and keys that are not.
fn over_tcp(binary: &std::path::Path, dir: &std::path::Path, keys: u64, reads: usize) {
    let bound = format!("{}kb", (keys * 170 / PART as u64 / 1024 + (24 << 10)).max(32 << 10));
    let server = Server::start_durable(binary, dir, &["--max-memory", &bound]);
    let mut control = Control::open(server.address);
    let mut random = Zipf::new(keys, 0.01, 7);
    let read = |control: &mut Control, number: u64| {
        let line = format!("GET {}", String::from_utf8_lossy(&workload::key(number)));
        let began = Instant::now();
        let reply = control.say(&line);
        assert!(reply.starts_with('"'), "{reply}");
        began.elapsed()
    };
    let (mut hits, mut misses) = (Latencies::default(), Latencies::default());
    let before = control.stats();
    for _ in 0..reads.div_ceil(10) {
        misses.add(read(&mut control, random.draw()));
    }
    let missed = control.stats().since(&before, "cache_misses");
    for _ in 0..reads.div_ceil(10) {
        hits.add(read(&mut control, 0));
    }
    let title = format!(
        "GETs over TCP, one in flight, --max-memory {bound}, resident {} MiB",
        resident_bytes(server.process.id()) >> 20
    );
    let mut table = Table::new(title, &["", "p50, µs", "p99, µs", "misses, %"]);
    let mut row = |name: &str, latencies: &mut Latencies, missed: f64| {
        let cell = |us: f64| format!("{us:.1}");
        let [p50, p99] = [0.5, 0.99].map(|share| latencies.quantile_us(share));
        table.row([name.to_owned(), cell(p50), cell(p99), cell(missed)]);
    };
    let share = 100.0 * missed as f64 / misses.len() as f64;
    row("of one key", &mut hits, 0.0);
    row("of any key", &mut misses, share);
    table.print();
}
