//! Many requests without waiting for replies: these come in order, also around one that waits.

use std::fmt::Write as _;
use std::time::Duration;

use crate::{converse, server};

#[test]
fn a_hundred_thousand_commands_at_once_are_answered_in_order() {
    const COMMANDS: usize = 100_000;
    let server = server(&[]);
    let mut client = server.connect();
    let mut requests = String::new();
    for number in 0..COMMANDS {
        match number % 4 {
            0 => writeln!(requests, "PUT key{} {number}", number % 1000).unwrap(),
            1 => writeln!(requests, "GET key{}", (number - 1) % 1000).unwrap(),
            2 => writeln!(requests, "INCR counter").unwrap(),
            _ => writeln!(requests, "NONSENSE{number}").unwrap(),
        }
    }
    let sender = client.send_in_background(requests.into_bytes());
    for number in 0..COMMANDS {
        let reply = client.read_line();
        match number % 4 {
            0 => assert_eq!(reply, "OK"),
            1 => assert_eq!(reply, format!("\"{}\"", number - 1)),
            2 => assert_eq!(reply, format!("{}", number / 4 + 1)),
            _ => assert!(reply.contains(&format!("NONSENSE{number}")), "{reply}"),
        }
    }
    sender.join().unwrap();
    assert!(client.is_silent_for(Duration::from_millis(1)));
}

#[test]
fn a_command_that_waits_holds_up_those_after_it_and_not_those_before() {
    let server = server(&[]);
    let (mut holder, mut client) = (server.connect(), server.connect());
    converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT a held", "OK")]);
    client.send("PUT b 1\nBEGIN\nGET b\nPUT a 2\nGET a\nCOMMIT\nGET b\nNONSENSE\nPING");
    assert_eq!(
        [client.read_line(), client.read_line(), client.read_line()],
        ["OK", "OK 1", "\"1\""]
    );
    server.wait_for_waits(1);
    // More may be sent meanwhile; it is served in its turn.
    client.send("INCR n");
    client.send("INCR n");
    assert!(client.is_silent_for(Duration::from_millis(20)));
    assert_eq!(holder.ask("COMMIT"), "OK");
    let replies: Vec<String> = (0..8).map(|_| client.read_line()).collect();
    assert_eq!(replies[..4], ["OK", "\"2\"", "OK", "\"1\""]);
    assert!(replies[4].starts_with("ERR UNKNOWN "), "{}", replies[4]);
    assert_eq!(replies[5..], ["PONG", "1", "2"]);
}

#[test]
fn a_wait_that_ends_in_vain_does_not_disturb_what_follows() {
    let server = server(&["--lock-timeout", "50ms"]);
    let (mut holder, mut client) = (server.connect(), server.connect());
    converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT a held", "OK")]);
    client.send("PUT a 1\nPUT a 2\nBEGIN\nGET a\nPUT b 3\nGET a\nCOMMIT\nGET b");
    let replies: Vec<String> = (0..8).map(|_| client.read_line()).collect();
    for at in [0, 1, 3, 5] {
        assert!(replies[at].starts_with("ERR TIMEOUT "), "{replies:?}");
    }
    assert_eq!(
        [&*replies[2], &*replies[4], &*replies[6], &*replies[7]],
        ["OK 1", "OK", "OK", "\"3\""]
    );
    assert_eq!(holder.ask("COMMIT"), "OK");
    assert_eq!(client.ask("GET a"), "\"held\"");
}

/// More than the server keeps ahead while a command waits.
#[test]
fn what_is_sent_during_a_wait_is_not_lost_however_much_it_is() {
    const LATER: usize = 40_000;
    let server = server(&[]);
    let (mut holder, mut client) = (server.connect(), server.connect());
    converse(&mut holder, &[("BEGIN", "OK 1"), ("PUT a held", "OK")]);
    client.send("PUT a 2");
    server.wait_for_waits(1);
    let sender = client.send_in_background(b"INCR n\n".repeat(LATER));
    assert!(client.is_silent_for(Duration::from_millis(50)));
    assert_eq!(holder.ask("ROLLBACK"), "OK");
    assert_eq!(client.read_line(), "OK");
    for number in 1..=LATER {
        assert_eq!(client.read_line(), number.to_string());
    }
    sender.join().unwrap();
}

/// One client with much to do does not keep others from being served.
#[test]
fn others_are_served_while_one_pipelines() {
    let server = server(&["--threads", "1"]);
    let mut greedy = server.connect();
    let sender = greedy.send_in_background(b"PING\n".repeat(200_000));
    let reader = std::thread::spawn(move || {
        (0..200_000).for_each(|_| assert_eq!(greedy.read_line(), "PONG"));
    });
    let mut other = server.connect();
    let started = std::time::Instant::now();
    for number in 1..=20 {
        assert_eq!(other.ask("INCR n"), number.to_string());
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    sender.join().unwrap();
    reader.join().unwrap();
}
