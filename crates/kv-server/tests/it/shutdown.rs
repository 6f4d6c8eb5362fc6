//! Signals: how the server stops, and what its clients learn of it.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use kv_testkit::server::{Client, TestServer, eventually};

use crate::{connect_tight, converse, server};

/// Clients that do one thing after the other until the connection ends, each in a thread. They
/// have been answered at least once. Each answers how much it has added.
fn under_load(server: &TestServer, clients: usize) -> Vec<std::thread::JoinHandle<u64>> {
    let start = |number: usize| {
        let mut client = server.connect();
        assert_eq!(client.ask("PING"), "PONG");
        std::thread::spawn(move || add_until_the_end(&mut client, number))
    };
    (0..clients).map(start).collect()
}

fn add_until_the_end(client: &mut Client, number: usize) -> u64 {
    let mut added = 0;
    loop {
        if !client.try_send_raw(format!("INCR counter{number}\n")) {
            return added;
        }
        match client.read_line_or_end() {
            Some(reply) if reply.starts_with("ERR SHUTDOWN ") => return added,
            Some(reply) => assert_eq!(reply, (added + 1).to_string()),
            None => return added,
        }
        added += 1;
    }
}

#[test]
fn sigterm_drains_under_load() {
    for signal in ["TERM", "INT"] {
        let mut server = server(&[]);
        let load = under_load(&server, 8);
        let mut observer = server.connect();
        eventually("there is a load", || observer.ask("COUNT") == "8");
        let (mut open, mut idle) = (server.connect(), server.connect());
        converse(&mut open, &[("BEGIN", "OK 1"), ("PUT a 1", "OK")]);
        converse(&mut idle, &[("PING", "PONG")]);
        let told = Instant::now();
        server.signal(signal);
        let reply = open.read_line();
        assert!(reply.starts_with("ERR SHUTDOWN "), "{reply}");
        assert_eq!(open.read_line_or_end(), None);
        assert_eq!(idle.read_line_or_end(), None, "who has nothing open is not told anything");
        drop((open, idle, observer));
        let status = server.wait_for_exit();
        assert_eq!(status.code(), Some(0), "{}", server.messages());
        assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
        let added: u64 = load.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(added > 0, "there was a load");
        let messages = server.messages();
        assert!(messages.contains(&format!("SIG{signal}: draining")), "{messages}");
        assert!(messages.contains("drained: every connection has ended"), "{messages}");
    }
}

/// A client that always has its next requests under way must not keep the server from stopping.
#[test]
fn sigterm_drains_though_a_client_pipelines_without_end() {
    let mut server = server(&["--drain-timeout", "8s"]);
    let mut client = server.connect();
    for key in 0..500 {
        assert_eq!(client.ask(format!("PUT key{key} 1")), "OK");
    }
    // These take longer to be run than to be sent.
    let (mut stream, mut replies) = (client.stream().try_clone().unwrap(), client);
    let sender = std::thread::spawn(move || {
        use std::io::Write as _;
        let batch = b"COUNT\n".repeat(2000);
        while stream.write_all(&batch).is_ok() {}
    });
    let reader = std::thread::spawn(move || while replies.read_line_or_end().is_some() {});
    let mut other = server.connect();
    converse(&mut other, &[("BEGIN", "OK 1"), ("PUT b 1", "OK")]);
    let told = Instant::now();
    server.signal("TERM");
    assert!(other.read_line().starts_with("ERR SHUTDOWN "));
    drop(other);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    sender.join().unwrap();
    reader.join().unwrap();
}

#[test]
fn a_drain_lets_a_waiting_command_finish() {
    let mut server = server(&["--lock-timeout", "10s"]);
    let (mut holder, mut waiter) = (server.connect(), server.connect());
    converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT a 1", "OK")]);
    waiter.send("PUT a 2");
    server.wait_for_waits(1);
    server.signal("TERM");
    // The holder's transaction is rolled back, which frees the lock.
    assert!(holder.read_line().starts_with("ERR SHUTDOWN "));
    assert_eq!(waiter.read_line(), "OK");
    assert_eq!(waiter.read_line_or_end(), None);
    drop((holder, waiter));
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn a_drain_takes_no_new_clients() {
    let mut server = server(&["--drain-timeout", "10s"]);
    let mut open = server.connect();
    converse(&mut open, &[("BEGIN", "OK 1")]);
    server.signal("TERM");
    assert!(open.read_line().starts_with("ERR SHUTDOWN "));
    let late = std::net::TcpStream::connect(server.address());
    assert!(late.is_err() || Client::new(late.unwrap()).read_line_or_end().is_none());
    drop(open);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

/// Somebody who never reads cannot hold the server up for longer than was said.
#[test]
fn a_drain_ends_when_its_time_is_up() {
    let mut server = server(&["--drain-timeout", "300ms"]);
    let mut stuck = connect_tight(&server);
    converse(&mut stuck, &[("BEGIN", "OK 1"), (&format!("PUT a {}", "v".repeat(1 << 20)), "OK")]);
    stuck.send_raw("GET a\n".repeat(20));
    // Something has come back, so the server is busy writing what is not read.
    assert!(!stuck.is_silent_for(Duration::from_secs(5)));
    let told = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait_for_exit().code(), Some(0));
    let took = told.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&took), "{took:?}");
    server.wait_for_message("not drained");
}

#[test]
fn a_second_signal_stops_at_once() {
    // What is cut off may end before the server has looked, and is cut off all the same.
    (0..6).for_each(|_| stop_at_once());
}

fn stop_at_once() {
    let mut server = server(&["--drain-timeout", "10s", "--lock-timeout", "10s"]);
    let mut stuck = connect_tight(&server);
    converse(&mut stuck, &[(&format!("PUT a {}", "v".repeat(1 << 20)), "OK")]);
    stuck.send_raw("GET a\n".repeat(20));
    assert!(!stuck.is_silent_for(Duration::from_secs(5)));
    server.signal("TERM");
    server.wait_for_message("SIGTERM: draining");
    let told = Instant::now();
    server.signal("INT");
    assert_eq!(server.wait_for_exit().code(), Some(1));
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
}

#[test]
fn other_signals_change_nothing() {
    let server = server(&[]);
    let mut client = server.connect();
    converse(&mut client, &[("BEGIN", "OK 1"), ("PUT a 1", "OK")]);
    for signal in ["HUP", "PIPE", "STOP", "CONT"] {
        server.signal(signal);
    }
    server.wait_for_message("SIGHUP is ignored");
    converse(&mut client, &[("GET a", "\"1\""), ("COMMIT", "OK")]);
}

#[test]
fn a_kill_is_a_kill() {
    let mut server = server(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("BEGIN"), "OK 1");
    server.signal("KILL");
    assert_eq!(server.wait_for_exit().signal(), Some(9));
    assert_eq!(client.read_line_or_end(), None);
}

#[test]
fn shutdown_is_told_in_json_too() {
    let mut server = server(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("FORMAT JSON"), r#"{"status":"Ok"}"#);
    assert_eq!(client.ask("BEGIN"), r#"{"status":"Ok","transaction_id":1}"#);
    server.signal("TERM");
    let reply: serde_json::Value = serde_json::from_str(&client.read_line()).unwrap();
    assert_eq!(reply["code"], "SHUTDOWN");
    assert_eq!(reply["retryable"], true);
    drop(client);
    assert!(server.wait_for_exit().success());
}
