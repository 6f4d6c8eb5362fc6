//! The rules of locking, one list of holders and one of waiters: no index, no sharding, nothing
//! clever. Waiting itself is the caller's part.

use std::collections::BTreeSet;

use kv_testkit::model::{Bytes, Interval};

use crate::naive::Flaw;

/// A transaction tree: its session, and the id of its root (0 for a single command).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tree {
    pub(crate) session: u32,
    pub(crate) root: u64,
}

/// What is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Key(Bytes),
    Range(Interval),
}

impl Target {
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(one), Self::Key(two)) => one == two,
            (Self::Key(key), Self::Range(range)) | (Self::Range(range), Self::Key(key)) => {
                range.contains(key)
            }
            // Both are shared: there are no exclusive locks on intervals.
            (Self::Range(_), Self::Range(_)) => false,
        }
    }
}

/// Who asks for what.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) tree: Tree,
    /// The level of nesting that asks.
    pub(crate) level: usize,
    pub(crate) target: Target,
    pub(crate) exclusive: bool,
    /// Whether the command shows the key's state, so that the lock outlives the level's rollback.
    pub(crate) shows: bool,
}

impl Request {
    fn conflicts(&self, other: &Self) -> bool {
        (self.exclusive || other.exclusive) && self.target.overlaps(&other.target)
    }
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    request: Request,
    is_upgrade: bool,
    /// The numbers of those that came first.
    behind: BTreeSet<u64>,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted,
    /// It would wait for the same session's own transaction.
    Busy,
    /// It would close a cycle.
    Deadlock,
    MustWait,
}

/// All locks, held and waited for.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: Vec<Request>,
    waiting: Vec<Waiter>,
    numbers: u64,
    pub(crate) flaw: Option<Flaw>,
}

impl Locks {
    /// Whether this level has the lock already, or a stronger one.
    pub(crate) fn has(&self, request: &Request) -> bool {
        let own = self.held.iter().filter(|lock| lock.tree == request.tree);
        let mut own = own.filter(|lock| lock.target == request.target);
        own.any(|lock| {
            let strong = lock.exclusive || !request.exclusive;
            strong && lock.level == request.level && (lock.shows || !request.shows)
        })
    }

