//! Why the configuration was not taken, in words for the operator, and the exit code for it.
//!
//! A request for `--help` or `--version` ends the start as well, and so comes this way too.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An environment variable of this name.
    Variable(String),
    /// A file, and a line in it, counted from 1.
    File(PathBuf, usize),
}

/// Why the server does not start with what it was given.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The command line: wrong, or asking for help.
    Flags(Box<clap::Error>),
    /// A single setting of the environment or the file.
    Setting {
        /// Where it stands.
        origin: Origin,
        /// Which setting.
        name: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The file as a whole could not be read.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Values that are fine alone do not fit together, or do not fit this machine.
    Together(String),
}

impl Refusal {
    /// 2 for wrong usage; 0 when help or the version was asked for.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Flags(error) if !error.use_stderr() => ExitCode::SUCCESS,
            _ => ExitCode::from(2),
        }
    }

    /// Tells the operator: help and version on standard output, everything else on standard error.
    pub fn print(&self) {
        // When nobody can read what is said, the exit code has to do.
        let _ = match self {
            Self::Flags(error) => error.print(),
            _ => {
                use std::io::Write as _;
                writeln!(std::io::stderr(), "kv-server: {self}")
            }
        };
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(out, "environment variable {name}"),
            Self::File(path, line) => write!(out, "{}:{line}", path.display()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags(error) => error.fmt(out),
            Self::Setting { origin, name, reason } => write!(out, "{origin}: {name}: {reason}"),
            Self::File { path, reason } => write!(out, "{}: {reason}", path.display()),
            Self::Together(reason) => out.write_str(reason),
        }
    }
}

impl std::error::Error for Refusal {}
