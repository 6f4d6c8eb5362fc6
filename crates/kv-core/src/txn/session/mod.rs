//! A session: what one client has open, and every command that it can give. This file has the
//! names and the waiting; [`lifecycle`], [`read`] and [`write`] have the commands, [`detached`]
//! what a transaction is that leaves its session.
//!
//! A session is owned by one thread or task at a time; only its locks are seen by others. Its
//! transactions are numbered 1, 2, 3 …; a command that names none runs in the one begun last that
//! is still open, and with none open is a transaction of its own. Dropping a session rolls back
//! all that it has open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::group::Progress;
use super::scan::Search;
use super::tree::Tree;
use super::work::{Pending, Work};
use crate::critical::Critical;
use crate::db::{Database, Shared};
use crate::error::{AbortReason, Error};
use crate::lock::wait::Outcome;
use crate::step::Fetching;
use crate::store::record::Record;
use crate::types::{Isolation, Revision, SessionId, TreeId, TxnId};

mod delete_all;
pub(crate) mod detached;
pub(crate) mod group;
mod lifecycle;
mod read;
mod write;

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
    /// The current transaction while one is attached, if it is not the one begun last.
    preferred: Option<TxnId>,
    /// The transaction of a single command that has to wait.
    single: Option<Tree>,
    pending: Option<Pending>,
    depends_on: Revision,
    last_commit: Revision,
    /// What a COMMITALL that had to pause has committed so far.
    committed_of_all: u64,
    fetching: Fetching,
    /// What a scan that paused before it had its lock has found out.
    search: Option<Search>,
    /// The group that is under way.
    group: Option<Progress>,
    /// A record that was dropped, to become the next one of its length.
    spare: Option<Record>,
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
        Session {
            id: shared.next_session(),
            shared,
            txns_begun: 0,
            roots: BTreeMap::new(),
            trees: BTreeMap::new(),
            preferred: None,
            single: None,
            pending: None,
            depends_on: Revision(0),
            last_commit: Revision(0),
            committed_of_all: 0,
            fetching: Fetching::default(),
            search: None,
            group: None,
            spare: None,
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

    /// The time by which it is judged now what has expired, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    /// The revision of this session's last commit that changed something; 0 before the first.
    pub fn last_commit(&self) -> Revision {
        self.last_commit
    }

    /// Whether any transaction is open, aborted ones included.
    pub fn has_open_transactions(&self) -> bool {
        !self.roots.is_empty()
    }

    /// How many transactions are open, nested and aborted ones included.
    pub fn open_count(&self) -> usize {
        self.roots.len()
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

    /// Whether the transaction that a command naming `txn` would run in can still go on.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] or [`Error::Aborted`].
    pub fn check_live(&self, txn: Option<TxnId>) -> Result<(), Error> {
        let (txn, root) = self.named(txn)?;
        match self.trees.get(&root).map(|tree| tree.aborted) {
            Some(None) => Ok(()),
            Some(Some(reason)) => Err(Error::Aborted { txn, reason }),
            None => Err(Error::NoTransaction(Some(txn))),
        }
    }

    /// The transaction begun last that is still open, or the one that
    /// [`attach`](Session::attach) has put in its place.
    pub fn current(&self) -> Option<TxnId> {
        let (&last, _) = self.roots.last_key_value()?;
        let preferred = self.preferred.filter(|txn| self.roots.contains_key(txn));
        Some(preferred.filter(|_| last != TxnId::GROUP).unwrap_or(last))
    }

    /// Every open transaction, by number.
    pub fn transactions(&self) -> Vec<TxnInfo> {
        let mut all: Vec<TxnInfo> = self.transactions_by_tree().collect();
        all.sort_by_key(|info| info.txn);
        all
    }

    /// Every open transaction, each behind what it is nested in.
    pub fn transactions_by_tree(&self) -> impl Iterator<Item = TxnInfo> {
        let now = self.shared.clock().now();
        self.trees.values().flat_map(move |tree| tree.transactions(now))
    }

    /// Has the numbers of its transactions begin with 1 again, if none is open: for a session that
    /// serves one client after the other.
    pub fn restart_numbers(&mut self) {
        if self.roots.is_empty() {
            self.txns_begun = 0;
        }
    }

    /// The number that was given last.
    pub fn last_number(&self) -> TxnId {
        TxnId(self.txns_begun)
    }

    // ---- Waiting.

    /// Ends the wait that this session is in, if its lock has not been granted: the operation,
    /// called again, answers [`Error::LockTimeout`].
    pub fn expire(&mut self) {
        self.shared.waits.expire(&self.shared.shards, self.id);
    }

    /// Says that an operation which has paused will not be called again. What it has locked stays
    /// with its transaction; a single command's transaction ends. To be called when what it paused
    /// for has failed: any other command does it too.
    pub fn give_up(&mut self) {
        self.abandon_wait();
        self.roll_back_group();
    }

    /// Takes back a request whose operation will not be called again. A lock that was granted
    /// meanwhile stays with its transaction; a single command's transaction ends.
    fn abandon_wait(&mut self) {
        let _whole = Critical::enter();
        if let Some(pending) = self.pending.take() {
            self.shared.waits.expire(&self.shared.shards, self.id);
            let mut trees = self.trees.values_mut().chain(&mut self.single);
            if let Some(tree) = trees.find(|tree| tree.id == pending.tree)
                && pending.wait.cell.outcome() == Some(Outcome::Granted)
            {
                tree.note_granted(pending.target, pending.mode, || self.shared.now_ms());
            }
        }
        if let Some(mut single) = self.single.take() {
            self.shared.discard(&mut single);
        }
    }

    /// Aborts a tree whose read view has got too old.
    fn age_view(&mut self, root: TxnId) {
        if !self.trees.get(&root).is_some_and(|tree| self.shared.is_view_old(tree)) {
            return;
        }
        self.abandon_wait();
        if let Some(tree) = self.trees.get_mut(&root) {
            self.shared.abort_old_view(tree);
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
        // Whatever is done next may change what it would find.
        self.search = None;
        if txn.is_none() && self.roots.is_empty() {
            return Ok(None);
        }
        let (txn, _) = self.named(txn)?;
        self.usable(txn).map(Some)
    }

    /// The root of a transaction that can be read and written: not aborted, no open child.
    fn usable(&mut self, txn: TxnId) -> Result<TxnId, Error> {
        let (_, root) = self.named(Some(txn))?;
        self.age_view(root);
        let Some(tree) = self.trees.get(&root) else {
            return Err(Error::NoTransaction(Some(txn)));
        };
        if let Some(reason) = tree.aborted {
            let txn = if txn == TxnId::GROUP { tree.named() } else { txn };
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
            fetching: &mut self.fetching,
        })
    }

    /// Takes a tree that ends out of the books.
    fn forget(&mut self, root: TxnId) -> Option<Tree> {
        let tree = self.take_out(root)?;
        self.shared.transactions_open.fetch_sub(tree.scopes.len(), Ordering::Relaxed);
        Some(tree)
    }

    /// Takes a tree out of this session's books.
    fn take_out(&mut self, root: TxnId) -> Option<Tree> {
        let tree = self.trees.remove(&root)?;
        for scope in &tree.scopes {
            self.roots.remove(&scope.txn);
        }
        Some(tree)
    }

    /// Notes a commit of this session, if it changed something.
    fn note_commit(&mut self, committed: Option<Revision>) {
        if let Some(revision) = committed {
            self.last_commit = revision;
            self.depends_on = revision.max(self.depends_on);
        }
    }

    /// Has the next reply depend on all that is committed: it will show something of the store that
    /// no single key or view stands for.
    pub fn depend_on_newest(&mut self) {
        self.depends_on = self.shared.order.newest().max(self.depends_on);
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
        self.rollback_all();
    }
}

impl Shared {
    fn next_tree(&self) -> TreeId {
        TreeId(self.trees_begun.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn next_session(&self) -> SessionId {
        SessionId(self.sessions_begun.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn is_view_old(&self, tree: &Tree) -> bool {
        tree.view.is_some_and(|view| {
            let age = self.clock().now().saturating_duration_since(view.opened);
            age > self.options.view_age_max
        })
    }

    /// Aborts a tree if its read view has got too old.
    fn abort_old_view(&self, tree: &mut Tree) {
        if self.is_view_old(tree) {
            self.abort(tree, AbortReason::ViewAge);
        }
    }
}