    /// Asks for a lock; a request that must wait is not queued yet.
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        if self.holds(request) {
            self.held.push(request.clone());
            return Answer::Granted;
        }
        let holders = self.holders_against(request);
        let behind = self.waiters_before(request);
        if holders.is_empty() && behind.is_empty() {
            self.held.push(request.clone());
            return Answer::Granted;
        }
        let session = request.tree.session;
        if holders.contains(&session) {
            return Answer::Busy;
        }
        let behind = self.sessions_of(&behind);
        let closes = holders.iter().chain(&behind).any(|&other| self.waits_for(other, session));
        if closes && self.flaw != Some(Flaw::NoDeadlockDetection) {
            return Answer::Deadlock;
        }
        Answer::MustWait
    }

    /// Queues a request that was told to wait.
    pub(crate) fn wait(&mut self, request: Request) {
        let behind = self.waiters_before(&request);
        let is_upgrade = self.is_upgrade(&request);
        let end = self.waiting.len();
        let place = self.waiting.iter().position(|waiter| !waiter.is_upgrade).unwrap_or(end);
        let place = if is_upgrade { place } else { end };
        self.numbers += 1;
        let number = self.numbers;
        self.waiting.insert(place, Waiter { number, request, is_upgrade, behind });
    }

    /// Grants the first request that need not wait any more; its session goes on.
    pub(crate) fn grant_next(&mut self) -> Option<u32> {
        let ready = (0..self.waiting.len()).find(|&index| {
            let waiter = &self.waiting[index];
            let first = self.sessions_of(&waiter.behind).is_empty();
            first && self.holders_against(&waiter.request).is_empty()
        })?;
        let request = self.waiting.remove(ready).request;
        let session = request.tree.session;
        self.held.push(request);
        Some(session)
    }

    pub(crate) fn stop_waiting(&mut self, session: u32) {
        self.waiting.retain(|waiter| waiter.request.tree.session != session);
    }

    pub(crate) fn release(&mut self, tree: Tree) {
        self.held.retain(|lock| lock.tree != tree);
    }

    pub(crate) fn release_session(&mut self, session: u32) {
        self.stop_waiting(session);
        self.held.retain(|lock| lock.tree.session != session);
    }

    /// A child's COMMIT: its locks are its parent's.
    pub(crate) fn fold(&mut self, tree: Tree, level: usize) {
        let own = self.held.iter_mut().filter(|lock| lock.tree == tree && lock.level >= level);
        own.for_each(|lock| lock.level = level - 1);
    }

    /// A child's ROLLBACK: what it was shown stays, shared; the rest is free.
    pub(crate) fn undo(&mut self, tree: Tree, level: usize) {
        let keeps = self.flaw != Some(Flaw::ChildRollbackFreesReads);
        self.held.retain_mut(|lock| {
            if lock.tree == tree && lock.level >= level {
                lock.level = level - 1;
                lock.exclusive = false;
                return lock.shows && keeps;
            }
            true
        });
    }

    /// Whose, whether exclusive, whether waiting: for the list of locks.
    pub(crate) fn rows(&self) -> Vec<(Tree, bool, bool)> {
        let held = self.held.iter().map(|lock| (lock.tree, lock.exclusive, false));
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|waiter| (waiter.request.tree, waiter.request.exclusive, true));
        held.chain(waiting).collect()
    }

    /// The sessions of those waiters that still wait.
    fn sessions_of(&self, numbers: &BTreeSet<u64>) -> BTreeSet<u32> {
        let waiters = self.waiting.iter().filter(|waiter| numbers.contains(&waiter.number));
        waiters.map(|waiter| waiter.request.tree.session).collect()
    }

    fn holds(&self, request: &Request) -> bool {
        let own = self.held.iter().filter(|lock| lock.tree == request.tree);
        let mut same = own.filter(|lock| lock.target == request.target);
        same.any(|lock| lock.exclusive || !request.exclusive)
    }

    fn is_upgrade(&self, request: &Request) -> bool {
        let mut own = self.held.iter().filter(|lock| lock.tree == request.tree);
        request.exclusive && own.any(|lock| lock.target == request.target)
    }

    fn holders_against(&self, request: &Request) -> BTreeSet<u32> {
        let others = self.held.iter().filter(|lock| lock.tree != request.tree);
        let others = others.filter(|lock| lock.conflicts(request));
        others.map(|lock| lock.tree.session).collect()
    }

    /// The waiting requests that this one has to let go first.
    fn waiters_before(&self, request: &Request) -> BTreeSet<u64> {
        let session = request.tree.session;
        let is_upgrade = self.is_upgrade(request);
        let fifo = self.flaw != Some(Flaw::NoQueue);
        let waiters = self.waiting.iter().filter(|waiter| waiter.request.conflicts(request));
        let waiters = waiters.filter(|waiter| fifo && (!is_upgrade || waiter.is_upgrade));
        let bypass = self.flaw != Some(Flaw::QueueBehindWhoWaitsForMe);
        let waiters = waiters
            .filter(|waiter| !bypass || !self.waits_for(waiter.request.tree.session, session));
        waiters.map(|waiter| waiter.number).collect()
    }

    /// Whether `from` waits for `to`, directly or through others.
    fn waits_for(&self, from: u32, to: u32) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = vec![from];
        while let Some(session) = todo.pop() {
            let waiter = self.waiting.iter().find(|waiter| waiter.request.tree.session == session);
            let Some(waiter) = waiter.filter(|_| seen.insert(session)) else { continue };
            let mut next = self.holders_against(&waiter.request);
            next.extend(self.sessions_of(&waiter.behind));
            if next.contains(&to) {
                return true;
            }
            todo.extend(next);
        }
        false
    }
}
