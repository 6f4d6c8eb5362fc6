//! The JSON format: every reply is one JSON object on one line, for programs in any language.
//!
//! A value stored as JSON stands in the reply as itself. A line break between its tokens would
//! end the reply early, so it becomes a space; inside its strings JSON allows no raw one. Bytes
//! that are not UTF-8 are given in base64 under another name, never changed.

use std::io::Write;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;

use super::text::{integer, lock_target};
use super::{Datum, ErrorReply, ListKind, LockTarget, Meta, Reply, Row, StatValue};
use crate::time::write_time;
use crate::word::quote::plain_length;

/// What a key begins with that is not UTF-8, or that begins with this very word.
pub(crate) const KEY_BASE64: &[u8] = b"base64:";

#[inline]
pub(super) fn write(out: &mut Vec<u8>, reply: &Reply<'_>) {
    if let Reply::Error(error) = reply {
        out.push(b'{');
        failure(out, error);
        out.extend_from_slice(b"}\n");
        return;
    }
    out.extend_from_slice(br#"{"status":"Ok""#);
    match reply {
        Reply::Done | Reply::Error(_) => {}
        Reply::Removed => out.extend_from_slice(br#","found":true"#),
        Reply::NotThere => out.extend_from_slice(br#","found":false"#),
        Reply::Began(id) => number(out, "transaction_id", *id),
        Reply::Committed(count) => number(out, "committed", *count),
        Reply::Value(datum) => {
            out.extend_from_slice(br#","found":true"#);
            value(out, "result", *datum);
        }
        Reply::Missing => out.extend_from_slice(br#","found":false,"result":null"#),
        Reply::Number(result) => number(out, "result", *result),
        Reply::Pong => text(out, "result", "PONG"),
        Reply::Said(word) => text(out, "result", word),
        Reply::Meta(facts) => meta(out, facts),
    }
    out.extend_from_slice(b"}\n");
}

/// The members of an error, without braces.
fn failure(out: &mut Vec<u8>, error: &ErrorReply) {
    out.extend_from_slice(br#""status":"Error""#);
    text(out, "code", error.code.as_str());
    text(out, "message", &error.text);
    let retryable = if error.code.is_retryable() { "true" } else { "false" };
    member(out, "retryable");
    out.extend_from_slice(retryable.as_bytes());
    text(out, "transaction", error.transaction.as_str());
}

fn meta(out: &mut Vec<u8>, meta: &Meta) {
    out.extend_from_slice(br#","found":true,"result":{"version":"#);
    integer(out, meta.version);
    number_or_null(out, "revision", meta.revision);
    text(out, "type", if meta.json { "json" } else { "text" });
    number(out, "bytes", meta.bytes);
    match meta.updated_ms {
        Some(updated_ms) => time(out, "updated", updated_ms),
        None => null(out, "updated"),
    }
    number_or_null(out, "ttl", meta.ttl_s);
    out.push(b'}');
}

pub(super) fn list_begin(out: &mut Vec<u8>, kind: ListKind) {
    out.extend_from_slice(match kind {
        ListKind::Shown => br#"{"status":"Ok","data":{"#,
        _ => br#"{"status":"Ok","rows":["#,
    });
}

pub(super) fn list_end(out: &mut Vec<u8>, kind: ListKind, count: u64) {
    rows_end(out, kind);
    if kind != ListKind::Shown {
        number(out, "count", count);
    }
    out.extend_from_slice(b"}\n");
}

pub(super) fn list_fail(out: &mut Vec<u8>, kind: ListKind, error: &ErrorReply) {
    rows_end(out, kind);
    out.push(b',');
    failure(out, error);
    out.extend_from_slice(b"}\n");
}

fn rows_end(out: &mut Vec<u8>, kind: ListKind) {
    out.push(if kind == ListKind::Shown { b'}' } else { b']' });
}

pub(super) fn row(out: &mut Vec<u8>, first: bool, row: &Row<'_>) {
    if !first {
        out.push(b',');
    }
    let start = out.len();
    match row {
        Row::Pair { key, value: datum } => {
            key_member(out, key);
            value(out, "value", *datum);
        }
        Row::Key(key) => key_member(out, key),
        Row::Shown { key, value, txn } => return shown(out, key, *value, *txn),
        Row::Version { version, revision, updated_ms, value } => {
            number(out, "version", *version);
            number(out, "revision", *revision);
            time(out, "updated", *updated_ms);
            value_or_deleted(out, *value);
        }
        Row::Transaction { id, parent, isolation, state, age_ms, writes } => {
            number(out, "id", *id);
            number_or_null(out, "parent", *parent);
            text(out, "isolation", isolation.as_str());
            text(out, "state", state.as_str());
            number(out, "age_in_ms", *age_ms);
            number(out, "writes", *writes);
        }
        Row::Lock { session, txn, target, mode, state, age_ms } => {
            number(out, "session", *session);
            number_or_null(out, "transaction", *txn);
            lock_target_member(out, target);
            text(out, "mode", mode.as_str());
            text(out, "state", state.as_str());
            number(out, "age_in_ms", *age_ms);
        }
        Row::Shard { index, keys, bytes, load } => {
            number(out, "index", *index);
            number(out, "keys", *keys);
            number(out, "bytes", *bytes);
            if let Some(load) = load {
                number(out, "resident", load.resident);
                number(out, "memory_bytes", load.memory_bytes);
                number(out, "reads", load.reads);
                number(out, "fetches", load.fetches);
                number(out, "evictions", load.evictions);
            }
        }
        Row::Stat { name, value } => {
            text(out, "name", name);
            match value {
                StatValue::Number(value) => number(out, "value", *value),
                StatValue::Text(value) => text(out, "value", value),
            }
        }
        Row::Help { topic, text: help } => {
            text(out, "topic", topic);
            text(out, "text", help);
        }
    }
    // Every member was begun with a comma; the first one's is where the brace belongs.
    out[start] = b'{';
    out.push(b'}');
}

/// A pair of SHOWALL: not an element of a list but a member named by its key.
fn shown(out: &mut Vec<u8>, key: &[u8], value: Option<Datum<'_>>, txn: Option<u64>) {
    self::key(out, key);
    out.push(b':');
    let start = out.len();
    value_or_deleted(out, value);
    out[start] = b'{';
    number_or_null(out, "transaction_id", txn);
    out.push(b'}');
}

/// Appends `,"name":`.
#[inline]
fn member(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn null(out: &mut Vec<u8>, name: &str) {
    member(out, name);
    out.extend_from_slice(b"null");
}

fn number(out: &mut Vec<u8>, name: &str, number: impl itoa::Integer) {
    member(out, name);
    integer(out, number);
}

fn number_or_null(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    match value {
        Some(value) => number(out, name, value),
        None => null(out, name),
    }
}

fn text(out: &mut Vec<u8>, name: &str, text: &str) {
    member(out, name);
    string(out, text);
}

fn time(out: &mut Vec<u8>, name: &str, unix_ms: u64) {
    member(out, name);
    out.push(b'"');
    write_time(out, unix_ms);
    out.push(b'"');
}

/// A value under its name, or under its name and `_base64` if it is not UTF-8.
#[inline]
fn value(out: &mut Vec<u8>, name: &str, datum: Datum<'_>) {
    if datum.json {
        member(out, name);
        return one_line(out, datum.bytes);
    }
    if let Ok(valid) = std::str::from_utf8(datum.bytes) {
        return text(out, name, valid);
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"_base64\":\"");
    base64(out, datum.bytes);
    out.push(b'"');
}

/// Appends a value by itself: text as a string, JSON as itself, other bytes as `{"base64":"…"}`.
pub fn value_alone(out: &mut Vec<u8>, datum: Datum<'_>) {
    if datum.json {
        return one_line(out, datum.bytes);
    }
    match std::str::from_utf8(datum.bytes) {
        Ok(valid) => string(out, valid),
        Err(_) => {
            out.extend_from_slice(b"{\"base64\":\"");
            base64(out, datum.bytes);
            out.extend_from_slice(b"\"}");
        }
    }
}

/// A value, or `null` and `"deleted":true`, because `null` alone is a value of JSON's.
fn value_or_deleted(out: &mut Vec<u8>, datum: Option<Datum<'_>>) {
    match datum {
        Some(datum) => value(out, "value", datum),
        None => out.extend_from_slice(br#","value":null,"deleted":true"#),
    }
}

fn key_member(out: &mut Vec<u8>, bytes: &[u8]) {
    member(out, "key");
    key(out, bytes);
}

/// Appends a key as a string that names it and no other.
pub fn key(out: &mut Vec<u8>, bytes: &[u8]) {
    match plain_key(bytes) {
        Some(text) => string(out, text),
        None => {
            out.push(b'"');
            key_name(out, bytes);
            out.push(b'"');
        }
    }
}

/// Appends the name of a key without quotes; what surrounds it may want escapes.
pub fn key_name(out: &mut Vec<u8>, bytes: &[u8]) {
    match plain_key(bytes) {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        None => {
            out.extend_from_slice(KEY_BASE64);
            base64(out, bytes);
        }
    }
}

/// A key that is its own name.
fn plain_key(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|_| !bytes.starts_with(KEY_BASE64))
}

fn lock_target_member(out: &mut Vec<u8>, target: &LockTarget<'_>) {
    match target {
        LockTarget::Key(key) => key_member(out, key),
        LockTarget::Range { .. } => {
            let mut range = Vec::new();
            lock_target(&mut range, target);
            // What quoting leaves of any key is valid UTF-8.
            text(out, "range", &String::from_utf8_lossy(&range));
        }
    }
}

pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() / 3 * 4 + 4);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}", Base64Display::new(bytes, &STANDARD));
}

/// A validated JSON value with its line breaks, which stand between tokens only, as spaces.
fn one_line(out: &mut Vec<u8>, json: &[u8]) {
    let mut rest = json;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(b' ');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// A string of JSON with everything escaped that must be.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, after) = rest.split_at(plain_length(rest, stands));
        out.extend_from_slice(plain);
        let Some((first, others)) = after.split_first() else { break };
        escape(out, *first);
        rest = others;
    }
    out.push(b'"');
}

/// Whether a byte stands for itself in a string of JSON.
const fn stands(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "\\u{byte:04x}");
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}
