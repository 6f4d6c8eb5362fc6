//! A kill at each place in the program where one hurts most, the first time it is passed and some
//! later time. The places are named in the program, and armed by `KV_FAILPOINTS`.

use std::os::unix::process::ExitStatusExt as _;

use kv_testkit::server::{Ended, TestServer, run_to_end};

use crate::Data;
use crate::bank::{self, Bank};
use crate::journal::Journal;
use crate::writers::{Load, Traffic};

/// Places that are passed while there is a load, and how often they surely are.
pub(crate) const UNDER_LOAD: [(&str, u64); 10] = [
    ("log.before_append", 100),
    ("log.partial_append", 20),
    ("log.after_append_before_sync", 20),
    ("log.after_sync_before_publish", 20),
    ("log.after_publish_before_ack", 20),
    ("snap.begin", 3),
    ("snap.mid", 3),
    ("snap.before_commit", 3),
    ("snap.before_log_truncate", 2),
    ("snap.after_log_truncate", 2),
];

/// Places of locks, transactions and replies, which a load passes as well.
const IN_SESSIONS: [(&str, u64); 8] = [
    ("lock.after_grant", 200),
    ("lock.before_release", 200),
    ("txn.child_commit", 30),
    ("txn.child_abort", 30),
    ("txn.top_commit", 200),
    ("txn.mid_install", 200),
    ("net.before_reply", 100),
    ("net.partial_reply", 100),
];

/// Places where a segment is begun: by a start, and under load when there is another.
pub(crate) const IN_ROTATION: [&str; 3] =
    ["log.rotate.before_create", "log.rotate.after_create", "log.rotate.after_dirsync"];

/// The kinds of snapshots.
const KINDS: [&str; 2] = ["sqlite", "json"];

/// Places that only a JSON snapshot passes.
pub(crate) const IN_JSON: [&str; 2] =
    ["snap.after_commit_before_rename", "snap.after_rename_before_dirsync"];

/// Places that a start passes when there is a log to recover.
const IN_RECOVERY: [&str; 4] = [
    "recover.after_snapshot_load",
    "recover.mid_replay",
    "recover.before_tail_truncate",
    "recover.after",
];

/// Starts a server that is to die at a place, and lets clients drive it there.
#[expect(clippy::print_stdout, reason = "which place it was is told when the test fails")]
fn killed_at(data: &Data, journal: &mut Journal, place: &str, hit: u64) {
    println!("{place}, hit {hit}");
    let command = data.armed(format!("{place}=kill@{hit}"));
    // Some places are passed by the start already.
    let mut server = match TestServer::try_start(command) {
        Ok(server) => server,
        Err(Ended { code: None, .. }) => return,
        Err(ended) => panic!("{place}, hit {hit}: {ended:?}"),
    };
    let life = journal.writers.len();
    // Enough to last until several checkpoints have begun, however quick the disk is.
    let traffic = Traffic { commits_max: 100_000, ..Traffic::default() };
    Load::start(&server, traffic, life, hit).join(journal);
    let signal = server.wait_for_exit().signal();
    assert_eq!(signal, Some(9), "{place}, hit {hit}: {}", server.messages());
}

fn survives_kills_at(place: &str, hits: [u64; 2], data: &Data) {
    let mut journal = Journal::default();
    for hit in hits {
        killed_at(data, &mut journal, place, hit);
        let server = data.start();
        let first = journal.check(&server);
        server.kill();
        assert_eq!(journal.check(&data.start()), first, "{place}: recovery twice gives the same");
    }
}

#[test]
fn a_kill_at_any_place_under_load_loses_nothing() {
    for (place, later) in UNDER_LOAD {
        survives_kills_at(place, [1, later], &Data::new());
    }
}

#[test]
fn a_kill_at_any_place_of_locks_commits_and_replies_loses_nothing() {
    for (place, later) in IN_SESSIONS {
        survives_kills_at(place, [1, later], &Data::new());
    }
}

/// The same with clients that wait for each other's locks.
#[test]
fn a_kill_among_clients_that_wait_for_locks_loses_no_money() {
    for (place, later) in IN_SESSIONS.into_iter().filter(|(place, _)| !place.contains("child")) {
        let data = Data::new();
        let mut server = TestServer::start_command(data.armed(format!("{place}=kill@{later}")));
        let bank = Bank::open(&server);
        assert_eq!(server.wait_for_exit().signal(), Some(9), "{place}");
        let books = bank.wait();
        let server = data.start();
        let first = bank::check(&server, books);
        server.kill();
        assert_eq!(bank::check(&data.start(), books), first, "{place}: recovery twice");
    }
}

/// The first start begins two: one for the new database, one to go on with.
#[test]
fn a_kill_at_any_place_of_a_start_that_begins_a_segment_loses_nothing() {
    for (place, kind) in IN_ROTATION.into_iter().flat_map(|place| KINDS.map(|kind| (place, kind))) {
        for hit in [1, 2] {
            let data = Data::with_flags(&["--snapshot", kind]);
            let mut journal = Journal::default();
            killed_at(&data, &mut journal, place, hit);
            // And once more, when there is a database.
            killed_at(&data, &mut journal, place, 1);
            let server = data.start();
            journal.check(&server);
            Load::start(&server, Traffic::default(), 9, hit).join(&mut journal);
            server.kill();
            killed_at(&data, &mut journal, place, 1);
            journal.check(&data.start());
        }
    }
}

/// Segments so short that the load begins many: after the two of the first start, and after the
/// one of the second, each is begun while clients write.
#[test]
fn a_kill_at_any_place_where_the_log_goes_on_in_another_segment_loses_nothing() {
    for place in IN_ROTATION {
        let data = Data::new().with("KV_SEGMENT_BYTES", "65536");
        survives_kills_at(place, [3, 12], &data);
    }
}

#[test]
fn a_kill_at_any_place_of_a_json_snapshot_loses_nothing() {
    for place in IN_JSON {
        survives_kills_at(place, [1, 3], &Data::with_flags(&["--snapshot", "json"]));
    }
}

#[test]
fn a_kill_at_any_place_of_recovery_loses_nothing() {
    for place in IN_RECOVERY {
        let data = Data::new();
        let mut journal = data.filled_and_killed(Traffic::default());
        for _ in 0..3 {
            let command = data.armed(format!("{place}=kill@1"));
            assert_eq!(run_to_end(command).code, None, "{place} was passed");
        }
        journal.check(&data.start());
    }
}
