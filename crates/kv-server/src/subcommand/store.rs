//! The data directory as the subcommands see it: opened, closed, verified, repaired. The one place
//! here that calls the persistence crate.

use std::path::Path;
use std::time::Duration;

use kv_persist::repair::{self, Repaired};
use kv_persist::verify::{self, Findings};
use kv_persist::{ReadOnly, Store};

use super::Failure;
use crate::config::{Config, DataDirectory};
use crate::server::Fault;
use crate::storage;

/// Nobody waits for an import to end as they wait for a server to stop: what it wrote is folded,
/// however long that takes.
const CLOSE_TIME: Duration = Duration::from_hours(24);

/// Opens a directory, or creates it.
pub(super) fn open(config: &Config, directory: &DataDirectory) -> Result<Store, Failure> {
    Ok(Store::open(storage::options(directory, config)?, &mut storage::builder(config))?)
}

/// Brings what was written to disk and into the snapshot, and lets go of the directory.
pub(super) fn close(store: &Store) -> Result<(), Failure> {
    store.checkpoint().checkpoint()?;
    Ok(store.close(CLOSE_TIME)?)
}

/// Opens a directory that is there, and changes nothing in it.
pub(super) fn open_to_read(
    config: &Config,
    directory: &DataDirectory,
) -> Result<ReadOnly, Failure> {
    let mut builder = storage::builder(config);
    // Nobody writes, so a view may get as old as it likes; and nobody asks for older versions.
    builder.view_age_max(Duration::MAX).history(Some(1));
    Ok(ReadOnly::open(storage::options(directory, config)?, &mut builder)?)
}

/// Checks a directory that nobody uses, and changes nothing in it.
pub(super) fn verify(config: &Config, directory: &DataDirectory) -> Result<Findings, Failure> {
    Ok(verify::verify(storage::options(directory, config)?)?)
}

/// Saves what can be saved of a directory into a new one.
pub(super) fn repair(
    config: &Config,
    directory: &DataDirectory,
    into: &Path,
) -> Result<Repaired, Failure> {
    Ok(repair::repair(storage::options(directory, config)?, into)?)
}

impl From<kv_persist::Error> for Failure {
    fn from(error: kv_persist::Error) -> Self {
        let text = error.to_string();
        if error.is_refusal() { Failure::Refused(text) } else { Failure::Fault(text) }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Data(error) => error.into(),
            fault => Failure::Fault(fault.to_string()),
        }
    }
}
