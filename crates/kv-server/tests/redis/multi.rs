//! MULTI, EXEC, WATCH: alone, within BEGIN, and against others.

use std::sync::Barrier;
use std::thread;

use super::server;
use super::wire::{Wire, converse};

#[test]
fn a_queue_is_run_as_one() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    converse(
        &mut wire,
        &[
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", "+OK"),
            ("MULTI", "-ERR MULTI calls can not be nested"),
            ("SET k 1", "+QUEUED"),
            ("WATCH k", "-ERR WATCH inside MULTI is not allowed"),
            ("INCR k", "+QUEUED"),
            ("GET k", "+QUEUED"),
            ("KEYS *", "+QUEUED"),
            ("EXEC", "[+OK, :2, \"2\", [\"k\"]]"),
            ("REVISION", ":1"),
            ("MULTI", "+OK"),
            ("DEL k", "+QUEUED"),
            ("DISCARD", "+OK"),
            ("GET k", "\"2\""),
            ("MULTI", "+OK"),
            ("EXEC", "[]"),
        ],
    );
}

#[test]
fn a_command_that_fails_leaves_the_others_done() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    let error = "-ERR value is not an integer or out of range";
    converse(
        &mut wire,
        &[
            ("SET text x", "+OK"),
            ("MULTI", "+OK"),
            ("SET a 1", "+QUEUED"),
            ("INCR text", "+QUEUED"),
            ("SET b 1 EX", "+QUEUED"),
            ("SET c 1", "+QUEUED"),
            ("EXEC", &format!("[+OK, {error}, -ERR syntax error, +OK]")),
            ("MGET a b c", "[\"1\", $-1, \"1\"]"),
        ],
    );
}

#[test]
fn a_command_that_cannot_be_queued_spoils_all() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    let abort = "-EXECABORT Transaction discarded because of previous errors.";
    for wrong in [
        "NOPE a",
        "GET",
        "BEGIN",
        "SHOWALL",
        "CLIENT NOPE",
        "SAVE",
        "TX 1 GET k",
        "CLIENT KILL ID 1",
    ] {
        converse(&mut wire, &[("MULTI", "+OK"), ("SET k v", "+QUEUED")]);
        assert!(wire.ask(wrong).starts_with('-'), "{wrong}");
        converse(&mut wire, &[("EXEC", abort), ("GET k", "$-1")]);
    }
}

#[test]
fn what_was_watched_and_has_changed_keeps_exec_from_running() {
    let server = server(&[]);
    let (mut one, mut other) = (Wire::connect(server.address()), Wire::connect(server.address()));
    let exchanges = |change: &'static str| {
        [("WATCH k l", "+OK"), ("MULTI", "+OK"), ("SET k mine", "+QUEUED"), ("EXEC", change)]
    };
    converse(&mut one, &exchanges("[+OK]"));
    for change in ["SET k theirs", "DEL k", "SETNX l 1", "DEL l", "EXPIRE k 100"] {
        converse(&mut one, &[("SET k mine", "+OK"), ("WATCH k l", "+OK")]);
        other.ask(change);
        let is_there = other.ask(change) != ":0" || change.starts_with("SETNX");
        converse(&mut one, &[("MULTI", "+OK"), ("SET k mine", "+QUEUED")]);
        assert_eq!(one.ask("EXEC"), "*-1", "{change} {is_there}");
    }
    // Also by this client, and to the same value; but UNWATCH and EXEC forget.
    converse(
        &mut one,
        &[
            ("WATCH k", "+OK"),
            ("SET k 1", "+OK"),
            ("MULTI", "+OK"),
            ("EXEC", "*-1"),
            ("WATCH k", "+OK"),
            ("SET k 1", "+OK"),
            ("UNWATCH", "+OK"),
            ("MULTI", "+OK"),
            ("EXEC", "[]"),
        ],
    );
    assert!(one.ask("HELLO 3").starts_with("%[\"server\", "));
    converse(&mut one, &[("WATCH k", "+OK"), ("SET k 1", "+OK"), ("MULTI", "+OK"), ("EXEC", "_")]);
}

