//! Reading the rows of a list back from their words, for clients and tests.
//!
//! The inverse of the text format's rows. Whether a value was stored as JSON is not in the text,
//! so every [`Datum`] read here says that it was not.

use std::borrow::Cow;
use std::fmt;
use std::ops::Bound;

use super::{
    Datum, ListKind, LockMode, LockState, LockTarget, Row, ShardLoad, StatValue, TransactionState,
};
use crate::request::Isolation;
use crate::time::parse_time;
use crate::units::parse_u64;
use crate::word::{Word, Words};

/// The words are not a row of the list that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowError {
    /// The list that was expected.
    pub kind: ListKind,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (command, form) = match self.kind {
            ListKind::Pairs => ("SCAN", "\"key\" \"value\""),
            ListKind::Shown => ("SHOWALL", "\"key\" \"value\" [id]"),
            ListKind::Versions => ("HISTORY", "version revision updated \"value\""),
            ListKind::Transactions => {
                ("TRANSACTIONS", "id parent isolation state age-in-ms writes")
            }
            ListKind::Locks => ("LOCKS", "session transaction key-or-range mode state age-in-ms"),
            ListKind::Shards => ("SHARDS", "index keys bytes"),
            ListKind::Stats => ("STATS", "name=value"),
            ListKind::Help => ("HELP", "\"topic\" \"text\""),
        };
        write!(f, "expected a row of {command}: {form}")
    }
}

impl std::error::Error for RowError {}

impl<'a> Row<'a> {
    /// Reads a row of a list of `kind` from its words.
    pub fn from_words(kind: ListKind, words: &'a [Word<'_>]) -> Result<Self, RowError> {
        let row = match kind {
            ListKind::Pairs => pair(words),
            ListKind::Shown => shown(words),
            ListKind::Versions => version(words),
            ListKind::Transactions => transaction(words),
            ListKind::Locks => lock(words),
            ListKind::Shards => shard(words),
            ListKind::Stats => stat(words),
            ListKind::Help => help(words),
        };
        row.ok_or(RowError { kind })
    }
}

