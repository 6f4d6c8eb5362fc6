//! Reads and writes within a transaction: locks, read views, conflicts.
//!
//! [`Work`] is one command's look at its transaction tree. Every operation may pause; called
//! again, it finds the locks that it was granted meanwhile and goes on.

use std::sync::Arc;
use std::time::Duration;

use super::scan::{ScanOptions, Search};
use super::tree::Tree;
use super::write::{Current, Write, Written};
use crate::critical::Critical;
use crate::db::Shared;
use crate::error::{AbortReason, Error, Holder as ErrorHolder, Limit, LockTarget};
use crate::failpoint;
use crate::key::Key;
use crate::lock::table::Holder;
use crate::lock::wait::{LockWait, Outcome};
use crate::lock::waits::{Ask, Refusal, Target};
use crate::lock::{Mode, Owner};
use crate::step::{Fetch, Fetching, Pause, Step};
use crate::store::record::Record;
use crate::types::{Interval, Isolation, Revision, SessionId, TreeId, TxnId};
use crate::value::Value;

/// A request of the session that is in the queue, or was granted since.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) tree: TreeId,
    pub(crate) wait: LockWait,
    pub(crate) target: Target,
    pub(crate) mode: Mode,
    pub(crate) wait_max: Option<Duration>,
}

impl Pending {
    /// Whether it is for an interval, in this mode.
    fn is_range(&self, mode: Mode) -> bool {
        self.mode == mode && matches!(self.target, Target::Range(_))
    }
}

/// One command's access to its tree.
pub(crate) struct Work<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) session: SessionId,
    pub(crate) tree: &'a mut Tree,
    pub(crate) pending: &'a mut Option<Pending>,
    /// The highest revision that the session's replies depend on.
    pub(crate) depends_on: &'a mut Revision,
    /// Whether other trees of the session may hold locks.
    pub(crate) has_other_trees: bool,
    pub(crate) fetching: &'a mut Fetching,
}

