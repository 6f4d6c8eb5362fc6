//! TOKEN and ATTACH: transactions that go from face to face, and from connection to connection.

use kv_testkit::server::{Client, eventually};
use serde_json::{Value, json};

use crate::client::Http;
use crate::{http, server};

/// The token that a connection is given for its current transaction.
pub(crate) fn token(lines: &mut Client) -> String {
    lines.ask("TOKEN").trim_matches('"').to_owned()
}

/// The rows of a list.
pub(crate) fn rows(lines: &mut Client, request: &str) -> Vec<String> {
    let mut rows = lines.ask_list(request);
    rows.pop();
    rows
}

/// What a request in an array is answered: its first line, and the second of a bulk string.
pub(crate) fn resp(client: &mut Client, request: &str) -> String {
    let words: Vec<&str> = request.split(' ').collect();
    let mut array = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| array += &format!("${}\r\n{word}\r\n", word.len()));
    client.send_raw(array);
    let first = client.read_line().trim_end().to_owned();
    match first.starts_with('$') && first != "$-1" {
        true => client.read_line().trim_end().to_owned(),
        false => first,
    }
}

fn within(http: &mut Http, token: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let headers = [("kv-transaction", token), ("content-type", "application/json")];
    let reply = http.ask(method, path, &headers, body.as_bytes());
    (reply.status, reply.json())
}

