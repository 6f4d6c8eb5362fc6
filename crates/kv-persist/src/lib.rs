//! Durability: the log, the snapshot that it is folded into, and recovery from both.
//!
//! # Reading the source
//!
//! The modules stand in the order in which they are best read.

pub mod error;

pub mod stored;

pub mod fs;

pub mod snapshot;

pub use error::Error;
