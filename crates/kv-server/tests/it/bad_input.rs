//! Requests that are wrong: each is refused with the right word, does nothing, and leaves the
//! connection and its transactions usable.

use kv_testkit::server::Client;

use crate::{converse, server};

/// Has each request refused with a code, and looks afterwards whether anything has changed.
fn assert_refused(client: &mut Client, requests: &[(&[u8], &str)]) {
    let transactions = client.ask_list("TRANSACTIONS").len();
    let pairs = client.ask_list("SHOWALL");
    for (request, code) in requests {
        let shown = request.escape_ascii();
        let reply = client.ask(request);
        assert!(reply.starts_with(&format!("ERR {code} ")), "{shown}: {reply}");
        assert!(reply.len() < 600, "{shown}: a reply of {} bytes", reply.len());
        assert_eq!(client.ask("PING"), "PONG", "{shown}");
        assert_eq!(client.ask_list("SHOWALL"), pairs, "{shown}");
        assert_eq!(client.ask_list("TRANSACTIONS").len(), transactions, "{shown}");
    }
}

const WRONG: &[(&[u8], &str)] = &[
    (b"PUT k \"v", "SYNTAX"),
    (b"PUT k \"", "SYNTAX"),
    (b"PUT \"k v", "SYNTAX"),
    (b"PUT k \"v\\\"", "SYNTAX"),
    (b"PUT k \"v\\", "SYNTAX"),
    (b"PUT k \"\\a\"", "SYNTAX"),
    (b"PUT k \"\\N\"", "SYNTAX"),
    (b"PUT k \"\\u0041\"", "SYNTAX"),
    (b"PUT k \"\\x\"", "SYNTAX"),
    (b"PUT k \"\\x4\"", "SYNTAX"),
    (b"PUT k \"\\xg0\"", "SYNTAX"),
    (b"PUT k \"\\x4", "SYNTAX"),
    (b"PUT k \"\\\xff\"", "SYNTAX"),
    (b"PUT k \"v\"w", "SYNTAX"),
    (b"PUT k \"v\"\"w\"", "SYNTAX"),
    (b"\"PUT k v", "SYNTAX"),
    (b"PUT k v \"", "SYNTAX"),
    (b"PUT", "ARGUMENT"),
    (b"PUT k", "ARGUMENT"),
    (b"PUT k v v", "ARGUMENT"),
    (b"PUT k v 1 1", "ARGUMENT"),
    (b"PUT \"\" v", "ARGUMENT"),
    (b"PUT k v IF", "ARGUMENT"),
    (b"PUT k v IF VERSION", "ARGUMENT"),
    (b"PUT k v IF VERSION -1", "ARGUMENT"),
    (b"PUT k v IF VERSION 99999999999999999999", "ARGUMENT"),
    (b"PUT k v 99999999999999999999", "ARGUMENT"),
    (b"PUT k v JSON", "ARGUMENT"),
    (b"PUT k v JSON JSON", "ARGUMENT"),
    (b"PUT k \"1e999\" JSON", "ARGUMENT"),
    (b"GET", "ARGUMENT"),
    (b"GET k v", "ARGUMENT"),
    (b"GET k FOR", "ARGUMENT"),
    (b"GET k FOR UPDATE", "ARGUMENT"),
    (b"GET k AT 999999", "ARGUMENT"),
    (b"GET k AT 18446744073709551615", "ARGUMENT"),
    (b"GET k AT 18446744073709551616", "ARGUMENT"),
    (b"DEL", "ARGUMENT"),
    (b"EXISTS", "ARGUMENT"),
    (b"INCR number BY", "ARGUMENT"),
    (b"INCR number BY 1.5", "ARGUMENT"),
    (b"INCR number BY 9223372036854775808", "ARGUMENT"),
    (b"INCR text", "TYPE"),
    (b"INCR number BY 9223372036854775807", "TYPE"),
    (b"SCAN PREFIX", "ARGUMENT"),
    (b"SCAN RANGE b a", "ARGUMENT"),
    (b"SCAN LIMIT 99999999999999999999", "ARGUMENT"),
    (b"COUNT WHAT", "ARGUMENT"),
    (b"SCAN LIMIT -1", "ARGUMENT"),
    (b"SCAN MATCH [", "ARGUMENT"),
    (b"SCAN MATCH [b-a]", "ARGUMENT"),
    (b"SCAN MATCH a MATCH b", "ARGUMENT"),
    (b"SCAN REGEX (", "ARGUMENT"),
    (b"COUNT REGEX (a{1000}){1000}{1000}", "ARGUMENT"),
    (b"COUNT REGEX \xff", "ARGUMENT"),
    (b"COUNT VALUE", "ARGUMENT"),
    (b"COUNT VALUE IS 5", "ARGUMENT"),
    (b"COUNT VALUE REGEX *", "ARGUMENT"),
    (b"COUNT VALUE RANGE b a", "ARGUMENT"),
    (b"COUNT VALUE NUMBER 1", "ARGUMENT"),
    (b"COUNT VALUE NUMBER 2 1", "ARGUMENT"),
    (b"COUNT VALUE NUMBER nan 1", "ARGUMENT"),
    (b"COUNT VALUE NUMBER 0 inf", "ARGUMENT"),
    (b"NEAREST", "ARGUMENT"),
    (b"NEAREST 5", "ARGUMENT"),
    (b"NEAREST x 1", "ARGUMENT"),
    (b"NEAREST NaN 1", "ARGUMENT"),
    (b"NEAREST 5 -1", "ARGUMENT"),
    (b"NEAREST 5 10001", "LIMIT"),
    (b"HISTORY k LIMIT", "ARGUMENT"),
    (b"BEGIN AT 1", "ARGUMENT"),
    (b"BEGIN READONLY AT 999999", "ARGUMENT"),
    (b"BEGIN WAIT 5", "ARGUMENT"),
    (b"BEGIN WAIT 99999999999999999999d", "ARGUMENT"),
    (b"BEGIN SNAPSHOT SERIALIZABLE", "ARGUMENT"),
    (b"FORMAT", "ARGUMENT"),
    (b"FORMAT XML", "ARGUMENT"),
    (b"HELP NOTHING", "UNKNOWN"),
    (b"COMMIT now", "ARGUMENT"),
    (b"PING PING", "ARGUMENT"),
    (b"QUIT now", "ARGUMENT"),
    (b"COMMITALL 1", "ARGUMENT"),
    (b"REVISION 5", "ARGUMENT"),
    (b"BEGIN NESTED", "NOTX"),
    (b"BEGIN 7", "NOTX"),
    (b"BEGIN 0", "NOTX"),
    (b"COMMIT", "NOTX"),
    (b"ROLLBACK", "NOTX"),
    (b"COMMIT 7", "NOTX"),
    (b"ROLLBACK 18446744073709551615", "NOTX"),
    (b"GET k 7", "NOTX"),
    (b"PUT k v 7", "NOTX"),
    (b"SHOWALL 7", "NOTX"),
    (b"SCAN 7", "NOTX"),
    (b"NONSENSE", "UNKNOWN"),
    (b"\"\"", "UNKNOWN"),
    (b"\0", "UNKNOWN"),
    (b"\xff\xfe", "UNKNOWN"),
    (b"GET\x0bk", "UNKNOWN"),
    (b"PUT text v IF ABSENT", "PRECONDITION"),
    (b"PUT k v IF PRESENT", "PRECONDITION"),
    (b"DEL text IF VERSION 2", "PRECONDITION"),
];

