//! The systems that take the commands of Redis: how each is started, filled and left to settle.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use kv_benches::control::{Control, Stats};
use kv_benches::peers;
use kv_benches::process::Server;
use kv_benches::traffic::{Operation, Protocol, Requests, send_all};
use kv_benches::workload::{self, Key};

use crate::Bench;

/// How often it is asked whether a server has settled.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long a reply may take that shows what a server understands.
const PROBE_MAX: Duration = Duration::from_secs(5);
/// Connections and commands in flight while a server is filled.
const FILL: (usize, usize) = (4, 256);
/// Keys that are sent to a server at a time while it is filled.
const FILL_KEYS: u64 = 1 << 20;

/// What a system does with its data.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Files<'a> {
    /// Nothing is on disk.
    None,
    /// Every reply waits until its command is on disk, in this directory.
    Durable(&'a Path),
    /// The data is written to this directory when the system is stopped; ours has no such mode,
    /// and is as with `Durable`.
    AtTheEnd(&'a Path),
}

impl Files<'_> {
    fn redis_options(self) -> Vec<String> {
        let (save, append, dir) = match self {
            Files::None => ("", "no", None),
            Files::Durable(dir) => ("", "yes", Some(dir)),
            Files::AtTheEnd(dir) => ("86400 1", "no", Some(dir)),
        };
        let mut words = vec!["--save", save, "--appendonly", append, "--appendfsync", "always"];
        words.extend(dir.iter().flat_map(|dir| ["--dir", dir.to_str().unwrap()]));
        words.into_iter().map(String::from).collect()
    }
}

/// A system that is being compared.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    /// Whether it is this repository's server.
    pub(crate) is_ours: bool,
    has_files: bool,
}

impl System {
    /// This repository's server, or what was named in its place. In memory it keeps one version of
    /// each key, as Redis does; with files it is as it is by itself.
    pub(crate) fn ours(bench: &Bench, name: &'static str, files: Files<'_>) -> System {
        if let Some(path) = &bench.ours_is {
            return System::like_redis(path, name, files);
        }
        let server = match files {
            Files::None => Server::start(&bench.server, &[]),
            Files::Durable(dir) | Files::AtTheEnd(dir) => {
                Server::start_durable(&bench.server, dir, &[])
            }
        };
        System { name, server, is_ours: true, has_files: !matches!(files, Files::None) }
    }

    /// Redis, or a program that takes the same options.
    pub(crate) fn like_redis(path: &Path, name: &'static str, files: Files<'_>) -> System {
        let words = files.redis_options();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let server = peers::redis(path, &words);
        System { name, server, is_ours: false, has_files: matches!(files, Files::Durable(_)) }
    }

    /// How it is spoken to by our own generator where both ways are the same to it.
    pub(crate) fn protocol(&self) -> Protocol {
        if self.is_ours { Protocol::Lines } else { Protocol::Resp }
    }

    /// Puts keys of `redis-benchmark` with these numbers, each once and in no order.
    pub(crate) fn fill(&self, numbers: std::ops::Range<u64>) {
        let values = workload::values();
        let mut from = numbers.start;
        while from < numbers.end {
            let until = numbers.end.min(from + FILL_KEYS);
            let mut keys: Vec<Key> = (from..until).map(tool_key).collect();
            workload::shuffle(&mut keys, from);
            let requests = Requests::new(self.protocol(), Operation::Put, &keys, &values);
            send_all(self.server.address, &requests, FILL.0.min(keys.len()), FILL.1);
            from = until;
        }
    }

    /// Waits until it has nothing left to do with its files: ours folds its log, Redis rewrites
    /// its own.
    pub(crate) fn settle(&self) {
        if !self.has_files {
            return;
        }
        let mut control = Control::open(self.server.address);
        if self.is_ours {
            control.must("CHECKPOINT");
            return;
        }
        let is_busy = |info: &Stats| {
            info.get("aof_rewrite_in_progress") + info.get("aof_rewrite_scheduled") > 0
        };
        while is_busy(&control.redis_info()) {
            thread::sleep(ASK_EVERY);
        }
    }

    /// Whether it takes commands in the framing of Redis.
    pub(crate) fn speaks_resp(&self) -> bool {
        begins_with(self.server.address, b"*1\r\n$4\r\nPING\r\n", b"+PONG")
    }

    /// Whether a client of Redis can begin transactions in it.
    pub(crate) fn begins_in_resp(&self) -> bool {
        begins_with(self.server.address, b"*1\r\n$5\r\nBEGIN\r\n", b":1")
    }
}

/// Whether the reply to a request begins so. A server that does not understand it may say anything,
/// or wait for more.
fn begins_with(address: SocketAddr, request: &[u8], start: &[u8]) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PROBE_MAX))?;
        stream.write_all(request)?;
        let mut reply = [0; 64];
        stream.read(&mut reply).map(|read| reply[..read].starts_with(start))
    };
    ask().unwrap_or(false)
}

/// The key that `redis-benchmark -r` makes of a number.
fn tool_key(number: u64) -> Key {
    let mut key = [0; workload::KEY_BYTES];
    key.copy_from_slice(format!("key:{number:012}").as_bytes());
    key
}

impl Bench {
    /// Redis, if there is one.
    pub(crate) fn redis(&self, files: Files<'_>) -> Option<System> {
        self.redis_as("Redis", files)
    }

    /// The same under another name.
    pub(crate) fn redis_as(&self, name: &'static str, files: Files<'_>) -> Option<System> {
        self.redis.as_ref().map(|path: &PathBuf| System::like_redis(path, name, files))
    }
}
