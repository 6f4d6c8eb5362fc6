//! Groups: several commands of a client that are one, as MULTI … EXEC and MSET of the Redis
//! protocol.
//!
//! A group is a transaction that nobody sees: a root of its own, or nested in the transaction that
//! it is run in. It takes all its locks first, those on keys in the order of the keys, so that two
//! groups without ranges never deadlock; then its body is run, and then it is committed.
//!
//! ```text
//!        ┌─► locks, in order ──► body ──► commit ──► done
//!        │        │                │        │
//!        └────────┴── a pause: what was written is undone, the locks are kept
//! ```
//!
//! A body that has to pause is run again from its start. That is right because nothing that it has
//! seen can change meanwhile: it is locked, or in a read view. What it has written is undone at the
//! pause, since it will be written again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::tree::Tree;
use super::{BeginOptions, Session};
use crate::critical::Critical;
use crate::error::Error;
use crate::limits::{GROUP_FETCHES_MIN, GROUP_FETCHES_PER_KEY, GROUP_LOCKS_AT_ONCE};
use crate::lock::Mode;
use crate::step::{Fetch, Pause, Step};
use crate::store::record::Record;
use crate::store::shard::Seen;
use crate::types::{Interval, Isolation, Revision, TxnId};

/// What a group locks before its body is run.
#[derive(Debug, Clone, Default)]
pub struct GroupLocks {
    /// Intervals, in the order in which they are locked.
    pub ranges: Vec<Interval>,
    /// Keys, and how.
    pub keys: BTreeMap<Box<[u8]>, Mode>,
    /// Whether all keys are locked exclusively, before anything else: for a body that
    /// [deletes all](Session::delete_all).
    pub all: bool,
}

impl GroupLocks {
    /// Adds a key, which is locked in the stronger of the modes it is added with.
    pub fn key(&mut self, key: &[u8], mode: Mode) {
        match self.keys.get_mut(key) {
            Some(held) => *held = mode.max(*held),
            None => {
                self.keys.insert(key.into(), mode);
            }
        }
    }
}

/// How far the group that a session runs has come.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// So many of its keys are locked.
    locked: usize,
    /// How many bodies run, one within the other; none while it has to get its locks.
    depth: usize,
    /// How often it has paused for something that is not in memory.
    fetches: usize,
}

/// What a key was when it was asked to be watched, to be compared with what it is later.
#[derive(Debug, Clone)]
pub struct Watch(WatchedState);

#[derive(Debug, Clone)]
enum WatchedState {
    /// The newest readable version, which may be a delete; revision 0 is none.
    Committed { revision: Revision, is_live: bool },
    /// The transaction's own write. It is kept, so that no other can be in its place.
    Own(Record),
}

impl Session {
    /// Runs `body` as a group: its commands name no transaction, and run in the group's. If it
    /// fails, nothing of it was done; and it fails if one of its commands does and it passes that
    /// on. It is to be called again after a pause, with the same locks and a body that does the
    /// same.
    ///
    /// Waiting for all of its locks together takes at most as long as a transaction waits for one.
    /// A deadlock outside of a transaction is not shown: the group begins again.
    ///
    /// # Errors
    ///
    /// What [`Session::get`] and [`Session::put`] name for the locks and for the transaction that
    /// it is run in; what `body` fails with; [`Error::DiskFull`].
    pub fn group<T>(
        &mut self,
        txn: Option<TxnId>,
        locks: &GroupLocks,
        mut body: impl FnMut(&mut Session) -> Step<T>,
    ) -> Step<T> {
        loop {
            let outcome = self.start_group(txn, locks).and_then(|()| body(self));
            if let Some(done) = self.finish_group(outcome)? {
                return Ok(done);
            }
        }
    }

