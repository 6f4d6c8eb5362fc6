//! The data directory as the subcommands see it: opened, verified, repaired. The one place here
//! that calls the persistence crate.

use std::path::Path;

use kv_core::Database;

use super::Failure;
use crate::config::{Config, DataDirectory};

/// What a verification found.
pub(super) struct Verified {
    /// What is there, a line each.
    pub(super) contents: Vec<String>,
    /// What is wrong with it, a line each.
    pub(super) faults: Vec<String>,
}

/// What a repair did.
pub(super) struct Repaired {
    /// What was saved, a line each.
    pub(super) saved: Vec<String>,
    /// What was not, a line each.
    pub(super) lost: Vec<String>,
}

/// A data directory that this process has opened, and the database in it.
pub(super) struct Store {
    database: Database,
}

impl Store {
    /// Opens a directory, or creates it.
    pub(super) fn open(_config: &Config, directory: &DataDirectory) -> Result<Store, Failure> {
        Err(not_here(directory))
    }

    /// Opens a directory that is there and changes nothing in it.
    pub(super) fn open_to_read(
        _config: &Config,
        directory: &DataDirectory,
    ) -> Result<Store, Failure> {
        Err(not_here(directory))
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Waits until everything is on disk, and lets go of the directory.
    pub(super) fn close(self) -> Result<(), Failure> {
        Ok(())
    }
}

pub(super) fn verify(directory: &DataDirectory) -> Result<Verified, Failure> {
    Err(not_here(directory))
}

pub(super) fn repair(directory: &DataDirectory, _into: &Path) -> Result<Repaired, Failure> {
    Err(not_here(directory))
}

fn not_here(directory: &DataDirectory) -> Failure {
    let path = directory.path.display();
    Failure::Fault(format!("{path} cannot be opened: this version keeps no files yet"))
}
