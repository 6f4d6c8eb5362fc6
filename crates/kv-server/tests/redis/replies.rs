//! Replies of the dialect, command by command, as Redis 7 gives them.

use kv_testkit::server::{TestServer, eventually};

use super::wire::{Value, Wire, converse};
use super::{PROGRAM, server};

#[test]
fn values() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    converse(
        &mut wire,
        &[
            ("GET k", "$-1"),
            ("SET k v", "+OK"),
            ("GET k", "\"v\""),
            ("SET k w NX", "$-1"),
            ("SET k w XX GET", "\"v\""),
            ("SET other w XX", "$-1"),
            ("SET other w NX GET", "$-1"),
            ("SET other x NX GET", "\"w\""),
            ("SETNX k x", ":0"),
            ("GETSET k 1", "\"w\""),
            ("GETDEL other", "\"w\""),
            ("GETDEL other", "$-1"),
            ("MSET a 1 b 2 a 3", "+OK"),
            ("MGET a nope b", "[\"3\", $-1, \"2\"]"),
            ("MSETNX c 1 a 2", ":0"),
            ("MSETNX c 1 d 2", ":1"),
            ("APPEND k 23", ":3"),
            ("APPEND new x", ":1"),
            ("STRLEN k", ":3"),
            ("STRLEN nope", ":0"),
            ("GETRANGE k 0 1", "\"12\""),
            ("GETRANGE k -2 -1", "\"23\""),
            ("GETRANGE nope 0 -1", "\"\""),
            ("SETRANGE k 5 x", ":6"),
            ("GET k", "\"123\\x00\\x00x\""),
            ("SETRANGE nope 3 y", ":4"),
            ("INCR n", ":1"),
            ("INCRBY n 41", ":42"),
            ("DECR n", ":41"),
            ("DECRBY n 1", ":40"),
            ("INCR k", "-ERR value is not an integer or out of range"),
            ("SET n 9223372036854775807", "+OK"),
            ("INCR n", "-ERR increment or decrement would overflow"),
            ("INCRBYFLOAT f 3.0e3", "\"3000\""),
            ("INCRBYFLOAT f 0.1", "\"3000.1\""),
            ("INCRBYFLOAT k 1", "-ERR value is not a valid float"),
        ],
    );
}

#[test]
fn times_to_live() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    converse(
        &mut wire,
        &[
            ("TTL k", ":-2"),
            ("SET k v", "+OK"),
            ("TTL k", ":-1"),
            ("PERSIST k", ":0"),
            ("EXPIRE k 100 XX", ":0"),
            ("EXPIRE k 100 GT", ":0"),
            ("EXPIRE k 100 LT", ":1"),
            ("TTL k", ":100"),
            ("EXPIRE k 50 GT", ":0"),
            ("EXPIRE k 200 GT", ":1"),
            ("SET k w KEEPTTL", "+OK"),
            ("TTL k", ":200"),
            ("PERSIST k", ":1"),
            ("EXPIREAT k 4000000000", ":1"),
            ("EXPIRETIME k", ":4000000000"),
            ("PEXPIRETIME k", ":4000000000000"),
            ("GETEX k PERSIST", "\"w\""),
            ("TTL k", ":-1"),
            ("SETEX k 100 v", "+OK"),
            ("TTL k", ":100"),
            ("RENAME k r", "+OK"),
            ("TTL r", ":100"),
            ("COPY r c", ":1"),
            ("TTL c", ":100"),
            ("EXPIRE r -1", ":1"),
            ("EXISTS r", ":0"),
            ("SET c v PXAT 1", "+OK"),
            ("EXISTS c", ":0"),
            ("EXPIRE nope 5", ":0"),
            ("GETEX nope EX 5", "$-1"),
            ("PSETEX short 1 v", "+OK"),
        ],
    );
    std::thread::sleep(std::time::Duration::from_millis(10));
    converse(&mut wire, &[("GET short", "$-1"), ("PTTL short", ":-2"), ("TYPE short", "+none")]);
}

