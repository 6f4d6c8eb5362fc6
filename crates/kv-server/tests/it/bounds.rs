//! The bounds of transactions, each made small: LIMIT refuses one command, and all else stays.

use kv_testkit::server::Client;

use crate::{converse, server};

fn assert_limit(client: &mut Client, request: &str, names: &str) {
    let reply = client.ask(request);
    assert!(reply.starts_with("ERR LIMIT ") && reply.contains(names), "{request}: {reply}");
}

#[test]
fn nesting_goes_64_deep() {
    let server = server(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("BEGIN"), "OK 1");
    for level in 2..=64 {
        assert_eq!(client.ask("BEGIN NESTED"), format!("OK {level}"));
        assert_eq!(client.ask(format!("PUT key{level} {level}")), "OK");
    }
    assert_limit(&mut client, "BEGIN NESTED", "64");
    assert_limit(&mut client, "BEGIN 64", "64");
    assert!(client.ask("BEGIN 63").starts_with("ERR BUSY "));
    assert_eq!(client.ask_list("TRANSACTIONS").len(), 65);
    // Forty levels are undone, the rest is committed step by step.
    converse(&mut client, &[("ROLLBACK 25", "OK"), ("COUNT", "23"), ("BEGIN", "OK 65")]);
    converse(&mut client, &[("ROLLBACK", "OK"), ("BEGIN NESTED", "OK 66"), ("COMMIT 66", "OK")]);
    for level in (2..=24).rev() {
        assert_eq!(client.ask("COMMIT"), "OK", "{level}");
        assert_eq!(server.connect().ask("COUNT"), "0");
    }
    converse(&mut client, &[("COMMIT", "OK"), ("COUNT", "23")]);
    assert_eq!(server.connect().ask("GET key24"), "\"24\"");
}

#[test]
fn a_commit_of_the_root_takes_all_levels_with_it() {
    let server = server(&["--max-nesting", "1024"]);
    let mut client = server.connect();
    for end in ["COMMIT 1", "COMMITALL"] {
        let mut client = server.connect();
        assert_eq!(client.ask("BEGIN"), "OK 1");
        let requests = "BEGIN NESTED\nINCR deep\n".repeat(999);
        let sender = client.send_in_background(requests.into_bytes());
        (0..2 * 999).for_each(|_| assert!(!client.read_line().starts_with("ERR")));
        sender.join().unwrap();
        assert_limit(&mut client, "BEGIN NESTED", "1000");
        assert!(client.ask(end).starts_with("OK"));
    }
    assert_eq!(client.ask("GET deep"), "\"1998\"");
}

