//! A time to live goes on while the server is down: what has expired meanwhile is gone at the
//! start, and what has not has less to live. So it is for whoever reads the file.

use std::time::Duration;

use kv_testkit::server::TestServer;

use crate::Data;

/// Seconds that a key has to live.
fn ttl_s(server: &TestServer, key: &str) -> u64 {
    let ttl = server.connect().ask(format!("TTL {key}"));
    ttl.parse().unwrap_or_else(|_| panic!("the TTL of {key} is {ttl}"))
}

fn expires_over_a_kill(flags: &[&'static str], folds_first: bool) {
    let data = Data::with_flags(flags);
    let server = data.start();
    let mut client = server.connect();
    assert_eq!(client.ask("PUT short v EX 2"), "OK");
    assert_eq!(client.ask("PUT long v EX 1000"), "OK");
    assert_eq!(client.ask("PUT changed v EX 2"), "OK");
    assert_eq!(client.ask("PERSIST changed"), "OK");
    assert_eq!(client.ask("PUT counted 1 EX 1000"), "OK");
    assert_eq!(client.ask("INCR counted"), "2");
    if folds_first {
        assert_eq!(client.ask("CHECKPOINT"), "OK");
    }
    server.kill();
    std::thread::sleep(Duration::from_millis(2_100));
    let server = data.start();
    let mut client = server.connect();
    assert_eq!(client.ask("GET short"), "NIL");
    assert_eq!(client.ask("COUNT"), "3");
    assert_eq!(client.ask("GET short VERSION 1"), "\"v\"");
    assert_eq!(client.ask("TTL changed"), "-1");
    for key in ["long", "counted"] {
        let ttl_s = ttl_s(&server, key);
        assert!((900..=998).contains(&ttl_s), "{key} has {ttl_s} s to live");
    }
    assert_eq!(client.ask("PUT short w IF ABSENT"), "OK");
    assert!(client.ask("META short").starts_with("\"version=2 "));
    assert_eq!(client.ask("CHECK"), "OK");
}

#[test]
fn a_time_to_live_goes_on_over_a_kill() {
    expires_over_a_kill(&["--checkpoint-interval", "1h"], false);
}

#[test]
fn a_time_to_live_goes_on_in_the_sqlite_file() {
    expires_over_a_kill(&[], true);
}

#[test]
fn a_time_to_live_goes_on_in_the_json_file() {
    expires_over_a_kill(&["--snapshot", "json"], true);
}
