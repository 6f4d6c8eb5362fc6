//! Transactions by token.

use std::time::Duration;

use kv_testkit::server::eventually;
use serde_json::json;

use crate::client::{Http, Reply};
use crate::{code, http, server};

fn begin(http: &mut Http, body: &str) -> String {
    let reply = http.send("POST", "/begin", body);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["transaction_id"].as_str().unwrap().to_owned()
}

/// A request in a transaction.
fn within(http: &mut Http, token: &str, method: &str, path: &str, body: &str) -> Reply {
    let headers = [("kv-transaction", token), ("content-type", "application/json")];
    http.ask(method, path, &headers, body.as_bytes())
}

#[test]
fn a_transaction_nests_and_works_from_any_connection() {
    let server = server(&[]);
    let (mut one, mut two) = (http(&server), http(&server));
    let reply = one.ask("POST", "/begin", &[], b"");
    let begun = reply.json();
    assert_eq!((&begun["status"], &begun["depth"]), (&json!("transaction started"), &json!(1)));
    assert!(begun["expires_at"].as_f64().unwrap() > 1.7e9);
    let token = begun["transaction_id"].as_str().unwrap();
    assert_eq!(token.len(), 32);
    within(&mut one, token, "POST", "/put/a", r#"{"value":"1"}"#);
    assert_eq!(one.get("/get/a").status, 404, "not committed");
    assert_eq!(within(&mut two, token, "GET", "/get/a", "").json()["value"], "1");
    assert_eq!(within(&mut two, token, "POST", "/begin", "").json()["depth"], 2);
    within(&mut two, token, "PUT", "/kv", r#"{"key":"b","value":2}"#);
    assert_eq!(within(&mut one, token, "GET", "/snapshot", "").json(), json!({"a": "1", "b": 2}));
    let undone = within(&mut one, token, "POST", "/rollback", "");
    assert_eq!(undone.json(), json!({"status": "rolled back"}));
    let done = within(&mut one, token, "POST", "/commit", "");
    assert_eq!(done.json(), json!({"status": "committed"}));
    assert_eq!(two.get("/kv").json(), json!({"a": "1"}));
    // It is over.
    assert_eq!(code(&within(&mut one, token, "GET", "/get/a", "")).0, 409);
    for path in ["/commit", "/rollback"] {
        assert_eq!(code(&one.ask("POST", path, &[], b"")), (400, "NOTX".to_owned()));
    }
    let two_of_them = [("kv-transaction", token), ("kv-transaction", token)];
    assert_eq!(code(&one.ask("GET", "/get/a", &two_of_them, b"")).0, 400);
}

#[test]
fn isolation_is_chosen_and_conflicts_are_409() {
    let server = server(&[]);
    let mut http = http(&server);
    let token = begin(&mut http, r#"{"isolation":"snapshot"}"#);
    assert_eq!(within(&mut http, &token, "GET", "/get/a", "").status, 404);
    http.send("POST", "/put/a", r#"{"value":"somebody else's"}"#);
    assert_eq!(within(&mut http, &token, "GET", "/get/a", "").status, 404, "one state");
    let reply = within(&mut http, &token, "POST", "/put/a", r#"{"value":"mine"}"#);
    assert_eq!(code(&reply), (409, "CONFLICT".to_owned()));
    assert_eq!(reply.json()["retryable"], true);
    let text = reply.json()["detail"].to_string();
    assert!(text.contains("transaction 1 was aborted"), "it is named by how deep it is: {text}");
    let reply = within(&mut http, &token, "POST", "/commit", "");
    assert_eq!(code(&reply), (409, "ABORTED".to_owned()));
    assert_eq!(within(&mut http, &token, "POST", "/rollback", "").status, 200);
    let token = begin(&mut http, r#"{"isolation":"readonly"}"#);
    let reply = within(&mut http, &token, "POST", "/put/a", r#"{"value":1}"#);
    assert_eq!(code(&reply), (403, "READONLY".to_owned()));
    within(&mut http, &token, "POST", "/rollback", "");
    assert_eq!(http.send("POST", "/begin", r#"{"isolation":"none"}"#).status, 422);
}

#[test]
fn one_request_at_a_time_and_a_client_that_goes_away_waits_no_longer() {
    let server = server(&[]);
    let (mut one, mut two) = (http(&server), http(&server));
    let holder = begin(&mut one, "{}");
    within(&mut one, &holder, "POST", "/put/a", r#"{"value":1}"#);
    let waiter = begin(&mut one, "{}");
    let headers = [("kv-transaction", &*waiter), ("content-type", "application/json")];
    let mut three = http(&server);
    three.say("POST", "/put/a", &headers, br#"{"value":2}"#);
    server.wait_for_waits(1);
    let busy = within(&mut two, &waiter, "GET", "/get/b", "");
    assert_eq!(code(&busy), (409, "BUSY".to_owned()));
    drop(three);
    eventually("the request is given up", || {
        within(&mut two, &waiter, "GET", "/get/b", "").status == 404
    });
    // Its own request is gone, its transaction is not.
    assert_eq!(within(&mut two, &holder, "POST", "/commit", "").status, 200);
    within(&mut two, &waiter, "POST", "/put/a", r#"{"value":3}"#);
    assert_eq!(within(&mut two, &waiter, "POST", "/commit", "").status, 200);
    assert_eq!(two.get("/kv").json(), json!({"a": 3}));
}

#[test]
fn an_idle_transaction_is_aborted_then_forgotten() {
    let server = server(&["--idle-transaction-timeout", "300ms"]);
    let mut http = http(&server);
    let token = begin(&mut http, "{}");
    within(&mut http, &token, "POST", "/put/a", r#"{"value":1}"#);
    std::thread::sleep(Duration::from_millis(450));
    let mut lines = server.connect();
    assert_eq!(lines.ask("PUT a 2"), "OK", "its locks are free");
    let reply = within(&mut http, &token, "GET", "/get/a", "");
    assert_eq!(code(&reply), (409, "ABORTED".to_owned()));
    std::thread::sleep(Duration::from_millis(900));
    let reply = within(&mut http, &token, "GET", "/get/a", "");
    assert_eq!(code(&reply), (409, "NOTX".to_owned()));
    assert_eq!(code(&within(&mut http, "0123", "GET", "/get/a", "")).0, 409);
}

#[test]
fn ten_thousand_transactions_can_be_open() {
    let server = server(&["--max-transactions", "10001"]);
    let mut http = http(&server);
    let tokens: Vec<String> = (0..10_000).map(|_| begin(&mut http, "{}")).collect();
    let one = &tokens[5000];
    assert_eq!(within(&mut http, one, "POST", "/put/a", r#"{"value":1}"#).status, 200);
    assert_eq!(within(&mut http, one, "POST", "/commit", "").status, 200);
    assert_eq!(http.get("/v1/stats").json()["transactions_open"], 9_999);
    for token in tokens.iter().filter(|token| *token != one) {
        within(&mut http, token, "POST", "/rollback", "");
    }
    assert_eq!(http.get("/v1/stats").json()["transactions_open"], 0);
}

#[test]
fn the_engines_limits_hold_here_too() {
    let server = server(&["--max-nesting", "2"]);
    let mut http = http(&server);
    let token = begin(&mut http, "{}");
    assert_eq!(within(&mut http, &token, "POST", "/begin", "").status, 200);
    let reply = within(&mut http, &token, "POST", "/begin", "");
    assert_eq!(code(&reply), (400, "LIMIT".to_owned()));
    within(&mut http, &token, "POST", "/rollback", "");
    within(&mut http, &token, "POST", "/rollback", "");
}

#[test]
fn a_write_that_is_not_committed_has_no_tag() {
    let server = server(&[]);
    let mut http = http(&server);
    let token = begin(&mut http, "{}");
    let written = within(&mut http, &token, "PUT", "/v1/kv/a", "1");
    assert_eq!((written.status, written.header("etag")), (201, None));
    for path in ["/v1/kv/a", "/get/a"] {
        let read = within(&mut http, &token, "GET", path, "");
        assert_eq!((read.status, read.header("etag")), (200, None), "{path}");
    }
    within(&mut http, &token, "POST", "/commit", "");
    assert_eq!(http.get("/v1/kv/a").header("etag"), Some("\"1\""));
    // The tag is heeded by every request that writes.
    let headers = [("if-match", "\"7\""), ("content-type", "application/json")];
    for (method, path, body) in [
        ("POST", "/put/a", r#"{"value":2}"#),
        ("POST", "/set", r#"{"key":"a","value":2}"#),
        ("PUT", "/kv", r#"{"key":"a","value":2}"#),
        ("DELETE", "/kv", r#"{"key":"a"}"#),
        ("POST", "/delete/a", ""),
    ] {
        let reply = http.ask(method, path, &headers, body.as_bytes());
        assert_eq!(code(&reply), (412, "PRECONDITION".to_owned()), "{method} {path}");
    }
}