#[test]
fn within_begin_a_queue_is_nested() {
    let server = server(&[]);
    let (mut one, mut other) = (Wire::connect(server.address()), Wire::connect(server.address()));
    converse(
        &mut one,
        &[
            ("BEGIN", ":1"),
            ("SET a 1", "+OK"),
            ("MULTI", "+OK"),
            ("INCR a", "+QUEUED"),
            ("PUT b 2", "+QUEUED"),
            ("META b", "+QUEUED"),
            ("EXEC", "[:2, +OK, \"version=1 revision=- type=text bytes=1 updated=- ttl=-1\"]"),
            ("MGET a b", "[\"2\", \"2\"]"),
        ],
    );
    converse(&mut other, &[("MGET a b", "[$-1, $-1]")]);
    converse(&mut one, &[("ROLLBACK", "+OK"), ("MGET a b", "[$-1, $-1]")]);
}

#[test]
fn exec_waits_for_locks_and_gives_up_in_time() {
    let server = server(&["--lock-timeout", "200ms"]);
    let (mut one, mut other) = (Wire::connect(server.address()), Wire::connect(server.address()));
    converse(&mut one, &[("BEGIN", ":1"), ("SET b 1", "+OK")]);
    converse(&mut other, &[("MULTI", "+OK"), ("SET a 2", "+QUEUED"), ("SET b 2", "+QUEUED")]);
    let late = other.ask("EXEC");
    assert!(late.starts_with("-TIMEOUT waited "), "{late}");
    assert!(other.ask("MSET a 2 b 2").starts_with("-TIMEOUT waited "));
    converse(&mut other, &[("EXISTS a b", ":0"), ("MULTI", "+OK"), ("MSET a 2 b 2", "+QUEUED")]);
    other.send(&[b"EXEC"]);
    server.wait_for_waits(1);
    converse(&mut one, &[("COMMIT", "+OK")]);
    assert_eq!(format!("{:?}", other.read()), "[+OK]");
    assert_eq!(one.ask("MGET a b"), "[\"2\", \"2\"]");
}

#[test]
fn a_deadlock_is_for_the_transaction_that_was_begun() {
    let server = server(&[]);
    let (mut one, mut other) = (Wire::connect(server.address()), Wire::connect(server.address()));
    for _ in 0..20 {
        converse(&mut one, &[("BEGIN", &format!(":{}", 1)), ("SET b one", "+OK")]);
        other.send(&[b"MSET", b"a", b"other", b"b", b"other"]);
        server.wait_for_waits(1);
        // It closes the cycle, and is the victim; the MSET goes on.
        let deadlock = one.ask("SET a one");
        assert!(deadlock.starts_with("-DEADLOCK transaction 1 was aborted"), "{deadlock}");
        assert_eq!(format!("{:?}", other.read()), "+OK");
        converse(&mut one, &[("ROLLBACK", "+OK")]);
        one = Wire::connect(server.address());
    }
}

/// Many clients add to one number by WATCH, GET, MULTI, SET, EXEC: none is lost.
#[test]
fn watch_under_contention_loses_nothing() {
    const CLIENTS: usize = 8;
    const EACH: usize = 50;
    let server = server(&[]);
    let start = Barrier::new(CLIENTS);
    let retries: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut wire = Wire::connect(server.address());
                    start.wait();
                    (0..EACH).map(|_| add_one(&mut wire)).sum::<usize>()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let mut wire = Wire::connect(server.address());
    assert_eq!(wire.ask("GET n"), format!("\"{}\"", CLIENTS * EACH));
    assert!(retries > 0, "they have met");
}

fn add_one(wire: &mut Wire) -> usize {
    for retries in 0.. {
        assert_eq!(wire.ask("WATCH n"), "+OK");
        let now: u64 = wire.ask("GET n").trim_matches('"').parse().unwrap_or(0);
        thread::yield_now();
        assert_eq!(wire.ask("MULTI"), "+OK");
        assert_eq!(wire.ask(&format!("SET n {}", now + 1)), "+QUEUED");
        match wire.ask("EXEC").as_str() {
            "[+OK]" => return retries,
            "*-1" => {}
            other => panic!("{other}"),
        }
    }
    0
}

