//! Opening a store with what was there before: from a snapshot, then from a log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::db::Database;
use crate::durability::{CommitLog, Datum, Stamp};
use crate::error::Error;
use crate::limits::SWEEP_PER_WRITE;
use crate::memory::{Memory, Way};
use crate::mvcc::views::{Horizon, Views};
use crate::options::Options;
use crate::store::record::Record;
use crate::store::shard::Retention;
use crate::store::shards::Shards;
use crate::types::{Revision, Version, show_key};

/// A store that is being filled, before anybody can read it. Several threads may fill it at once,
/// as long as the versions of each key come in order.
///
/// With a memory bound, what the fetcher has may be left out, and what was loaded may give way
/// again; so the store may be larger than memory from the beginning.
#[derive(Debug)]
pub struct Loader {
    options: Options,
    shards: Shards,
    memory: Memory,
    views: Views,
    /// The latest time of a commit of which something was loaded.
    committed_ms: AtomicU64,
}

impl Loader {
    pub(crate) fn new(options: Options) -> Loader {
        let memory =
            Memory::new(options.memory_bytes_max, options.eviction, options.fetcher.holds());
        let shards = Shards::new(options.shards, &memory);
        Loader { options, shards, memory, views: Views::new(), committed_ms: AtomicU64::new(0) }
    }

    /// Says that the fetcher has everything up to this revision. To be called before the first
    /// version is loaded.
    pub fn note_folded(&self, through: Revision) {
        self.memory.note_folded(through);
    }

    /// Says that counters were forgotten up to this revision. To be called before the store is
    /// opened.
    pub fn note_forgotten(&self, revision: Revision) {
        self.memory.note_forgotten(revision);
    }

    /// Adds a key's newest version of those that the fetcher has, and that are loaded first.
    ///
    /// # Errors
    ///
    /// As [`Loader::load`].
    pub fn load_folded(
        &self,
        key: &[u8],
        version: Version,
        stamp: Stamp,
        datum: Option<Datum<'_>>,
    ) -> Result<(), Error> {
        let is_full = self.memory.bytes_used() >= self.memory.bytes_max() / 16 * 15;
        if self.memory.way() != Way::Leave || !is_full {
            // Not looked for elsewhere: this is what would be found.
            return self.add(key, version, stamp, datum);
        }
        let hash = self.shards.placement.hash(key);
        let mut state = self.shards.write(self.shards.placement.shard(hash));
        let filter_bytes_max = self.memory.filter_bytes_max(self.shards.count());
        state.leave_out(hash, stamp.revision, datum.is_some(), filter_bytes_max);
        self.memory.note_left();
        self.note_committed(stamp);
        Ok(())
    }

    /// Adds a version. The first of a key may have any number; each further one has the next.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if a version is out of order: what was stored contradicts itself. It is
    /// not added then, and the store should not be opened.
    pub fn load(
        &self,
        key: &[u8],
        version: Version,
        stamp: Stamp,
        datum: Option<Datum<'_>>,
    ) -> Result<(), Error> {
        let hash = self.shards.placement.hash(key);
        let shard = self.shards.placement.shard(hash);
        let is_away = {
            let state = self.shards.read(shard);
            state.find(hash, key).is_none() && state.may_be_away(hash)
        };
        // Others may be loaded meanwhile, but not this key.
        if is_away && let Some(found) = self.options.fetcher.newest(key)? {
            let mut state = self.shards.write(shard);
            state.admit(hash, found.record(key), &self.shards.placement);
        }
        self.add(key, version, stamp, datum)
    }

    /// Deletes every key that was loaded and committed before `wipe`. To be called after the
    /// versions of the same commit were loaded.
    pub fn wipe(&self, wipe: Stamp) {
        self.note_committed(wipe);
        self.shards.wipe(wipe, &self.memory, &|| self.retention());
    }

    fn note_committed(&self, stamp: Stamp) {
        if stamp.time_ms > self.committed_ms.load(Ordering::Relaxed) {
            self.committed_ms.fetch_max(stamp.time_ms, Ordering::Relaxed);
        }
    }

    /// Adds a version of a key that is in memory, or not stored at all.
    fn add(
        &self,
        key: &[u8],
        version: Version,
        stamp: Stamp,
        datum: Option<Datum<'_>>,
    ) -> Result<(), Error> {
        self.note_committed(stamp);
        let record = Record::restored(key, version, stamp, datum);
        let hash = self.shards.placement.hash(key);
        let mut state = self.shards.write(self.shards.placement.shard(hash));
        let slot = state.find(hash, key);
        if let Some(newest) = slot.map(|slot| state.newest_in(slot)) {
            let (before, at) = (newest.version(), newest.revision());
            if version.0 != before.0 + 1 || stamp.revision <= at {
                let fault = format!(
                    "version {version} of {} at revision {} follows version {before} at {at}",
                    show_key(key),
                    stamp.revision
                );
                return Err(Error::Internal(fault));
            }
        }
        let slot = state.install(hash, slot, record, &self.shards.placement);
        state.trim(slot, self.retention());
        if self.memory.is_bounded() {
            let sweep = self.shards.sweep(&self.memory, self.retention());
            state.sweep(&sweep, SWEEP_PER_WRITE);
        }
        Ok(())
    }

    fn retention(&self) -> Retention<'_> {
        Retention {
            versions: self.options.history_versions,
            horizon: Horizon::passed(),
            views: &self.views,
        }
    }

    /// Opens a store of which nobody else has anything.
    pub(crate) fn open_alone(mut self, last: Stamp) -> Database {
        self.memory.stand_alone();
        self.open(last, None)
    }

    /// Opens the store. Its next commit follows `last`, and goes to the log, if there is one. The
    /// time of `last` may be later than that commit's own: the latest by which it was judged what
    /// has expired. The commit's own is that of its versions.
    pub fn open(self, last: Stamp, log: Option<Arc<dyn CommitLog>>) -> Database {
        let committed_ms = self.committed_ms.into_inner().min(last.time_ms);
        Database::assembled(self.options, self.shards, self.memory, last, committed_ms, log)
    }
}
