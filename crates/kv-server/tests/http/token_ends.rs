//! How transactions with a token end: idle, by an operator, with the server; and how many there may
//! be.

use std::time::Duration;

use kv_testkit::server::eventually;

use crate::tokens::{resp, rows, token};
use crate::{http, server};

#[test]
fn idle_it_is_aborted_then_forgotten() {
    let server = server(&["--idle-transaction-timeout", "300ms"]);
    let mut lines = server.connect();
    lines.ask("BEGIN");
    lines.ask("PUT k 1");
    let token = token(&mut lines);
    eventually("its locks are free", || server.connect().ask("LOCKS") == "END 0");
    let aborted = lines.ask("COMMIT");
    assert!(
        aborted.starts_with("ERR ABORTED transaction 1 was aborted by being idle"),
        "{aborted}"
    );
    std::thread::sleep(Duration::from_millis(1000));
    assert!(lines.ask("PUT k 2").starts_with("ERR NOTX transaction 1 is over"));
    assert!(server.connect().ask(format!("ATTACH {token}")).starts_with("ERR NOTX no open"));
    assert!(lines.ask("ROLLBACK").starts_with("ERR NOTX"));
    assert_eq!(lines.ask("PUT k 3"), "OK");
}

#[test]
fn limits_and_refusals() {
    let server = server(&["--max-session-transactions", "3"]);
    let mut lines = server.connect();
    assert!(lines.ask("TOKEN").starts_with("ERR NOTX"));
    assert!(lines.ask("TOKEN 7").starts_with("ERR NOTX"));
    for wrong in ["x", "\"\"", "00000000000000000000000000000000", "\"\\xff\""] {
        let refused = lines.ask(format!("ATTACH {wrong}"));
        assert!(refused.starts_with("ERR NOTX no open transaction has this token"), "{refused}");
    }
    for _ in 0..3 {
        assert!(lines.ask("BEGIN").starts_with("OK "));
        assert!(lines.ask("TOKEN").starts_with('"'));
    }
    assert!(lines.ask("BEGIN").starts_with("ERR LIMIT at most 3"));
    let mut other = server.connect();
    other.ask("BEGIN");
    let token = token(&mut other);
    assert!(lines.ask(format!("ATTACH {token}")).starts_with("ERR LIMIT at most 3"));
    assert_eq!(lines.ask("ROLLBACK 2"), "OK");
    assert_eq!(lines.ask(format!("ATTACH {token}")), "OK 4");
    for id in [1, 3, 4] {
        assert_eq!(lines.ask(format!("ROLLBACK {id}")), "OK");
    }
    server.check_idle();
}

#[test]
fn what_is_over_is_no_longer_listed() {
    let server = server(&[]);
    let (mut one, mut other) = (server.connect(), server.connect());
    one.ask("BEGIN");
    let token = token(&mut one);
    let mut http = http(&server);
    let mut detached = || {
        let all = http.get("/v1/transactions").json();
        let sessions = all["sessions"].as_array().unwrap();
        sessions.iter().filter(|session| session["detached"] == true).count()
    };
    assert_eq!(detached(), 1);
    other.ask(format!("ATTACH {token}"));
    assert_eq!(other.ask("COMMIT"), "OK");
    assert_eq!(detached(), 0);
    // What is begun and left does not end by where it came from.
    one.ask("ROLLBACK");
    one.ask("BEGIN");
    let token = crate::tokens::token(&mut one);
    let mut operator = server.connect();
    assert_eq!(resp(&mut operator, "CLIENT KILL TYPE normal SKIPME yes"), ":2");
    assert_eq!(operator.ask(format!("ATTACH {token}")), "OK 1");
    assert_eq!(operator.ask("COMMIT"), "OK");
}

#[test]
fn an_attached_tree_counts_as_a_whole() {
    let server = server(&["--max-session-transactions", "3"]);
    let (mut one, mut other) = (server.connect(), server.connect());
    one.ask("BEGIN");
    one.ask("BEGIN 1");
    let token = token(&mut one);
    for _ in 0..2 {
        assert!(other.ask("BEGIN").starts_with("OK"));
    }
    assert!(other.ask(format!("ATTACH {token}")).starts_with("ERR LIMIT at most 3"));
    assert_eq!(other.ask("ROLLBACK"), "OK");
    assert_eq!(other.ask(format!("ATTACH {token}")), "OK 4");
    assert!(other.ask("BEGIN NESTED").starts_with("ERR LIMIT"));
    for request in ["COMMIT 3", "COMMIT 1"] {
        assert_eq!(other.ask(request), "OK");
    }
}

