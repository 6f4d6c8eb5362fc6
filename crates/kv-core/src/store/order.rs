//! The ordered index of one shard: its keys in order, eight bytes a key.
//!
//! A B+tree of two levels. A leaf is a sorted run of at most [`LEAF_ENTRIES_MAX`] entries; the
//! upper level is the standard library's B-tree from each leaf's lower bound to the leaf. The
//! keys themselves stay in the records, which is why every function takes a way to look them up.
//! An entry is a slot number and the key's next four bytes after those that all keys between the
//! leaf's bounds share: so a search compares numbers that lie side by side, and looks at a record
//! only where these are equal. Only creating a key and forgetting it touch this index; an update
//! or a delete of a known key does not.
//!
//! Invariants: the first leaf's bound is the empty key; a leaf's keys are at least its bound and
//! below the next leaf's; no leaf is empty; there is none if there are no keys.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Entries a leaf holds before it is split: two hops over it cost less than a deeper tree.
const LEAF_ENTRIES_MAX: usize = 128;
/// Entries below which a leaf is put together with a neighbour, if both do not fill it.
const LEAF_ENTRIES_MIN: usize = 32;
/// Entries that two leaves may have together to become one: room is left for others.
const LEAF_ENTRIES_MERGED: usize = 96;
/// What a leaf takes beside its entries, about, in bytes: its bound, and its share of the tree.
const LEAF_OVERHEAD_BYTES: usize = 96;

/// Gives the key of a slot.
pub(crate) trait KeyOf {
    fn key_of(&self, slot: u32) -> &[u8];
}

#[derive(Debug, Default)]
pub(crate) struct OrderedIndex {
    leaves: BTreeMap<Box<[u8]>, Leaf>,
}

#[derive(Debug, Default)]
struct Leaf {
    /// How many bytes all keys between the leaf's bounds share; entries begin after them.
    shared: usize,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Four bytes of the key, zeros where it has ended, so that they compare as the key does.
    head: u32,
    slot: u32,
}

impl Leaf {
    /// A leaf of these entries, whose heads are made for its bounds. Leaves have one size, so that
    /// what grows or splits leaves no room of another size behind.
    fn new(lower: &[u8], upper: Option<&[u8]>, mut entries: Vec<Entry>, keys: &impl KeyOf) -> Leaf {
        entries.reserve_exact(LEAF_ENTRIES_MAX - entries.len());
        let shared = upper.map_or(0, |upper| {
            lower.iter().zip(upper).take_while(|(one, other)| one == other).count()
        });
        entries.iter_mut().for_each(|entry| entry.head = head(keys.key_of(entry.slot), shared));
        Leaf { shared, entries }
    }

    /// Where the first key that is not below `key` stands. `key` is at least the leaf's bound;
    /// above the leaf's keys it may be anything.
    fn position(&self, key: &[u8], keys: &impl KeyOf) -> usize {
        let wanted = head(key, self.shared);
        self.entries.partition_point(|entry| {
            entry.head < wanted || entry.head == wanted && keys.key_of(entry.slot) < key
        })
    }
}

/// The four bytes of a key after the first `shared`.
fn head(key: &[u8], shared: usize) -> u32 {
    let rest = key.get(shared..).unwrap_or_default();
    let mut bytes = [0; 4];
    let len = rest.len().min(bytes.len());
    bytes[..len].copy_from_slice(&rest[..len]);
    u32::from_be_bytes(bytes)
}

impl OrderedIndex {
    /// Adds a slot whose key is not in the index.
    pub(crate) fn insert(&mut self, slot: u32, keys: &impl KeyOf) {
        let key = keys.key_of(slot);
        if self.leaves.is_empty() {
            self.leaves.insert(Box::default(), Leaf::default());
        }
        let mut below = self.leaves.range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        let Some((lower, leaf)) = below.next_back() else {
            unreachable!("the first leaf's bound is the empty key, below every other");
        };
        let at = leaf.position(key, keys);
        if leaf.entries.len() < LEAF_ENTRIES_MAX {
            leaf.entries.insert(at, Entry { head: head(key, leaf.shared), slot });
            return;
        }
        // Keys that arrive in order fill their leaves: only the new one begins another.
        let is_appended = at == leaf.entries.len();
        let lower = lower.clone();
        if is_appended {
            self.split_off(&lower, key, vec![Entry { head: 0, slot }], keys);
        } else {
            let upper_half = leaf.entries.split_off(LEAF_ENTRIES_MAX / 2);
            let middle = keys.key_of(upper_half[0].slot);
            self.split_off(&lower, middle, upper_half, keys);
            self.insert(slot, keys);
        }
    }

