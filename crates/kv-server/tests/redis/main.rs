//! The server as Redis clients meet it: replies to the byte, client libraries, MULTI and WATCH
//! among others, and, where there is one, beside a `redis-server`.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod beside;
mod clients;
mod frames;
mod lists;
mod multi;
mod native;
mod replies;
mod wire;

use kv_testkit::server::TestServer;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kv-server");

/// A server with these flags.
fn server(flags: &[&str]) -> TestServer {
    TestServer::start(PROGRAM, flags)
}