#[test]
fn begun_in_lines_used_over_http_finished_in_resp() {
    let server = server(&[]);
    let (mut lines, mut http, mut redis) = (server.connect(), http(&server), server.connect());
    assert_eq!(lines.ask("BEGIN"), "OK 1");
    assert_eq!(lines.ask("PUT by lines"), "OK");
    let token = token(&mut lines);
    assert_eq!(token.len(), 32);
    assert_eq!(lines.ask("TOKEN 1"), format!("\"{token}\""), "there is one");
    let put = within(&mut http, &token, "POST", "/put/by", r#"{"value":"http"}"#);
    assert_eq!((put.0, &put.1["operation"]), (200, &json!("update")), "of its own write");
    assert_eq!(lines.ask("GET by"), "\"http\"");
    assert_eq!(within(&mut http, &token, "POST", "/begin", "").1["depth"], 2);
    assert_eq!(resp(&mut redis, &format!("ATTACH {token}")), ":2");
    assert_eq!(resp(&mut redis, "SET by resp"), "+OK");
    assert_eq!(resp(&mut redis, "TX 1 GET by").split(' ').next(), Some("-BUSY"));
    assert_eq!(resp(&mut redis, "COMMIT 2"), "+OK");
    assert_eq!(lines.ask("GET by"), "\"resp\"");
    assert_eq!(server.connect().ask("GET by"), "NIL");
    assert_eq!(resp(&mut redis, "COMMIT"), "+OK");
    assert_eq!(server.connect().ask("GET by"), "\"resp\"");
    assert!(resp(&mut redis, "REVISION") != ":0" && lines.ask("REVISION") == "0");
    assert_eq!(within(&mut http, &token, "GET", "/get/by", "").0, 409);
    assert!(resp(&mut redis, &format!("ATTACH {token}")).starts_with("-NOTX no open transaction"));
}

#[test]
fn begun_over_http_finished_in_lines() {
    let server = server(&[]);
    let (mut lines, mut http) = (server.connect(), http(&server));
    let begun = within(&mut http, "", "POST", "/begin", "");
    assert_eq!(begun.0, 400, "an empty header names nothing");
    let begun = http.send("POST", "/begin", r#"{"isolation":"snapshot"}"#).json();
    let token = begun["transaction_id"].as_str().unwrap().to_owned();
    within(&mut http, &token, "PUT", "/kv", r#"{"key":"k","value":1}"#);
    assert_eq!(lines.ask("BEGIN"), "OK 1");
    assert_eq!(lines.ask(format!("ATTACH {token}")), "OK 2");
    assert_eq!(lines.ask("TRANSACTIONS | ignored").split(' ').nth(1), Some("ARGUMENT"));
    let shown = rows(&mut lines, "TRANSACTIONS");
    assert!(shown[0].starts_with("1 - SERIALIZABLE open "), "{shown:?}");
    assert!(shown[1].starts_with("2 - SNAPSHOT open ") && shown[1].ends_with(" 1"), "{shown:?}");
    assert_eq!(lines.ask("GET k"), "\"1\"");
    assert_eq!(rows(&mut lines, "SHOWALL 2"), ["\"k\" \"1\" 2"]);
    assert!(rows(&mut lines, "SHOWALL").is_empty(), "a session of its own");
    assert_eq!(lines.ask("FORMAT JSON"), r#"{"status":"Ok"}"#);
    assert_eq!(lines.ask("TOKEN"), format!(r#"{{"status":"Ok","result":"{token}"}}"#));
    let again = lines.ask(format!("ATTACH {token}"));
    assert_eq!(again, r#"{"status":"Ok","transaction_id":2}"#, "it has its number");
    lines.ask("FORMAT TEXT");
    assert_eq!(lines.ask("COMMITALL"), "OK 1", "it is passed by");
    assert_eq!(lines.ask("COMMIT"), "OK");
    assert_eq!(http.get("/kv").json(), json!({"k": 1}));
    assert_eq!(lines.ask("COMMITALL"), "OK 0");
}

#[test]
fn it_outlives_its_connection_and_each_has_its_own_numbers() {
    let server = server(&[]);
    let (mut one, mut other) = (server.connect(), server.connect());
    for request in ["BEGIN", "BEGIN 1", "PUT k 1", "PUT l 1"] {
        assert!(one.ask(request).starts_with("OK"));
    }
    let token = token(&mut one);
    one.ask("QUIT");
    drop(one);
    assert_eq!(other.ask("BEGIN"), "OK 1");
    assert_eq!(other.ask(format!("ATTACH {token}")), "OK 3");
    assert_eq!(other.ask("GET k"), "\"1\"");
    let busy = other.ask("GET k 2");
    assert!(busy.starts_with("ERR BUSY transaction 2 has the open child 3"), "{busy}");
    // What others see of it is a session of its own, with numbers by depth.
    let locks = rows(&mut other, "LOCKS");
    assert_eq!(locks.len(), 2);
    let session: u64 = locks[0].split(' ').next().unwrap().parse().unwrap();
    assert!(locks.iter().all(|lock| lock.starts_with(&format!("{session} 2 "))), "{locks:?}");
    assert_eq!(other.ask("BEGIN NESTED"), "OK 4");
    assert_eq!(other.ask("ROLLBACK 3"), "OK");
    assert_eq!(other.ask("GET k"), "NIL");
    let shown = rows(&mut other, "TRANSACTIONS");
    assert!(shown.len() == 2 && shown[1].starts_with("2 - SERIALIZABLE open"), "{shown:?}");
    // Anybody sees it among the sessions; an operator ends it.
    let mut http = http(&server);
    let open = http.get("/v1/transactions").json();
    let rows = open["sessions"].as_array().unwrap();
    let row = rows.iter().find(|row| row["session"] == session).unwrap();
    assert_eq!((&row["detached"], &row["transactions"][0]["id"]), (&json!(true), &json!(1)));
    let mut operator = server.connect();
    assert_eq!(resp(&mut operator, &format!("CLIENT KILL ID {session}")), ":1");
    let over = other.ask("PUT k 2");
    assert!(over.starts_with("ERR NOTX transaction 2 is over"), "{over}");
    assert!(other.ask("ROLLBACK").starts_with("ERR NOTX"), "it lets go of the number");
    assert!(other.ask("GET k 2").starts_with("ERR NOTX no transaction 2"));
    assert_eq!(other.ask("ROLLBACK"), "OK", "of transaction 1");
    server.check_idle();
}

#[test]
fn what_ended_elsewhere_lets_nothing_commit_by_itself() {
    let server = server(&[]);
    let (mut one, mut other) = (server.connect(), server.connect());
    one.ask("BEGIN");
    let token = token(&mut one);
    other.ask(format!("ATTACH {token}"));
    assert_eq!(other.ask("ROLLBACK"), "OK");
    for request in ["PUT k 1", "GET k", "INCR n", "TOKEN", "BEGIN NESTED"] {
        let over = one.ask(request);
        assert!(over.starts_with("ERR NOTX transaction 1 is over"), "{request}: {over}");
    }
    assert_eq!(resp(&mut one, "SET k 1").split(' ').next(), Some("-NOTX"));
    assert_eq!(resp(&mut one, "MULTI"), "+OK");
    assert_eq!(resp(&mut one, "SET k 1"), "+QUEUED");
    assert_eq!(resp(&mut one, "EXEC").split(' ').next(), Some("-NOTX"));
    assert!(rows(&mut one, "TRANSACTIONS").is_empty());
    assert!(one.ask("COMMIT").starts_with("ERR NOTX"));
    assert_eq!(one.ask("GET k"), "NIL");
    assert_eq!(one.ask("PUT k 1"), "OK");
}

#[test]
fn one_command_at_a_time_runs_in_it() {
    let server = server(&[]);
    let (mut holder, mut one, mut other) = (server.connect(), server.connect(), server.connect());
    holder.ask("BEGIN");
    holder.ask("PUT k 1");
    one.ask("BEGIN");
    let token = token(&mut one);
    other.ask(format!("ATTACH {token}"));
    one.send("PUT k 2");
    server.wait_for_waits(1);
    for request in ["GET l", "COMMIT", "ROLLBACK", "BEGIN NESTED"] {
        let busy = other.ask(request);
        assert!(busy.starts_with("ERR BUSY another command"), "{request}: {busy}");
    }
    let mut third = server.connect();
    assert!(third.ask(format!("ATTACH {token}")).starts_with("ERR BUSY"));
    assert_eq!(other.ask("TOKEN"), format!("\"{token}\""));
    let shown = rows(&mut other, "TRANSACTIONS");
    assert!(shown.len() == 1 && shown[0].starts_with("1 - SERIALIZABLE open"), "{shown:?}");
    assert_eq!(other.ask("PING"), "PONG");
    holder.ask("COMMIT");
    assert_eq!(one.read_line().trim_end(), "OK");
    assert_eq!(other.ask("GET k"), "\"2\"");
    // Who leaves while his command waits takes the command with him, and nothing else.
    holder.ask("BEGIN");
    holder.ask("PUT l 1");
    one.send("PUT l 2");
    server.wait_for_waits(1);
    drop(one);
    eventually("the command is given up", || other.ask("GET k") == "\"2\"");
    assert_eq!(holder.ask("ROLLBACK"), "OK");
    assert_eq!(other.ask("COMMIT"), "OK");
    assert_eq!(other.ask("GET l"), "NIL");
    server.check_idle();
}

#[test]
fn a_list_is_read_in_it_to_its_end() {
    let server = server(&["--idle-transaction-timeout", "1s"]);
    let (mut one, mut other) = (server.connect(), server.connect());
    let value = "x".repeat(1 << 20);
    (0..32).for_each(|n| drop(other.ask(format!("PUT k{n} {value}"))));
    one.ask("BEGIN READONLY");
    let token = token(&mut one);
    other.ask(format!("ATTACH {token}"));
    one.send("SCAN");
    one.read_line();
    assert!(other.ask("GET k1").starts_with("ERR BUSY"));
    // Who does not go on reading is given up on, like every transaction that is idle.
    eventually("it is aborted", || other.ask("EXISTS k1").starts_with("ERR ABORTED"));
    assert_eq!(other.ask("ROLLBACK"), "OK");
    assert_eq!(other.ask("BEGIN READONLY"), "OK 2");
    let rows = rows(&mut other, "SCAN PREFIX k1");
    assert_eq!(rows.len(), 11);
}

#[test]
fn redis_clients_work_in_it() {
    let server = server(&[]);
    let (mut lines, mut redis) = (server.connect(), server.connect());
    lines.ask("BEGIN");
    lines.ask("PUT k 1");
    let token = token(&mut lines);
    assert_eq!(resp(&mut redis, &format!("KV ATTACH {token}")), ":1");
    assert_eq!(resp(&mut redis, "INCR k"), ":2");
    assert_eq!(resp(&mut redis, "WATCH k"), "+OK");
    assert_eq!(lines.ask("INCR k"), "3");
    assert_eq!(resp(&mut redis, "MULTI"), "+OK");
    assert_eq!(resp(&mut redis, "SET k 9"), "+QUEUED");
    assert_eq!(resp(&mut redis, "EXEC"), "*-1", "it has changed");
    assert_eq!(resp(&mut redis, "MSET a 1 b 2"), "+OK");
    assert_eq!(resp(&mut redis, "TX 1 TOKEN"), token);
    assert_eq!(resp(&mut redis, "RESET"), "+RESET");
    assert_eq!(resp(&mut redis, "GET k"), "$-1", "it has let go");
    assert_eq!(lines.ask("GET b"), "\"2\"");
    assert_eq!(lines.ask("COMMIT"), "OK");
    assert_eq!(resp(&mut redis, "GET k"), "3");
}

#[test]
fn a_deadlock_through_it_is_found() {
    let server = server(&["--lock-timeout", "1m"]);
    let (mut one, mut other) = (server.connect(), server.connect());
    for request in ["BEGIN", "PUT shared 1"] {
        one.ask(request);
    }
    token(&mut one);
    for request in ["BEGIN", "PUT of_one 1"] {
        one.ask(request);
    }
    for request in ["BEGIN", "PUT of_other 1"] {
        other.ask(request);
    }
    // Within one connection: the shared one waits, so its connection does, with all that it has.
    one.send("PUT of_other 2 1");
    server.wait_for_waits(1);
    let deadlock = other.ask("PUT of_one 2");
    assert!(deadlock.starts_with("ERR DEADLOCK"), "{deadlock}");
    assert_eq!(one.read_line().trim_end(), "OK");
    assert!(one.ask("PUT of_one 3 1").starts_with("ERR BUSY"), "its own other transaction");
    for request in ["COMMIT 1", "COMMIT 2"] {
        assert_eq!(one.ask(request), "OK");
    }
    assert_eq!(other.ask("ROLLBACK"), "OK");
    server.check_idle();
}

#[test]
fn transactions_tells_of_nested_ones_under_this_sessions_numbers() {
    let server = server(&[]);
    let (mut one, mut other) = (server.connect(), server.connect());
    for request in ["BEGIN", "BEGIN 1", "BEGIN 2"] {
        one.ask(request);
    }
    let token = token(&mut one);
    let parents = |lines: &mut Client| -> Vec<String> {
        let rows = rows(lines, "TRANSACTIONS");
        let words = |row: &String| row.split(' ').take(2).collect::<Vec<_>>().join(" ");
        rows.iter().map(words).collect()
    };
    assert_eq!(parents(&mut one), ["1 -", "2 1", "3 2"]);
    other.ask("BEGIN");
    assert_eq!(other.ask(format!("ATTACH {token}")), "OK 4");
    assert_eq!(parents(&mut other), ["1 -", "2 -", "3 2", "4 3"]);
    // Who gave it out knows of it while somebody else's command runs in it, too.
    let mut holder = server.connect();
    holder.ask("BEGIN");
    holder.ask("PUT k 1");
    other.send("PUT k 2");
    server.wait_for_waits(1);
    assert_eq!(parents(&mut one), ["1 -", "2 1", "3 2"]);
    holder.ask("ROLLBACK");
    assert_eq!(other.read_line().trim_end(), "OK");
    assert_eq!(one.ask("ROLLBACK 1"), "OK");
    assert_eq!(other.ask("ROLLBACK 1"), "OK");
}

#[test]
fn what_names_no_transaction_is_done_in_the_one_that_this_session_began_last() {
    let server = server(&[]);
    let (mut one, mut other) = (server.connect(), server.connect());
    // Others have begun one in it: what is meant for the outer one is not done in theirs.
    one.ask("BEGIN");
    let outer = token(&mut one);
    assert_eq!(other.ask(format!("ATTACH {outer}")), "OK 1");
    assert_eq!(other.ask("BEGIN NESTED"), "OK 2");
    assert!(one.ask("PUT k 1").starts_with("ERR BUSY transaction 1 has the open child"));
    assert_eq!(other.ask("PUT k 2"), "OK");
    assert_eq!(one.ask("COMMIT"), "OK", "all of it, its child first");
    assert_eq!(server.connect().ask("GET k"), "\"2\"");
    assert!(other.ask("COMMIT").starts_with("ERR NOTX transaction 2 is over"));
    // Others have ended one in it: what is meant for that is not done in the outer one.
    for (request, reply) in [("BEGIN", "OK 3"), ("BEGIN NESTED", "OK 4"), ("PUT k 3", "OK")] {
        assert_eq!(one.ask(request), reply);
    }
    let outer = token(&mut one);
    other.ask(format!("ATTACH {outer}"));
    assert_eq!(other.ask("COMMIT"), "OK");
    for request in ["PUT k 4", "GET k", "GET k 4", "BEGIN NESTED", "COMMIT"] {
        let over = one.ask(request);
        assert!(over.starts_with("ERR NOTX transaction 4 is over"), "{request}: {over}");
    }
    assert_eq!(server.connect().ask("GET k"), "\"2\"", "nothing is committed by that");
    assert_eq!(one.ask("GET k"), "\"3\"", "it has let go, so the outer one is meant");
    assert_eq!(one.ask("ROLLBACK"), "OK");
    // Nor in another of its own.
    for request in ["BEGIN", "TOKEN", "BEGIN", "BEGIN 5"] {
        one.ask(request);
    }
    let outer = one.ask("TOKEN 5").trim_matches('"').to_owned();
    other.ask(format!("ATTACH {outer}"));
    assert_eq!(other.ask("ROLLBACK"), "OK");
    assert!(one.ask("PUT k 5").starts_with("ERR NOTX transaction 7 is over"));
    assert!(one.ask("ROLLBACK").starts_with("ERR NOTX"));
    assert_eq!(one.ask("PUT k 6"), "OK", "in transaction 6");
    assert_eq!(rows(&mut one, "SHOWALL"), ["\"k\" \"6\" 6"]);
    for request in ["ROLLBACK 6", "ROLLBACK 5"] {
        assert_eq!(one.ask(request), "OK");
    }
    other.ask("ROLLBACK");
    server.check_idle();
}

#[test]
fn an_exec_that_cannot_be_done_ends_the_queue() {
    let server = server(&[]);
    let (mut holder, mut lines, mut redis) = (server.connect(), server.connect(), server.connect());
    lines.ask("BEGIN");
    let token = token(&mut lines);
    resp(&mut redis, &format!("ATTACH {token}"));
    holder.ask("BEGIN");
    holder.ask("PUT k 1");
    lines.send("PUT k 2");
    server.wait_for_waits(1);
    for reply in ["-BUSY", "-NOTX"] {
        assert_eq!(resp(&mut redis, "MULTI"), "+OK");
        assert_eq!(resp(&mut redis, "SET l 1"), "+QUEUED");
        assert!(resp(&mut redis, "EXEC").starts_with(reply));
        assert!(resp(&mut redis, "GET l").starts_with(reply), "and is not queued");
        if reply == "-BUSY" {
            holder.ask("ROLLBACK");
            assert_eq!(lines.read_line().trim_end(), "OK");
            assert_eq!(lines.ask("ROLLBACK"), "OK");
        }
    }
    assert!(resp(&mut redis, "ROLLBACK").starts_with("-NOTX"));
    assert_eq!(resp(&mut redis, "GET l"), "$-1");
}

#[test]
fn what_is_attached_again_is_the_current_one() {
    let server = server(&[]);
    let (mut one, mut http) = (server.connect(), http(&server));
    let mut begin = || {
        let begun = http.ask("POST", "/begin", &[], b"").json();
        begun["transaction_id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (begin(), begin());
    assert_eq!(one.ask(format!("ATTACH {first}")), "OK 1");
    assert_eq!(one.ask(format!("ATTACH {second}")), "OK 2");
    assert_eq!(one.ask("PUT k second"), "OK");
    assert_eq!(one.ask("BEGIN"), "OK 3");
    assert_eq!(one.ask(format!("ATTACH {first}")), "OK 1");
    assert_eq!(one.ask("PUT l first"), "OK");
    assert_eq!(one.ask("GET l 1"), "\"first\"");
    assert_eq!(one.ask("BEGIN"), "OK 4");
    assert_eq!(one.ask("PUT m own"), "OK");
    assert_eq!(rows(&mut one, "SHOWALL"), ["\"m\" \"own\" 4"]);
    assert_eq!(one.ask("ROLLBACK"), "OK");
    assert_eq!(one.ask("COMMIT"), "OK", "of what was attached last");
    assert_eq!(server.connect().ask("GET l"), "\"first\"");
    assert_eq!(one.ask("ROLLBACK"), "OK", "of 3");
    assert_eq!(one.ask("COMMIT"), "OK");
    assert_eq!(server.connect().ask("GET k"), "\"second\"");
}
