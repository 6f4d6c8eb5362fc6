//! Damage to the SQLite file. A row that was changed is never shown as if it were right; a file
//! that is not what the server left is refused at the start.

use std::path::{Path, PathBuf};

use kv_testkit::server::TestServer;

use crate::Data;

/// Everything is folded into the file, and the server was stopped properly.
fn folded(keys: usize) -> Data {
    let data = Data::new();
    let mut server = data.start();
    let mut client = server.connect();
    for key in 0..keys {
        assert_eq!(client.ask(format!("PUT k{key} value{key}")), "OK");
    }
    assert_eq!(client.ask("CHECKPOINT"), "OK");
    drop(client);
    server.signal("TERM");
    assert_eq!(server.wait_for_exit().code(), Some(0));
    data
}

fn file(data: &Data) -> PathBuf {
    data.path().join("kv.sqlite")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[test]
fn the_file_is_readable_by_others_while_the_server_runs() {
    let data = Data::new();
    let server = data.start();
    let mut client = server.connect();
    assert_eq!(client.ask("PUT house large"), "OK");
    assert_eq!(client.ask("CHECKPOINT"), "OK");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = rusqlite::Connection::open_with_flags(file(&data), flags).unwrap();
    let value: String = reader
        .query_row("select value from pairs where key = 'house'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(value, "large");
    let fault: String = reader.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(fault, "ok");
}

#[test]
fn a_truncated_file_is_refused() {
    let data = folded(500);
    let whole = std::fs::read(file(&data)).unwrap();
    for length in [0, 1, 100, 4096, whole.len() / 2] {
        std::fs::write(file(&data), &whole[..length]).unwrap();
        let told = data.refused();
        assert!(told.contains("kv.sqlite"), "cut to {length} bytes: {told}");
    }
    std::fs::write(file(&data), &whole).unwrap();
    assert_eq!(data.start().connect().ask("COUNT"), "500");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let data = folded(1);
    std::fs::write(file(&data), "this is no database, and long enough to be read as one").unwrap();
    assert!(data.refused().contains("kv.sqlite"));
}

/// Bytes of values changed behind everybody's back: by a tool, or by the disk.
#[test]
fn a_changed_value_is_an_error_and_never_shown() {
    let data = folded(50);
    let mut bytes = std::fs::read(file(&data)).unwrap();
    let mut places = 0;
    for at in 0..bytes.len() - 7 {
        if &bytes[at..at + 7] == b"value17" {
            bytes[at..at + 7].copy_from_slice(b"wrong17");
            places += 1;
        }
    }
    assert!(places > 0, "the value stands in the file as it is");
    std::fs::write(file(&data), bytes).unwrap();
    // Refused as a whole, or for this key.
    let Ok(server) = TestServer::try_start(data.command()) else { return };
    let mut client = server.connect();
    let reply = client.ask("GET k17");
    assert!(reply.starts_with("ERR IO ") || reply.starts_with("ERR INTERNAL "), "{reply}");
    assert_eq!(client.ask("GET k18"), "\"value18\"", "others are not concerned");
    drop(client);
    server.kill();
}

/// SQLite's own log holds what it has not yet moved to its file. Whoever deletes it takes the file
/// back to an earlier revision, which our log has to reach, or the start is refused.
#[test]
fn a_deleted_wal_is_replayed_or_refused() {
    let data = Data::new();
    let server = data.start();
    let mut client = server.connect();
    for key in 0..300 {
        assert_eq!(client.ask(format!("PUT k{key} {key}")), "OK");
    }
    assert_eq!(client.ask("CHECKPOINT"), "OK");
    drop(client);
    server.kill();
    let wal = beside(&file(&data), "-wal");
    if wal.exists() {
        std::fs::remove_file(&wal).unwrap();
    }
    let _ = std::fs::remove_file(beside(&file(&data), "-shm"));
    match TestServer::try_start(data.command()) {
        Ok(server) => assert_eq!(server.connect().ask("COUNT"), "300"),
        Err(ended) => assert_eq!(ended.code, Some(crate::REFUSED), "{}", ended.messages),
    }
}

/// Only the -wal's going must not go unnoticed; the file's going must not, either.
#[test]
fn an_older_file_is_refused_unless_the_log_reaches_it() {
    let data = folded(10);
    let old = std::fs::read(file(&data)).unwrap();
    let mut server = data.start();
    let mut client = server.connect();
    for key in 10..300 {
        assert_eq!(client.ask(format!("PUT k{key} {key}")), "OK");
    }
    assert_eq!(client.ask("CHECKPOINT"), "OK");
    drop(client);
    server.signal("TERM");
    server.wait_for_exit();
    std::fs::write(file(&data), old).unwrap();
    match TestServer::try_start(data.command()) {
        Ok(server) => assert_eq!(server.connect().ask("COUNT"), "300", "all of it was replayed"),
        Err(ended) => {
            assert_eq!(ended.code, Some(crate::REFUSED), "{}", ended.messages);
            assert!(ended.messages.contains("missing"), "{}", ended.messages);
        }
    }
}
