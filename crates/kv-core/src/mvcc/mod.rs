//! Versions, revisions and read views: multi-version concurrency control.
//!
//! Every commit has a revision, and every key that it changes gets a new version stamped with it.
//! Readers without locks pick a revision, the *read view*, and see of each key the newest version
//! at or below it (Reed 1978; Bernstein and Goodman 1983). They never wait, and nobody waits for
//! them.
//!
//! Time runs down, keys across; `1:a` is version 1 with value a, `×` a delete:
//!
//! ```text
//!   revision |  house      car       | a view opened at this revision sees
//!   ---------+-----------------------+-------------------------------------
//!      1     |  1:small              | house=small
//!      2     |             1:red     | house=small car=red
//!      3     |  2:large    2:blue    | house=large car=blue   (one commit, two keys)
//!      4     |             3:×       | house=large
//! ```
//!
//! A transaction t1 with a view at 2 keeps reading `small` and `red` though 3 and 4 are committed.
//! Versions beyond the history (say it keeps one) are dropped when no view needs them: as long as
//! t1 is open, `1:small` and `1:red` stay; `2:blue` need not, for no open view lies between 3 and
//! 4; and when t1 has ended, `1:small` and `1:red` go too.
//!
//! [`order`] gives the revisions and says which are visible; [`views`] knows which views are open.
//! [`times`] remembers when revisions were committed, by which views of the past judge expiry.
//! The version chains themselves are in [`crate::store::shard`].
//!
//! Invariants:
//!
//! 1. A view never shows part of a commit: revisions become visible in order, whole.
//! 2. Revision order is the order of lock release is the order of commit times.
//! 3. A version that an open registered view sees is never dropped; a view of the past that was
//!    opened later may find it gone, and is told so (`Pruned`), never given another version.

pub(crate) mod order;
pub(crate) mod times;
pub(crate) mod views;
