//! What somebody sees who gets hold of the disk: with a key nothing, with compression what the page
//! on persistence says. And that a key which does not fit opens nothing and changes nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use kv_testkit::files::{difference, files_of};
use kv_testkit::server::{Client, TestServer};
use rusqlite::{Connection, OpenFlags};

use crate::{PROGRAM, converse};

/// In every key.
const IN_KEYS: &str = "keymark";
/// In every value.
const IN_VALUES: &str = "valuemark";

const SNAPSHOTS: [&str; 2] = ["sqlite", "json"];

/// A data directory, keys and backups, which go with the test.
struct Data {
    temporary: tempfile::TempDir,
    flags: Vec<String>,
}

impl Data {
    fn new(flags: &[&str]) -> Data {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::write(temporary.path().join("key"), "5a".repeat(32)).unwrap();
        std::fs::write(temporary.path().join("other-key"), "a5".repeat(32)).unwrap();
        std::fs::create_dir(temporary.path().join("backups")).unwrap();
        Data { temporary, flags: flags.iter().map(|&flag| flag.to_owned()).collect() }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn path(&self) -> PathBuf {
        self.beside("kv-data")
    }

    /// The server on this directory, with a key if one is named.
    fn command(&self, directory: &Path, key: Option<&str>) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["--listen", "127.0.0.1:0", "--checkpoint-interval", "1h"]);
        command.arg("--data-dir").arg(directory).args(&self.flags);
        command.arg("--backup-dir").arg(self.beside("backups"));
        if let Some(key) = key {
            command.arg("--encryption-key-file").arg(self.beside(key));
        }
        command
    }

    fn start(&self, key: Option<&str>) -> TestServer {
        TestServer::start_command(self.command(&self.path(), key))
    }

    /// A start that is to be refused without changing anything; answers what it says.
    fn refused(&self, key: Option<&str>) -> String {
        let before = files_of(&self.path());
        let output = self.command(&self.path(), key).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{key:?}: {told}");
        let changed = difference(&before, &files_of(&self.path()));
        assert!(changed.is_empty(), "{key:?}: a refused start has changed {changed:?}: {told}");
        told
    }

    /// Whether a text stands in any file of a directory as it is.
    fn shows(&self, directory: &Path, text: &str) -> bool {
        let shows = |content: &Vec<u8>| content.windows(text.len()).any(|at| at == text.as_bytes());
        files_of(directory).values().any(shows)
    }

    fn assert_hidden(&self) {
        for directory in [self.path(), self.beside("backups")] {
            for text in [IN_KEYS, IN_VALUES] {
                assert!(!self.shows(&directory, text), "{text} is in {}", directory.display());
            }
        }
    }
}

fn end(mut server: TestServer, signal: &str) {
    server.signal(signal);
    server.wait_for_exit();
}

/// A value with the mark in it, short or long.
fn value(number: u64, repetitions: usize) -> String {
    format!("{IN_VALUES}-{number}-").repeat(repetitions)
}

/// Writes what the files can have in them: short and long values, several versions, deletes, keys
/// that are no text, transactions, nested and rolled back.
fn write(client: &mut Client, round: u64) {
    for number in 0..20 {
        let long = value(round, 1 + number * 5);
        converse(client, &[(&format!("PUT {IN_KEYS}{number} {long}"), "OK")]);
    }
    let binary = format!("PUT \"\\xff{IN_KEYS}\" \"\\x00{IN_VALUES}{round}\"");
    let nested = format!("PUT {IN_KEYS}-nested {}", value(round, 3));
    let undone = format!("PUT {IN_KEYS}-undone {}", value(round, 3));
    converse(client, &[(&binary, "OK"), ("BEGIN", "OK 1"), ("BEGIN NESTED", "OK 2")]);
    converse(client, &[(&nested, "OK"), ("COMMIT", "OK"), ("BEGIN NESTED", "OK 3")]);
    converse(client, &[(&undone, "OK"), ("ROLLBACK", "OK"), ("COMMIT", "OK")]);
    converse(client, &[(&format!("DEL {IN_KEYS}7"), "OK")]);
}

