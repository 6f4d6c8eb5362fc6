//! Clients that ask for more than they take, or send more than they may: the server's memory stays
//! bounded, and others are served.

use std::time::Duration;

use kv_testkit::server::{TestServer, eventually};

use crate::{connect_tight, server};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How far the server's memory has ever been above what it was, in KiB.
fn grown_kib(server: &TestServer, before_kib: u64) -> u64 {
    server.memory_kib().1.saturating_sub(before_kib)
}

/// Sends until the server has stopped taking, as it must.
fn send_until_blocked(client: &kv_testkit::server::Client, request: &[u8]) {
    use std::io::Write as _;
    let mut stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let batch = request.repeat(1000);
    for _ in 0..10_000 {
        if stream.write_all(&batch).is_err() {
            return;
        }
    }
    panic!("the server takes requests without end");
}

#[test]
fn who_does_not_read_is_not_served_and_costs_little() {
    let server = server(&[]);
    let mut other = server.connect();
    assert_eq!(other.ask(format!("PUT big {}", "v".repeat(100 * KIB))), "OK");
    let before_kib = server.memory_kib().0;
    let silent: Vec<_> = [&b"GET big\n"[..], b"HELP\n", b"NONSENSE\n", b"SHOWALL\n"]
        .into_iter()
        .map(|request| {
            let client = connect_tight(&server);
            send_until_blocked(&client, request);
            client
        })
        .collect();
    assert_eq!(other.ask("PING"), "PONG");
    let grown = grown_kib(&server, before_kib);
    assert!(grown < 24 * 1024, "{grown} KiB for {} clients", silent.len());
}

#[test]
fn a_long_list_is_not_held_in_memory() {
    let server = server(&[]);
    let mut other = server.connect();
    let value = "v".repeat(MIB);
    (0..48).for_each(|key| assert_eq!(other.ask(format!("PUT {key} {value}")), "OK"));
    let before_kib = server.memory_kib().0;
    let mut silent = Vec::new();
    for request in ["SCAN", "SHOWALL", "FORMAT JSON\nSCAN", "BEGIN SNAPSHOT\nSHOWALL 1"] {
        let mut client = connect_tight(&server);
        client.send(request);
        // The first row is here, so the list is under way.
        assert!(!client.is_silent_for(Duration::from_secs(5)));
        silent.push(client);
    }
    assert_eq!(other.ask("COUNT"), "48");
    let grown = grown_kib(&server, before_kib);
    assert!(grown < 24 * 1024, "{grown} KiB for {} clients", silent.len());
}

/// The versions of a key are a list that can be long: ten of 16 MiB, or many with `--history all`.
#[test]
fn a_long_history_is_not_held_in_memory() {
    let server = server(&[]);
    let mut other = server.connect();
    let value = "v".repeat(8 * MIB);
    (0..10).for_each(|_| assert_eq!(other.ask(format!("PUT k {value}")), "OK"));
    let before_kib = server.memory_kib().0;
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut client = connect_tight(&server);
        client.send("HISTORY k");
        assert!(!client.is_silent_for(Duration::from_secs(5)));
        silent.push(client);
    }
    assert_eq!(other.ask("PING"), "PONG");
    let grown = grown_kib(&server, before_kib) / 1024;
    assert!(grown < 100, "{grown} MiB for {} clients of 80 MiB each", silent.len());
}

#[test]
fn a_long_list_of_locks_is_not_held_in_memory() {
    const LOCKS: usize = 20_000;
    let server = server(&[]);
    let mut holder = server.connect();
    assert_eq!(holder.ask("BEGIN"), "OK 1");
    let name = "k".repeat(500);
    let reads: String = (0..LOCKS).map(|number| format!("GET {name}{number}\n")).collect();
    let sender = holder.send_in_background(reads.into_bytes());
    (0..LOCKS).for_each(|_| assert_eq!(holder.read_line(), "NIL"));
    sender.join().unwrap();
    let before_kib = server.memory_kib().0;
    let mut silent = Vec::new();
    for _ in 0..6 {
        let mut client = connect_tight(&server);
        client.send("LOCKS");
        assert!(!client.is_silent_for(Duration::from_secs(5)));
        silent.push(client);
    }
    assert_eq!(holder.ask("PING"), "PONG");
    let grown = grown_kib(&server, before_kib) / 1024;
    assert!(grown < 24, "{grown} MiB for {} clients of 10 MiB each", silent.len());
}

#[test]
fn a_line_without_an_end_is_cut_off() {
    let server = server(&["--max-value", "256kb", "--max-line", "1mb"]);
    let before_kib = server.memory_kib().0;
    let mut client = server.connect();
    let chunk = vec![b'x'; 64 * KIB];
    // The refusal is sent at once; what comes after it is thrown away for a while, so that the
    // refusal is not lost.
    eventually("the connection is closed", || !client.try_send_raw(&chunk));
    let grown = grown_kib(&server, before_kib);
    assert!(grown < 16 * 1024, "{grown} KiB");
    assert_eq!(server.connect().ask("PING"), "PONG");
}

#[test]
fn a_line_without_an_end_is_cut_off_at_the_default_limit() {
    let server = server(&[]);
    let before_kib = server.memory_kib().0;
    let mut client = server.connect();
    let chunk = vec![b'x'; MIB];
    let taken = (0..60).take_while(|_| client.try_send_raw(&chunk)).count();
    assert!(taken >= 40, "{taken} MiB were taken");
    let reply = client.read_line_or_end();
    assert!(reply.is_none_or(|reply| reply.starts_with("ERR TOOBIG ")));
    let grown = grown_kib(&server, before_kib) / 1024;
    assert!(grown < 130, "{grown} MiB");
    drop(client);
    assert_eq!(server.connect().ask("PING"), "PONG");
}

/// Each of many idle connections costs a few KiB.
#[test]
fn idle_connections_are_cheap() {
    const CLIENTS: usize = 300;
    let server = server(&[]);
    // Before it has served anybody, most of the program itself is not in memory yet.
    assert_eq!(server.connect().ask("PING"), "PONG");
    let before_kib = server.memory_kib().0;
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("PING"), "PONG");
    }
    let each = server.memory_kib().0.saturating_sub(before_kib) / CLIENTS as u64;
    assert!(each < 32, "{each} KiB a connection");
}

/// What a long line or reply needed is not kept while the connection stays.
#[test]
fn buffers_are_not_kept() {
    let server = server(&["--history", "1"]);
    let mut clients: Vec<_> = (0..24).map(|_| server.connect()).collect();
    let line = format!("PUT k {}", "v".repeat(2 * MIB));
    for client in &mut clients {
        assert_eq!(client.ask(&line), "OK");
        assert_eq!(client.ask("GET k").len(), 2 * MIB + 2);
    }
    // Each has had at least 2 MiB of input and 2 MiB of output.
    let most = server.memory_kib().1 / 1024;
    assert!(most < 80, "{most} MiB for {} clients", clients.len());
}
