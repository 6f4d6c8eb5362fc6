//! Versions of the past: in memory as far as they are there, and else fetched.
//!
//! A key's newest versions are in memory without a gap, from some version on; those before it are
//! elsewhere, were pruned, or never were. Version numbers tell which: they rise by one, so whoever
//! has two versions in hand knows whether one between them is missing. A key of which nothing is in
//! memory may have left it: then its newest version is fetched first, and all goes from there.

use crate::db::Shared;
use crate::error::Error;
use crate::step::{Fetch, Fetching, Older, Step};
use crate::store::record::Record;
use crate::store::shard::{Gone, Seen, ShardState};
use crate::types::{Revision, Version};

impl Shared {
    /// What a view sees under a key, which may be a delete.
    pub(crate) fn seen_at(
        &self,
        key: &[u8],
        revision: Revision,
        fetching: &mut Fetching,
    ) -> Step<Option<Record>> {
        match self.in_memory(key, |state, hash| state.seen_at(hash, key, revision))? {
            Ok(seen) => Ok(seen),
            Err(gone) => self.gone_at(key, revision, gone, fetching),
        }
    }

    /// What a view sees under a key whose version at that view is not in memory.
    pub(crate) fn gone_at(
        &self,
        key: &[u8],
        revision: Revision,
        gone: Gone,
        fetching: &mut Fetching,
    ) -> Step<Option<Record>> {
        let older =
            Older { below: gone.below, until: Some(revision), down_to: None, limit: usize::MAX };
        let found = self.older(key, older, gone.newest, fetching)?;
        match found.last() {
            Some(record) if record.revision() <= revision => Ok(Some(record.clone())),
            Some(first) if first.version() == Version(1) => Ok(None),
            _ => Err(Error::Pruned(key.into()).into()),
        }
    }

    /// One version of a key, if it was there at `revision`; it may be a delete.
    pub(crate) fn version(
        &self,
        key: &[u8],
        version: Version,
        revision: Revision,
        fetching: &mut Fetching,
    ) -> Step<Option<Record>> {
        let gone =
            match self.in_memory(key, |state, hash| state.version(hash, key, version, revision))? {
                Ok(seen) => return Ok(seen),
                Err(gone) => gone,
            };
        let older =
            Older { below: gone.below, until: None, down_to: Some(version), limit: usize::MAX };
        let found = self.older(key, older, gone.newest, fetching)?;
        match found.last().filter(|record| record.version() == version) {
            Some(record) => Ok(Some(record.clone())),
            None => Err(Error::Pruned(key.into()).into()),
        }
    }

    /// The versions of a key that are kept and were there at `revision`, newest first.
    pub(crate) fn history(
        &self,
        key: &[u8],
        revision: Revision,
        limit: usize,
        fetching: &mut Fetching,
    ) -> Step<Vec<Record>> {
        let hash = self.shards.placement.hash(key);
        let mut versions: Vec<Record> = {
            let state = self.shards.read_key(self.shards.placement.shard(hash));
            let found = state.history(hash, key, revision).ok_or_else(|| Fetch::newest(key))?;
            // Without files, what had expired may have been given back for good.
            let is_stored = self.memory.is_stored();
            let is_kept = |record: &&Record| is_stored || record.place().is_none();
            found.filter(is_kept).cloned().collect()
        };
        // What is kept goes by what the caller may know: a newer version may still be taken back.
        let newest = versions.first().map(Record::version);
        let oldest = versions.last().map(Record::version);
        let (Some(newest), Some(oldest)) = (newest, oldest) else { return Ok(Vec::new()) };
        if versions.len() < limit {
            // The same limit each time, so that what was fetched is what is asked for again.
            let older = Older { below: oldest, until: None, down_to: None, limit };
            versions.extend(self.older(key, older, newest, fetching)?);
        }
        versions.truncate(limit);
        Ok(versions)
    }

    /// What `look` finds of a key in its shard, under the shard's latch; or that it is gone from
    /// there. Pauses for a key that has left memory.
    fn in_memory(
        &self,
        key: &[u8],
        look: impl for<'a> FnOnce(&'a ShardState, u64) -> Seen<'a>,
    ) -> Step<Result<Option<Record>, Gone>> {
        let hash = self.shards.placement.hash(key);
        let state = self.shards.read_key(self.shards.placement.shard(hash));
        match look(&state, hash) {
            Seen::Record(record) if record.is_nothing() => Ok(Ok(None)),
            Seen::Record(record) => Ok(Ok(Some(record.clone()))),
            Seen::Nothing => Ok(Ok(None)),
            Seen::Gone(gone) => Ok(Err(gone)),
            Seen::Away => Err(Fetch::newest(key)),
        }
    }

    /// Older versions that are kept, newest first and without a gap below `older.below`.
    fn older(
        &self,
        key: &[u8],
        older: Older,
        newest: Version,
        fetching: &mut Fetching,
    ) -> Step<Vec<Record>> {
        let kept = self.options.history_versions as u64;
        let is_kept = |version: Version| version.0.saturating_add(kept) > newest.0;
        // Nothing that is kept is older than what is in memory: no need to look.
        if older.below <= Version(1) || !is_kept(Version(older.below.0 - 1)) {
            return Ok(Vec::new());
        }
        let mut next = older.below;
        let mut found = fetching.older(key, older)?;
        let follows = found.iter().take_while(|record| {
            next = Version(next.0 - 1);
            record.version() == next && is_kept(next)
        });
        let follows = follows.count();
        found.truncate(follows);
        Ok(found)
    }
}
