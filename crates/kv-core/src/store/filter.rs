//! Which keys may be stored although they are not in memory: a filter that is sometimes wrong in
//! one direction.
//!
//! A Bloom filter (Bloom 1970) in blocks of a cache line (Putze, Sanders and Singler, "Cache-,
//! Hash- and Space-Efficient Bloom Filters", 2007): a key has [`BITS_SET`] bits in one block. What
//! was added is always found; of what was not, about one in a hundred is found too, as long as no
//! more keys were added than there was room for.
//!
//! How many keys will come is not known, and a filter cannot grow: so it has *layers*, each with
//! four times the room of the one before. Once all of them together take as much as they may, the
//! last one takes whatever comes, and is wrong more and more often: then the disk is asked in vain,
//! and nothing worse happens.

/// Words of a block, 64 bytes.
const BLOCK_WORDS: usize = 8;
const BLOCK_BITS: usize = BLOCK_WORDS * 64;
/// Bits that a key sets in its block.
const BITS_SET: u32 = 6;
/// Bits that a layer has for each key: one false answer in about a hundred.
const BITS_PER_KEY: usize = 11;
/// Blocks of the first layer: 4 KiB, for some 3,000 keys.
const BLOCKS_FIRST: usize = 64;
const GROWTH: usize = 4;

type Block = [u64; BLOCK_WORDS];

/// The filter of one shard.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    blocks: Box<[Block]>,
    /// Keys that it still has room for.
    room: usize,
}

impl Layer {
    fn new(blocks: usize) -> Layer {
        let room = blocks * BLOCK_BITS / BITS_PER_KEY;
        Layer { blocks: vec![[0; BLOCK_WORDS]; blocks].into(), room }
    }

    /// The block of a hash, and the bits that it has there.
    fn bits(&self, hash: u64) -> (usize, Block) {
        // The upper half of the product names the block, whatever their number.
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let block = ((u128::from(mixed) * self.blocks.len() as u128) >> 64) as usize;
        // Nine bits of another mixture for each of the bits.
        let mut rest = (hash ^ (hash >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut bits = [0; BLOCK_WORDS];
        for _ in 0..BITS_SET {
            let bit = (rest >> 55) as usize;
            bits[bit / 64] |= 1 << (bit % 64);
            rest <<= 9;
        }
        (block, bits)
    }

    fn contains(&self, hash: u64) -> bool {
        let (block, bits) = self.bits(hash);
        self.blocks[block].iter().zip(bits).all(|(word, bits)| word & bits == bits)
    }

    fn add(&mut self, hash: u64) {
        let (block, bits) = self.bits(hash);
        self.blocks[block].iter_mut().zip(bits).for_each(|(word, bits)| *word |= bits);
        self.room = self.room.saturating_sub(1);
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }
}

impl Filter {
    /// Whether a key with this hash was added; perhaps also if it was not.
    #[inline]
    pub(crate) fn contains(&self, hash: u64) -> bool {
        !self.layers.is_empty() && self.layers.iter().rev().any(|layer| layer.contains(hash))
    }

    /// Adds a key, unless it is there. The filter does not grow beyond `bytes_max`, or its first
    /// layer.
    pub(crate) fn add(&mut self, hash: u64, bytes_max: usize) {
        if self.contains(hash) {
            return;
        }
        if self.layers.last().is_none_or(|layer| layer.room == 0) {
            self.grow(bytes_max);
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.add(hash);
        }
    }

    fn grow(&mut self, bytes_max: usize) {
        let next = self.layers.last().map_or(BLOCKS_FIRST, |layer| layer.blocks.len() * GROWTH);
        let left = bytes_max.saturating_sub(self.memory_bytes()) / size_of::<Block>();
        let blocks = next.min(left);
        // A layer that is not larger than the last one is not worth another look.
        if self.layers.is_empty() || blocks > next / GROWTH {
            self.layers.push(Layer::new(blocks.max(BLOCKS_FIRST)));
        }
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.layers.iter().map(Layer::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The share of keys that were not added and are found.
    fn wrong(filter: &Filter, added: u64) -> f64 {
        const TRIED: u64 = 50_000;
        let found = (added..added + TRIED).filter(|&number| filter.contains(hash(number))).count();
        found as f64 / TRIED as f64
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        for keys in [1, 1_000, 3_000, 20_000, 300_000] {
            let mut filter = Filter::default();
            (0..keys).for_each(|number| filter.add(hash(number), usize::MAX));
            assert!((0..keys).all(|number| filter.contains(hash(number))));
            let wrong = wrong(&filter, keys);
            assert!(wrong < 0.06, "{wrong} of what was not added to {keys} keys is found");
        }
    }

    #[test]
    fn an_empty_one_has_nothing_and_takes_nothing() {
        let filter = Filter::default();
        assert!(!filter.contains(7));
        assert_eq!(filter.memory_bytes(), 0);
    }

    #[test]
    fn it_keeps_to_its_bound_and_finds_what_was_added_nevertheless() {
        let (mut filter, bytes_max) = (Filter::default(), 64 << 10);
        (0..400_000).for_each(|number| filter.add(hash(number), bytes_max));
        assert!(filter.memory_bytes() <= bytes_max);
        assert!((0..400_000).all(|number| filter.contains(hash(number))));
        (0..400_000).for_each(|number| filter.add(hash(number), bytes_max));
        let wrong = wrong(&filter, 400_000);
        assert!(wrong > 0.5, "it says {wrong}, yet had room for a seventh of the keys");
    }
}
