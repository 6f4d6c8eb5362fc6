//! Keeps the process within `--max-memory`, and has what expired give its memory back.
//!
//! The store knows what its records and indexes take, and has keys give way by itself. It does not
//! know what everything else takes: connections, SQLite's caches, a fold, write sets, what the
//! allocator holds and has no use for. So a thread compares, ten times a second, what the process
//! takes with what the store counts, and gives the store what the rest leaves.
//!
//! ```text
//!   --max-memory   |<------------------------------------------------>|
//!   process        |  the rest  |  store: what it counts     |  spare |
//!   store's bound               |<--------------------------------->|
//! ```
//!
//! The rest is taken to be what it was at most in the last while, so that a fold that comes every
//! few seconds does not make keys give way each time; and never less than what it will be once
//! there is something to do, since a store that has to shrink leaves holes everywhere, which the
//! allocator cannot give back.

use std::sync::Weak;
use std::thread;

use kv_core::Database;

use crate::limits::{
    HUGE_PAGES_FROM, LOOKS_PER_END_OF_EXPIRED, MEMORY_LOOKED_AT_EVERY, MEMORY_SHARE_SPARE,
    REST_BYTES, REST_SHARE, STORE_SHARE_MIN,
};
use crate::server::Server;

/// To be called before memory is taken. Huge pages make a large store faster, and a small one
/// larger: some are taken for every thread, however little is in them.
pub(crate) fn prepare(bytes_max: u64) {
    if bytes_max < HUGE_PAGES_FROM {
        // Where they cannot be switched off, there are none, or they do no more harm than before.
        #[cfg(target_os = "linux")]
        let _ = rustix::thread::disable_transparent_huge_pages(true);
    }
}

/// What the store may take before it is known what the rest does.
pub(crate) fn store_bytes_at_start(bytes_max: u64) -> usize {
    let store = Keeper { bytes_max, rest: 0 }.store_bytes(0, 0);
    usize::try_from(store).unwrap_or(usize::MAX)
}

/// Watches over a server as long as there is one.
///
/// # Errors
///
/// If the system gives no thread.
pub(crate) fn watch(server: Weak<Server>) -> std::io::Result<()> {
    let mut keeper = Keeper { bytes_max: 0, rest: 0 };
    let mut looks: u32 = 0;
    let watch = move || {
        while let Some(server) = server.upgrade() {
            if let Some(bytes_max) = server.memory_bytes_max() {
                keeper.bytes_max = bytes_max;
                keeper.look(server.database());
            }
            if looks.is_multiple_of(LOOKS_PER_END_OF_EXPIRED) {
                server.database().end_expired();
            }
            looks = looks.wrapping_add(1);
            drop(server);
            thread::sleep(MEMORY_LOOKED_AT_EVERY);
        }
    };
    thread::Builder::new().name("kv-memory".into()).spawn(watch).map(|_| ())
}

/// What was found so far.
#[derive(Debug)]
struct Keeper {
    bytes_max: u64,
    /// What the process takes beside the store, in bytes.
    rest: u64,
}

impl Keeper {
    fn look(&mut self, database: &Database) {
        let Some((_, used)) = database.memory() else { return };
        if let Some(resident) = resident_bytes() {
            let store = self.store_bytes(resident, used as u64);
            database.set_memory_max(usize::try_from(store).unwrap_or(usize::MAX));
        }
        database.sweep();
    }

    /// What the store may take, when the process takes so much and the store so much of that.
    fn store_bytes(&mut self, resident: u64, used: u64) -> u64 {
        // A fiftieth less each time: half of it in three seconds and a half.
        let before = self.rest - self.rest / 50;
        let expected = REST_BYTES + self.bytes_max / REST_SHARE;
        self.rest = resident.saturating_sub(used).max(before).max(expected);
        let spare = self.bytes_max / MEMORY_SHARE_SPARE;
        let left = self.bytes_max.saturating_sub(self.rest + spare);
        // However much the rest takes: a store without any memory could not work at all.
        left.max(self.bytes_max / STORE_SHARE_MIN)
    }
}

/// What the process has in memory, in bytes, where Linux shows it.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_store_gets_what_the_rest_leaves() {
        let mut keeper = Keeper { bytes_max: 320 * MIB, rest: 0 };
        assert_eq!(keeper.store_bytes(100 * MIB, 40 * MIB), (320 - 60 - 10) * MIB);
        // What the rest took is held against it for a while, but not for ever.
        assert!(keeper.store_bytes(50 * MIB, 40 * MIB) < 253 * MIB);
        (0..1000).for_each(|_| _ = keeper.store_bytes(50 * MIB, 40 * MIB));
        // Once there is something to do, it will be more than nothing.
        assert_eq!(keeper.store_bytes(50 * MIB, 40 * MIB), (320 - 44 - 10) * MIB);
    }

    #[test]
    fn the_store_gets_something_however_much_the_rest_takes() {
        let mut keeper = Keeper { bytes_max: 320 * MIB, rest: 0 };
        assert_eq!(keeper.store_bytes(1000 * MIB, 40 * MIB), 40 * MIB);
    }

    #[test]
    fn a_start_leaves_room_for_the_rest() {
        assert_eq!(store_bytes_at_start(1024 * MIB) as u64, (1024 - 24 - 64 - 32) * MIB);
        assert_eq!(store_bytes_at_start(32 * MIB) as u64, 5 * MIB);
    }

    #[test]
    fn the_process_takes_some_memory() {
        if cfg!(target_os = "linux") {
            assert!(resident_bytes().is_some_and(|bytes| bytes > 100 << 10));
        }
    }
}
