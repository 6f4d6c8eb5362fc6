//! The seam to a log: what the engine asks of whatever makes its commits durable.
//!
//! A commit goes through four steps, and only the first can fail:
//!
//! ```text
//!   prepare    versions are decided under the locks, the changes encoded    CommitLog::encode
//!   reserve    log space is set aside; a full disk refuses here             CommitLog::reserve
//!   begin      one short critical section: revision, time, log position     CommitLog::append
//!   install    the records become visible, the locks are released
//! ```
//!
//! The engine does not wait for the disk. The log raises a [`Watermark`], the durable revision;
//! reads without locks go no further than it, and whoever shows a reply to somebody first waits
//! until it has reached what the reply depends on.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::critical::Critical;
use crate::step::Step;
use crate::types::{Revision, ValueKind, Version};
use crate::watermark::Watermark;

/// A value as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datum<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What it is, beyond its bytes.
    pub kind: ValueKind,
    /// When it expires, in milliseconds since the Unix epoch; none is never.
    pub expires_ms: Option<u64>,
}

/// One version that a commit makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The version that it gets.
    pub version: Version,
    /// Its value; none for a delete.
    pub datum: Option<Datum<'a>>,
}

/// What a commit is stamped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its revision.
    pub revision: Revision,
    /// When it was, in milliseconds since the Unix epoch; never below an earlier commit's.
    pub time_ms: u64,
}

/// The first wipe after a revision, of several in their order: a wipe is a commit that deletes
/// every key.
pub fn first_wipe_after(wipes: &[Stamp], revision: Revision) -> Option<Stamp> {
    wipes.get(wipes.partition_point(|wipe| wipe.revision <= revision)).copied()
}

/// How much a commit writes, before it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitSize {
    /// How many versions.
    pub changes: usize,
    /// Bytes of their keys and values.
    pub bytes: usize,
}

impl CommitSize {
    /// Counts one change more.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.changes += 1;
        self.bytes += bytes;
    }
}

/// The encoded changes of a commit. Small ones need no allocation.
pub type Payload = SmallVec<[u8; 256]>;

/// Makes commits durable, in the order of their revisions.
pub trait CommitLog: fmt::Debug + Send + Sync + 'static {
    /// Sets space aside for a commit that is no larger than this, and answers how many bytes. Each
    /// reservation ends in one call of [`append`](CommitLog::append) or
    /// [`release`](CommitLog::release).
    ///
    /// # Errors
    ///
    /// [`Pause::Room`](crate::Pause::Room) if there will be space later;
    /// [`Error::DiskFull`](crate::Error::DiskFull), or what made the log fail.
    fn reserve(&self, size: CommitSize) -> Step<u64>;

    /// Gives a reservation back.
    fn release(&self, reserved: u64);

    /// Appends the encoded changes to a payload. Does not block and does not fail.
    fn encode(&self, changes: &mut dyn Iterator<Item = Change<'_>>, payload: &mut Payload);

    /// Says in a payload, before any change is appended to it, that the commit deletes every key
    /// that it does not change: a *wipe*. It counts as a change without bytes.
    fn encode_wipe(&self, payload: &mut Payload);

    /// Gives a commit its place in the log. Called in the order of revisions, within the critical
    /// section that orders commits: it must be short, and must not fail.
    fn append(&self, stamp: Stamp, payload: &mut Payload, reserved: u64);

    /// Says that something has been appended, outside the critical section.
    fn appended(&self);

    /// The durable revision. It may stand at `u64::MAX` from the beginning, if nobody is to wait
    /// for the disk.
    fn durable(&self) -> Arc<Watermark>;
}

/// Log space that is set aside, and given back unless it is used.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    log: &'a dyn CommitLog,
    bytes: u64,
}

impl<'a> Reservation<'a> {
    pub(crate) fn new(log: &'a dyn CommitLog, size: CommitSize) -> Step<Reservation<'a>> {
        let _whole = Critical::enter();
        Ok(Reservation { log, bytes: log.reserve(size)? })
    }

    /// Gives the commit its place, within the critical section.
    pub(crate) fn append(self, stamp: Stamp, payload: &mut Payload) {
        self.log.append(stamp, payload, self.bytes);
        std::mem::forget(self);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let _whole = Critical::enter();
        self.log.release(self.bytes);
    }
}
