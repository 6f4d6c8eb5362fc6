//! Which keys gave way lately, soon after they came: their fingerprints, and nothing else.
//!
//! The fingerprint's share of all numbers names one of many small queues, so that a new one takes
//! the place of one of the oldest, about: together they remember as many keys as they have room
//! for, without a list of what came when. A key that was never here is seldom
//! taken for a ghost, and nothing worse happens then than that it stays longer.

/// Fingerprints of a queue: a quarter of a cache line, newest first; 0 is none.
const QUEUE: usize = 4;

/// The ghosts of one shard.
#[derive(Debug, Default)]
pub(crate) struct Ghosts {
    queues: Vec<[u32; QUEUE]>,
}

impl Ghosts {
    /// Adds a key, with room for about so many.
    pub(crate) fn add(&mut self, hash: u64, room: usize) {
        if self.queues.is_empty() {
            self.queues = vec![[0; QUEUE]; room.div_ceil(QUEUE).max(1)];
        } else if self.queues.len() * QUEUE < room {
            self.double();
        }
        let fingerprint = fingerprint(hash);
        let queue = self.queue(fingerprint);
        self.queues[queue].rotate_right(1);
        self.queues[queue][0] = fingerprint;
    }

    /// Whether a key is among them. It is not, afterwards.
    pub(crate) fn take(&mut self, hash: u64) -> bool {
        if self.queues.is_empty() {
            return false;
        }
        let fingerprint = fingerprint(hash);
        let queue = self.queue(fingerprint);
        let queue = &mut self.queues[queue];
        let Some(at) = queue.iter().position(|&held| held == fingerprint) else { return false };
        queue[at..].rotate_left(1);
        queue[QUEUE - 1] = 0;
        true
    }

    fn queue(&self, fingerprint: u32) -> usize {
        ((u64::from(fingerprint) * self.queues.len() as u64) >> 32) as usize
    }

    /// Makes two queues of each: with twice as many, a fingerprint names one of those two.
    fn double(&mut self) {
        let before = std::mem::take(&mut self.queues);
        self.queues = vec![[0; QUEUE]; 2 * before.len()];
        for fingerprint in before.iter().flatten().copied().filter(|&held| held != 0) {
            let queue = self.queue(fingerprint);
            let free = self.queues[queue].iter_mut().find(|held| **held == 0);
            free.into_iter().for_each(|held| *held = fingerprint);
        }
    }

    /// Bytes of memory that they take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.queues.capacity() * size_of::<[u32; QUEUE]>()
    }
}

fn fingerprint(hash: u64) -> u32 {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 27)
    }

    #[test]
    fn a_ghost_is_taken_once() {
        let mut ghosts = Ghosts::default();
        assert!(!ghosts.take(hash(1)));
        ghosts.add(hash(1), 100);
        assert!(!ghosts.take(hash(2)));
        assert!(ghosts.take(hash(1)) && !ghosts.take(hash(1)));
    }

    #[test]
    fn about_as_many_are_remembered_as_there_is_room_for() {
        const ROOM: u64 = 1000;
        let mut ghosts = Ghosts::default();
        (0..10 * ROOM).for_each(|number| ghosts.add(hash(number), ROOM as usize));
        let mut found = |numbers: std::ops::Range<u64>| {
            numbers.filter(|&number| ghosts.take(hash(number))).count()
        };
        let (late, early) = (found(9 * ROOM + ROOM / 2..10 * ROOM), found(0..8 * ROOM));
        assert!(late > 450, "of the last 500, {late} are remembered");
        assert!(early < 200, "of 8000 long ago, {early} are remembered");
    }

    #[test]
    fn they_are_remembered_when_there_is_room_for_more() {
        let mut ghosts = Ghosts::default();
        (0..16).for_each(|number| ghosts.add(hash(number), 32));
        let before = ghosts.memory_bytes();
        let known: Vec<u64> = (0..16).filter(|&number| ghosts.take(hash(number))).collect();
        known.iter().for_each(|&number| ghosts.add(hash(number), 32));
        ghosts.add(hash(99), 33);
        assert_eq!(ghosts.memory_bytes(), 2 * before);
        assert!(known.iter().all(|&number| ghosts.take(hash(number))));
        assert!(ghosts.take(hash(99)));
    }
}
