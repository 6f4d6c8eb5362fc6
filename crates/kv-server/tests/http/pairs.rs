//! The endpoints without a version in their path.

use serde_json::json;

use crate::{code, http, server};

#[test]
fn versions_are_made_and_read() {
    let server = server(&[]);
    let mut http = http(&server);
    let reply = http.send("POST", "/put/house", r#"{"value":"large"}"#);
    assert_eq!(reply.status, 200, "{reply:?}");
    let expected = json!({"operation": "create", "key": "house", "version": 1, "new_version": 1,
        "previous_version": null, "total_versions": 1});
    assert_eq!(reply.json(), expected);
    let reply = http.send("POST", "/put/house", r#"{"value":{"rooms":[1, 2]}}"#);
    let expected = json!({"operation": "update", "key": "house", "version": 2, "new_version": 2,
        "previous_version": 1, "total_versions": 2});
    assert_eq!(reply.json(), expected);
    let reply = http.get("/get/house");
    assert_eq!(reply.header("etag"), Some("\"2\""));
    let found = reply.json();
    assert_eq!((&found["value"], &found["version"]), (&json!({"rooms": [1, 2]}), &json!(2)));
    assert!(found["timestamp"].as_f64().unwrap() > 1.7e9);
    let old = http.get("/get/house?version=1").json();
    assert_eq!((&old["value"], &old["version"]), (&json!("large"), &json!(1)));
    assert!(old["timestamp"].as_f64().is_some());

    let reply = http.get("/get/none");
    assert_eq!(code(&reply), (404, "NOTFOUND".to_owned()));
    assert_eq!(reply.json()["detail"], "Key 'none' not found");
    let reply = http.get("/get/house?version=9");
    assert_eq!(reply.json()["detail"], "Key 'house' version 9 not found");
    let reply = http.ask("DELETE", "/delete/house", &[], b"");
    assert_eq!(reply.json(), json!({"deleted": "house"}));
    assert_eq!(http.ask("POST", "/delete/house", &[], b"").status, 404);
    let reply = http.send("POST", "/put/house", r#"{"value":null}"#);
    assert_eq!(reply.json()["operation"], "create");
    assert_eq!(reply.json()["new_version"], 4, "a delete counts");
    assert_eq!(http.get("/get/house").json()["value"], json!(null));
}

#[test]
fn pairs_are_set_and_listed() {
    let server = server(&[]);
    let mut http = http(&server);
    let reply = http.send("POST", "/set", r#"{"key":"a","value":1}"#);
    assert_eq!(reply.json(), json!({"key": "a", "value": 1}));
    let reply = http.send("PUT", "/kv", r#"{"key":"b","value":"two"}"#);
    assert_eq!(reply.json(), json!({"b": "two"}));
    assert_eq!(http.get("/kv?key=a").json(), json!({"a": 1}));
    assert_eq!(http.get("/kv").json(), json!({"a": 1, "b": "two"}));
    assert_eq!(http.get("/snapshot").json(), json!({"a": 1, "b": "two"}));
    let reply = http.send("DELETE", "/kv", r#"{"key":"a"}"#);
    assert_eq!(reply.json(), json!({"result": "Key deleted"}));
    let reply = http.send("DELETE", "/kv", r#"{"key":"a"}"#);
    assert_eq!((reply.status, &reply.json()["detail"]), (404, &json!("Key not found")));
    assert_eq!(http.get("/kv?key=a").json()["detail"], "Key not found");
    for (method, body, detail) in [
        ("PUT", r#"{"key":"a"}"#, "Missing key or value"),
        ("PUT", r#"{"value":1}"#, "Missing key or value"),
        ("PUT", r#"{"key":"#, "Invalid JSON"),
        ("DELETE", "{}", "Missing key"),
    ] {
        let reply = http.send(method, "/kv", body);
        assert_eq!((reply.status, &reply.json()["detail"]), (400, &json!(detail)), "{body}");
    }
}

#[test]
fn counters_and_health_are_told() {
    let server = server(&[]);
    let mut http = http(&server);
    http.send("POST", "/set", r#"{"key":"a","value":1}"#);
    assert_eq!(http.get("/healthz").status, 200);
    assert_eq!(http.get("/readyz").status, 200);
    let db = http.get("/db/stats").json();
    assert_eq!((&db["total_keys"], &db["total_versions"]), (&json!(1), &json!(1)));
    let cache = http.get("/cache/stats").json();
    assert_eq!((&cache["is_full"], &cache["current_size"]), (&json!(false), &json!(1)));
    assert_eq!(http.get("/v1/stats").json()["keys"], 1);
    let metrics = http.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = metrics.text();
    assert!(text.contains("# TYPE kv_keys gauge\nkv_keys 1\n"), "{text}");
    assert!(text.contains("# TYPE kv_revision_total counter\nkv_revision_total 1\n"), "{text}");
    let mut holder = server.connect();
    holder.ask("BEGIN");
    holder.ask("PUT held 1");
    let locks = http.get("/v1/locks").json();
    assert_eq!(locks["locks"][0]["key"], "held", "{locks}");
    assert_eq!(http.get("/v1/shards").json()["shards"].as_array().unwrap().len(), 16);
    assert_eq!(http.get("/v1/transactions").json()["transactions_open"], 1);
}
