//! A process that dies at each of the log's named points, as by kill -9, and what is found after.

#![cfg(feature = "testing")]

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kv_core::{
    Change, CommitLog, CommitSize, Datum, Pause, Payload, Revision, Stamp, ValueKind, Version,
};
use kv_persist::Error;
use kv_persist::fs::Disk;
use kv_persist::log::{Log, LogOptions, Recovered, recover};
use kv_persist::stored::{DatabaseId, EMPTY};

const DIR: &str = "KV_TEST_DIR";
const SIGKILL: i32 = 9;
const COMMITS: u64 = 60;

fn options(dir: &Path) -> LogOptions {
    let mut options = LogOptions::new(dir.join("log"), DatabaseId([3; 16]));
    options.segment_bytes = 2000;
    options.allocate_bytes = 4 << 10;
    options
}

fn value(revision: u64) -> Vec<u8> {
    vec![revision as u8; 100]
}

/// Recovers, and checks every value.
fn recovered(options: &LogOptions) -> Recovered {
    let checked = recover(&Disk, options, EMPTY, &mut |record| {
        let change = record.changes().next().expect("a change")?;
        let bytes = change.datum.map(|datum| datum.bytes.to_vec());
        assert_eq!(bytes, Some(value(record.stamp.revision.0)));
        Ok::<(), Error>(())
    });
    checked.expect("a log that can be recovered")
}

fn commit(log: &Log, revision: u64) {
    let value = value(revision);
    let size = CommitSize { changes: 1, bytes: value.len() + 3 };
    let reserved = loop {
        match log.reserve(size) {
            Ok(reserved) => break reserved,
            Err(Pause::Room(room)) => room.block().expect("the log works"),
            Err(other) => panic!("{other:?}"),
        }
    };
    let datum = Datum { bytes: &value, kind: ValueKind::Text, expires_ms: None };
    let change = Change { key: b"key", version: Version(revision), datum: Some(datum) };
    let mut payload = Payload::new();
    log.encode(&mut std::iter::once(change), &mut payload);
    let stamp = Stamp { revision: Revision(revision), time_ms: 1 };
    log.append(stamp, &mut payload, reserved);
    log.appended();
}

/// What the process does that is to die: it commits, and notes what was acknowledged.
#[test]
#[ignore = "run by the other test, in a process of its own"]
fn child() {
    let dir = std::env::var(DIR).expect("a directory");
    let (dir, options) = (Path::new(&dir), options(Path::new(&dir)));
    let recovered = recovered(&options);
    let first = recovered.through.revision.0 + 1;
    let log = Log::start(Arc::new(Disk), options, recovered).expect("a start");
    let _writer = log.spawn_writer().expect("a thread");
    let mut journal = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("acknowledged"))
        .expect("a journal");
    for revision in first..first + COMMITS {
        commit(&log, revision);
        log.durable().reached(revision).block().expect("durable");
        writeln!(journal, "{revision}").expect("noted");
    }
}

fn acknowledged(dir: &Path) -> u64 {
    let journal = std::fs::read_to_string(dir.join("acknowledged")).unwrap_or_default();
    journal.lines().last().map_or(0, |line| line.parse().expect("a revision"))
}

#[test]
fn whatever_point_it_is_killed_at_what_was_acknowledged_is_found() {
    let points = [
        "log.before_append",
        "log.partial_append",
        "log.after_append_before_sync",
        "log.after_sync_before_publish",
        "log.after_publish_before_ack",
        "log.rotate.before_create",
        "log.rotate.after_create",
        "log.rotate.after_dirsync",
    ];
    for point in points {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("log")).expect("a directory");
        let mut found = 0;
        // The second time it dies in what recovery made of the first, early and late.
        for hit in [3, 1, 2, 1] {
            let status = Command::new(std::env::current_exe().expect("this program"))
                .args(["--ignored", "--exact", "child", "--quiet"])
                .env(DIR, dir.path())
                .env("KV_FAILPOINTS", format!("{point}=kill@{hit}"))
                .stdout(std::process::Stdio::null())
                .status()
                .expect("a process");
            assert_eq!(status.signal(), Some(SIGKILL), "{point}@{hit}: {status}");
            // What an earlier start has found it has shown, so that counts as well.
            let shown = acknowledged(dir.path()).max(found);
            found = recovered(&options(dir.path())).through.revision.0;
            let possible = shown..=shown + 1;
            assert!(possible.contains(&found), "{point}@{hit}: {shown} shown, {found} found");
        }
        assert!(acknowledged(dir.path()) > 0 || point.starts_with("log.rotate"), "{point}");
    }
}
