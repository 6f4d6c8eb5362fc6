//! However the stream of bytes is cut into packets, the replies are the same.

use kv_testkit::server::TestServer;

use crate::{Numbers, server};

/// Requests of every kind, right and wrong. None shows a time or an age.
const REQUESTS: [&[u8]; 63] = [
    b"PING",
    b"PUT a 1",
    b"GET a\r",
    b"",
    b"\r",
    b"PUT \"b b\" \"2\\n\\x00\"",
    b"GET \"b b\"",
    b"put c \"\\\"quoted\\\"\"",
    b"GET c",
    b"NONSENSE",
    b"PUT d",
    b"PUT d \"open",
    b"  \t ",
    b"PUT bytes \xff\xfe\0\x01",
    b"GET bytes",
    b"BEGIN",
    b"PUT a 2",
    b"GET a",
    b"SHOWALL",
    b"BEGIN NESTED",
    b"DEL a",
    b"EXISTS a",
    b"GET a 1",
    b"SHOWALL",
    b"ROLLBACK",
    b"GET a 1",
    b"BEGIN SNAPSHOT",
    b"SCAN",
    b"COUNT PREFIX a",
    b"COMMIT 3",
    b"COMMITALL",
    b"REVISION",
    b"INCR n BY -5",
    b"INCR n",
    b"INCR a BY x",
    b"INCR c",
    b"PUT j \"{\\\"x\\\":[1]}\" JSON",
    b"GET j",
    b"FORMAT JSON",
    b"GET j",
    b"GET bytes",
    b"GET nothing",
    b"SCAN LIMIT 2",
    b"SHOWALL",
    b"BEGIN",
    b"COMMIT 99",
    b"ROLLBACK",
    b"DEL nothing",
    b"DEL c",
    b"HELP PING",
    b"nonsense",
    b"FORMAT TEXT",
    b"SCAN AFTER a LIMIT 1",
    b"SCAN RANGE a c",
    b"VERSION",
    b"EXISTS long",
    b"HELP GET",
    b"LOCKS",
    b"TRANSACTIONS",
    b"GET a VERSION 1",
    b"GET a AT 1",
    b"PUT a 3 IF VERSION 1",
    b"PUT a 3 IF VERSION 2\r",
];

/// All of them, with a long one among them, up to the end of the connection.
fn requests() -> Vec<u8> {
    let long = format!("PUT long \"{}\"", "x\\n".repeat(3000));
    let (before, after) = REQUESTS.split_at(REQUESTS.len() / 2);
    let lines = [before, &[long.as_bytes(), b"EXISTS long"], after, &[b"QUIT", b""]].concat();
    lines.join(&b'\n')
}

/// The replies of a new server to the requests, sent in pieces of the lengths that are asked for.
fn replies(server: &TestServer, requests: &[u8], mut length: impl FnMut() -> usize) -> String {
    let mut client = server.connect();
    let mut rest = requests;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(length().min(rest.len()));
        client.send_raw(piece);
        rest = later;
    }
    client.read_to_end()
}

#[test]
fn any_split_of_the_stream_gives_the_same_replies() {
    let requests = requests();
    let whole = replies(&server(&[]), &requests, || usize::MAX);
    assert_eq!(whole.lines().last(), Some("OK"), "QUIT was reached:\n{whole}");
    assert!(whole.lines().count() > 80, "{whole}");
    assert_eq!(replies(&server(&[]), &requests, || 1), whole, "byte by byte");
    for seed in 0..6 {
        let mut numbers = Numbers(seed);
        let longest = *numbers.choose(&[2, 7, 40, 300, 5000]);
        let split = replies(&server(&[]), &requests, || 1 + numbers.below(longest));
        assert_eq!(split, whole, "seed {seed}");
    }
}

/// A client that types: the reply comes when the line has ended, and not before.
#[test]
fn a_line_that_dribbles_in_is_answered_once_when_it_ends() {
    let server = server(&[]);
    let mut client = server.connect();
    let mut other = server.connect();
    for byte in "PUT slow \"a\\\"b\"\r".bytes() {
        client.send_raw([byte]);
        assert_eq!(other.ask("EXISTS slow"), "0", "others are served meanwhile");
    }
    client.send_raw("\n");
    assert_eq!(client.read_line(), "OK");
    assert_eq!(other.ask("GET slow"), "\"a\\\"b\"");
}
