//! A disk without room. The system is told to refuse that files grow, which any user may ask for:
//! `prlimit --fsize`. A full disk proper is tried by `faults_privileged.sh`.

use std::process::Command;

use kv_testkit::server::{Client, TestServer, eventually};

use crate::Data;
use crate::journal::Journal;
use crate::writers::{Load, Traffic};

/// Lets files grow, or not: then none may be longer than the log's newest segment is now, of which
/// all is allocated.
fn let_files_grow(server: &TestServer, data: &Data, may_grow: bool) {
    let segment = data.segments().pop().expect("a log has a segment");
    let longest = std::fs::metadata(segment).unwrap().len();
    let limit = if may_grow { "unlimited".to_owned() } else { longest.to_string() };
    let pid = server.process_id().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")]).status();
    assert!(set.is_ok_and(|status| status.success()), "prlimit (of util-linux) sets limits");
}

/// Commits until it is refused; answers how many were not.
fn fill(client: &mut Client) -> usize {
    let value = "v".repeat(1 << 18);
    for number in 0..10_000 {
        match client.ask(format!("PUT fill{number} {value}")).as_str() {
            "OK" => {}
            reply if reply.starts_with("ERR DISKFULL ") => return number,
            reply => panic!("a commit without room is answered {reply}"),
        }
    }
    panic!("it is never refused");
}

#[test]
fn a_full_disk_refuses_commits_and_serves_reads() {
    let data = Data::with_flags(&["--checkpoint-interval", "1h"]);
    let server = data.start();
    let (mut client, mut open) = (server.connect(), server.connect());
    assert_eq!(client.ask("PUT a 1"), "OK");
    assert_eq!(open.ask("BEGIN"), "OK 1");
    // More than may be left when the others find no room.
    let long = "2".repeat(1 << 20);
    assert_eq!(open.ask(format!("PUT b {long}")), "OK");
    let_files_grow(&server, &data, false);
    let filled = fill(&mut client);
    // Reads go on, and nothing of what was refused is there.
    assert_eq!(client.ask("GET a"), "\"1\"");
    assert_eq!(client.ask(format!("GET fill{filled}")), "NIL");
    assert!(open.ask("COMMIT").starts_with("ERR DISKFULL "));
    assert_eq!(client.ask("GET b"), "NIL", "what is refused is not installed");
    assert_eq!(open.ask("EXISTS b"), "1", "the transaction stays open");
    assert_eq!(client.ask("CHECK"), "OK");
    let_files_grow(&server, &data, true);
    eventually("there is room again", || client.ask("PUT c 3") == "OK");
    assert_eq!(open.ask("COMMIT"), "OK");
    server.kill();
    let server = data.start();
    let mut client = server.connect();
    for (key, value) in [("a", "1"), ("b", &long), ("c", "3")] {
        assert_eq!(client.ask(format!("GET {key}")), format!("\"{value}\""));
    }
    assert_eq!(client.ask("COUNT PREFIX fill"), filled.to_string());
}

/// The disk is full, and then the server is killed (and, once, while it starts without room).
#[test]
fn a_full_disk_and_a_crash() {
    let data = Data::with_flags(&["--checkpoint-interval", "100ms"]);
    let mut journal = Journal::default();
    for life in 0..4 {
        let server = data.start();
        journal.check(&server);
        let traffic =
            Traffic { commits_max: 4000, value_bytes: 400_000, writers: 4, pipelined_max: 1 };
        let load = Load::start(&server, traffic, life, 7);
        std::thread::sleep(std::time::Duration::from_millis(150));
        let_files_grow(&server, &data, false);
        std::thread::sleep(std::time::Duration::from_millis(400));
        server.kill();
        load.join(&mut journal);
    }
    journal.check(&data.start());
}

/// Without room a start may be refused, but it changes nothing for the worse.
#[test]
fn a_start_without_room_harms_nothing() {
    let data = Data::new();
    let mut journal = data.filled_and_killed(Traffic::default());
    let mut shell = Command::new("sh");
    let command = data.command();
    shell.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""]).arg(command.get_program());
    shell.args(command.get_args());
    shell.stderr(std::process::Stdio::piped());
    let mut start = shell.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let _ = start.kill();
    start.wait().unwrap();
    journal.check(&data.start());
}
