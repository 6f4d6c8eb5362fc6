//! CHECKPOINT and BACKUP, which keep the disk busy for long.

use std::path::{Path, PathBuf};
use std::process::Command;

use kv_testkit::server::{TestServer, on_directory};

use crate::{PROGRAM, converse};

/// A data directory and one for backups, which go with the test.
struct Data(tempfile::TempDir);

impl Data {
    fn new() -> Data {
        let data = Data(tempfile::tempdir().unwrap());
        std::fs::create_dir(data.backups()).unwrap();
        data
    }

    fn backups(&self) -> PathBuf {
        self.0.path().join("backups")
    }

    fn command(&self) -> Command {
        let directory = self.0.path().join("kv-data");
        let mut command = on_directory(PROGRAM, &directory, &["--checkpoint-interval", "1h"]);
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
