//! The command line as its users meet it: a program, files, a pipe, a terminal.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod bench;
mod exits;
mod formats;
mod repl;
mod scripts;
mod transfer;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use kv_testkit::programs::kv_server;
use kv_testkit::server::TestServer;

fn server() -> TestServer {
    TestServer::start(kv_server(), &[])
}

/// The program, told which server is meant; nothing else of the environment speaks to it.
fn kv_cli(server: &TestServer) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-cli"));
    command.env("KV_SERVER", server.address().to_string()).env("KV_HISTORY", "");
    command.env_remove("NO_COLOR");
    command
}

/// What one run came to.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    out: String,
    err: String,
    code: i32,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap(),
        }
    }
}

fn run(server: &TestServer, words: &[&str]) -> Ran {
    kv_cli(server).args(words).stdin(Stdio::null()).output().unwrap().into()
}

fn run_with_input(server: &TestServer, words: &[&str], input: &[u8]) -> Output {
    let mut command = kv_cli(server);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that has seen enough reads no further.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}
