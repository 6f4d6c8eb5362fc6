//! Transactions: what a session can have open, nest, commit and roll back.
//!
//! # Life of a transaction
//!
//! ```text
//!                 begin
//!     (none) ───────────────► open ◄──────────────┐
//!                              │ │ └── begin child ┤ commit child, roll back child
//!              commit, rollback│ │                 │
//!     (none) ◄─────────────────┘ │ conflict, deadlock, idle, view too old
//!        ▲                       ▼
//!        └──── rollback ───── aborted
//! ```
//!
//! | arrow | function | what holds afterwards |
//! |---|---|---|
//! | begin | [`Session::begin`] | a view is registered for SNAPSHOT and READONLY |
//! | begin child | [`Session::begin`] | reads and writes go to the child |
//! | commit child | [`Session::commit`] | its writes and locks are its parent's |
//! | roll back child | [`Session::rollback`] | its writes are undone; what it saw stays locked |
//! | commit | [`Session::commit`] | one revision, no locks, no view |
//! | rollback | [`Session::rollback`] | no trace, no locks, no view |
//! | conflict … | `Shared::abort` | no trace, no locks, no view; only the name is left |
//!
//! Open or aborted, it can be taken out of its session and into another: [`Session::detach`],
//! [`Session::attach`].
//!
//! # Example
//!
//! ```text
//!   time  t1 (SERIALIZABLE)         t2 (SNAPSHOT, began at revision 5)
//!    1    GET k   → 10, S lock
//!    2                              GET k  → 10, from the view, no lock
//!    3    PUT k 11  upgrade to X
//!    4                              PUT k 12  waits for t1
//!    5    COMMIT  revision 6        CONFLICT: k was committed after the view. Aborted
//!    6                              ROLLBACK
//! ```
//!
//! # Where things are
//!
//! [`write`] decides what a write command does, given a key's state; [`tree`] keeps the books of a
//! transaction and its nested ones, [`judged`] of the times at which it has judged what expires;
//! [`past`] finds versions that are no longer the newest; [`work`]
//! reads and writes within one, taking locks; [`commit`] ends them, and does single commands;
//! [`session`] is what a client has open, and its `detached` how a transaction goes from one to
//! another; [`scan`] reads in key order, [`nearest`] by numbers.
//!
//! # Invariants
//!
//! 1. Every write of a tree is covered by an exclusive lock, and every read of a SERIALIZABLE one
//!    by a lock of some kind; both are held until the tree ends, but for what a rolled back child
//!    gives back.
//! 2. A tree that is aborted holds no locks, no view and no writes.
//! 3. What has expired for a transaction once has expired for it to its end, and what has not, has
//!    not: a view judges at the time of the view, a SERIALIZABLE one when it first locks the key.
//! 4. Of a tree that has deleted every key, all keys are locked to be written, and it sees nothing
//!    but what it has written since. What it commits of keys that it has not written is a delete.
//! 5. An operation that pauses has changed nothing but locks, and can be called again.

pub(crate) mod write;

pub(crate) mod judged;

pub(crate) mod tree;

pub(crate) mod past;

pub(crate) mod work;

pub(crate) mod commit;

pub(crate) mod session;

pub(crate) mod nearest;
pub(crate) mod scan;

#[expect(unused_imports, reason = "the page above links to it")]
use session::Session;
