//! What can go wrong, grouped by what it means for the data.
//!
//! | | was it done? | [`is_retryable`](Error::is_retryable) |
//! |---|---|---|
//! | [`Error::Address`], [`Error::Argument`], [`Error::Value`] | no, nothing was sent | no |
//! | [`Error::Connect`], [`Error::Disconnected`] | no, or it only read | yes |
//! | [`Error::Busy`] | no, nothing was sent | yes |
//! | [`Error::Server`] | no | as its code says |
//! | [`Error::TransactionLost`] | no: all of the transaction was rolled back | yes, all of it |
//! | [`Error::OutcomeUnknown`] | **perhaps**: read what it should have written, then decide | no |
//! | [`Error::Protocol`] | **perhaps**, if it was a write | no |

use std::fmt;
use std::io;
use std::time::Duration;

pub use kv_protocol::ErrorCode;
use kv_protocol::error_code::Remedy;

/// What every function here answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done; see [the module](self) for what each means for the data.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be read. The text says why.
    Address(String),
    /// An argument that the server would misread was not sent. The text says why.
    Argument(String),
    /// No connection could be made, or the server refused it.
    Connect {
        /// Where to.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection was lost, or no reply came in time. The command was not done, or it only
    /// read: it may be sent again.
    Disconnected {
        /// What was seen.
        reason: String,
    },
    /// All connections for transactions were in use for too long.
    Busy {
        /// How many there may be.
        connections_max: usize,
        /// How long this one waited.
        waited: Duration,
    },
    /// The server refused the command; nothing of it was done.
    Server(ServerError),
    /// The connection was lost while the transaction was open, so the server has rolled it back.
    /// Every later command of the transaction answers this too; none becomes a transaction of its
    /// own.
    TransactionLost {
        /// What was seen.
        reason: String,
    },
    /// A write or a COMMIT was sent, and whether it was done is unknown: the connection was lost
    /// before the reply came, none came in time, or the server answered OUTCOME.
    OutcomeUnknown {
        /// The command.
        command: &'static str,
        /// What was seen.
        reason: String,
    },
    /// The server's reply is none that this version knows. The connection has been given up.
    Protocol(String),
    /// A value could not be read or written as what it should be.
    Value(String),
    /// The keys of one transaction belong to different servers of a
    /// [`ShardedClient`](crate::sharded::ShardedClient).
    CrossServer {
        /// The server that the transaction runs on.
        transaction: String,
        /// The server that the key belongs to.
        key: String,
    },
}

/// A refusal of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The stable word.
    pub code: ErrorCode,
    /// The text, for people.
    pub message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl Error {
    /// A stable word for programs: the server's own code, or one of ADDRESS, CLIENTARGUMENT,
    /// CONNECT, DISCONNECTED, POOLBUSY, TXNLOST, OUTCOME, PROTOCOL, VALUE and CROSSSERVER.
    ///
    /// ```no_run
    /// # fn example(error: kv_client::Error) {
    /// eprintln!("{}: {error}", error.code());
    /// # }
    /// ```
    pub fn code(&self) -> &'static str {
        match self {
            Error::Server(error) => error.code.as_str(),
            Error::Address(_) => "ADDRESS",
            Error::Argument(_) => "CLIENTARGUMENT",
            Error::Connect { .. } => "CONNECT",
            Error::Disconnected { .. } => "DISCONNECTED",
            Error::Busy { .. } => "POOLBUSY",
            Error::TransactionLost { .. } => "TXNLOST",
            Error::OutcomeUnknown { .. } => ErrorCode::Outcome.as_str(),
            Error::Protocol(_) => "PROTOCOL",
            Error::Value(_) => "VALUE",
            Error::CrossServer { .. } => "CROSSSERVER",
        }
    }

    /// The server's code, if it was the server that refused.
    ///
    /// ```no_run
    /// # fn example(error: kv_client::Error) {
    /// if error.server_code() == Some(kv_client::ErrorCode::TooBig) {
    ///     eprintln!("make it smaller");
    /// }
    /// # }
    /// ```
    pub fn server_code(&self) -> Option<ErrorCode> {
        match self {
            Error::Server(error) => Some(error.code),
            Error::OutcomeUnknown { .. } => Some(ErrorCode::Outcome),
            _ => None,
        }
    }

    /// Whether doing the same again can succeed and cannot do it twice: the command, or, in a
    /// transaction, all of the transaction.
    ///
    /// ```no_run
    /// # fn example(error: kv_client::Error) {
    /// if error.is_retryable() {
    ///     eprintln!("again, after a pause");
    /// }
    /// # }
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Server(error) => error.code.is_retryable(),
            // Nothing was done, or all of it was undone.
            Error::Connect { .. }
            | Error::Disconnected { .. }
            | Error::Busy { .. }
            | Error::TransactionLost { .. } => true,
            // It may have been done already.
            Error::OutcomeUnknown { .. } | Error::Protocol(_) => false,
            // It will be refused again.
            Error::Address(_)
            | Error::Argument(_)
            | Error::Value(_)
            | Error::CrossServer { .. } => false,
        }
    }

    /// Whether no command of the transaction can succeed any more: it must be done again from its
    /// beginning.
    ///
    /// ```no_run
    /// # fn example(error: kv_client::Error) {
    /// if error.ends_transaction() {
    ///     eprintln!("begin again");
    /// }
    /// # }
    /// ```
    pub fn ends_transaction(&self) -> bool {
        match self {
            Error::TransactionLost { .. } => true,
            Error::Server(error) => error.code.remedy() == Remedy::RetryTransaction,
            _ => false,
        }
    }

    /// The version that the key has now, if a condition on its version was not met.
    ///
    /// ```no_run
    /// # fn example(error: kv_client::Error) {
    /// if let Some(version) = error.current_version() {
    ///     eprintln!("somebody has made version {version} since");
    /// }
    /// # }
    /// ```
    pub fn current_version(&self) -> Option<u64> {
        let Error::Server(ServerError { code: ErrorCode::Precondition, message }) = self else {
            return None;
        };
        let (_, after) = message.rsplit_once("version ")?;
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        after[..digits].parse().ok()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Address(text) => write!(f, "the address cannot be read: {text}"),
            Error::Argument(text) | Error::Value(text) => f.write_str(text),
            Error::Connect { address, source } => {
                write!(f, "cannot connect to {address}: {source}")
            }
            Error::Disconnected { reason } => {
                write!(f, "the command was not done ({reason}); it may be sent again")
            }
            Error::Busy { connections_max, waited } => write!(
                f,
                "all {connections_max} connections for transactions were in use for {waited:?}; \
                 end transactions sooner or allow more connections"
            ),
            Error::Server(error) => error.fmt(f),
            Error::TransactionLost { reason } => write!(
                f,
                "the transaction was rolled back because its connection was lost ({reason}); \
                 begin it again"
            ),
            Error::OutcomeUnknown { command, reason } => write!(
                f,
                "whether {command} was done is unknown ({reason}); read what it should have \
                 written before doing it again"
            ),
            Error::Protocol(text) => write!(f, "the server answered what is no reply: {text}"),
            Error::CrossServer { transaction, key } => write!(
                f,
                "the transaction runs on {transaction}, but the key belongs to {key}; a \
                 transaction cannot span servers: keep its keys together with the same {{tag}}"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Connect { source, .. } => Some(source),
            _ => None,
        }
    }
}
