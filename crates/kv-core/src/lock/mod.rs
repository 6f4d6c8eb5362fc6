//! Locks: strict two-phase locking on keys and on intervals of keys.
//!
//! # The model
//!
//! A transaction tree (root and nested transactions together) owns locks. A lock is *shared* or
//! *exclusive*, on one key or on an interval; two locks of different trees stand against each
//! other if they meet on some key and one of them is exclusive. Locks are held until the tree
//! ends. A read of a missing key locks its name, and a scan locks the interval it examined: that
//! is what keeps phantoms out (Eswaran, Gray, Lorie, Traiger 1976, who called it predicate
//! locking; ours are intervals).
//!
//! # Two halves
//!
//! [`table`] is one shard's granted locks, under the shard's latch: it grants at once or not at
//! all. [`waits`] is the one queue of all who wait, under a mutex of its own, taken by who must
//! wait and by a release that finds somebody waiting, never by anyone else. So a transaction that
//! meets nobody touches only the shards of its keys.
//!
//! ```text
//!   try_acquire (shard latch) ── granted ─────────────────────────────► go on
//!        └─ not granted ─► waits (mutex, then one shard latch at a time)
//!                            ├─ nobody in the way any more ───────────► go on
//!                            ├─ would wait for its own session ───────► Busy
//!                            ├─ may not wait ─────────────────────────► Timeout
//!                            ├─ closes a cycle ───────────────────────► Deadlock
//!                            └─ queued: a LockWait to block on or await
//! ```
//!
//! # Example
//!
//! ```text
//!   time   t1                    t2                    t3               queue
//!    1     S on k                                                       -
//!    2                           X on k: waits for t1                   t2:X
//!    3                                                 S on k: waits    t2:X t3:S
//!    4     X on k: only holder,                                         t2:X t3:S
//!          an upgrade: through the
//!          queue, but at once
//!    5     ends                  granted                                t3:S
//!    6                           ends                  granted          -
//! ```
//!
//! # Invariants
//!
//! 1. Who comes to the queue has a mark in every shard that its request concerns, set before it
//!    looks who stands in its way. So either it sees a release, or the release sees the mark. And
//!    past a mark a table grants nothing by itself, not even an upgrade: what the queue has seen
//!    is still so when it enters a lock.
//! 2. A session waits for at most one thing, and while it waits its own locks do not change. So
//!    every member of a cycle stands still, and whoever closes the cycle sees all of it: deadlocks
//!    are found when they form, exactly, with one victim, the one whose request closes it. (A tree
//!    that was detached is a session of its own; while a client's command in it waits, the client's
//!    session waits with it, for the same thing.)
//! 3. Requests are granted in the order they came, keys and ranges in one queue, except: an
//!    upgrade goes ahead of all waiters; and a request passes a waiter that itself waits, directly
//!    or through others, for the requester's session, for that waiter cannot move before the
//!    requester does. (So does a queued range when an upgrade goes ahead of it that waits for it.)
//! 4. What a queued request waits for is read off holders and queue. Of the requests ahead it is
//!    enough to look back, on each key, to the nearest exclusive one that passes nobody: that one
//!    waits for all before it.
//!
//! # Latch order
//!
//! Taken from left to right; never more than one shard latch at a time, but where keys are touched
//! ahead (`store::ahead`), which latches several to read and waits for none of them:
//!
//! ```text
//!   waits mutex  →  one shard latch  →  commit order mutex, views mutex  (nothing after these)
//! ```

pub(crate) mod table;
pub(crate) mod wait;
pub(crate) mod waits;

use crate::types::{SessionId, TreeId, TxnId};

/// What a lock permits others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Others may share it: a read.
    Shared,
    /// Nobody else has any: a write.
    Exclusive,
}

impl Mode {
    pub(crate) fn is_compatible_with(self, other: Mode) -> bool {
        self == Mode::Shared && other == Mode::Shared
    }
}

/// Who holds a lock or waits for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The unit that locks belong to.
    pub(crate) tree: TreeId,
    /// The unit that waits: the node of the wait-for graph.
    pub(crate) session: SessionId,
    /// The transaction, as its session names it, that asked: for people.
    pub(crate) txn: TxnId,
}