/// Groups over the same keys in other orders, with transactions among them: sums are kept, nothing
/// hangs, and only those who have begun a transaction are told of deadlocks.
#[test]
fn groups_and_transactions_together_keep_the_sum() {
    const CLIENTS: u64 = 6;
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    assert_eq!(wire.ask("MSET a 100 b 100 c 100"), "+OK");
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let address = server.address();
            scope.spawn(move || {
                let mut wire = Wire::connect(address);
                for turn in 0..100_u64 {
                    let names = ["a", "b", "c"];
                    let (from, to) =
                        (names[(client + turn) as usize % 3], names[turn as usize % 3]);
                    if client % 2 == 0 {
                        wire.ask("MULTI");
                        wire.ask(&format!("DECRBY {from} 1"));
                        wire.ask(&format!("INCRBY {to} 1"));
                        let done = wire.ask("EXEC");
                        assert!(done.starts_with("[:"), "{done}");
                    } else {
                        wire.ask("BEGIN");
                        let one = wire.ask(&format!("DECRBY {from} 1"));
                        let other = wire.ask(&format!("INCRBY {to} 1"));
                        let is_well = one.starts_with(':') && other.starts_with(':');
                        wire.ask(if is_well { "COMMIT" } else { "ROLLBACK" });
                    }
                }
            });
        }
    });
    let sum: i64 = ["a", "b", "c"]
        .iter()
        .map(|key| wire.ask(&format!("GET {key}")).trim_matches('"').parse::<i64>().unwrap())
        .sum();
    assert_eq!(sum, 300);
}

#[test]
fn flushall_is_one_commit_alone_and_queued() {
    let server = server(&[]);
    let (mut one, mut other) = (Wire::connect(server.address()), Wire::connect(server.address()));
    converse(
        &mut one,
        &[
            ("MSET a 1 b 2 c 3", "+OK"),
            ("FLUSHALL", "+OK"),
            ("DBSIZE", ":0"),
            ("REVISION", ":2"),
            ("KV GET a VERSION 1", "\"1\""),
            ("FLUSHDB ASYNC", "+OK"),
            ("REVISION", ":2"),
            ("FLUSHALL NOW", "-ERR syntax error"),
            ("SET a 1", "+OK"),
            ("MULTI", "+OK"),
            ("SET b 2", "+QUEUED"),
            ("FLUSHALL", "+QUEUED"),
            ("SET c 3", "+QUEUED"),
            ("KEYS *", "+QUEUED"),
            ("EXEC", "[+OK, +OK, +OK, [\"c\"]]"),
            ("KEYS *", "[\"c\"]"),
            ("REVISION", ":4"),
        ],
    );
    converse(&mut one, &[("BEGIN", ":1"), ("FLUSHALL", "+OK"), ("EXISTS c", ":0")]);
    converse(&mut other, &[("EXISTS c", ":1")]);
    other.send(&[b"SET", b"d", b"4"]);
    server.wait_for_waits(1);
    converse(&mut one, &[("ROLLBACK", "+OK"), ("EXISTS c", ":1")]);
    assert_eq!(format!("{:?}", other.read()), "+OK");
}

/// A command within EXEC that fails does not give back the lock on all keys, which is EXEC's.
#[test]
fn a_failed_command_does_not_let_others_into_a_flushall() {
    let server = server(&["--lock-timeout", "10s"]);
    let (mut one, mut other) = (Wire::connect(server.address()), Wire::connect(server.address()));
    converse(&mut other, &[("BEGIN", ":1"), ("SET k v", "+OK")]);
    one.ask("MULTI");
    one.send(&[b"MSET", b"", b"1", b"b", b"2"]);
    one.read();
    one.ask("FLUSHALL");
    one.send(&[b"EXEC"]);
    server.wait_for_waits(1);
    let mut third = Wire::connect(server.address());
    third.send(&[b"SET", b"b", b"third"]);
    server.wait_for_waits(2);
    converse(&mut other, &[("COMMIT", "+OK")]);
    let done = format!("{:?}", one.read());
    assert!(done.starts_with("[-ARGUMENT ") && done.ends_with(", +OK]"), "{done}");
    assert_eq!(format!("{:?}", third.read()), "+OK");
    assert_eq!(one.ask("KEYS *"), "[\"b\"]");
}
