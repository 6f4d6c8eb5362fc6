//! Transactions that leave their session: a tree that is in none between commands, and can be
//! taken up by any.
//!
//! ```text
//!   session 7               (none)               session 9
//!   begin ─► open ─ detach ─► Detached ─ attach ─► open ─ commit, rollback
//!               ▲                │  ▲                │
//!               └──── attach ────┘  └──── detach ────┘
//! ```
//!
//! Once detached, a tree is a session of its own for everybody else: its locks are held by a number
//! that no other session has, whoever runs a command in it. So nothing about them changes when it
//! goes from hand to hand. Who runs a command in it and has to wait for a lock waits as two
//! sessions, the tree's and his own (`Ask::client` of the lock queue): a deadlock through either is
//! found.
//!
//! Each session numbers its transactions for itself, and so it does with those it takes up: it
//! says what it has called them before, and gives those that are new to it the next numbers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::tree::{Scope, Tree};
use super::{Session, TxnInfo};
use crate::critical::Critical;
use crate::db::Shared;
use crate::error::{AbortReason, Error};
use crate::types::{Revision, SessionId, TreeId, TxnId};

/// A transaction, with what is nested in it, that is in no session. Dropped, it is rolled back.
#[derive(Debug)]
pub struct Detached {
    shared: Arc<Shared>,
    /// None once it has been taken up.
    tree: Option<Tree>,
    /// What those depend on who have seen something of it.
    depends_on: Revision,
}

/// What a session has called a transaction that it had taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Its number in the session.
    pub txn: TxnId,
    /// Which it is, for every session.
    tree: TreeId,
    nth: u64,
}

impl Detached {
    /// The number by which its locks are known.
    pub fn session(&self) -> SessionId {
        self.tree.as_ref().map_or(SessionId(0), |tree| tree.session)
    }

    /// What the session that it was in last has called its transactions, the root first.
    pub fn names(&self) -> Vec<Name> {
        self.tree.as_ref().map_or_else(Vec::new, names_of)
    }

    /// How many transactions it has, the root included.
    pub fn depth(&self) -> usize {
        self.tree.as_ref().map_or(0, |tree| tree.scopes.len())
    }

    /// Its transactions, numbered 1, 2, 3 … from the root.
    pub fn transactions(&self) -> Vec<TxnInfo> {
        let Some(tree) = &self.tree else { return Vec::new() };
        let of_depth = |info: TxnInfo| TxnInfo {
            txn: tree.depth_of(info.txn),
            parent: info.parent.map(|parent| tree.depth_of(parent)),
            ..info
        };
        tree.transactions(self.shared.clock().now()).map(of_depth).collect()
    }

    /// Whether it is aborted.
    pub fn is_aborted(&self) -> bool {
        self.tree.as_ref().is_some_and(|tree| tree.aborted.is_some())
    }

    /// When its read view, if it has one, will be too old, for [`Detached::abort_old_view`].
    pub fn view_ends(&self) -> Option<Instant> {
        let view = self.tree.as_ref()?.view?;
        view.opened.checked_add(self.shared.options.view_age_max)
    }

    /// Aborts it: its locks and writes are gone, and it answers [`Error::Aborted`] until it is
    /// rolled back.
    pub fn abort(&mut self, reason: AbortReason) {
        if let Some(tree) = self.tree.as_mut().filter(|tree| tree.aborted.is_none()) {
            self.shared.abort(tree, reason);
        }
    }

    /// Aborts it if its read view has got too old. To be called from time to time, as the view
    /// keeps versions in memory whether it is used or not.
    pub fn abort_old_view(&mut self) {
        self.tree.iter_mut().for_each(|tree| self.shared.abort_old_view(tree));
    }
}

fn names_of(tree: &Tree) -> Vec<Name> {
    let name = |scope: &Scope| Name { txn: scope.txn, tree: tree.id, nth: scope.nth };
    tree.scopes.iter().map(name).collect()
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(mut tree) = self.tree.take() {
            self.shared.transactions_open.fetch_sub(tree.scopes.len(), Ordering::Relaxed);
            self.shared.discard(&mut tree);
        }
    }
}

impl Session {
    /// Takes a transaction out of the session, by default the current one, with its root and all
    /// that is nested in it. Its locks are no longer the session's.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`]. Nothing has changed then.
    pub fn detach(&mut self, txn: Option<TxnId>) -> Result<Detached, Error> {
        let (_, root) = self.named(txn)?;
        self.give_up();
        (self.search, self.preferred) = (None, None);
        let Some(mut tree) = self.take_out(root) else {
            return Err(Error::NoTransaction(Some(root)));
        };
        if tree.session == self.id {
            let session = self.shared.next_session();
            self.shared.hand_over(&mut tree, session);
        }
        let (shared, depends_on) = (Arc::clone(&self.shared), self.depends_on);
        Ok(Detached { shared, tree: Some(tree), depends_on })
    }

    /// What this session calls the transactions of a tree, the root first: as it has before, as far
    /// as they are among the `known`; the others get the next numbers.
    pub fn name(&mut self, detached: &Detached, known: &[Name]) -> Vec<Name> {
        let mut names = detached.names();
        for name in &mut names {
            let is_it = |of: &&Name| (of.tree, of.nth) == (name.tree, name.nth);
            name.txn = known.iter().find(is_it).map_or_else(|| self.next_txn(), |of| of.txn);
        }
        debug_assert!(names.is_sorted_by_key(|name| name.txn), "outer ones come first");
        names
    }

    /// Takes a transaction up, with all that is nested in it, as [`Session::name`] calls them,
    /// which is answered. What names no transaction is done in `current` from now on, or in the one
    /// begun last if that is none of them; until it is detached again.
    pub fn attach(
        &mut self,
        mut detached: Detached,
        known: &[Name],
        current: Option<TxnId>,
    ) -> Vec<Name> {
        let names = self.name(&detached, known);
        let Some(mut tree) = detached.tree.take() else { return Vec::new() };
        for (scope, name) in tree.scopes.iter_mut().zip(&names) {
            scope.txn = name.txn;
        }
        let root = names[0].txn;
        self.roots.extend(names.iter().map(|name| (name.txn, root)));
        self.trees.insert(root, tree);
        self.depends_on = detached.depends_on.max(self.depends_on);
        self.preferred = current.filter(|current| self.roots.contains_key(current));
        names
    }
}

impl Shared {
    /// Has everything that a tree has locked belong to another session.
    fn hand_over(&self, tree: &mut Tree, session: SessionId) {
        let _whole = Critical::enter();
        tree.session = session;
        let to = |owner: &mut crate::lock::Owner| {
            owner.session = session;
            owner.txn = tree.depth_of(owner.txn);
        };
        for (key, held) in &tree.touched {
            self.shards.write(held.shard).locks.hand_over(held.hash, key, tree.id, to);
        }
        if tree.has_ranges() {
            for shard in self.shards.indices() {
                self.shards.write(shard).locks.hand_over_ranges(tree.id, to);
            }
        }
    }
}
