//! The store's handle, and what all its sessions share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::clock::Clock;
use crate::durability::{CommitLog, Stamp};
use crate::error::{Error, LockInfo, LockTarget};
use crate::limits::{
    ENDING_CALLS_PER_ROUND, ENDING_PER_CALL_MIN, ENDING_PER_LATCH, KEYS_PER_LATCH_MAX,
    SWEEP_PER_WRITE,
};
use crate::lock::table::Holder;
use crate::lock::waits::Waits;
use crate::memory::Memory;
use crate::mvcc::order::CommitOrder;
use crate::mvcc::views::Views;
use crate::options::{Builder, Options};
use crate::step::{Fetch, Found, Holds, Page, Pause, Records, Wanted};
use crate::store::record::{Place, Record};
use crate::store::shard::Seen;
use crate::store::shard::check::ShardStats;
use crate::store::shard::expiry::Ending;
use crate::store::shard::sweep::Sweep;
use crate::store::shards::Shards;
use crate::txn::session::Session;
use crate::txn::work::{holder_of, shown};
use crate::types::{Revision, SessionId, ShardIndex, Version};
use crate::watermark::{Stuck, Watermark};

/// A transactional key-value store. Cheap to clone; all clones are the same store.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) shared: Arc<Shared>,
}

/// What the sessions of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) shards: Shards,
    pub(crate) memory: Memory,
    pub(crate) order: CommitOrder,
    pub(crate) log: Option<Arc<dyn CommitLog>>,
    pub(crate) views: Views,
    pub(crate) waits: Waits,
    pub(crate) sessions_begun: AtomicU64,
    pub(crate) trees_begun: AtomicU64,
    pub(crate) transactions_open: AtomicUsize,
}

/// What a store holds, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Keys that exist.
    pub keys: usize,
    /// Versions kept, older ones and deletes included.
    pub versions: usize,
    /// Bytes of all records, without the allocator's overhead.
    pub bytes: usize,
    /// The newest revision that reads see.
    pub revision: Revision,
    /// Open transactions, nested and aborted ones included.
    pub transactions_open: usize,
    /// Read views that are registered.
    pub views_open: usize,
    /// Requests that wait for a lock.
    pub lock_waits: usize,
    /// Sessions since the store was opened.
    pub sessions_begun: u64,
}

impl Database {
    /// Sets up a store.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A store of these shards, that goes on after the commit `last`.
    pub(crate) fn assembled(
        options: Options,
        shards: Shards,
        memory: Memory,
        last: Stamp,
        committed_ms: u64,
        log: Option<Arc<dyn CommitLog>>,
    ) -> Database {
        // Without a log nobody waits for a disk.
        let durable = log.as_ref().map_or_else(|| Watermark::new(u64::MAX), |log| log.durable());
        Database {
            shared: Arc::new(Shared {
                options,
                shards,
                memory,
                order: CommitOrder::after(last, committed_ms, durable),
                log,
                views: Views::new(),
                waits: Waits::default(),
                sessions_begun: AtomicU64::new(0),
                trees_begun: AtomicU64::new(0),
                transactions_open: AtomicUsize::new(0),
            }),
        }
    }

    pub(crate) fn from_shared(shared: Arc<Shared>) -> Database {
        Database { shared }
    }

