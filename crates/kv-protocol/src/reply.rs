//! Replies as data, and the choice between their two formats.
//!
//! A [`Reply`] is what a command came to; the formats say how that looks on the wire.
//! Lists are written a row at a time ([`list_begin`], [`list_row`], [`list_end`] or
//! [`list_fail`]), so that a list of everything can be streamed. Everything is appended to a
//! buffer of the caller's, ends with LF and is whole lines. [`text_reply`] reads the text format
//! back, for clients.

use std::borrow::Cow;
use std::fmt;
use std::ops::Bound;

use crate::error_code::ErrorCode;
use crate::request::Isolation;
use crate::resp::RespVersion;
use crate::word::WordError;

pub mod json;
mod resp;
mod row_words;
pub(crate) mod text;
pub mod text_reply;

#[cfg(test)]
mod tests;

pub use row_words::RowError;
pub use text_reply::TextReply;

/// How a session's replies are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Words on lines, for people and scripts.
    #[default]
    Text,
    /// One JSON object on one line, for programs.
    Json,
    /// As values of the Redis protocol, to requests that come so.
    Resp(RespVersion),
}

impl Format {
    /// The keyword on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Text => "TEXT",
            Format::Json => "JSON",
            Format::Resp(RespVersion::V2) => "RESP2",
            Format::Resp(RespVersion::V3) => "RESP3",
        }
    }

    /// The format of lines that has a keyword, in either case.
    pub fn parse(word: &[u8]) -> Option<Self> {
        [Format::Text, Format::Json]
            .into_iter()
            .find(|format| format.as_str().as_bytes().eq_ignore_ascii_case(word))
    }
}

/// A stored value and whether it was stored as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datum<'a> {
    /// The value, byte for byte as it was stored.
    pub bytes: &'a [u8],
    /// Whether it is JSON, which was checked when it was stored, or text or bytes.
    pub json: bool,
}

impl<'a> Datum<'a> {
    /// A value stored as text or bytes.
    pub const fn text(bytes: &'a [u8]) -> Self {
        Self { bytes, json: false }
    }

    /// A value stored as JSON. The bytes must be valid JSON.
    pub const fn json(bytes: &'a [u8]) -> Self {
        Self { bytes, json: true }
    }
}

/// What became of the transaction that a failed command ran in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TransactionState {
    /// It goes on.
    Open,
    /// It is lost and waits for a ROLLBACK.
    Aborted,
    /// There is none.
    #[default]
    None,
}

impl TransactionState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            TransactionState::Open => "open",
            TransactionState::Aborted => "aborted",
            TransactionState::None => "none",
        }
    }
}

/// A refusal: a code for programs, a text for people, and what became of the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// Why.
    pub code: ErrorCode,
    /// What was expected, what stood in the way and what to do next. Control characters in it are
    /// escaped when it is written.
    pub text: Cow<'static, str>,
    /// The session's transaction after the error. [`ErrorReply::new`] sets it to none, since only
    /// the session knows; it is shown in the JSON format.
    pub transaction: TransactionState,
}

impl ErrorReply {
    /// A refusal outside any transaction.
    pub fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into(), transaction: TransactionState::None }
    }

    /// The same refusal with what became of the transaction.
    #[must_use]
    pub fn in_transaction(self, transaction: TransactionState) -> Self {
        Self { transaction, ..self }
    }
}

impl From<WordError> for ErrorReply {
    #[cold]
    fn from(error: WordError) -> Self {
        Self::new(ErrorCode::Syntax, error.to_string())
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

impl std::error::Error for ErrorReply {}

/// What META knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The version; for the transaction's own write, the one that it will get.
    pub version: u64,
    /// The revision; none for the transaction's own write.
    pub revision: Option<u64>,
    /// Whether the value was stored as JSON.
    pub json: bool,
    /// The size of the value.
    pub bytes: u64,
    /// When it was written, in Unix milliseconds; none while that is not decided.
    pub updated_ms: Option<u64>,
    /// The seconds until it expires, rounded up; none if it does not.
    pub ttl_s: Option<u64>,
}

/// The answer to one command, except for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// Done; there is nothing more to say.
    Done,
    /// Done: there was something to delete, or to give another time to live. `OK` in text; in JSON
    /// the opposite of [`Reply::NotThere`].
    Removed,
    /// A transaction was begun.
    Began(u64),
    /// So many transactions were committed.
    Committed(u64),
    /// A value.
    Value(Datum<'a>),
    /// There is no such key or version to read.
    Missing,
    /// There was nothing to delete, or to give another time to live.
    NotThere,
    /// A count, a sum, or 1 and 0 for yes and no.
    Number(i64),
    /// A sign of life.
    Pong,
    /// A word of the server's own: the versions of program and protocol, a token.
    Said(&'a str),
    /// About a key.
    Meta(Meta),
    /// Refused.
    Error(ErrorReply),
}

impl Reply<'_> {
    /// Appends the reply as one line with its LF.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, format: Format) {
        match format {
            Format::Text => text::write(out, self),
            Format::Json => json::write(out, self),
            Format::Resp(version) => resp::write(out, self, version),
        }
    }
}

