//! Framing: pieces, pipelines, faults, lines and arrays on one connection.

use std::io::Read;

use kv_protocol::resp::write::request;

use super::server;
use super::wire::{Wire, converse};

#[test]
fn a_request_may_come_in_pieces_and_many_at_once() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    let mut bytes = Vec::new();
    for words in [&[&b"SET"[..], b"k", b"a\r\n\0\xff"][..], &[b"GET", b"k"], &[b"PING"]] {
        request(&mut bytes, words.iter().copied());
    }
    let expected = ["+OK", r#""a\r\n\x00\xff""#, "+PONG"];
    for byte in &bytes {
        wire.send_raw(&[*byte]);
    }
    expected.iter().for_each(|reply| assert_eq!(format!("{:?}", wire.read()), *reply));
    wire.send_raw(&bytes.repeat(2000));
    for _ in 0..2000 {
        expected.iter().for_each(|reply| assert_eq!(format!("{:?}", wire.read()), *reply));
    }
}

#[test]
fn lines_and_arrays_go_together() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    // A BEGIN in a line, a SET in an array within it, the end in a line again.
    wire.send_raw(b"BEGIN\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\nCOMMIT\nGET k\n*0\r\nPING\n");
    let mut replies = vec![0; b"OK 1\n+OK\r\nOK\n\"v\"\nPONG\n".len()];
    wire.stream().read_exact(&mut replies).unwrap();
    assert_eq!(String::from_utf8(replies).unwrap(), "OK 1\n+OK\r\nOK\n\"v\"\nPONG\n");
    // The format of lines is not that of arrays.
    wire.send_raw(b"FORMAT JSON\n*1\r\n$4\r\nPING\r\nPING\n");
    let expected = "{\"status\":\"Ok\"}\n+PONG\r\n";
    let mut replies = vec![0; expected.len()];
    wire.stream().read_exact(&mut replies).unwrap();
    assert_eq!(String::from_utf8(replies).unwrap(), expected);
}

#[test]
fn what_is_no_request_is_refused_in_redis_words_and_ends_the_connection() {
    let server = server(&["--max-line", "100kb", "--max-value", "32kb", "--max-key", "1kb"]);
    for (sent, told) in [
        (&b"*x\r\n"[..], "-ERR Protocol error: invalid multibulk length"),
        (b"*2000000000\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*1\r\nGET k\r\n", "-ERR Protocol error: expected '$', got 'G'"),
        (b"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$600000000\r\n", "-ERR Protocol error: invalid bulk length"),
        (
            b"*2\r\n$3\r\nGET\r\n$200000\r\n",
            "-TOOBIG the request is longer than 102400 bytes; the connection is closed",
        ),
    ] {
        let mut wire = Wire::connect(server.address());
        wire.send(&[b"PING"]);
        wire.send_raw(sent);
        assert_eq!(format!("{:?}", wire.read()), "+PONG");
        assert_eq!(format!("{:?}", wire.read()), told, "{}", sent.escape_ascii());
        assert!(wire.try_read().is_none(), "{}", sent.escape_ascii());
    }
}

#[test]
fn what_is_claimed_takes_no_memory() {
    let server = server(&[]);
    let (before, _) = server.memory_kib();
    let mut wires = Vec::new();
    for _ in 0..200 {
        let mut wire = Wire::connect(server.address());
        wire.send(&[b"PING"]);
        wire.send_raw(b"*1000000\r\n$30000000\r\nabc");
        assert_eq!(format!("{:?}", wire.read()), "+PONG");
        wires.push(wire);
    }
    let (after, _) = server.memory_kib();
    assert!(after < before + (20 << 10), "{before} KiB became {after} KiB");
}

#[test]
fn a_value_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let flags = ["--max-value", "1000", "--max-key", "100", "--max-line", "1mb"];
    let server = server(&flags);
    let mut wire = Wire::connect(server.address());
    for (length, reply) in [(999, "+OK"), (1000, "+OK")] {
        assert_eq!(wire.ask(&format!("SET k {}", "x".repeat(length))), reply);
    }
    let refused = wire.ask(&format!("SET k {}", "x".repeat(1001)));
    assert_eq!(refused, "-TOOBIG the value has 1001 bytes; at most 1000 are taken");
    let refused = wire.ask(&format!("SET {} v", "k".repeat(101)));
    assert_eq!(refused, "-TOOBIG the key has 101 bytes; at most 100 are taken");
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    converse(
        &mut wire,
        &[
            ("APPEND k x", too_long),
            ("SETRANGE k 1000 x", too_long),
            ("SETRANGE k 9223372036854775807 x", too_long),
            ("STRLEN k", ":1000"),
        ],
    );
    assert_eq!(format!("{:?}", wire.ask_words(&[b"GET", b""])).chars().next(), Some('-'));
}
