//! A server with `--max-memory`: it stays within it, and nobody notices but for what it says when
//! it is full.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use kv_testkit::server::{Client, TestServer, eventually, run_to_end};

use crate::{Numbers, PROGRAM, converse};

const KIB: usize = 1024;
const MIB: u64 = 1024;

/// Values are of this length.
const VALUE_BYTES: usize = 4 * KIB;
/// Requests that are sent before replies are read.
const BATCH: usize = 500;

fn key(number: usize) -> String {
    format!("key/{number:06}")
}

/// Of each key and each round another one.
fn value(number: usize, round: usize) -> String {
    let mut value = format!("{number}.{round}.");
    while value.len() < VALUE_BYTES {
        let _ = write!(value, "{:x}", (number * 31 + round * 17 + value.len()) * 2_654_435_761);
    }
    value.truncate(VALUE_BYTES);
    value
}

/// Sends requests and answers their replies, many at a time.
fn ask_all(client: &mut Client, requests: &[String]) -> Vec<String> {
    let mut replies = Vec::with_capacity(requests.len());
    for batch in requests.chunks(BATCH) {
        let sender = client.send_in_background((batch.join("\n") + "\n").into_bytes());
        replies.extend(batch.iter().map(|_| client.read_line()));
        sender.join().unwrap();
    }
    replies
}

fn fill(client: &mut Client, numbers: std::ops::Range<usize>, round: usize) {
    let numbers: Vec<usize> = numbers.collect();
    for some in numbers.chunks(BATCH) {
        let puts: Vec<_> =
            some.iter().map(|&it| format!("PUT {} {}", key(it), value(it, round))).collect();
        for (put, reply) in puts.iter().zip(ask_all(client, &puts)) {
            assert_eq!(reply, "OK", "{}", &put[..20]);
        }
    }
}

/// Reads keys, and compares.
fn check(client: &mut Client, numbers: &[usize], round: usize) {
    for some in numbers.chunks(BATCH) {
        let gets: Vec<_> = some.iter().map(|&it| format!("GET {}", key(it))).collect();
        for (&number, reply) in some.iter().zip(ask_all(client, &gets)) {
            assert!(reply == format!("\"{}\"", value(number, round)), "{number}: {:.60}", reply);
        }
    }
}

/// Does something while it is looked how much memory the server takes; answers the most, in KiB.
fn watched<T>(server: &TestServer, act: impl FnOnce() -> T) -> (T, u64) {
    let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                most.fetch_max(server.memory_kib().0, Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        is_over.store(true, Relaxed);
        done
    });
    (done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), most.into_inner())
}

fn assert_within(most_kib: u64, bound_mib: u64) {
    let bound_kib = bound_mib * MIB;
    eprintln!("{most_kib} KiB of {bound_kib}");
    assert!(most_kib <= bound_kib + bound_kib / 10, "{most_kib} KiB of {bound_kib}");
}

fn stat(client: &mut Client, name: &str) -> u64 {
    let rows = client.ask_list("STATS");
    let row = rows.iter().find_map(|row| row.strip_prefix(name)?.strip_prefix('='));
    row.unwrap_or_else(|| panic!("no {name} in {rows:?}")).parse().unwrap()
}

fn start_on(directory: &Path, flags: &[&str]) -> TestServer {
    let flags = [&["--history", "2"], flags].concat();
    TestServer::start_on(PROGRAM, directory, &flags)
}

#[test]
fn more_data_than_memory() {
    fill_and_start_again(44_000, 128, 128);
}

#[test]
#[ignore = "with files, the process takes more than 50 MiB while much is written"]
fn the_smallest_bound() {
    fill_and_start_again(36_000, 48, 32);
}