fn pair<'a>(words: &'a [Word<'_>]) -> Option<Row<'a>> {
    let [key, value] = words else { return None };
    Some(Row::Pair { key: quoted(key)?, value: Datum::text(quoted(value)?) })
}

fn shown<'a>(words: &'a [Word<'_>]) -> Option<Row<'a>> {
    let (key, value, txn) = match words {
        [key, value] => (key, value, None),
        [key, value, txn] => (key, value, Some(number(txn)?)),
        _ => return None,
    };
    Some(Row::Shown { key: quoted(key)?, value: value_or_nil(value)?, txn })
}

fn version<'a>(words: &'a [Word<'_>]) -> Option<Row<'a>> {
    let [version, revision, updated, value] = words else { return None };
    Some(Row::Version {
        version: number(version)?,
        revision: number(revision)?,
        updated_ms: parse_time(&updated.bytes)?,
        value: value_or_nil(value)?,
    })
}

fn transaction<'a>(words: &'a [Word<'_>]) -> Option<Row<'a>> {
    let [id, parent, isolation, state, age_ms, writes] = words else { return None };
    Some(Row::Transaction {
        id: number(id)?,
        parent: number_or_dash(parent)?,
        isolation: Isolation::parse(&isolation.bytes)?,
        state: match &*state.bytes {
            b"open" => TransactionState::Open,
            b"aborted" => TransactionState::Aborted,
            b"none" => TransactionState::None,
            _ => return None,
        },
        age_ms: number(age_ms)?,
        writes: number(writes)?,
    })
}

fn lock<'a>(words: &'a [Word<'_>]) -> Option<Row<'a>> {
    let [session, txn, target, mode, state, age_ms] = words else { return None };
    Some(Row::Lock {
        session: number(session)?,
        txn: number_or_dash(txn)?,
        target: lock_target(target)?,
        mode: match &*mode.bytes {
            b"shared" => LockMode::Shared,
            b"exclusive" => LockMode::Exclusive,
            _ => return None,
        },
        state: match &*state.bytes {
            b"held" => LockState::Held,
            b"waiting" => LockState::Waiting,
            _ => return None,
        },
        age_ms: number(age_ms)?,
    })
}

fn shard<'a>(words: &'a [Word<'_>]) -> Option<Row<'a>> {
    let (words, load) = words.split_at_checked(3)?;
    let load = match load {
        [] => None,
        [resident, memory_bytes, reads, fetches, evictions] => Some(ShardLoad {
            resident: number(resident)?,
            memory_bytes: number(memory_bytes)?,
            reads: number(reads)?,
            fetches: number(fetches)?,
            evictions: number(evictions)?,
        }),
        _ => return None,
    };
    let [index, keys, bytes] = words else { return None };
    Some(Row::Shard { index: number(index)?, keys: number(keys)?, bytes: number(bytes)?, load })
}

fn stat<'a>(words: &'a [Word<'_>]) -> Option<Row<'a>> {
    let [word] = words else { return None };
    let (name, value) = std::str::from_utf8(&word.bytes).ok()?.split_once('=')?;
    let value = match parse_u64(value.as_bytes()) {
        Some(number) => StatValue::Number(number),
        None => StatValue::Text(value),
    };
    Some(Row::Stat { name, value })
}

fn help<'a>(words: &'a [Word<'_>]) -> Option<Row<'a>> {
    let [topic, text] = words else { return None };
    let [topic, text] = [topic, text].map(|word| std::str::from_utf8(&word.bytes).ok());
    Some(Row::Help { topic: topic?, text: text? })
}

fn quoted<'a>(word: &'a Word<'_>) -> Option<&'a [u8]> {
    word.quoted.then_some(&*word.bytes)
}

fn number(word: &Word<'_>) -> Option<u64> {
    parse_u64(&word.bytes)
}

fn number_or_dash(word: &Word<'_>) -> Option<Option<u64>> {
    if *word.bytes == *b"-" { Some(None) } else { number(word).map(Some) }
}

fn value_or_nil<'a>(word: &'a Word<'_>) -> Option<Option<Datum<'a>>> {
    match (word.quoted, &*word.bytes) {
        (true, bytes) => Some(Some(Datum::text(bytes))),
        (false, b"NIL") => Some(None),
        (false, _) => None,
    }
}

fn lock_target<'a>(word: &'a Word<'_>) -> Option<LockTarget<'a>> {
    if word.quoted {
        return Some(LockTarget::Key(Cow::Borrowed(&word.bytes)));
    }
    let (opening, rest) = word.bytes.split_first()?;
    let (closing, rest) = rest.split_last()?;
    let (from, rest) = range_end(rest)?;
    let (to, rest) = range_end(rest.strip_prefix(b"..")?)?;
    if !rest.is_empty() {
        return None;
    }
    let bound = |is_included: bool, key: Option<Cow<'a, [u8]>>| match key {
        None => Bound::Unbounded,
        Some(key) if is_included => Bound::Included(key),
        Some(key) => Bound::Excluded(key),
    };
    let (from, to) = match (opening, closing) {
        (b'[' | b'(', b']' | b')') => (bound(*opening == b'[', from), bound(*closing == b']', to)),
        _ => return None,
    };
    Some(LockTarget::Range { from, to })
}

/// The key at one end of a range; none if that end is open.
type RangeEnd<'a> = Option<Cow<'a, [u8]>>;

/// The quoted key at the front, if there is one, and what follows it.
fn range_end(bytes: &[u8]) -> Option<(RangeEnd<'_>, &[u8])> {
    if !bytes.starts_with(b"\"") {
        return Some((None, bytes));
    }
    let mut is_escaped = false;
    let closing = bytes[1..].iter().position(|byte| {
        let is_closing = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_closing
    })?;
    let (quoted, rest) = bytes.split_at(closing + 2);
    let word = Words::new(quoted).next_word().ok()??;
    Some((Some(word.bytes), rest))
}
