//! What can go wrong, grouped by what the caller has to do about it.
//!
//! Codes are for programs and never change; texts are for people. What an error means for the
//! data is always the same: the command did nothing. What it means for the transaction is in
//! [`Error::aborts`].

use std::fmt;
use std::time::Duration;

use crate::lock::Mode;
use crate::types::{Condition, Interval, Isolation, Revision, SessionId, TxnId, Version, show_key};

/// Who stood in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The client.
    pub session: SessionId,
    /// The transaction, as that client names it.
    pub txn: TxnId,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {} of session {}", self.txn, self.session)
    }
}

/// What a lock was wanted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockTarget {
    /// One key.
    Key(Box<[u8]>),
    /// An interval of keys.
    Range(Interval),
}

impl fmt::Display for LockTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockTarget::Key(key) => f.write_str(&show_key(key)),
            LockTarget::Range(range) if *range == Interval::all() => f.write_str("all keys"),
            LockTarget::Range(range) => {
                write!(f, "the keys from {}", show_key(&range.from))?;
                match &range.to {
                    Some(to) => write!(f, " to {}", show_key(to)),
                    None => f.write_str(" on"),
                }
            }
        }
    }
}

/// Why a transaction was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortReason {
    /// Somebody else committed a key after its read view.
    Conflict,
    /// It closed a cycle of waits.
    Deadlock,
    /// Its client was silent for too long.
    Idle,
    /// Its read view got too old.
    ViewAge,
    /// The server is stopping.
    Shutdown,
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AbortReason::Conflict => "a conflict",
            AbortReason::Deadlock => "a deadlock",
            AbortReason::Idle => "being idle for too long",
            AbortReason::ViewAge => "its read view being too old",
            AbortReason::Shutdown => "the server's shutdown",
        })
    }
}

/// A bound that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Depth of nesting.
    Nesting,
    /// Bytes written and not yet committed by one transaction.
    WriteSet,
    /// Locks of one transaction.
    Locks,
    /// Open transactions of one session.
    SessionTransactions,
    /// Open transactions of the store.
    Transactions,
    /// Rows of a NEAREST.
    NearestRows,
    /// Bytes in one reply.
    ReplyBytes,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Nesting => "levels of nested transactions",
            Limit::WriteSet => "bytes written in one transaction",
            Limit::Locks => "locks in one transaction",
            Limit::SessionTransactions => "open transactions in one session",
            Limit::Transactions => "open transactions in the store",
            Limit::NearestRows => "rows of one NEAREST",
            Limit::ReplyBytes => "bytes in one reply",
        })
    }
}

