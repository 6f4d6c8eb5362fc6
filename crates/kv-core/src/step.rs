//! An operation that may have to pause: for a lock, or for a value that is not in memory.
//!
//! The engine never blocks and never reads a file. An operation that cannot go on returns a
//! [`Pause`] through the `?` of every caller; whoever drives it blocks or awaits, fetches, and
//! calls the same operation again, which finds what it lacked. [`crate::embed`] has two drivers for
//! those who have nothing else to do meanwhile; a server has its own.

use std::fmt;

use crate::error::Error;
use crate::lock::wait::LockWait;
use crate::store::record::Place;
use crate::types::{Revision, Version};
use crate::watermark::Reached;

/// The result of an operation that may have to be called again.
pub type Step<T> = Result<T, Pause>;

/// Why an operation has no result yet, or never will.
#[derive(Debug)]
pub enum Pause {
    /// It waits for a lock: block on this or await it, then call the operation again.
    Lock(LockWait),
    /// It needs a value that is elsewhere: fetch it, hand it to
    /// [`Database::supply`](crate::Database::supply), then call the operation again.
    Fetch(Box<Fetch>),
    /// The log has no room for its commit now: block on this or await it, then call the operation
    /// again. Nothing was done yet.
    Room(Reached),
    /// It failed.
    Failed(Box<Error>),
}

impl From<Error> for Pause {
    fn from(error: Error) -> Pause {
        Pause::Failed(Box::new(error))
    }
}

/// A value that an operation needs and that is not in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The key.
    pub key: Box<[u8]>,
    /// Which version of it.
    pub version: Version,
    /// The commit that made the version.
    pub revision: Revision,
    /// Where its value is.
    pub place: Place,
}

/// Brings values that are elsewhere: the log and the snapshot, in a store that has them.
pub trait Fetcher: fmt::Debug + Send + Sync + 'static {
    /// The value's bytes.
    ///
    /// # Errors
    ///
    /// What kept it from being read; the operation that needs it fails with it, and changes
    /// nothing.
    fn fetch(&self, fetch: &Fetch) -> Result<Vec<u8>, Error>;
}

/// A store all of whose values are in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NothingElsewhere;

impl Fetcher for NothingElsewhere {
    fn fetch(&self, fetch: &Fetch) -> Result<Vec<u8>, Error> {
        Err(Error::Internal(format!("no value is elsewhere, yet {fetch:?} was asked for")))
    }
}
