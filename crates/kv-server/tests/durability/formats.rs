//! Data of other versions: what every released version has left is read, what a later one has
//! written is refused untouched.
//!
//! `golden/v1` is a data directory of format 1, of either kind of snapshot, with a conversation
//! that tells what is in it; `golden/v2` has the SQLite file of format 2, `golden/v3` a log of
//! format 2, in which everything is deleted at once. They were made by
//!
//! ```text
//! cargo test -p kv-server --test durability -- --ignored formats::golden_data_is_made
//! ```
//!
//! and are never made again: a later format gets a directory of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kv_core::Database;
use kv_persist::checkpoint::thread::Schedule;
use kv_persist::compress::Compression;
use kv_persist::directory::SnapshotKind;
use kv_persist::log::Durability;
use kv_persist::stored::Keep;
use kv_persist::{Store, StoreOptions};
use kv_testkit::server::{Client, TestServer, on_directory};

use crate::{Data, PROGRAM, files_of};

/// What has the newest format, and of which one the directory is.
const NEWEST: (&str, &[&str]) = ("v3", &["sqlite", "json"]);

/// What was done when the data was made.
const COMMANDS: [&str; 19] = [
    "PUT text \"plain text\"",
    "PUT empty \"\"",
    "PUT bytes \"\\x00\\xff\\r\\n\"",
    "PUT json {\"a\":[1,true,null]} JSON",
    "PUT number 42 JSON",
    "PUT \"\\xff\\x00key\" \"of no text\"",
    "PUT changed one",
    "PUT changed two",
    "PUT changed three",
    "PUT deleted gone",
    "DEL deleted",
    "INCR counter BY 41",
    "CHECKPOINT",
    "INCR counter",
    "BEGIN",
    "PUT pair1 x",
    "PUT pair2 y",
    "COMMIT",
    "DEL empty",
];

/// What is asked, of the data as it was made and ever after.
const QUESTIONS: [&str; 12] = [
    "SHOWALL",
    "COUNT",
    "HISTORY text",
    "HISTORY bytes",
    "HISTORY json",
    "HISTORY number",
    "HISTORY changed",
    "HISTORY deleted",
    "HISTORY counter",
    "HISTORY pair1",
    "HISTORY empty",
    "META number",
];

fn golden(format: &str, kind: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/golden");
    golden.join(format).join(kind)
}

/// The questions with their answers.
fn conversation(server: &TestServer) -> String {
    let mut client = server.connect();
    let mut text = String::new();
    for question in QUESTIONS {
        text.push_str(&format!("> {question}\n"));
        let is_list = question == "SHOWALL" || question.starts_with("HISTORY");
        for line in if is_list { client.ask_list(question) } else { vec![client.ask(question)] } {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

#[test]
fn data_of_format_1_is_read() {
    is_read("v1", &["sqlite", "json"]);
}

#[test]
fn data_of_format_2_is_read() {
    is_read("v2", &["sqlite"]);
}

#[test]
fn a_log_of_format_2_is_read() {
    is_read("v3", &["sqlite", "json"]);
}

fn is_read(format: &str, kinds: &[&'static str]) {
    for kind in kinds {
        let data = Data::with_flags(&["--snapshot", kind]);
        let golden = golden(format, kind);
        copy_files(&golden.join("data"), &data.path());
        let expected = std::fs::read_to_string(golden.join("conversation.txt")).unwrap();
        for _ in 0..2 {
            let server = data.start();
            assert_eq!(conversation(&server), expected, "{kind}");
            let mut client = server.connect();
            assert_eq!(client.ask("PUT scratch 1"), "OK");
            assert_eq!(client.ask("DEL scratch"), "OK");
            assert_eq!(client.ask("CHECKPOINT"), "OK");
            drop(client);
            server.kill();
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for (path, content) in files_of(from) {
        let to = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, content).unwrap();
    }
}

#[test]
#[ignore = "makes the golden data anew: only for a new format, in a directory of its own"]
fn golden_data_is_made() {
    let (format, kinds) = NEWEST;
    for kind in kinds {
        let golden = golden(format, kind);
        let data = golden.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let flags = ["--snapshot", kind, "--checkpoint-interval", "1h"];
        let server = TestServer::start_on(PROGRAM, &data, &flags);
        let mut client = server.connect();
        for command in COMMANDS {
            let reply = client.ask(command);
            assert!(!reply.starts_with("ERR "), "{command}: {reply}");
        }
        // So that some of it is in the log.
        drop(client);
        server.kill();
        delete_all(&data, if *kind == "json" { SnapshotKind::Json } else { SnapshotKind::Sqlite });
        // What was allocated and not used is zeros, which are the end of the log like none.
        for (path, content) in files_of(&data) {
            if path.extension().is_some_and(|extension| extension == "log") {
                let end = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                std::fs::write(&path, &content[..end.max(128)]).unwrap();
            }
        }
        for left_over in ["LOCK", "kv.sqlite-shm"] {
            let _ = std::fs::remove_file(data.join(left_over));
        }
        let copy = Data::new();
        copy_files(&data, &copy.path());
        let server = TestServer::start_command(on_directory(PROGRAM, &copy.path(), &flags));
        std::fs::write(golden.join("conversation.txt"), conversation(&server)).unwrap();
    }
}

/// Deletes everything, in a commit that writes a key itself; then another key is written.
fn delete_all(data: &Path, snapshot: SnapshotKind) {
    let schedule = Schedule { interval: Duration::from_hours(1), log_bytes: u64::MAX };
    let options = StoreOptions {
        dir: data.to_owned(),
        snapshot,
        durability: Durability::Fsync,
        keep: Keep::Newest(10),
        tombstone_retention: None,
        schedule,
        log_bytes_max: 1 << 30,
        piece_bytes_max: u64::MAX,
        key: None,
        compression: Compression::None,
        threads: 1,
    };
    let store = Store::open(options, &mut Database::builder()).unwrap();
    store
        .database()
        .update(|txn| {
            txn.delete_all()?;
            txn.put("pair1", "after all was deleted")
        })
        .unwrap();
    store.database().put("text", "again").unwrap();
}

fn put_one(data: &Data) {
    let mut server = data.start();
    let mut client: Client = server.connect();
    assert_eq!(client.ask("PUT a 1"), "OK");
    assert_eq!(client.ask("CHECKPOINT"), "OK");
    drop(client);
    server.signal("TERM");
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn a_log_of_a_later_format_is_refused_untouched() {
    let data = Data::new();
    put_one(&data);
    let segment = data.segments().pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8..12].copy_from_slice(&3_u32.to_le_bytes());
    std::fs::write(&segment, bytes).unwrap();
    let told = data.refused();
    assert!(told.contains("format 3") && told.contains(&segment.display().to_string()), "{told}");
}

#[test]
fn a_snapshot_of_a_later_format_is_refused_untouched() {
    let data = Data::new();
    put_one(&data);
    let file = data.path().join("kv.sqlite");
    let database = rusqlite::Connection::open(&file).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    database.close().unwrap();
    let told = data.refused();
    assert!(told.contains("format 99") && told.contains("kv.sqlite"), "{told}");
}

#[test]
fn another_kind_of_snapshot_is_refused() {
    let data = Data::new();
    put_one(&data);
    let json = Data { flags: vec!["--snapshot", "json"], ..data };
    let told = json.refused();
    assert!(told.contains("--snapshot sqlite"), "{told}");
}
