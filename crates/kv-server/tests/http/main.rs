//! The HTTP face as its users meet it: a process, sockets, requests.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod abuse;
mod client;
mod documented;
mod hops;
mod keys;
mod lists;
mod pairs;
mod race;
mod token_ends;
mod tokens;
mod transactions;

use client::{Http, Reply};
use kv_testkit::server::TestServer;

fn server(flags: &[&str]) -> TestServer {
    let flags = [&["--http=127.0.0.1:0"], flags].concat();
    TestServer::start(env!("CARGO_BIN_EXE_kv-server"), &flags)
}

fn http(server: &TestServer) -> Http {
    Http::connect(&server.http_address())
}

/// What a refusal says.
fn code(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
    let problem = reply.json();
    assert_eq!(problem["status"], reply.status);
    assert_eq!(problem["error"], problem["detail"]);
    (reply.status, problem["code"].as_str().unwrap().to_owned())
}
