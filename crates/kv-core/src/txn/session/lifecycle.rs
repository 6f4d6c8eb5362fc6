//! Beginning and ending transactions: BEGIN, COMMIT, ROLLBACK, COMMITALL, and aborts from outside.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::tree::{ReadView, Tree};
use super::{BeginOptions, Parent, Session};
use crate::critical::Critical;
use crate::error::{AbortReason, Error, Limit};
use crate::failpoint;
use crate::step::{Pause, Step};
use crate::types::{Isolation, TxnId};

impl Session {
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
            let oldest = self.shared.memory.forgotten();
            if asked < oldest {
                return Err(Error::PrunedRevision { asked, oldest });
            }
        }
        self.count_begin()?;
        let now = self.shared.clock().now();
        let mut tree = self.new_tree(options, now);
        let txn = self.next_txn();
        let wait = options.lock_wait_max.or(self.shared.options.lock_wait_max);
        tree.push_scope(txn, now, wait);
        self.roots.insert(txn, txn);
        self.trees.insert(txn, tree);
        Ok(txn)
    }

    /// A tree without a scope yet, with the read view that its isolation asks for.
    pub(super) fn new_tree(&self, options: BeginOptions, now: Instant) -> Tree {
        let isolation = options.isolation.unwrap_or_default();
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
        // Of a view of the newest, not before the revision was chosen: nothing in it is later.
        let as_of_ms = || options.at.map_or_else(|| self.shared.now_ms(), |at| order.time_of(at));
        let view = view.map(|revision| ReadView { revision, opened: now, as_of_ms: as_of_ms() });
        Tree::new(self.shared.next_tree(), self.id, isolation, view)
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

    pub(super) fn next_txn(&mut self) -> TxnId {
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
    /// it is rolled back. [`Error::DiskFull`]: it is as it was, its nested ones too, and may be
    /// committed again. Nothing was committed in any case.
    pub fn commit(&mut self, txn: Option<TxnId>) -> Step<()> {
        let (txn, root) = self.named(txn)?;
        self.abandon_wait();
        self.age_view(root);
        let Some(tree) = self.trees.get_mut(&root) else {
            return Err(Error::NoTransaction(Some(txn)).into());
        };
        if let Some(reason) = tree.aborted {
            return Err(Error::Aborted { txn, reason }.into());
        }
        if txn == root {
            let committed = self.shared.commit(tree)?;
            self.forget(root);
            self.note_commit(committed);
            return Ok(());
        }
        while tree.scopes.len() > 1 && tree.innermost().txn >= txn {
            failpoint::hit("txn.child_commit").map_err(Error::injected)?;
            let _whole = Critical::enter();
            let ended = tree.innermost().txn;
            tree.fold_innermost();
            self.roots.remove(&ended);
            self.shared.transactions_open.fetch_sub(1, Ordering::Relaxed);
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
            failpoint::hit("txn.child_abort").map_err(Error::injected)?;
            let _whole = Critical::enter();
            let ended = tree.innermost().txn;
            let given_back = tree.undo_innermost();
            let gives_back_all = tree.give_back_all();
            self.shared.give_back(tree.id, given_back, gives_back_all);
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
    pub fn commit_all(&mut self) -> Step<u64> {
        let mut failed = Vec::new();
        let mut cause = None;
        let roots: Vec<TxnId> = self.trees.keys().copied().collect();
        for root in roots {
            let depth = self.trees.get(&root).map_or(0, |tree| tree.scopes.len());
            match self.commit(Some(root)) {
                Ok(()) => self.committed_of_all += depth as u64,
                Err(Pause::Failed(error)) => {
                    failed.push(root);
                    cause.get_or_insert(error);
                }
                // Called again, it goes on with what is left.
                Err(pause) => return Err(pause),
            }
        }
        let committed = std::mem::take(&mut self.committed_of_all);
        match cause {
            None => Ok(committed),
            Some(cause) => Err(Error::CommitAll { committed, failed, cause }.into()),
        }
    }

    /// Rolls back every open transaction.
    pub fn rollback_all(&mut self) {
        self.abandon_wait();
        self.roll_back_group();
        let roots: Vec<TxnId> = self.trees.keys().copied().collect();
        for root in roots {
            if let Some(mut tree) = self.forget(root) {
                self.shared.discard(&mut tree);
            }
        }
    }

    /// Aborts every transaction whose read view has got too old, and says when the next one will
    /// be. A view keeps versions in memory whether it is used or not, so whoever owns a session
    /// that may stay open should call this from time to time.
    pub fn abort_old_views(&mut self) -> Option<Instant> {
        let roots: Vec<TxnId> = self.trees.keys().copied().collect();
        roots.into_iter().for_each(|root| self.age_view(root));
        let opened = self.trees.values().filter_map(|tree| tree.view).map(|view| view.opened).min();
        opened.and_then(|opened| opened.checked_add(self.shared.options.view_age_max))
    }

    /// Aborts every open transaction: locks and writes are gone, and each answers
    /// [`Error::Aborted`] until it is rolled back.
    pub fn abort_all(&mut self, reason: AbortReason) {
        self.abandon_wait();
        for tree in self.trees.values_mut().filter(|tree| tree.aborted.is_none()) {
            self.shared.abort(tree, reason);
        }
    }
}
