//! The client against a real server, and against one that is killed, paused, or talks nonsense.
//!
//! Each test has threads of its own for the client: what that sends at its end is sent while the
//! test waits for the server to be idle.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod blocking;
mod commands;
mod hostile;
mod lost;
mod sharded;
mod transactions;

use kv_client::Client;
use kv_testkit::programs::kv_server;
use kv_testkit::server::TestServer;

/// A server that keeps nothing, and a client of it. The client goes first.
async fn start() -> (TestServer, Client) {
    let server = TestServer::start(kv_server(), &[]);
    let client = Client::connect(&server.address().to_string()).await.unwrap();
    (server, client)
}
