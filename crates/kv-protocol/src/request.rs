//! Requests as data: what a client may ask for, whatever framing it asked in.
//!
//! A [`Request`] says what was asked and nothing about how it is done. It borrows keys and values
//! from the received line, so that parsing allocates nothing on the common path. Parsing and
//! writing each command live with that command, below [`command`]; this module
//! only dispatches, through the one registry.

use std::borrow::Cow;
use std::time::Duration;

pub(crate) mod arguments;
mod size;
#[cfg(test)]
pub(crate) mod tests;

use crate::command::{self, CommandSpec};
use crate::reply::{ErrorReply, Format};
use crate::word::Words;
use arguments::Arguments;

/// What a new transaction is begun in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parent {
    /// Nothing: it is independent.
    #[default]
    None,
    /// The transaction with this id.
    Id(u64),
    /// The transaction that a command without an id would run in.
    Current,
}

/// What a transaction is protected from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// As if transactions ran one after the other; by locks.
    Serializable,
    /// Reads from one point in time and never waits for it; writes conflict.
    Snapshot,
    /// Reads from one point in time, never waits, never writes.
    ReadOnly,
}

impl Isolation {
    /// Every level, the default first.
    pub const ALL: [Isolation; 3] =
        [Isolation::Serializable, Isolation::Snapshot, Isolation::ReadOnly];

    /// The keyword on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Isolation::Serializable => "SERIALIZABLE",
            Isolation::Snapshot => "SNAPSHOT",
            Isolation::ReadOnly => "READONLY",
        }
    }

    /// The level of a keyword, in either case.
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|isolation| isolation.as_str().as_bytes().eq_ignore_ascii_case(word))
    }
}

/// What must hold for a PUT to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is no such key.
    Absent,
    /// There is such a key.
    Present,
    /// The key's newest version is this one; 0 means that there is no such key.
    Version(u64),
}

/// What a PUT says beside key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// How long the key is to live, in seconds, at least 1; none is without end.
    pub ttl_s: Option<u64>,
    /// What must hold for it to be done.
    pub condition: Option<Condition>,
    /// Whether the value is JSON rather than text or bytes.
    pub json: bool,
}

/// Which state of a key a GET reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The newest that the transaction sees.
    Newest {
        /// The transaction; without it the current one.
        txn: Option<u64>,
        /// Whether to take the lock that a write will need.
        for_update: bool,
    },
    /// One committed version, whatever came after it.
    Version(u64),
    /// What was committed at a revision.
    At(u64),
}

/// Which keys a SCAN or COUNT is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interval<'a> {
    /// All of them.
    #[default]
    All,
    /// Those that begin with these bytes.
    Prefix(Cow<'a, [u8]>),
    /// Those at or after `from` and before `to`.
    Range {
        /// The first key that belongs to it, if it exists.
        from: Cow<'a, [u8]>,
        /// The first key that does not; never below `from`.
        to: Cow<'a, [u8]>,
    },
}

/// What a text must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// All of it fits this glob.
    Glob(Cow<'a, [u8]>),
    /// This regular expression is found in it.
    Regex(Cow<'a, [u8]>),
}

/// What a value must be for its pair to be selected. Whether a pattern is one, and whether a text
/// is a number, is for the engine to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueCondition<'a> {
    /// Byte for byte this.
    Equal(Cow<'a, [u8]>),
    /// It looks so.
    Matches(Pattern<'a>),
    /// At or after `from` and before `to`, by bytes.
    Range {
        /// The least value.
        from: Cow<'a, [u8]>,
        /// What all are below; never below `from`.
        to: Cow<'a, [u8]>,
    },
    /// A number between two, both included.
    Number {
        /// The least number, as text.
        low: Cow<'a, [u8]>,
        /// The greatest number, as text.
        high: Cow<'a, [u8]>,
    },
}

/// What a SCAN returns and a COUNT counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection<'a> {
    /// The keys looked at.
    pub interval: Interval<'a>,
    /// What a key looks like.
    pub key: Option<Pattern<'a>>,
    /// What a value is.
    pub value: Option<ValueCondition<'a>>,
    /// The most rows; 0 is allowed and gives none.
    pub limit: Option<u64>,
    /// Only keys after this one, which need not exist: where a page before this one ended. The
    /// empty word stands before every key.
    pub after: Option<Cow<'a, [u8]>>,
    /// The transaction; without it the current one.
    pub txn: Option<u64>,
}

/// What a NEAREST returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest<'a> {
    /// The number, as text; whether it is one is for the engine to see.
    pub number: Cow<'a, [u8]>,
    /// The most rows; 0 is allowed and gives none.
    pub rows: u64,
    /// Only keys that begin with this.
    pub prefix: Option<Cow<'a, [u8]>>,
    /// The transaction; without it the current one.
    pub txn: Option<u64>,
}

