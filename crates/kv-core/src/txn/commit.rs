//! Ending transactions: commit, abort, and single commands that are a transaction each.
//!
//! Locks are released shard by shard as records are installed. That is strict enough: whoever
//! gets a released lock commits at a higher revision, and a reader without locks goes by the
//! watermark, which moves when all of the commit is in.

use super::judged::Judged;
use super::tree::{GivenBack, Touched, Tree};
use super::write::{Current, Write, Written, next_version};
use crate::critical::Critical;
use crate::db::Shared;
use crate::durability::{CommitSize, Payload, Reservation, Stamp};
use crate::error::{AbortReason, Error};
use crate::failpoint;
use crate::key::Key;
use crate::limits::{KEYS_PER_LATCH_MAX, SWEEP_PER_WRITE};
use crate::lock::Mode;
use crate::lock::table::Wake;
use crate::step::{Fetch, Step};
use crate::store::record::Record;
use crate::store::shard::{Retention, Seen, ShardState};
use crate::types::{Revision, TreeId, Version};
use crate::value::Value;

impl Shared {
    /// Commits a tree with all its scopes. `None` if it changes nothing. If it cannot be committed
    /// now, the tree is as it was.
    pub(crate) fn commit(&self, tree: &mut Tree) -> Step<Option<Revision>> {
        self.order.wait_for_room();
        let _whole = Critical::enter();
        let touched = in_shard_order(tree);
        let wipes = tree.is_wiped() && self.has_keys();
        let prepared = match self.prepare(&touched, &tree.judged, wipes) {
            Ok(prepared) => prepared,
            Err(pause) => {
                tree.touched = touched.into_iter().collect();
                return Err(pause);
            }
        };
        let mut wake = Wake::default();
        let revision = match prepared {
            Some(mut prepared) => {
                let append = |stamp| prepared.append(stamp);
                let install = |stamp| {
                    self.end(tree, touched, Some(stamp), &mut wake);
                    if wipes {
                        self.shards.wipe(stamp, &self.memory, &|| self.retention());
                    }
                };
                let stamp = self.order.commit(self.clock(), append, install);
                self.log_appended();
                Some(stamp.revision)
            }
            None => {
                self.end(tree, touched, None, &mut wake);
                None
            }
        };
        self.leave(tree, wake);
        Ok(revision)
    }

