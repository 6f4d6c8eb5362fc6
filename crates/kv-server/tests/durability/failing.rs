//! Places that fail or dawdle: who is told what, and that nothing else changes.

use std::time::{Duration, Instant};

use kv_testkit::server::{Client, TestServer};

use crate::Data;
use crate::failpoints::{IN_JSON, IN_ROTATION, UNDER_LOAD};
use crate::journal::Journal;
use crate::writers::{Load, Traffic};

/// All places of locks, transactions and replies.
const PLACES: [&str; 8] = [
    "lock.after_grant",
    "lock.before_release",
    "txn.child_commit",
    "txn.child_abort",
    "txn.top_commit",
    "txn.mid_install",
    "net.before_reply",
    "net.partial_reply",
];

fn start(data: &Data, failpoints: &str) -> TestServer {
    TestServer::start_command(data.armed(failpoints))
}

/// Asks one thing after the other; `ERR IO` stands for what the failpoint answers.
fn converse(client: &mut Client, conversation: &[(&str, &str)]) {
    for (command, expected) in conversation {
        let reply = client.ask(command);
        let is_right = match *expected {
            "ERR IO" => reply.starts_with("ERR IO ") && reply.contains("failpoint"),
            expected => reply == expected,
        };
        assert!(is_right, "{command}: {reply}, not {expected}");
    }
}

#[test]
fn a_commit_that_is_refused_leaves_the_transaction_as_it_was() {
    let data = Data::new();
    let server = start(&data, "txn.top_commit=error@2");
    let (mut client, mut other) = (server.connect(), server.connect());
    let begun = [("PUT a 1", "OK"), ("BEGIN", "OK 1"), ("PUT a 2", "OK"), ("PUT b 2", "OK")];
    converse(&mut client, &begun);
    converse(&mut client, &[("COMMIT", "ERR IO")]);
    converse(&mut other, &[("GET a", "\"1\""), ("GET b", "NIL"), ("CHECK", "OK")]);
    // The third time it is not refused.
    converse(&mut client, &[("GET b", "\"2\""), ("COMMIT", "OK"), ("REVISION", "2")]);
    converse(&mut other, &[("GET a", "\"2\""), ("GET b", "\"2\"")]);
}

#[test]
fn a_single_command_that_is_refused_leaves_nothing() {
    let data = Data::new();
    let server = start(&data, "txn.top_commit=error@1");
    let mut client = server.connect();
    converse(&mut client, &[("PUT a 1", "ERR IO"), ("GET a", "NIL"), ("CHECK", "OK")]);
    converse(&mut client, &[("PUT a 1", "OK"), ("REVISION", "1")]);
}

#[test]
fn a_lock_whose_command_failed_is_held_and_released_with_its_transaction() {
    let data = Data::new();
    let server = start(&data, "lock.after_grant=error@1");
    let (mut client, mut other) = (server.connect(), server.connect());
    converse(&mut client, &[("BEGIN", "OK 1"), ("PUT a 1", "ERR IO")]);
    other.send("PUT a 2");
    server.wait_for_waits(1);
    converse(&mut client, &[("GET a", "NIL"), ("ROLLBACK", "OK")]);
    assert_eq!(other.read_line(), "OK");
}

#[test]
fn a_nested_transaction_that_cannot_be_ended_stays_open() {
    for (place, command, left) in
        [("txn.child_commit", "COMMIT", "\"2\""), ("txn.child_abort", "ROLLBACK", "\"1\"")]
    {
        let data = Data::new();
        let server = start(&data, &format!("{place}=error@1"));
        let mut client = server.connect();
        converse(&mut client, &[("BEGIN", "OK 1"), ("PUT a 1", "OK"), ("BEGIN NESTED", "OK 2")]);
        converse(&mut client, &[("PUT a 2", "OK"), (command, "ERR IO"), ("GET a", "\"2\"")]);
        assert_eq!(client.ask_list("TRANSACTIONS").last().unwrap(), "END 2", "{place}");
        converse(&mut client, &[(command, "OK"), ("GET a", left), ("COMMIT", "OK")]);
    }
}

