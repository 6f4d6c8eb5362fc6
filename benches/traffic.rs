//! A load generator that costs little beside the server it shares the processor with.
//!
//! Requests are bytes made before the clock starts, and the size of every reply is known by then; a
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
use crate::workload::{self, KEY_BYTES, Key, VALUE_BYTES, Value};

/// A server that does not answer for so long has failed.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A line of words: this server's own.
    Lines,
    /// Arrays of bulk strings: that of Redis.
    Resp,
    /// Lines with the values between them: that of memcached.
    Memcached,
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

/// Requests side by side, and what a reply to each looks like.
#[derive(Debug)]
pub struct Requests {
    bytes: Vec<u8>,
    ends: Vec<Ends>,
}

/// Where a request ends among all requests, and its reply among all replies.
#[derive(Debug, Clone, Copy)]
struct Ends {
    request: usize,
    reply: usize,
    reply_start: &'static [u8],
}

impl Requests {
    /// One request for each key, in the order of the keys.
    pub fn new(protocol: Protocol, operation: Operation, keys: &[Key], values: &[Value]) -> Self {
        Requests::mixed(protocol, keys.iter().map(|&key| (operation, key)), values)
    }

    /// Requests of several kinds, in the order in which they come.
    pub fn mixed(
        protocol: Protocol,
        wanted: impl Iterator<Item = (Operation, Key)>,
        values: &[Value],
    ) -> Requests {
        let (mut bytes, mut ends, mut reply) = (Vec::new(), Vec::new(), 0);
        for (nth, (operation, key)) in wanted.enumerate() {
            write_request(&mut bytes, protocol, operation, &key, workload::value(values, nth));
            let (reply_start, reply_bytes) = reply_of(protocol, operation);
            reply += reply_bytes;
            ends.push(Ends { request: bytes.len(), reply, reply_start });
        }
        Requests { bytes, ends }
    }

    fn count(&self) -> usize {
        self.ends.len()
    }

    /// Where requests and replies before the n-th end.
    fn before(&self, nth: usize) -> (usize, usize) {
        nth.checked_sub(1).map_or((0, 0), |last| (self.ends[last].request, self.ends[last].reply))
    }

    /// The n-th of them, beginning again after the last.
    pub fn nth(&self, nth: usize) -> &[u8] {
        self.some(nth % self.count(), 1)
    }

    /// So many of them, from one on.
    fn some(&self, first: usize, count: usize) -> &[u8] {
        &self.bytes[self.before(first).0..self.before(first + count).0]
    }

    /// Bytes of each reply, where all are of one size.
    pub fn reply_bytes(&self) -> usize {
        self.ends[0].reply
    }

    /// Bytes of the replies to so many of them, from one on.
    fn replies_bytes(&self, first: usize, count: usize) -> usize {
        self.before(first + count).1 - self.before(first).1
    }
}