/// Everything that a client can read of it.
fn read(server: &TestServer) -> Vec<String> {
    let mut client = server.connect();
    let mut lines = client.ask_list("SHOWALL");
    let named = (0..20).map(|number| format!("{IN_KEYS}{number}"));
    for key in named.chain([format!("{IN_KEYS}-nested"), format!("\"\\xff{IN_KEYS}\"")]) {
        lines.extend(client.ask_list(format!("HISTORY {key}")));
    }
    lines
}

/// Writes and folds, writes again and kills; reads what is there after the next start.
fn live_and_die(data: &Data, key: Option<&str>) -> Vec<String> {
    let server = data.start(key);
    let mut client = server.connect();
    for round in 1..=3 {
        write(&mut reconnected(&mut client, &server), round);
        converse(&mut client, &[("CHECKPOINT", "OK")]);
    }
    write(&mut reconnected(&mut client, &server), 4);
    let before = read(&server);
    drop(client);
    end(server, "KILL");
    before
}

/// Another client, so that its transactions are counted from 1.
fn reconnected(client: &mut Client, server: &TestServer) -> Client {
    std::mem::replace(client, server.connect())
}

#[test]
fn nothing_readable_is_left_on_disk() {
    for snapshot in SNAPSHOTS {
        for compression in ["none", "zstd"] {
            let data = Data::new(&["--snapshot", snapshot, "--compression", compression]);
            let written = live_and_die(&data, Some("key"));
            data.assert_hidden();
            let server = data.start(Some("key"));
            assert_eq!(read(&server), written, "{snapshot}, {compression}");
            write(&mut server.connect(), 5);
            let written = read(&server);
            end(server, "TERM");
            data.assert_hidden();
            assert_eq!(read(&data.start(Some("key"))), written, "{snapshot}, {compression}");
        }
    }
}

/// That the search above would find something.
#[test]
fn without_a_key_everything_is_readable() {
    for snapshot in SNAPSHOTS {
        let data = Data::new(&["--snapshot", snapshot]);
        let written = live_and_die(&data, None);
        for text in [IN_KEYS, IN_VALUES] {
            assert!(data.shows(&data.path().join("log"), text), "{text}, {snapshot}");
        }
        let server = data.start(None);
        assert_eq!(read(&server), written);
        end(server, "TERM");
        for text in [IN_KEYS, IN_VALUES] {
            assert!(data.shows(&data.path(), text), "{text}, {snapshot}");
        }
    }
}

#[test]
fn a_backup_is_encrypted_with_the_same_key() {
    for snapshot in SNAPSHOTS {
        let data = Data::new(&["--snapshot", snapshot]);
        let server = data.start(Some("key"));
        let mut client = server.connect();
        write(&mut client, 1);
        converse(&mut client, &[("BACKUP monday.sqlite", "OK")]);
        let written = read(&server);
        drop(client);
        end(server, "TERM");
        data.assert_hidden();
        let restored = data.beside("restored");
        std::fs::create_dir(&restored).unwrap();
        let backup = data.beside("backups").join("monday.sqlite");
        std::fs::copy(backup, restored.join("kv.sqlite")).unwrap();
        let data = Data { flags: vec![], ..data };
        let refused = data.command(&restored, None).output().unwrap();
        assert_eq!(refused.status.code(), Some(3), "{snapshot}");
        let server = TestServer::start_command(data.command(&restored, Some("key")));
        assert_eq!(read(&server), written, "{snapshot}");
    }
}

