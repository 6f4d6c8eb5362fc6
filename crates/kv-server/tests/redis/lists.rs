//! Lists that are long: their number stands before their rows, and nothing is held for them.

use super::server;
use super::wire::{Value, Wire};

const KEYS: usize = 30_000;

fn filled() -> kv_testkit::server::TestServer {
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
