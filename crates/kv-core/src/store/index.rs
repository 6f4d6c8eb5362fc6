//! The hash index of one shard: from a key's hash to its slot number, four bytes and a tag a key.
//!
//! A hash table doubles when it is full: for a moment it needs three times its room, and the shard
//! stands still while every entry is moved; and since all shards grow alike, all do it at the same
//! time. So a shard has [`TABLES`] tables of its own, each of which doubles by itself, and their
//! shares of the keys differ, in sixteen steps from one to almost two, so that at any size some
//! have just doubled and others are nearly full.

use hashbrown::HashTable;

use super::order::KeyOf;
use super::placement::Placement;

const TABLES: usize = 16;
const SHARES: usize = 256;

/// The table of each share of the hashes. Table `i` has `2^(i / 16)` times what table 0 has.
const TABLE_OF_SHARE: [u8; SHARES] = {
    // The shares of tables 0 to 15: 256 × 2^(i / 16) / Σ 2^(j / 16), rounded, 256 in all.
    const COUNTS: [usize; TABLES] =
        [11, 12, 12, 13, 13, 14, 14, 15, 16, 17, 17, 18, 19, 20, 22, 23];
    let mut tables = [0; SHARES];
    let (mut table, mut share) = (0, 0);
    while table < TABLES {
        let mut left = COUNTS[table];
        while left > 0 {
            tables[share] = table as u8;
            share += 1;
            left -= 1;
        }
        table += 1;
    }
    assert!(share == SHARES);
    tables
};

#[derive(Debug, Default)]
pub(crate) struct HashIndex {
    tables: [HashTable<u32>; TABLES],
}

impl HashIndex {
    /// The slot of a key.
    pub(crate) fn find(&self, hash: u64, key: &[u8], keys: &impl KeyOf) -> Option<u32> {
        self.tables[table_of(hash)].find(hash, |&slot| keys.key_of(slot) == key).copied()
    }

    /// A slot whose key has, as far as the index itself knows, this hash.
    pub(crate) fn find_by_hash(&self, hash: u64) -> Option<u32> {
        self.tables[table_of(hash)].find(hash, |_| true).copied()
    }

    /// Adds a slot whose key is not in the index.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        slot: u32,
        keys: &impl KeyOf,
        placement: &Placement,
    ) {
        let rehash = |&slot: &u32| placement.hash(keys.key_of(slot));
        self.tables[table_of(hash)].insert_unique(hash, slot, rehash);
    }

    /// Takes a slot out whose key has this hash.
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        match self.tables[table_of(hash)].find_entry(hash, |&held| held == slot) {
            Ok(entry) => _ = entry.remove(),
            Err(_) => debug_assert!(false, "a slot is in the index"),
        }
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.tables.iter().map(HashTable::allocation_size).sum()
    }

    /// How many slots it has.
    pub(crate) fn len(&self) -> usize {
        self.tables.iter().map(HashTable::len).sum()
    }
}

/// Uses bits that neither the choice of the shard nor the table's own tag and position use.
fn table_of(hash: u64) -> usize {
    usize::from(TABLE_OF_SHARE[(hash >> 32) as usize % SHARES])
}