#[test]
fn what_is_wrong_is_refused_and_does_nothing() {
    let server = server(&[]);
    let mut client = server.connect();
    converse(&mut client, &[("PUT text v", "OK"), ("PUT number 1", "OK")]);
    assert_refused(&mut client, WRONG);
}

#[test]
fn what_is_wrong_leaves_an_open_transaction_as_it_was() {
    let server = server(&[]);
    let mut client = server.connect();
    let set_up = [("PUT text v", "OK"), ("PUT number 1", "OK"), ("BEGIN", "OK 1")];
    converse(&mut client, &set_up);
    converse(&mut client, &[("PUT mine 1", "OK"), ("INCR number", "2")]);
    let needs_none = [&b"BEGIN NESTED"[..], b"COMMIT", b"ROLLBACK", b"GET k FOR UPDATE"];
    for wrong in WRONG.iter().filter(|(request, _)| !needs_none.contains(request)) {
        assert_refused(&mut client, &[*wrong]);
    }
    converse(&mut client, &[("GET mine", "\"1\""), ("COMMIT 1", "OK"), ("GET number", "\"2\"")]);
}

#[test]
fn ids_that_are_not_open_in_this_session_are_refused() {
    let server = server(&[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    converse(&mut other, &[("BEGIN", "OK 1"), ("BEGIN", "OK 2"), ("PUT theirs 1 2", "OK")]);
    converse(&mut client, &[("BEGIN", "OK 1"), ("COMMIT", "OK"), ("BEGIN", "OK 2")]);
    converse(&mut client, &[("BEGIN 2", "OK 3"), ("COMMIT 3", "OK"), ("PUT mine 1", "OK")]);
    assert_refused(
        &mut client,
        &[
            (b"PUT k v 1", "NOTX"),
            (b"COMMIT 3", "NOTX"),
            (b"BEGIN 1", "NOTX"),
            (b"GET k 4", "NOTX"),
        ],
    );
    converse(&mut client, &[("COMMIT 2", "OK"), ("GET theirs", "NIL"), ("BEGIN", "OK 4")]);
    assert_refused(&mut client, &[(b"PUT k v 2", "NOTX")]);
}

#[test]
fn blank_lines_are_ignored_and_a_lone_cr_is_a_byte() {
    let server = server(&[]);
    let mut client = server.connect();
    client.send_raw("\n\r\n   \n \t \r\n\t\nPING\r\n");
    assert_eq!(client.read_line(), "PONG");
    client.send_raw(b"PUT a\rb 1\n\rPING\nSCAN\n");
    assert_eq!(client.read_line(), "OK");
    assert!(client.read_line().starts_with("ERR UNKNOWN "));
    assert_eq!(client.read_list(), ["\"a\\rb\" \"1\"", "END 1"]);
    client.send_raw(b"PUT r v\r\r\nGET r\r\n");
    assert_eq!([client.read_line(), client.read_line()], ["OK", "\"v\\r\""]);
}

#[test]
fn any_bytes_come_back_as_they_were() {
    let server = server(&[]);
    let mut client = server.connect();
    let all: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 8] =
        [b"", b"\0", b"\xff\xfe", b"\xc3", b"NIL", b"\"", "ü€😀".as_bytes(), &all];
    for value in values {
        let key = [b"key ", value].concat();
        let request = [b"PUT ".to_vec(), quoted(&key), b" ".to_vec(), quoted(value)].concat();
        assert_eq!(client.ask(request), "OK");
        let reply = client.ask([b"GET ".to_vec(), quoted(&key)].concat());
        let again = [b"PUT again ", reply.as_bytes()].concat();
        assert_eq!(client.ask(again), "OK", "a reply is a word that can be sent");
        assert_eq!(client.ask("GET again"), reply);
        let as_hex: String = value.iter().map(|byte| format!("\\x{byte:02X}")).collect();
        assert_eq!(client.ask(format!("PUT again \"{as_hex}\"")), "OK");
        assert_eq!(client.ask("GET again"), reply);
    }
    let rows = client.ask_list("SCAN PREFIX \"key \"");
    assert_eq!(rows.len(), values.len() + 1);
}

/// A word in quotes in which only what must be is escaped.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut word = vec![b'"'];
    for byte in bytes {
        match byte {
            b'"' => word.extend(b"\\\""),
            b'\\' => word.extend(b"\\\\"),
            b'\n' => word.extend(b"\\n"),
            b'\r' => word.extend(b"\\r"),
            other => word.push(*other),
        }
    }
    word.push(b'"');
    word
}

