//! The ordered index of one shard: its keys in order, four bytes a key.
//!
//! A B+tree of two levels. A leaf is a sorted run of at most [`LEAF_SLOTS_MAX`] slot numbers; the
//! upper level is the standard library's B-tree from each leaf's lower bound to the leaf. The
//! keys themselves stay in the records, so a search inside a leaf looks them up through the
//! slots, which is why every function takes them. Only creating a key touches this index; an
//! update or a delete of a known key does not.
//!
//! Invariants: the first leaf's bound is the empty key; a leaf's keys are at least its bound and
//! below the next leaf's; no leaf is empty.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Slots a leaf holds before it is split: two hops over it cost less than a deeper tree.
const LEAF_SLOTS_MAX: usize = 128;

/// Gives the key of a slot.
pub(crate) trait KeyOf {
    fn key_of(&self, slot: u32) -> &[u8];
}

#[derive(Debug, Default)]
pub(crate) struct OrderedIndex {
    leaves: BTreeMap<Box<[u8]>, Vec<u32>>,
}

impl OrderedIndex {
    /// Adds a slot whose key is not in the index.
    pub(crate) fn insert(&mut self, slot: u32, keys: &impl KeyOf) {
        let key = keys.key_of(slot);
        if self.leaves.is_empty() {
            self.leaves.insert(Box::default(), Vec::new());
        }
        let mut below = self.leaves.range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        let Some((_, leaf)) = below.next_back() else {
            unreachable!("the first leaf's bound is the empty key, below every other");
        };
        let at = leaf.partition_point(|&other| keys.key_of(other) < key);
        leaf.insert(at, slot);
        if leaf.len() > LEAF_SLOTS_MAX {
            // Keys that arrive in order fill their leaves: only the newest one is moved on.
            let appended = at + 1 == leaf.len();
            let split_at = if appended { at } else { leaf.len() / 2 };
            let upper = leaf.split_off(split_at);
            let bound = keys.key_of(upper[0]).into();
            self.leaves.insert(bound, upper);
        }
    }

    /// The slots whose keys are at least `from`, in key order.
    pub(crate) fn range_from<'a>(
        &'a self,
        from: &'a [u8],
        keys: &'a impl KeyOf,
    ) -> impl Iterator<Item = u32> + 'a {
        let first = self
            .leaves
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(from)))
            .next_back()
            .map(|(_, leaf)| &leaf[leaf.partition_point(|&slot| keys.key_of(slot) < from)..]);
        let rest = self.leaves.range::<[u8], _>((Bound::Excluded(from), Bound::Unbounded));
        let first = first.into_iter().flatten();
        first.chain(rest.flat_map(|(_, leaf)| leaf)).copied()
    }

    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self, keys: &impl KeyOf) -> Option<String> {
        let mut previous: Option<&[u8]> = None;
        for (bound, leaf) in &self.leaves {
            if leaf.is_empty() {
                return Some("an empty leaf in the ordered index".into());
            }
            for &slot in leaf {
                let key = keys.key_of(slot);
                if key < bound || previous.is_some_and(|previous| previous >= key) {
                    return Some(format!("the ordered index has {key:?} out of order"));
                }
                previous = Some(key);
            }
        }
        None
    }

    /// How many slots it has.
    pub(crate) fn len(&self) -> usize {
        self.leaves.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl KeyOf for Vec<Vec<u8>> {
        fn key_of(&self, slot: u32) -> &[u8] {
            &self[slot as usize]
        }
    }

    /// Inserts two-byte keys into the index and into a `BTreeSet`.
    fn agrees_with_a_set(inserts: &[u16]) {
        let keys: Vec<Vec<u8>> = (0..=u16::MAX).map(|n| n.to_be_bytes().to_vec()).collect();
        let (mut index, mut model) = (OrderedIndex::default(), BTreeSet::new());
        for slot in inserts.iter().copied().map(u32::from) {
            if model.insert(slot) {
                index.insert(slot, &keys);
            }
        }
        assert_eq!(index.fault(&keys), None);
        assert_eq!(index.len(), model.len());
        for from in [0, 1, 77, 300, 40_000, u32::from(u16::MAX)] {
            let found: Vec<u32> = index.range_from(keys.key_of(from), &keys).collect();
            assert_eq!(found, model.range(from..).copied().collect::<Vec<_>>());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn it_is_a_sorted_set(inserts in prop::collection::vec(0u16..900, 0..2000)) {
            agrees_with_a_set(&inserts);
        }
    }

    #[test]
    fn keys_in_order_fill_their_leaves() {
        let keys: Vec<Vec<u8>> = (0..2560u32).map(|n| n.to_be_bytes().to_vec()).collect();
        let mut index = OrderedIndex::default();
        (0..2560).for_each(|slot| index.insert(slot, &keys));
        assert_eq!(index.leaves.len(), 2560 / LEAF_SLOTS_MAX);
    }
}