/// What a reply begins with, and how long it is: keys are there, with values of one size.
fn reply_of(protocol: Protocol, operation: Operation) -> (&'static [u8], usize) {
    const COUNTER_BYTES: usize = COUNTER_START.len();
    match (protocol, operation) {
        (Protocol::Lines, Operation::Get) => (b"\"", VALUE_BYTES + 3),
        (Protocol::Lines, Operation::Put) => (b"OK\n", 3),
        (Protocol::Lines, Operation::Incr) => (b"1", COUNTER_BYTES + 1),
        (Protocol::Resp, Operation::Get) => (b"$64\r\n", VALUE_BYTES + 7),
        (Protocol::Resp, Operation::Put) => (b"+OK\r\n", 5),
        (Protocol::Resp, Operation::Incr) => (b":1", COUNTER_BYTES + 3),
        (Protocol::Memcached, Operation::Get) => {
            let head = "VALUE  0 64\r\n\r\nEND\r\n".len() + KEY_BYTES;
            (b"VALUE ", head + VALUE_BYTES)
        }
        (Protocol::Memcached, Operation::Put) => (b"STORED\r\n", 8),
        (Protocol::Memcached, Operation::Incr) => (b"1", COUNTER_BYTES + 2),
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
            (Protocol::Memcached, Operation::Get) => b"get",
            (Protocol::Memcached, Operation::Put) => b"set",
            (Protocol::Memcached, Operation::Incr) => b"incr",
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
        Protocol::Memcached => {
            out.extend_from_slice(&words[..2].join(&b' '));
            out.extend_from_slice(match operation {
                Operation::Get => b"",
                Operation::Incr => b" 1",
                // Without flags, never to expire, and how long it is.
                Operation::Put => b" 0 0 64\r\n",
            });
            words.get(2).inspect(|value| out.extend_from_slice(value));
            out.extend_from_slice(b"\r\n");
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

/// A connection, when its batch was sent, and the first request of it.
struct InFlight<'a> {
    stream: &'a mut TcpStream,
    sent: Instant,
    first: usize,
}

impl<'a> InFlight<'a> {
    fn new(stream: &'a mut TcpStream) -> InFlight<'a> {
        InFlight { stream, sent: Instant::now(), first: 0 }
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
        Generator { requests, depth, next: first, replies: Vec::new() }
    }

    fn drive(mut self, mut connections: Vec<InFlight<'_>>, until: Until) -> Run {
        let mut run = Run::default();
        let started = Instant::now();
        for connection in &mut connections {
            self.send(connection, Instant::now());
        }
        let mut batches = 1;
        loop {
            let is_last = match until {
                Until::Elapsed(time) => started.elapsed() >= time,
                Until::Batches(count) => batches >= count,
            };
            for connection in &mut connections {
                self.receive(connection);
                let now = Instant::now();
                run.latencies.add(now - connection.sent);
                run.commands += self.depth;
                if !is_last {
                    self.send(connection, now);
                }
            }
            if is_last {
                return run;
            }
            batches += 1;
        }
    }

    fn send(&mut self, connection: &mut InFlight<'_>, now: Instant) {
        // The last batch before the requests begin again may overlap the one before it.
        let first = self.next.min(self.requests.count() - self.depth);
        (connection.sent, connection.first) = (now, first);
        connection.stream.write_all(self.requests.some(first, self.depth)).unwrap();
        self.next = (first + self.depth) % self.requests.count();
    }

    fn receive(&mut self, connection: &mut InFlight<'_>) {
        let InFlight { stream, first, .. } = connection;
        self.replies.resize(self.requests.replies_bytes(*first, self.depth), 0);
        stream.read_exact(&mut self.replies).expect("a reply is missing or shorter than expected");
        // A reply of another size would have shifted the last one.
        let last = *first + self.depth - 1;
        let reply = &self.replies[self.replies.len() - self.requests.replies_bytes(last, 1)..];
        let start = self.requests.ends[last].reply_start;
        let is_whole = reply.starts_with(start) && reply.ends_with(b"\n");
        assert!(is_whole, "not the expected reply: {}", reply.escape_ascii());
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
        assert_eq!((get.nth(1).len(), get.reply_bytes(), get.count()), (21, 67, 3));
        let set = Requests::new(Protocol::Resp, Operation::Put, &keys[..1], &values);
        let head = [b"*3\r\n$3\r\nSET\r\n$16\r\n", &keys[0][..], b"\r\n$64\r\n"].concat();
        assert!(set.bytes.starts_with(&head) && set.bytes.ends_with(b"\r\n"));
        let incr = Requests::new(Protocol::Resp, Operation::Incr, &keys, &values);
        assert_eq!(incr.reply_bytes(), b":1000000001\r\n".len());
        assert_eq!(incr.nth(4), incr.nth(1));
    }
    #[test]
    fn requests_of_several_kinds_know_their_replies() {
        let (keys, values) = (workload::keys(0..2), workload::values());
        let wanted = [(Operation::Put, keys[0]), (Operation::Get, keys[1])];
        let requests = Requests::mixed(Protocol::Memcached, wanted.into_iter(), &values);
        let set = [b"set ", &keys[0][..], b" 0 0 64\r\n", &values[0], b"\r\n"].concat();
        assert_eq!(requests.nth(0), set);
        assert_eq!(requests.nth(3), [b"get ", &keys[1][..], b"\r\n"].concat());
        let value = [b"VALUE ", &keys[1][..], b" 0 64\r\n", &values[0], b"\r\nEND\r\n"].concat();
        assert_eq!(requests.replies_bytes(0, 2), b"STORED\r\n".len() + value.len());
        assert_eq!(requests.replies_bytes(1, 1), value.len());
    }
}