/// Fills a server with a bound, reads back what is in it, and starts it again with another bound.
fn fill_and_start_again(keys: usize, bound_mib: u64, later_mib: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut server = start_on(directory.path(), &["--max-memory", &format!("{bound_mib}mb")]);
    let mut client = server.connect();
    let mut random = Numbers(1);
    let again = keys / 10;
    let ((), most) = watched(&server, || {
        fill(&mut client, 0..keys, 0);
        fill(&mut client, 0..again, 1);
        assert_eq!(client.ask("COUNT"), keys.to_string());
        check(&mut client, &(0..again).collect::<Vec<_>>(), 1);
        let some: Vec<_> = (0..3_000).map(|_| again + random.below(keys - again)).collect();
        check(&mut client, &some, 0);
        for number in keys..keys + 1_000 {
            assert_eq!(client.ask(format!("GET {}", key(number))), "NIL");
        }
        assert_eq!(client.ask("INCR counter"), "1");
        assert_eq!(client.ask("COUNT"), (keys + 1).to_string());
        let scanned = client.ask_list(format!("SCAN PREFIX {}", &key(20_000)[..8]));
        assert_eq!(scanned.len(), 101);
    });
    assert_within(most, bound_mib);
    server.signal("TERM");
    drop(client);
    assert!(server.wait_for_exit().success());
    let bound = format!("{later_mib}mb");
    let server = start_on(directory.path(), &["--max-memory", &bound, "--shards", "5"]);
    let mut client = server.connect();
    let ((), most) = watched(&server, || {
        assert_eq!(client.ask("COUNT"), (keys + 1).to_string());
        assert_eq!(client.ask("GET counter"), "\"1\"");
        let some: Vec<_> = (0..2_000).map(|_| again + random.below(keys - again)).collect();
        check(&mut client, &some, 0);
        assert_eq!(client.ask("EXISTS key/999999"), "0");
    });
    assert_within(most.max(server.memory_kib().1), later_mib);
}

#[test]
fn encrypted_data_of_which_the_values_leave() {
    // Debug builds encrypt a few MiB a second.
    const KEYS: usize = 2_000;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "5a".repeat(32)).unwrap();
    let data = directory.path().join("data");
    let flags = ["--max-memory", "32mb", "--encryption-key-file", file.to_str().unwrap()];
    let server = start_on(&data, &flags);
    let mut client = server.connect();
    fill(&mut client, 0..KEYS, 0);
    let some: Vec<_> = (0..KEYS).step_by(9).collect();
    check(&mut client, &some, 0);
    assert_eq!(client.ask("COUNT"), KEYS.to_string());
    let gone_and_back = ["cache_evictions", "cache_misses"].map(|name| stat(&mut client, name));
    assert!(gone_and_back.iter().all(|&count| count > 20), "{gone_and_back:?}");
    server.kill();
    let server = start_on(&data, &flags);
    let mut client = server.connect();
    let some: Vec<_> = (0..KEYS).step_by(17).collect();
    check(&mut client, &some, 0);
    assert_eq!(client.ask("COUNT"), KEYS.to_string());
}

#[test]
fn without_files_old_keys_go() {
    const KEYS: usize = 20_000;
    let server = TestServer::start(PROGRAM, &["--max-memory", "48mb", "--eviction", "lru"]);
    let mut client = server.connect();
    let ((), most) = watched(&server, || fill(&mut client, 0..KEYS, 0));
    assert_within(most, 48);
    // The newest is there, and many before it.
    let newest: Vec<_> = (KEYS - 200..KEYS).collect();
    check(&mut client, &newest, 0);
    let kept: usize = client.ask("COUNT").parse().unwrap();
    assert!((500..KEYS * 3 / 4).contains(&kept), "{kept}");
    let old: Vec<_> = (0..200).map(|number| format!("GET {}", key(number))).collect();
    let gone = ask_all(&mut client, &old).iter().filter(|reply| *reply == "NIL").count();
    assert!(gone > 150, "{gone}");
    // What is gone begins anew.
    let missing = old.iter().position(|get| client.ask(get) == "NIL").unwrap();
    assert_eq!(client.ask(format!("PUT {} again", key(missing))), "OK");
    assert!(client.ask(format!("META {}", key(missing))).contains("version=1 "));
}