#[test]
fn a_key_that_does_not_fit_is_refused_and_changes_nothing() {
    for snapshot in SNAPSHOTS {
        for signal in ["KILL", "TERM"] {
            let data = Data::new(&["--snapshot", snapshot]);
            let written = live_and_die(&data, Some("key"));
            end(data.start(Some("key")), signal);
            let missing = data.refused(None);
            let wrong = data.refused(Some("other-key"));
            assert!(
                missing.contains("encrypted") && wrong.contains("encrypted"),
                "{missing}{wrong}"
            );
            assert!(![missing, wrong].concat().contains(&"5a".repeat(4)), "no key is shown");
            assert_eq!(read(&data.start(Some("key"))), written);

            let plain = Data::new(&["--snapshot", snapshot]);
            let written = live_and_die(&plain, None);
            end(plain.start(None), signal);
            let superfluous = plain.refused(Some("key"));
            assert!(superfluous.contains("not encrypted"), "{superfluous}");
            assert_eq!(read(&plain.start(None)), written);
        }
    }
}

#[test]
fn a_key_comes_from_the_environment_too() {
    let data = Data::new(&[]);
    let written = live_and_die(&data, Some("key"));
    let mut command = data.command(&data.path(), None);
    command.env("KV_ENCRYPTION_KEY", "5a".repeat(32));
    assert_eq!(read(&TestServer::start_command(command)), written);
}

#[test]
fn what_is_no_key_is_refused_before_anything_is_made() {
    let data = Data::new(&[]);
    std::fs::write(data.beside("passphrase"), "correct horse battery staple\n").unwrap();
    let output = data.command(&data.path(), Some("passphrase")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("/dev/urandom") && !told.contains("horse"), "{told}");
    assert!(!data.path().exists());
}