    /// A new client.
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.shared))
    }

    /// Ends the wait that a session is in, if it is in one, from outside: its command fails with
    /// [`Error::LockTimeout`].
    pub fn end_wait(&self, session: SessionId) {
        self.shared.waits.expire(&self.shared.shards, session);
    }

    /// The newest revision that reads see.
    pub fn revision(&self) -> Revision {
        self.shared.order.readable()
    }

    /// The newest revision that is durable, with those that wait for it. Without a log, or if the
    /// log is not waited for, it stands above every revision.
    pub fn durable(&self) -> &Arc<Watermark> {
        self.shared.order.durable()
    }

    /// Whether everything up to `revision`, which a session [depends on](Session::depends_on), can
    /// no longer be taken back: it is durable and visible.
    pub fn is_settled(&self, revision: Revision) -> bool {
        let is_durable = self.durable().get() >= revision.0;
        if is_durable {
            // What is durable is being installed: that takes no longer than a latch is held.
            self.shared.order.wait_visible(revision);
        }
        is_durable
    }

    /// Blocks until everything up to `revision` can no longer be taken back.
    ///
    /// # Errors
    ///
    /// [`Error::Outcome`]: the log failed first; whether it survives is not known.
    pub fn settle(&self, revision: Revision) -> Result<(), Error> {
        let durable = self.durable().reached(revision.0);
        durable.block().map_err(|Stuck| Error::Outcome)?;
        self.shared.order.wait_visible(revision);
        Ok(())
    }

    /// As [`Database::settle`], without blocking the thread.
    ///
    /// # Errors
    ///
    /// As [`Database::settle`].
    pub async fn settled(&self, revision: Revision) -> Result<(), Error> {
        let durable = self.durable().reached(revision.0);
        durable.await.map_err(|Stuck| Error::Outcome)?;
        self.shared.order.wait_visible(revision);
        Ok(())
    }

    /// What each shard holds.
    pub fn shards(&self) -> Vec<ShardStats> {
        let shards = &self.shared.shards;
        shards.indices().map(|index| shards.stats(index)).collect()
    }

    /// Says that these keys are about to be read or written, so that they are in the processor's
    /// cache by then. Of more than [`KEYS_AHEAD_MAX`](crate::limits::KEYS_AHEAD_MAX) the first are
    /// meant. It changes nothing, and waits for nothing.
    pub fn touch_ahead(&self, keys: &[&[u8]]) {
        self.shared.shards.touch(keys);
    }

    /// Some key that is there and in memory, if any is: each about as likely as another, given
    /// random bits. It belongs to no transaction, and may be gone by the time it is read.
    pub fn random_key(&self, random: u64) -> Option<Vec<u8>> {
        let shards = &self.shared.shards;
        let slots: Vec<u64> =
            shards.indices().map(|index| u64::from(shards.read(index).slot_numbers())).collect();
        let total: u64 = slots.iter().sum();
        let mut at = random.checked_rem(total)?;
        let first = slots.iter().position(|&slots| {
            let is_here = at < slots;
            at -= if is_here { 0 } else { slots };
            is_here
        })?;
        let now_ms = self.shared.now_ms();
        let mut shards_from = (first..slots.len()).chain(0..=first);
        shards_from.find_map(|index| {
            let state = shards.read(ShardIndex(index));
            let key = state.live_key_from(u32::try_from(at).unwrap_or(0), now_ms);
            at = 0;
            key.map(<[u8]>::to_vec)
        })
    }

    /// What the store holds.
    pub fn stats(&self) -> Stats {
        let shards = self.shards();
        let versions = |index| self.shared.shards.read(index).version_count();
        Stats {
            keys: shards.iter().map(|shard| shard.keys).sum(),
            versions: self.shared.shards.indices().map(versions).sum(),
            bytes: shards.iter().map(|shard| shard.bytes).sum(),
            revision: self.revision(),
            transactions_open: self.shared.transactions_open.load(Ordering::Relaxed),
            views_open: self.shared.views.count(),
            lock_waits: self.shared.waits.len(),
            sessions_begun: self.shared.sessions_begun.load(Ordering::Relaxed),
        }
    }

    /// Every lock that is held or waited for. Each shard is looked at in turn, so that what
    /// changes meanwhile may be missing.
    pub fn locks(&self) -> impl Iterator<Item = LockInfo> + use<> {
        let (held, waiting) = (self.clone(), self.clone());
        let held = self.shared.shards.indices().flat_map(move |shard| held.locks_held(shard));
        held.chain(std::iter::once_with(move || waiting.locks_waited_for()).flatten())
    }

    fn locks_held(&self, shard: ShardIndex) -> Vec<LockInfo> {
        let now = self.shared.clock().now();
        let info = |held: &Holder, target| LockInfo {
            holder: holder_of(held.owner),
            target,
            mode: held.mode,
            is_waiting: false,
            age: now.saturating_duration_since(held.since),
        };
        let state = self.shared.shards.read(shard);
        let keys = state.locks.held_keys();
        let keys = keys.map(|(key, held)| info(held, LockTarget::Key((**key).into())));
        // A range is locked in every shard; the first speaks for all.
        let ranges = state.locks.held_ranges().filter(|_| shard.0 == 0);
        let ranges = ranges.map(|(range, held)| info(held, LockTarget::Range(range.clone())));
        keys.chain(ranges).collect()
    }

    fn locks_waited_for(&self) -> Vec<LockInfo> {
        let now = self.shared.clock().now();
        let mut waiting = Vec::new();
        self.shared.waits.for_each(|owner, target, mode, since| {
            waiting.push(LockInfo {
                holder: holder_of(*owner),
                target: shown(target),
                mode,
                is_waiting: true,
                age: now.saturating_duration_since(since),
            });
        });
        waiting
    }

    /// Says that the fetcher has everything up to this revision. If memory is full, it gives way
    /// before those go on who wait for that.
    pub fn note_folded(&self, through: Revision) {
        self.shared.memory.note_folded(through);
        self.shared.sweep_for_writers();
        self.shared.memory.note_fold_ended();
    }

    /// Says that a fold has failed: whoever has no room is refused now, until one does not.
    pub fn note_fold_failed(&self) {
        self.shared.memory.note_fold_failed();
    }

    /// Says that the fetcher has forgotten a key, counter and all, whose newest version was this: a
    /// delete, or one that expired long ago. From now on it is as if it had never been, unless
    /// somebody has written it since.
    pub fn forget(&self, key: &[u8], version: Version, revision: Revision, was_deleted: bool) {
        self.shared.forget(key, version, revision, was_deleted);
    }

    /// Whether somebody has begun to wait, since this was asked last, for more to be folded: memory
    /// is full of what is in the log alone.
    pub fn take_fold_wanted(&self) -> bool {
        self.shared.memory.take_fold_wanted()
    }

    /// The bytes that the store's records and indexes may take and those that they take, if it was
    /// given a bound.
    pub fn memory(&self) -> Option<(usize, usize)> {
        let memory = &self.shared.memory;
        memory.is_bounded().then(|| (memory.bytes_max(), memory.bytes_used()))
    }

    /// Sets another bound in a store that was given one. Keys give way as more is written or
    /// fetched, or in [`Database::sweep`].
    pub fn set_memory_max(&self, bytes: usize) {
        self.shared.memory.set_bytes_max(bytes);
    }

    /// Has keys give way, if the store is above its bound, until it is not or nothing can. Latches
    /// are held for short. To be called now and then, since a bound that was lowered makes nobody
    /// look, nor does the end of what held keys here.
    pub fn sweep(&self) {
        self.shared.sweep();
    }

    /// Gives back some of the memory that expired keys take, and, without files, forgets some of
    /// those that were deleted or expired longer ago than
    /// [`Builder::tombstone_retention`]. To be called once a second or so: what there is to be
    /// found is found within ten minutes then, at a small and even cost.
    pub fn end_expired(&self) {
        self.shared.end_expired();
    }

    /// The latest time by which it was judged what has expired, in milliseconds since the Unix
    /// epoch, if anything can: a store that is opened later must not go by an earlier one.
    pub fn judged_until_ms(&self) -> Option<u64> {
        let shared = &self.shared;
        let has_mortals = |index| shared.shards.read(index).has_mortals();
        let may_expire = shared.memory.has_left() || shared.shards.indices().any(has_mortals);
        may_expire.then(|| shared.order.latest_ms())
    }

    /// A time, in milliseconds since the Unix epoch, no later than that by which any open read view
    /// judges what has expired; none if no view is open. What expired before it is not there for
    /// anybody.
    pub fn views_judge_from_ms(&self) -> Option<u64> {
        let oldest = self.shared.views.oldest()?;
        Some(self.shared.order.time_of(oldest))
    }

    /// Verifies the store's invariants. Each shard is latched in turn.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] names the first fault.
    pub fn check(&self) -> Result<(), Error> {
        let shards = &self.shared.shards;
        for index in shards.indices() {
            let fault = shards.read(index).fault(index, &shards.placement);
            if let Some(fault) = fault {
                return Err(Error::Internal(format!("shard {}: {fault}", index.0)));
            }
        }
        Ok(())
    }

    /// Verifies that nothing is locked, waited for, open or registered, as must be when every
    /// session has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] says what is left.
    pub fn check_idle(&self) -> Result<(), Error> {
        self.check()?;
        let shards = &self.shared.shards;
        let stats = self.stats();
        let locked = shards.indices().any(|index| !shards.read(index).locks.is_empty());
        let left = (locked, stats.lock_waits, stats.transactions_open, stats.views_open);
        if left != (false, 0, 0, 0) {
            let left = format!("left over (locks, waits, transactions, views): {left:?}");
            return Err(Error::Internal(left));
        }
        Ok(())
    }

    /// Fetches what an operation asked for. Blocks for as long as the fetcher does.
    ///
    /// # Errors
    ///
    /// What the fetcher answers; the operation that needs it has failed then.
    pub fn fetch(&self, fetch: &Fetch) -> Result<(), Error> {
        let fetcher = &self.shared.options.fetcher;
        let key = &fetch.key;
        match &fetch.wanted {
            Wanted::Value { version, place } => {
                let value = fetcher.value(key, *version, *place)?;
                self.shared.exchange(key, *version, |record| {
                    record.place().map(|_| record.to_resident(&value))
                });
            }
            Wanted::Older(older) => {
                let found = fetcher.older(key, *older)?;
                fetch.keep(Found::Older(found.iter().map(|one| one.record(key)).collect()));
            }
            Wanted::Newest => {
                // What is folded now is in what is read next.
                let as_of = (self.shared.memory.folded(), self.shared.memory.forgets());
                let found = fetcher.newest(key)?;
                self.shared.admit(key, found.map(|found| found.record(key)), as_of);
            }
            Wanted::Page(wanted) => {
                // Asked before it is read: what is folded by now is in what is read next.
                let wipes = self.shared.shards.read(ShardIndex(0)).wipes().to_vec();
                let Page { rows, next_from } = fetcher.page(wanted)?;
                let rows = rows.iter().map(|(key, newest)| newest.record(key)).collect();
                fetch.keep(Found::Page(Records { rows, next_from, wipes }));
            }
        }
        Ok(())
    }

    /// Drops the value of one version from memory; `place` says where it can be fetched.
    #[doc(hidden)]
    pub fn evict(&self, key: &[u8], version: Version, place: Place) {
        self.shared.exchange(key, version, |record| {
            (record.place().is_none() && !record.is_tombstone()).then(|| record.to_elsewhere(place))
        });
    }
}