/// One request. `txn` is the transaction that was named; without it the current one is meant.
///
/// What is large and rare is boxed: every request is moved a few times on its way.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Begin a transaction.
    Begin {
        /// What it is begun in.
        parent: Parent,
        /// Its isolation, if one was named.
        isolation: Option<Isolation>,
        /// The revision to read at; only with [`Isolation::ReadOnly`] and without a parent.
        at: Option<u64>,
        /// How long it waits for a lock, in whole milliseconds.
        wait: Option<Duration>,
    },
    /// Commit a transaction.
    Commit {
        /// Which.
        txn: Option<u64>,
    },
    /// Undo a transaction.
    Rollback {
        /// Which.
        txn: Option<u64>,
    },
    /// Commit every transaction of this session.
    CommitAll,
    /// Ask for the token of a transaction, by which any connection can go on with it.
    Token {
        /// Which.
        txn: Option<u64>,
    },
    /// Go on with the transaction of a token.
    Attach {
        /// The token, whatever was sent as one.
        token: Cow<'a, [u8]>,
    },
    /// Set a key.
    Put {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// The value; valid JSON if the options say that it is JSON.
        value: Cow<'a, [u8]>,
        /// The transaction.
        txn: Option<u64>,
        /// What else was said.
        options: PutOptions,
    },
    /// Read a key.
    Get {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// Which state of it.
        read: Read,
    },
    /// Delete a key.
    Del {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// The transaction.
        txn: Option<u64>,
        /// The version that must be the newest.
        if_version: Option<u64>,
    },
    /// Ask whether a key exists.
    Exists {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// The transaction.
        txn: Option<u64>,
    },
    /// Add to a number.
    Incr {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// How much; 1 if nothing else was said.
        by: i64,
        /// The transaction.
        txn: Option<u64>,
    },
    /// Ask for a key's version, type, size and times.
    Meta {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// The transaction.
        txn: Option<u64>,
    },
    /// Have a key expire.
    Expire {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// After how many seconds, at least 1.
        ttl_s: u64,
        /// The transaction.
        txn: Option<u64>,
    },
    /// Have a key not expire.
    Persist {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// The transaction.
        txn: Option<u64>,
    },
    /// Ask how long a key has to live.
    Ttl {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// The transaction.
        txn: Option<u64>,
    },
    /// List a key's kept versions, the newest first.
    History {
        /// The key, never empty.
        key: Cow<'a, [u8]>,
        /// The most rows.
        limit: Option<u64>,
    },
    /// List pairs in the order of their keys.
    Scan(Box<Selection<'a>>),
    /// Count pairs.
    Count(Box<Selection<'a>>),
    /// List the pairs whose values are the numbers closest to one, the closest first.
    Nearest(Box<Nearest<'a>>),
    /// List every pair.
    ShowAll {
        /// As this transaction sees it; without it, what is committed and this session's writes.
        txn: Option<u64>,
    },
    /// List this session's open transactions.
    Transactions,
    /// Ask for the revision of this session's last commit.
    Revision,
    /// List the locks held and waited for.
    Locks,
    /// List the shards.
    Shards {
        /// With how busy each is.
        with_load: bool,
    },
    /// List the server's counters.
    Stats,
    /// Verify the store's invariants.
    Check,
    /// Fold the log into the snapshot now.
    Checkpoint,
    /// Write a copy of the data while serving.
    Backup {
        /// The file's name, never empty. Whether it stays within the directory for backups is for
        /// the server to see.
        file: Cow<'a, [u8]>,
    },
    /// Choose how replies are written from now on.
    Format(Format),
    /// Ask for a sign of life.
    Ping,
    /// Ask for the versions of program and protocol.
    Version,
    /// Ask for help, on one command or on all of them.
    Help(Option<&'static CommandSpec>),
    /// Say goodbye.
    Quit,
}

const _: () = assert!(
    size_of::<Request<'_>>() <= 104,
    "no larger than a PUT: beyond 128 bytes a move is a call of memcpy, which each GET would pay"
);

/// Where a request, borrowed as its second argument says, names a transaction, if it can.
macro_rules! transaction_place {
    ($request:expr, $($borrowed:tt)+) => {
        match $request {
            Request::Commit { txn }
            | Request::Rollback { txn }
            | Request::Token { txn }
            | Request::Put { txn, .. }
            | Request::Get { read: Read::Newest { txn, .. }, .. }
            | Request::Del { txn, .. }
            | Request::Exists { txn, .. }
            | Request::Incr { txn, .. }
            | Request::Meta { txn, .. }
            | Request::Expire { txn, .. }
            | Request::Persist { txn, .. }
            | Request::Ttl { txn, .. }
            | Request::ShowAll { txn } => Some(txn),
            Request::Scan(selection) | Request::Count(selection) => {
                Some($($borrowed)+ selection.txn)
            }
            Request::Nearest(nearest) => Some($($borrowed)+ nearest.txn),
            _ => None,
        }
    };
}

impl<'a> Request<'a> {
    /// Reads one line, given without its LF or CRLF. A line without a word is `None`, not an
    /// error: it is to be ignored.
    ///
    /// Sizes are not judged here but by [`Request::check_sizes`], since their limits are a
    /// server's own.
    pub fn parse(line: &'a [u8]) -> Result<Option<Self>, ErrorReply> {
        let mut words = Words::new(line);
        let verb = match words.next_borrowed() {
            Some(verb) => Cow::Borrowed(verb),
            None => match words.next_word()? {
                Some(verb) => verb.bytes,
                None => return Ok(None),
            },
        };
        let Some(spec) = command::find(&verb) else {
            return Err(command::unknown(&verb));
        };
        let mut arguments = Arguments::new(spec, words);
        let request = (spec.parse)(&mut arguments)?;
        arguments.end()?;
        Ok(Some(request))
    }

    /// Appends the line that [`Request::parse`] reads this request from, without LF. A duration
    /// is written in whole milliseconds.
    pub fn write(&self, out: &mut Vec<u8>) {
        command::write(self, out);
    }

    /// The key of a request that is about one.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Request::Put { key, .. }
            | Request::Get { key, .. }
            | Request::Del { key, .. }
            | Request::Exists { key, .. }
            | Request::Incr { key, .. }
            | Request::Meta { key, .. }
            | Request::Expire { key, .. }
            | Request::Persist { key, .. }
            | Request::Ttl { key, .. }
            | Request::History { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The transaction that it names.
    pub fn transaction(&self) -> Option<u64> {
        match self {
            Request::Begin { parent: Parent::Id(txn), .. } => Some(*txn),
            other => transaction_place!(other, &).copied().flatten(),
        }
    }

    /// Whether it is done in the current transaction, if there is one and it names none.
    pub fn runs_in_current(&self) -> bool {
        match self {
            Request::Begin { parent, .. } => *parent == Parent::Current,
            // They are about a session, or do not touch what is in the transaction.
            Request::ShowAll { .. } | Request::Token { .. } => false,
            other => transaction_place!(other, &).is_some(),
        }
    }

    /// The same request in the transaction that was named beside it. One that names another itself
    /// keeps that.
    ///
    /// # Errors
    ///
    /// The name of the command, if it does not run in a transaction that is named.
    pub fn in_transaction(mut self, id: u64) -> Result<Self, &'static str> {
        let name = self.spec().name;
        let place = transaction_place!(&mut self, &mut).ok_or(name)?;
        place.get_or_insert(id);
        Ok(self)
    }

    /// The registry's entry for this request's command.
    pub fn spec(&self) -> &'static CommandSpec {
        command::spec_of(self)
    }
}
