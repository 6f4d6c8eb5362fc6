//! What the tests share: scripts, the reference model, the history checker.
//!
//! Three ways to doubt a database, from the most readable to the most thorough:
//!
//! - [`script`]: schedules of a few sessions as text files (`scripts/`), each step with the reply
//!   that must come or the word that it must not come yet;
//! - [`model`]: a store so plain that it cannot be wrong, to compare the real one with;
//! - [`checker`]: takes what thousands of concurrent transactions saw and proves that no allowed
//!   order explains it, or says nothing.
//!
//! This crate knows no other crate of the workspace: it judges them from outside, by what a
//! client can see, so that it cannot inherit their mistakes. Only tests use it.

pub mod script;

pub mod model;

pub mod checker;

pub mod server;

pub mod programs;

pub mod files;
