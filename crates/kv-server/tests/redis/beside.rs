//! The same random commands to this server and to a `redis-server`: the replies are the same, byte
//! for byte, but for what `docs/REDIS.md` says is not.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use kv_testkit::server::eventually;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::server;
use super::wire::{Value, Wire};

const COMMANDS: usize = 30_000;

/// A `redis-server` that keeps nothing, and ends with this.
struct Redis(Child, u16);

impl Redis {
    fn start() -> Redis {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &free.to_string(), "--save", "", "--databases", "1"]);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        eventually("it listens", || TcpStream::connect(("127.0.0.1", free)).is_ok());
        Redis(child, free)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Words = Vec<Vec<u8>>;

fn words(line: &str) -> Words {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

struct Random(StdRng);

impl Random {
    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.choose(&mut self.0).unwrap()
    }

    fn key(&mut self) -> &'static str {
        self.of(&["a", "b", "c", "key:1", "key:2"])
    }

    fn keys(&mut self) -> String {
        let count = self.0.random_range(0..4);
        (0..count).map(|_| format!(" {}", self.key())).collect()
    }

    fn pairs(&mut self) -> String {
        let count = self.0.random_range(0..4);
        (0..count).map(|_| format!(" {} {}", self.key(), self.value())).collect()
    }

    fn value(&mut self) -> &'static str {
        self.of(&["0", "1", "-5", "10", "hello", "9223372036854775807", "007", "1e5", ""])
    }

    fn number(&mut self) -> &'static str {
        self.of(&["0", "1", "-1", "5", "-3", "100", "x", "", "1.5", "-9223372036854775808"])
    }

    fn time(&mut self) -> &'static str {
        self.of(&["100000", "1000000", "500000", "0", "-1", "x", "9223372036854775807"])
    }

    fn way(&mut self) -> String {
        let at = self.of(&["4000000000", "x", "0"]);
        let time = self.time();
        self.of(&[&format!("EX {time}"), &format!("EXAT {at}"), "EX", "PX", "PERSIST", "nope"])
            .to_owned()
    }

    fn options(&mut self) -> String {
        let count = self.0.random_range(0..3);
        let mut options = String::new();
        for _ in 0..count {
            let way = self.way();
            options += &format!(" {}", self.of(&["NX", "XX", "GET", "KEEPTTL", &way]));
        }
        options
    }

    fn command(&mut self) -> String {
        let (key, other, value) = (self.key(), self.key(), self.value());
        let (number, time) = (self.number(), self.time());
        match self.0.random_range(0..26) {
            0..=2 => format!("SET {key} {value}{}", self.options()),
            3 => format!("{} {key} {time} {value}", self.of(&["SETEX", "PSETEX"])),
            4 => format!("{} {key} {value}", self.of(&["SETNX", "GETSET", "APPEND"])),
            5 => format!("{} {key}", self.of(&["GETDEL", "GET", "STRLEN", "TYPE", "PERSIST"])),
            6 => format!("GETEX {key} {}", self.way()),
            7 => format!("MGET{}", self.keys()),
            8 => format!("{}{}", self.of(&["MSET", "MSETNX"]), self.pairs()),
            9 => format!("GETRANGE {key} {number} {}", self.number()),
            10 => format!("SETRANGE {key} {} {value}", self.of(&["0", "3", "-1", "20", "x"])),
            11 => format!("{} {key}", self.of(&["INCR", "DECR"])),
            12 => format!("{} {key} {number}", self.of(&["INCRBY", "DECRBY"])),
            13 => format!("{}{}", self.of(&["DEL", "UNLINK", "EXISTS", "TOUCH"]), self.keys()),
            14 => {
                // What is relative is a millisecond later there, so it is not compared.
                let condition = self.of(&["", " NX", " XX", " NX XX", " GT LT", " nope"]);
                format!("EXPIRE {key} {time}{condition}")
            }
            15 => {
                let at = self.of(&["4000000000", "4100000000", "1", "x"]);
                format!("EXPIREAT {key} {at}{}", self.of(&["", " GT", " LT", " NX"]))
            }
            16 => format!("EXPIRETIME {key}"),
            17 => format!("{} {key} {other}", self.of(&["RENAME", "RENAMENX", "COPY"])),
            18 => format!("COPY {key} {other} {}", self.of(&["REPLACE", "DB 0", "nope", "DB"])),
            19 => format!("KEYS {}", self.of(&["*", "k*", "[ab]", "?", "[^a]", "a[", "nope"])),
            20 => format!("SCAN {} COUNT {}", self.of(&["0", "x"]), self.of(&["100", "0", "x"])),
            21 => format!("WATCH {key}"),
            22 => self.of(&["MULTI", "EXEC", "DISCARD", "UNWATCH"]).to_owned(),
            23 => self.of(&["MULTI", "EXEC"]).to_owned(),
            24 => self
                .of(&["GET", "NOPE a b", "CLIENT NOPE", "CLIENT", "CONFIG NOPE", "SELECT 9"])
                .to_owned(),
            _ => self.of(&["PING", "PING hi", "ECHO hi", "AUTH x", "AUTH u p"]).to_owned(),
        }
    }
}

/// A reply with what has no order in Redis put in one.
fn in_order(value: Value) -> Value {
    match value {
        Value::Many(mark, values) => {
            let mut values: Vec<Value> = values.into_iter().map(in_order).collect();
            if values.iter().all(|value| matches!(value, Value::Bulk(_))) {
                values.sort();
            }
            Value::Many(mark, values)
        }
        other => other,
    }
}

#[test]
#[ignore = "needs redis-server; run it with --ignored where it is"]
fn replies_are_those_of_redis() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = Random(StdRng::seed_from_u64(seed));
    let (redis, server) = (Redis::start(), server(&[]));
    let mut theirs = Wire::connect(([127, 0, 0, 1], redis.1).into());
    let mut ours = Wire::connect(server.address());
    for at in 0..COMMANDS {
        let command = random.command();
        let words = words(&command);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let (ours, theirs) = (ours.ask_words(&words), theirs.ask_words(&words));
        assert_eq!(in_order(ours), in_order(theirs), "{at}: {command}");
    }
}
