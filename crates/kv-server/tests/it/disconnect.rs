//! A client that goes away, in whatever manner: what it had open is rolled back and its locks are
//! free at once, also while it waits for a lock itself.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kv_testkit::server::{Client, TestServer};
use socket2::SockRef;

use crate::{converse, server};

/// Much less than a lock would wait, and more than a busy machine takes to notice.
const AT_ONCE: Duration = Duration::from_millis(1500);

fn close(client: Client) {
    drop(client);
}

fn reset(client: Client) {
    SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
}

fn half_close(mut client: Client) {
    client.close_writing();
    client.read_to_end();
}

fn half_close_and_never_read(client: Client) {
    client.close_writing();
    std::mem::forget(client);
}

fn quit(mut client: Client) {
    client.send("QUIT");
    assert!(client.read_to_end().ends_with("OK\n"));
    // The client has not closed its side: there is a second connection, and it stays.
    std::mem::forget(client);
}

fn unfinished_line(mut client: Client) {
    client.send_raw("COMMIT");
    drop(client);
}

/// How a client leaves.
type Leave = fn(Client);

const WAYS: [(&str, Leave); 6] = [
    ("close", close),
    ("reset", reset),
    ("half close", half_close),
    ("half close, never read", half_close_and_never_read),
    ("quit", quit),
    ("unfinished line", unfinished_line),
];

/// Has `waiter` ask for a lock, lets the holder go, and expects the lock at once.
fn assert_freed(server: &TestServer, way: &str, request: &str, go: impl FnOnce()) {
    let mut waiter = server.connect();
    assert_eq!(waiter.ask("BEGIN WAIT 10s"), "OK 1");
    waiter.send(request);
    kv_testkit::server::eventually("it waits", || {
        let rows = server.connect().ask_list("LOCKS");
        rows.iter().any(|row| row.contains(" waiting "))
    });
    let left = Instant::now();
    go();
    let reply = waiter.read_line();
    assert!(left.elapsed() < AT_ONCE, "{way}: {reply} after {:?}", left.elapsed());
    assert!(!reply.starts_with("ERR"), "{way}: {reply}");
    assert_eq!(waiter.ask("ROLLBACK"), "OK");
}

#[test]
fn whoever_leaves_frees_locks_at_once() {
    let server = server(&["--lock-timeout", "10s"]);
    for (way, leave) in WAYS {
        let mut holder = server.connect();
        let open = [("BEGIN", "OK 1"), ("PUT a 1", "OK"), ("BEGIN 1", "OK 2"), ("PUT b 1", "OK")];
        converse(&mut holder, &open);
        converse(&mut holder, &[("BEGIN", "OK 3"), ("COUNT PREFIX c", "0")]);
        assert_freed(&server, way, "PUT b 2", || leave(holder));
        assert_eq!(server.connect().ask("COUNT"), "0", "{way}");
    }
}

#[test]
fn whoever_leaves_frees_ranges_at_once() {
    let server = server(&["--lock-timeout", "10s"]);
    for (way, leave) in WAYS {
        let mut holder = server.connect();
        converse(&mut holder, &[("BEGIN", "OK 1"), ("COUNT", "0")]);
        assert_freed(&server, way, "PUT c 2", || leave(holder));
    }
}

/// A waits for B, and its own locks are waited for by C: when A leaves, C goes on.
#[test]
fn whoever_leaves_while_waiting_frees_locks_at_once() {
    let server = server(&["--lock-timeout", "10s"]);
    for (way, leave) in WAYS.into_iter().filter(|(way, _)| !way.starts_with("quit")) {
        let (mut other, mut leaver) = (server.connect(), server.connect());
        converse(&mut other, &[("BEGIN", "OK 1"), ("PUT b 1", "OK")]);
        converse(&mut leaver, &[("BEGIN", "OK 1"), ("PUT a 1", "OK")]);
        leaver.send("PUT b 2");
        server.wait_for_waits(1);
        assert_freed(&server, way, "PUT a 3", || leave(leaver));
        converse(&mut other, &[("PUT b 4", "OK"), ("COMMIT", "OK"), ("GET b", "\"4\"")]);
        assert_eq!(other.ask("DEL b"), "OK");
    }
}

