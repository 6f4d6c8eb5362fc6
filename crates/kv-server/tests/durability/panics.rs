//! Panics, which are bugs: what they may cost. One in the middle of a change to what sessions share
//! ends the process, since what is half changed must not be seen, and the next start finds all that
//! was acknowledged. One anywhere else ends its session and nothing more.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use kv_testkit::server::TestServer;

use crate::Data;
use crate::bank::{self, Bank};
use crate::failpoints::{IN_ROTATION, UNDER_LOAD};
use crate::journal::Journal;
use crate::writers::{Load, Traffic};

const SIGABRT: i32 = 6;

/// Places within a change of what sessions share, and how often they surely are passed.
const CRITICAL: [(&str, u64); 4] = [
    ("lock.after_grant", 200),
    ("lock.before_release", 200),
    ("txn.top_commit", 200),
    ("txn.mid_install", 200),
];

/// Has a panic happen at a place under load; answers how the process ended.
fn panicked_at(data: &Data, journal: &mut Journal, place: &str, hit: u64) -> ExitStatus {
    let mut server = TestServer::start_command(data.armed(format!("{place}=panic@{hit}")));
    server.may_panic();
    let traffic = Traffic { commits_max: 100_000, ..Traffic::default() };
    let load = Load::start(&server, traffic, journal.writers.len(), hit);
    // Its end is the load's.
    let status = server.wait_for_exit();
    load.join(journal);
    let messages = server.messages();
    assert!(messages.contains(&format!("failpoint {place}")), "it says where: {messages}");
    status
}

/// All that was acknowledged is there, after one more crash as well.
fn check_twice(data: &Data, journal: &mut Journal) {
    let server = data.start();
    let first = journal.check(&server);
    server.kill();
    assert_eq!(journal.check(&data.start()), first, "recovery twice gives the same");
}

#[test]
fn a_panic_in_a_critical_section_ends_the_process_and_loses_nothing() {
    for (place, later) in CRITICAL {
        let data = Data::new();
        let mut journal = Journal::default();
        for hit in [1, later] {
            let status = panicked_at(&data, &mut journal, place, hit);
            assert_eq!(status.signal(), Some(SIGABRT), "{place}, hit {hit}: {status}");
            check_twice(&data, &mut journal);
        }
        assert!(journal.acknowledged() > 0, "{place}: there was a load");
    }
}

/// The same with clients that wait for each other's locks.
#[test]
fn a_panic_among_clients_that_wait_for_locks_loses_no_money() {
    for (place, hit) in CRITICAL {
        let data = Data::new();
        let mut server = TestServer::start_command(data.armed(format!("{place}=panic@{hit}")));
        server.may_panic();
        let bank = Bank::open(&server);
        assert_eq!(server.wait_for_exit().signal(), Some(SIGABRT), "{place}");
        bank::check(&data.start(), bank.wait());
    }
}

#[test]
fn a_panic_of_the_thread_that_folds_ends_the_process_and_loses_nothing() {
    for (place, _) in UNDER_LOAD.into_iter().filter(|(place, _)| place.starts_with("snap.")) {
        let data = Data::new();
        let mut journal = Journal::default();
        let status = panicked_at(&data, &mut journal, place, 2);
        assert_eq!(status.signal(), Some(SIGABRT), "{place}: {status}");
        check_twice(&data, &mut journal);
    }
}

/// Whoever waits for the log is told before the process ends, as when the disk fails.
#[test]
fn a_panic_of_the_thread_that_writes_the_log_ends_the_process_and_loses_nothing() {
    let places = UNDER_LOAD.into_iter().filter(|(place, _)| place.starts_with("log."));
    for (place, hit) in places.chain(IN_ROTATION.map(|place| (place, 4))) {
        let data = Data::new().with("KV_SEGMENT_BYTES", "65536");
        let mut journal = Journal::default();
        let status = panicked_at(&data, &mut journal, place, hit);
        assert_eq!(status.code(), Some(1), "{place}: {status}");
        check_twice(&data, &mut journal);
    }
}

#[test]
fn a_panic_in_a_session_ends_that_session_alone() {
    let within = "BEGIN\nPUT k 1\nBEGIN NESTED\nPUT c 1\n";
    for (place, hit, commands) in [
        // The third replies are the victim's.
        ("net.before_reply", 3, String::from("BEGIN\nPUT k 1\n")),
        ("net.partial_reply", 3, String::from("BEGIN\nPUT k 1\n")),
        ("txn.child_commit", 1, format!("{within}COMMIT\n")),
        ("txn.child_abort", 1, format!("{within}ROLLBACK\n")),
    ] {
        let data = Data::new();
        let mut server = TestServer::start_command(data.armed(format!("{place}=panic@{hit}")));
        server.may_panic();
        let (mut bystander, mut victim) = (server.connect(), server.connect());
        assert_eq!(bystander.ask("BEGIN"), "OK 1");
        assert_eq!(bystander.ask("PUT b 1"), "OK");
        victim.send_raw(commands);
        while let Some(Ok(reply)) = victim.read_line_or_cut() {
            assert!(reply.starts_with("OK"), "{place}: {reply}");
        }
        server.wait_for_message("a panic has ended this connection");
        // Its locks are free, and the others go on.
        let mut other = server.connect();
        let began = Instant::now();
        assert_eq!(other.ask("PUT k 2"), "OK", "{place}");
        assert!(began.elapsed() < Duration::from_secs(3), "{place}: {:?}", began.elapsed());
        assert_eq!(bystander.ask("COMMIT"), "OK", "{place}");
        assert_eq!(other.ask_list("SHOWALL"), ["\"b\" \"1\"", "\"k\" \"2\"", "END 2"], "{place}");
        drop((bystander, victim, other));
        server.check_idle();
        server.signal("TERM");
        assert_eq!(server.wait_for_exit().code(), Some(0), "{place}");
        let server = data.start();
        assert_eq!(server.connect().ask_list("SHOWALL").len(), 3, "{place}");
    }
}
