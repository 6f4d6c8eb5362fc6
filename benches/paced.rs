//! Requests at a fixed rate, whether or not the server keeps up.
//!
//! A closed loop asks a server less while it stands still, and so does not see how long it stood.
//! Here each request has a moment at which it is due, and its latency counts from then: of a pause
//! of a second, the requests of a whole second tell.
//!
//! ```text
//!   one thread      sends what is due, on one connection after the other
//!   one a socket    reads replies; the n-th on connection c of C is that of request n × C + c
//! ```
//!
//! How late the sender itself was is measured too: it shares the processor with the server, and
//! what it adds is not the server's.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::measure::Latencies;
use crate::traffic::Requests;

/// From the first thread's start to the first request.
const LEAD: Duration = Duration::from_millis(20);
/// Replies that are read at once.
const REPLIES_AT_ONCE: usize = 256;

/// A load of a fixed rate.
#[derive(Debug)]
pub struct Paced<'a> {
    /// Where the server listens.
    pub address: SocketAddr,
    /// What is asked, in turn.
    pub requests: &'a Requests,
    /// How many connections take turns.
    pub connections: usize,
    /// Requests a second, over all connections.
    pub per_second: f64,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct PacedRun {
    /// From the moment when a request was due to its reply.
    pub latencies: Latencies,
    /// From that moment to when it was sent.
    pub lateness: Latencies,
    /// Requests answered.
    pub commands: usize,
    /// Wall time.
    pub elapsed: Duration,
}

impl Paced<'_> {
    /// Sends until `is_over`, which is told how long it has been, and reads every reply.
    pub fn run(&self, is_over: impl Fn(Duration) -> bool) -> PacedRun {
        let open = |_| {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        let mut streams: Vec<TcpStream> = (0..self.connections).map(open).collect();
        let readers: Vec<TcpStream> =
            streams.iter().map(|stream| stream.try_clone().unwrap()).collect();
        let started = Instant::now() + LEAD;
        thread::scope(|scope| {
            let readers: Vec<_> = (0..)
                .zip(readers)
                .map(|(connection, stream)| {
                    scope.spawn(move || self.read(stream, connection, started))
                })
                .collect();
            let (sent, lateness) = self.send(&mut streams, started, is_over);
            let mut run = PacedRun { lateness, commands: sent, ..PacedRun::default() };
            for reader in readers {
                run.latencies.merge(&reader.join().unwrap());
            }
            assert_eq!(run.latencies.len(), sent, "requests have no reply");
            run.elapsed = started.elapsed();
            run
        })
    }

    fn due(&self, started: Instant, nth: usize) -> Instant {
        started + Duration::from_secs_f64(nth as f64 / self.per_second)
    }

    fn send(
        &self,
        streams: &mut [TcpStream],
        started: Instant,
        is_over: impl Fn(Duration) -> bool,
    ) -> (usize, Latencies) {
        let mut lateness = Latencies::default();
        let mut sent = 0;
        loop {
            let now = Instant::now();
            if is_over(now.saturating_duration_since(started)) {
                break;
            }
            let mut due = self.due(started, sent);
            while due <= now {
                streams[sent % self.connections].write_all(self.requests.nth(sent)).unwrap();
                lateness.add(due.elapsed());
                sent += 1;
                due = self.due(started, sent);
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        // The server answers what it has got, and then closes.
        streams.iter().for_each(|stream| stream.shutdown(Shutdown::Write).unwrap());
        (sent, lateness)
    }

    fn read(&self, mut stream: TcpStream, connection: usize, started: Instant) -> Latencies {
        let reply_bytes = self.requests.reply_bytes();
        let mut buffer = vec![0; REPLIES_AT_ONCE * reply_bytes];
        let mut latencies = Latencies::default();
        let mut bytes = 0;
        loop {
            let read = stream.read(&mut buffer).unwrap();
            let now = Instant::now();
            bytes += read;
            while (latencies.len() + 1) * reply_bytes <= bytes {
                let nth = latencies.len() * self.connections + connection;
                latencies.add(now.saturating_duration_since(self.due(started, nth)));
            }
            if read == 0 {
                assert_eq!(bytes % reply_bytes, 0, "a reply is not of the expected size");
                return latencies;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::traffic::{Operation, Protocol};
    use crate::workload;

    #[test]
    fn a_pause_is_seen_by_all_that_were_due_meanwhile() {
        const PAUSE: Duration = Duration::from_millis(200);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            thread::sleep(PAUSE);
            let mut request = [0; "INCR 0123456789abcdef\n".len()];
            while stream.read_exact(&mut request).is_ok() {
                stream.write_all(b"1000000001\n").unwrap();
            }
        });
        let keys = workload::keys(0..4);
        let requests = Requests::new(Protocol::Lines, Operation::Incr, &keys, &workload::values());
        let load = Paced { address, requests: &requests, connections: 1, per_second: 1000.0 };
        let mut run = load.run(|elapsed| elapsed > 2 * PAUSE);
        // Half of them came during the pause, and waited for half of it in the middle.
        let quarter_us = run.latencies.quantile_us(0.75);
        assert!(quarter_us > PAUSE.as_micros() as f64 / 4.0, "{quarter_us} µs");
        assert!(run.commands > 300);
    }
}
