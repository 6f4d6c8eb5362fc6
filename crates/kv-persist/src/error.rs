//! What can go wrong with a data directory, grouped by what the operator has to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Everything that keeps a data directory from being used, or a file from being written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    // ---- The directory is refused; nothing in it was changed.
    /// Another process uses it.
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process, if it said who it is.
        holder: Option<u32>,
    },
    /// A file is damaged in a way that no crash explains.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes; none if it cannot be told, as of a row in an SQLite file.
        offset: Option<u64>,
        /// What is wrong, and what is safe: a clause without a full stop.
        what: String,
    },
    /// Files do not belong together, or one is missing.
    Mismatch {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// It was written by a later version of this program.
    FromTheFuture {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this program knows.
        known: u64,
    },
    /// The encryption key is missing, wrong, or there although nothing is encrypted.
    Key {
        /// What is wrong, and what to do.
        what: String,
    },

    // ---- A fault of the system.
    /// The operating system refused something.
    Io {
        /// What was tried: "write", "sync", "create".
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// SQLite refused something.
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// What it answered.
        source: rusqlite::Error,
    },
    /// The engine found that what was recovered contradicts itself.
    Engine(kv_core::Error),
}

impl Error {
    /// An error of the operating system.
    pub fn io(what: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Io { what, path: path.to_owned(), source }
    }

    /// An error of SQLite; for use in `map_err`.
    pub fn sqlite(what: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
        move |source| Error::Sqlite { what, source }
    }

    /// Whether the directory was refused as it is, rather than a fault having happened: a program
    /// exits with 3, not 1.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Locked { .. }
            | Error::Damaged { .. }
            | Error::Mismatch { .. }
            | Error::FromTheFuture { .. }
            | Error::Key { .. } => true,
            Error::Io { .. } | Error::Sqlite { .. } | Error::Engine(_) => false,
        }
    }

    /// The error as a sentence among others that a check has found: where and what, without the
    /// advice that an operator gets when a start is refused.
    pub fn as_finding(&self) -> String {
        match self {
            Error::Damaged { path, offset: Some(offset), what } => {
                format!("{}, at byte {offset}: {what}.", path.display())
            }
            Error::Damaged { path, offset: None, what } => {
                format!("{}: {what}.", path.display())
            }
            error => format!("{error}."),
        }
    }

    /// Whether the disk is full: what was tried may succeed later.
    pub fn is_full(&self) -> bool {
        match self {
            Error::Io { source, .. } => {
                use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
                matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
            }
            Error::Sqlite { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Locked { dir, holder } => {
                write!(f, "{} is in use by ", dir.display())?;
                match holder {
                    Some(process) => write!(f, "process {process}")?,
                    None => f.write_str("another process")?,
                }
                f.write_str("; stop it first, or name another --data-dir")
            }
            Error::Damaged { path, offset, what } => {
                write!(f, "{} is damaged", path.display())?;
                if let Some(offset) = offset {
                    write!(f, " at byte {offset}")?;
                }
                write!(
                    f,
                    ": {what}; nothing was changed; `kv-server verify` tells how far the damage \
                     goes, `kv-server repair` saves what can be saved into a new directory"
                )
            }
            Error::Mismatch { path, what } => write!(f, "{}: {what}", path.display()),
            Error::FromTheFuture { path, found, known } => write!(
                f,
                "{} has format {found}, and this program knows formats up to {known}; nothing was \
                 changed; use the program that wrote it, or a later one",
                path.display()
            ),
            Error::Key { what } => f.write_str(what),
            Error::Io { what, path, source } => {
                write!(f, "cannot {what} {}: {source}", path.display())
            }
            Error::Sqlite { what, source } => write!(f, "SQLite: cannot {what}: {source}"),
            Error::Engine(error) => write!(f, "the recovered state contradicts itself: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Sqlite { source, .. } => Some(source),
            Error::Engine(error) => Some(error),
            _ => None,
        }
    }
}