    /// Runs `body`, which only reads, so that it sees one state of the store: that of the
    /// transaction that it is run in, or the newest that is readable, without any lock.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    pub fn read_group<T>(
        &mut self,
        txn: Option<TxnId>,
        mut body: impl FnMut(&mut Session, Option<TxnId>) -> Step<T>,
    ) -> Step<T> {
        let is_within = match &self.group {
            Some(group) => group.depth > 0,
            None => txn.is_some() || self.has_open_transactions(),
        };
        if is_within {
            return body(self, txn);
        }
        let begun = match self.group {
            None => self.begin_group(None, Isolation::Readonly),
            Some(_) => Ok(()),
        };
        let outcome = begun.map_err(Pause::from).and_then(|()| {
            self.lock_group(&GroupLocks::default())?;
            body(self, None)
        });
        let done = self.finish_group(outcome)?;
        done.ok_or_else(|| Error::Internal("what waits for nobody has no deadlock".into()).into())
    }

    /// The first half of [`Session::group`], for those who cannot say what they do as a function of
    /// the session: begins a group, or goes on with it after a pause, and has all locked. Whatever
    /// it answers, [`Session::finish_group`] has to follow.
    ///
    /// # Errors
    ///
    /// As [`Session::group`].
    pub fn start_group(&mut self, txn: Option<TxnId>, locks: &GroupLocks) -> Step<()> {
        match &mut self.group {
            Some(group) if group.depth > 0 => {
                self.begin_group(None, Isolation::Serializable)?;
                if let Some(group) = &mut self.group {
                    group.depth += 1;
                }
                return Ok(());
            }
            Some(_) => {}
            None => self.begin_group(txn, Isolation::Serializable)?,
        }
        self.lock_group(locks)
    }

    /// The second half of [`Session::group`], given what its body came to: commits it, or undoes
    /// it. None if it has to begin again.
    ///
    /// # Errors
    ///
    /// As [`Session::group`].
    pub fn finish_group<T>(&mut self, outcome: Step<T>) -> Step<Option<T>> {
        let is_nested = self.group.as_ref().is_some_and(|group| group.depth > 1);
        let outcome = outcome.and_then(|done| self.commit_group().map(|()| done));
        match outcome {
            Ok(done) => Ok(Some(done)),
            Err(Pause::Failed(error)) => {
                let is_root = self.trees.contains_key(&TxnId::GROUP);
                let began = self.group.as_ref().map(|group| group.began);
                self.roll_back_group();
                match *error {
                    Error::Deadlock { .. } if is_root && !is_nested => Ok(None),
                    error => Err(self.with_all_waited(error, began).into()),
                }
            }
            Err(pause) if is_nested => {
                self.roll_back_group();
                Err(pause)
            }
            Err(pause) => {
                if matches!(pause, Pause::Fetch(_)) && self.fetches_in_vain() {
                    self.roll_back_group();
                    let bytes = self.shared.memory.bytes_max();
                    let (bytes_max, is_too_large) = (bytes, false);
                    return Err(Error::OutOfMemory { bytes, bytes_max, is_too_large }.into());
                }
                self.undo_group();
                Err(pause)
            }
        }
    }

    /// Counts a pause for what is not in memory. True if there were so many that what it has read
    /// must have left again, before it had all of it.
    fn fetches_in_vain(&mut self) -> bool {
        let Some(group) = &mut self.group else { return false };
        group.fetches += 1;
        let enough = GROUP_FETCHES_MIN + GROUP_FETCHES_PER_KEY * group.locked;
        group.fetches > enough && self.shared.memory.is_bounded()
    }

    fn begin_group(&mut self, txn: Option<TxnId>, isolation: Isolation) -> Result<(), Error> {
        // Within another group, no transaction but that is meant.
        let within = if self.group.is_some() { None } else { txn };
        let root = self.resolve(within)?;
        let now = self.shared.clock().now();
        match root {
            Some(root) => {
                if let Some(tree) = self.trees.get_mut(&root) {
                    let wait = tree.innermost().lock_wait_max;
                    tree.push_scope(TxnId::GROUP, now, wait);
                    self.roots.insert(TxnId::GROUP, root);
                }
            }
            None => {
                let options = BeginOptions { isolation: Some(isolation), ..Default::default() };
                let mut tree = self.new_tree(options, now);
                tree.push_scope(TxnId::GROUP, now, self.shared.options.lock_wait_max);
                self.roots.insert(TxnId::GROUP, TxnId::GROUP);
                self.trees.insert(TxnId::GROUP, tree);
            }
        }
        self.shared.transactions_open.fetch_add(1, Ordering::Relaxed);
        if self.group.is_none() {
            self.group = Some(Progress { began: now, locked: 0, depth: 0, fetches: 0 });
        }
        Ok(())
    }

    /// Has everything locked when it returns well.
    fn lock_group(&mut self, locks: &GroupLocks) -> Step<()> {
        let Some(root) = self.roots.get(&TxnId::GROUP).copied() else {
            return Err(Error::Internal("a group has a transaction".into()).into());
        };
        let now = self.shared.clock().now();
        let aborted = self.trees.get(&root).and_then(|tree| Some((tree.named(), tree.aborted?)));
        if let Some((txn, reason)) = aborted {
            return Err(Error::Aborted { txn, reason }.into());
        }
        let (mut locked, began) = match &mut self.group {
            Some(group) => (group.locked, group.began),
            None => (0, now),
        };
        let mut work = self.work(root)?;
        // Without locks it reads from its view, and writes are checked against that.
        let has_view = work.tree.view.is_some();
        let waited = now.saturating_duration_since(began);
        work.limit_wait(waited);
        if !has_view {
            if locks.all {
                work.lock_all()?;
            }
            for range in &locks.ranges {
                work.lock_interval(range)?;
            }
        }
        let enough = locked + GROUP_LOCKS_AT_ONCE;
        let mut outcome = Ok(());
        for (key, mode) in locks.keys.iter().skip(locked) {
            outcome = match mode {
                _ if locked == enough => Err(Pause::Yield),
                Mode::Shared if has_view => Ok(()),
                mode => work.lock_for_group(key, *mode),
            };
            if outcome.is_err() {
                break;
            }
            locked += 1;
        }
        if let Some(group) = &mut self.group {
            group.locked = locked;
            group.depth = usize::from(outcome.is_ok());
        }
        outcome
    }

    fn commit_group(&mut self) -> Step<()> {
        let Some(root) = self.roots.get(&TxnId::GROUP).copied() else { return Ok(()) };
        let Some(tree) = self.trees.get_mut(&root) else { return Ok(()) };
        if let Some(reason) = tree.aborted {
            let txn = tree.named();
            return Err(Error::Aborted { txn, reason }.into());
        }
        if tree.scopes.len() > 1 {
            let _whole = Critical::enter();
            tree.fold_innermost();
            self.forget_group();
            return Ok(());
        }
        let committed = self.shared.commit(tree)?;
        self.forget(root);
        self.group = None;
        self.note_commit(committed);
        Ok(())
    }

    /// Ends the innermost group without a trace.
    pub(super) fn roll_back_group(&mut self) {
        let Some(root) = self.roots.get(&TxnId::GROUP).copied() else { return };
        let _whole = Critical::enter();
        if root == TxnId::GROUP && self.trees.get(&root).is_some_and(|tree| tree.scopes.len() == 1)
        {
            if let Some(mut tree) = self.forget(root) {
                self.shared.discard(&mut tree);
            }
            self.group = None;
            return;
        }
        if let Some(tree) = self.trees.get_mut(&root) {
            let given_back = tree.undo_innermost();
            let gives_back_all = tree.give_back_all();
            self.shared.give_back(tree.id, given_back, gives_back_all);
        }
        self.forget_group();
    }

    /// Takes a scope that has ended out of the books.
    fn forget_group(&mut self) {
        self.shared.transactions_open.fetch_sub(1, Ordering::Relaxed);
        let root = self.roots.get(&TxnId::GROUP);
        let tree = root.and_then(|root| self.trees.get(root));
        if tree.is_none_or(|tree| tree.innermost().txn != TxnId::GROUP) {
            self.roots.remove(&TxnId::GROUP);
            self.group = None;
        } else if let Some(group) = &mut self.group {
            group.depth -= 1;
        }
    }

    /// Undoes what the group has written, for it will be written again. It keeps its locks.
    fn undo_group(&mut self) {
        if let Some(group) = &mut self.group {
            group.depth = 0;
        }
        let root = self.roots.get(&TxnId::GROUP);
        if let Some(tree) = root.and_then(|root| self.trees.get_mut(root)) {
            tree.undo_writes();
        }
    }

    /// A group waits for all its locks together, and so it is told.
    fn with_all_waited(&self, error: Error, began: Option<Instant>) -> Error {
        match (error, began) {
            (Error::LockTimeout { target, holder, waited }, Some(began)) => {
                let all = self.shared.clock().now().saturating_duration_since(began);
                Error::LockTimeout { target, holder, waited: all.max(waited) }
            }
            (error, _) => error,
        }
    }

    // ---- Watching.

    /// Notes what a key is, for [`Session::is_as_watched`]. Takes no lock.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyKey`], [`Error::TooBig`], and those of the transaction that it is run in.
    pub fn watch(&mut self, txn: Option<TxnId>, key: &[u8]) -> Step<Watch> {
        self.shared.check_key(key)?;
        let root = self.resolve(txn)?;
        let tree = root.and_then(|root| self.trees.get(&root));
        let seen = match tree.and_then(|tree| tree.own(key).cloned()) {
            Some(own) => WatchedState::Own(own),
            None if tree.is_some_and(Tree::is_wiped) => {
                WatchedState::Committed { revision: Revision(0), is_live: false }
            }
            None => self.shared.readable_state(key, self.depends_on)?,
        };
        Ok(Watch(seen))
    }

    /// Whether a key is still what it was when it was watched: nobody has written it since, this
    /// session included, and it has not expired. To be asked in a group that has it locked.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    pub fn is_as_watched(&mut self, key: &[u8], Watch(seen): &Watch) -> Step<bool> {
        let Some(root) = self.resolve(None)? else {
            return Err(Error::Internal("what is watched is compared in a group".into()).into());
        };
        let mut work = self.work(root)?;
        match (seen, work.tree.own(key)) {
            (WatchedState::Own(seen), Some(own)) => return Ok(own.is_same(seen)),
            (WatchedState::Own(_), None) | (_, Some(_)) => return Ok(false),
            (WatchedState::Committed { .. }, None) => {}
        }
        let WatchedState::Committed { revision, is_live } = *seen else { return Ok(false) };
        if work.tree.is_wiped() {
            return Ok(!is_live);
        }
        let newest = work.newest(key)?;
        work.tree.note_shown(key);
        Ok(match newest {
            // What was no longer there may have been forgotten since.
            None => !is_live,
            Some(newest) => newest.revision() == revision && work.judge(&newest) == is_live,
        })
    }
}