/// Rows of `pairs`: key, value, codec.
fn pairs(data: &Data) -> Vec<(String, Option<String>, Option<String>)> {
    let file = data.path().join("kv.sqlite");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(file, flags).unwrap();
    let mut statement = connection.prepare("SELECT key, value, codec FROM pairs").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn compressed_values_come_back_and_the_view_says_what_they_are() {
    for codec in ["lz4", "zstd"] {
        let data = Data::new(&["--compression", codec]);
        let long = "packed ".repeat(100);
        let server = data.start(None);
        let mut client = server.connect();
        converse(&mut client, &[("PUT short small", "OK"), ("CHECKPOINT", "OK")]);
        converse(&mut client, &[(&format!("PUT long \"{long}\""), "OK"), ("CHECKPOINT", "OK")]);
        let found = pairs(&data);
        let (small, codec) = (Some("small".to_owned()), Some(codec.to_owned()));
        assert_eq!(found, [("long".into(), None, codec), ("short".into(), small, None)]);
        drop(client);
        end(server, "KILL");
        assert!(!data.shows(&data.path(), &long));

        // What was packed is read whatever the setting is now, and stays as it is.
        let plain = Data { flags: vec![], ..data };
        let server = plain.start(None);
        let mut client = server.connect();
        converse(&mut client, &[("GET long", &format!("\"{long}\"")), ("PUT zoo 1", "OK")]);
        converse(&mut client, &[("CHECKPOINT", "OK")]);
        assert_eq!(pairs(&plain)[..2], found);
    }
}

#[test]
fn a_compressed_json_snapshot_comes_back() {
    for codec in ["lz4", "zstd"] {
        let data = Data::new(&["--snapshot", "json", "--compression", codec]);
        let written = live_and_die(&data, None);
        let server = data.start(None);
        assert_eq!(read(&server), written, "{codec}");
        end(server, "TERM");
        let file = std::fs::read(data.path().join("kv.json")).unwrap();
        assert!(file.starts_with(b"KVJSON\r\n"), "{codec}");
    }
}

/// The server that changes the key: from none, or from one, to another one.
fn change(data: &Data, old: Option<&str>) -> Command {
    let mut command = data.command(&data.path(), Some("other-key"));
    let old = old.map_or("none".into(), |old| data.beside(old));
    command.arg("--old-encryption-key-file").arg(old);
    command
}

/// What must not outlive a change of the key, though no server needs it.
fn leave_remains(data: &Data) {
    let remains = format!("{IN_KEYS} {IN_VALUES}");
    for (name, of) in [
        ("log/0000000000000001-160.torn", "log"),
        ("kv.json-new", "kv.json"),
        (".kv.sqlite.unfinished", "kv.sqlite"),
    ] {
        if data.path().join(of).exists() {
            std::fs::write(data.path().join(name), &remains).unwrap();
        }
    }
}

#[test]
fn the_key_is_changed_and_nothing_is_left_of_the_old_one() {
    for snapshot in SNAPSHOTS {
        for old in [None, Some("key")] {
            let data = Data::new(&["--snapshot", snapshot]);
            let written = live_and_die(&data, old);
            leave_remains(&data);
            let server = TestServer::start_command(change(&data, old));
            assert_eq!(read(&server), written, "{snapshot}, {old:?}");
            data.assert_hidden();
            end(server, "TERM");
            data.refused(old);
            let server = data.start(Some("other-key"));
            assert_eq!(read(&server), written, "{snapshot}, {old:?}");
            end(server, "KILL");
            // Whoever forgets to take the flag away has a server all the same.
            let server = TestServer::start_command(change(&data, old));
            assert_eq!(read(&server), written, "{snapshot}, {old:?}");
        }
    }
}

/// Wherever the change is cut short, one key opens everything, and the change can be made again.
#[test]
fn a_kill_while_the_key_is_changed_loses_nothing() {
    for (snapshot, place, key_now) in [
        ("sqlite", "rekey.folded", Some("key")),
        ("sqlite", "rekey.switched", Some("other-key")),
        ("sqlite", "rekey.resealed", Some("other-key")),
        ("json", "rekey.folded", Some("key")),
        ("json", "rekey.written", Some("key")),
        ("json", "rekey.switched", Some("other-key")),
        ("sqlite", "rekey.folded", None),
        ("json", "rekey.written", None),
    ] {
        let data = Data::new(&["--snapshot", snapshot]);
        let old = key_now.and(Some("key"));
        let written = live_and_die(&data, old);
        let is_changed = key_now == Some("other-key");
        // What the first attempt has left is in the way of the second.
        for _ in 0..if is_changed { 1 } else { 2 } {
            let mut killed = change(&data, old);
            killed.env("KV_FAILPOINTS", format!("{place}=kill@1"));
            assert_eq!(killed.output().unwrap().status.code(), None, "{snapshot}, {place}");
        }
        data.refused(if is_changed { old } else { Some("other-key") });
        let export = data.command(&data.path(), key_now).arg("export").output().unwrap();
        assert!(export.status.success(), "{snapshot}, {place}");
        let server = data.start(key_now);
        assert_eq!(read(&server), written, "{snapshot}, {place}");
        end(server, "KILL");
        let server = TestServer::start_command(change(&data, old));
        assert_eq!(read(&server), written, "{snapshot}, {place}");
        data.assert_hidden();
        end(server, "KILL");
        assert_eq!(read(&data.start(Some("other-key"))), written, "{snapshot}, {place}");
    }
}

#[test]
fn a_wrong_old_key_is_refused_and_changes_nothing() {
    for snapshot in SNAPSHOTS {
        let data = Data::new(&["--snapshot", snapshot]);
        let written = live_and_die(&data, Some("key"));
        std::fs::write(data.beside("third-key"), "77".repeat(32)).unwrap();
        let before = files_of(&data.path());
        for wrong in [None, Some("third-key")] {
            let output = change(&data, wrong).output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{snapshot}: {told}");
            assert!(told.contains("encrypted"), "{told}");
        }
        assert!(files_of(&data.path()) == before, "{snapshot}");
        assert_eq!(read(&data.start(Some("key"))), written);
    }
}