#[test]
fn extreme_numbers_do_no_harm() {
    let server = server(&[]);
    let mut client = server.connect();
    let max = u64::MAX;
    converse(
        &mut client,
        &[
            ("PUT a 1", "OK"),
            (&format!("GET a VERSION {max}"), "NIL"),
            ("GET a VERSION 0", "NIL"),
            ("GET a AT 0", "NIL"),
            ("INCR low BY -9223372036854775808", "-9223372036854775808"),
            ("INCR low BY 9223372036854775807", "-1"),
            ("BEGIN READONLY AT 0", "OK 1"),
            ("GET a", "NIL"),
            ("COUNT", "0"),
            ("COMMIT", "OK"),
            (&format!("COUNT LIMIT {max}"), "2"),
            ("COUNT LIMIT 0", "0"),
            ("BEGIN WAIT 200000000000d", "OK 2"),
            (&format!("COUNT LIMIT {max}"), "2"),
            (&format!("BEGIN 2 WAIT {max}ms"), "OK 3"),
            ("PUT a 2", "OK"),
        ],
    );
    assert_eq!(client.ask_list(format!("SCAN LIMIT {max}")).len(), 3);
    assert_eq!(client.ask_list(format!("HISTORY a LIMIT {max}")).len(), 2);
    assert_eq!(client.ask_list("HISTORY a LIMIT 0"), ["END 0"]);
    // A wait that is longer than the clock can tell is one for ever.
    let mut other = server.connect();
    assert_eq!(other.ask(format!("BEGIN WAIT {max}ms")), "OK 1");
    other.send("PUT a 3");
    server.wait_for_waits(1);
    assert_eq!(client.ask("COMMIT 2"), "OK");
    assert_eq!(other.read_line(), "OK");
}