/// What the rows of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// SCAN: [`Row::Pair`].
    Pairs,
    /// SHOWALL: [`Row::Shown`].
    Shown,
    /// HISTORY: [`Row::Version`].
    Versions,
    /// TRANSACTIONS: [`Row::Transaction`].
    Transactions,
    /// LOCKS: [`Row::Lock`].
    Locks,
    /// SHARDS: [`Row::Shard`].
    Shards,
    /// STATS: [`Row::Stat`].
    Stats,
    /// HELP: [`Row::Help`].
    Help,
}

/// What a lock is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockTarget<'a> {
    /// One key.
    Key(Cow<'a, [u8]>),
    /// All keys between two bounds.
    Range {
        /// Where it begins.
        from: Bound<Cow<'a, [u8]>>,
        /// Where it ends.
        to: Bound<Cow<'a, [u8]>>,
    },
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// Together with other readers.
    Shared,
    /// Alone.
    Exclusive,
}

impl LockMode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            LockMode::Shared => "shared",
            LockMode::Exclusive => "exclusive",
        }
    }
}

/// Whether a lock is held yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockState {
    /// It is.
    Held,
    /// Its transaction waits for it.
    Waiting,
}

impl LockState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            LockState::Held => "held",
            LockState::Waiting => "waiting",
        }
    }
}

/// What a counter of the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatValue<'a> {
    /// A number.
    Number(u64),
    /// A word. Blanks and control characters in it are written as `_`.
    Text(&'a str),
}

/// How busy a shard is, counted since the server was started but for what is in memory now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardLoad {
    /// Keys in memory, deleted ones included.
    pub resident: u64,
    /// Bytes of memory that the shard takes.
    pub memory_bytes: u64,
    /// Reads of single keys.
    pub reads: u64,
    /// Keys and values that were read back from disk.
    pub fetches: u64,
    /// Keys and values that gave way.
    pub evictions: u64,
}

/// One row of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Row<'a> {
    /// A pair of a SCAN.
    Pair {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: Datum<'a>,
    },
    /// The key of a pair, alone.
    Key(&'a [u8]),
    /// A pair of SHOWALL.
    Shown {
        /// The key.
        key: &'a [u8],
        /// Its value; none for an uncommitted delete.
        value: Option<Datum<'a>>,
        /// The transaction of this session that wrote it and has not committed.
        txn: Option<u64>,
    },
    /// A version of a key.
    Version {
        /// Its number.
        version: u64,
        /// The revision of its commit.
        revision: u64,
        /// The time of its commit, in Unix milliseconds.
        updated_ms: u64,
        /// The value; none for a delete.
        value: Option<Datum<'a>>,
    },
    /// An open transaction.
    Transaction {
        /// Its id.
        id: u64,
        /// The transaction it is nested in.
        parent: Option<u64>,
        /// Its isolation.
        isolation: Isolation,
        /// Open or aborted.
        state: TransactionState,
        /// How long ago it was begun, in milliseconds.
        age_ms: u64,
        /// How many keys it has written.
        writes: u64,
    },
    /// A lock.
    Lock {
        /// The session.
        session: u64,
        /// The session's transaction; none for a single command.
        txn: Option<u64>,
        /// What it is on.
        target: LockTarget<'a>,
        /// How.
        mode: LockMode,
        /// Held or waited for.
        state: LockState,
        /// For how long, in milliseconds.
        age_ms: u64,
    },
    /// A shard.
    Shard {
        /// Its number, from 0.
        index: u64,
        /// How many keys it has.
        keys: u64,
        /// How many bytes they take.
        bytes: u64,
        /// How busy it is, if that was asked for.
        load: Option<ShardLoad>,
    },
    /// A counter of the server.
    Stat {
        /// Its name, a word without `=`.
        name: &'a str,
        /// What it says.
        value: StatValue<'a>,
    },
    /// A line of help.
    Help {
        /// What it is about: a usage line, or what kind of help this is.
        topic: &'a str,
        /// The help.
        text: &'a str,
    },
}

/// Begins a list of `kind`; rows follow. In RESP nothing is written before it is known how many.
pub fn list_begin(out: &mut Vec<u8>, format: Format, kind: ListKind) {
    match format {
        Format::Text | Format::Resp(_) => {}
        Format::Json => json::list_begin(out, kind),
    }
}

/// Appends one row; `first` says that no row was appended before it.
#[inline]
pub fn list_row(out: &mut Vec<u8>, format: Format, first: bool, row: &Row<'_>) {
    match format {
        Format::Text => text::row(out, row),
        Format::Json => json::row(out, first, row),
        Format::Resp(version) => resp::row(out, row, version),
    }
}

/// Ends a list after `count` rows. In RESP the number stands before the rows, of which the first
/// is at `start`.
pub fn list_end(out: &mut Vec<u8>, format: Format, kind: ListKind, count: u64, start: usize) {
    match format {
        Format::Resp(_) => resp::list_end(out, count, start),
        Format::Text => text::list_end(out, count),
        Format::Json => json::list_end(out, kind, count),
    }
}

/// Ends a list that failed midway: in text with an ERR line in place of END. In JSON the rows are
/// closed and a second `status`, with the error beside it, takes back the first; there is no count.
pub fn list_fail(out: &mut Vec<u8>, format: Format, kind: ListKind, error: &ErrorReply) {
    match format {
        Format::Text => text::error(out, error),
        Format::Json => json::list_fail(out, kind, error),
        // Nothing was written that says that there is a list.
        Format::Resp(_) => resp::error(out, error),
    }
}
