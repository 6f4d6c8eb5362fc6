//! The text format: words on lines, for people, scripts and `nc`.
//!
//! [`text_reply`](super::text_reply) is the inverse of what is written here.

use std::borrow::Cow;
use std::ops::Bound;

use super::{Datum, ErrorReply, LockTarget, Meta, Reply, Row, ShardLoad, StatValue};
use crate::time::write_time;
use crate::word::quote::write_text;
use crate::word::write_quoted;

#[inline]
pub(super) fn write(out: &mut Vec<u8>, reply: &Reply<'_>) {
    match reply {
        Reply::Done | Reply::Removed => out.extend_from_slice(b"OK"),
        Reply::Value(datum) => write_quoted(out, datum.bytes),
        Reply::Missing | Reply::NotThere => out.extend_from_slice(b"NIL"),
        Reply::Began(number) | Reply::Committed(number) => {
            out.extend_from_slice(b"OK ");
            integer(out, *number);
        }
        Reply::Number(number) => integer(out, *number),
        Reply::Pong => out.extend_from_slice(b"PONG"),
        Reply::Said(word) => write_quoted(out, word.as_bytes()),
        Reply::Meta(meta) => meta_line(out, meta),
        Reply::Error(error) => return self::error(out, error),
    }
    out.push(b'\n');
}

pub(super) fn error(out: &mut Vec<u8>, error: &ErrorReply) {
    out.extend_from_slice(b"ERR ");
    out.extend_from_slice(error.code.as_str().as_bytes());
    out.push(b' ');
    write_text(out, &error.text);
    out.push(b'\n');
}

pub(super) fn list_end(out: &mut Vec<u8>, count: u64) {
    out.extend_from_slice(b"END ");
    integer(out, count);
    out.push(b'\n');
}

pub(super) fn row(out: &mut Vec<u8>, row: &Row<'_>) {
    match row {
        Row::Pair { key, value } => {
            write_quoted(out, key);
            out.push(b' ');
            write_quoted(out, value.bytes);
        }
        Row::Key(key) => write_quoted(out, key),
        Row::Shown { key, value, txn } => {
            write_quoted(out, key);
            out.push(b' ');
            value_or_nil(out, *value);
            if let Some(txn) = txn {
                out.push(b' ');
                integer(out, *txn);
            }
        }
        Row::Version { version, revision, updated_ms, value } => {
            numbers(out, [*version, *revision]);
            write_time(out, *updated_ms);
            out.push(b' ');
            value_or_nil(out, *value);
        }
        Row::Transaction { id, parent, isolation, state, age_ms, writes } => {
            numbers(out, [*id]);
            number_or_dash(out, *parent);
            words(out, [isolation.as_str(), state.as_str()]);
            numbers(out, [*age_ms]);
            integer(out, *writes);
        }
        Row::Lock { session, txn, target, mode, state, age_ms } => {
            numbers(out, [*session]);
            number_or_dash(out, *txn);
            lock_target(out, target);
            out.push(b' ');
            words(out, [mode.as_str(), state.as_str()]);
            integer(out, *age_ms);
        }
        Row::Shard { index, keys, bytes, load } => {
            numbers(out, [*index, *keys]);
            integer(out, *bytes);
            if let Some(ShardLoad { resident, memory_bytes, reads, fetches, evictions }) = load {
                for number in [resident, memory_bytes, reads, fetches, evictions] {
                    out.push(b' ');
                    integer(out, *number);
                }
            }
        }
        Row::Stat { name, value } => stat(out, name, *value),
        Row::Help { topic, text } => {
            write_quoted(out, topic.as_bytes());
            out.push(b' ');
            write_quoted(out, text.as_bytes());
        }
    }
    out.push(b'\n');
}

#[inline]
pub(crate) fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Numbers that more words follow.
fn numbers<const N: usize>(out: &mut Vec<u8>, numbers: [u64; N]) {
    for number in numbers {
        integer(out, number);
        out.push(b' ');
    }
}

/// Words that more words follow.
fn words<const N: usize>(out: &mut Vec<u8>, words: [&str; N]) {
    for word in words {
        out.extend_from_slice(word.as_bytes());
        out.push(b' ');
    }
}

/// A number that may not exist, and that more words follow.
fn number_or_dash(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => numbers(out, [number]),
        None => words(out, ["-"]),
    }
}

fn value_or_nil(out: &mut Vec<u8>, value: Option<Datum<'_>>) {
    match value {
        Some(datum) => write_quoted(out, datum.bytes),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// All that is known of a key, as one quoted value. Nothing in it needs an escape.
fn meta_line(out: &mut Vec<u8>, meta: &Meta) {
    out.push(b'"');
    meta_words(out, meta);
    out.push(b'"');
}

/// All that is known of a key, as words.
pub(super) fn meta_words(out: &mut Vec<u8>, meta: &Meta) {
    out.extend_from_slice(b"version=");
    integer(out, meta.version);
    out.extend_from_slice(b" revision=");
    match meta.revision {
        Some(revision) => integer(out, revision),
        None => out.push(b'-'),
    }
    out.extend_from_slice(if meta.json { b" type=json bytes=" } else { b" type=text bytes=" });
    integer(out, meta.bytes);
    out.extend_from_slice(b" updated=");
    match meta.updated_ms {
        Some(updated_ms) => write_time(out, updated_ms),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" ttl=");
    match meta.ttl_s {
        Some(ttl_s) => integer(out, ttl_s),
        None => out.extend_from_slice(b"-1"),
    }
}

/// A key in quotes, or a range as one unquoted word that begins with a bracket or parenthesis, so
/// that the two are never taken for each other.
pub(super) fn lock_target(out: &mut Vec<u8>, target: &LockTarget<'_>) {
    let (from, to) = match target {
        LockTarget::Key(key) => return write_quoted(out, key),
        LockTarget::Range { from, to } => (from, to),
    };
    out.push(if matches!(from, Bound::Included(_)) { b'[' } else { b'(' });
    bound(out, from);
    out.extend_from_slice(b"..");
    bound(out, to);
    out.push(if matches!(to, Bound::Included(_)) { b']' } else { b')' });
}

fn bound(out: &mut Vec<u8>, bound: &Bound<Cow<'_, [u8]>>) {
    let (Bound::Included(key) | Bound::Excluded(key)) = bound else { return };
    let start = out.len();
    write_quoted(out, key);
    // Outside a quoted word a space would end the word; `\x20` is the same key without one.
    if out[start..].contains(&b' ') {
        let quoted = out.split_off(start);
        for byte in quoted {
            match byte {
                b' ' => out.extend_from_slice(b"\\x20"),
                _ => out.push(byte),
            }
        }
    }
}

fn stat(out: &mut Vec<u8>, name: &str, value: StatValue<'_>) {
    stat_word(out, name);
    out.push(b'=');
    match value {
        StatValue::Number(number) => integer(out, number),
        StatValue::Text(text) => stat_word(out, text),
    }
}

/// Text that must be one word without quotes.
fn stat_word(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|byte| match byte {
        0..=b' ' | 0x7f => b'_',
        _ => byte,
    }));
}