/// It had no transaction: its one command waits, and must not be done when it has gone.
#[test]
fn a_single_command_of_whoever_left_is_not_done() {
    let server = server(&["--lock-timeout", "10s"]);
    for (way, leave) in WAYS.into_iter().filter(|(way, _)| !way.starts_with("quit")) {
        let (mut holder, mut leaver) = (server.connect(), server.connect());
        converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT a 1", "OK")]);
        leaver.send("PUT a 2");
        server.wait_for_waits(1);
        leave(leaver);
        server.wait_for_waits(0);
        converse(&mut holder, &[("COMMIT", "OK"), ("GET a", "\"1\""), ("DEL a", "OK")]);
        assert_eq!(holder.ask("EXISTS a"), "0", "{way}");
    }
}

/// More than the server reads ahead is under way when it leaves.
#[test]
fn whoever_leaves_while_waiting_and_pipelining_frees_locks_at_once() {
    let server = server(&["--lock-timeout", "10s"]);
    for (way, leave) in [("reset", reset as Leave), ("close", close)] {
        let (mut other, mut leaver) = (server.connect(), server.connect());
        converse(&mut other, &[("BEGIN", "OK 1"), ("PUT b 1", "OK")]);
        converse(&mut leaver, &[("BEGIN", "OK 1"), ("PUT a 1", "OK")]);
        leaver.send("PUT b 2");
        server.wait_for_waits(1);
        leaver.send_raw("PUT later 1\n".repeat(15_000));
        // As much as it wants has been read when it has been still for a while.
        assert!(leaver.is_silent_for(Duration::from_millis(100)));
        assert_freed(&server, way, "PUT a 3", || leave(leaver));
        converse(&mut other, &[("ROLLBACK", "OK"), ("EXISTS later", "0")]);
    }
}

#[test]
fn who_closes_one_half_while_waiting_is_told() {
    let server = server(&[]);
    let (mut holder, mut client) = (server.connect(), server.connect());
    converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT a 1", "OK")]);
    client.send("BEGIN\nPUT b 1\nPUT a 2\nCOMMIT\nPUT c 1");
    client.close_writing();
    let replies = client.read_to_end();
    assert!(replies.starts_with("OK 1\nOK\nERR ABORTED "), "{replies}");
    assert_eq!(replies.lines().count(), 3, "{replies}");
    assert_eq!(holder.ask("ROLLBACK"), "OK");
    assert_eq!(holder.ask("COUNT"), "0");
}

/// `printf … | nc`: all that was sent is answered though the client has stopped sending.
#[test]
fn what_was_sent_before_half_a_close_is_answered() {
    let server = server(&[]);
    let mut client = server.connect();
    client.send_raw("PUT a 1\nINCR n\nSCAN\nGET a");
    client.close_writing();
    assert_eq!(client.read_to_end(), "OK\n1\n\"a\" \"1\"\n\"n\" \"1\"\nEND 2\n");
}

#[test]
fn a_client_that_is_killed_is_gone() {
    let server = server(&["--lock-timeout", "10s"]);
    let port = server.address().port();
    // A shell that holds a connection is a client as good as any.
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat >&3");
    let spawned = Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn();
    let mut client = spawned.unwrap();
    client.stdin.as_mut().unwrap().write_all(b"BEGIN\nPUT a 1\n").unwrap();
    kv_testkit::server::eventually("the client has its lock", || {
        server.connect().ask_list("LOCKS").len() == 2
    });
    // Its child is killed with it: a process that inherits the socket would keep it open.
    let children = format!("kill -KILL $(cat /proc/{0}/task/{0}/children) {0}", client.id());
    assert_freed(&server, "kill -9", "PUT a 2", || {
        assert!(Command::new("sh").args(["-c", &children]).status().unwrap().success());
    });
    client.wait().unwrap();
}

/// Hundreds that come and go in the middle of everything leave nothing behind.
#[test]
fn a_crowd_that_leaves_midway_leaves_nothing() {
    let server = server(&["--lock-timeout", "10s"]);
    let beginnings = [
        "",
        "PI",
        "PUT a",
        "BEGIN\n",
        "BEGIN\nPUT a 1\n",
        "PUT a 1\n",
        "BEGIN\nBEGIN\nGET a\nPUT",
        "BEGIN SNAPSHOT\nSCAN\n",
        "BEGIN\nCOUNT\nPUT b 1\n",
        "SCAN\nSHOWALL\n",
        "QUIT\nPUT a",
        "BEGIN\nBEGIN NESTED\nPUT c 1\nPUT a 1\nPUT b 2\n",
        "\"",
        "BEGIN READONLY\n",
    ];
    for round in 0..400 {
        let mut client = server.connect();
        client.send_raw(beginnings[round % beginnings.len()]);
        if round % 3 == 0 { reset(client) } else { close(client) }
    }
    server.check_idle();
    server.wait_for_stat("connections", 1);
}
