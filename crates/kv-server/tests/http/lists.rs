//! Lists, export and import: of one state, in pieces, and never the beginning for the whole.

use std::time::Duration;

use serde_json::json;

use crate::{code, http, server};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

#[test]
fn pages_name_the_next_one() {
    let server = server(&[]);
    let mut lines = server.connect();
    for n in 0..25 {
        lines.ask(format!("PUT key:{n:02} {n}"));
    }
    lines.ask("PUT other 1");
    let mut http = http(&server);
    let mut path = "/v1/kv?prefix=key:&limit=10".to_owned();
    let mut keys = Vec::new();
    loop {
        let reply = http.get(&path);
        let page = reply.json();
        keys.extend(page["rows"].as_array().unwrap().iter().map(|row| row["key"].clone()));
        let Some(link) = reply.header("link") else { break };
        let last = keys.last().unwrap().as_str().unwrap().replace(":", "%3A");
        assert_eq!(page["next"], last);
        path = link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned();
    }
    assert_eq!(keys.len(), 25);
    assert_eq!(keys[24], "key:24");
    let reply = http.ask("GET", "/v1/kv?match=*:1?", &[("accept", "application/x-ndjson")], b"");
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(reply.text().lines().count(), 10);
    assert_eq!(reply.text().lines().next(), Some(r#"{"key":"key:10","value":"10"}"#));
    let range = http.get("/v1/kv?from=key:05&to=key:07").json();
    assert_eq!(range["count"], 2);
    for wrong in ["from=a", "from=b&to=a", "prefix=a&from=a&to=b", "limit=-1", "x=1"] {
        assert!([400, 422].contains(&http.get(&format!("/v1/kv?{wrong}")).status), "{wrong}");
    }
}

#[test]
fn an_export_comes_back_by_an_import() {
    let from = server(&[]);
    let mut lines = from.connect();
    for line in [
        "PUT text \"two\\nlines\"",
        "PUT \"\\xff\" \"\\x00\\xfe\"",
        "PUT json \"[1, 2]\" JSON",
        "PUT soon 1 EX 3600",
    ] {
        assert_eq!(lines.ask(line), "OK");
    }
    let exported = http(&from).get("/v1/export");
    assert!(exported.text().ends_with("{\"end\":true,\"count\":4}\n"), "{exported:?}");
    let to = server(&[]);
    let mut other = http(&to);
    let reply = other.ask("POST", "/v1/import", &[NDJSON], &exported.body);
    assert_eq!(reply.json(), json!({"imported": 4, "expired": 0, "whole": true}));
    assert_eq!(http(&to).get("/kv").json(), http(&from).get("/kv").json());
    assert_eq!(to.connect().ask("GET \"\\xff\""), "\"\\0\\xfe\"");

    let reply = other.ask("POST", "/v1/import", &[NDJSON], b"{\"key\":\"a\",\"value\":1}\n");
    assert_eq!(reply.json()["whole"], false);
    let reply = other.ask("POST", "/v1/import", &[NDJSON], b"{\"key\":\"b\",\"value\":1}\nx\n");
    assert_eq!(reply.status, 400);
    assert!(reply.json()["detail"].as_str().unwrap().starts_with("Line 2: "), "{reply:?}");
    for wrong in [
        "{\"end\":true,\"count\":3}\n",
        "{\"end\":true,\"count\":0}\n{\"key\":\"c\",\"value\":1}\n",
    ] {
        let reply = other.ask("POST", "/v1/import", &[NDJSON], wrong.as_bytes());
        assert_eq!(reply.status, 400, "{reply:?}");
    }
    let blank = b"{\"key\":\"d\",\"value\":1}\n\n{\"end\":true,\"count\":1}\n";
    let reply = other.ask("POST", "/v1/import", &[NDJSON], blank);
    assert_eq!(reply.json(), json!({"imported": 1, "expired": 0, "whole": true}));
    assert_eq!(other.send("POST", "/v1/import", "{}").status, 415);
}

#[test]
fn a_long_list_is_of_one_state_and_a_slow_reader_holds_little() {
    let server = server(&["--history", "1"]);
    let mut lines = server.connect();
    let value = "x".repeat(10_000);
    for n in 0..3000 {
        lines.ask(format!("PUT key:{n:05} {value}"));
    }
    let (_, before_kib) = server.memory_kib();
    let mut slow = http(&server);
    slow.say("GET", "/v1/export", &[], b"");
    std::thread::sleep(Duration::from_millis(300));
    // Thirty megabytes are to be sent; what is written meanwhile is not among them.
    for n in 0..100 {
        lines.ask(format!("PUT key:{n:05} changed"));
        lines.ask(format!("PUT new:{n:05} late"));
    }
    let (_, with_kib) = server.memory_kib();
    assert!(with_kib < before_kib + 16 * 1024, "{before_kib} KiB, then {with_kib}");
    let reply = slow.hear(false);
    assert!(reply.is_whole);
    let text = reply.text();
    assert!(text.ends_with("{\"end\":true,\"count\":3000}\n"));
    assert!(!text.contains("late") && !text.contains("changed"));
}

#[test]
fn a_list_that_fails_midway_is_broken_off() {
    let server = server(&["--max-view-age", "1s", "--idle-transaction-timeout", "2s"]);
    let mut lines = server.connect();
    let value = "x".repeat(10_000);
    for n in 0..3000 {
        lines.ask(format!("PUT key:{n:05} {value}"));
    }
    let mut slow = http(&server);
    let token = slow.send("POST", "/begin", r#"{"isolation":"readonly"}"#);
    let token = token.json()["transaction_id"].as_str().unwrap().to_owned();
    slow.say("GET", "/v1/export", &[("kv-transaction", &token)], b"");
    std::thread::sleep(Duration::from_millis(1500));
    let mut other = http(&server);
    let busy = other.ask("POST", "/rollback", &[("kv-transaction", &token)], b"");
    assert_eq!(code(&busy).0, 409, "the list is under way");
    let reply = slow.hear(false);
    assert_eq!(reply.status, 200);
    let is_whole = reply.is_whole && reply.text().contains("\"end\":true");
    // Either the view was still there when the list ended, or nobody takes it for the whole.
    assert!(is_whole || !reply.is_whole, "a list without its end");
}

#[test]
fn a_backup_is_an_sqlite_file() {
    let directory = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_kv-server");
    let flags = ["--http=127.0.0.1:0"];
    let server = kv_testkit::server::TestServer::start_on(program, directory.path(), &flags);
    let mut http = http(&server);
    http.send("POST", "/set", r#"{"key":"a","value":"1"}"#);
    let reply = http.get("/v1/backup");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.body.starts_with(b"SQLite format 3\0"));
    let copy = directory.path().join("copy.sqlite");
    std::fs::write(&copy, &reply.body).unwrap();
    let sqlite = rusqlite::Connection::open(&copy).unwrap();
    let keys: i64 = sqlite.query_row("select count(*) from pairs", [], |row| row.get(0)).unwrap();
    assert_eq!(keys, 1);
}