    /// Begins another leaf at `middle`, behind the one at `lower`, which has given up its entries.
    fn split_off(&mut self, lower: &[u8], middle: &[u8], upper: Vec<Entry>, keys: &impl KeyOf) {
        let after = (Bound::Excluded(lower), Bound::Unbounded);
        let end = self.leaves.range::<[u8], _>(after).next().map(|(bound, _)| &**bound);
        let upper = Leaf::new(middle, end, upper, keys);
        if let Some(leaf) = self.leaves.get_mut(lower) {
            let entries = std::mem::take(&mut leaf.entries);
            *leaf = Leaf::new(lower, Some(middle), entries, keys);
        }
        self.leaves.insert(middle.into(), upper);
    }

    /// Takes a slot out.
    pub(crate) fn remove(&mut self, slot: u32, keys: &impl KeyOf) {
        let key = keys.key_of(slot);
        let up_to = (Bound::Unbounded, Bound::Included(key));
        let Some((lower, leaf)) = self.leaves.range_mut::<[u8], _>(up_to).next_back() else {
            debug_assert!(false, "a slot is in the index");
            return;
        };
        let at = leaf.position(key, keys);
        debug_assert!(leaf.entries.get(at).is_some_and(|entry| entry.slot == slot));
        leaf.entries.remove(at);
        if leaf.entries.len() < LEAF_ENTRIES_MIN {
            let lower = lower.clone();
            self.merge(&lower, keys);
        }
    }