    /// Decides what a commit of these makes, encodes it and reserves its place in the log. `None`
    /// if it makes nothing: deletes of what is not there do not. With `wipes`, every key that it
    /// does not write is deleted.
    fn prepare(
        &self,
        touched: &[(Key, Touched)],
        judged: &Judged,
        wipes: bool,
    ) -> Step<Option<Prepared<'_>>> {
        let Some(log) = self.log() else {
            let makes_something = wipes || self.changes_something(touched, judged);
            let prepared = makes_something.then(Prepared::default);
            prepared.as_ref().map_or(Ok(()), Prepared::pass)?;
            return Ok(prepared);
        };
        let planned = self.plan(touched, judged);
        if planned.is_empty() && !wipes {
            return Ok(None);
        }
        let mut size = CommitSize::default();
        if wipes {
            size.add(0);
        }
        planned.iter().for_each(|(record, _)| size.add(record.data_bytes()));
        let reservation = Reservation::new(log, size)?;
        let mut payload = Payload::new();
        if wipes {
            log.encode_wipe(&mut payload);
        }
        let mut changes = planned.iter().map(|&(record, version)| record.change(version));
        log.encode(&mut changes, &mut payload);
        let prepared = Prepared { payload, reservation: Some(reservation) };
        prepared.pass()?;
        Ok(Some(prepared))
    }

    /// The records that a commit of these installs, with the versions that they get. All of them
    /// are locked, so what is decided here holds until they are installed.
    fn plan<'t>(
        &self,
        touched: &'t [(Key, Touched)],
        judged: &Judged,
    ) -> Vec<(&'t Record, Version)> {
        let mut planned = Vec::with_capacity(touched.len());
        for of_shard in touched.chunk_by(|(_, one), (_, other)| one.shard == other.shard) {
            let Some((_, Touched { shard, .. })) = of_shard.first() else { continue };
            for some in of_shard.chunks(KEYS_PER_LATCH_MAX) {
                let state = self.shards.read(*shard);
                for (key, held) in some {
                    let Some(write) = &held.write else { continue };
                    let newest = state.newest(held.hash, key);
                    if makes_version(&write.record, newest, judged) {
                        planned.push((&write.record, next_version(newest)));
                    }
                }
            }
        }
        planned
    }

    /// Ends a tree without a trace but for `aborted`: its writes are gone, its locks released.
    pub(crate) fn abort(&self, tree: &mut Tree, reason: AbortReason) {
        tree.aborted = Some(reason);
        self.discard(tree);
    }

    /// Ends a tree without a trace.
    pub(crate) fn discard(&self, tree: &mut Tree) {
        let _whole = Critical::enter();
        let mut wake = Wake::default();
        let touched = in_shard_order(tree);
        self.end(tree, touched, None, &mut wake);
        self.leave(tree, wake);
    }

    /// Gives back what a rolled back child held, and the lock on all keys if `with_all` says so.
    pub(crate) fn give_back(&self, tree: TreeId, given_back: Vec<GivenBack>, with_all: bool) {
        let mut wake = Wake::default();
        for GivenBack { key, hash, shard, keep } in given_back {
            let mut state = self.shards.write(shard);
            failpoint::cross("lock.before_release");
            state.locks.release(hash, &key, tree, keep, &mut wake);
        }
        if with_all {
            self.release_ranges(tree, Some(Mode::Shared), &mut wake);
        }
        self.waits.wake(&self.shards, &wake);
    }

    /// Whether a commit of these would make a version. Deletes of what is not there do not.
    fn changes_something(&self, touched: &[(Key, Touched)], judged: &Judged) -> bool {
        touched.iter().any(|(key, held)| match &held.write {
            None => false,
            Some(write) if !write.record.is_tombstone() => true,
            Some(write) => {
                let state = self.shards.read(held.shard);
                makes_version(&write.record, state.newest(held.hash, key), judged)
            }
        })
    }

    /// Installs the writes, if there is a stamp for them, and releases the locks.
    fn end(
        &self,
        tree: &Tree,
        touched: Vec<(Key, Touched)>,
        stamp: Option<Stamp>,
        wake: &mut Wake,
    ) {
        let mut touched = touched.into_iter().peekable();
        while let Some(&(_, Touched { shard, .. })) = touched.peek() {
            let mut state = self.shards.write(shard);
            for _ in 0..KEYS_PER_LATCH_MAX {
                let Some((key, held)) = touched.next_if(|(_, held)| held.shard == shard) else {
                    break;
                };
                if let (Some(stamp), Some(write)) = (stamp, held.write) {
                    self.install(&mut state, held.hash, write.record, &tree.judged, stamp);
                    failpoint::cross("txn.mid_install");
                }
                failpoint::cross("lock.before_release");
                state.locks.release(held.hash, &key, tree.id, None, wake);
            }
            if stamp.is_some() {
                self.give_way(&mut state);
            }
        }
    }

    fn install(
        &self,
        state: &mut ShardState,
        hash: u64,
        mut record: Record,
        judged: &Judged,
        stamp: Stamp,
    ) {
        let slot = state.find(hash, record.key());
        let newest = slot.map(|slot| state.newest_in(slot));
        if !makes_version(&record, newest, judged) {
            return;
        }
        record.stamp(stamp.revision, next_version(newest), stamp.time_ms);
        let slot = state.install(hash, slot, record, &self.shards.placement);
        state.trim(slot, self.retention());
    }

    /// Releases the ranges and the read view, and wakes who waited.
    fn leave(&self, tree: &mut Tree, mut wake: Wake) {
        if tree.has_ranges() {
            self.release_ranges(tree.id, None, &mut wake);
        }
        tree.clear();
        self.waits.wake(&self.shards, &wake);
        if let Some(view) = tree.view.take() {
            self.views.close(view.revision);
        }
    }

    fn release_ranges(&self, tree: TreeId, keep: Option<Mode>, wake: &mut Wake) {
        for shard in self.shards.indices() {
            self.shards.write(shard).locks.release_ranges(tree, keep, wake);
        }
    }

    /// Whether there is any key, expired ones included as long as they are not deleted.
    fn has_keys(&self) -> bool {
        self.shards.indices().any(|shard| self.shards.read(shard).key_count() > 0)
    }

    /// Has a few keys of the shard give way, if memory is full.
    fn give_way(&self, state: &mut ShardState) {
        if self.memory.is_bounded() {
            state.sweep(&self.sweeping(), SWEEP_PER_WRITE);
        }
    }

    pub(crate) fn retention(&self) -> Retention<'_> {
        Retention {
            versions: self.options.history_versions,
            horizon: self.views.horizon(&self.order),
            views: &self.views,
        }
    }

    /// A read that is a transaction of its own: never waits for a lock.
    pub(crate) fn read_single(&self, key: &[u8], at_least: Revision) -> Step<Option<Value>> {
        self.see_single(key, at_least, Value::of)
    }

    /// Shows what a read that is a transaction of its own finds: the newest readable version, or
    /// that of `at_least` if it is newer.
    pub(crate) fn see_single<T>(
        &self,
        key: &[u8],
        at_least: Revision,
        show: impl FnOnce(&Record) -> Step<T>,
    ) -> Step<Option<T>> {
        self.order.wait_visible(at_least);
        let hash = self.shards.placement.hash(key);
        let state = self.shards.read_key(self.shards.placement.shard(hash));
        // Chosen under the latch: nobody can trim the version before it is read.
        let revision = self.order.readable().max(at_least);
        match state.seen_at(hash, key, revision) {
            Seen::Record(record) if record.is_live(|| self.now_ms()) => show(record).map(Some),
            Seen::Record(_) | Seen::Nothing => Ok(None),
            Seen::Away => Err(Fetch::newest(key)),
            Seen::Gone(_) => {
                debug_assert!(false, "the newest readable version is never dropped");
                Ok(None)
            }
        }
    }

    /// A write that is a transaction of its own, if it need not wait for anybody: then it takes no
    /// lock at all, for the latch covers all of it. `None` if it must queue, if how much it writes
    /// is not known without a lock, or if others have to give way for it.
    ///
    /// The commit's revision is added to `committed`, and what the reply depends on to
    /// `depends_on`; `spare` becomes a record that was dropped.
    pub(crate) fn write_single(
        &self,
        key: &[u8],
        write: &mut Write<'_>,
        depends_on: &mut Revision,
        committed: &mut Revision,
        spare: &mut Option<Record>,
    ) -> Step<Option<Written>> {
        self.order.wait_for_room();
        let Some(bytes) = write.data_bytes_max(key) else { return Ok(None) };
        let size = CommitSize { changes: 1, bytes };
        let reservation = self.log().map(|log| Reservation::new(log, size)).transpose()?;
        let mut prepared = Prepared { payload: Payload::new(), reservation };
        let hash = self.shards.placement.hash(key);
        let mut state = self.shards.write(self.shards.placement.shard(hash));
        if !state.locks.is_free(hash, key) {
            return Ok(None);
        }
        let slot = state.find(hash, key);
        if self.memory.is_bounded()
            && let Err(refused) = self.make_room(&mut state, slot, hash, key, write)
        {
            // With a lock the key stays where it is while others give way.
            return if self.may_be_relieved(&refused) { Ok(None) } else { Err(refused) };
        }
        let newest = slot.map(|slot| state.newest_in(slot));
        if let (true, Some(newest)) = (write.shows_state(), newest) {
            *depends_on = newest.revision().max(*depends_on);
        }
        let version = next_version(newest);
        let current = Current::new(None, newest, |newest| newest.is_live(|| self.now_ms()));
        let (written, record) = write.decide(key, current)?;
        let Some(mut record) = record else { return Ok(Some(written)) };
        if let Some(log) = self.log() {
            log.encode(&mut std::iter::once(record.change(version)), &mut prepared.payload);
        }
        prepared.pass()?;
        let mut installed = 0;
        let append = |stamp| prepared.append(stamp);
        let stamp = self.order.commit(self.clock(), append, |stamp| {
            record.stamp(stamp.revision, version, stamp.time_ms);
            installed = state.install(hash, slot, record, &self.shards.placement);
        });
        state.trim(installed, self.retention());
        self.give_way(&mut state);
        *spare = state.take_spare();
        drop(state);
        self.log_appended();
        *committed = stamp.revision;
        *depends_on = stamp.revision.max(*depends_on);
        Ok(Some(written))
    }
}