#[test]
fn keys() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    converse(
        &mut wire,
        &[
            ("RANDOMKEY", "$-1"),
            ("DBSIZE", ":0"),
            ("MSET a 1 b 2 ab 3", "+OK"),
            ("EXISTS a b nope a", ":3"),
            ("TOUCH a nope", ":1"),
            ("TYPE a", "+string"),
            ("KEYS a*", "[\"a\", \"ab\"]"),
            ("KEYS [^a]", "[\"b\"]"),
            ("DBSIZE", ":3"),
            ("RENAME nope x", "-ERR no such key"),
            ("RENAME a a", "+OK"),
            ("RENAMENX a b", ":0"),
            ("RENAMENX a z", ":1"),
            ("COPY z b", ":0"),
            ("COPY z b REPLACE", ":1"),
            ("GET b", "\"1\""),
            ("COPY z z", "-ERR source and destination objects are the same"),
            ("DEL z b nope", ":2"),
            ("UNLINK ab", ":1"),
            ("KEYS *", "[]"),
        ],
    );
}

#[test]
fn scan_finds_every_key_once_over_any_connection() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    for number in 0..500 {
        assert_eq!(wire.ask(&format!("SET key:{number:03} v")), "+OK");
    }
    assert_eq!(wire.ask("SET other v"), "+OK");
    let (mut found, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let mut another = Wire::connect(server.address());
        let words = [&b"SCAN"[..], cursor.as_bytes(), b"MATCH", b"key:*", b"COUNT", b"7"];
        let Value::Many('*', reply) = another.ask_words(&words) else { panic!() };
        let [Value::Bulk(next), Value::Many('*', keys)] = &reply[..] else { panic!() };
        found.extend(keys.iter().map(|key| format!("{key:?}")));
        cursor = String::from_utf8(next.clone()).unwrap();
        if cursor == "0" {
            break;
        }
    }
    let all: Vec<String> = (0..500).map(|number| format!("\"key:{number:03}\"")).collect();
    assert_eq!(found, all);
    assert!(wire.ask("SCAN 12345").starts_with("-ERR the server does not remember this cursor"));
    converse(
        &mut wire,
        &[
            ("SCAN 0 COUNT 1000 MATCH oth*", "[\"0\", [\"other\"]]"),
            ("SCAN 0 TYPE list COUNT 1000", "[\"0\", []]"),
            ("SCAN 0 COUNT 0", "-ERR syntax error"),
            ("SCAN x", "-ERR invalid cursor"),
        ],
    );
}

#[test]
fn the_connection() {
    let server = server(&[]);
    let mut wire = Wire::connect(server.address());
    converse(
        &mut wire,
        &[
            ("PING", "+PONG"),
            ("ping hi", "\"hi\""),
            ("ECHO hi", "\"hi\""),
            ("SELECT 0", "+OK"),
            ("SELECT 1", "-ERR DB index is out of range"),
            ("CLIENT GETNAME", "$-1"),
            ("CLIENT SETNAME me", "+OK"),
            ("CLIENT GETNAME", "\"me\""),
            ("CLIENT SETINFO lib-name x", "+OK"),
            ("AUTH default any", "+OK"),
            ("AUTH me any", "-WRONGPASS invalid username-password pair or user is disabled."),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            ("CLIENT NOPE", "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP."),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("FOO a", "-ERR unknown command 'FOO', with args beginning with: 'a' "),
            ("HSET h f v", "-ERR unknown command 'HSET', with args beginning with: 'h' 'f' 'v' "),
        ],
    );
    let hello = wire.ask("HELLO 3 SETNAME three");
    assert!(hello.starts_with("%[\"server\", \"redis\", \"version\", \"7."), "{hello}");
    converse(&mut wire, &[("GET nope", "_"), ("CONFIG GET databases", "%[\"databases\", \"1\"]")]);
    let list = wire.ask("CLIENT LIST");
    assert!(list.contains(" name=three ") && list.contains(" resp=3 "), "{list}");
    converse(&mut wire, &[("RESET", "+RESET"), ("GET nope", "$-1"), ("CLIENT GETNAME", "$-1")]);
    assert_eq!(wire.ask("QUIT"), "+OK");
    assert!(wire.try_read().is_none());
}

