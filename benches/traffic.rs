//! A load generator that costs little beside the server it shares the processor with.
//!
//! Requests are bytes made before the clock starts, all of one size, and so are the replies; a
//! batch costs one `write` and one `read`, and counting replies is counting bytes. One thread
//! serves many connections without asking the kernel which are ready: it sends a batch on each,
//! then takes them in turn, and waits on the one that was sent first. So every connection has a
//! batch in flight all the time, and the server is never without work.
//!
//! The latency of a batch runs from its `write` to the `read` of its last reply. All connections
//! being always busy, it is mostly the time that a batch spends queueing behind the others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::measure::Latencies;
use crate::workload::{self, Key, VALUE_BYTES, Value};

/// A server that does not answer for so long has failed.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A line of words: this server's own.
    Lines,
    /// Arrays of bulk strings: that of Redis.
    Resp,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The value of a key that is there.
    Get,
    /// A new value for a key.
    Put,
    /// The next number of a counter that is at [`COUNTER_START`] or above.
    Incr,
}

/// Where a counter begins: high enough that no run adds a digit, so that replies are of one size.
pub const COUNTER_START: &str = "1000000000";

impl Operation {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Get => "GET",
            Operation::Put => "PUT",
            Operation::Incr => "INCR",
        }
    }
}

/// Requests of one size, side by side, and what a reply to each looks like.
#[derive(Debug)]
pub struct Requests {
    bytes: Vec<u8>,
    request_bytes: usize,
    reply_start: &'static [u8],
    reply_bytes: usize,
}

impl Requests {
    /// One request for each key, in the order of the keys.
    pub fn new(protocol: Protocol, operation: Operation, keys: &[Key], values: &[Value]) -> Self {
        let mut bytes = Vec::new();
        for (nth, key) in keys.iter().enumerate() {
            write_request(&mut bytes, protocol, operation, key, workload::value(values, nth));
        }
        let (reply_start, reply_bytes): (&[u8], usize) = match (protocol, operation) {
            (Protocol::Lines, Operation::Get) => (b"\"", VALUE_BYTES + 3),
            (Protocol::Lines, Operation::Put) => (b"OK\n", 3),
            (Protocol::Lines, Operation::Incr) => (b"1", COUNTER_START.len() + 1),
            (Protocol::Resp, Operation::Incr) => (b":1", COUNTER_START.len() + 3),
            (Protocol::Resp, Operation::Get) => (b"$64\r\n", VALUE_BYTES + 7),
            (Protocol::Resp, Operation::Put) => (b"+OK\r\n", 5),
        };
        let request_bytes = bytes.len() / keys.len();
        Requests { bytes, request_bytes, reply_start, reply_bytes }
    }

    fn count(&self) -> usize {
        self.bytes.len() / self.request_bytes
    }

    /// The n-th of them, beginning again after the last.
    pub fn nth(&self, nth: usize) -> &[u8] {
        let from = nth % self.count() * self.request_bytes;
        &self.bytes[from..from + self.request_bytes]
    }

    /// Bytes of each reply.
    pub fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }
}

