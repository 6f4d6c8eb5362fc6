//! Clients that leave while the disk is at work for them.

use std::time::{Duration, Instant};

use kv_testkit::server::TestServer;

use crate::Data;

/// Its locks are free at once, and what it asked for is done to its end.
#[test]
fn a_client_that_leaves_during_a_checkpoint_holds_nobody_up() {
    let data = Data::with_flags(&["--checkpoint-interval", "1h"]);
    let server = TestServer::start_command(data.armed("snap.mid=delay:4000"));
    let (mut leaver, mut other) = (server.connect(), server.connect());
    assert_eq!(leaver.ask("PUT k 1"), "OK");
    assert_eq!(leaver.ask("BEGIN"), "OK 1");
    assert_eq!(leaver.ask("PUT k 2"), "OK");
    leaver.send("CHECKPOINT");
    std::thread::sleep(Duration::from_millis(200));
    leaver.close_writing();
    let began = Instant::now();
    assert_eq!(other.ask("PUT k 3"), "OK");
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    // It closed one half only, and reads the answer.
    assert_eq!(leaver.read_line(), "OK");
}
