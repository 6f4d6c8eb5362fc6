//! Stopping on a signal, with data that has to be there afterwards.

use std::time::{Duration, Instant};

use kv_testkit::server::TestServer;

use crate::Data;
use crate::journal::Journal;
use crate::writers::{Load, Traffic};

#[test]
fn a_drain_under_load_keeps_all_that_was_acknowledged() {
    let data = Data::new();
    let mut journal = Journal::default();
    for (life, signal) in ["TERM", "INT", "TERM"].into_iter().enumerate() {
        let mut server = data.start();
        journal.check(&server);
        let traffic = Traffic { commits_max: 100_000, ..Traffic::default() };
        let load = Load::start(&server, traffic, life, 1);
        std::thread::sleep(std::time::Duration::from_millis(300));
        server.signal(signal);
        load.join(&mut journal);
        let code = server.wait_for_exit().code();
        assert_eq!(code, Some(0), "{}", server.messages());
    }
    journal.check(&data.start());
}

/// There is much to fold, and folding it takes long. A second signal does not wait for that.
#[test]
fn a_second_signal_stops_at_once_and_loses_nothing() {
    let data = Data::with_flags(&["--checkpoint-interval", "1h"]);
    let mut journal = Journal::default();
    let mut server = TestServer::start_command(data.armed("snap.mid=delay:8000"));
    let traffic = Traffic { commits_max: 100_000, ..Traffic::default() };
    let load = Load::start(&server, traffic, 0, 1);
    let mut open = server.connect();
    assert_eq!(open.ask("BEGIN"), "OK 1");
    assert_eq!(open.ask("PUT never 1"), "OK");
    std::thread::sleep(Duration::from_millis(300));
    server.signal("TERM");
    server.wait_for_message("draining");
    // Every connection ends by itself: what is left is the fold.
    load.join(&mut journal);
    server.wait_for_message("drained");
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    server.signal("TERM");
    let code = server.wait_for_exit().code();
    assert_eq!(code, Some(1), "{}", server.messages());
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    let server = data.start();
    journal.check(&server);
    assert_eq!(server.connect().ask("GET never"), "NIL");
}

/// Stopped and continued, as by a shell or a debugger: what was under way goes on.
#[test]
fn a_server_that_was_stopped_goes_on() {
    let data = Data::new();
    let mut journal = Journal::default();
    let server = data.start();
    let load = Load::start(&server, Traffic::default(), 0, 1);
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        server.signal("STOP");
        std::thread::sleep(std::time::Duration::from_millis(20));
        server.signal("CONT");
    }
    load.join(&mut journal);
    journal.check(&server);
    server.kill();
    journal.check(&data.start());
}
