//! How many reads find their key in memory, by who gives way when it is full: simulated, since only
//! the order of the reads counts.
//!
//! A read of a key that is not there takes it in, and another key gives way. The optimum for reads
//! that do not depend on each other keeps the keys that are read most, and nobody beats it on the
//! Zipfian loads; what shifts and what is scanned has no such bound here.

use std::collections::{BTreeMap, HashMap, VecDeque};

use kv_benches::arguments::Arguments;
use kv_benches::lru::Lru;
use kv_benches::table::Table;
use kv_benches::workload::Zipf;

const HELP: &str = "
hit_rates: hit rates of exact LRU, of CLOCK as the store has it, and of newer policies

  --keys N     default 200000
  --reads N    after as many to warm up; default 2000000
  --quick      tiny sizes
";

/// Who gives way.
trait Policy {
    /// Whether the key was there. It is there afterwards.
    fn read(&mut self, key: u64) -> bool;
}

impl Policy for Lru {
    fn read(&mut self, key: u64) -> bool {
        self.read(key)
    }
}

/// A hand that goes round over slots, cools what is warm and takes what is cold. With a heat of 1
/// at most it is the store's.
struct Clock {
    heat_max: u8,
    slots: Vec<(u64, u8)>,
    room: usize,
    hand: usize,
    places: HashMap<u64, usize>,
}

impl Clock {
    fn new(room: usize, heat_max: u8) -> Clock {
        Clock { heat_max, slots: Vec::new(), room, hand: 0, places: HashMap::new() }
    }
}

impl Policy for Clock {
    fn read(&mut self, key: u64) -> bool {
        if let Some(&place) = self.places.get(&key) {
            let heat = &mut self.slots[place].1;
            *heat = (*heat + 1).min(self.heat_max);
            return true;
        }
        let place = if self.slots.len() < self.room {
            self.slots.push((key, 1));
            self.slots.len() - 1
        } else {
            while self.slots[self.hand].1 > 0 {
                self.slots[self.hand].1 -= 1;
                self.hand = (self.hand + 1) % self.room;
            }
            self.places.remove(&self.slots[self.hand].0);
            self.slots[self.hand] = (key, 1);
            self.hand
        };
        self.places.insert(key, place);
        false
    }
}

/// SIEVE (Zhang et al., NSDI 2024): a queue in the order of arrival, over which a hand goes from
/// the oldest to the newest; who was read stays in its place.
struct Sieve {
    room: usize,
    arrived: u64,
    queue: BTreeMap<u64, u64>,
    places: HashMap<u64, (u64, bool)>,
    hand: u64,
}

impl Sieve {
    fn new(room: usize) -> Sieve {
        Sieve { room, arrived: 0, queue: BTreeMap::new(), places: HashMap::new(), hand: 0 }
    }

    fn evict(&mut self) {
        loop {
            let next = self.queue.range(self.hand..).next().or_else(|| self.queue.iter().next());
            let Some((&at, &key)) = next else { return };
            self.hand = at + 1;
            match self.places.get_mut(&key) {
                Some((_, was_read)) if *was_read => *was_read = false,
                _ => {
                    self.queue.remove(&at);
                    self.places.remove(&key);
                    return;
                }
            }
        }
    }
}

impl Policy for Sieve {
    fn read(&mut self, key: u64) -> bool {
        if let Some((_, was_read)) = self.places.get_mut(&key) {
            *was_read = true;
            return true;
        }
        if self.places.len() == self.room {
            self.evict();
        }
        self.arrived += 1;
        self.queue.insert(self.arrived, key);
        self.places.insert(key, (self.arrived, false));
        false
    }
}

/// S3-FIFO (Yang et al., SOSP 2023): a small queue for what is new, a main one for what was read
/// again, and the names of what left the small one lately.
struct S3Fifo {
    room: usize,
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    ghosts: VecDeque<u64>,
    is_ghost: HashMap<u64, u32>,
    heat: HashMap<u64, u8>,
}

impl S3Fifo {
    fn new(room: usize) -> S3Fifo {
        let (small, main, ghosts) = <(VecDeque<_>, VecDeque<_>, VecDeque<_>)>::default();
        S3Fifo { room, small, main, ghosts, is_ghost: HashMap::new(), heat: HashMap::new() }
    }

