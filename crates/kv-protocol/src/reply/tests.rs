//! Tests of replies in both formats: how each looks, that text is read back as what it was, and
//! that JSON is valid and one line, whatever the bytes.

use std::borrow::Cow;
use std::ops::Bound;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::time::TIME_MS_MAX;
use crate::word::Word;

fn text(reply: &Reply<'_>) -> String {
    let mut out = Vec::new();
    reply.write(&mut out, Format::Text);
    String::from_utf8(out).unwrap()
}

fn json(reply: &Reply<'_>) -> String {
    let mut out = Vec::new();
    reply.write(&mut out, Format::Json);
    String::from_utf8(out).unwrap()
}

fn list(format: Format, kind: ListKind, rows: &[Row<'_>]) -> String {
    let mut out = Vec::new();
    list_begin(&mut out, format, kind);
    for (index, row) in rows.iter().enumerate() {
        list_row(&mut out, format, index == 0, row);
    }
    list_end(&mut out, format, kind, rows.len() as u64, 0);
    String::from_utf8(out).unwrap()
}

const META: Meta = Meta {
    version: 3,
    revision: Some(17),
    json: false,
    bytes: 8,
    updated_ms: Some(1_795_168_800_123),
    ttl_s: Some(59),
};

#[test]
fn each_reply_in_both_formats() {
    let error = ErrorReply::new(ErrorCode::Deadlock, "ROLLBACK and \"retry\"")
        .in_transaction(TransactionState::Aborted);
    let value = |bytes| Reply::Value(Datum::text(bytes));
    for (reply, expected_text, expected_json) in [
        (Reply::Done, "OK", r#"{"status":"Ok"}"#),
        (Reply::Removed, "OK", r#"{"status":"Ok","found":true}"#),
        (Reply::NotThere, "NIL", r#"{"status":"Ok","found":false}"#),
        (Reply::Began(1), "OK 1", r#"{"status":"Ok","transaction_id":1}"#),
        (Reply::Committed(2), "OK 2", r#"{"status":"Ok","committed":2}"#),
        (
            value(b"value999"),
            r#""value999""#,
            r#"{"status":"Ok","found":true,"result":"value999"}"#,
        ),
        (
            value(b"a\"\n\x01\x08"),
            r#""a\"\n\x01\x08""#,
            r#"{"status":"Ok","found":true,"result":"a\"\n\u0001\b"}"#,
        ),
        (
            value(b"\xff\xfe"),
            r#""\xff\xfe""#,
            r#"{"status":"Ok","found":true,"result_base64":"//4="}"#,
        ),
        (Reply::Missing, "NIL", r#"{"status":"Ok","found":false,"result":null}"#),
        (Reply::Number(-7), "-7", r#"{"status":"Ok","result":-7}"#),
        (Reply::Pong, "PONG", r#"{"status":"Ok","result":"PONG"}"#),
        (Reply::Said("kv 1"), r#""kv 1""#, r#"{"status":"Ok","result":"kv 1"}"#),
        (
            Reply::Error(error),
            r#"ERR DEADLOCK ROLLBACK and "retry""#,
            concat!(
                r#"{"status":"Error","code":"DEADLOCK","message":"ROLLBACK and \"retry\"","#,
                r#""retryable":true,"transaction":"aborted"}"#
            ),
        ),
    ] {
        assert_eq!(text(&reply), format!("{expected_text}\n"));
        assert_eq!(json(&reply), format!("{expected_json}\n"));
    }
}

#[test]
fn meta_is_one_quoted_value_in_text_and_an_object_in_json() {
    assert_eq!(
        text(&Reply::Meta(META)),
        "\"version=3 revision=17 type=text bytes=8 updated=2026-11-20T10:00:00.123Z ttl=59\"\n"
    );
    assert_eq!(
        json(&Reply::Meta(META)),
        "{\"status\":\"Ok\",\"found\":true,\"result\":{\"version\":3,\"revision\":17,\
         \"type\":\"text\",\"bytes\":8,\"updated\":\"2026-11-20T10:00:00.123Z\",\"ttl\":59}}\n"
    );
    let own = Meta { revision: None, json: true, updated_ms: None, ttl_s: None, ..META };
    assert_eq!(
        text(&Reply::Meta(own)),
        "\"version=3 revision=- type=json bytes=8 updated=- ttl=-1\"\n"
    );
    assert_eq!(
        serde_json::from_str::<Value>(&json(&Reply::Meta(own))).unwrap()["result"],
        json!({"version": 3, "revision": null, "type": "json", "bytes": 8, "updated": null,
               "ttl": null})
    );
}

#[test]
fn a_json_value_stands_as_itself_on_one_line() {
    let reply = Reply::Value(Datum::json(b"{\r\n \"a\": [1.0,\n\"\\n\"]}\n"));
    assert_eq!(
        json(&reply),
        "{\"status\":\"Ok\",\"found\":true,\"result\":{   \"a\": [1.0, \"\\n\"]} }\n"
    );
    assert_eq!(text(&Reply::Value(Datum::json(b"{\n}"))), "\"{\\n}\"\n");
}

#[test]
fn control_characters_of_an_error_text_are_escaped() {
    let error = Reply::Error(ErrorReply::new(ErrorCode::Io, "a\nb\u{7f}\"c\\"));
    assert_eq!(text(&error), "ERR IO a\\nb\\x7f\"c\\\n");
    let reply: Value = serde_json::from_str(&json(&error)).unwrap();
    assert_eq!(reply["message"], "a\nb\u{7f}\"c\\");
    assert_eq!(reply["retryable"], false);
    assert_eq!(reply["transaction"], "none");
}

#[test]
fn pairs() {
    let rows = [
        Row::Pair { key: b"a", value: Datum::text(b"1") },
        Row::Pair { key: b"\xff", value: Datum::text(b"\xfe") },
        Row::Pair { key: b"base64:x", value: Datum::json(b"[1]") },
    ];
    assert_eq!(
        list(Format::Text, ListKind::Pairs, &rows),
        "\"a\" \"1\"\n\"\\xff\" \"\\xfe\"\n\"base64:x\" \"[1]\"\nEND 3\n"
    );
    assert_eq!(
        list(Format::Json, ListKind::Pairs, &rows),
        "{\"status\":\"Ok\",\"rows\":[{\"key\":\"a\",\"value\":\"1\"},\
         {\"key\":\"base64:/w==\",\"value_base64\":\"/g==\"},\
         {\"key\":\"base64:YmFzZTY0Ong=\",\"value\":[1]}],\"count\":3}\n"
    );
    assert_eq!(list(Format::Text, ListKind::Pairs, &[]), "END 0\n");
    assert_eq!(
        list(Format::Json, ListKind::Pairs, &[]),
        "{\"status\":\"Ok\",\"rows\":[],\"count\":0}\n"
    );
}

#[test]
fn everything_shown() {
    let rows = [
        Row::Shown { key: b"house", value: Some(Datum::text(b"small")), txn: Some(2) },
        Row::Shown { key: b"gone", value: None, txn: Some(2) },
        Row::Shown { key: b"nameofkey", value: Some(Datum::text(b"value999")), txn: None },
    ];
    assert_eq!(
        list(Format::Text, ListKind::Shown, &rows),
        "\"house\" \"small\" 2\n\"gone\" NIL 2\n\"nameofkey\" \"value999\"\nEND 3\n"
    );
    assert_eq!(
        list(Format::Json, ListKind::Shown, &rows),
        "{\"status\":\"Ok\",\"data\":{\"house\":{\"value\":\"small\",\"transaction_id\":2},\
         \"gone\":{\"value\":null,\"deleted\":true,\"transaction_id\":2},\
         \"nameofkey\":{\"value\":\"value999\",\"transaction_id\":null}}}\n"
    );
    assert_eq!(list(Format::Json, ListKind::Shown, &[]), "{\"status\":\"Ok\",\"data\":{}}\n");
}

#[test]
fn versions_and_transactions() {
    let updated_ms = 1_795_168_800_123;
    let rows = [
        Row::Version { version: 2, revision: 17, updated_ms, value: None },
        Row::Version { version: 1, revision: 9, updated_ms, value: Some(Datum::text(b"v")) },
    ];
    assert_eq!(
        list(Format::Text, ListKind::Versions, &rows),
        "2 17 2026-11-20T10:00:00.123Z NIL\n1 9 2026-11-20T10:00:00.123Z \"v\"\nEND 2\n"
    );
    assert_eq!(
        list(Format::Json, ListKind::Versions, &rows[..1]),
        "{\"status\":\"Ok\",\"rows\":[{\"version\":2,\"revision\":17,\
         \"updated\":\"2026-11-20T10:00:00.123Z\",\"value\":null,\"deleted\":true}],\"count\":1}\n"
    );
    let row = Row::Transaction {
        id: 2,
        parent: None,
        isolation: Isolation::Snapshot,
        state: TransactionState::Open,
        age_ms: 5,
        writes: 1,
    };
    let rows = [row];
    assert_eq!(list(Format::Text, ListKind::Transactions, &rows), "2 - SNAPSHOT open 5 1\nEND 1\n");
    assert_eq!(
        list(Format::Json, ListKind::Transactions, &rows),
        "{\"status\":\"Ok\",\"rows\":[{\"id\":2,\"parent\":null,\"isolation\":\"SNAPSHOT\",\
         \"state\":\"open\",\"age_in_ms\":5,\"writes\":1}],\"count\":1}\n"
    );
}

#[test]
fn locks() {
    let lock = |target| Row::Lock {
        session: 7,
        txn: Some(1),
        target,
        mode: LockMode::Shared,
        state: LockState::Waiting,
        age_ms: 130,
    };
    let bytes = |key: &'static [u8]| Cow::Borrowed(key);
    let rows = [
        lock(LockTarget::Key(bytes(b"[a"))),
        lock(LockTarget::Range {
            from: Bound::Included(bytes(b"a b")),
            to: Bound::Excluded(bytes(b"c\"..")),
        }),
        lock(LockTarget::Range { from: Bound::Unbounded, to: Bound::Included(bytes(b"")) }),
    ];
    assert_eq!(
        list(Format::Text, ListKind::Locks, &rows),
        "7 1 \"[a\" shared waiting 130\n\
         7 1 [\"a\\x20b\"..\"c\\\"..\") shared waiting 130\n\
         7 1 (..\"\"] shared waiting 130\nEND 3\n"
    );
    let reply: Value =
        serde_json::from_str(&list(Format::Json, ListKind::Locks, &rows[..2])).unwrap();
    assert_eq!(reply["rows"][0]["key"], "[a");
    assert_eq!(reply["rows"][1]["range"], r#"["a\x20b".."c\"..")"#);
    assert_eq!(reply["rows"][1]["transaction"], 1);
    assert_eq!(reply["rows"][1]["mode"], "shared");
}

#[test]
fn shards_stats_and_help() {
    let rows = [Row::Shard { index: 0, keys: 512, bytes: 40_960, load: None }];
    assert_eq!(list(Format::Text, ListKind::Shards, &rows), "0 512 40960\nEND 1\n");
    let load =
        ShardLoad { resident: 500, memory_bytes: 80_000, reads: 7, fetches: 2, evictions: 12 };
    let rows = [Row::Shard { index: 0, keys: 512, bytes: 40_960, load: Some(load) }];
    let shown = "0 512 40960 500 80000 7 2 12\nEND 1\n";
    assert_eq!(list(Format::Text, ListKind::Shards, &rows), shown);
    let reply: Value = serde_json::from_str(&list(Format::Json, ListKind::Shards, &rows)).unwrap();
    assert_eq!(
        (&reply["rows"][0]["bytes"], &reply["rows"][0]["evictions"]),
        (&40_960.into(), &12.into())
    );
    let rows = [
        Row::Stat { name: "keys", value: StatValue::Number(5) },
        Row::Stat { name: "note", value: StatValue::Text("two words\n") },
    ];
    assert_eq!(list(Format::Text, ListKind::Stats, &rows), "keys=5\nnote=two_words_\nEND 2\n");
    assert_eq!(
        list(Format::Json, ListKind::Stats, &rows[..1]),
        "{\"status\":\"Ok\",\"rows\":[{\"name\":\"keys\",\"value\":5}],\"count\":1}\n"
    );
    let rows = crate::command::help(crate::command::find(b"PING"));
    assert_eq!(
        list(Format::Text, ListKind::Help, &rows),
        "\"usage\" \"PING\"\n\"summary\" \"answers PONG\"\n\"example\" \"PING\"\n\
         \"reply\" \"PONG\"\nEND 4\n"
    );
}

#[test]
fn a_list_that_fails_midway_does_not_look_complete() {
    let error = ErrorReply::new(ErrorCode::Io, "disk");
    let row = Row::Shown { key: b"k", value: Some(Datum::text(b"v")), txn: None };
    let fail = |format| {
        let mut out = Vec::new();
        list_begin(&mut out, format, ListKind::Shown);
        list_row(&mut out, format, true, &row);
        list_fail(&mut out, format, ListKind::Shown, &error);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(fail(Format::Text), "\"k\" \"v\"\nERR IO disk\n");
    let line = fail(Format::Json);
    assert_eq!(line.find('\n'), Some(line.len() - 1));
    let reply: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&reply["status"], &reply["code"]), (&json!("Error"), &json!("IO")));
    assert_eq!(reply["data"]["k"]["value"], "v");
    assert_eq!(reply["count"], Value::Null);
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..24),
        prop::sample::select(vec![b"base64:".to_vec(), b"a b\"..\\".to_vec(), b"NIL".to_vec()]),
        "[a-zäö家\n\"\\\\]{0,12}".prop_map(String::into_bytes),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        bytes().prop_map(Bound::Included),
        bytes().prop_map(Bound::Excluded),
    ]
}

/// Writes a row as text and reads its words.
fn row_words(row: &Row<'_>) -> Vec<Word<'static>> {
    let mut line = Vec::new();
    list_row(&mut line, Format::Text, true, row);
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'));
    match TextReply::parse(&line).unwrap() {
        TextReply::Row(words) => words,
        other => panic!("{other:?}"),
    }
}

fn json_of_row(kind: ListKind, row: &Row<'_>) -> Value {
    let line = list(Format::Json, kind, std::slice::from_ref(row));
    assert_eq!(line.find('\n'), Some(line.len() - 1));
    serde_json::from_str(&line).unwrap()
}

/// Checks that a row is read back from its text as itself, and that its JSON can be read.
fn check_row(kind: ListKind, row: &Row<'_>) {
    assert_eq!(Row::from_words(kind, &row_words(row)).as_ref(), Ok(row));
    json_of_row(kind, row);
}

proptest! {
    #[test]
    fn replies_are_read_back_as_what_they_were(bytes in bytes(), number: u64, signed: i64) {
        let read = |reply: &Reply<'_>| {
            let line = text(reply);
            TextReply::parse(line.strip_suffix('\n').unwrap().as_bytes()).unwrap()
        };
        prop_assert_eq!(read(&Reply::Began(number)), TextReply::Ok(Some(number)));
        prop_assert_eq!(read(&Reply::Number(signed)), TextReply::Number(signed));
        prop_assert_eq!(read(&Reply::Value(Datum::text(&bytes))), TextReply::Value(bytes));
    }

    #[test]
    fn values_are_one_line_of_json_and_never_changed(bytes in bytes()) {
        let line = json(&Reply::Value(Datum::text(&bytes)));
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        let reply: Value = serde_json::from_str(&line).unwrap();
        match std::str::from_utf8(&bytes) {
            Ok(text) => prop_assert_eq!(reply["result"].as_str(), Some(text)),
            Err(_) => {
                use base64::Engine;
                let decoded = base64::engine::general_purpose::STANDARD
                    .decode(reply["result_base64"].as_str().unwrap());
                prop_assert_eq!(decoded.unwrap(), bytes);
            }
        }
    }

    #[test]
    fn errors_are_read_back(text in "[ -~ä家]{0,40}", index in 0..ErrorCode::ALL.len()) {
        let code = ErrorCode::ALL[index];
        let reply = Reply::Error(ErrorReply::new(code, text.clone()));
        let line = self::text(&reply);
        let read = TextReply::parse(line.trim_end_matches('\n').as_bytes());
        prop_assert_eq!(read, Ok(TextReply::Error { code, text }));
    }

    #[test]
    fn rows_of_keys_are_read_back(
        key in bytes(), value in prop::option::of(bytes()), txn: Option<u64>, revision: u64,
        updated_ms in 0..=TIME_MS_MAX,
    ) {
        let datum = value.as_deref().map(Datum::text);
        let pair = Row::Pair { key: &key, value: datum.unwrap_or(Datum::text(b"")) };
        check_row(ListKind::Pairs, &pair);
        check_row(ListKind::Shown, &Row::Shown { key: &key, value: datum, txn });
        let version = Row::Version { version: 1, revision, updated_ms, value: datum };
        check_row(ListKind::Versions, &version);
    }

    #[test]
    fn rows_of_status_are_read_back(
        session: u64, age_ms: u64, txn: Option<u64>, key in bytes(),
        (from, to) in (bound(), bound()), name in "[a-z_]{1,9}", word in "[a-z.:]{1,9}",
    ) {
        for target in [
            LockTarget::Key(key.into()),
            LockTarget::Range { from: from.map(Cow::Owned), to: to.map(Cow::Owned) },
        ] {
            let (mode, state) = (LockMode::Exclusive, LockState::Held);
            check_row(ListKind::Locks, &Row::Lock { session, txn, target, mode, state, age_ms });
        }
        let (isolation, state) = (Isolation::ReadOnly, TransactionState::Aborted);
        check_row(
            ListKind::Transactions,
            &Row::Transaction { id: session, parent: txn, isolation, state, age_ms, writes: 0 },
        );
        let load = txn.map(|resident| ShardLoad {
            resident,
            memory_bytes: age_ms,
            reads: session,
            fetches: 0,
            evictions: 1,
        });
        let shard = Row::Shard { index: 0, keys: session, bytes: age_ms, load };
        check_row(ListKind::Shards, &shard);
        check_row(ListKind::Help, &Row::Help { topic: &name, text: &word });
        for value in [StatValue::Number(age_ms), StatValue::Text(&word)] {
            check_row(ListKind::Stats, &Row::Stat { name: &name, value });
        }
    }

    #[test]
    fn keys_are_named_apart_in_json(one in bytes(), other in bytes()) {
        let name = |key: &[u8]| {
            let row = Row::Pair { key, value: Datum::text(b"") };
            json_of_row(ListKind::Pairs, &row)["rows"][0]["key"].clone()
        };
        prop_assert_eq!(name(&one) == name(&other), one == other);
    }

    #[test]
    fn hostile_lines_are_no_replies_and_never_panic(
        line in r#"(OK|END|ERR|NIL|[\[("\\. x0-9])?[ -~]{0,20}"#,
    ) {
        if let Ok(TextReply::Row(words)) = TextReply::parse(line.as_bytes()) {
            for kind in [
                ListKind::Pairs, ListKind::Shown, ListKind::Versions, ListKind::Transactions,
                ListKind::Locks, ListKind::Shards, ListKind::Stats, ListKind::Help,
            ] {
                let _ = Row::from_words(kind, &words);
            }
        }
    }
}

#[test]
fn lines_that_are_no_replies_are_told() {
    for line in ["", " ", "OK x", "END", "END x", "ERR", "ERR FOO text", "\"a", "\"a\"b"] {
        let read = TextReply::parse(line.as_bytes());
        assert!(read.is_err(), "{line}: {read:?}");
    }
    let error = Row::from_words(ListKind::Shards, &[]).unwrap_err();
    assert_eq!(error.to_string(), "expected a row of SHARDS: index keys bytes");
}
