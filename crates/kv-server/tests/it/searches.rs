//! Searches through much that match little: others are served meanwhile, memory stays flat, and
//! they end when their client has gone.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use kv_testkit::server::{Client, TestServer, eventually};

use crate::{converse, server};

const KEYS: usize = 100_000;

fn put_all(server: &TestServer, pairs: impl Iterator<Item = (String, String)>) -> Client {
    let mut client = server.connect();
    let mut requests = String::new();
    let mut count = 0;
    for (key, value) in pairs {
        writeln!(requests, "PUT {key} {value}").unwrap();
        count += 1;
    }
    let sender = client.send_in_background(requests.into_bytes());
    (0..count).for_each(|_| assert_eq!(client.read_line(), "OK"));
    sender.join().unwrap();
    client
}

#[test]
fn whoever_searches_lets_others_be_served_and_needs_no_memory() {
    let server = server(&["--threads", "1"]);
    let number = |key: usize| (format!("k{key:06}"), key.to_string());
    let mut other = put_all(&server, (0..KEYS).map(number));
    let before_kib = server.memory_kib().0;
    let searches = "SCAN MATCH *x\nCOUNT VALUE REGEX x$\nSCAN VALUE NUMBER -2 -1\n\
                    NEAREST 50000.25 2\nBEGIN\nCOUNT VALUE EQ 99999 LIMIT 1\nCOMMIT\n";
    let mut client = server.connect();
    let started = Instant::now();
    client.send_raw(searches.repeat(3));
    let mut slowest = Duration::ZERO;
    let mut served = 0;
    while client.is_silent_for(Duration::from_millis(1)) || served == 0 {
        let asked = Instant::now();
        assert_eq!(other.ask("GET k000007"), "\"7\"");
        slowest = slowest.max(asked.elapsed());
        served += 1;
    }
    for round in 1..=3 {
        for reply in ["END 0", "0", "END 0", "\"k050000\" \"50000\"", "\"k050001\" \"50001\""] {
            assert_eq!(client.read_line(), reply);
        }
        let begun = format!("OK {round}");
        for reply in ["END 2", &begun, "1", "OK"] {
            assert_eq!(client.read_line(), reply);
        }
    }
    assert!(slowest * 4 < started.elapsed(), "{slowest:?} of {:?}", started.elapsed());
    let grown = server.memory_kib().1.saturating_sub(before_kib) / 1024;
    assert!(grown < 16, "{grown} MiB");
}

#[test]
fn pages_of_a_search_walk_over_what_matches_once() {
    let server = server(&[]);
    let number = |key: usize| (format!("k{key:04}"), (key * 7 % 1000).to_string());
    let mut client = put_all(&server, (0..1000).map(number));
    let all = client.ask_list("SCAN MATCH *[05] VALUE NUMBER 100 899.5");
    assert!(all.len() > 100);
    let mut walked = Vec::new();
    let mut after = String::from("\"\"");
    loop {
        let request = format!("SCAN MATCH *[05] VALUE NUMBER 100 899.5 LIMIT 7 AFTER {after}");
        let mut page = client.ask_list(request);
        page.pop();
        let Some(last) = page.last() else { break };
        after = last.split(' ').next().unwrap().to_owned();
        walked.extend(page);
    }
    assert_eq!(walked, all[..all.len() - 1]);
}

/// Nothing is sent to it, so nothing but its silence tells that it has gone; and it may only have
/// closed one half. Others are served meanwhile, though a single comparison goes on.
#[test]
fn a_search_for_who_has_left_ends() {
    let server = server(&["--threads", "1"]);
    let value = ("k".to_owned(), "a".repeat(4 << 20));
    let mut other = put_all(&server, std::iter::once(value));
    let mut client = server.connect();
    converse(&mut client, &[("BEGIN", "OK 1")]);
    // Thousands of states that it can be in after each byte: it takes minutes.
    client.send("COUNT VALUE REGEX (?s-u)a(?:.{2,9}){800}c");
    eventually("it searches", || other.ask_list("LOCKS").len() == 2);
    let left = Instant::now();
    drop(client);
    while other.ask_list("LOCKS").len() == 2 {
        assert!(left.elapsed() < Duration::from_secs(30), "it searches for nobody");
        std::thread::sleep(Duration::from_millis(50));
    }
    // It goes on for a while, and the whole search takes much longer.
    assert!(left.elapsed() > Duration::from_secs(5), "{:?}", left.elapsed());
    server.check_idle();
}
