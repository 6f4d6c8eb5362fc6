//! Lists over tens of thousands of keys.

use std::fmt::Write as _;

use kv_testkit::server::{Client, TestServer};

use crate::{converse, server};

const KEYS: usize = 50_000;

/// A server with `key00000` to `key49999`, each with its number as value.
fn full_server() -> TestServer {
    let server = server(&[]);
    let mut client = server.connect();
    let mut requests = String::from("BEGIN\n");
    for number in 0..KEYS {
        // Not in their order, which would be too easy.
        let number = number * 7919 % KEYS;
        writeln!(requests, "PUT key{number:05} {number}").unwrap();
    }
    requests.push_str("COMMIT\n");
    let sender = client.send_in_background(requests.into_bytes());
    assert_eq!(client.read_line(), "OK 1");
    (0..=KEYS).for_each(|_| assert_eq!(client.read_line(), "OK"));
    sender.join().unwrap();
    server
}

fn row(number: usize) -> String {
    format!("\"key{number:05}\" \"{number}\"")
}

fn assert_all(client: &mut Client, request: &str) {
    client.send(request);
    for number in 0..KEYS {
        assert_eq!(client.read_line(), row(number), "{request}");
    }
    assert_eq!(client.read_line(), format!("END {KEYS}"), "{request}");
}

#[test]
fn long_lists_are_whole_and_in_order_while_others_write() {
    let server = full_server();
    // They have asked before the writers begin, and read later.
    let mut slow: Vec<(Client, &str)> = Vec::new();
    for (begin, request) in [("", "SCAN"), ("", "SHOWALL"), ("BEGIN SNAPSHOT\n", "SCAN 1")] {
        let mut client = server.connect();
        client.send(format!("{begin}{request}"));
        if !begin.is_empty() {
            assert_eq!(client.read_line(), "OK 1");
        }
        assert!(!client.is_silent_for(std::time::Duration::from_secs(5)));
        slow.push((client, request));
    }
    let mut writer = server.connect();
    let changes: String =
        (0..KEYS).step_by(10).map(|n| format!("DEL key{n:05}\nPUT key{n:05}x 1\n")).collect();
    let sender = writer.send_in_background(changes.into_bytes());
    (0..KEYS / 5).for_each(|_| assert_eq!(writer.read_line(), "OK"));
    sender.join().unwrap();
    for (client, request) in &mut slow {
        for number in 0..KEYS {
            assert_eq!(client.read_line(), row(number), "{request}");
        }
        assert_eq!(client.read_line(), format!("END {KEYS}"), "{request}");
    }
    converse(&mut writer, &[("COUNT", "50000"), ("COUNT PREFIX key0000", "10")]);
    assert_eq!(writer.ask_list("SCAN LIMIT 1"), ["\"key00000x\" \"1\"", "END 1"]);
}

#[test]
fn pages_walk_over_everything_once() {
    let server = full_server();
    let mut client = server.connect();
    assert_all(&mut client, "SCAN");
    assert_all(&mut client, "SHOWALL");
    assert_eq!(client.ask("COUNT"), KEYS.to_string());
    for (limit, begin) in [(997, None), (4096, Some("BEGIN")), (10_000, Some("BEGIN SNAPSHOT"))] {
        if let Some(begin) = begin {
            assert!(client.ask(begin).starts_with("OK "));
        }
        let (mut after, mut number) = (String::from("\"\""), 0);
        loop {
            let page = client.ask_list(format!("SCAN AFTER {after} LIMIT {limit}"));
            let (end, rows) = page.split_last().unwrap();
            assert_eq!(*end, format!("END {}", rows.len()));
            for found in rows {
                assert_eq!(*found, row(number));
                number += 1;
            }
            match rows.last() {
                Some(last) => after = last.split(' ').next().unwrap().to_owned(),
                None => break,
            }
        }
        assert_eq!(number, KEYS, "pages of {limit}");
        assert_eq!(client.ask("COMMITALL").split(' ').next(), Some("OK"));
    }
}

#[test]
fn a_list_in_a_transaction_shows_its_writes_among_the_committed() {
    let server = full_server();
    let mut client = server.connect();
    converse(&mut client, &[("BEGIN SNAPSHOT", "OK 1"), ("BEGIN NESTED", "OK 2")]);
    for number in (0..KEYS).step_by(500) {
        assert_eq!(client.ask(format!("DEL key{number:05}")), "OK");
        assert_eq!(client.ask(format!("PUT key{number:05}x own")), "OK");
    }
    let rows = client.ask_list("SCAN");
    assert_eq!(rows.len(), KEYS + 1);
    assert_eq!(rows[0], "\"key00000x\" \"own\"");
    assert_eq!(rows[500], "\"key00500x\" \"own\"");
    assert!(rows.is_sorted());
    assert_eq!(client.ask("COUNT LIMIT 60000"), KEYS.to_string());
    let shown = client.ask_list("SHOWALL");
    assert_eq!(shown.len(), KEYS + 101, "deletes are shown");
    assert_eq!(shown[..2], ["\"key00000\" NIL 2", "\"key00000x\" \"own\" 2"]);
    converse(&mut client, &[("ROLLBACK 2", "OK")]);
    assert_all(&mut client, "SCAN");
    assert_eq!(client.ask("COMMIT"), "OK");
}

#[test]
fn locks_are_listed_however_many_there_are() {
    let server = full_server();
    let mut client = server.connect();
    assert_eq!(client.ask("BEGIN"), "OK 1");
    let reads: String = (0..20_000).map(|number| format!("GET key{number:05}\n")).collect();
    let sender = client.send_in_background(reads.into_bytes());
    (0..20_000).for_each(|number| assert_eq!(client.read_line(), format!("\"{number}\"")));
    sender.join().unwrap();
    assert_eq!(client.ask("COUNT RANGE key3 key4"), "10000");
    let locks = server.connect().ask_list("LOCKS");
    assert_eq!(locks.len(), 20_002);
    assert_eq!(client.ask("COMMIT"), "OK");
}