#[test]
fn transactions_of_a_session_are_bounded() {
    let server = server(&["--max-session-transactions", "3"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    converse(&mut client, &[("BEGIN", "OK 1"), ("BEGIN", "OK 2"), ("BEGIN 2", "OK 3")]);
    assert_limit(&mut client, "BEGIN", "3");
    assert_limit(&mut client, "BEGIN NESTED", "3");
    assert_limit(&mut client, "BEGIN READONLY", "3");
    assert_eq!(other.ask("BEGIN"), "OK 1");
    converse(&mut client, &[("PUT a 1", "OK"), ("COMMIT 3", "OK"), ("BEGIN SNAPSHOT", "OK 4")]);
    converse(&mut client, &[("COMMITALL", "OK 3"), ("GET a", "\"1\""), ("BEGIN", "OK 5")]);
}

#[test]
fn transactions_of_the_server_are_bounded() {
    let server = server(&["--max-session-transactions", "3", "--max-transactions", "4"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    converse(&mut client, &[("BEGIN", "OK 1"), ("BEGIN 1", "OK 2"), ("BEGIN", "OK 3")]);
    assert_eq!(other.ask("BEGIN"), "OK 1");
    assert_limit(&mut other, "BEGIN", "4");
    assert_limit(&mut other, "BEGIN NESTED", "4");
    assert_eq!(other.ask("PUT a 1"), "OK");
    // Each way to end one makes room for one.
    converse(&mut client, &[("ROLLBACK 2", "OK")]);
    assert_eq!(other.ask("BEGIN"), "OK 2");
    assert_limit(&mut other, "BEGIN", "4");
    drop(client);
    server.wait_for_stat("transactions_open", 2);
    converse(&mut other, &[("BEGIN", "OK 3"), ("ROLLBACK 2", "OK"), ("COMMITALL", "OK 2")]);
    assert_eq!(server.connect().ask("GET a"), "\"1\"");
}

#[test]
fn a_write_set_is_bounded() {
    let flags = ["--max-key", "1kb", "--max-value", "1kb", "--max-write-set", "4kb"];
    let server = server(&flags);
    let mut client = server.connect();
    let value = "v".repeat(1000);
    converse(&mut client, &[("BEGIN", "OK 1"), (&format!("PUT a {value}"), "OK")]);
    converse(&mut client, &[(&format!("PUT b {value}"), "OK"), (&format!("PUT c {value}"), "OK")]);
    assert_limit(&mut client, &format!("PUT d {value}"), "4096");
    converse(&mut client, &[("EXISTS d", "0"), ("PUT a 1", "OK")]);
    // What was written over counts no longer, but for what a nested one would have to bring back.
    converse(&mut client, &[(&format!("PUT d {value}"), "OK"), ("BEGIN NESTED", "OK 2")]);
    assert_eq!(client.ask("DEL b"), "OK");
    assert_limit(&mut client, &format!("PUT e {value}"), "4096");
    converse(&mut client, &[("ROLLBACK 2", "OK"), ("DEL c", "OK"), ("DEL d", "OK")]);
    converse(&mut client, &[(&format!("PUT f {value}"), "OK"), ("COMMIT", "OK"), ("COUNT", "3")]);
}

#[test]
fn locks_of_a_transaction_are_bounded() {
    let server = server(&["--max-locks", "3"]);
    let mut client = server.connect();
    converse(&mut client, &[("BEGIN", "OK 1"), ("PUT a 1", "OK"), ("GET b", "NIL")]);
    converse(&mut client, &[("COUNT PREFIX c", "0"), ("GET cc", "NIL"), ("PUT a 2", "OK")]);
    assert_limit(&mut client, "PUT d 1", "3");
    assert_limit(&mut client, "GET d", "3");
    assert_limit(&mut client, "SCAN PREFIX e", "3");
    converse(&mut client, &[("PUT b 1", "OK"), ("SCAN PREFIX c", "END 0")]);
    // The locks of a nested one are the tree's; another tree has its own.
    assert_eq!(client.ask("BEGIN NESTED"), "OK 2");
    assert_limit(&mut client, "PUT d 1", "3");
    converse(&mut client, &[("ROLLBACK", "OK"), ("BEGIN", "OK 3"), ("PUT d 1", "OK")]);
    converse(&mut client, &[("COMMITALL", "OK 2"), ("COUNT", "3")]);
    let mut other = server.connect();
    converse(&mut other, &[("BEGIN SNAPSHOT", "OK 1"), ("GET a", "\"2\""), ("GET b", "\"1\"")]);
    converse(&mut other, &[("GET c", "NIL"), ("GET d", "\"1\""), ("COUNT", "3")]);
}

/// What a nested transaction writes over is kept for a rollback, so it counts too, in one way or
/// another: memory must not grow with the number of writes.
#[test]
fn a_nested_transaction_that_writes_one_key_again_and_again_is_bounded() {
    let flags = ["--max-key", "1kb", "--max-value", "1mb", "--max-write-set", "4mb"];
    let server = server(&flags);
    let mut client = server.connect();
    let request = format!("PUT k {}", "v".repeat(1_000_000));
    converse(&mut client, &[("PUT k 1", "OK"), ("BEGIN", "OK 1"), ("BEGIN 1", "OK 2")]);
    let before_kib = server.memory_kib().0;
    for _ in 0..80 {
        let reply = client.ask(&request);
        assert!(reply == "OK" || reply.starts_with("ERR LIMIT "), "{reply}");
    }
    let grown = server.memory_kib().1.saturating_sub(before_kib) / 1024;
    assert!(grown < 40, "{grown} MiB");
    converse(&mut client, &[("ROLLBACK 2", "OK"), ("GET k", "\"1\""), ("COMMIT", "OK")]);
}