fn write_request(
    out: &mut Vec<u8>,
    protocol: Protocol,
    operation: Operation,
    key: &Key,
    value: &Value,
) {
    let words: [&[u8]; 3] = [
        match (protocol, operation) {
            (_, Operation::Get) => b"GET",
            (_, Operation::Incr) => b"INCR",
            (Protocol::Lines, Operation::Put) => b"PUT",
            (Protocol::Resp, Operation::Put) => b"SET",
        },
        key,
        value,
    ];
    let words = match operation {
        Operation::Get | Operation::Incr => &words[..2],
        Operation::Put => &words[..],
    };
    match protocol {
        Protocol::Lines => {
            out.extend_from_slice(&words.join(&b' '));
            out.push(b'\n');
        }
        Protocol::Resp => {
            out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                out.extend_from_slice(word);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Until when a run goes on.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// So much time has passed.
    Elapsed(Duration),
    /// So many batches have been sent on each connection.
    Batches(usize),
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Run {
    /// Commands answered.
    pub commands: usize,
    /// Wall time.
    pub elapsed: Duration,
    /// Of batches.
    pub latencies: Latencies,
}

impl Run {
    /// Commands a second.
    pub fn commands_per_second(&self) -> f64 {
        self.commands as f64 / self.elapsed.as_secs_f64()
    }
}

/// Connections that one generator drives.
#[derive(Debug)]
pub struct Connections {
    streams: Vec<TcpStream>,
    threads: usize,
    /// Commands sent by all runs so far.
    sent: usize,
}

impl Connections {
    /// Opens `count` connections, to be driven by `threads` threads.
    pub fn open(address: SocketAddr, count: usize, threads: usize) -> Connections {
        let open = |_| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
            stream
        };
        let threads = threads.clamp(1, count);
        Connections { streams: (0..count).map(open).collect(), threads, sent: 0 }
    }

    /// Sends batches of `depth` requests on every connection and reads the replies.
    ///
    /// A run goes on with the requests where the last one ended, and wraps around; threads start
    /// at different places of them.
    pub fn run(&mut self, requests: &Requests, depth: usize, until: Until) -> Run {
        assert!(depth <= requests.count(), "fewer requests than one batch has");
        let each = self.streams.len().div_ceil(self.threads);
        let groups = self.streams.len().div_ceil(each);
        let started = Instant::now();
        let runs: Vec<Run> = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (group, streams) in self.streams.chunks_mut(each).enumerate() {
                let first =
                    (self.sent / groups + requests.count() / groups * group) % requests.count();
                let generator = Generator::new(requests, depth, first);
                let streams = streams.iter_mut().map(InFlight::new).collect();
                threads.push(scope.spawn(move || generator.drive(streams, until)));
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut total = Run { elapsed: started.elapsed(), ..Run::default() };
        for run in runs {
            total.commands += run.commands;
            total.latencies.merge(&run.latencies);
        }
        self.sent += total.commands;
        total
    }
}

/// Sends each of the requests once, over so many connections, and reads the replies.
pub fn send_all(address: SocketAddr, requests: &Requests, connections: usize, depth: usize) {
    let depth = depth.min(requests.count());
    let batches = requests.count().div_ceil(depth * connections);
    Connections::open(address, connections, 1).run(requests, depth, Until::Batches(batches));
}

/// A connection and when its batch was sent.
struct InFlight<'a> {
    stream: &'a mut TcpStream,
    sent: Instant,
}

impl<'a> InFlight<'a> {
    fn new(stream: &'a mut TcpStream) -> InFlight<'a> {
        InFlight { stream, sent: Instant::now() }
    }
}

/// One thread's share of a run.
struct Generator<'a> {
    requests: &'a Requests,
    depth: usize,
    /// The request to be sent next.
    next: usize,
    replies: Vec<u8>,
}

impl<'a> Generator<'a> {
    fn new(requests: &'a Requests, depth: usize, first: usize) -> Generator<'a> {
        Generator { requests, depth, next: first, replies: vec![0; depth * requests.reply_bytes] }
    }

    fn drive(mut self, mut connections: Vec<InFlight<'_>>, until: Until) -> Run {
        let mut run = Run::default();
        let started = Instant::now();
        for connection in &mut connections {
            connection.sent = Instant::now();
            self.send(connection.stream);
        }
        let mut batches = 1;
        loop {
            let is_last = match until {
                Until::Elapsed(time) => started.elapsed() >= time,
                Until::Batches(count) => batches >= count,
            };
            for connection in &mut connections {
                self.receive(connection.stream);
                let now = Instant::now();
                run.latencies.add(now - connection.sent);
                run.commands += self.depth;
                if !is_last {
                    connection.sent = now;
                    self.send(connection.stream);
                }
            }
            if is_last {
                return run;
            }
            batches += 1;
        }
    }

    fn send(&mut self, stream: &mut TcpStream) {
        // The last batch before the requests begin again may overlap the one before it.
        let first = self.next.min(self.requests.count() - self.depth);
        let from = first * self.requests.request_bytes;
        let bytes = self.depth * self.requests.request_bytes;
        stream.write_all(&self.requests.bytes[from..from + bytes]).unwrap();
        self.next = (first + self.depth) % self.requests.count();
    }

    fn receive(&mut self, stream: &mut TcpStream) {
        stream.read_exact(&mut self.replies).expect("a reply is missing or shorter than expected");
        // A reply of another size would have shifted the last one.
        let last = &self.replies[self.replies.len() - self.requests.reply_bytes..];
        let is_whole = last.starts_with(self.requests.reply_start) && last.ends_with(b"\n");
        assert!(is_whole, "not the expected reply: {}", last.escape_ascii());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_of_one_size() {
        let (keys, values) = (workload::keys(0..3), workload::values());
        let get = Requests::new(Protocol::Lines, Operation::Get, &keys, &values);
        assert!(get.bytes.starts_with(&[b"GET ", &keys[0][..], b"\nGET "].concat()));
        assert_eq!((get.request_bytes, get.reply_bytes, get.count()), (21, 67, 3));
        let set = Requests::new(Protocol::Resp, Operation::Put, &keys[..1], &values);
        let head = [b"*3\r\n$3\r\nSET\r\n$16\r\n", &keys[0][..], b"\r\n$64\r\n"].concat();
        assert!(set.bytes.starts_with(&head) && set.bytes.ends_with(b"\r\n"));
        let incr = Requests::new(Protocol::Resp, Operation::Incr, &keys, &values);
        assert_eq!(incr.reply_bytes(), b":1000000001\r\n".len());
        assert_eq!(incr.nth(4), incr.nth(1));
    }
}
