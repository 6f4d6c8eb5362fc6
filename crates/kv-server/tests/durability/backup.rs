//! A backup that is taken while clients write: the server that is started on it has the state after
//! some commit, with everything that was acknowledged before BACKUP was asked for.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use kv_testkit::server::TestServer;

use crate::Data;
use crate::bank::{self, Bank, Books};
use crate::journal::{State, Version};

/// Backups that are taken in a row.
const BACKUPS: usize = 3;

/// A backup, as a new data directory.
fn restored(backup: &Path) -> Data {
    let data = Data::new();
    fs::DirBuilder::new().mode(0o700).create(data.path()).unwrap();
    let file = data.path().join("kv.sqlite");
    fs::copy(backup, &file).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    data
}

/// The state as it was after a commit.
fn cut_at(state: &State, revision: u64) -> State {
    let kept = |versions: &Vec<Version>| -> Vec<Version> {
        versions.iter().filter(|version| version.revision <= revision).cloned().collect()
    };
    let cut = state.iter().map(|(key, versions)| (key.clone(), kept(versions)));
    cut.filter(|(_, versions)| !versions.is_empty()).collect()
}

fn stop(mut server: TestServer) {
    server.signal("TERM");
    assert_eq!(server.wait_for_exit().code(), Some(0), "{}", server.messages());
}

#[test]
fn a_backup_under_load_is_the_state_after_some_commit() {
    for kind in ["sqlite", "json"] {
        let data = Data::with_flags(&["--snapshot", kind]);
        let backups = data.beside("backups");
        fs::create_dir(&backups).unwrap();
        let mut command = data.command();
        command.arg("--backup-dir").arg(&backups);
        let server = TestServer::start_command(command);
        let bank = Bank::open(&server);
        let mut asker = server.connect();
        let mut taken = Vec::new();
        for number in 0..BACKUPS {
            std::thread::sleep(Duration::from_millis(150));
            let before = bank.books();
            assert_eq!(asker.ask(format!("BACKUP {number}.sqlite")), "OK");
            // What it has was begun by now, and what was acknowledged by then it has.
            taken.push(Books { acknowledged: before.acknowledged, ..bank.books() });
        }
        let books = bank.close();
        let source = bank::check(&server, books);
        drop(asker);
        stop(server);
        assert_ne!(taken[0].acknowledged, taken[BACKUPS - 1].acknowledged, "there was a load");
        for (number, books) in taken.into_iter().enumerate() {
            check_restored(&restored(&backups.join(format!("{number}.sqlite"))), books, &source);
        }
    }
}

fn check_restored(data: &Data, books: Books, source: &State) {
    let server = data.start();
    let first = bank::check(&server, books);
    let revisions = first.values().flatten().map(|version| version.revision);
    let last = revisions.max().expect("a bank that was opened");
    assert_eq!(first, cut_at(source, last), "it is the source as it was at revision {last}");
    server.kill();
    let server = data.start();
    assert_eq!(bank::check(&server, books), first, "a crash changes nothing");
    assert_eq!(server.connect().ask("PUT new 1"), "OK");
    stop(server);
    let server = data.start();
    assert_eq!(server.connect().ask("GET new"), "\"1\"");
}
