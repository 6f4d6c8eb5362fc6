//! What survives: the real server on a real file system, killed at random and at chosen places, out
//! of space, with damaged and missing files. Each time it is started again and asked for all that
//! it acknowledged.
//!
//! A power cut is not among these, because what a killed process has written stays in the system's
//! memory: `kv-persist/tests/crash` simulates that, and `faults_privileged.sh` does it with a real
//! file system, for whoever is root.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod numbers;

mod journal;

mod writers;

mod bank;

mod kill;

mod failpoints;

mod failing;

mod panics;

mod damage;

mod snapshot_damage;

mod disk;

mod directory;

mod formats;

mod signals;

mod leaving;

mod room;

mod backup;

mod expiry;

use std::path::PathBuf;
use std::process::Command;

use kv_testkit::files::{difference, files_of};
use kv_testkit::server::{Ended, TestServer, on_directory, run_to_end};

use self::journal::Journal;
use self::writers::{Load, Traffic};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kv-server");

/// The exit code of a start that was refused.
const REFUSED: i32 = 3;

/// All of the history is kept, so that it can be compared, and the log is folded often; unless a
/// test says otherwise.
const FLAGS: [[&str; 2]; 2] = [["--history", "all"], ["--checkpoint-interval", "50ms"]];

/// A directory for data, which goes with the test.
#[derive(Debug)]
struct Data {
    /// Holds the data directory and whatever else a test puts beside it.
    temporary: tempfile::TempDir,
    flags: Vec<&'static str>,
    environment: Vec<(&'static str, String)>,
}

impl Data {
    fn new() -> Data {
        Data::with_flags(&[])
    }

    fn with_flags(flags: &[&'static str]) -> Data {
        let unsaid = FLAGS.iter().filter(|[name, _]| !flags.contains(name));
        let flags = unsaid.flatten().chain(flags).copied().collect();
        let temporary = tempfile::tempdir().unwrap();
        Data { temporary, flags, environment: Vec::new() }
    }

    /// The same, with a variable of the environment.
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Data {
        self.environment.push((name, value.into()));
        self
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn path(&self) -> PathBuf {
        self.beside("kv-data")
    }

    fn command(&self) -> Command {
        let mut command = on_directory(PROGRAM, &self.path(), &self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The command, with failpoints armed.
    fn armed(&self, failpoints: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.command();
        command.env("KV_FAILPOINTS", failpoints);
        command
    }

    fn start(&self) -> TestServer {
        TestServer::start_command(self.command())
    }

    /// A start that is to be refused: with the code for it, and without changing anything.
    fn refused(&self) -> String {
        let before = files_of(&self.path());
        let Ended { code, messages } = run_to_end(self.command());
        assert_eq!(code, Some(REFUSED), "{messages}");
        assert!(!messages.contains("panicked"), "{messages}");
        let changed = difference(&before, &files_of(&self.path()));
        assert!(changed.is_empty(), "a refused start has changed {changed:?}: {messages}");
        messages
    }

    /// Fills it with what a small load leaves, and stops the server by a kill.
    fn filled_and_killed(&self, traffic: Traffic) -> Journal {
        let mut journal = Journal::default();
        let server = self.start();
        Load::start(&server, traffic, 0, 1).join(&mut journal);
        server.kill();
        journal
    }

    /// The segments of the log, in order.
    fn segments(&self) -> Vec<PathBuf> {
        let mut segments: Vec<PathBuf> = std::fs::read_dir(self.path().join("log"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        segments.sort();
        segments
    }
}
