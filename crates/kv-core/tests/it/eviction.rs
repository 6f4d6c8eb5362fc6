//! Who gives way when memory is full.

use kv_core::{Database, Error, Eviction, Holds, Session, ValueKind, Version};

use crate::bounded::{Cellar, run};

const KEYS: usize = 3_000;
const READS: usize = 40_000;
const VALUE: [u8; 400] = [b'v'; 400];

/// Numbers below `KEYS`, of which the n-th comes in proportion to 1/n.
struct Zipf {
    sums: Vec<f64>,
    random: u64,
}

impl Zipf {
    fn new() -> Zipf {
        let mut sum = 0.0;
        let sums = (1..=KEYS).map(|nth| {
            sum += 1.0 / nth as f64;
            sum
        });
        Zipf { sums: sums.collect(), random: 7 }
    }

    fn draw(&mut self) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        let wanted = uniform * self.sums[KEYS - 1];
        self.sums.partition_point(|&sum| sum < wanted).min(KEYS - 1)
    }
}

fn key(number: usize) -> Vec<u8> {
    format!("key{number:06}").into_bytes()
}

fn put(session: &mut Session, number: usize, value: &[u8]) -> Result<(), Error> {
    let key = key(number);
    run(session, |session| session.put(None, &key, value, ValueKind::Text, None))
}

/// As [`put`], where it may take more than a few looks to find someone who gives way.
fn put_with_patience(session: &mut Session, number: usize, value: &[u8]) {
    if put(session, number, value).is_err() {
        session.database().sweep();
        put(session, number, value).unwrap();
    }
}

/// A store of which a part is in memory.
struct Store {
    db: Database,
    session: Session,
}

impl Store {
    fn new(holds: Holds, eviction: Eviction) -> Store {
        let bytes_max = match holds {
            Holds::Keys => KEYS * 60,
            // The keys stay.
            _ => KEYS * 160,
        };
        let cellar = Cellar::new(holds, 1);
        let mut builder = Database::builder();
        builder.shards(2).memory_max(Some(bytes_max)).eviction(eviction);
        let db = cellar.open(&mut builder);
        let mut session = db.session();
        for number in 0..KEYS {
            put_with_patience(&mut session, number, &VALUE);
            cellar.fold(&db);
        }
        Store { db, session }
    }

    /// Whether the key was in memory.
    fn read(&mut self, number: usize) -> bool {
        let before = self.fetches();
        assert!(run(&mut self.session, |s| s.get(None, &key(number))).unwrap().is_some());
        self.fetches() == before
    }

    fn fetches(&self) -> u64 {
        self.db.shards().iter().map(|shard| shard.fetches).sum()
    }

    /// The part of the reads that find their key in memory, as soon as it has settled who is there.
    fn hit_rate(&mut self) -> f64 {
        let mut zipf = Zipf::new();
        (0..READS).for_each(|_| _ = self.read(zipf.draw()));
        let hits = (0..READS).filter(|_| self.read(zipf.draw())).count();
        hits as f64 / READS as f64
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.db.check().unwrap();
            let (bytes_max, bytes_used) = self.db.memory().unwrap();
            assert!(bytes_used <= bytes_max / 16 * 17, "{bytes_used} bytes of {bytes_max}");
        }
    }
}

#[test]
fn what_is_read_again_and_again_is_known_better_by_s3fifo() {
    for holds in [Holds::Keys, Holds::Values] {
        let [lru, s3fifo] = [Eviction::Lru, Eviction::S3Fifo]
            .map(|eviction| Store::new(holds, eviction).hit_rate());
        assert!(s3fifo > lru + 0.04, "{holds:?}: {s3fifo} of the reads, and {lru} under lru");
    }
}

#[test]
fn who_reads_all_keys_does_not_drive_out_those_that_others_use() {
    const HOT: usize = 100;
    let left = |holds, eviction| {
        let mut store = Store::new(holds, eviction);
        for _ in 0..8 {
            (0..HOT).for_each(|number| _ = store.read(number));
            // Others are read meanwhile: only then does anybody look who is used.
            (0..HOT).for_each(|number| _ = store.read(HOT + number * 7 % (KEYS - HOT)));
        }
        (HOT..KEYS).for_each(|number| _ = store.read(number));
        (0..HOT).filter(|&number| store.read(number)).count()
    };
    for holds in [Holds::Keys, Holds::Values] {
        let [lru, s3fifo] = [Eviction::Lru, Eviction::S3Fifo].map(|eviction| left(holds, eviction));
        assert!(s3fifo > HOT * 8 / 10, "{holds:?}: {s3fifo} of {HOT} are left");
        assert!(lru < HOT / 10, "{holds:?}: {lru} of {HOT} are left under lru");
    }
}

#[test]
fn a_store_whose_keys_are_all_warm_still_takes_others() {
    for eviction in [Eviction::Lru, Eviction::S3Fifo] {
        let mut builder = Database::builder();
        let db = builder.shards(1).memory_max(Some(200_000)).eviction(eviction).open();
        let mut session = db.session();
        (0..1_000).for_each(|number| put(&mut session, number, &VALUE).unwrap());
        for round in 1..20 {
            for _ in 0..4 {
                (0..40_000).for_each(|number| _ = session.get(None, &key(number)).unwrap());
            }
            for number in 0..50 {
                put(&mut session, round * 2_000 + number, &VALUE).unwrap();
            }
        }
        db.check().unwrap();
    }
}

#[test]
fn who_comes_and_is_forgotten_is_not_waited_for() {
    let mut builder = Database::builder();
    let db = builder.shards(1).memory_max(Some(1 << 30)).eviction(Eviction::S3Fifo).open();
    let mut session = db.session();
    for number in 0..20_000 {
        put(&mut session, number, &VALUE).unwrap();
        db.forget(&key(number), Version(1), db.revision(), false);
    }
    let (_, bytes_used) = db.memory().unwrap();
    assert!(bytes_used < 20_000, "{bytes_used} bytes for no key");
    db.check().unwrap();
}

#[test]
fn what_was_just_written_is_there() {
    for eviction in [Eviction::Lru, Eviction::S3Fifo] {
        let mut builder = Database::builder();
        // A shard has but one or two of these values.
        let value = vec![b'v'; 20_000];
        let db = builder.shards(32).memory_max(Some(1_200_000)).eviction(eviction).open();
        let mut session = db.session();
        for number in 0..2_000 {
            put_with_patience(&mut session, number, &value);
            let found = session.get(None, &key(number)).unwrap();
            assert!(found.is_some(), "{eviction:?}: key {number} is gone at once");
        }
        db.check().unwrap();
    }
}
