//! The TCP driver against a toy server, whose whole language is: `HOLD` waits for a lock until
//! somebody says `FREE`, `SCAN` answers a list, `HANG` is never answered, `LOCKS` tells who holds.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use super::{Script, TcpDriver, run};

#[derive(Default)]
struct Toy {
    waiting: Mutex<usize>,
    freed: Condvar,
}

fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let toy = Arc::new(Toy::default());
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let toy = Arc::clone(&toy);
            std::thread::spawn(move || talk(&toy, stream, number));
        }
    });
    address
}

fn talk(toy: &Toy, mut stream: TcpStream, number: usize) {
    let reader = BufReader::new(stream.try_clone().unwrap());
    for line in reader.lines().map_while(Result::ok) {
        let reply = match line.as_str() {
            "HOLD" => {
                let mut waiting = toy.waiting.lock().unwrap();
                *waiting += 1;
                while *waiting > 0 {
                    waiting = toy.freed.wait(waiting).unwrap();
                }
                "OK\n".to_string()
            }
            "FREE" => {
                *toy.waiting.lock().unwrap() = 0;
                toy.freed.notify_all();
                "OK\n".to_string()
            }
            "LOCKS" => {
                let waiting = *toy.waiting.lock().unwrap();
                let row = |n: usize| format!("{n} 1 \"a key\" X waiting 3\n");
                let rows: String = (0..waiting).map(|n| row(n + 100)).collect();
                format!("{number} 1 \"waiting for\" S held 9\n{rows}END {}\n", waiting + 1)
            }
            "SCAN" => "\"OK\" \"1\"\n\"END\" \"2\"\nEND 2\n".to_string(),
            "SCAN broken" => "\"OK\" \"1\"\nERR IO bad row\n".to_string(),
            "QUIT" => return,
            _ => "PONG\n".to_string(),
        };
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

fn outcome(text: &str) -> String {
    let script = Script::parse("toy.kv", &format!("# toy\n{text}")).unwrap();
    let mut driver = TcpDriver::connect(serve()).unwrap();
    match run(&script, &mut driver) {
        Ok(()) => "passed".into(),
        Err(failure) => format!("{} / {}", failure.expected, failure.got),
    }
}

/// The toy never stops holding one lock, so that a script that is right fails only at its end.
const RIGHT: &str = "no locks once all sessions are closed";

#[test]
fn replies_are_told_apart_and_waiting_is_seen() {
    let text = [
        "A: SCAN\n  \"OK\" \"1\"\n  \"END\" \"2\"\n  END 2",
        "A: SCAN broken\n  \"OK\" \"1\"\n  ERR IO …",
        "A: HOLD\n  waits\nA: PING\n  queues\nB: HOLD\n  waits\nC: FREE\n  OK",
        "A: goes on\n  OK\n  PONG\nB: goes on\n  OK",
    ];
    let outcome = outcome(&text.join("\n"));
    assert!(outcome.starts_with(RIGHT), "{outcome}");
}

#[test]
fn a_reply_instead_of_waiting_is_seen() {
    assert_eq!(outcome("A: PING\n  waits\n"), "no reply / PONG");
}

#[test]
fn a_connection_that_the_server_closes_is_named() {
    let outcome = outcome("A: QUIT\n  OK\n");
    assert!(outcome.contains("the server closed A's connection"), "{outcome}");
}
