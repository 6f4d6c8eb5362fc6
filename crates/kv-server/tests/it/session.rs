//! A first session, as the README shows it.

use crate::{converse, server};

/// The requests of the README's session, each with the lines of its reply.
fn readme_session() -> Vec<(String, Vec<String>)> {
    let readme = include_str!("../../../../README.md");
    let (_, after) = readme.split_once("$ nc 127.0.0.1 7878\n\n").unwrap();
    let (session, _) = after.split_once("```").unwrap();
    let mut exchanges: Vec<(String, Vec<String>)> = Vec::new();
    for line in session.lines() {
        let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
        if !line.starts_with(' ') {
            exchanges.push((columns.next().unwrap().to_owned(), Vec::new()));
        }
        exchanges.last_mut().unwrap().1.push(columns.next().unwrap().to_owned());
    }
    exchanges
}

#[test]
fn the_readme_tells_the_truth() {
    let server = server(&[]);
    let mut client = server.connect();
    let session = readme_session();
    assert_eq!(session.len(), 11);
    for (request, reply) in session {
        client.send(&request);
        let got: Vec<String> = reply.iter().map(|_| client.read_line()).collect();
        assert_eq!(got, reply, "{request}");
    }
    assert_eq!(client.ask("PING"), "PONG", "no line was left over");
}

#[test]
fn the_same_session_in_json() {
    let server = server(&[]);
    let shown = concat!(
        r#"{"status":"Ok","data":{"house":{"value":"small","transaction_id":2},"#,
        r#""nameofkey":{"value":"value999","transaction_id":1}}}"#
    );
    let committed = concat!(
        r#"{"status":"Ok","data":"#,
        r#"{"nameofkey":{"value":"value999","transaction_id":null}}}"#
    );
    converse(
        &mut server.connect(),
        &[
            ("FORMAT JSON", r#"{"status":"Ok"}"#),
            ("BEGIN", r#"{"status":"Ok","transaction_id":1}"#),
            ("PUT nameofkey value999 1", r#"{"status":"Ok"}"#),
            ("GET nameofkey 1", r#"{"status":"Ok","found":true,"result":"value999"}"#),
            ("BEGIN", r#"{"status":"Ok","transaction_id":2}"#),
            ("PUT house large 2", r#"{"status":"Ok"}"#),
            ("PUT house small 2", r#"{"status":"Ok"}"#),
            ("SHOWALL", shown),
            ("ROLLBACK 2", r#"{"status":"Ok"}"#),
            ("DEL 2", r#"{"status":"Ok","found":false}"#),
            ("COMMITALL", r#"{"status":"Ok","committed":1}"#),
            ("SHOWALL", committed),
        ],
    );
}

#[test]
fn quit_is_answered_and_ends_the_connection() {
    let server = server(&[]);
    let mut client = server.connect();
    client.send("BEGIN\nPUT a 1\nQUIT\nPUT b 1");
    assert_eq!(client.read_to_end(), "OK 1\nOK\nOK\n");
    let mut other = server.connect();
    converse(&mut other, &[("GET a", "NIL"), ("GET b", "NIL")]);
}

#[test]
fn names_are_read_in_either_case_and_keys_are_not() {
    let server = server(&[]);
    converse(
        &mut server.connect(),
        &[
            ("bEgIn rEaDoNlY wait 5S", "OK 1"),
            ("rollback", "OK"),
            ("put Key Value if absent", "OK"),
            ("GET key", "NIL"),
            ("\"get\"\t\"Key\"", "\"Value\""),
        ],
    );
}
