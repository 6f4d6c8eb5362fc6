//! Opening a store with what was there before: from a snapshot, then from a log.

use std::sync::Arc;

use crate::db::Database;
use crate::durability::{CommitLog, Datum, Stamp};
use crate::error::Error;
use crate::mvcc::views::{Horizon, Views};
use crate::options::Options;
use crate::store::record::Record;
use crate::store::shard::{Retention, Shards};
use crate::types::{Version, show_key};

/// A store that is being filled, before anybody can read it. Several threads may fill it at once,
/// as long as the versions of each key come in order.
#[derive(Debug)]
pub struct Loader {
    options: Options,
    shards: Shards,
    views: Views,
}

impl Loader {
    pub(crate) fn new(options: Options) -> Loader {
        let shards = Shards::new(options.shards);
        Loader { options, shards, views: Views::new() }
    }

    /// Adds a version. The first of a key may have any number; each further one has the next.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if a version is out of order: what was stored contradicts itself. It is
    /// not added then, and the store should not be opened.
    pub fn load(
        &self,
        key: &[u8],
        version: Version,
        stamp: Stamp,
        datum: Option<Datum<'_>>,
    ) -> Result<(), Error> {
        let record = Record::restored(key, version, stamp, datum);
        let hash = self.shards.placement.hash(key);
        let mut state = self.shards.write(self.shards.placement.shard(hash));
        let slot = state.find(hash, key);
        if let Some(newest) = slot.map(|slot| state.newest_in(slot)) {
            let (before, at) = (newest.version(), newest.revision());
            if version.0 != before.0 + 1 || stamp.revision <= at {
                let fault = format!(
                    "version {version} of {} at revision {} follows version {before} at {at}",
                    show_key(key),
                    stamp.revision
                );
                return Err(Error::Internal(fault));
            }
        }
        let slot = state.install(hash, slot, record, &self.shards.placement);
        let retention = Retention {
            versions: self.options.history_versions,
            horizon: Horizon::passed(),
            views: &self.views,
        };
        state.trim(slot, retention);
        Ok(())
    }

    /// Opens the store. Its next commit follows `last`, and goes to the log, if there is one.
    pub fn open(self, last: Stamp, log: Option<Arc<dyn CommitLog>>) -> Database {
        Database::assembled(self.options, self.shards, last, log)
    }
}
