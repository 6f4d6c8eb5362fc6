//! FORMAT JSON: every reply is one object on one line, and says what text says.

use kv_testkit::server::Client;
use serde_json::{Value, json};

use crate::{converse, server};

/// Asks a client whose format is JSON.
fn ask(client: &mut Client, request: impl AsRef<[u8]>) -> Value {
    let shown = request.as_ref().escape_ascii().to_string();
    let line = client.ask(request);
    let reply = serde_json::from_str(&line);
    let reply: Value = reply.unwrap_or_else(|error| panic!("{shown}: {error}: {line}"));
    assert!(reply.is_object(), "{shown}: {line}");
    let status = reply["status"].as_str();
    assert!(matches!(status, Some("Ok" | "Error")), "{shown}: {line}");
    if status == Some("Error") {
        for (field, is_right) in [
            ("code", reply["code"].is_string()),
            ("message", reply["message"].is_string()),
            ("retryable", reply["retryable"].is_boolean()),
            ("transaction", reply["transaction"].is_string()),
        ] {
            assert!(is_right, "{field}: {line}");
        }
    }
    reply
}

fn json_client(server: &kv_testkit::server::TestServer) -> Client {
    let mut client = server.connect();
    assert_eq!(client.ask("FORMAT JSON"), r#"{"status":"Ok"}"#);
    client
}

/// The commands that HELP lists.
fn commands(client: &mut Client) -> Vec<String> {
    let rows = client.ask_list("HELP");
    let name = |row: &String| {
        let name = row.split('"').nth(1)?;
        Some(name.split(' ').next()?.to_owned())
    };
    rows.iter().filter_map(name).collect()
}

#[test]
fn every_command_of_help_is_explained_and_exists() {
    let server = server(&[]);
    let mut client = server.connect();
    let commands = commands(&mut client);
    assert!(commands.len() >= 22, "{commands:?}");
    for command in &commands {
        let help = client.ask_list(format!("HELP {command}"));
        assert!(help[0].contains(command), "{help:?}");
        assert!(help.last().unwrap().starts_with("END "), "{help:?}");
    }
    for command in commands.iter().filter(|command| *command != "HELP") {
        // With a word that no command takes: it is known, and not done.
        let reply = client.ask(format!("{command} \x01 \x01 \x01 \x01 \x01"));
        assert!(reply.starts_with("ERR ARGUMENT "), "{command}: {reply}");
    }
}

/// Every command, well and badly used, with every kind of value.
const REQUESTS: [&[u8]; 64] = [
    b"PUT a 1",
    b"PUT \"\\n\\x00\\xff\" \"\\n\\x01\\xff\"",
    b"PUT line \"a\\r\\nb\\t\\x1f\\x7f\"",
    b"PUT json \"{\\\"a\\\":\\n[1,\\r\\n\\\"b\\\"]}\" JSON",
    b"PUT number \" 12 \\n\" JSON",
    b"PUT null null JSON",
    b"PUT base64:x \"base64:y\"",
    b"PUT quote \"\\\"\\\\\"",
    b"PUT empty \"\"",
    b"PUT a 2 IF VERSION 1",
    b"PUT a 2 IF VERSION 7",
    b"GET a",
    b"GET json",
    b"GET number",
    b"GET null",
    b"GET nothing",
    b"GET \"\\n\\x00\\xff\"",
    b"GET a VERSION 1",
    b"GET a VERSION 99",
    b"GET a AT 1",
    b"GET a AT 99999",
    b"DEL a",
    b"DEL a",
    b"EXISTS a",
    b"INCR n",
    b"INCR json",
    b"INCR held",
    b"META json",
    b"META nothing",
    b"HISTORY a",
    b"HISTORY nothing",
    b"SCAN",
    b"SCAN PREFIX base64",
    b"SCAN MATCH * VALUE NUMBER 0 9",
    b"NEAREST 0 3",
    b"COUNT",
    b"SHOWALL",
    b"BEGIN",
    b"PUT mine 1",
    b"DEL json",
    b"DEL nothing",
    b"META mine",
    b"SHOWALL",
    b"SHOWALL 1",
    b"BEGIN NESTED",
    b"GET held",
    b"PUT range1 1",
    b"GET a 1",
    b"TRANSACTIONS",
    b"LOCKS",
    b"COMMIT 2",
    b"COMMITALL",
    b"COMMITALL",
    b"ROLLBACK",
    b"BEGIN SNAPSHOT",
    b"ROLLBACK 3",
    b"REVISION",
    b"SHARDS",
    b"STATS",
    b"CHECK",
    b"PING",
    b"VERSION",
    b"HELP",
    b"HELP GET",
];

#[test]
fn every_command_answers_one_object_on_one_line() {
    let server = server(&["--lock-timeout", "20ms"]);
    let (mut client, mut holder) = (json_client(&server), server.connect());
    converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT held 1", "OK"), ("COUNT PREFIX range", "0")]);
    let replies: Vec<Value> = REQUESTS.iter().map(|request| ask(&mut client, request)).collect();
    let errors = replies.iter().filter(|reply| reply["status"] == "Error").count();
    assert_eq!(errors, 9, "{replies:#?}");
    for wrong in ["NONSENSE \x01\"", "PUT \"\x02", "GET", "PUT a \"\\q\"", "BEGIN 99"] {
        assert_eq!(ask(&mut client, wrong)["status"], "Error");
    }
    assert!(client.is_silent_for(std::time::Duration::from_millis(20)), "one line each");
    assert_eq!(ask(&mut client, "QUIT"), json!({"status": "Ok"}));
}

#[test]
fn values_and_keys_are_what_was_stored() {
    let server = server(&[]);
    let mut client = json_client(&server);
    let cases = [
        ("\"two words\"", json!({"status": "Ok", "found": true, "result": "two words"})),
        ("\"\\xff\\x00\"", json!({"status": "Ok", "found": true, "result_base64": "/wA="})),
        ("\"null\" JSON", json!({"status": "Ok", "found": true, "result": null})),
        ("\"[1,\\n2]\" JSON", json!({"status": "Ok", "found": true, "result": [1, 2]})),
        ("\"[1]\"", json!({"status": "Ok", "found": true, "result": "[1]"})),
        ("base64:x", json!({"status": "Ok", "found": true, "result": "base64:x"})),
    ];
    for (value, expected) in cases {
        ask(&mut client, format!("PUT k {value}"));
        assert_eq!(ask(&mut client, "GET k"), expected);
    }
    ask(&mut client, "PUT k \"\\xff\"");
    ask(&mut client, "PUT \"\\xfe\" 1");
    ask(&mut client, "PUT base64:k 2");
    let rows = json!([
        {"key": "base64:YmFzZTY0Oms=", "value": "2"},
        {"key": "k", "value_base64": "/w=="},
        {"key": "base64:/g==", "value": "1"},
    ]);
    assert_eq!(ask(&mut client, "SCAN"), json!({"status": "Ok", "rows": rows, "count": 3}));
    ask(&mut client, "BEGIN");
    ask(&mut client, "DEL base64:k");
    let data = json!({
        "base64:YmFzZTY0Oms=": {"value": null, "deleted": true, "transaction_id": 1},
        "k": {"value_base64": "/w==", "transaction_id": null},
        "base64:/g==": {"value": "1", "transaction_id": null},
    });
    assert_eq!(ask(&mut client, "SHOWALL"), json!({"status": "Ok", "data": data}));
    ask(&mut client, "ROLLBACK");
    ask(&mut client, "DEL k");
    let history = ask(&mut client, "HISTORY k LIMIT 2");
    assert_eq!(history["rows"][0]["deleted"], true);
    assert_eq!(history["rows"][0]["value"], Value::Null);
    assert_eq!(history["rows"][1]["value_base64"], "/w==");
}

#[test]
fn errors_say_what_became_of_the_transaction() {
    let server = server(&["--idle-transaction-timeout", "1h", "--history", "1"]);
    let (mut client, mut other) = (json_client(&server), server.connect());
    let told = |client: &mut Client, request: &str| {
        let reply = ask(client, request);
        let part = |name: &str| reply[name].as_str().unwrap_or_default().to_owned();
        (part("code"), part("transaction"), reply["retryable"] == true)
    };
    let says = |code: &str, transaction: &str, is_retryable| {
        (code.to_owned(), transaction.to_owned(), is_retryable)
    };
    assert_eq!(told(&mut client, "COMMIT"), says("NOTX", "none", false));
    assert_eq!(told(&mut client, "NONSENSE"), says("UNKNOWN", "none", false));
    converse(&mut other, &[("PUT a 1", "OK"), ("PUT b 1", "OK"), ("BEGIN", "OK 1")]);
    assert_eq!(other.ask("PUT a 2"), "OK");
    ask(&mut client, "BEGIN WAIT 0");
    assert_eq!(told(&mut client, "NONSENSE"), says("UNKNOWN", "open", false));
    assert_eq!(told(&mut client, "GET a"), says("TIMEOUT", "open", true));
    assert_eq!(told(&mut client, "SCAN"), says("TIMEOUT", "open", true));
    assert_eq!(told(&mut client, "GET a 99"), says("NOTX", "none", false));
    assert_eq!(told(&mut client, "PUT b 2 IF VERSION 9"), says("PRECONDITION", "open", false));
    ask(&mut client, "ROLLBACK");
    ask(&mut client, "BEGIN SNAPSHOT");
    assert_eq!(other.ask("COMMIT"), "OK");
    assert_eq!(told(&mut client, "PUT a 3"), says("CONFLICT", "aborted", true));
    assert_eq!(told(&mut client, "GET a"), says("ABORTED", "aborted", true));
    assert_eq!(told(&mut client, "COMMITALL"), says("ABORTED", "aborted", true));
    ask(&mut client, "ROLLBACK");
    // Another version, so that the one that the view needed is dropped.
    assert_eq!(other.ask("PUT a 4"), "OK");
    // A list that fails midway has begun well; its transaction is open.
    ask(&mut client, "BEGIN READONLY AT 1");
    let reply = ask(&mut client, "SCAN");
    assert_eq!((&reply["code"], &reply["count"]), (&json!("PRUNED"), &Value::Null));
    assert_eq!(reply["transaction"], "open");
    assert_eq!(told(&mut client, "COUNT"), says("PRUNED", "open", false));
    assert_eq!(told(&mut client, "PUT a 3"), says("READONLY", "open", false));
}

/// What text answers and what JSON answers, side by side.
#[test]
fn text_and_json_agree() {
    let server = server(&[]);
    let (mut text, mut json) = (server.connect(), json_client(&server));
    let keys = ["a", "b", "c d", "ü"];
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(text.ask(format!("PUT \"{key}\" {number}")), "OK");
    }
    for (request, field) in [("GET a", "result"), ("VERSION", "result")] {
        let reply = ask(&mut json, request);
        assert_eq!(text.ask(request), reply[field].to_string());
    }
    for request in ["COUNT", "EXISTS a", "EXISTS nothing", "COUNT PREFIX z"] {
        assert_eq!(text.ask(request), ask(&mut json, request)["result"].to_string());
    }
    for request in ["SCAN", "SCAN AFTER a LIMIT 2", "SCAN RANGE b z", "SCAN PREFIX nothing"] {
        let reply = ask(&mut json, request);
        let rows = reply["rows"].as_array().unwrap();
        let mut expected: Vec<String> =
            rows.iter().map(|row| format!("{} {}", row["key"], row["value"])).collect();
        expected.push(format!("END {}", reply["count"]));
        assert_eq!(text.ask_list(request), expected, "{request}");
    }
    let meta = ask(&mut json, "META a")["result"].clone();
    let shown = text.ask("META a");
    for field in ["version", "revision", "bytes"] {
        assert!(shown.contains(&format!("{field}={}", meta[field])), "{shown} {meta}");
    }
    assert!(shown.contains(&format!("updated={} ttl=-1", meta["updated"].as_str().unwrap())));
    assert!(meta["ttl"].is_null());
    for request in ["GET", "BEGIN 9", "PUT a b IF VERSION 9", "NONSENSE"] {
        let reply = ask(&mut json, request);
        let (code, message) = (reply["code"].as_str().unwrap(), reply["message"].as_str().unwrap());
        assert_eq!(text.ask(request), format!("ERR {code} {message}"));
    }
}

#[test]
fn times_to_live_are_told_in_json() {
    let server = server(&[]);
    let mut client = json_client(&server);
    assert_eq!(ask(&mut client, "PUT k v EX 100"), json!({"status": "Ok"}));
    assert_eq!(ask(&mut client, "EXPIRE k 50"), json!({"status": "Ok", "found": true}));
    assert_eq!(ask(&mut client, "TTL k"), json!({"status": "Ok", "result": 50}));
    assert_eq!(ask(&mut client, "META k")["result"]["ttl"], 50);
    assert_eq!(ask(&mut client, "PERSIST k"), json!({"status": "Ok", "found": true}));
    assert_eq!(ask(&mut client, "TTL k"), json!({"status": "Ok", "result": -1}));
    assert_eq!(ask(&mut client, "EXPIRE none 5"), json!({"status": "Ok", "found": false}));
    let missing = json!({"status": "Ok", "found": false, "result": null});
    assert_eq!(ask(&mut client, "TTL none"), missing);
    assert_eq!(ask(&mut client, "EXPIRE k 99999999999")["code"], "ARGUMENT");
}
