//! Damage to the log of a server that is not running, made with the format's description at hand
//! (`kv_persist::log`). What a crash may leave is cut off, and told; everything else is refused,
//! naming the file, and changing nothing. A refusal is better than a quiet loss.

use std::ops::Range;
use std::path::{Path, PathBuf};

use kv_testkit::server::TestServer;

use crate::Data;

/// Commits in each log, one in each batch.
const COMMITS: usize = 20;
const SEGMENT_HEADER_BYTES: usize = 128;
const BATCH_HEADER_BYTES: usize = 32;
const BATCH_MAGIC: [u8; 4] = *b"\xb7kvb";

/// Nothing is folded, so that the log has it all.
fn unfolded() -> Data {
    Data::with_flags(&["--checkpoint-interval", "1h"])
}

/// A log with `COMMITS` commits, left by a kill.
fn killed() -> Data {
    let data = unfolded();
    let server = data.start();
    commit(&server, 1..COMMITS + 1);
    server.kill();
    data
}

fn commit(server: &TestServer, numbers: Range<usize>) {
    let mut client = server.connect();
    for number in numbers {
        assert_eq!(client.ask(format!("PUT k{number} {number}")), "OK");
    }
}

/// How many of the commits are there; they must be the first ones.
fn commits_there(server: &TestServer) -> usize {
    let mut client = server.connect();
    assert_eq!(client.ask("CHECK"), "OK");
    let count: usize = client.ask("COUNT PREFIX k").parse().unwrap();
    for number in 1..=count {
        assert_eq!(client.ask(format!("GET k{number}")), format!("\"{number}\""));
    }
    count
}

/// The same files once more, to be damaged.
fn copy(data: &Data) -> Data {
    let copy = Data {
        temporary: tempfile::tempdir().unwrap(),
        flags: data.flags.clone(),
        environment: Vec::new(),
    };
    for (path, content) in crate::files_of(&data.path()) {
        let to = copy.path().join(path.strip_prefix(data.path()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, content).unwrap();
    }
    copy
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Where the batches of a segment are: from their header to the end of their records.
fn batches(path: &Path) -> Vec<Range<usize>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut batches, mut at) = (Vec::new(), SEGMENT_HEADER_BYTES);
    while bytes.get(at..at + 4) == Some(&BATCH_MAGIC) {
        let length = u64::from_le_bytes(bytes[at + 24..at + 32].try_into().unwrap());
        let end = at + BATCH_HEADER_BYTES + usize::try_from(length).unwrap();
        batches.push(at..end);
        at = end;
    }
    batches
}

fn last_segment(data: &Data) -> PathBuf {
    data.segments().pop().expect("a log has a segment")
}

/// Starts a damaged copy, which has to work, and tells how many commits it has.
fn started(data: &Data) -> (usize, String) {
    let server = data.start();
    let count = commits_there(&server);
    assert_eq!(server.connect().ask("PUT new 1"), "OK");
    let messages = server.messages();
    server.kill();
    assert_eq!(commits_there(&data.start()), count, "recovery twice gives the same");
    (count, messages)
}

#[test]
fn a_tail_cut_anywhere_in_the_last_commit_is_cut_off() {
    let data = killed();
    let last = batches(&last_segment(&data)).pop().unwrap();
    let written = std::fs::read(last_segment(&data)).unwrap();
    for at in last.clone().step_by(3) {
        let data = copy(&data);
        change(&last_segment(&data), |bytes| bytes.truncate(at));
        let (count, messages) = started(&data);
        assert_eq!(count, COMMITS - 1, "cut at byte {at}: {messages}");
        // Behind a whole header, zeros are what was never written: a checksum may begin with one.
        let records = &written[at.min(last.start + BATCH_HEADER_BYTES)..at];
        let is_told = at > last.start && (records.is_empty() || records.iter().any(|&b| b != 0));
        assert_eq!(is_told, messages.contains("torn"), "cut at byte {at}: {messages}");
    }
}

#[test]
fn bits_flipped_in_the_last_commit_look_like_a_torn_tail() {
    let data = killed();
    let last = batches(&last_segment(&data)).pop().unwrap();
    for at in last.step_by(5) {
        let data = copy(&data);
        change(&last_segment(&data), |bytes| bytes[at] ^= 1 << (at % 8));
        let (count, messages) = started(&data);
        assert_eq!(count, COMMITS - 1, "flipped at byte {at}: {messages}");
        assert!(messages.contains("torn"), "it is told: {messages}");
        let names = std::fs::read_dir(data.path().join("log")).unwrap();
        let names = names.map(|entry| entry.unwrap().path());
        let kept = names.filter(|path| path.extension().is_some_and(|name| name == "torn"));
        assert_eq!(kept.count(), 1, "what was cut off is kept aside");
    }
}

