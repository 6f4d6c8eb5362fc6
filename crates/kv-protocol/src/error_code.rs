//! The stable words that say why a request was refused, grouped by what the caller must do.
//!
//! Codes are for programs and never change; the text beside them is for people and may. Which
//! code a fault gets is decided where the fault is found, not here.

use std::fmt;

/// What a caller does after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// The request is wrong and will fail again: send another one.
    FixRequest,
    /// The request is right, the state is against it: look at the state, then decide.
    LookAgain,
    /// Only this command failed; the transaction is open. Send the same command again.
    RetryCommand,
    /// The transaction is lost: ROLLBACK, then do all of it again.
    RetryTransaction,
    /// The server cannot do it now: wait, then send it again.
    RetryLater,
    /// Whether it happened is unknown: read what should have been written before deciding.
    FindOut,
    /// Nothing that a client can do: tell whoever runs the server.
    TellOperator,
}

/// Declares the enum, its words and its remedies together, so that none can be forgotten.
macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal => $remedy:ident,)+) => {
        /// Why a request was refused. The same words stand in every framing of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $word,)+ }
            }

            /// What the caller does about it.
            pub const fn remedy(self) -> Remedy {
                match self { $(ErrorCode::$variant => Remedy::$remedy,)+ }
            }
        }
    };
}

error_codes! {
    /// The line cannot be split into words: a quote or an escape is wrong.
    Syntax = "SYNTAX" => FixRequest,
    /// There is no such command.
    Unknown = "UNKNOWN" => FixRequest,
    /// A word is missing, surplus or malformed.
    Argument = "ARGUMENT" => FixRequest,
    /// The id names no transaction that is open in this session.
    NoTransaction = "NOTX" => FixRequest,
    /// The value is not of the type that the command needs, or its result would not fit.
    Type = "TYPE" => FixRequest,
    /// A line, key or value is over its limit.
    TooBig = "TOOBIG" => FixRequest,
    /// A bound on transactions, locks, nesting or the write set is reached, or on what all clients
    /// may ask of the server at once.
    Limit = "LIMIT" => FixRequest,
    /// The client must authenticate first.
    NoAuth = "NOAUTH" => FixRequest,
    /// This user may not do that.
    Forbidden = "FORBIDDEN" => FixRequest,
    /// A write in a transaction that only reads.
    ReadOnly = "READONLY" => FixRequest,
    /// A condition of the request is not met; the text has the current version.
    Precondition = "PRECONDITION" => LookAgain,
    /// The version or revision is no longer kept.
    Pruned = "PRUNED" => LookAgain,
    /// Another transaction of this same session, or a command of it, is in the way.
    Busy = "BUSY" => LookAgain,
    /// A lock was not granted in time; the transaction stays open.
    Timeout = "TIMEOUT" => RetryCommand,
    /// Another client committed the key first; the transaction is aborted.
    Conflict = "CONFLICT" => RetryTransaction,
    /// The transaction closed a cycle of waits and was aborted to break it.
    Deadlock = "DEADLOCK" => RetryTransaction,
    /// The transaction was aborted before this command.
    Aborted = "ABORTED" => RetryTransaction,
    /// The server is going down.
    Shutdown = "SHUTDOWN" => RetryLater,
    /// The memory bound is reached.
    OutOfMemory = "OOM" => RetryLater,
    /// The disk is full; nothing was installed.
    DiskFull = "DISKFULL" => RetryLater,
    /// A commit whose durability is unknown.
    Outcome = "OUTCOME" => FindOut,
    /// A file could not be read or written.
    Io = "IO" => TellOperator,
    /// A fault of the server itself.
    Internal = "INTERNAL" => TellOperator,
}

impl ErrorCode {
    /// The code of a word on the wire, in upper case as it is always sent.
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().as_bytes() == word)
    }

    /// Whether doing the same again, the command or the whole transaction, can succeed.
    pub const fn is_retryable(self) -> bool {
        match self.remedy() {
            Remedy::RetryCommand | Remedy::RetryTransaction | Remedy::RetryLater => true,
            // Sending the same again gives the same answer, or, after OUTCOME, may do it twice.
            Remedy::FixRequest | Remedy::LookAgain | Remedy::FindOut | Remedy::TellOperator => {
                false
            }
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_parses_to_its_code() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str().as_bytes()), Some(*code));
        }
        assert_eq!(ErrorCode::parse(b"syntax"), None);
        assert_eq!(ErrorCode::parse(b""), None);
    }

    #[test]
    fn exactly_seven_codes_are_worth_a_retry() {
        let retryable: Vec<_> =
            ErrorCode::ALL.iter().filter(|c| c.is_retryable()).map(|c| c.as_str()).collect();
        let expected =
            ["TIMEOUT", "CONFLICT", "DEADLOCK", "ABORTED", "SHUTDOWN", "OOM", "DISKFULL"];
        assert_eq!(retryable, expected);
    }
}
