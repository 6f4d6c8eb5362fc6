//! An operation that may have to pause: for a lock, for room in the log, for something that is not
//! in memory, or for others, who are to have their turn.
//!
//! The engine never blocks and never reads a file. An operation that cannot go on returns a
//! [`Pause`] through the `?` of every caller; whoever drives it blocks or awaits, fetches, and
//! calls the same operation again, which finds what it lacked. [`crate::embed`] has two drivers for
//! those who have nothing else to do meanwhile; a server has its own.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::durability::{Datum, Stamp};
use crate::error::Error;
use crate::lock::wait::LockWait;
use crate::store::record::{Place, Record};
use crate::types::{Interval, Revision, ValueKind, Version, show_key};
use crate::watermark::Reached;

/// The result of an operation that may have to be called again.
pub type Step<T> = Result<T, Pause>;

/// Why an operation has no result yet, or never will.
#[derive(Debug)]
pub enum Pause {
    /// It waits for a lock: block on this or await it, then call the operation again.
    Lock(LockWait),
    /// It needs what is not in memory: give it to [`Database::fetch`](crate::Database::fetch),
    /// which may block, then call the operation again.
    Fetch(Box<Fetch>),
    /// The log has no room for its commit now: block on this or await it, then call the operation
    /// again. Nothing was done yet.
    Room(Reached),
    /// It has done as much as it may at a time, and is not done: let others have their turn, then
    /// call the operation again, which goes on where it was. Nobody has to do anything for it.
    Yield,
    /// It failed.
    Failed(Box<Error>),
}

impl From<Error> for Pause {
    fn from(error: Error) -> Pause {
        Pause::Failed(Box::new(error))
    }
}

/// Something that an operation needs and that is not in memory.
#[derive(Debug, Clone)]
pub struct Fetch {
    pub(crate) key: Box<[u8]>,
    pub(crate) wanted: Wanted,
    /// What is only for whoever paused for it, once it is fetched. Newest versions and values go to
    /// the store instead, for all.
    pub(crate) found: Arc<OnceLock<Found>>,
}

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The value of a version that is known.
    Value { version: Version, place: Place },
    /// Versions that are not known here.
    Older(Older),
    /// The newest version, or that there is none.
    Newest,
    /// What is stored of several keys.
    Page(PageRequest),
}

/// What was fetched for one operation.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// Older versions, newest first.
    Older(Vec<Record>),
    /// Newest versions, in key order.
    Page(Records),
}

/// A [`Page`] as the engine keeps it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub(crate) rows: Vec<Record>,
    /// Where the next page begins; none if there is none.
    pub(crate) next_from: Option<Box<[u8]>>,
    /// What may have deleted some of them since, in the order of revisions.
    pub(crate) wipes: Vec<Stamp>,
}

/// Which older versions of a key are wanted, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Older {
    /// Only versions below this one.
    pub below: Version,
    /// It ends with the first version whose revision is at most this.
    pub until: Option<Revision>,
    /// It ends with the first version whose number is at most this.
    pub down_to: Option<Version>,
    /// It ends after so many.
    pub limit: usize,
}

/// Which part of what is stored is wanted: newest versions of keys, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// The keys.
    pub interval: Interval,
    /// It ends after so many keys, at least 1.
    pub rows_max: usize,
    /// It may end earlier, once keys and values have so many bytes.
    pub bytes_max: usize,
}

/// A page of what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Keys with their newest versions, deletes included, in the order of the keys' bytes.
    pub rows: Vec<(Vec<u8>, Fetched)>,
    /// Where the next page begins; none if the interval has no more.
    pub next_from: Option<Box<[u8]>>,
}

/// What a [`Fetcher`] has of versions that have been folded, so that memory need not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Nothing that a newest version could be read from.
    Nothing,
    /// The values of newest versions: keys stay in memory.
    Values,
    /// Keys too: it can be asked whether there is one, and for keys in order.
    Keys,
}

/// A version that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its number.
    pub version: Version,
    /// The commit that made it.
    pub stamp: Stamp,
    /// Its value; none for a delete.
    pub value: Option<(Vec<u8>, ValueKind)>,
    /// When it expires, in milliseconds since the Unix epoch; none is never.
    pub expires_ms: Option<u64>,
}

impl Fetch {
    pub(crate) fn value(record: &Record, place: Place) -> Fetch {
        let wanted = Wanted::Value { version: record.version(), place };
        Fetch { key: record.key().into(), wanted, found: Arc::default() }
    }

