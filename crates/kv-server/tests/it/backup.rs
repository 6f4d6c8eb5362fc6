//! BACKUP, and with it CHECKPOINT: how they are named, how many may be under way, and what becomes
//! of a backup.

use std::path::{Path, PathBuf};
use std::process::Command;

use kv_testkit::server::{TestServer, on_directory, run_to_end};

use crate::{PROGRAM, converse};

/// A data directory and one for backups, which go with the test.
struct Data(tempfile::TempDir);

impl Data {
    fn new() -> Data {
        let data = Data(tempfile::tempdir().unwrap());
        std::fs::create_dir(data.backups()).unwrap();
        data
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("kv-data")
    }

    fn backups(&self) -> PathBuf {
        self.0.path().join("backups")
    }

    fn command(&self) -> Command {
        let mut command = on_directory(PROGRAM, &self.path(), &["--checkpoint-interval", "1h"]);
        command.arg("--backup-dir").arg(self.backups());
        command
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_not_named_like_a_file_of_sqlite() {
    let data = Data::new();
    let server = TestServer::start_command(data.command());
    let mut client = server.connect();
    converse(&mut client, &[("PUT a 1", "OK"), ("BACKUP monday", "OK")]);
    for end in ["-wal", "-shm", "-journal"] {
        let refused = client.ask(format!("BACKUP monday{end}"));
        assert!(refused.starts_with("ERR ARGUMENT "), "{refused}");
        assert!(refused.contains(&format!("does not end in {end},")), "{refused}");
    }
    converse(&mut client, &[("BACKUP tuesday-wal.sqlite", "OK"), ("GET a", "\"1\"")]);
    assert_eq!(names(&data.backups()), ["monday", "tuesday-wal.sqlite"]);
}

/// Has each of so many clients send a line, while the first of them is kept busy; answers which
/// were refused.
fn refused_of(server: &TestServer, lines: &[String]) -> Vec<String> {
    let mut clients: Vec<_> = lines.iter().map(|_| server.connect()).collect();
    for (client, line) in clients.iter_mut().zip(lines) {
        client.send(line);
    }
    let replies = clients.iter_mut().map(|client| client.read_line());
    let is_refused = |reply: &String| {
        let is_refused = reply.starts_with("ERR LIMIT ");
        assert!(is_refused && reply.contains("try again") || reply == "OK", "{reply}");
        is_refused
    };
    replies
        .zip(lines)
        .filter(|(reply, _)| is_refused(reply))
        .map(|(_, line)| line.clone())
        .collect()
}

#[test]
fn so_many_checkpoints_and_backups_wait_and_more_are_refused() {
    /// Of each kind.
    const JOBS_MAX: usize = 8;
    let data = Data::new();
    let mut command = data.command();
    command.env("KV_FAILPOINTS", "snap.begin=delay:3000");
    let server = TestServer::start_command(command);
    converse(&mut server.connect(), &[("PUT a 1", "OK")]);
    let checkpoints = vec!["CHECKPOINT".to_owned(); JOBS_MAX + 3];
    assert_eq!(refused_of(&server, &checkpoints).len(), 3);
    converse(&mut server.connect(), &[("CHECKPOINT", "OK"), ("PUT a 2", "OK")]);
    let backups: Vec<_> = (10..JOBS_MAX + 15).map(|number| format!("BACKUP {number}")).collect();
    let refused = refused_of(&server, &backups);
    assert_eq!(refused.len(), 5);
    let is_written = |line: &&String| !refused.contains(line);
    let written = backups.iter().filter(is_written).map(|line| line.replace("BACKUP ", ""));
    assert_eq!(names(&data.backups()), written.collect::<Vec<_>>());
    converse(&mut server.connect(), &[("BACKUP later", "OK")]);
}

#[test]
fn one_client_may_send_as_many_as_it_likes() {
    let data = Data::new();
    let server = TestServer::start_command(data.command());
    let mut client = server.connect();
    client.send_raw("CHECKPOINT\nPUT a 1\n".repeat(100));
    for _ in 0..200 {
        assert_eq!(client.read_line(), "OK");
    }
}

/// Places that the first start of a restored backup passes, in their order.
const IN_FIRST_START: [&str; 6] = [
    "recover.after_snapshot_load",
    "recover.before_tail_truncate",
    "log.rotate.before_create",
    "log.rotate.after_create",
    "log.rotate.after_dirsync",
    "recover.after",
];

#[test]
fn a_kill_at_any_place_of_the_first_start_of_a_backup_loses_nothing() {
    let data = Data::new();
    let server = TestServer::start_command(data.command());
    converse(&mut server.connect(), &[("PUT a 1", "OK"), ("BACKUP monday", "OK")]);
    for place in IN_FIRST_START {
        let restored = Data::new();
        std::fs::create_dir(restored.path()).unwrap();
        let snapshot = restored.path().join("kv.sqlite");
        std::fs::copy(data.backups().join("monday"), snapshot).unwrap();
        for _ in 0..2 {
            let mut command = restored.command();
            command.env("KV_FAILPOINTS", format!("{place}=kill@1"));
            assert_eq!(run_to_end(command).code, None, "{place} was passed");
        }
        let server = TestServer::start_command(restored.command());
        converse(&mut server.connect(), &[("GET a", "\"1\""), ("PUT a 2", "OK")]);
        server.kill();
        let server = TestServer::start_command(restored.command());
        converse(&mut server.connect(), &[("GET a", "\"2\""), ("CHECK", "OK")]);
    }
}
