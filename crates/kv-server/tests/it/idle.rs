//! Time: how long a silent client keeps its transactions, and how long a command waits.

use std::time::{Duration, Instant};

use crate::{connect_tight, converse, server};

/// Runs a request and answers its reply with how long it took.
fn timed(client: &mut kv_testkit::server::Client, request: &str) -> (String, Duration) {
    let started = Instant::now();
    let reply = client.ask(request);
    (reply, started.elapsed())
}

#[test]
fn who_is_silent_too_long_has_its_transactions_aborted() {
    let server = server(&["--idle-transaction-timeout", "300ms"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    converse(&mut client, &[("BEGIN", "OK 1"), ("PUT a 1", "OK"), ("BEGIN", "OK 2")]);
    converse(&mut client, &[("PUT b 1", "OK"), ("BEGIN 2", "OK 3"), ("GET c", "NIL")]);
    // The locks are free when the time is up, without the client's doing.
    assert_eq!(other.ask("PUT a 2"), "OK");
    assert_eq!(other.ask("PUT b 2"), "OK");
    for request in ["PUT leak 1", "GET a", "COMMIT", "INCR leak 1", "PUT leak 1 3", "SCAN"] {
        let reply = client.ask(request);
        assert!(reply.starts_with("ERR ABORTED "), "{request}: {reply}");
    }
    let reply = client.ask("COMMITALL");
    assert!(reply.starts_with("ERR ABORTED 0 committed; 1, 2 not: "), "{reply}");
    // Any member of a tree ends all of it.
    converse(&mut client, &[("ROLLBACK 3", "OK")]);
    assert!(client.ask("PUT leak 1").starts_with("ERR ABORTED "), "1 is current now");
    converse(&mut client, &[("ROLLBACK", "OK"), ("EXISTS leak", "0"), ("PUT fine 1", "OK")]);
    assert!(client.ask("ROLLBACK").starts_with("ERR NOTX "));
}

#[test]
fn who_waits_or_speaks_is_not_idle() {
    let server = server(&["--idle-transaction-timeout", "300ms", "--lock-timeout", "10s"]);
    let (mut holder, mut waiter) = (server.connect(), server.connect());
    converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT a 1", "OK")]);
    converse(&mut waiter, &[("BEGIN", "OK 1"), ("PUT b 1", "OK")]);
    waiter.send("PUT a 2");
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(700) {
        assert_eq!(holder.ask("PING"), "PONG");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(holder.ask("COMMIT"), "OK");
    assert_eq!(waiter.read_line(), "OK");
    assert_eq!(waiter.ask("COMMIT"), "OK");
}

#[test]
fn a_client_without_transactions_may_be_silent() {
    let server = server(&["--idle-transaction-timeout", "50ms"]);
    let mut client = server.connect();
    assert_eq!(client.ask("PUT a 1"), "OK");
    assert!(client.is_silent_for(Duration::from_millis(200)));
    assert_eq!(client.ask("GET a"), "\"1\"");
}

/// Whoever takes nothing of a list for too long is idle too. What the list then shows is no longer
/// protected by the transaction, so it must not end as if it were whole.
#[test]
fn a_list_whose_transaction_was_aborted_does_not_end_well() {
    let server = server(&["--idle-transaction-timeout", "200ms"]);
    let mut writer = server.connect();
    let value = "v".repeat(20_000);
    let puts: String = (1000..2000).map(|key| format!("PUT {key} {value}\n")).collect();
    let sender = writer.send_in_background(puts.into_bytes());
    (0..1000).for_each(|_| assert_eq!(writer.read_line(), "OK"));
    sender.join().unwrap();
    for isolation in ["SERIALIZABLE", "SNAPSHOT"] {
        let mut reader = connect_tight(&server);
        assert_eq!(reader.ask(format!("BEGIN {isolation}")), "OK 1");
        reader.send("SCAN");
        // It waits for the lock, or for the read view to be gone.
        assert_eq!(writer.ask("INCR counter"), "1");
        server.wait_for_stat("read_views_open", 0);
        converse(&mut writer, &[("PUT 1999 new", "OK"), ("DEL counter", "OK")]);
        let rows = reader.read_list();
        let end = rows.last().unwrap();
        assert!(end.starts_with("ERR ABORTED "), "{isolation}: {end}");
        assert!(reader.ask("GET 1000").starts_with("ERR ABORTED "));
    }
}

#[test]
fn a_wait_lasts_as_long_as_was_said() {
    let server = server(&["--lock-timeout", "400ms"]);
    let (mut holder, mut client) = (server.connect(), server.connect());
    converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT a 1", "OK")]);
    let within = |(reply, took): (String, Duration), from: u64, to: u64| {
        assert!(reply.starts_with("ERR TIMEOUT "), "{reply}");
        let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
        assert!((from..to).contains(&took), "{reply} after {took:?}");
    };
    within(timed(&mut client, "PUT a 2"), 400, 1200);
    assert_eq!(client.ask("BEGIN WAIT 0"), "OK 1");
    within(timed(&mut client, "PUT a 2 1"), 0, 200);
    assert_eq!(client.ask("BEGIN WAIT 200ms"), "OK 2");
    within(timed(&mut client, "PUT a 2 2"), 200, 800);
    within(timed(&mut client, "COUNT 2"), 200, 800);
    assert_eq!(client.ask("BEGIN 2"), "OK 3");
    within(timed(&mut client, "GET a 3 FOR UPDATE"), 200, 800);
    assert_eq!(client.ask("BEGIN 3 WAIT 0"), "OK 4");
    within(timed(&mut client, "GET a 4"), 0, 200);
    assert_eq!(client.ask("BEGIN"), "OK 5");
    within(timed(&mut client, "GET a 5"), 400, 1200);
    // The transactions are open, and a lock that is free is granted without a wait.
    converse(&mut client, &[("PUT b 1 1", "OK"), ("GET c 4", "NIL"), ("COMMITALL", "OK 5")]);
}

#[test]
fn an_old_read_view_is_aborted() {
    let server = server(&["--max-view-age", "100ms"]);
    let mut client = server.connect();
    converse(&mut client, &[("BEGIN SNAPSHOT", "OK 1"), ("BEGIN READONLY", "OK 2")]);
    converse(&mut client, &[("BEGIN", "OK 3"), ("GET a 1", "NIL")]);
    // The second one was begun a little later.
    for id in [1, 2] {
        kv_testkit::server::eventually("the view is too old", || {
            client.ask(format!("GET a {id}")).starts_with("ERR ABORTED ")
        });
    }
    converse(&mut client, &[("PUT a 1 3", "OK"), ("COMMIT 3", "OK")]);
    converse(&mut client, &[("ROLLBACK", "OK"), ("ROLLBACK", "OK"), ("GET a", "\"1\"")]);
}

/// Its client speaks, but not of it: every version that it might read is kept all the same, so
/// that it must end without being asked.
#[test]
fn an_old_read_view_is_given_up_though_its_client_is_not_silent() {
    let server = server(&["--max-view-age", "100ms"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    assert_eq!(client.ask("BEGIN SNAPSHOT"), "OK 1");
    let begun = Instant::now();
    while other.ask_list("STATS").contains(&"read_views_open=1".to_owned()) {
        assert_eq!(client.ask("PING"), "PONG");
        assert!(begun.elapsed() < Duration::from_secs(3), "it is open after {:?}", begun.elapsed());
    }
    assert!(client.ask("GET a").starts_with("ERR ABORTED "));
}