impl Work<'_> {
    /// What the transaction sees under a key: its own write, or what is committed; `None` for a
    /// key that is missing, deleted or expired.
    pub(crate) fn read(&mut self, key: &[u8], for_update: bool) -> Step<Option<Record>> {
        if for_update {
            self.refuse_if_readonly()?;
            self.lock_key(key, Mode::Exclusive)?;
            self.tree.note_shown(key);
            self.check_first_updater(key)?;
        }
        if let Some(own) = self.tree.own(key) {
            return Ok(Some(own.clone()).filter(|record| !record.is_tombstone()));
        }
        if self.tree.is_wiped() {
            return Ok(None);
        }
        let found = match self.view() {
            Some(revision) if !for_update => self.shared.seen_at(key, revision, self.fetching)?,
            _ => {
                self.lock_key(key, Mode::Shared)?;
                self.tree.note_shown(key);
                self.newest(key)?
            }
        };
        Ok(found.filter(|record| self.judge(record)))
    }

    /// Whether there is something under a committed record's key, as the transaction judges it.
    pub(crate) fn judge(&mut self, record: &Record) -> bool {
        self.tree.judged.judge(record, || self.shared.now_ms())
    }

    /// The read view of a transaction that reads without locks.
    fn view(&self) -> Option<Revision> {
        self.tree.view.map(|view| view.revision)
    }

    /// What is committed under a key; to be shown, so the reply depends on it.
    pub(crate) fn newest(&mut self, key: &[u8]) -> Step<Option<Record>> {
        let newest = self.shared.newest(key)?;
        if let Some(record) = &newest {
            *self.depends_on = record.revision().max(*self.depends_on);
        }
        Ok(newest)
    }

    /// Does a write command.
    pub(crate) fn write(&mut self, key: &[u8], write: &mut Write<'_>) -> Step<Written> {
        self.refuse_if_readonly()?;
        self.lock_key(key, Mode::Exclusive)?;
        self.shared.have_newest(key)?;
        self.check_first_updater(key)?;
        let newest = if write.shows_state() {
            self.tree.note_shown(key);
            self.newest(key)?
        } else {
            None
        };
        // Judged even if an own write hides it: a commit that ends in a delete has to know.
        let is_wiped = self.tree.is_wiped();
        let is_live = !is_wiped && newest.as_ref().is_some_and(|newest| self.judge(newest));
        let current = Current::new(self.tree.own(key), newest.as_ref(), |_| is_live);
        let (written, record) = write.decide(key, current)?;
        if let Some(record) = record {
            self.check_write_set(key, &record)?;
            self.shared.check_room(&record)?;
            self.tree.note_write(key, record);
        }
        Ok(written)
    }

    /// Deletes every key, those included that the transaction has written.
    pub(crate) fn delete_all(&mut self) -> Step<()> {
        self.refuse_if_readonly()?;
        if self.tree.isolation != Isolation::Serializable {
            return Err(Error::DeleteAllNeedsSerializable.into());
        }
        self.lock_all()?;
        // That there was nothing to delete is shown of all that is committed.
        *self.depends_on = self.shared.order.newest().max(*self.depends_on);
        self.tree.note_wipe();
        Ok(())
    }

    fn refuse_if_readonly(&self) -> Result<(), Error> {
        match self.tree.isolation {
            Isolation::Readonly => Err(Error::ReadOnly),
            Isolation::Serializable | Isolation::Snapshot => Ok(()),
        }
    }

    /// Snapshot isolation's rule: whoever updates a key first after the read view wins.
    fn check_first_updater(&mut self, key: &[u8]) -> Step<()> {
        let Some(view) = self.view() else { return Ok(()) };
        let newest = self.shared.newest(key)?.map_or(Revision(0), |record| record.revision());
        if newest <= view {
            return Ok(());
        }
        *self.depends_on = newest.max(*self.depends_on);
        let txn = self.tree.named();
        self.shared.abort(self.tree, AbortReason::Conflict);
        Err(Error::Conflict { txn, key: key.into(), revision: newest, view }.into())
    }

    fn check_write_set(&self, key: &[u8], record: &Record) -> Result<(), Error> {
        let max = self.shared.options.write_set_bytes_max;
        let replaced = self.tree.own(key).map_or(0, Record::memory_bytes);
        if self.tree.write_set_bytes() - replaced + record.memory_bytes() > max {
            return Err(Error::Limit { limit: Limit::WriteSet, max });
        }
        Ok(())
    }

    // ---- Locks.

    /// Has the key locked at least in this mode when it returns well.
    pub(crate) fn lock_key(&mut self, key: &[u8], mode: Mode) -> Step<()> {
        self.settle(|pending| {
            matches!(&pending.target, Target::Key { key: wanted, .. } if **wanted == *key)
        })?;
        let (key, hash, shard) = match self.tree.touched.get_key_value(key) {
            Some((_, held)) if held.mode >= mode => return Ok(()),
            Some((key, held)) => (key.clone(), held.hash, held.shard),
            None if mode == Mode::Shared && self.tree.range_covers(key) => return Ok(()),
            None => {
                self.check_lock_count()?;
                let hash = self.shared.shards.placement.hash(key);
                (Key::from(key), hash, self.shared.shards.placement.shard(hash))
            }
        };
        let now = self.shared.clock().now();
        let holder = Holder { owner: self.owner(), mode, since: now };
        let whole = Critical::enter();
        if self.shared.shards.write(shard).locks.try_acquire(hash, &key, holder) {
            return self.note_granted(Target::Key { key, hash, shard }, mode, whole);
        }
        self.queue_for(Target::Key { key, hash, shard }, mode)
    }

    /// Notes a lock that is held, which ends the section that began before it was granted: from
    /// here on it is released with the tree.
    fn note_granted(&mut self, target: Target, mode: Mode, whole: Critical) -> Step<()> {
        let passed = failpoint::hit("lock.after_grant");
        self.tree.note_granted(target, mode, || self.shared.now_ms());
        drop(whole);
        Ok(passed.map_err(Error::injected)?)
    }

    /// Has the interval locked at least to be read when it returns well.
    pub(crate) fn lock_interval(&mut self, interval: &Interval) -> Step<()> {
        let is_held = |tree: &Tree| tree.ranges.iter().any(|held| held.covers(interval));
        if interval.is_empty() || is_held(self.tree) {
            return Ok(());
        }
        self.settle(|pending| {
            pending.is_range(Mode::Shared) && pending.target == Target::Range(interval.clone())
        })?;
        if is_held(self.tree) {
            return Ok(());
        }
        self.lock_range(interval)
    }

    /// Asks for a shared lock on the interval.
    fn lock_range(&mut self, interval: &Interval) -> Step<()> {
        self.check_lock_count()?;
        self.queue_for(Target::Range(interval.clone()), Mode::Shared)
    }

    /// Has all keys locked exclusively when it returns well, however many locks there are already.
    pub(crate) fn lock_all(&mut self) -> Step<()> {
        self.settle(|pending| pending.is_range(Mode::Exclusive))?;
        if self.tree.holds_all() {
            return Ok(());
        }
        self.queue_for(Target::Range(Interval::all()), Mode::Exclusive)
    }

    fn check_lock_count(&self) -> Result<(), Error> {
        let max = self.shared.options.locks_max;
        if self.tree.lock_count() >= max {
            return Err(Error::Limit { limit: Limit::Locks, max });
        }
        Ok(())
    }

    fn owner(&self) -> Owner {
        let (txn, session) = (self.tree.named(), self.tree.session);
        // A tree that is not its client's is known to others by its own number, and its depth.
        let txn = if session == self.session { txn } else { self.tree.depth_of(txn) };
        Owner { tree: self.tree.id, session, txn }
    }

    /// Notes what an earlier wait came to. Pauses again if it goes on; but a wait for something
    /// else than is wanted now belongs to an operation that was given up, and is given up too.
    fn settle(&mut self, is_wanted: impl FnOnce(&Pending) -> bool) -> Step<()> {
        let whole = Critical::enter();
        let Some(pending) = self.pending.take() else { return Ok(()) };
        debug_assert_eq!(pending.tree, self.tree.id);
        let is_wanted = is_wanted(&pending);
        if !is_wanted {
            self.shared.waits.expire(&self.shared.shards, self.session);
        }
        match pending.wait.cell.outcome() {
            None => {
                let wait = pending.wait.clone();
                *self.pending = Some(pending);
                Err(Pause::Lock(wait))
            }
            Some(Outcome::Granted) => self.note_granted(pending.target, pending.mode, whole),
            Some(Outcome::TimedOut(blocker)) if is_wanted => {
                let waited = pending.wait_max.unwrap_or_default();
                Err(timeout(&pending.target, blocker, waited).into())
            }
            Some(Outcome::TimedOut(_)) => Ok(()),
        }
    }

    fn queue_for(&mut self, target: Target, mode: Mode) -> Step<()> {
        let wait_max = self.tree.innermost().lock_wait_max;
        let ask = Ask {
            owner: self.owner(),
            client: self.session,
            target: target.clone(),
            mode,
            session_holds_locks: self.has_other_trees || self.tree.has_locks(),
            wait_max,
            now: self.shared.clock().now(),
        };
        let whole = Critical::enter();
        match self.shared.waits.acquire(&self.shared.shards, ask) {
            Ok(None) => self.note_granted(target, mode, whole),
            Ok(Some(wait)) => {
                let tree = self.tree.id;
                let pause = Pause::Lock(wait.clone());
                *self.pending = Some(Pending { tree, wait, target, mode, wait_max });
                Err(pause)
            }
            Err(Refusal::Busy(own)) => {
                Err(Error::OwnLock { target: shown(&target), txn: own.txn }.into())
            }
            Err(Refusal::WouldWait(blocker)) => {
                Err(timeout(&target, Some(blocker), Duration::ZERO).into())
            }
            Err(Refusal::Deadlock(blocker, its_wait)) => {
                let txn = self.tree.named();
                self.shared.abort(self.tree, AbortReason::Deadlock);
                Err(Error::Deadlock {
                    txn,
                    target: shown(&target),
                    holder: holder_of(blocker),
                    holder_waits_for: its_wait.as_ref().map(shown),
                }
                .into())
            }
        }
    }

    // ---- Scans.

    /// Locks what a scan examines: its interval, or, with a limit, up to the last row that is
    /// returned. Repeats until the rows below the lock's end are those it was set for.
    pub(crate) fn lock_scan(
        &mut self,
        root: TxnId,
        options: &ScanOptions,
        search: &mut Option<Search>,
    ) -> Step<()> {
        let interval = options.examined();
        loop {
            // The interval that is wanted may have changed with the rows: any range will do.
            self.settle(|pending| pending.is_range(Mode::Shared))?;
            if self.tree.is_wiped() {
                return Ok(());
            }
            let examined = match options.limit {
                None => interval.clone(),
                Some(0) => return Ok(()),
                Some(_) => {
                    let begun = || Search::new(self.shared, root, self.tree, options);
                    let last = search.get_or_insert_with(begun).run()?;
                    *search = None;
                    match last {
                        Some(last) => interval.clone().up_to(&last),
                        None => interval.clone(),
                    }
                }
            };
            if examined.is_empty() || self.tree.ranges.iter().any(|held| held.covers(&examined)) {
                return Ok(());
            }
            self.lock_range(&examined)?;
        }
    }
}