#[test]
fn bits_flipped_before_an_acknowledged_commit_are_refused() {
    let data = killed();
    let segment = last_segment(&data);
    let mut batches = batches(&segment);
    assert!(batches.len() >= COMMITS, "each commit is a batch");
    batches.pop();
    for (number, batch) in batches.into_iter().enumerate() {
        let at = batch.start + (number * 7) % batch.len();
        change(&segment, |bytes| bytes[at] ^= 1);
        let told = data.refused();
        let path = segment.display().to_string();
        let offset = batch.start.to_string();
        assert!(told.contains(&path) && told.contains("damaged at byte"), "{told}");
        let is_near = told.contains(&offset)
            || told.contains(&(batch.start + BATCH_HEADER_BYTES).to_string());
        assert!(is_near && told.contains("revision"), "byte {at} of {batch:?}: {told}");
        change(&segment, |bytes| bytes[at] ^= 1);
    }
    assert_eq!(started(&data).0, COMMITS, "undamaged again");
}

#[test]
fn a_damaged_header_is_refused() {
    let data = killed();
    let segment = last_segment(&data);
    for at in (0..SEGMENT_HEADER_BYTES).step_by(9) {
        change(&segment, |bytes| bytes[at] ^= 0x10);
        assert!(data.refused().contains(&segment.display().to_string()));
        change(&segment, |bytes| bytes[at] ^= 0x10);
    }
    let whole = std::fs::read(&segment).unwrap();
    for length in [0, 1, 100, 127] {
        std::fs::write(&segment, &whole[..length]).unwrap();
        assert!(data.refused().contains(&segment.display().to_string()));
    }
}

#[test]
fn zeros_and_leftovers_behind_the_end_are_the_end() {
    let data = killed();
    let batches = batches(&last_segment(&data));
    let end = batches.last().unwrap().end;
    let old = batches[2].clone();
    let whole = std::fs::read(last_segment(&data)).unwrap();
    let used = &whole[..end];
    let zeros = [&whole, &[0; 4096][..]].concat();
    // A batch of before, as a file system that reuses blocks may show.
    let stale = [used, &whole[old]].concat();
    let garbage = [used, &[0xa5; 700]].concat();
    for bytes in [zeros, stale, garbage] {
        let data = copy(&data);
        std::fs::write(last_segment(&data), bytes).unwrap();
        assert_eq!(started(&data).0, COMMITS);
    }
}

/// A log of several segments: each start begins one.
fn in_segments() -> Data {
    let data = unfolded();
    for part in 0..4 {
        let server = data.start();
        commit(&server, part * 5 + 1..part * 5 + 6);
        server.kill();
    }
    assert!(data.segments().len() >= 4, "{:?}", data.segments());
    data
}

#[test]
fn a_missing_segment_is_refused() {
    let data = in_segments();
    let segments = data.segments();
    for missing in &segments[..segments.len() - 1] {
        // That of the empty database has nothing that could be missing.
        if batches(missing).is_empty() {
            continue;
        }
        let aside = data.beside("aside");
        std::fs::rename(missing, &aside).unwrap();
        data.refused();
        std::fs::rename(&aside, missing).unwrap();
    }
    assert_eq!(started(&data).0, COMMITS, "whole again");
}

#[test]
fn segments_in_the_wrong_place_are_refused() {
    let data = in_segments();
    let segments = data.segments();
    let exchange = |one: &Path, other: &Path| {
        let aside = data.beside("aside");
        std::fs::rename(one, &aside).unwrap();
        std::fs::rename(other, one).unwrap();
        std::fs::rename(&aside, other).unwrap();
    };
    for pair in segments.windows(2) {
        exchange(&pair[0], &pair[1]);
        data.refused();
        exchange(&pair[0], &pair[1]);
    }
    // The same segment twice: as the next one, and in place of another.
    let next = data.path().join("log").join(format!("{:016}.log", segments.len() + 1));
    std::fs::copy(&segments[1], &next).unwrap();
    data.refused();
    std::fs::remove_file(&next).unwrap();
    let second = std::fs::read(&segments[1]).unwrap();
    std::fs::copy(&segments[2], &segments[1]).unwrap();
    data.refused();
    std::fs::write(&segments[1], second).unwrap();
    assert_eq!(started(&data).0, COMMITS, "in order again");
}

#[test]
fn a_segment_of_another_database_is_refused() {
    let (data, other) = (in_segments(), in_segments());
    for (segment, foreign) in data.segments().iter().zip(other.segments()) {
        let own = std::fs::read(segment).unwrap();
        std::fs::copy(foreign, segment).unwrap();
        assert!(data.refused().contains(&segment.display().to_string()));
        std::fs::write(segment, own).unwrap();
    }
}

#[test]
fn a_log_without_its_snapshot_and_a_snapshot_without_its_log_are_refused() {
    let data = killed();
    let (log, aside) = (data.path().join("log"), data.beside("aside"));
    std::fs::rename(&log, &aside).unwrap();
    let told = data.refused();
    assert!(told.contains("log"), "{told}");
    let _ = std::fs::remove_dir(&log);
    std::fs::rename(&aside, &log).unwrap();
    let snapshot = data.path().join("kv.sqlite");
    std::fs::rename(&snapshot, &aside).unwrap();
    let told = data.refused();
    assert!(told.contains("kv.sqlite"), "{told}");
    assert!(!snapshot.exists(), "no empty one is put in its place");
    std::fs::rename(&aside, &snapshot).unwrap();
    assert_eq!(started(&data).0, COMMITS, "together again");
}