/// Everything that the engine refuses, or fails at. Nothing of the command was done, but for
/// [`Error::CommitAll`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    // ---- The request is wrong: mend it.
    /// A key of no bytes.
    EmptyKey,
    /// A key or value above its limit.
    TooBig {
        /// "key" or "value".
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest that is taken.
        bytes_max: usize,
    },
    /// No such transaction is open in this session.
    NoTransaction(Option<TxnId>),
    /// No open transaction has this token.
    NoSuchToken,
    /// The transaction, which has a token, has been ended by somebody else, or forgotten.
    EndedElsewhere(TxnId),
    /// A nested transaction has its root's isolation.
    IsolationOfChild {
        /// What the root has.
        root: Isolation,
    },
    /// AT goes with a root transaction that is READONLY.
    AtNeedsReadonly,
    /// AT names a revision that does not exist yet.
    FutureRevision {
        /// What was asked for.
        asked: Revision,
        /// The newest there is.
        newest: Revision,
    },
    /// What a scan asks of its keys or values means nothing; the text says why.
    Condition(String),
    /// FOR UPDATE outside a transaction would lock nothing.
    ForUpdateOutside,
    /// A time to live of no second, or one that ends when no clock here goes on.
    Lifetime {
        /// What was asked for, in seconds.
        seconds: u64,
        /// The most there can be now.
        seconds_max: u64,
    },
    /// The value is not a 64-bit integer.
    NotAnInteger(Box<[u8]>),
    /// The sum does not fit 64 bits.
    Overflow(Box<[u8]>),
    /// A write in a READONLY transaction.
    ReadOnly,
    /// Every key can be deleted at once in a SERIALIZABLE transaction, or outside any.
    DeleteAllNeedsSerializable,
    /// A bound was reached.
    Limit {
        /// Which.
        limit: Limit,
        /// How many are allowed.
        max: usize,
    },

    // ---- The state is against it: look before trying again.
    /// The condition of a write was not met.
    Precondition {
        /// The key.
        key: Box<[u8]>,
        /// What was demanded.
        condition: Condition,
        /// The version that the key has; 0 is not there.
        current: Version,
    },
    /// The version that this would show is no longer kept.
    Pruned(Box<[u8]>),
    /// The whole store as of this revision cannot be shown any more: a deleted key's versions were
    /// forgotten that may have been there then.
    PrunedRevision {
        /// What was asked for.
        asked: Revision,
        /// The oldest that can be shown.
        oldest: Revision,
    },
    /// The transaction has an open child, which has to be ended first.
    ChildOpen {
        /// The one that was named.
        parent: TxnId,
        /// The child to use instead.
        child: TxnId,
    },
    /// Another command runs in the transaction, which whoever has its token can use, too.
    InUse(Option<TxnId>),
    /// Another transaction of the same session holds the lock.
    OwnLock {
        /// What was wanted.
        target: LockTarget,
        /// The transaction that holds it.
        txn: TxnId,
    },

    // ---- Retry the command.
    /// The lock was not granted in time. The transaction is as it was.
    LockTimeout {
        /// What was wanted.
        target: LockTarget,
        /// Who held it.
        holder: Option<Holder>,
        /// How long it was waited for.
        waited: Duration,
    },

    // ---- Retry the transaction: it is aborted.
    /// Somebody committed the key after the transaction's read view.
    Conflict {
        /// The transaction.
        txn: TxnId,
        /// The key.
        key: Box<[u8]>,
        /// The other's commit.
        revision: Revision,
        /// This transaction's read view.
        view: Revision,
    },
    /// The wait would have closed a cycle.
    Deadlock {
        /// The transaction that was aborted.
        txn: TxnId,
        /// What it wanted.
        target: LockTarget,
        /// Who holds it.
        holder: Holder,
        /// What the holder waits for.
        holder_waits_for: Option<LockTarget>,
    },
    /// The transaction was aborted earlier.
    Aborted {
        /// The transaction that was named.
        txn: TxnId,
        /// Why.
        reason: AbortReason,
    },

    // ---- Several at once.
    /// COMMITALL committed some and not others. Those that failed are as they were.
    CommitAll {
        /// How many were committed.
        committed: u64,
        /// The roots that were not.
        failed: Vec<TxnId>,
        /// Why the first of them was not.
        cause: Box<Error>,
    },

    // ---- Retry later.
    /// Memory is full, or this alone would fill too much of it.
    OutOfMemory {
        /// How much was to be stored, about.
        bytes: usize,
        /// How much the store may take.
        bytes_max: usize,
        /// Whether it is too much even for a store that is empty.
        is_too_large: bool,
    },
    /// The disk is full: the commit was refused before anything of it was installed. Its
    /// transaction is as it was, and may be committed again when there is space.
    DiskFull,

    // ---- Find out first.
    /// The log failed while the commit was under way: whether it survived is known after the next
    /// start only.
    Outcome,

    // ---- Tell the operator.
    /// A file could not be read or written; the text says which. Nothing of the command was done.
    Io(String),
    /// An invariant does not hold.
    Internal(String),
}

