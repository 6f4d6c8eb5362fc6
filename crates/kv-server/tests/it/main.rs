//! The server as its users meet it: a process, sockets, lines.
//!
//! Each test starts the real program with the flags that it needs. When it ends,
//! [`TestServer`](kv_testkit::server::TestServer) sees to it that nothing is left of the clients
//! that have gone. What transactions promise to each other is tested by scripts elsewhere; here it
//! is what the server promises to anybody who connects, well-meaning or not.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod backup;
mod bad_input;
mod bounds;
mod crowd;
mod disconnect;
mod encryption;
mod fuzz;
mod greedy;
mod http;
mod idle;
mod json;
mod lists;
mod memory;
mod pipelining;
mod searches;
mod session;
mod shutdown;
mod sizes;
mod splitting;
mod start;
mod subcommands;

use kv_testkit::server::{Client, TestServer};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kv-server");

/// A server with these flags.
fn server(flags: &[&str]) -> TestServer {
    TestServer::start(PROGRAM, flags)
}

/// A client for which the system keeps little: what it does not read, the server has to keep.
fn connect_tight(server: &TestServer) -> Client {
    let client = server.connect();
    socket2::SockRef::from(client.stream()).set_recv_buffer_size(16 << 10).unwrap();
    client
}

/// Asks for each of the first, which is to be answered with the second.
fn converse(client: &mut Client, exchanges: &[(&str, &str)]) {
    for (request, reply) in exchanges {
        assert_eq!(client.ask(request), *reply, "{request}");
    }
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    /// The next number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % bound
    }

    /// One of these.
    fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