impl Shared {
    /// The newest committed version of a key, which may be a delete.
    pub(crate) fn newest(&self, key: &[u8]) -> Step<Option<Record>> {
        let hash = self.shards.placement.hash(key);
        let shard = self.shards.read_key(self.shards.placement.shard(hash));
        match shard.newest_used(hash, key) {
            Some(newest) => Ok(Some(newest.clone())),
            None if shard.may_be_away(hash) => Err(Fetch::newest(key)),
            None => Ok(None),
        }
    }

    /// Returns well if a key that is locked to be written has its newest version in memory, value
    /// and all. There it stays, because of the lock, until the commit supersedes it.
    pub(crate) fn have_newest(&self, key: &[u8]) -> Step<()> {
        if !self.memory.is_bounded() {
            return Ok(());
        }
        match self.newest(key)? {
            Some(newest) => self.have_value(&newest),
            None => Ok(()),
        }
    }

    /// Returns well if a newest version that is to be superseded has its value in memory, where
    /// that may be elsewhere: a view may need it when it is no longer kept there.
    pub(crate) fn have_value(&self, newest: &Record) -> Step<()> {
        if !self.memory.is_stored() || newest.is_tombstone() {
            return Ok(());
        }
        Value::of(newest).map(|_| ())
    }

    /// Refuses a write for which there is no room. A delete always has some.
    fn check_room(&self, record: &Record) -> Step<()> {
        if record.is_tombstone() {
            return Ok(());
        }
        let check = || self.memory.check_room(record.memory_bytes(), self.order.newest());
        match check() {
            Err(refused) if self.may_be_relieved(&refused) && self.sweep_for_writers() => check(),
            checked => checked,
        }
    }
}

fn timeout(target: &Target, blocker: Option<Owner>, waited: Duration) -> Error {
    Error::LockTimeout { target: shown(target), holder: blocker.map(holder_of), waited }
}

/// A lock's target, for people.
pub(crate) fn shown(target: &Target) -> LockTarget {
    match target {
        Target::Key { key, .. } => LockTarget::Key((**key).into()),
        Target::Range(interval) => LockTarget::Range(interval.clone()),
    }
}

/// A lock's owner, for people.
pub(crate) fn holder_of(owner: Owner) -> ErrorHolder {
    ErrorHolder { session: owner.session, txn: owner.txn }
}