#[test]
fn clients_are_listed_and_ended() {
    let server = server(&[]);
    let (mut one, mut other) = (Wire::connect(server.address()), Wire::connect(server.address()));
    let id = other.ask("CLIENT ID").split_off(1);
    other.ask("BEGIN");
    assert_eq!(other.ask("SET k v"), "+OK");
    assert_eq!(one.ask(&format!("CLIENT KILL ID {id}")), ":1");
    assert!(other.try_read().is_none());
    assert_eq!(one.ask("GET k"), "$-1", "what it had open is rolled back");
    // Its socket is closed before it is taken from the list.
    eventually("it has left", || one.ask(&format!("CLIENT KILL ID {id}")) == ":0");
    assert_eq!(one.ask("CLIENT KILL 1.2.3.4:5"), "-ERR No such client");
    let me = one.ask("CLIENT ID").split_off(1);
    assert_eq!(one.ask(&format!("CLIENT KILL ID {me}")), ":0", "SKIPME is yes");
    assert_eq!(one.ask(&format!("CLIENT KILL ID {me} SKIPME no")), ":1");
    assert!(one.try_read().is_none());
}

#[test]
fn the_server() {
    let server = server(&["--max-memory", "100mb", "--disable", "KEYS,config set"]);
    let mut wire = Wire::connect(server.address());
    converse(
        &mut wire,
        &[
            ("CONFIG GET max*ory", "[\"maxmemory\", \"104857600\"]"),
            ("CONFIG GET nope", "[]"),
            ("KEYS *", "-ERR command \"KEYS\" is switched off on this server"),
            ("CONFIG SET maxmemory 1gb", "-ERR command \"CONFIG\" is switched off on this server"),
            ("SAVE", "-ERR this server keeps everything in memory; start it without --in-memory"),
            ("COMMAND LIST FILTERBY PATTERN getd*", "[\"getdel\"]"),
            ("COMMAND INFO nope", "[*-1]"),
        ],
    );
    let info = wire.ask("INFO server");
    assert!(info.contains("redis_version:7.") && !info.contains("# Clients"), "{info}");
    let Value::Many('*', time) = wire.ask_words(&[b"TIME"]) else { panic!() };
    assert_eq!(time.len(), 2);
    let about = wire.ask("COMMAND INFO get");
    assert!(about.starts_with("[[\"get\", :2, [+readonly, +fast], :1, :1, :1, "), "{about}");
    let docs = wire.ask("COMMAND DOCS begin");
    assert!(docs.starts_with("[\"begin\", [\"summary\", "), "{docs}");
    assert!(wire.ask("COMMAND COUNT").starts_with(':'));
}

#[test]
fn settings_that_can_be_changed_are() {
    let server = server(&["--max-memory", "100mb"]);
    let mut wire = Wire::connect(server.address());
    converse(
        &mut wire,
        &[
            ("CONFIG SET maxmemory 200mb", "+OK"),
            ("CONFIG GET maxmemory", "[\"maxmemory\", \"209715200\"]"),
            ("CONFIG SET databases 1", "+OK"),
            (
                "CONFIG SET databases 2",
                "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set \
                 immutable config",
            ),
            (
                "CONFIG SET nope 2",
                "-ERR Unknown option or number of arguments for CONFIG SET - 'nope'",
            ),
        ],
    );
    let stats = wire.ask("STATS");
    assert!(stats.contains("[\"memory_bytes_max\", :209715200]"), "{stats}");
}

#[test]
fn files_are_saved_and_the_server_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = TestServer::start_on(PROGRAM, directory.path(), &[]);
    let mut wire = Wire::connect(server.address());
    converse(
        &mut wire,
        &[
            ("CONFIG GET append*", "[\"appendfsync\", \"always\", \"appendonly\", \"yes\"]"),
            ("SET k v", "+OK"),
            ("SAVE", "+OK"),
            ("BGSAVE", "+Background saving started"),
        ],
    );
    let Value::Line(saved) = wire.ask_words(&[b"LASTSAVE"]) else { panic!() };
    assert!(saved[1..].parse::<u64>().unwrap() > 1_700_000_000, "{saved}");
    wire.send(&[b"SHUTDOWN"]);
    assert!(wire.try_read().is_none());
    assert!(server.wait_for_exit().success());
}
