//! A browser that is made to send HTTP to this port is cut off before its body is read.

use crate::{converse, server};

#[test]
fn http_closes_the_connection_at_once_without_a_reply() {
    let server = server(&[]);
    for head in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n",
        "\r\n \t\nPOST / HTTP/1.1\r\n",
        "PUT k HTTP/1.1\n",
        "Host: localhost\n",
        "GET / HTTP/1.1 \t\r\n",
        "PING HTTP/1.0\n",
        "\"GET\" / HTTP/1.1\n",
    ] {
        let mut client = server.connect();
        client.send_raw(format!("{head}PUT smuggled 1\nPUT again 1\n"));
        assert_eq!(client.read_to_end(), "", "{head}");
    }
    converse(&mut server.connect(), &[("COUNT", "0")]);
}

#[test]
fn a_host_line_later_closes_it_too() {
    let server = server(&[]);
    let mut client = server.connect();
    client.send_raw("BEGIN\nPUT a 1\n");
    assert_eq!([client.read_line(), client.read_line()], ["OK 1", "OK"]);
    client.send_raw("hOsT: example.org\r\nCOMMIT\nPUT b 1\n");
    assert_eq!(client.read_to_end(), "");
    let mut other = server.connect();
    assert_eq!(other.ask("BEGIN WAIT 500ms"), "OK 1");
    converse(&mut other, &[("PUT a 2", "OK"), ("EXISTS b", "0")]);
}

/// The replies of a batch leave together; those of what was run before the line may be lost.
#[test]
fn a_host_line_in_a_batch_stops_what_follows() {
    let server = server(&[]);
    let mut client = server.connect();
    client.send_raw("PUT a 1\nHost: x\nPUT b 1\n");
    let replies = client.read_to_end();
    assert!(replies.is_empty() || replies == "OK\n", "{replies}");
    converse(&mut server.connect(), &[("EXISTS b", "0")]);
}

#[test]
fn what_only_looks_like_http_is_served() {
    let server = server(&[]);
    for (first, reply) in [
        ("PUT k \"HTTP/1.1\"", "OK"),
        ("PUT k xHTTP/1.1", "OK"),
        ("PUT k http/1.1", "OK"),
        ("PUT k HTTP/2", "OK"),
        ("PUT HTTP/1.1 v", "OK"),
    ] {
        assert_eq!(server.connect().ask(first), reply, "{first}");
    }
    let mut client = server.connect();
    converse(&mut client, &[("PING", "PONG"), ("PUT k HTTP/1.1", "OK"), ("PUT Host: 1", "OK")]);
    assert!(client.ask(" Host: x").starts_with("ERR UNKNOWN "));
    assert!(client.ask("\"Host:\" x").starts_with("ERR UNKNOWN "));
}