impl crate::db::Shared {
    /// What single reads see of a key now.
    fn readable_state(&self, key: &[u8], at_least: Revision) -> Step<WatchedState> {
        self.order.wait_visible(at_least);
        let hash = self.shards.placement.hash(key);
        let state = self.shards.read_key(self.shards.placement.shard(hash));
        let revision = self.order.readable().max(at_least);
        match state.seen_at(hash, key, revision) {
            Seen::Record(record) => Ok(WatchedState::Committed {
                revision: record.revision(),
                is_live: record.is_live(|| self.now_ms()),
            }),
            Seen::Away => Err(Fetch::newest(key)),
            Seen::Nothing | Seen::Gone(_) => {
                Ok(WatchedState::Committed { revision: Revision(0), is_live: false })
            }
        }
    }
}

impl super::super::work::Work<'_> {
    /// Has the scope wait so much less for a lock than its parents do.
    fn limit_wait(&mut self, waited: Duration) {
        let parent = match &self.tree.scopes[..] {
            [.., parent, _] => parent.lock_wait_max,
            _ => self.shared.options.lock_wait_max,
        };
        let left = parent.map(|max| max.saturating_sub(waited));
        if let Some(scope) = self.tree.scopes.last_mut() {
            scope.lock_wait_max = left;
        }
    }

    /// Locks a key that will be read or written; what is to be written is brought into memory.
    fn lock_for_group(&mut self, key: &[u8], mode: Mode) -> Step<()> {
        self.lock_key(key, mode)?;
        match mode {
            Mode::Exclusive => self.shared.have_newest(key),
            Mode::Shared => Ok(()),
        }
    }
}
