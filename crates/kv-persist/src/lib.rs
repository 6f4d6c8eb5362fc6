//! Durability: the log, the snapshot that it is folded into, and recovery from both.
//!
//! # Reading the source
//!
//! The modules stand in the order in which they are best read.

pub mod error;

pub mod stored;

pub mod fs;

pub mod crypt;

pub mod compress;

pub mod failpoint;

pub mod codec;

pub mod log;

pub mod directory;

pub mod snapshot;

mod guard;

pub mod checkpoint;

pub mod store;

pub use error::Error;
pub use store::{Store, StoreOptions};