    fn evict(&mut self) {
        if self.small.len() * 10 >= self.room
            && let Some(key) = self.small.pop_front()
        {
            if self.heat[&key] > 0 {
                self.heat.insert(key, 0);
                self.main.push_back(key);
                return;
            }
            self.heat.remove(&key);
            self.ghosts.push_back(key);
            *self.is_ghost.entry(key).or_default() += 1;
            if self.ghosts.len() > self.room
                && let Some(old) = self.ghosts.pop_front()
                && let Some(count) = self.is_ghost.get_mut(&old)
            {
                *count -= 1;
            }
        } else if let Some(key) = self.main.pop_front() {
            match self.heat.get_mut(&key) {
                Some(heat) if *heat > 0 => {
                    *heat -= 1;
                    self.main.push_back(key);
                }
                _ => _ = self.heat.remove(&key),
            }
        }
    }
}

impl Policy for S3Fifo {
    fn read(&mut self, key: u64) -> bool {
        if let Some(heat) = self.heat.get_mut(&key) {
            *heat = (*heat + 1).min(3);
            return true;
        }
        while self.heat.len() >= self.room {
            self.evict();
        }
        self.heat.insert(key, 0);
        if self.is_ghost.get(&key).is_some_and(|&count| count > 0) {
            self.main.push_back(key);
        } else {
            self.small.push_back(key);
        }
        false
    }
}

/// What is read.
struct Load {
    name: &'static str,
    reads: Vec<u64>,
}

fn loads(keys: u64, reads: usize) -> Vec<Load> {
    let zipf = |skew: f64, seed: u64| {
        let mut zipf = Zipf::new(keys, skew, seed);
        move || zipf.draw()
    };
    let of = |name, next: &mut dyn FnMut(usize) -> u64| Load {
        name,
        reads: (0..2 * reads).map(next).collect(),
    };
    let (mut steep, mut flat) = (zipf(0.99, 1), zipf(0.8, 2));
    let (mut shifting, mut beside) = (zipf(0.99, 3), zipf(0.99, 4));
    let mut scanned = 0;
    vec![
        of("Zipfian, 0.99", &mut |_| steep()),
        of("Zipfian, 0.8", &mut |_| flat()),
        // Other keys are the hot ones after each tenth of the reads.
        of("Zipfian, 0.99, shifting", &mut |nth| {
            (shifting() + (nth / (reads / 10)) as u64 * keys / 7) % keys
        }),
        // Half of the reads go over all keys in order.
        of("Zipfian, 0.99, and a scan", &mut |nth| {
            if nth % 2 == 0 {
                return beside();
            }
            scanned = (scanned + 1) % keys;
            scanned
        }),
    ]
}

/// The hit rate after as many reads to warm up, in percent.
fn hit_rate(policy: &mut dyn Policy, reads: &[u64]) -> f64 {
    let (warming, counted) = reads.split_at(reads.len() / 2);
    warming.iter().for_each(|&key| _ = policy.read(key));
    let hits = counted.iter().filter(|&&key| policy.read(key)).count();
    100.0 * hits as f64 / counted.len() as f64
}

fn main() {
    let mut arguments = Arguments::from_process(HELP);
    let keys: u64 = arguments.value("keys", 200_000, 2_000);
    let reads: usize = arguments.value("reads", 2_000_000, 20_000);
    arguments.finish();
    let heading =
        ["", "room", "exact LRU", "CLOCK", "CLOCK, heat 3", "CLOCK, heat 7", "SIEVE", "S3-FIFO"];
    let mut table = Table::new(format!("Hits in percent, {keys} keys"), &heading);
    for load in loads(keys, reads) {
        for share in [100, 10, 4] {
            let room = (keys / share) as usize;
            let mut policies: [Box<dyn Policy>; 6] = [
                Box::new(Lru::new(room)),
                Box::new(Clock::new(room, 1)),
                Box::new(Clock::new(room, 3)),
                Box::new(Clock::new(room, 7)),
                Box::new(Sieve::new(room)),
                Box::new(S3Fifo::new(room)),
            ];
            let rates = policies.iter_mut().map(|policy| hit_rate(&mut **policy, &load.reads));
            let cells = rates.map(|rate| format!("{rate:.1}"));
            let names = [load.name.to_owned(), format!("1/{share}")];
            table.row(names.into_iter().chain(cells));
        }
    }
    table.print();
}
