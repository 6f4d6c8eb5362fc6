//! A session: what one client has open, and every command that it can give.
//!
//! A session is owned by one thread or task at a time; only its locks are seen by others. Its
//! transactions are numbered 1, 2, 3 …; a command that names none runs in the one begun last that
//! is still open, and with none open is a transaction of its own. Dropping a session rolls back
//! all that it has open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::scan::{OpenView, Overlaid, Scan, ScanOptions};
use super::tree::{ReadView, Tree};
use super::work::{Pending, Work};
use super::write::{Write, Written};
use crate::db::{Database, Shared};
use crate::error::{AbortReason, Error, Limit};
use crate::lock::wait::Outcome;
use crate::lock::waits::Target;
use crate::step::{Pause, Step};
use crate::store::record::Record;
use crate::types::{
    Condition, Interval, Isolation, Revision, SessionId, TreeId, TxnId, ValueKind, Version,
};
use crate::value::{Meta, Past, Value};

/// One client of a store.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    id: SessionId,
    txns_begun: u64,
    /// The root of every open transaction.
    roots: BTreeMap<TxnId, TxnId>,
    /// The trees, by root.
    trees: BTreeMap<TxnId, Tree>,
    /// The transaction of a single command that has to wait.
    single: Option<Tree>,
    pending: Option<Pending>,
    depends_on: Revision,
    last_commit: Revision,
}

/// Where a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parent {
    /// It is a root, independent of all others.
    #[default]
    None,
    /// It is nested in this one.
    Txn(TxnId),
    /// It is nested in the current one.
    Current,
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BeginOptions {
    /// What it is nested in.
    pub parent: Parent,
    /// Its isolation; by default SERIALIZABLE, or the root's.
    pub isolation: Option<Isolation>,
    /// The revision that a READONLY transaction sees; by default the newest.
    pub at: Option<Revision>,
    /// How long its requests wait for a lock; by default as the store does, or as the parent.
    pub lock_wait_max: Option<Duration>,
}