impl Shared {
    /// Sees to it that a single write has what it needs under a memory bound: the key's newest
    /// version in memory, value and all, and room for another.
    fn make_room(
        &self,
        state: &mut ShardState,
        slot: Option<u32>,
        hash: u64,
        key: &[u8],
        write: &Write<'_>,
    ) -> Step<()> {
        match slot.map(|slot| state.newest_in(slot)) {
            None if state.may_be_away(hash) => return Err(Fetch::newest(key)),
            Some(newest) => self.have_value(newest)?,
            None => {}
        }
        let bytes = match write {
            Write::Put { record: Some(record), .. } => record.memory_bytes(),
            Write::Add { .. } => key.len(),
            Write::Modify { value_bytes_max, .. } => key.len() + value_bytes_max.unwrap_or(0),
            Write::Put { .. } | Write::Delete { .. } | Write::Expire { .. } => return Ok(()),
        };
        self.memory.check_room(bytes, self.order.newest())
    }
}

/// A commit that has its changes encoded and its place in the log reserved; without a log, nothing.
/// It is large, so it is lent rather than moved.
#[derive(Debug, Default)]
struct Prepared<'a> {
    payload: Payload,
    reservation: Option<Reservation<'a>>,
}

impl Prepared<'_> {
    /// Passes the last place at which a commit can still be refused.
    fn pass(&self) -> Step<()> {
        Ok(failpoint::hit("txn.top_commit").map_err(Error::injected)?)
    }

    /// Gives the commit its place in the log, within the critical section.
    fn append(&mut self, stamp: Stamp) {
        if let Some(reservation) = self.reservation.take() {
            reservation.append(stamp, &mut self.payload);
        }
    }
}

/// Whether a write makes a version: all do but deletes of what is not there. The DEL has judged
/// whether it is, so this is the same whenever it is asked.
fn makes_version(record: &Record, newest: Option<&Record>, judged: &Judged) -> bool {
    !record.is_tombstone() || newest.is_some_and(|newest| judged.is_live(newest, 0))
}

/// Takes the tree's keys, those of one shard side by side, so that each latch is taken once.
fn in_shard_order(tree: &mut Tree) -> Vec<(Key, Touched)> {
    let mut touched: Vec<(Key, Touched)> = std::mem::take(&mut tree.touched).into_iter().collect();
    touched.sort_by_key(|(_, held)| held.shard);
    touched
}
