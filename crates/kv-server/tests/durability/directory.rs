//! One server for one directory; and what becomes of a server whose directory is taken away.

use std::os::unix::fs::PermissionsExt as _;

use kv_testkit::server::{TestServer, run_to_end};

use crate::journal::Journal;
use crate::writers::{Load, Traffic};
use crate::{Data, PROGRAM, REFUSED};

#[test]
fn a_second_server_is_told_who_has_the_directory() {
    let data = Data::new();
    let server = data.start();
    let ended = run_to_end(data.command());
    assert_eq!(ended.code, Some(REFUSED), "{}", ended.messages);
    let holder = format!("process {}", server.process_id());
    assert!(ended.messages.contains(&holder), "{}", ended.messages);
    assert_eq!(server.connect().ask("PUT a 1"), "OK", "the first goes on");
    // A crash leaves no lock behind, and the next is named in its turn.
    server.kill();
    let next = data.start();
    assert_eq!(next.connect().ask("GET a"), "\"1\"");
    let told = run_to_end(data.command()).messages;
    assert!(told.contains(&format!("process {}", next.process_id())), "{told}");
}

#[test]
fn what_is_created_is_for_its_owner_alone() {
    let data = Data::new();
    let mut journal = Journal::default();
    let server = data.start();
    Load::start(&server, Traffic { commits_max: 50, ..Traffic::default() }, 0, 1)
        .join(&mut journal);
    assert_eq!(server.connect().ask("CHECKPOINT"), "OK");
    let mut paths = vec![data.path()];
    while let Some(path) = paths.pop() {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}

#[test]
fn a_file_is_no_directory() {
    let data = Data::new();
    std::fs::write(data.path(), "text").unwrap();
    let ended = run_to_end(data.command());
    assert_eq!(ended.code, Some(REFUSED), "{}", ended.messages);
    assert_eq!(std::fs::read(data.path()).unwrap(), b"text");
}

/// Root may write everywhere: `faults_privileged.sh` tries this as another user.
#[test]
fn a_directory_that_may_not_be_written_is_refused() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may write everywhere; faults_privileged.sh has it");
        return;
    }
    let data = Data::new();
    std::fs::create_dir(data.path()).unwrap();
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let ended = run_to_end(data.command());
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(ended.code, Some(1 | REFUSED)), "{}", ended.messages);
    let path = data.path().display().to_string();
    assert!(ended.messages.contains(&path) && ended.messages.contains("user "), "{ended:?}");
}

/// The open files still work, but nobody will find them again: when the log needs a next segment,
/// it must notice, and must not make a new directory as if nothing had been.
#[test]
fn a_server_whose_files_are_deleted_stops_acknowledging() {
    let data = Data::new();
    let server = data.start();
    let mut client = server.connect();
    assert_eq!(client.ask("PUT a 1"), "OK");
    std::fs::remove_dir_all(data.path()).unwrap();
    let value = "v".repeat(1 << 20);
    let mut reply = Some("OK".to_owned());
    for _ in 0..1000 {
        if !client.try_send_raw(format!("PUT b {value}\n")) {
            break;
        }
        reply = client.read_line_or_end();
        if reply.as_deref() != Some("OK") {
            break;
        }
    }
    assert_ne!(reply.as_deref(), Some("OK"), "a GiB was acknowledged into nothing");
    assert!(!data.path().exists(), "the directory is not made anew");
    let mut server = server;
    server.signal("TERM");
    server.wait_for_exit();
    assert!(!data.path().exists(), "nor at the end");
}

#[test]
fn a_directory_is_made_where_it_is_missing() {
    let data = Data::new();
    let deep = data.beside("a").join("b");
    let server = TestServer::start_on(PROGRAM, &deep, &[]);
    assert_eq!(server.connect().ask("PUT a 1"), "OK");
    server.kill();
    let server = TestServer::start_on(PROGRAM, &deep, &[]);
    assert_eq!(server.connect().ask("GET a"), "\"1\"");
}
