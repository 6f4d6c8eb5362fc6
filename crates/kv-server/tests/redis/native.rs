//! Native commands for Redis clients: what the dialect does not have, `KV …`, `TX id …`.

use super::server;
use super::wire::{Wire, converse};

#[test]
fn a_redis_client_has_interactive_transactions() {
    let server = server(&[]);
    let (mut one, mut other) = (Wire::connect(server.address()), Wire::connect(server.address()));
    converse(
        &mut one,
        &[
            ("BEGIN", ":1"),
            ("SET house small", "+OK"),
            ("BEGIN NESTED", ":2"),
            ("SET house large", "+OK"),
            (
                "TX 1 GET house",
                "-BUSY transaction 1 has the open child 2; use that, or end it first",
            ),
            ("ROLLBACK", "+OK"),
            ("GET house", "\"small\""),
            ("BEGIN SNAPSHOT", ":3"),
            ("TX 1 SET garden wide", "+OK"),
            ("TX 3 GET house", "$-1"),
            ("TX 1 MGET house garden", "[\"small\", \"wide\"]"),
            ("TX 1 KV GET house", "\"small\""),
            ("TX 1 PING", "-ERR ping does not run in a transaction"),
            (
                "TX 7 GET house",
                "-NOTX no transaction 7 is open in this session; TRANSACTIONS lists them",
            ),
        ],
    );
    converse(&mut other, &[("GET house", "$-1")]);
    converse(&mut one, &[("COMMITALL", ":2"), ("COMMITALL", ":0"), ("REVISION", ":1")]);
    converse(&mut other, &[("GET house", "\"small\"")]);
}

#[test]
fn native_commands_have_their_own_meaning_behind_kv() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    converse(
        &mut wire,
        &[
            ("PUT k 1", "+OK"),
            ("SET k 2", "+OK"),
            ("KV GET k VERSION 1", "\"1\""),
            ("KV SCAN PREFIX k", "[[\"k\", \"2\"]]"),
            ("KV COUNT", ":1"),
            ("COUNT", ":1"),
            ("SHOWALL", "[[\"k\", \"2\"]]"),
            (
                "KV DEL k IF VERSION 7",
                "-PRECONDITION IF VERSION 7 is not met: \"k\" has version 2; \
              GET it and decide again",
            ),
            (
                "KV FORMAT JSON",
                "-ERR FORMAT is about replies to lines; HELLO chooses the version \
              of RESP",
            ),
            ("KV NOPE", "-ERR unknown command 'NOPE', with args beginning with: "),
            ("KV", "-ERR unknown command '', with args beginning with: "),
            ("GET k VERSION 1", "-ERR wrong number of arguments for 'get' command"),
            (
                "KV GET",
                "-ARGUMENT GET needs a key: GET key [id] [FOR UPDATE] | GET key VERSION n | \
                 GET key AT revision",
            ),
        ],
    );
    let words: [&[u8]; 3] = [b"PUT", b"a \"b\"\r\n", b"\0\xff"];
    assert_eq!(format!("{:?}", wire.ask_words(&words)), "+OK");
    let value = wire.ask_words(&[b"GET", b"a \"b\"\r\n"]);
    assert_eq!(format!("{value:?}"), r#""\x00\xff""#);
    let history = wire.ask("HISTORY k");
    assert!(history.starts_with("[[:2, :2, \"20"), "{history}");
}

#[test]
fn a_transaction_that_is_lost_says_so_until_it_is_rolled_back() {
    let server = server(&["--idle-transaction-timeout", "100ms"]);
    let mut wire = Wire::connect(server.address());
    converse(&mut wire, &[("BEGIN", ":1"), ("SET k v", "+OK")]);
    std::thread::sleep(std::time::Duration::from_millis(400));
    for command in ["SET k v", "GET k", "MGET k l", "MSET k 1 l 2", "COMMIT"] {
        let told = wire.ask(command);
        assert!(told.starts_with("-ABORTED transaction 1 was aborted by being idle"), "{told}");
    }
    wire.ask("MULTI");
    wire.ask("SET k v");
    assert!(wire.ask("EXEC").starts_with("-ABORTED transaction 1 "));
    converse(&mut wire, &[("ROLLBACK", "+OK"), ("GET k", "$-1")]);
}
