//! Hundreds of clients that want the same: whoever waits costs the others little, and those who
//! want something else nothing.

use std::time::{Duration, Instant};

use kv_testkit::server::{Client, TestServer};

use crate::{converse, server};

/// What a crowd may take to queue up, or to be served, on a slow machine.
const SOON: Duration = Duration::from_secs(4);

/// Clients with a transaction each, which holds a lock of its own if `with_lock`.
fn crowd(server: &TestServer, count: usize, with_lock: bool) -> Vec<Client> {
    let begin = |number: usize| {
        let mut client = server.connect();
        assert_eq!(client.ask("BEGIN"), "OK 1");
        if with_lock {
            assert_eq!(client.ask(format!("PUT own{number} 1")), "OK");
        }
        client
    };
    (0..count).map(begin).collect()
}

/// Has all ask for what the holder has, then has the holder let go and each commit what it gets.
fn queue_and_serve(clients: &mut [Client], server: &TestServer, requests: &[&str]) {
    let (mut holder, mut other) = (server.connect(), server.connect());
    converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT hot 1", "OK")]);
    let begun = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(requests[number % requests.len()]);
        client.send("COMMIT");
    }
    server.wait_for_waits(clients.len());
    assert!(begun.elapsed() < SOON, "queued after {:?}", begun.elapsed());
    let asked = Instant::now();
    converse(&mut other, &[("PUT other 1", "OK"), ("GET other", "\"1\"")]);
    assert!(asked.elapsed() < Duration::from_secs(1), "others wait {:?}", asked.elapsed());
    let freed = Instant::now();
    assert_eq!(holder.ask("COMMIT"), "OK");
    for client in clients {
        let reply = client.read_line();
        assert!(!reply.starts_with("ERR"), "{reply}");
        assert_eq!(client.read_line(), "OK");
    }
    assert!(freed.elapsed() < SOON, "served after {:?}", freed.elapsed());
}

#[test]
fn a_crowd_that_waits_for_one_key_is_served() {
    let server = server(&["--lock-timeout", "1m"]);
    let mut clients = crowd(&server, 300, false);
    queue_and_serve(&mut clients, &server, &["INCR hot"]);
    assert_eq!(clients[0].ask("GET hot"), "\"301\"");
}

/// Each might close a circle, so each has to be looked at; but not each for each for each.
#[test]
fn a_crowd_that_holds_locks_and_waits_for_one_key_is_served() {
    let server = server(&["--lock-timeout", "1m"]);
    let mut clients = crowd(&server, 300, true);
    queue_and_serve(&mut clients, &server, &["INCR hot"]);
    assert_eq!(clients[0].ask("GET hot"), "\"301\"");
}

#[test]
fn a_crowd_that_waits_for_keys_and_ranges_is_served() {
    let server = server(&["--lock-timeout", "1m"]);
    let mut clients = crowd(&server, 400, false);
    let requests = ["GET hot", "COUNT RANGE a i", "COUNT RANGE h i", "INCR hot"];
    queue_and_serve(&mut clients, &server, &requests);
    assert_eq!(clients[0].ask("GET hot"), "\"101\"");
}
