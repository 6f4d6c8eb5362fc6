//! What the program does instead of serving: it checks, mends, fills or empties a data directory
//! that no server uses.
//!
//! Each subcommand is one file below. How a data directory is opened is in `store` alone. Progress
//! and messages go to standard error, what was asked for to standard output or to a file.

mod export;
mod import;
mod progress;
mod repair;
mod store;
mod transfer;
mod verify;

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use kv_protocol::transfer::Format;

use self::transfer::Transfer;
use crate::config::{Config, Storage};

/// What there is to do with a data directory.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Task {
    /// Check every record and every row of a data directory
    ///
    /// Changes nothing. Says what is there, and what is wrong with it, a line each. Exit code 0 if
    /// all is well, 3 if something is damaged or the directory is refused.
    #[command(after_long_help = "Example:\n  kv-server verify --data-dir /srv/kv")]
    Verify,

    /// Save what can be saved from a damaged data directory into a new one
    ///
    /// The damaged directory is left as it is. Says what was saved and what was lost; then start
    /// the server on the new directory.
    #[command(after_long_help = "Example:\n  kv-server repair --data-dir /srv/kv --into /srv/kv-2")]
    Repair {
        /// The new directory, which must not exist or be empty
        #[arg(long, value_name = "NEW")]
        into: PathBuf,
    },

    /// Write pairs from a file into a data directory
    ///
    /// The directory is created if it does not exist; keys that are there already get a new
    /// version. A file is checked as a whole before anything is written, so that one with a mistake
    /// changes nothing; standard input cannot be. Up to 10000 pairs are written at once, all or
    /// none of them.
    #[command(after_long_help = "\
Formats:
  ndjson  {\"key\":\"house\",\"value\":\"small\"}, one a line
  json    [{\"key\":\"house\",\"value\":\"small\"}], or {\"house\":\"small\"}
  csv     key,value in the first line, house,small in the next

Examples:
  kv-server import pairs.ndjson --data-dir /srv/kv
  zcat pairs.csv.gz | kv-server import - --format csv --data-dir /srv/kv")]
    Import {
        /// The file; - is standard input
        file: PathBuf,
        /// The format [default: what the file's name ends in, or ndjson for -]
        #[arg(long, value_name = "FORMAT", value_parser = transfer::format)]
        format: Option<Format>,
    },

    /// Write all pairs of a data directory to a file
    ///
    /// Every key and value as it is now, byte for byte, without older versions. For a copy with
    /// everything, stop the server and copy the directory, or use BACKUP.
    #[command(after_long_help = "\
Examples:
  kv-server export pairs.ndjson --data-dir /srv/kv
  kv-server export --format csv --data-dir /srv/kv | gzip > pairs.csv.gz")]
    Export {
        /// The file, which must not exist; - is standard output
        #[arg(default_value = transfer::STREAM)]
        file: PathBuf,
        /// The format [default: what the file's name ends in, or ndjson for -]
        #[arg(long, value_name = "FORMAT", value_parser = transfer::format)]
        format: Option<Format>,
    },
}

impl Task {
    /// Its name on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Task::Verify => "verify",
            Task::Repair { .. } => "repair",
            Task::Import { .. } => "import",
            Task::Export { .. } => "export",
        }
    }
}

/// Why a task was not done.
#[derive(Debug)]
enum Failure {
    /// It was asked for wrongly.
    Usage(String),
    /// The data directory is refused, or damaged.
    Refused(String),
    /// Something else: a file, the disk, what was to be imported.
    Fault(String),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Fault(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Refused(_) => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(text) | Failure::Refused(text) | Failure::Fault(text)) = self;
        f.write_str(text)
    }
}

impl From<kv_core::Error> for Failure {
    fn from(error: kv_core::Error) -> Self {
        Failure::Fault(error.to_string())
    }
}

/// Does a task and answers the program's exit code.
pub fn run(task: &Task, config: &Config) -> ExitCode {
    match attempt(task, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("kv-server: {failure}"));
            failure.exit_code()
        }
    }
}

fn attempt(task: &Task, config: &Config) -> Result<(), Failure> {
    let Storage::Directory(directory) = &config.storage else {
        return Err(Failure::Usage(format!(
            "{} works on a data directory, and --in-memory has none: leave one of them out",
            task.name()
        )));
    };
    match task {
        Task::Verify => verify::run(config, directory, &mut io::stdout()),
        Task::Repair { into } => repair::run(config, directory, into, &mut io::stdout()),
        Task::Import { file, format } => {
            import::run(&Transfer::new(file, *format)?, config, directory)
        }
        Task::Export { file, format } => {
            export::run(&Transfer::new(file, *format)?, config, directory)
        }
    }
}

/// Tells the operator. When nobody can read it, the exit code has to do.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a line of what was asked for.
fn answer(out: &mut dyn io::Write, line: fmt::Arguments<'_>) -> Result<(), Failure> {
    writeln!(out, "{line}")
        .map_err(|error| Failure::Fault(format!("cannot write to standard output: {error}")))
}
