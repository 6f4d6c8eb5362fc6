//! Where the random tests get their numbers from, and how a run is repeated: `KV_SEED` is the first
//! seed and `KV_KILLS` how often the server is killed. When the kill comes is not repeated.

/// Numbers that look random and are the same in every run.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    /// Those of one client, or for one purpose.
    pub(crate) fn new(seed: u64, purpose: usize) -> Numbers {
        let mut numbers = Numbers(seed.wrapping_mul(1_000_003).wrapping_add(purpose as u64));
        numbers.below(1);
        numbers
    }

    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % bound
    }
}

/// A number from the environment.
pub(crate) fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