/// An open transaction, as TRANSACTIONS shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnInfo {
    /// Its number in its session.
    pub txn: TxnId,
    /// What it is nested in.
    pub parent: Option<TxnId>,
    /// Its tree's isolation.
    pub isolation: Isolation,
    /// Whether it is aborted, and has only to be rolled back.
    pub is_aborted: bool,
    /// Since BEGIN.
    pub age: Duration,
    /// Keys that it has written and not committed.
    pub writes: usize,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Session {
        let id = SessionId(shared.sessions_begun.fetch_add(1, Ordering::Relaxed) + 1);
        Session {
            shared,
            id,
            txns_begun: 0,
            roots: BTreeMap::new(),
            trees: BTreeMap::new(),
            single: None,
            pending: None,
            depends_on: Revision(0),
            last_commit: Revision(0),
        }
    }

    /// Its number, as LOCKS shows it.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The store.
    pub fn database(&self) -> Database {
        Database::from_shared(Arc::clone(&self.shared))
    }

    /// The highest revision that what this session has been told depends on. A reply may go out
    /// when the store has [`settled`](Database::settle) it.
    pub fn depends_on(&self) -> Revision {
        self.depends_on
    }

    /// The revision of this session's last commit that changed something; 0 before the first.
    pub fn last_commit(&self) -> Revision {
        self.last_commit
    }

    /// Whether any transaction is open, aborted ones included.
    pub fn has_open_transactions(&self) -> bool {
        !self.roots.is_empty()
    }

    /// Whether any transaction is open that is not aborted.
    pub fn has_live_transactions(&self) -> bool {
        self.trees.values().any(|tree| tree.aborted.is_none())
    }

    /// Whether the transaction that a command naming `txn` would run in is aborted; none if there
    /// is no such transaction.
    pub fn is_aborted(&self, txn: Option<TxnId>) -> Option<bool> {
        let named = txn.or_else(|| self.current())?;
        let tree = self.trees.get(self.roots.get(&named)?)?;
        Some(tree.aborted.is_some())
    }

    /// The transaction begun last that is still open.
    pub fn current(&self) -> Option<TxnId> {
        self.roots.last_key_value().map(|(&txn, _)| txn)
    }

    /// Every open transaction, by number.
    pub fn transactions(&self) -> Vec<TxnInfo> {
        let now = self.shared.clock().now();
        let info = |(&txn, root): (&TxnId, &TxnId)| {
            let tree = self.trees.get(root)?;
            let at = tree.scopes.iter().position(|scope| scope.txn == txn)?;
            let own = |held: &&super::tree::Touched| {
                held.write.as_ref().is_some_and(|write| write.txn == txn)
            };
            Some(TxnInfo {
                txn,
                parent: at.checked_sub(1).map(|parent| tree.scopes[parent].txn),
                isolation: tree.isolation,
                is_aborted: tree.aborted.is_some(),
                age: now.saturating_duration_since(tree.scopes[at].begun),
                writes: tree.touched.values().filter(own).count(),
            })
        };
        self.roots.iter().filter_map(info).collect()
    }

    // ---- Begin and end.

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// Nothing is begun if a bound is reached, the parent is not open, is aborted or has an open
    /// child, or the options do not go together.
    pub fn begin(&mut self, options: BeginOptions) -> Result<TxnId, Error> {
        let parent = match options.parent {
            Parent::None => None,
            Parent::Txn(txn) => Some(txn),
            Parent::Current => Some(self.current().ok_or(Error::NoTransaction(None))?),
        };
        let limits = &self.shared.options;
        if self.roots.len() >= limits.session_transactions_max {
            let max = limits.session_transactions_max;
            return Err(Error::Limit { limit: Limit::SessionTransactions, max });
        }
        match parent {
            None => self.begin_root(options),
            Some(parent) => self.begin_child(parent, options),
        }
    }

    fn begin_root(&mut self, options: BeginOptions) -> Result<TxnId, Error> {
        let isolation = options.isolation.unwrap_or_default();
        if options.at.is_some() && isolation != Isolation::Readonly {
            return Err(Error::AtNeedsReadonly);
        }
        if let Some(asked) = options.at {
            self.check_revision(asked)?;
        }
        self.count_begin()?;
        let now = self.shared.clock().now();
        let (views, order) = (&self.shared.views, &self.shared.order);
        let view = match (isolation, options.at) {
            (Isolation::Serializable, _) => None,
            (_, Some(at)) => {
                views.open_at(at);
                Some(at)
            }
            (_, None) => {
                order.wait_visible(self.depends_on);
                Some(views.open_newest(order, self.depends_on))
            }
        };
        let view = view.map(|revision| ReadView { revision, opened: now });
        let mut tree = Tree::new(self.shared.next_tree(), isolation, view);
        let txn = self.next_txn();
        let wait = options.lock_wait_max.or(self.shared.options.lock_wait_max);
        tree.push_scope(txn, now, wait);
        self.roots.insert(txn, txn);
        self.trees.insert(txn, tree);
        Ok(txn)
    }

    fn begin_child(&mut self, parent: TxnId, options: BeginOptions) -> Result<TxnId, Error> {
        let root = self.usable(parent)?;
        let Some(tree) = self.trees.get(&root) else {
            return Err(Error::NoTransaction(Some(parent)));
        };
        if options.isolation.is_some_and(|asked| asked != tree.isolation) {
            return Err(Error::IsolationOfChild { root: tree.isolation });
        }
        if options.at.is_some() {
            return Err(Error::AtNeedsReadonly);
        }
        let max = self.shared.options.nesting_max;
        if tree.scopes.len() >= max {
            return Err(Error::Limit { limit: Limit::Nesting, max });
        }
        let wait = options.lock_wait_max.or(tree.innermost().lock_wait_max);
        self.count_begin()?;
        let txn = self.next_txn();
        let now = self.shared.clock().now();
        if let Some(tree) = self.trees.get_mut(&root) {
            tree.push_scope(txn, now, wait);
        }
        self.roots.insert(txn, root);
        Ok(txn)
    }

    fn count_begin(&self) -> Result<(), Error> {
        let max = self.shared.options.transactions_max;
        let open = &self.shared.transactions_open;
        let begun = open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < max).then_some(open + 1)
        });
        begun.map_or(Err(Error::Limit { limit: Limit::Transactions, max }), |_| Ok(()))
    }

    fn next_txn(&mut self) -> TxnId {
        self.txns_begun += 1;
        TxnId(self.txns_begun)
    }

    /// Commits a transaction, by default the current one, and first whatever is nested in it. A
    /// nested one becomes part of its parent; nothing is visible to others, or kept, before the
    /// root commits.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`], or [`Error::Aborted`] for a tree that was aborted: it stays until
    /// it is rolled back. Nothing was committed in either case.
    pub fn commit(&mut self, txn: Option<TxnId>) -> Result<(), Error> {
        let (txn, root) = self.named(txn)?;
        self.abandon_wait();
        let Some(tree) = self.trees.get_mut(&root) else {
            return Err(Error::NoTransaction(Some(txn)));
        };
        age_view(&self.shared, tree);
        if let Some(reason) = tree.aborted {
            return Err(Error::Aborted { txn, reason });
        }
        while tree.scopes.len() > 1 && tree.innermost().txn >= txn {
            let ended = tree.innermost().txn;
            tree.fold_innermost();
            self.roots.remove(&ended);
            self.shared.transactions_open.fetch_sub(1, Ordering::Relaxed);
        }
        if txn == root
            && let Some(mut tree) = self.forget(root)
        {
            if let Some(revision) = self.shared.commit(&mut tree) {
                self.last_commit = revision;
                self.depends_on = revision.max(self.depends_on);
            }
        }
        Ok(())
    }

    /// Rolls back a transaction, by default the current one, and whatever is nested in it. Of a
    /// tree that was aborted, any member ends all of it.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`].
    pub fn rollback(&mut self, txn: Option<TxnId>) -> Result<(), Error> {
        let (txn, root) = self.named(txn)?;
        self.abandon_wait();
        let Some(tree) = self.trees.get_mut(&root) else {
            return Err(Error::NoTransaction(Some(txn)));
        };
        if txn == root || tree.aborted.is_some() {
            if let Some(mut tree) = self.forget(root) {
                self.shared.discard(&mut tree);
            }
            return Ok(());
        }
        while tree.innermost().txn >= txn {
            let ended = tree.innermost().txn;
            let given_back = tree.undo_innermost();
            self.shared.give_back(tree.id, given_back);
            self.roots.remove(&ended);
            self.shared.transactions_open.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Commits all of this session's transactions, roots in the order they were begun. Answers how
    /// many were ended, nested ones included.
    ///
    /// # Errors
    ///
    /// [`Error::CommitAll`] if some cannot be: those stay as they are, the others are committed.
    pub fn commit_all(&mut self) -> Result<u64, Error> {
        let (mut committed, mut failed) = (0, Vec::new());
        let mut cause = None;
        let roots: Vec<TxnId> = self.trees.keys().copied().collect();
        for root in roots {
            let depth = self.trees.get(&root).map_or(0, |tree| tree.scopes.len());
            match self.commit(Some(root)) {
                Ok(()) => committed += depth as u64,
                Err(error) => {
                    failed.push(root);
                    cause.get_or_insert(error);
                }
            }
        }
        match cause {
            None => Ok(committed),
            Some(cause) => Err(Error::CommitAll { committed, failed, cause: Box::new(cause) }),
        }
    }

    /// Aborts every open transaction: locks and writes are gone, and each answers
    /// [`Error::Aborted`] until it is rolled back.
    pub fn abort_all(&mut self, reason: AbortReason) {
        self.abandon_wait();
        for tree in self.trees.values_mut().filter(|tree| tree.aborted.is_none()) {
            self.shared.abort(tree, reason);
        }
    }

    // ---- Reads.

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// Within a transaction: [`Error::LockTimeout`], [`Error::Deadlock`], [`Error::OwnLock`],
    /// [`Error::ChildOpen`], [`Error::Aborted`]; [`Error::Pruned`] in a view of the past.
    pub fn get(&mut self, txn: Option<TxnId>, key: &[u8]) -> Step<Option<Value>> {
        self.shared.check_key(key)?;
        match self.resolve(txn)? {
            None => self.shared.read_single(key, self.depends_on),
            Some(root) => self.read(root, key, false)?.as_ref().map(Value::of).transpose(),
        }
    }

    /// The value of a key, which is locked exclusively at once.
    ///
    /// # Errors
    ///
    /// As [`Session::get`]; also [`Error::ForUpdateOutside`], [`Error::ReadOnly`], and
    /// [`Error::Conflict`] in a SNAPSHOT transaction.
    pub fn get_for_update(&mut self, txn: Option<TxnId>, key: &[u8]) -> Step<Option<Value>> {
        self.shared.check_key(key)?;
        let root = self.resolve(txn)?.ok_or(Error::ForUpdateOutside)?;
        self.read(root, key, true)?.as_ref().map(Value::of).transpose()
    }

    /// Whether a key is there.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    pub fn exists(&mut self, txn: Option<TxnId>, key: &[u8]) -> Step<bool> {
        self.shared.check_key(key)?;
        match self.resolve(txn)? {
            None => Ok(self.shared.see_single(key, self.depends_on, |_| Ok(()))?.is_some()),
            Some(root) => Ok(self.read(root, key, false)?.is_some()),
        }
    }

    /// What is known of a key's current state.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    pub fn meta(&mut self, txn: Option<TxnId>, key: &[u8]) -> Step<Option<Meta>> {
        self.shared.check_key(key)?;
        let Some(root) = self.resolve(txn)? else {
            return self
                .shared
                .see_single(key, self.depends_on, |record| Ok(Meta::committed(record)));
        };
        let Some(record) = self.read(root, key, false)? else { return Ok(None) };
        if record.revision() != Revision(0) {
            return Ok(Some(Meta::committed(&record)));
        }
        // An own write: the version that it will get shows what is committed under it.
        let mut work = self.work(root)?;
        let newest = work.newest(key);
        work.tree.note_shown(key);
        Ok(Some(Meta::own(&record, super::write::next_version(newest.as_ref()))))
    }

    fn read(&mut self, root: TxnId, key: &[u8], for_update: bool) -> Step<Option<Record>> {
        self.work(root)?.read(key, for_update)
    }

    /// One committed version of a key. Takes no lock, and knows of no transaction.
    ///
    /// # Errors
    ///
    /// [`Error::Pruned`] if it is no longer kept.
    pub fn get_version(&mut self, key: &[u8], version: Version) -> Step<Option<Value>> {
        self.shared.check_key(key)?;
        let revision = self.readable();
        let found = self.shared.version(key, version, revision)?;
        let found = found.filter(|record| !record.is_tombstone());
        found.as_ref().map(Value::of).transpose()
    }

    /// The value that a key had at a revision. Takes no lock, and knows of no transaction.
    ///
    /// # Errors
    ///
    /// [`Error::FutureRevision`], or [`Error::Pruned`] if it is no longer kept.
    pub fn get_at(&mut self, key: &[u8], revision: Revision) -> Step<Option<Value>> {
        self.shared.check_key(key)?;
        self.check_revision(revision)?;
        let found = self.shared.seen_at(key, revision)?;
        let found = found.filter(|record| !record.is_tombstone());
        found.as_ref().map(Value::of).transpose()
    }

    /// The committed versions of a key that are kept, newest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyKey`], [`Error::TooBig`].
    pub fn history(&mut self, key: &[u8], limit: Option<u64>) -> Step<Vec<Past>> {
        self.shared.check_key(key)?;
        let revision = self.readable();
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let shards = &self.shared.shards;
        let hash = shards.placement.hash(key);
        let shard = shards.read(shards.placement.shard(hash));
        shard.history(hash, key, revision).take(limit).map(Past::of).collect()
    }

    /// Rows in key order. A SERIALIZABLE transaction has locked the keys that the scan examines
    /// when this returns well: up to the last row if the limit is reached, else the interval.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    pub fn scan(&mut self, txn: Option<TxnId>, options: &ScanOptions) -> Step<Scan> {
        let Some(root) = self.resolve(txn)? else {
            let view = OpenView::newest(&self.shared, self.depends_on);
            let revision = view.revision;
            return Ok(Scan::new(&self.shared, options, revision, Vec::new(), Some(view)));
        };
        let mut work = self.work(root)?;
        let revision = match work.tree.view {
            Some(view) => view.revision,
            None => {
                work.lock_scan(&options.interval, options.limit)?;
                // Rows that are missing leave no record to go by: all that was committed counts.
                *work.depends_on = work.shared.order.newest().max(*work.depends_on);
                Revision::NEWEST
            }
        };
        let overlay = overlay(work.tree, &options.interval);
        Ok(Scan::new(&self.shared, options, revision, overlay, None))
    }

    /// The newest committed state, with all uncommitted writes of this session over it, deletes
    /// included. Takes no lock.
    pub fn show_all(&mut self) -> Scan {
        let view = OpenView::newest(&self.shared, self.depends_on);
        let mut writes: Vec<Overlaid> =
            self.trees.values().flat_map(|tree| overlay(tree, &Interval::all())).collect();
        writes.sort_by(|one, other| one.key.cmp(&other.key));
        let revision = view.revision;
        Scan::new(&self.shared, &ScanOptions::default(), revision, writes, Some(view))
            .with_deletes()
    }

    // ---- Writes.

    /// Stores a value.
    ///
    /// # Errors
    ///
    /// [`Error::Precondition`] if `condition` is not met; within a transaction also what
    /// [`Session::get`] names, [`Error::ReadOnly`], [`Error::Limit`], and [`Error::Conflict`] in a
    /// SNAPSHOT one. Nothing is stored then.
    pub fn put(
        &mut self,
        txn: Option<TxnId>,
        key: &[u8],
        value: &[u8],
        kind: ValueKind,
        condition: Option<Condition>,
    ) -> Step<()> {
        self.shared.check_key(key)?;
        self.shared.check_value(value)?;
        let record = Some(Record::value(key, value, kind));
        self.write(txn, key, Write::Put { record, condition }).map(|_| ())
    }

    /// Deletes a key; false if there was nothing to delete.
    ///
    /// # Errors
    ///
    /// As [`Session::put`].
    pub fn delete(
        &mut self,
        txn: Option<TxnId>,
        key: &[u8],
        if_version: Option<Version>,
    ) -> Step<bool> {
        self.shared.check_key(key)?;
        let written = self.write(txn, key, Write::Delete { if_version })?;
        Ok(written == Written::Done)
    }

    /// Adds to the integer under a key, and answers the sum; a missing key counts as 0.
    ///
    /// # Errors
    ///
    /// As [`Session::put`]; also [`Error::NotAnInteger`] and [`Error::Overflow`].
    pub fn add(&mut self, txn: Option<TxnId>, key: &[u8], by: i64) -> Step<i64> {
        self.shared.check_key(key)?;
        match self.write(txn, key, Write::Add { by })? {
            Written::Sum(sum) => Ok(sum),
            Written::Done | Written::NotThere => {
                Err(Error::Internal("an addition answers its sum".into()).into())
            }
        }
    }

    fn write(&mut self, txn: Option<TxnId>, key: &[u8], mut write: Write) -> Step<Written> {
        match self.resolve(txn)? {
            Some(root) => self.work(root)?.write(key, &mut write),
            None => self.write_single(key, write),
        }
    }

    fn write_single(&mut self, key: &[u8], mut write: Write) -> Step<Written> {
        if self.single.is_none() {
            let (depends_on, committed) = (&mut self.depends_on, &mut self.last_commit);
            let written = self.shared.write_single(key, &mut write, depends_on, committed)?;
            if let Some(written) = written {
                return Ok(written);
            }
            let mut tree = Tree::new(self.shared.next_tree(), Isolation::Serializable, None);
            let now = self.shared.clock().now();
            tree.push_scope(TxnId(0), now, self.shared.options.lock_wait_max);
            self.single = Some(tree);
        }
        let Some(tree) = &mut self.single else {
            return Err(Error::Internal("a single command has its transaction".into()).into());
        };
        let mut work = Work {
            shared: &self.shared,
            session: self.id,
            tree,
            pending: &mut self.pending,
            depends_on: &mut self.depends_on,
            has_other_trees: false,
        };
        let result = work.write(key, &mut write);
        if let Err(Pause::Lock(_) | Pause::Fetch(_)) = result {
            return result;
        }
        if let Some(mut tree) = self.single.take() {
            if result.is_err() {
                self.shared.discard(&mut tree);
            } else if let Some(revision) = self.shared.commit(&mut tree) {
                self.last_commit = revision;
                self.depends_on = revision.max(self.depends_on);
            }
        }
        result
    }

    // ---- Waiting.

    /// Ends the wait that this session is in, if its lock has not been granted: the operation,
    /// called again, answers [`Error::LockTimeout`].
    pub fn expire(&mut self) {
        self.shared.waits.expire(&self.shared.shards, self.id);
    }

    /// Takes back a request whose operation will not be called again. A lock that was granted
    /// meanwhile stays with its transaction.
    fn abandon_wait(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        self.shared.waits.expire(&self.shared.shards, self.id);
        let granted = pending.wait.cell.outcome() == Some(Outcome::Granted);
        let tree =
            self.trees.values_mut().chain(&mut self.single).find(|tree| tree.id == pending.tree);
        if let (true, Some(tree)) = (granted, tree) {
            match pending.target {
                Target::Key { key, hash, shard } => {
                    tree.note_lock(key, hash, shard, pending.mode);
                }
                Target::Range(interval) => tree.ranges.push(interval),
            }
        }
        if let Some(mut single) = self.single.take() {
            self.shared.discard(&mut single);
        }
    }

    // ---- Names.

    /// The transaction that is meant, and its root.
    fn named(&self, txn: Option<TxnId>) -> Result<(TxnId, TxnId), Error> {
        let meant = txn.or_else(|| self.current()).ok_or(Error::NoTransaction(None))?;
        let root = self.roots.get(&meant).ok_or(Error::NoTransaction(Some(meant)))?;
        Ok((meant, *root))
    }

    /// The root of the transaction that a read or write runs in; none if it is its own.
    fn resolve(&mut self, txn: Option<TxnId>) -> Result<Option<TxnId>, Error> {
        if txn.is_none() && self.roots.is_empty() {
            return Ok(None);
        }
        let (txn, _) = self.named(txn)?;
        self.usable(txn).map(Some)
    }

    /// The root of a transaction that can be read and written: not aborted, no open child.
    fn usable(&mut self, txn: TxnId) -> Result<TxnId, Error> {
        let (_, root) = self.named(Some(txn))?;
        let Some(tree) = self.trees.get_mut(&root) else {
            return Err(Error::NoTransaction(Some(txn)));
        };
        age_view(&self.shared, tree);
        if let Some(reason) = tree.aborted {
            return Err(Error::Aborted { txn, reason });
        }
        let child = tree.scopes.iter().find(|scope| scope.txn > txn);
        match child {
            Some(child) => Err(Error::ChildOpen { parent: txn, child: child.txn }),
            None => Ok(root),
        }
    }

    fn work(&mut self, root: TxnId) -> Result<Work<'_>, Error> {
        let id = self.trees.get(&root).map(|tree| tree.id);
        if self.pending.as_ref().is_some_and(|pending| Some(pending.tree) != id) {
            self.abandon_wait();
        }
        let has_other_trees = self.trees.len() > 1;
        let Some(tree) = self.trees.get_mut(&root) else {
            return Err(Error::NoTransaction(Some(root)));
        };
        Ok(Work {
            shared: &self.shared,
            session: self.id,
            tree,
            pending: &mut self.pending,
            depends_on: &mut self.depends_on,
            has_other_trees,
        })
    }

    /// Takes a tree out of the books.
    fn forget(&mut self, root: TxnId) -> Option<Tree> {
        let tree = self.trees.remove(&root)?;
        for scope in &tree.scopes {
            self.roots.remove(&scope.txn);
        }
        self.shared.transactions_open.fetch_sub(tree.scopes.len(), Ordering::Relaxed);
        Some(tree)
    }

    /// The revision that a read without locks goes by.
    fn readable(&self) -> Revision {
        self.shared.order.wait_visible(self.depends_on);
        self.shared.order.readable().max(self.depends_on)
    }

    fn check_revision(&self, asked: Revision) -> Result<(), Error> {
        let newest = self.readable();
        if asked > newest {
            return Err(Error::FutureRevision { asked, newest });
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.abandon_wait();
        let roots: Vec<TxnId> = self.trees.keys().copied().collect();
        for root in roots {
            if let Some(mut tree) = self.forget(root) {
                self.shared.discard(&mut tree);
            }
        }
    }
}

fn overlay(tree: &Tree, interval: &Interval) -> Vec<Overlaid> {
    tree.writes_in(interval)
        .map(|(key, write)| Overlaid {
            key: key.clone(),
            record: write.record.clone(),
            txn: write.txn,
        })
        .collect()
}

/// Aborts a tree whose read view has got too old.
fn age_view(shared: &Shared, tree: &mut Tree) {
    let Some(view) = tree.view else { return };
    let age = shared.clock().now().saturating_duration_since(view.opened);
    if age > shared.options.view_age_max {
        shared.abort(tree, AbortReason::ViewAge);
    }
}

impl Shared {
    fn next_tree(&self) -> TreeId {
        TreeId(self.trees_begun.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