#[test]
fn where_nobody_gives_way_writes_are_refused() {
    let flags = ["--max-memory", "48mb", "--eviction", "none", "--history", "1"];
    let server = TestServer::start(PROGRAM, &flags);
    let mut client = server.connect();
    let put = |client: &mut Client, number| {
        client.ask(format!("PUT {} {}", key(number), value(number, 0)))
    };
    let (kept, most) = watched(&server, || {
        let refused = (0..20_000).find(|&number| {
            let reply = put(&mut client, number);
            assert!(reply == "OK" || reply.starts_with("ERR OOM "), "{reply}");
            reply != "OK"
        });
        refused.unwrap()
    });
    assert_within(most, 48);
    assert!(kept > 500, "{kept}");
    check(&mut client, &(0..kept).step_by(7).collect::<Vec<_>>(), 0);
    assert_eq!(client.ask(format!("GET {}", key(kept))), "NIL");
    converse(&mut client, &[("BEGIN", "OK 1")]);
    // The bound follows what the process takes, so that a few may find room.
    eventually("a transaction is refused", || put(&mut client, 20_000).starts_with("ERR OOM "));
    converse(&mut client, &[("ROLLBACK", "OK")]);
    for number in 0..kept / 2 {
        assert_eq!(client.ask(format!("DEL {}", key(number))), "OK");
    }
    eventually("there is room again", || put(&mut client, 0) == "OK");
    check(&mut client, &(kept / 2..kept).step_by(5).collect::<Vec<_>>(), 0);
}

#[test]
fn wrong_bounds_are_refused() {
    for (flags, texts) in [
        (&["--max-memory", "1mb"][..], &["max-memory", "32mb"][..]),
        (&["--max-memory", "much"], &["max-memory"]),
        (&["--eviction", "x"], &["eviction", "lru", "none"]),
        (&["--tombstone-retention", "5"], &["tombstone-retention"]),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(["--in-memory", "--listen", "127.0.0.1:0"]).args(flags);
        let ended = run_to_end(command);
        assert_eq!(ended.code, Some(2), "{flags:?}: {}", ended.messages);
        for text in texts {
            assert!(ended.messages.contains(text), "{flags:?}: {}", ended.messages);
        }
    }
}

#[test]
fn a_value_that_would_push_out_the_rest_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for flags in [&["--in-memory"][..], &["--data-dir", directory.path().to_str().unwrap()]] {
        let mut command = Command::new(PROGRAM);
        command.args(["--listen", "127.0.0.1:0", "--max-memory", "32mb"]).args(flags);
        let server = TestServer::start_command(command);
        let mut client = server.connect();
        converse(&mut client, &[("PUT k small", "OK"), ("PUT other 1", "OK")]);
        for _ in 0..3 {
            let reply = client.ask(format!("PUT k {}", "v".repeat(9 << 20)));
            assert!(
                reply.starts_with("ERR OOM ") && reply.contains("--max-memory"),
                "{reply:.300}"
            );
            converse(&mut client, &[("GET k", "\"small\"")]);
        }
        converse(&mut client, &[("PUT k larger", "OK"), ("GET other", "\"1\""), ("COUNT", "2")]);
    }
}

#[test]
fn a_deleted_key_is_forgotten_after_the_retention() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--tombstone-retention", "1s", "--checkpoint-interval", "100ms"];
    let server = TestServer::start_on(PROGRAM, directory.path(), &flags);
    let mut client = server.connect();
    converse(&mut client, &[("PUT k 1", "OK"), ("PUT k 2", "OK"), ("PUT stays 1", "OK")]);
    let revision = stat(&mut client, "revision");
    converse(&mut client, &[("DEL k", "OK")]);
    // Folded, deleted for a second, and looked for.
    eventually("it begins anew", || {
        let put = client.ask("PUT k ?");
        let meta = client.ask("META k");
        let is_first = meta.contains("version=1 ");
        if !is_first {
            assert_eq!((&*put, &*client.ask("DEL k")), ("OK", "OK"));
            std::thread::sleep(Duration::from_millis(1500));
        }
        is_first
    });
    let begun = client.ask(format!("BEGIN READONLY AT {revision}"));
    let told = if begun.starts_with("ERR ") { begun } else { client.ask("GET k") };
    assert!(told.starts_with("ERR PRUNED "), "{told}");
}
