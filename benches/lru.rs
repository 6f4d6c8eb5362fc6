//! Exactly the least recently used: what a cache that only comes near it is compared with.

use std::collections::{BTreeMap, HashMap};

/// The keys that a cache of some room would have.
#[derive(Debug)]
pub struct Lru {
    room: usize,
    now: u64,
    used: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
}

impl Lru {
    /// With room for so many keys.
    pub fn new(room: usize) -> Lru {
        Lru { room, now: 0, used: HashMap::new(), order: BTreeMap::new() }
    }

    /// Has room for so many keys from the next read on.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Whether the key was there. It is there afterwards.
    pub fn read(&mut self, key: u64) -> bool {
        self.now += 1;
        let before = self.used.insert(key, self.now);
        if let Some(before) = before {
            self.order.remove(&before);
        }
        self.order.insert(self.now, key);
        while self.order.len() > self.room
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.used.remove(&oldest);
        }
        before.is_some()
    }
}