impl Shared {
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.options.clock
    }

    /// The time by which it is judged now whether something has expired, in milliseconds since the
    /// Unix epoch. It never runs backwards.
    pub(crate) fn now_ms(&self) -> u64 {
        self.order.now_ms(self.clock())
    }

    pub(crate) fn log(&self) -> Option<&dyn CommitLog> {
        self.log.as_deref()
    }

    /// Tells the log that a commit has its place in it.
    pub(crate) fn log_appended(&self) {
        if let Some(log) = self.log() {
            log.appended();
        }
    }

    pub(crate) fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        let bytes_max = self.options.key_bytes_max;
        match key.len() {
            0 => Err(Error::EmptyKey),
            bytes if bytes > bytes_max => Err(Error::TooBig { what: "key", bytes, bytes_max }),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_value(&self, value: &[u8]) -> Result<(), Error> {
        let (bytes, bytes_max) = (value.len(), self.options.value_bytes_max);
        if bytes > bytes_max {
            return Err(Error::TooBig { what: "value", bytes, bytes_max });
        }
        Ok(())
    }

    /// Takes into memory what was fetched of a key that was not there, unless it is there now. What
    /// left memory after it was read may be newer, and what was forgotten may be what was read:
    /// then it is not taken, and to be fetched again.
    fn admit(&self, key: &[u8], found: Option<Record>, as_of: (Revision, u64)) {
        let (folded, forgets) = as_of;
        let hash = self.shards.placement.hash(key);
        let mut state = self.shards.write(self.shards.placement.shard(hash));
        let is_stale = state.left_through().max(state.wipes_passed()) > folded
            || self.memory.forgets() != forgets;
        if is_stale || state.find(hash, key).is_some() {
            return;
        }
        let record = found.unwrap_or_else(|| Record::nothing(key));
        state.admit(hash, record, &self.shards.placement);
        state.sweep(&self.sweeping(), SWEEP_PER_WRITE);
    }

    fn forget(&self, key: &[u8], version: Version, revision: Revision, was_deleted: bool) {
        self.memory.note_forgotten(revision);
        let hash = self.shards.placement.hash(key);
        let mut state = self.shards.write(self.shards.placement.shard(hash));
        self.memory.note_forget();
        state.forget(hash, key, version, revision, was_deleted, self.retention());
    }

    pub(crate) fn sweeping(&self) -> Sweep<'_> {
        self.shards.sweep(&self.memory, self.retention())
    }

    fn end_expired(&self) {
        let now_ms = self.order.about_now_ms(self.clock());
        let retention_ms = u64::try_from(self.options.tombstone_retention.as_millis());
        let before_ms = now_ms.saturating_sub(retention_ms.unwrap_or(u64::MAX));
        let is_stored = self.memory.is_stored();
        if is_stored && self.options.fetcher.holds() == Holds::Nothing {
            // Its snapshot is all in memory, and so has to be what it keeps of versions.
            return;
        }
        for index in self.shards.indices() {
            let slots = self.shards.read(index).slot_count() as u32;
            let mut left = (slots / ENDING_CALLS_PER_ROUND).max(ENDING_PER_CALL_MIN).min(slots);
            while left > 0 {
                let some = left.min(ENDING_PER_LATCH);
                left -= some;
                let mut state = self.shards.write(index);
                let ending = Ending {
                    memory: &self.memory,
                    placement: &self.shards.placement,
                    retention: self.retention(),
                    now_ms,
                    forget_before_ms: (!is_stored).then_some(before_ms),
                };
                state.end_some(&ending, some);
            }
        }
    }

    /// Has keys give way until there is room for whoever found none; whether there is. To be called
    /// without a latch.
    pub(crate) fn sweep_for_writers(&self) -> bool {
        let newest = self.order.newest();
        self.sweep();
        self.memory.note_relief(newest)
    }

    /// Whether a write that was refused for want of room may have some if others give way.
    pub(crate) fn may_be_relieved(&self, refused: &Pause) -> bool {
        let Pause::Failed(error) = refused else { return false };
        matches!(**error, Error::OutOfMemory { is_too_large: false, .. })
            && self.memory.may_be_relieved(self.order.newest())
    }

    fn sweep(&self) {
        let mut has_given = true;
        // So often round without anything that gave way: what is warm has cooled down by then.
        let in_vain_max = 1 + self.memory.heat_max();
        let mut in_vain = 0;
        while self.memory.is_over() && in_vain < in_vain_max {
            in_vain = if has_given { 0 } else { in_vain + 1 };
            has_given = false;
            for index in self.shards.indices() {
                let rounds = self.shards.read(index).slot_count().div_ceil(KEYS_PER_LATCH_MAX);
                for _ in 0..rounds {
                    let mut state = self.shards.write(index);
                    has_given |= state.sweep(&self.sweeping(), KEYS_PER_LATCH_MAX as u32);
                    if !self.memory.is_over() {
                        return;
                    }
                }
            }
        }
    }

    /// Puts another form of the same version in its place.
    fn exchange(
        &self,
        key: &[u8],
        version: Version,
        change: impl FnOnce(&Record) -> Option<Record>,
    ) {
        let hash = self.shards.placement.hash(key);
        let mut state = self.shards.write(self.shards.placement.shard(hash));
        let changed = match state.version(hash, key, version, Revision::NEWEST) {
            Seen::Record(record) => change(record),
            Seen::Nothing | Seen::Gone(_) | Seen::Away => None,
        };
        if let Some(changed) = changed {
            state.exchange(hash, changed);
            state.sweep(&self.sweeping(), SWEEP_PER_WRITE);
        }
    }
}
