//! Commits that wait for room in the log, because folding it takes long: whoever leaves meanwhile,
//! or stops the server, is not held up, and what was not acknowledged was not done.

use std::time::{Duration, Instant};

use kv_testkit::server::{Client, TestServer};

use crate::Data;

/// So little log that four of the values fill it.
const SMALL_LOG: [&str; 14] = [
    "--max-key",
    "1kb",
    "--max-value",
    "64kb",
    "--max-write-set",
    "128kb",
    "--checkpoint-log",
    "64kb",
    "--max-log",
    "256kb",
    "--checkpoint-interval",
    "1h",
    "--drain-timeout",
    "3s",
];

/// A fold that lasts longer than any of these tests.
const SLOW_FOLD: &str = "snap.mid=delay:60000";

/// After so long without an answer, a commit waits.
const WAITS: Duration = Duration::from_millis(700);

/// Much less than the fold takes, and more than a busy machine takes to notice.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A server whose log has no room, and the client whose commit waits for it.
struct Full {
    server: TestServer,
    waiter: Client,
    /// How many values were acknowledged.
    filled: usize,
}

/// The client has an open transaction besides, in which it has written `mine`.
fn full(data: &Data, failpoints: &str) -> Full {
    let server = TestServer::start_command(data.armed(failpoints));
    let mut waiter = server.connect();
    assert_eq!(waiter.ask("BEGIN"), "OK 1");
    assert_eq!(waiter.ask("PUT mine 1"), "OK");
    let mut filler = server.connect();
    let value = "v".repeat(60 << 10);
    let mut filled = 0;
    loop {
        filler.send(format!("PUT fill{filled} {value}"));
        if filler.is_silent_for(WAITS) {
            break;
        }
        assert_eq!(filler.read_line(), "OK");
        filled += 1;
        assert!(filled < 1000, "the log is never full");
    }
    // It leaves, and takes what it waited for with it.
    drop(filler);
    waiter.send("COMMIT");
    assert!(waiter.is_silent_for(WAITS), "its commit waits for room");
    Full { server, waiter, filled }
}

fn check_after(data: &Data, filled: usize) {
    let server = data.start();
    let mut client = server.connect();
    assert_eq!(client.ask("COUNT"), filled.to_string(), "what was acknowledged, and no more");
    assert_eq!(client.ask("GET mine"), "NIL");
    assert_eq!(client.ask("CHECK"), "OK");
}

#[test]
fn a_client_that_leaves_while_its_commit_waits_for_room_frees_its_locks_at_once() {
    for closes_half in [false, true] {
        let data = Data::with_flags(&SMALL_LOG);
        let Full { server, mut waiter, filled } = full(&data, SLOW_FOLD);
        let mut other = server.connect();
        assert_eq!(other.ask("BEGIN WAIT 10s"), "OK 1");
        other.send("GET mine FOR UPDATE");
        server.wait_for_waits(1);
        let left = Instant::now();
        if closes_half {
            waiter.close_writing();
            let told = waiter.read_to_end();
            assert!(told.starts_with("ERR ABORTED ") && told.contains("room in the log"), "{told}");
        }
        drop(waiter);
        assert_eq!(other.read_line(), "NIL", "what waited was rolled back");
        assert!(left.elapsed() < AT_ONCE, "it took {:?}", left.elapsed());
        assert_eq!(other.ask("ROLLBACK"), "OK");
        assert_eq!(other.ask("COUNT"), filled.to_string(), "reads go on");
        drop(other);
        server.check_idle();
        server.kill();
        check_after(&data, filled);
    }
}

#[test]
fn a_server_stops_in_time_while_commits_wait_for_room() {
    let data = Data::with_flags(&SMALL_LOG);
    let Full { mut server, mut waiter, filled } = full(&data, SLOW_FOLD);
    // One that waits as a single command, too.
    let mut single = server.connect();
    single.send("PUT single 1");
    assert!(single.is_silent_for(WAITS), "it waits for room");
    let told = Instant::now();
    server.signal("TERM");
    for client in [&mut waiter, &mut single] {
        let reply = client.read_line();
        assert!(reply.starts_with("ERR SHUTDOWN "), "{reply}");
        assert_eq!(client.read_line_or_end(), None);
    }
    drop((waiter, single));
    assert_eq!(server.wait_for_exit().code(), Some(0), "{}", server.messages());
    // The drain's time, and what ending takes in any case.
    assert!(told.elapsed() < Duration::from_secs(3) + AT_ONCE, "it took {:?}", told.elapsed());
    check_after(&data, filled);
}

/// The fold takes its time, and then it fails: who waited for it is told, and keeps what is open.
#[test]
fn a_commit_that_waits_for_a_fold_which_fails_is_refused() {
    let data = Data::with_flags(&SMALL_LOG);
    let failing = "snap.mid=delay:4000;snap.before_commit=error";
    let Full { server, mut waiter, filled } = full(&data, failing);
    let reply = waiter.read_line();
    assert!(reply.starts_with("ERR IO "), "{reply}");
    assert_eq!(waiter.ask("GET mine"), "\"1\"", "its transaction is open");
    assert_eq!(waiter.ask("ROLLBACK"), "OK");
    assert_eq!(waiter.ask("COUNT"), filled.to_string());
    drop(waiter);
    server.check_idle();
    server.kill();
    check_after(&data, filled);
}