/// As when the socket breaks before the reply, or in the middle of it.
#[test]
fn a_reply_that_cannot_be_sent_ends_the_connection_and_not_the_commit() {
    // What half of the replies is depends on how many of them are durable when they are sent.
    for (place, is_begun) in [("net.before_reply", false), ("net.partial_reply", true)] {
        let data = Data::new();
        let server = start(&data, &format!("{place}=error@3"));
        let mut client = server.connect();
        converse(&mut client, &[("BEGIN", "OK 1"), ("PUT held 1", "OK")]);
        client.send_raw("BEGIN\nPUT a 1\nCOMMIT\n");
        let received: Vec<_> = std::iter::from_fn(|| client.read_line_or_cut()).collect();
        assert_eq!(!received.is_empty(), is_begun, "{place}");
        assert!(received.iter().filter(|line| line.is_ok()).count() < 3, "{place}");
        let mut other = server.connect();
        converse(&mut other, &[("PUT held 2", "OK"), ("GET a", "\"1\""), ("CHECK", "OK")]);
    }
}

/// One thread, and replies that take a second each: they all take it at the same time.
#[test]
fn clients_that_wait_for_slow_replies_do_not_wait_for_each_other() {
    let data = Data::with_flags(&["--threads", "1"]);
    let server = start(&data, "net.before_reply=delay:1000");
    let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    let began = Instant::now();
    clients.iter_mut().for_each(|client| client.send("PING"));
    for client in &mut clients {
        assert_eq!(client.read_line(), "PONG");
    }
    let took = began.elapsed();
    let possible = Duration::from_secs(1)..Duration::from_secs(4);
    assert!(possible.contains(&took), "it took {took:?}");
}

/// As when the disk fails: those whose commits are not known to be on disk are told so.
#[test]
fn an_error_at_any_place_of_the_log_ends_the_server_and_loses_nothing() {
    let places = UNDER_LOAD.into_iter().filter(|(place, _)| place.starts_with("log."));
    for (place, hit) in places.chain(IN_ROTATION.map(|place| (place, 4))) {
        let data = Data::new().with("KV_SEGMENT_BYTES", "65536");
        let mut journal = Journal::default();
        let mut server = start(&data, &format!("{place}=error@{hit}"));
        let traffic = Traffic { commits_max: 100_000, ..Traffic::default() };
        let load = Load::start(&server, traffic, 0, hit);
        let status = server.wait_for_exit();
        assert_eq!(status.code(), Some(1), "{place}: {}", server.messages());
        load.join(&mut journal);
        let server = data.start();
        let first = journal.check(&server);
        server.kill();
        assert_eq!(journal.check(&data.start()), first, "{place}: recovery twice");
    }
}

/// The snapshot stays as it was, and the next fold has everything.
#[test]
fn an_error_at_any_place_of_a_fold_is_made_good_by_the_next() {
    // The JSON file passes them when it is created, too.
    let json = IN_JSON.map(|place| (place, "json", 2));
    let sqlite = UNDER_LOAD.into_iter().filter(|(place, _)| place.starts_with("snap."));
    for (place, kind, hit) in sqlite.map(|(place, _)| (place, "sqlite", 1)).chain(json) {
        let data = Data::with_flags(&["--snapshot", kind, "--checkpoint-interval", "1h"]);
        let mut journal = Journal::default();
        let server = start(&data, &format!("{place}=error@{hit}"));
        Load::start(&server, Traffic::default(), 0, 1).join(&mut journal);
        let mut client = server.connect();
        assert!(client.ask("CHECKPOINT").starts_with("ERR IO "), "{place}");
        let first = journal.check(&server);
        assert_eq!(client.ask("CHECKPOINT"), "OK", "{place}");
        drop(client);
        server.kill();
        assert_eq!(journal.check(&data.start()), first, "{place}");
    }
}

/// Where it dawdles changes nothing but the time, and where nothing can fail an error changes
/// nothing at all.
#[test]
fn a_slow_place_changes_nothing() {
    let armed = PLACES.map(|place| format!("{place}=delay:1"));
    let deaf = ["lock.before_release=error", "txn.mid_install=error"].map(String::from);
    for failpoints in armed.iter().chain(&deaf) {
        let data = Data::new();
        let mut journal = Journal::default();
        let server = start(&data, failpoints);
        let traffic = Traffic { commits_max: 40, ..Traffic::default() };
        Load::start(&server, traffic, 0, 1).join(&mut journal);
        let tried: usize = journal.writers.iter().map(|written| written.commits.len()).sum();
        assert_eq!(journal.acknowledged(), tried, "{failpoints}");
        let first = journal.check(&server);
        server.kill();
        assert_eq!(journal.check(&data.start()), first, "{failpoints}");
    }
}
