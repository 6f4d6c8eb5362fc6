//! The engine as a library, seen from outside. One binary, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod bounded;
mod delete_all;
mod detached;
mod driving;
mod embedded;
mod eviction;
mod expiry;
mod forgotten;
mod groups;
mod logged;
mod matching;
mod room;
mod versions;
