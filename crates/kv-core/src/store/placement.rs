//! From key to shard: consistent hashing, so that another number of shards moves few keys.
//!
//! A key is hashed once; 14 bits of the hash name one of 16,384 partitions, and a table gives the
//! partition's shard. The table is made by jump consistent hashing (Lamping and Veach, "A Fast,
//! Minimal Memory, Consistent Hash Algorithm", 2014): going from n to n + 1 shards moves 1/(n + 1)
//! of the partitions, all of them to the new shard. The table costs a load where the algorithm
//! itself would cost a loop of divisions for every key.
//!
//! The hash is seeded at random for each store, so that nobody can choose keys that collide.

use std::hash::{BuildHasher, Hasher};

use crate::limits::PARTITIONS;
use crate::types::ShardIndex;

/// Hashes keys and says which shard owns them.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    hasher: foldhash::quality::RandomState,
    shard_of_partition: Box<[u16]>,
}

impl Placement {
    pub(crate) fn new(shards: usize) -> Placement {
        Placement {
            hasher: foldhash::quality::RandomState::default(),
            shard_of_partition: partition_table(shards),
        }
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// The shard of a key with this hash. Uses bits that the hash table inside the shard uses
    /// last: it takes its tag from the top and its position from the bottom.
    pub(crate) fn shard(&self, hash: u64) -> ShardIndex {
        let partition = (hash >> 40) as usize % PARTITIONS;
        ShardIndex(usize::from(self.shard_of_partition[partition]))
    }
}

fn partition_table(shards: usize) -> Box<[u16]> {
    let owner = |partition: usize| jump_hash(scatter(partition as u64), shards as u64) as u16;
    (0..PARTITIONS).map(owner).collect()
}

/// The finalizer of SplitMix64: turns a small number into evenly spread bits.
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn jump_hash(mut key: u64, buckets: u64) -> u64 {
    let (mut bucket, mut next) = (0, 0);
    while next < buckets {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let jump = (1u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * jump) as u64;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of keys that change shard when the number of shards does.
    fn moved(from: usize, to: usize) -> f64 {
        const KEYS: u32 = 50_000;
        let before = Placement::new(from);
        let after = Placement { shard_of_partition: partition_table(to), ..before.clone() };
        let moved = (0..KEYS)
            .map(|key| before.hash(&key.to_be_bytes()))
            .filter(|&hash| before.shard(hash) != after.shard(hash))
            .inspect(|&hash| assert!(after.shard(hash).0 >= from, "keys move to new shards only"))
            .count();
        moved as f64 / f64::from(KEYS)
    }

    #[test]
    fn another_shard_moves_about_one_key_in_n() {
        for shards in [1, 2, 4, 16, 63] {
            let share = moved(shards, shards + 1);
            let ideal = 1.0 / (shards + 1) as f64;
            assert!(
                (0.8 * ideal..1.2 * ideal).contains(&share),
                "{shards} shards and one more moved {share:.4} of the keys, ideal is {ideal:.4}"
            );
        }
    }

    #[test]
    fn shards_own_equal_shares() {
        for shards in [2, 16, 64] {
            let mut partitions = vec![0; shards];
            partition_table(shards).iter().for_each(|&shard| partitions[usize::from(shard)] += 1);
            let ideal = PARTITIONS / shards;
            for count in partitions {
                assert!((ideal * 7 / 10..ideal * 13 / 10).contains(&count), "{count} of {ideal}");
            }
        }
    }
}