#[test]
fn old_views_are_aborted_and_all_keys_stay_locked() {
    let server = server(&["--max-view-age", "300ms"]);
    let (mut lines, mut other) = (server.connect(), server.connect());
    lines.ask("BEGIN READONLY");
    token(&mut lines);
    eventually("no view is open", || {
        rows(&mut server.connect(), "STATS").contains(&"read_views_open=0".to_owned())
    });
    assert!(
        lines.ask("GET k").starts_with("ERR ABORTED transaction 1 was aborted by its read view")
    );
    assert_eq!(lines.ask("ROLLBACK"), "OK");
    // A lock on all keys goes with it, and who waits for it waits on.
    other.ask("PUT k 1");
    lines.ask("BEGIN");
    assert_eq!(resp(&mut lines, "FLUSHALL"), "+OK");
    other.send("GET k");
    assert_eq!(other.read_line().trim_end(), "\"1\"", "a single read waits for nobody");
    other.send("PUT k 2");
    server.wait_for_waits(1);
    let token = token(&mut lines);
    drop(lines);
    let mut third = server.connect();
    third.ask(format!("ATTACH {token}"));
    assert_eq!(third.ask("GET k"), "NIL");
    assert_eq!(third.ask("COMMIT"), "OK");
    assert_eq!(other.read_line().trim_end(), "OK");
    assert!(rows(&mut other, "HISTORY k").iter().any(|row| row.ends_with(" NIL")));
}

#[test]
fn a_drain_rolls_back_what_has_a_token() {
    let mut server = server(&["--drain-timeout", "10s"]);
    let mut lines = server.connect();
    lines.ask("BEGIN");
    lines.ask("PUT k 1");
    token(&mut lines);
    server.signal("TERM");
    let told = lines.read_line();
    assert!(told.starts_with("ERR SHUTDOWN the server is stopping; open transactions"), "{told}");
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn an_operator_ends_it_even_while_its_command_waits() {
    let server = server(&["--lock-timeout", "1h"]);
    let (mut holder, mut one) = (server.connect(), server.connect());
    holder.ask("BEGIN");
    holder.ask("PUT k 1");
    one.ask("BEGIN");
    one.ask("PUT l 1");
    let token = token(&mut one);
    one.send("PUT k 2");
    server.wait_for_waits(1);
    let locks = rows(&mut server.connect(), "LOCKS");
    let session = locks.iter().find(|lock| lock.contains("waiting")).unwrap().split(' ').next();
    let mut operator = server.connect();
    let kill = format!("CLIENT KILL ID {}", session.unwrap());
    assert_eq!(resp(&mut operator, &kill), ":1");
    assert!(one.read_line().starts_with("ERR TIMEOUT"));
    assert!(one.ask("COMMIT").starts_with("ERR NOTX transaction 1 is over"));
    assert_eq!(operator.ask("PUT l 2"), "OK", "its locks are free");
    assert!(operator.ask(format!("ATTACH {token}")).starts_with("ERR NOTX"));
    holder.ask("ROLLBACK");
    server.check_idle();
}

#[test]
fn what_others_have_ended_does_not_add_up() {
    let server = server(&["--max-session-transactions", "3"]);
    let (mut one, mut other) = (server.connect(), server.connect());
    for _ in 0..10 {
        assert!(other.ask("BEGIN").starts_with("OK"));
        let token = token(&mut other);
        assert!(one.ask(format!("ATTACH {token}")).starts_with("OK"));
        assert_eq!(other.ask("COMMIT"), "OK");
    }
    assert!(one.ask("PUT k 1").starts_with("ERR NOTX"), "until it has let go of the last two");
    for _ in 0..2 {
        assert!(one.ask("ROLLBACK").starts_with("ERR NOTX"));
    }
    assert_eq!(one.ask("PUT k 1"), "OK");
}

#[test]
fn a_command_that_waits_while_the_server_stops_is_told_so() {
    let mut server = server(&["--drain-timeout", "10s"]);
    let (mut holder, mut one) = (server.connect(), server.connect());
    holder.ask("BEGIN");
    holder.ask("PUT k 1");
    one.ask("BEGIN");
    token(&mut one);
    one.send("PUT k 2");
    server.wait_for_waits(1);
    one.send("COMMIT");
    server.signal("TERM");
    // Either both were quick enough, or they are told why not.
    let replies = one.read_to_end();
    assert!(!replies.contains("NOTX"), "{replies}");
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn an_import_that_stalls_is_idle() {
    let server = server(&["--idle-transaction-timeout", "500ms"]);
    let mut lines = server.connect();
    lines.ask("BEGIN");
    lines.ask("PUT k 1");
    let token = token(&mut lines);
    let mut stalled = std::net::TcpStream::connect(server.http_address()).unwrap();
    let head = format!(
        "POST /v1/import HTTP/1.1\r\nHost: localhost\r\nKv-Transaction: {token}\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{{"
    );
    std::io::Write::write_all(&mut stalled, head.as_bytes()).unwrap();
    eventually("its locks are free", || rows(&mut server.connect(), "LOCKS").is_empty());
    eventually("it is told", || lines.ask("GET k").starts_with("ERR ABORTED"));
    assert_eq!(lines.ask("ROLLBACK"), "OK");
}