    pub(crate) fn older(key: &[u8], older: Older) -> Fetch {
        Fetch { key: key.into(), wanted: Wanted::Older(older), found: Arc::default() }
    }

    /// The pause of whoever needs a key's newest version.
    pub(crate) fn newest(key: &[u8]) -> Pause {
        let fetch = Fetch { key: key.into(), wanted: Wanted::Newest, found: Arc::default() };
        Pause::Fetch(Box::new(fetch))
    }

    /// Keeps what was fetched for whoever paused for it.
    pub(crate) fn keep(&self, found: Found) {
        // If somebody else has fetched it too, it is the same.
        let _ = self.found.set(found);
    }
}

impl Fetched {
    /// As the engine keeps it.
    pub(crate) fn record(&self, key: &[u8]) -> Record {
        let datum = self.value.as_ref().map(|(bytes, kind)| Datum {
            bytes,
            kind: *kind,
            expires_ms: self.expires_ms,
        });
        Record::restored(key, self.version, self.stamp, datum)
    }
}

/// An operation's memory of what it has paused for.
#[derive(Debug, Default)]
pub(crate) struct Fetching(Option<Fetch>);

impl Fetching {
    /// The versions, if they have been fetched; else the pause to fetch them.
    pub(crate) fn older(&mut self, key: &[u8], older: Older) -> Step<Vec<Record>> {
        match self.found(Fetch::older(key, older))? {
            Found::Older(found) => Ok(found),
            Found::Page(_) => Ok(Vec::new()),
        }
    }

    /// The page, if it has been fetched; else the pause to fetch it.
    pub(crate) fn page(&mut self, wanted: PageRequest) -> Step<Records> {
        let wanted = Wanted::Page(wanted);
        match self.found(Fetch { key: Box::default(), wanted, found: Arc::default() })? {
            Found::Page(records) => Ok(records),
            Found::Older(_) => Ok(Records::default()),
        }
    }

    fn found(&mut self, wanted: Fetch) -> Step<Found> {
        let is_meant = |fetch: &Fetch| fetch.key == wanted.key && fetch.wanted == wanted.wanted;
        if let Some(fetch) = self.0.take().filter(is_meant)
            && let Some(found) = fetch.found.get()
        {
            return Ok(found.clone());
        }
        let fetch = self.0.insert(wanted);
        Err(Pause::Fetch(Box::new(fetch.clone())))
    }
}

/// Brings what is not in memory, in a store that has it elsewhere. Called from many threads.
pub trait Fetcher: fmt::Debug + Send + Sync + 'static {
    /// The bytes of the value of a version.
    ///
    /// # Errors
    ///
    /// What kept it from being read; the operation that needs it fails with it, and changes
    /// nothing.
    fn value(&self, key: &[u8], version: Version, place: Place) -> Result<Vec<u8>, Error>;

    /// Older versions of a key, newest first: those that are kept of what is wanted, without a gap.
    ///
    /// # Errors
    ///
    /// As [`Fetcher::value`].
    fn older(&self, key: &[u8], older: Older) -> Result<Vec<Fetched>, Error>;

    /// What it can be asked for, beside older versions.
    fn holds(&self) -> Holds {
        Holds::Nothing
    }

    /// The newest version of a key that is stored, which may be a delete; none if it has no key of
    /// that name. Asked only of one that [holds](Holds::Keys) keys.
    ///
    /// # Errors
    ///
    /// As [`Fetcher::value`].
    fn newest(&self, key: &[u8]) -> Result<Option<Fetched>, Error> {
        Err(Error::Internal(format!("no keys are stored, yet {} was sought", show_key(key))))
    }

    /// A part of all that is stored, as of one moment. Asked only of one that
    /// [holds](Holds::Keys) keys.
    ///
    /// # Errors
    ///
    /// As [`Fetcher::value`].
    fn page(&self, wanted: &PageRequest) -> Result<Page, Error> {
        Err(Error::Internal(format!("no keys are stored, yet {wanted:?} was sought")))
    }
}

/// A store that has everything in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NothingElsewhere;

impl Fetcher for NothingElsewhere {
    /// The value of a version that had expired: it was given back, and nobody else has it.
    fn value(&self, key: &[u8], _version: Version, _place: Place) -> Result<Vec<u8>, Error> {
        Err(Error::Pruned(key.into()))
    }

    fn older(&self, _key: &[u8], _older: Older) -> Result<Vec<Fetched>, Error> {
        Ok(Vec::new())
    }
}