impl Error {
    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Error::EmptyKey
            | Error::IsolationOfChild { .. }
            | Error::AtNeedsReadonly
            | Error::FutureRevision { .. }
            | Error::Lifetime { .. }
            | Error::Condition(_)
            | Error::DeleteAllNeedsSerializable
            | Error::ForUpdateOutside => "ARGUMENT",
            Error::TooBig { .. } => "TOOBIG",
            Error::NoTransaction(_) | Error::NoSuchToken | Error::EndedElsewhere(_) => "NOTX",
            Error::NotAnInteger(_) | Error::Overflow(_) => "TYPE",
            Error::ReadOnly => "READONLY",
            Error::Limit { .. } => "LIMIT",
            Error::Precondition { .. } => "PRECONDITION",
            Error::Pruned(_) | Error::PrunedRevision { .. } => "PRUNED",
            Error::ChildOpen { .. } | Error::InUse(_) | Error::OwnLock { .. } => "BUSY",
            Error::LockTimeout { .. } => "TIMEOUT",
            Error::Conflict { .. } => "CONFLICT",
            Error::Deadlock { .. } => "DEADLOCK",
            Error::Aborted { .. } => "ABORTED",
            Error::CommitAll { cause, .. } => cause.code(),
            Error::OutOfMemory { .. } => "OOM",
            Error::DiskFull => "DISKFULL",
            Error::Outcome => "OUTCOME",
            Error::Io(_) => "IO",
            Error::Internal(_) => "INTERNAL",
        }
    }

    /// Whether the same thing may succeed when it is tried again: the command after
    /// [`Error::LockTimeout`], the whole transaction after the others.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::CommitAll { cause, .. } => cause.is_retryable(),
            Error::LockTimeout { .. } => true,
            _ => self.aborts(),
        }
    }

    /// Whether the transaction is aborted, all its writes gone and its locks released.
    pub fn aborts(&self) -> bool {
        matches!(self, Error::Conflict { .. } | Error::Deadlock { .. } | Error::Aborted { .. })
    }
}

impl Error {
    /// What a failpoint makes a command fail with.
    pub(crate) fn injected(error: std::io::Error) -> Error {
        Error::Io(error.to_string())
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::EmptyKey => f.write_str("a key has at least one byte"),
            Error::TooBig { what, bytes, bytes_max } => {
                write!(f, "the {what} has {bytes} bytes; at most {bytes_max} are taken")
            }
            Error::NoTransaction(_) | Error::NoSuchToken | Error::EndedElsewhere(_) => {
                self.fmt_missing(f)
            }
            Error::IsolationOfChild { root } => {
                write!(f, "a nested transaction has its root's isolation, which is {root}")
            }
            Error::AtNeedsReadonly => f.write_str("AT goes with BEGIN READONLY, not nested"),
            Error::FutureRevision { asked, newest } => {
                write!(f, "revision {asked} does not exist yet; the newest is {newest}")
            }
            Error::Lifetime { seconds, seconds_max } => {
                write!(f, "a time to live has 1 to {seconds_max} whole seconds, got {seconds}")
            }
            Error::Condition(why) => f.write_str(why),
            Error::ForUpdateOutside => {
                f.write_str("FOR UPDATE locks until the transaction ends; BEGIN one first")
            }
            Error::NotAnInteger(key) => {
                write!(f, "the value of {} is not a 64-bit signed integer", show_key(key))
            }
            Error::Overflow(key) => {
                write!(f, "the value of {} would leave the 64-bit signed range", show_key(key))
            }
            Error::ReadOnly => {
                f.write_str("a READONLY transaction refuses writes; BEGIN another to write")
            }
            Error::DeleteAllNeedsSerializable => f.write_str(
                "all keys are deleted at once in a SERIALIZABLE transaction, or outside any",
            ),
            Error::Limit { limit, max } => {
                write!(f, "at most {max} {limit} are allowed; end some, or raise the limit")
            }
            Error::Precondition { key, condition, current } => write!(
                f,
                "{condition} is not met: {} has version {current}; GET it and decide again",
                show_key(key)
            ),
            Error::Pruned(_) | Error::PrunedRevision { .. } => self.fmt_pruned(f),
            Error::ChildOpen { parent, child } => write!(
                f,
                "transaction {parent} has the open child {child}; use that, or end it first"
            ),
            Error::CommitAll { committed, failed, cause } => {
                let failed: Vec<String> = failed.iter().map(TxnId::to_string).collect();
                write!(f, "{committed} committed; {} not: {cause}", failed.join(", "))
            }
            Error::OutOfMemory { .. } | Error::DiskFull => self.fmt_room(f),
            Error::Outcome => f.write_str(
                "the log failed before the commit was known to be on disk; whether it survived is \
                 decided when the server starts again: connect again and look",
            ),
            Error::Io(fault) => write!(f, "{fault}; nothing was done; tell the operator"),
            Error::Internal(fault) => write!(f, "{fault}; report this, and run CHECK"),
            _ => self.fmt_concurrency(f),
        }
    }
}

