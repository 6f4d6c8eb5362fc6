//! Lists that are long: their number stands before their rows, and nothing is held for them.

use kv_testkit::server::TestServer;

use super::wire::{Value, Wire};
use super::{PROGRAM, server};

const KEYS: usize = 30_000;

fn filled() -> TestServer {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    for first in (0..KEYS).step_by(1000) {
        let mut words: Vec<Vec<u8>> = vec![b"MSET".to_vec()];
        for number in first..first + 1000 {
            words.extend([format!("key:{number:06}").into_bytes(), vec![b'v'; 200]]);
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        assert_eq!(format!("{:?}", wire.ask_words(&words)), "+OK");
    }
    server
}

#[test]
fn long_lists_are_whole_while_others_write() {
    let server = filled();
    let mut wire = Wire::connect(server.address());
    let mut other = Wire::connect(server.address());
    for request in [&b"KEYS *"[..], b"SHOWALL", b"KV SCAN"] {
        let words: Vec<&[u8]> = request.split(|byte| *byte == b' ').collect();
        wire.send(&words);
        assert_eq!(other.ask("SET key:000000x v"), "+OK");
        assert_eq!(other.ask("DEL key:000000x"), ":1");
        let Value::Many('*', rows) = wire.read() else { panic!() };
        assert!((KEYS..=KEYS + 1).contains(&rows.len()), "{}", rows.len());
        let mut sorted = rows.clone();
        sorted.sort();
        assert_eq!(rows, sorted, "in the order of keys");
        assert_eq!(wire.ask("PING"), "+PONG");
    }
    let (now, most) = server.memory_kib();
    assert!(most < 120 << 10, "{now} KiB, {most} at most");
}

#[test]
fn a_pattern_that_fits_little_is_short() {
    let server = filled();
    let mut wire = Wire::connect(server.address());
    let Value::Many('*', rows) = wire.ask_words(&[b"KEYS", b"key:00001?"]) else { panic!() };
    assert_eq!(rows.len(), 10);
    let Value::Many('*', rows) = wire.ask_words(&[b"KEYS", b"*9999"]) else { panic!() };
    assert_eq!(rows.len(), KEYS / 10_000);
    assert_eq!(wire.ask("KEYS nope*"), "[]");
}

/// More than fits is refused; nothing is read over and over.
#[test]
fn what_does_not_fit_into_memory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--max-memory", "48mb", "--durability", "none", "--history", "1"];
    let server = TestServer::start_on(PROGRAM, directory.path(), &flags);
    let mut wire = Wire::connect(server.address());
    let value = vec![b'v'; 1 << 20];
    let keys: Vec<String> = (0..60).map(|number| format!("key:{number:02}")).collect();
    for key in &keys {
        let set = wire.ask_words(&[b"SET", key.as_bytes(), &value]);
        assert_eq!(format!("{set:?}"), "+OK");
    }
    assert_eq!(wire.ask("SAVE"), "+OK");
    let mget: Vec<&[u8]> =
        std::iter::once(&b"MGET"[..]).chain(keys.iter().map(|key| key.as_bytes())).collect();
    let told = format!("{:?}", wire.ask_words(&mget));
    assert!(told.starts_with("-LIMIT ") || told.starts_with("-OOM "), "{}", &told[..40]);
    let Value::Many('*', some) = wire.ask_words(&mget[..4]) else { panic!() };
    assert!(some.iter().all(|one| matches!(one, Value::Bulk(bytes) if *bytes == value)));
    wire.ask("MULTI");
    keys.iter().for_each(|key| assert_eq!(wire.ask(&format!("STRLEN {key}")), "+QUEUED"));
    keys.iter().for_each(|key| assert_eq!(wire.ask(&format!("GET {key}")), "+QUEUED"));
    let told = format!("{:?}", wire.ask_words(&[b"EXEC"]));
    assert!(told.starts_with("-LIMIT ") || told.starts_with("-OOM "), "{}", &told[..40]);
    assert_eq!(wire.ask("STRLEN key:00"), format!(":{}", value.len()));
}
