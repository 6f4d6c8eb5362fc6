//! What is refused: foreign pages, wrong types, bodies over the limits, slow clients.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::{code, http, server};

#[test]
fn pages_of_others_are_refused() {
    let server = server(&["--http-host", "kv.example"]);
    let mut http = http(&server);
    for (headers, status) in [
        (vec![("host", "localhost:8080")], 200),
        (vec![("host", "kv.example")], 200),
        (vec![("host", "evil.example")], 403),
        (vec![("host", "localhost"), ("origin", "http://localhost")], 200),
        (vec![("host", "localhost"), ("origin", "http://evil.example")], 403),
        (vec![("host", "localhost"), ("origin", "null")], 403),
    ] {
        let reply = http.ask("GET", "/healthz", &headers, b"");
        assert_eq!(reply.status, status, "{headers:?}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
        assert!(reply.header("content-security-policy").unwrap().contains("default-src 'none'"));
    }
    // What a form can send is no endpoint's media type.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let reply =
            http.ask("POST", "/set", &[("content-type", kind)], br#"{"key":"a","value":1}"#);
        assert_eq!(code(&reply).0, 415, "{kind}");
    }
    assert_eq!(http.ask("POST", "/set", &[], br#"{"key":"a","value":1}"#).status, 415);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(http.ask("PUT", "/v1/kv/a", &form, b"x").status, 415);
}

#[test]
fn wrong_requests_say_what_is_wrong() {
    let server = server(&[]);
    let mut http = http(&server);
    assert_eq!(code(&http.get("/nowhere")), (404, "NOTFOUND".to_owned()));
    assert_eq!(code(&http.ask("PATCH", "/kv", &[], b"")), (405, "METHOD".to_owned()));
    assert_eq!(code(&http.get("/set")), (405, "METHOD".to_owned()), "a GET changes nothing");
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 422),
        ("{}", 422),
        (r#"{"value":1,"extra":2}"#, 422),
        (r#"{"value":1}x"#, 400),
    ] {
        assert_eq!(code(&http.send("POST", "/put/a", body)).0, status, "{body}");
    }
    assert_eq!(http.send("PUT", "/v1/kv/a", "{not json}").status, 400);
    assert_eq!(http.send("POST", "/put/", r#"{"value":1}"#).status, 404);
}

#[test]
fn a_body_may_be_as_long_as_its_limit_and_no_longer() {
    let server = server(&["--max-value", "1000", "--max-key", "10", "--max-line", "20kb"]);
    let mut http = http(&server);
    let binary = [("content-type", "application/octet-stream")];
    assert_eq!(http.ask("PUT", "/v1/kv/a", &binary, &[b'x'; 1000]).status, 201);
    let mut other = crate::http(&server);
    assert_eq!(code(&other.ask("PUT", "/v1/kv/a", &binary, &[b'x'; 1001])).0, 413);
    let mut other = crate::http(&server);
    assert_eq!(other.ask("PUT", "/v1/kv/abcdefghij", &binary, b"x").status, 201);
    let reply = other.ask("PUT", "/v1/kv/abcdefghijk", &binary, b"x");
    assert_eq!(code(&reply), (413, "TOOBIG".to_owned()));
    let value = format!(r#"{{"value":"{}"}}"#, "x".repeat(1000));
    assert_eq!(other.send("POST", "/put/a", &value).status, 200);
    let value = format!(r#"{{"value":"{}"}}"#, "x".repeat(1001));
    assert_eq!(code(&other.send("POST", "/put/a", &value)).0, 413);
    let long = format!(r#"{{"value":"{}"}}"#, "x".repeat(21 << 10));
    assert_eq!(code(&other.send("POST", "/put/a", &long)).0, 413);
    let mut other = crate::http(&server);
    let header = "x".repeat(300 << 10);
    let reply = other.ask("GET", "/healthz", &[("x-long", &header)], b"");
    assert_eq!(reply.status, 431);
}

/// The limit on the time of headers is 30 s; it is enough to see that the connection is not kept
/// alive by a byte now and then.
#[test]
#[ignore = "takes half a minute: cargo test -p kv-server --test http -- --ignored"]
fn a_client_that_sends_its_headers_slowly_is_cut_off() {
    let server = server(&[]);
    let mut slow = http(&server);
    let began = Instant::now();
    slow.stream().write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    while began.elapsed() < Duration::from_secs(40) {
        std::thread::sleep(Duration::from_secs(1));
        if slow.stream().write_all(b"x-a: b\r\n").is_err() {
            break;
        }
    }
    assert!(began.elapsed() < Duration::from_secs(39), "it was cut off");
    let told = slow.read_to_end();
    assert!(told.is_empty() || told.contains("408"), "{told}");
}

#[test]
fn a_drain_answers_what_is_under_way_and_takes_nothing_new() {
    let mut server = server(&[]);
    let (mut waiting, mut idle) = (http(&server), http(&server));
    let mut holder = server.connect();
    holder.ask("BEGIN");
    holder.ask("PUT a 1");
    waiting.say("POST", "/put/a", &[("content-type", "application/json")], br#"{"value":2}"#);
    server.wait_for_waits(1);
    assert_eq!(idle.get("/readyz").status, 200);
    server.signal("TERM");
    // The holder is told that its transaction ends; then the one that waited has the lock.
    assert_eq!(waiting.hear(false).status, 200);
    assert_eq!(idle.read_to_end(), "");
    drop(holder);
    assert!(server.wait_for_exit().success());
}

#[test]
fn what_is_switched_off_is_so_here_too() {
    let server = server(&["--disable", "DEL,SHARDS,SHOWALL"]);
    let mut http = http(&server);
    http.send("POST", "/set", r#"{"key":"a","value":1}"#);
    let batch = r#"{"operations":[{"op":"delete","key":"a"}]}"#;
    for (method, path, body) in [
        ("DELETE", "/v1/kv/a", ""),
        ("POST", "/delete/a", ""),
        ("DELETE", "/kv", r#"{"key":"a"}"#),
        ("POST", "/v1/batch", batch),
        ("GET", "/v1/shards", ""),
        ("GET", "/snapshot", ""),
    ] {
        let reply =
            http.ask(method, path, &[("content-type", "application/json")], body.as_bytes());
        assert_eq!(code(&reply), (403, "FORBIDDEN".to_owned()), "{method} {path}");
    }
    assert_eq!(http.get("/get/a").status, 200);
}

#[test]
fn json_is_checked_as_everywhere() {
    let server = server(&[]);
    let mut http = http(&server);
    let deep = format!(r#"{{"value":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    assert_eq!(http.send("POST", "/put/a", &deep).status, 400);
    assert_eq!(http.send("PUT", "/kv", r#"{"key":"n","value":null}"#).status, 200);
    assert_eq!(http.get("/kv").json(), serde_json::json!({"n": null}));
    let body = r#"{"operations":[{"op":"put","key":"b","value":null}]}"#;
    assert_eq!(http.send("POST", "/v1/batch", body).status, 200);
}