impl Error {
    /// The texts of transactions that are not there.
    fn fmt_missing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoTransaction(Some(txn)) => {
                write!(f, "no transaction {txn} is open in this session; TRANSACTIONS lists them")
            }
            Error::NoTransaction(None) => {
                f.write_str("no transaction is open in this session; BEGIN begins one")
            }
            Error::NoSuchToken => f.write_str(
                "no open transaction has this token; it may have ended, or been idle for too long",
            ),
            Error::EndedElsewhere(txn) => write!(
                f,
                "transaction {txn} is over: somebody else who has its token ended it, or it was \
                 idle for too long; ROLLBACK lets go of its number"
            ),
            other => f.write_str(other.code()),
        }
    }

    /// The texts of what is no longer kept.
    fn fmt_pruned(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::PrunedRevision { asked, oldest } => write!(
                f,
                "revision {asked} can no longer be shown, since deleted keys of that time were \
                 forgotten; the oldest that can is {oldest}"
            ),
            Error::Pruned(key) => write!(
                f,
                "that version of {} is no longer kept; HISTORY lists those that are",
                show_key(key)
            ),
            other => f.write_str(other.code()),
        }
    }

    /// The texts of what has no room.
    fn fmt_room(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::OutOfMemory { bytes, bytes_max, is_too_large: true } => write!(
                f,
                "key and value take {bytes} bytes, more than a quarter of the {bytes_max} that the \
                 store may take; nothing was done; raise --max-memory, or store less at once"
            ),
            Error::OutOfMemory { bytes_max, .. } => write!(
                f,
                "the {bytes_max} bytes that the store may take are used up, and nothing can give \
                 way now; nothing was done; try again later, or raise --max-memory (deleting \
                 makes room at once only with --history 1)"
            ),
            _ => f.write_str(
                "the disk has no room for the log; nothing was committed, and an open transaction \
                 is as it was; make room and commit again",
            ),
        }
    }

    /// The texts of what other transactions caused.
    fn fmt_concurrency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InUse(txn) => {
                f.write_str("another command of somebody who has its token runs in ")?;
                match txn {
                    Some(txn) => write!(f, "transaction {txn}")?,
                    None => f.write_str("that transaction")?,
                }
                f.write_str("; one at a time: try again when that is done")
            }
            Error::OwnLock { target, txn } => write!(
                f,
                "{target} is locked by this session's own transaction {txn}; end that first"
            ),
            Error::LockTimeout { target, holder, waited } => {
                write!(f, "waited {} ms for {target}", waited.as_millis())?;
                if let Some(holder) = holder {
                    write!(f, ", locked by {holder}")?;
                }
                f.write_str("; nothing was done, try the command again")
            }
            Error::Conflict { txn, key, revision, view } => write!(
                f,
                "transaction {txn} was aborted: {} was committed at revision {revision}, after \
                 its read view {view}; ROLLBACK and retry",
                show_key(key)
            ),
            Error::Deadlock { txn, target, holder, holder_waits_for } => {
                write!(
                    f,
                    "transaction {txn} was aborted: it waited for {target}, held by session {}",
                    holder.session
                )?;
                if let Some(waits_for) = holder_waits_for {
                    write!(f, ", which waited for {waits_for}")?;
                }
                f.write_str("; ROLLBACK and retry")
            }
            Error::Aborted { txn, reason } => write!(
                f,
                "transaction {txn} was aborted by {reason}; nothing of it was kept; ROLLBACK \
                 ends it"
            ),
            other => f.write_str(other.code()),
        }
    }
}

/// What a lock is, as LOCKS shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockInfo {
    /// Who holds it or waits for it.
    pub holder: Holder,
    /// On what.
    pub target: LockTarget,
    /// Shared or exclusive.
    pub mode: Mode,
    /// Whether it is waited for, not held.
    pub is_waiting: bool,
    /// Since it was asked for.
    pub age: Duration,
}
