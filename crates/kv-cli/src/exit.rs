//! Why the program ends: the codes that scripts rely on.

use std::fmt;
use std::io;

use kv_client::{Error, ErrorCode};

/// How the program ends. The numbers are documented in `--help` and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done.
    Ok = 0,
    /// The server refused a command, or a file could not be read or written.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No server could be reached, or it went away.
    CannotConnect = 3,
    /// The server does not let this user in, or not do this.
    NotAllowed = 4,
    /// There is no such key or version.
    NotFound = 5,
    /// A condition was not met, or another transaction was in the way: look or try again.
    Conflict = 6,
    /// The connection was lost with a transaction open, which was rolled back.
    TransactionLost = 7,
    /// Whether a write or commit was done is unknown: look before doing it again.
    Unknown = 8,
    /// Ctrl-C.
    Interrupted = 130,
}

/// The same as a table, for `--help` and the man page.
pub const EXIT_CODES: &str = "Exit codes:
  0    all was done
  1    the server refused a command, or a file could not be read or written
  2    the command line is wrong
  3    no server could be reached, or it went away
  4    this user is not let in, or may not do this
  5    there is no such key or version
  6    a condition was not met, or another transaction was in the way: look, or try again
  7    the connection was lost with a transaction open, which was rolled back
  8    whether a write or commit was done is unknown: look before doing it again
  130  interrupted";

/// Why something was not done, for people, and what the program ends with because of it.
#[derive(Debug)]
pub struct Failure {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Failure { exit, text: text.into() }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, text)
    }

    /// A file or the terminal did not do what was asked of it.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Failure::new(Exit::Failed, format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // `kv-cli … | head`: whoever read has read enough, and that is no fault.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::new(Exit::Ok, String::new());
        }
        Failure::new(Exit::Failed, error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Server(refusal) => exit_of(refusal.code),
            Error::Connect { .. } | Error::Disconnected { .. } | Error::Busy { .. } => {
                Exit::CannotConnect
            }
            Error::Address(_) | Error::Argument(_) => Exit::Usage,
            Error::TransactionLost { .. } => Exit::TransactionLost,
            Error::OutcomeUnknown { .. } | Error::Protocol(_) => Exit::Unknown,
            _ => Exit::Failed,
        };
        Failure::new(exit, error.to_string())
    }
}

/// What a refusal ends the program with.
pub(crate) fn exit_of(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::NoAuth | ErrorCode::Forbidden => Exit::NotAllowed,
        ErrorCode::Precondition => Exit::Conflict,
        ErrorCode::Outcome => Exit::Unknown,
        code if code.is_retryable() => Exit::Conflict,
        _ => Exit::Failed,
    }
}
