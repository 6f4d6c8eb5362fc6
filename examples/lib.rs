//! Programs that show the libraries at work, and where they find a server.

use kv_testkit::programs::kv_server;
use kv_testkit::server::TestServer;

/// The server that an example talks to: `KV_SERVER`, or the one on this machine.
pub fn server() -> String {
    std::env::var("KV_SERVER").unwrap_or_else(|_| "127.0.0.1:7878".to_owned())
}

/// A server for the test of an example.
pub fn test_server() -> TestServer {
    TestServer::start(kv_server(), &[])
}
