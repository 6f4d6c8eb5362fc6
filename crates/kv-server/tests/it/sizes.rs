//! Keys, values and lines at their limits, one byte below and one above.

use std::time::Duration;

use kv_testkit::server::TestServer;

use crate::{converse, server};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// 16-byte keys, 1000-byte values and the smallest line that may go with them.
fn small() -> TestServer {
    server(&["--max-key", "16", "--max-value", "1000", "--max-line", "6128"])
}

#[test]
fn a_key_may_have_64_kib() {
    let server = server(&[]);
    let mut client = server.connect();
    for length in [64 * KIB - 1, 64 * KIB] {
        let key = "k".repeat(length);
        assert_eq!(client.ask(format!("PUT {key} {length}")), "OK");
        assert_eq!(client.ask(format!("GET {key}")), format!("\"{length}\""));
        assert_eq!(client.ask(format!("COUNT PREFIX {key} LIMIT 1")), "1");
    }
    let key = "k".repeat(64 * KIB + 1);
    let commands =
        ["PUT {} v", "GET {}", "DEL {}", "EXISTS {}", "INCR {}", "META {}", "HISTORY {}"];
    for command in commands.into_iter().chain(["GET {} VERSION 1", "GET {} AT 1"]) {
        let reply = client.ask(command.replace("{}", &key));
        assert!(reply.starts_with("ERR TOOBIG "), "{command}: {reply}");
    }
    assert_eq!(client.ask("COUNT"), "2");
    // No key is as long, but one may ask what begins so.
    assert_eq!(client.ask(format!("COUNT PREFIX {key}")), "0");
    assert_eq!(client.ask(format!("COUNT AFTER {key}")), "0");
    assert_eq!(client.ask(format!("COUNT RANGE a {key}")), "2");
}

#[test]
fn a_value_is_bounded_and_the_connection_goes_on() {
    let server = small();
    let mut client = server.connect();
    assert_eq!(client.ask("BEGIN"), "OK 1");
    for length in [999, 1000] {
        let value = "v".repeat(length);
        assert_eq!(client.ask(format!("PUT k {value}")), "OK");
        assert_eq!(client.ask("GET k"), format!("\"{value}\""));
        // As many bytes, though the line is twice or four times as long.
        assert_eq!(client.ask(format!("PUT k \"{}\"", "\\\"".repeat(length))), "OK");
        assert_eq!(client.ask(format!("PUT k \"{}\"", "\\xff".repeat(length))), "OK");
        assert_eq!(client.ask("GET k").len(), 4 * length + 2);
    }
    let reply = client.ask(format!("PUT k {}", "v".repeat(1001)));
    assert!(reply.starts_with("ERR TOOBIG "), "{reply}");
    let reply = client.ask(format!("PUT {} v", "k".repeat(17)));
    assert!(reply.starts_with("ERR TOOBIG "), "{reply}");
    let reply = client.ask(format!("PUT k \"{}\"", "\\xff".repeat(1001)));
    assert!(reply.starts_with("ERR TOOBIG "), "{reply}");
    assert_eq!(client.ask("COMMIT 1"), "OK");
    assert_eq!(client.ask("GET k").len(), 4002);
}

#[test]
fn a_line_at_its_limit_is_read() {
    let server = small();
    for end in ["\n", "\r\n"] {
        let mut client = server.connect();
        client.send_raw(format!("PING{}{end}", " ".repeat(6124)));
        assert_eq!(client.read_line(), "PONG");
        client.send_raw(format!("{}{end}PING\n", " ".repeat(6128)));
        assert_eq!(client.read_line(), "PONG");
    }
}

#[test]
fn a_line_over_its_limit_is_refused_and_the_connection_closed() {
    let server = small();
    let long = "x".repeat(6129);
    for sent in [format!("{long}\n"), format!("{long}\r\n"), long.clone(), format!("{long}\r")] {
        let mut client = server.connect();
        client.send_raw(format!("PUT a 1\n{sent}"));
        assert_eq!(client.read_line(), "OK", "what came before is done");
        let reply = client.read_line();
        assert!(reply.starts_with("ERR TOOBIG ") && reply.contains("6128"), "{reply}");
        assert_eq!(client.read_line_or_end(), None);
    }
}

#[test]
fn nothing_that_follows_a_line_too_long_is_done() {
    let server = small();
    let mut client = server.connect();
    client.send_raw(format!("BEGIN\nPUT a 1\n{}\nPUT b 1\nCOMMIT\n", "x".repeat(100 * KIB)));
    let replies = client.read_to_end();
    assert!(replies.starts_with("OK 1\nOK\nERR TOOBIG "), "{replies}");
    assert_eq!(replies.lines().count(), 3);
    converse(&mut server.connect(), &[("COUNT", "0")]);
}

#[test]
fn the_refusal_of_a_line_arrives_while_the_client_still_sends() {
    let server = small();
    let mut client = server.connect();
    client.send_raw("x".repeat(MIB));
    let reply = client.read_line();
    assert!(reply.starts_with("ERR TOOBIG "), "{reply}");
    // Whoever goes on sending finds the connection closed before long.
    let chunk = vec![b'x'; 64 * KIB];
    kv_testkit::server::eventually("the connection is closed", || !client.try_send_raw(&chunk));
}

/// Its locks must not outlive the refusal, however long the client takes to notice it.
#[test]
fn a_line_too_long_frees_locks_at_once() {
    let server = small();
    let (mut client, mut other) = (server.connect(), server.connect());
    client.send_raw(format!("BEGIN\nPUT a 1\n{}", "x".repeat(6129)));
    converse(&mut client, &[]);
    assert_eq!([client.read_line(), client.read_line()], ["OK 1", "OK"]);
    assert!(client.read_line().starts_with("ERR TOOBIG "));
    assert_eq!(client.read_line_or_end(), None);
    assert_eq!(other.ask("BEGIN WAIT 500ms"), "OK 1");
    assert_eq!(other.ask("PUT a 2"), "OK");
}

#[test]
fn a_value_may_have_16_mib() {
    let server = server(&[]);
    let mut client = server.connect();
    let mut value = vec![b'v'; 16 * MIB];
    let request = |key: &str, value: &[u8]| [b"PUT ", key.as_bytes(), b" ", value, b"\n"].concat();
    value[0] = 0xfe;
    let sender = client.send_in_background(request("whole", &value));
    assert_eq!(client.read_line(), "OK");
    sender.join().unwrap();
    value.push(b'v');
    let sender = client.send_in_background(request("over", &value));
    assert!(client.read_line().starts_with("ERR TOOBIG "));
    sender.join().unwrap();
    assert_eq!(client.ask("EXISTS over"), "0");
    let reply = client.ask("GET whole");
    assert!(reply.starts_with("\"\\xfev") && reply.len() == 16 * MIB + 5);
    assert!(client.is_silent_for(Duration::from_millis(1)));
}