    /// Puts the leaf at `lower` together with a neighbour if that has room. A leaf without entries
    /// does not stay.
    fn merge(&mut self, lower: &[u8], keys: &impl KeyOf) {
        let len = |leaf: &Leaf| leaf.entries.len();
        let own = self.leaves.get(lower).map_or(0, len);
        let fits = |other: usize| own == 0 || own + other <= LEAF_ENTRIES_MERGED;
        let before = (Bound::Unbounded, Bound::Excluded(lower));
        let previous = self.leaves.range::<[u8], _>(before).next_back();
        let after = (Bound::Excluded(lower), Bound::Unbounded);
        let next = self.leaves.range::<[u8], _>(after).next();
        let (lower, upper) = match (previous, next) {
            (_, Some((next, leaf))) if fits(len(leaf)) => (lower.into(), next.clone()),
            (Some((previous, leaf)), _) if fits(len(leaf)) => (previous.clone(), lower.into()),
            (None, None) if own == 0 => {
                self.leaves.clear();
                return;
            }
            _ => return,
        };
        let end = self.leaves.range::<[u8], _>((Bound::Excluded(&*upper), Bound::Unbounded));
        let end = end.map(|(bound, _)| bound.clone()).next();
        let taken = [&lower, &upper].map(|bound| self.leaves.remove(bound));
        let entries = taken.into_iter().flatten().flat_map(|leaf| leaf.entries).collect();
        let merged = Leaf::new(&lower, end.as_deref(), entries, keys);
        self.leaves.insert(lower, merged);
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.leaves.len() * (LEAF_ENTRIES_MAX * size_of::<Entry>() + LEAF_OVERHEAD_BYTES)
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
            .map(|(_, leaf)| &leaf.entries[leaf.position(from, keys)..]);
        let rest = self.leaves.range::<[u8], _>((Bound::Excluded(from), Bound::Unbounded));
        let first = first.into_iter().flatten();
        first.chain(rest.flat_map(|(_, leaf)| &leaf.entries)).map(|entry| entry.slot)
    }

    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self, keys: &impl KeyOf) -> Option<String> {
        let mut previous: Option<&[u8]> = None;
        for (bound, leaf) in &self.leaves {
            if leaf.entries.is_empty() {
                return Some("an empty leaf in the ordered index".into());
            }
            for entry in &leaf.entries {
                let key = keys.key_of(entry.slot);
                if entry.head != head(key, leaf.shared) {
                    return Some(format!("the ordered index has a wrong head for {key:?}"));
                }
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
        self.leaves.values().map(|leaf| leaf.entries.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl KeyOf for Vec<Vec<u8>> {
        fn key_of(&self, slot: u32) -> &[u8] {
            &self[slot as usize]
        }
    }

    /// Inserts keys into the index and into a `BTreeMap`.
    fn agrees_with_a_map(keys: &Vec<Vec<u8>>) {
        let (mut index, mut model) = (OrderedIndex::default(), BTreeMap::new());
        for (slot, key) in (0..).zip(keys) {
            model.entry(key.clone()).or_insert_with(|| {
                index.insert(slot, keys);
                slot
            });
        }
        assert_eq!(index.fault(keys), None);
        assert_eq!(index.len(), model.len());
        for from in keys.iter().step_by(97).map(Vec::as_slice).chain([&b""[..], b"b", b"\xff"]) {
            let found: Vec<u32> = index.range_from(from, keys).collect();
            let expected: Vec<u32> = model
                .range::<[u8], _>((Bound::Included(from), Bound::Unbounded))
                .map(|(_, &slot)| slot)
                .collect();
            assert_eq!(found, expected, "from {}", from.escape_ascii());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn it_is_a_sorted_set_of_short_keys(
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..4), 0..1500)
        ) {
            agrees_with_a_map(&keys);
        }

        // Long shared prefixes, zeros at the end and keys that are prefixes of others.
        #[test]
        fn it_is_a_sorted_set_of_similar_keys(
            keys in prop::collection::vec("(aaaaa|aaaab|b)(a|b|\\x00|\u{ff}){0,9}", 0..1500)
        ) {
            agrees_with_a_map(&keys.into_iter().map(String::into_bytes).collect());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_is_taken_out_is_gone_and_the_rest_stays(
            keys in prop::collection::btree_set("(aaaaa|aaaab|b)(a|b|\\x00|\u{ff}){0,9}", 0..1500),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..4000),
        ) {
            let keys: Vec<Vec<u8>> = keys.into_iter().map(String::into_bytes).collect();
            let (mut index, mut model) = (OrderedIndex::default(), BTreeMap::new());
            for pick in picks.iter().filter(|_| !keys.is_empty()) {
                let slot = pick.index(keys.len()) as u32;
                if model.remove(&keys[slot as usize]).is_some() {
                    index.remove(slot, &keys);
                } else {
                    index.insert(slot, &keys);
                    model.insert(keys[slot as usize].clone(), slot);
                }
            }
            prop_assert_eq!(index.fault(&keys), None);
            let found: Vec<u32> = index.range_from(b"", &keys).collect();
            prop_assert_eq!(found, model.values().copied().collect::<Vec<_>>());
            for slot in model.values() {
                index.remove(*slot, &keys);
            }
            prop_assert_eq!((index.len(), index.leaves.len()), (0, 0));
        }
    }

    #[test]
    fn leaves_that_are_left_nearly_empty_become_one() {
        let keys: Vec<Vec<u8>> = (0..12_800u32).map(|n| n.to_be_bytes().to_vec()).collect();
        let mut index = OrderedIndex::default();
        (0..12_800).for_each(|slot| index.insert(slot, &keys));
        (0..12_800).filter(|slot| slot % 16 != 0).for_each(|slot| index.remove(slot, &keys));
        assert_eq!((index.fault(&keys), index.len()), (None, 800));
        assert!(index.leaves.len() <= 800 / LEAF_ENTRIES_MIN, "{} leaves", index.leaves.len());
    }

    #[test]
    fn keys_in_order_fill_their_leaves() {
        let keys: Vec<Vec<u8>> = (0..2560u32).map(|n| n.to_be_bytes().to_vec()).collect();
        let mut index = OrderedIndex::default();
        (0..2560).for_each(|slot| index.insert(slot, &keys));
        assert_eq!(index.leaves.len(), 2560 / LEAF_ENTRIES_MAX);
    }
}
