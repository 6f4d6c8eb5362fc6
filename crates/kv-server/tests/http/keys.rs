//! Raw values: any bytes, entity tags, conditions.

use serde_json::json;

use crate::client::Reply;
use crate::{code, http, server};

const BINARY: (&str, &str) = ("content-type", "application/octet-stream");

#[test]
fn values_are_bytes_and_keys_are_percent_decoded() {
    let server = server(&[]);
    let mut http = http(&server);
    let all: Vec<u8> = (0..=255).collect();
    for path in ["/v1/kv/a", "/v1/kv/a/b%20c/%00%ff", "/v1/kv//", "/v1/kv/%2F..%2F", "/v1/kv/a%3Fb"]
    {
        let reply = http.ask("PUT", path, &[BINARY], &all);
        assert_eq!((reply.status, reply.header("etag")), (201, Some("\"1\"")), "{path}: {reply:?}");
        let reply = http.get(path);
        assert!(reply.body == all, "{path}");
        assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    let mut lines = server.connect();
    assert_eq!(lines.ask(r#"EXISTS "a/b c/\x00\xff""#), "1");
    assert_eq!(lines.ask("EXISTS /../"), "1");
    let reply = http.send("PUT", "/v1/kv/json", r#" {"a": [1,2]} "#);
    assert_eq!(reply.status, 201);
    let reply = http.get("/v1/kv/json");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.text(), r#" {"a": [1,2]} "#, "byte for byte");
    let reply = http.ask("HEAD", "/v1/kv/json", &[], b"");
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("14")));
    assert_eq!(http.ask("PUT", "/v1/kv/empty", &[BINARY], b"").status, 201);
    assert_eq!(http.get("/v1/kv/empty").body, b"");
}

#[test]
fn conditions_are_judged_by_the_version() {
    let server = server(&[]);
    let mut http = http(&server);
    let mut put = |name: &str, value: &str| -> Reply {
        http.ask("PUT", "/v1/kv/k", &[BINARY, (name, value)], b"v")
    };
    assert_eq!(code(&put("if-match", "\"1\"")), (412, "PRECONDITION".to_owned()));
    assert_eq!(put("if-none-match", "*").status, 201);
    let taken = put("if-none-match", "*");
    assert_eq!((taken.status, &taken.json()["current_version"]), (412, &json!(1)));
    assert_eq!(taken.header("etag"), Some("\"1\""));
    assert_eq!(put("if-match", "\"1\"").header("etag"), Some("\"2\""));
    assert_eq!(put("if-match", "*").status, 200);
    for wrong in ["1", "\"x\"", "\"1\", \"2\"", ""] {
        assert_eq!(put("if-match", wrong).status, 400, "{wrong}");
    }
    assert_eq!(put("if-none-match", "\"1\"").status, 400);
    let known = [("if-none-match", "\"7\", W/\"3\"")];
    let reply = http.ask("GET", "/v1/kv/k", &known, b"");
    assert_eq!((reply.status, reply.header("etag")), (304, Some("\"3\"")));
    assert_eq!(http.ask("GET", "/v1/kv/k", &[("if-none-match", "\"1\"")], b"").status, 200);
    let reply = http.ask("DELETE", "/v1/kv/k", &[("if-match", "\"1\"")], b"");
    assert_eq!(reply.status, 412);
    assert_eq!(http.ask("DELETE", "/v1/kv/k", &[("if-match", "\"3\"")], b"").status, 204);
    assert_eq!(http.ask("DELETE", "/v1/kv/k", &[], b"").status, 404);
    // A tag that was seen once never means another value.
    http.ask("PUT", "/v1/kv/k", &[BINARY], b"again");
    assert_eq!(http.get("/v1/kv/k").header("etag"), Some("\"5\""));
}

#[test]
fn the_past_and_times_to_live() {
    let server = server(&["--history", "2"]);
    let mut http = http(&server);
    for value in ["one", "two", "three"] {
        http.ask("PUT", "/v1/kv/k", &[BINARY], value.as_bytes());
    }
    assert_eq!(http.get("/v1/kv/k?version=2").text(), "two");
    assert_eq!(code(&http.get("/v1/kv/k?version=1")), (410, "PRUNED".to_owned()));
    assert_eq!(code(&http.get("/v1/kv/k?version=9")).0, 404);
    let history = http.get("/v1/history/k").json();
    assert_eq!(history["versions"][0]["value"], "three");
    assert_eq!(history["versions"].as_array().unwrap().len(), 2);
    let revision = history["versions"][1]["revision"].as_u64().unwrap();
    assert_eq!(http.get(&format!("/v1/kv/k?at={revision}")).text(), "two");
    assert_eq!(http.get("/v1/history/none").status, 404);
    http.ask("PUT", "/v1/kv/soon?ttl=60", &[BINARY], b"v");
    assert_eq!(http.get("/v1/kv/soon").header("kv-ttl"), Some("60"));
    assert_eq!(http.ask("PUT", "/v1/kv/soon?ttl=0", &[BINARY], b"v").status, 400);
    assert_eq!(code(&http.get("/v1/kv/k?version=x")), (422, "TYPE".to_owned()));
    assert_eq!(http.get("/v1/kv/k?verson=1").status, 400);
}

#[test]
fn a_batch_is_done_as_a_whole_or_not_at_all() {
    let server = server(&[]);
    let mut http = http(&server);
    let body = r#"{"operations":[
        {"op":"put","key":"a","value":"1"},
        {"op":"put","key":"b","value":[2],"ttl":60,"if_version":0},
        {"op":"get","key":"a"},
        {"op":"delete","key":"none"}]}"#;
    let results = http.send("POST", "/v1/batch", body).json();
    let expected = json!({"results": [
        {"key": "a", "found": false, "version": 1},
        {"key": "b", "found": false, "version": 1},
        {"key": "a", "found": true, "version": 1, "value": "1"},
        {"key": "none", "found": false}]});
    assert_eq!(results, expected);
    let body = r#"{"operations":[{"op":"put","key":"a","value":"2"},
        {"op":"put","key":"b","value":1,"if_version":7}]}"#;
    let refused = http.send("POST", "/v1/batch", body);
    assert_eq!(code(&refused), (412, "PRECONDITION".to_owned()));
    assert_eq!(http.get("/v1/kv/a").text(), "1", "nothing of it was done");
    for wrong in [
        r#"{"operations":[{"op":"get","key":"a","value":1}]}"#,
        r#"{"operations":[{"op":"put","key":"a"}]}"#,
        r#"{"operations":[{"op":"put","key":"","value":1}]}"#,
    ] {
        assert_eq!(http.send("POST", "/v1/batch", wrong).status, 400, "{wrong}");
    }
    assert_eq!(
        http.send("POST", "/v1/batch", r#"{"operations":[{"op":"x","key":"a"}]}"#).status,
        422
    );
}
