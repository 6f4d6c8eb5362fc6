//! The native replies as values of the Redis protocol: OK as a simple string, ids and counts as
//! integers, values as bulk strings, lists as arrays of arrays, errors with their code in front.

use super::text::{lock_target, meta_words};
use super::{Datum, ErrorReply, Reply, Row, ShardLoad, StatValue};
use crate::resp::RespVersion;
use crate::resp::write::{array, bulk, integer, null, simple};
use crate::time::write_time;

pub(super) fn write(out: &mut Vec<u8>, reply: &Reply<'_>, version: RespVersion) {
    match reply {
        Reply::Done | Reply::Removed => simple(out, "OK"),
        Reply::Pong => simple(out, "PONG"),
        Reply::Value(datum) => bulk(out, datum.bytes),
        Reply::Missing | Reply::NotThere => null(out, version),
        Reply::Began(number) | Reply::Committed(number) => unsigned(out, *number),
        Reply::Number(number) => integer(out, *number),
        Reply::Said(word) => bulk(out, word.as_bytes()),
        Reply::Meta(meta) => {
            let mut words = Vec::new();
            meta_words(&mut words, meta);
            bulk(out, &words);
        }
        Reply::Error(refusal) => error(out, refusal),
    }
}

pub(super) fn error(out: &mut Vec<u8>, error: &ErrorReply) {
    crate::resp::write::error(out, &format!("{} {}", error.code, error.text));
}

/// Puts the number of rows before them.
pub(super) fn list_end(out: &mut Vec<u8>, count: u64, start: usize) {
    let mut header = Vec::new();
    array(&mut header, usize::try_from(count).unwrap_or(usize::MAX));
    out.splice(start..start, header);
}

pub(super) fn row(out: &mut Vec<u8>, row: &Row<'_>, version: RespVersion) {
    match row {
        Row::Pair { key, value } => {
            array(out, 2);
            bulk(out, key);
            bulk(out, value.bytes);
        }
        Row::Key(key) => bulk(out, key),
        Row::Shown { key, value, txn } => {
            array(out, if txn.is_some() { 3 } else { 2 });
            bulk(out, key);
            value_or_null(out, *value, version);
            txn.iter().for_each(|txn| unsigned(out, *txn));
        }
        Row::Version { version: number, revision, updated_ms, value } => {
            array(out, 4);
            unsigned(out, *number);
            unsigned(out, *revision);
            let mut time = Vec::new();
            write_time(&mut time, *updated_ms);
            bulk(out, &time);
            value_or_null(out, *value, version);
        }
        Row::Transaction { id, parent, isolation, state, age_ms, writes } => {
            array(out, 6);
            unsigned(out, *id);
            number_or_null(out, *parent, version);
            bulk(out, isolation.as_str().as_bytes());
            bulk(out, state.as_str().as_bytes());
            unsigned(out, *age_ms);
            unsigned(out, *writes);
        }
        Row::Lock { session, txn, target, mode, state, age_ms } => {
            array(out, 6);
            unsigned(out, *session);
            number_or_null(out, *txn, version);
            let mut shown = Vec::new();
            lock_target(&mut shown, target);
            bulk(out, &shown);
            bulk(out, mode.as_str().as_bytes());
            bulk(out, state.as_str().as_bytes());
            unsigned(out, *age_ms);
        }
        Row::Shard { index, keys, bytes, load } => {
            let mut numbers = vec![*index, *keys, *bytes];
            if let Some(ShardLoad { resident, memory_bytes, reads, fetches, evictions }) = load {
                numbers.extend([resident, memory_bytes, reads, fetches, evictions]);
            }
            array(out, numbers.len());
            numbers.into_iter().for_each(|number| unsigned(out, number));
        }
        Row::Stat { name, value } => {
            array(out, 2);
            bulk(out, name.as_bytes());
            match value {
                StatValue::Number(number) => unsigned(out, *number),
                StatValue::Text(text) => bulk(out, text.as_bytes()),
            }
        }
        Row::Help { topic, text } => {
            array(out, 2);
            bulk(out, topic.as_bytes());
            bulk(out, text.as_bytes());
        }
    }
}

fn unsigned(out: &mut Vec<u8>, number: u64) {
    integer(out, i64::try_from(number).unwrap_or(i64::MAX));
}

fn number_or_null(out: &mut Vec<u8>, number: Option<u64>, version: RespVersion) {
    match number {
        Some(number) => unsigned(out, number),
        None => null(out, version),
    }
}

fn value_or_null(out: &mut Vec<u8>, value: Option<Datum<'_>>, version: RespVersion) {
    match value {
        Some(datum) => bulk(out, datum.bytes),
        None => null(out, version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::ErrorCode;
    use crate::reply::{Format, ListKind, Meta, list_begin, list_end, list_row};

    fn written(reply: &Reply<'_>, version: RespVersion) -> String {
        let mut out = Vec::new();
        reply.write(&mut out, Format::Resp(version));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn native_replies_have_a_form_in_resp() {
        let v2 = |reply: &Reply<'_>| written(reply, RespVersion::V2);
        assert_eq!(v2(&Reply::Done), "+OK\r\n");
        assert_eq!(v2(&Reply::Began(3)), ":3\r\n");
        assert_eq!(v2(&Reply::Value(Datum::text(b"a\r\nb"))), "$4\r\na\r\nb\r\n");
        assert_eq!(v2(&Reply::Missing), "$-1\r\n");
        assert_eq!(written(&Reply::NotThere, RespVersion::V3), "_\r\n");
        let refusal = ErrorReply::new(ErrorCode::Conflict, "somebody\nwas first");
        assert_eq!(v2(&Reply::Error(refusal)), "-CONFLICT somebody was first\r\n");
        let meta = Meta {
            version: 3,
            revision: None,
            json: false,
            bytes: 8,
            updated_ms: None,
            ttl_s: Some(5),
        };
        let text = "version=3 revision=- type=text bytes=8 updated=- ttl=5";
        assert_eq!(v2(&Reply::Meta(meta)), format!("${}\r\n{text}\r\n", text.len()));
    }

    #[test]
    fn a_list_has_its_number_before_its_rows() {
        let mut out = b"+OK\r\n".to_vec();
        let format = Format::Resp(RespVersion::V2);
        let start = out.len();
        list_begin(&mut out, format, ListKind::Pairs);
        for (at, key) in [b"a", b"b"].iter().enumerate() {
            let value = Datum::text(b"1");
            list_row(&mut out, format, at == 0, &Row::Pair { key: *key, value });
        }
        list_end(&mut out, format, ListKind::Pairs, 2, start);
        let row = |key| format!("*2\r\n$1\r\n{key}\r\n$1\r\n1\r\n");
        let whole = format!("+OK\r\n*2\r\n{}{}", row("a"), row("b"));
        assert_eq!(String::from_utf8(out).unwrap(), whole);
    }
}
