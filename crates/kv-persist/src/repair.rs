//! Saving what can be saved of a damaged data directory, into a new one. The damaged one is only
//! read.
//!
//! Every version that can be found, in the snapshot or in the log, goes by its key and its
//! revision, so it does not matter where it was found, or how often. Then, for each key:
//!
//! ```text
//!   found      version 3 at revision 10    5 at 31    6 at 40    7 at 52
//!                                          └────────── saved ──────────┘
//! ```
//!
//! The newest wins. Of the older ones those are kept that lead to it without a gap, because a
//! version that is missing in between could not be told from one that never was. They end with
//! version 1: what is from before that is of a key that was forgotten, and began anew. What has
//! been lost is said, as far as it is known; the new directory has a new identity, so that its
//! files are never mixed up with the damaged ones.
//!
//! All of it is held in memory in between.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use kv_core::durability::first_wipe_after;
use kv_core::{Change, Datum, Revision, Stamp, Version};

use crate::codec;
use crate::crypt::Cipher;
use crate::directory::{Create, DataDir, SnapshotKind};
use crate::error::Error;
use crate::fs::Disk;
use crate::log;
use crate::snapshot::json::{JsonSnapshot, Salvaged};
use crate::snapshot::sqlite::{NoTrace, SqliteSnapshot};
use crate::snapshot::{Fold, KeyChanges, Snapshot};
use crate::store::{Files, StoreOptions};
use crate::stored::{DatabaseId, EMPTY, Keep, Stored, Through, ValueBuf};
use crate::verify::{shown, verify};

/// Keys that are named one by one in the list of what was lost; of more, this many say enough.
const KEYS_NAMED_MAX: usize = 100;

/// What a repair did, a line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was saved.
    pub saved: Vec<String>,
    /// What was lost, or may have been.
    pub lost: Vec<String>,
}

/// Saves what can be saved of the directory that the options name, which must not be in use, into
/// a new one, which opens with the same options.
///
/// # Errors
///
/// A refusal ([`Error::is_refusal`]) if the directory is in use, of another key or from the future,
/// if nothing can be saved from it, or if `into` exists and is not empty; otherwise what the system
/// refused. The damaged directory is never changed; after an error `into` is of no use.
pub fn repair(mut options: StoreOptions, into: &Path) -> Result<Repaired, Error> {
    check_is_new(into)?;
    let dir = DataDir::open_to_read(&options.dir)?;
    let kind = dir.snapshot_kind()?;
    options.snapshot = kind.unwrap_or(options.snapshot);
    let no_trace = NoTrace::of(&dir.sqlite());
    let files = Files { dir: &dir, options: &options, fs: Arc::new(Disk) };
    let mut salvage = Salvage::new(options.keep);
    let identity = salvage.identity(&files, kind)?;
    let cipher = files.cipher(identity);
    salvage.snapshot(&files, kind, cipher.clone())?;
    salvage.log(&files, identity)?;
    let through = salvage.through;
    let keys = salvage.resolve();
    if keys.is_empty() && salvage.segments == 0 && salvage.snapshot_through.is_none() {
        let what = "neither a snapshot nor a log can be read in it".to_owned();
        return Err(Error::Mismatch { path: options.dir.clone(), what });
    }
    drop((no_trace, dir));
    let new = StoreOptions { dir: into.to_owned(), ..options };
    write(&new, &keys, through)?;
    salvage.check(&new)?;
    let versions: usize = keys.values().map(Vec::len).sum();
    salvage.repaired.saved.push(format!(
        "saved: {} keys, {versions} versions, through revision {}",
        keys.len(),
        through.revision
    ));
    Ok(salvage.repaired)
}

fn check_is_new(into: &Path) -> Result<(), Error> {
    let is_empty = match std::fs::read_dir(into) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => match error.kind() {
            std::io::ErrorKind::NotFound => true,
            std::io::ErrorKind::NotADirectory => false,
            _ => return Err(Error::io("open", into, error)),
        },
    };
    if is_empty {
        return Ok(());
    }
    let what = "it exists; name a new directory, or an empty one".to_owned();
    Err(Error::Mismatch { path: into.to_owned(), what })
}

/// Makes the new directory, a batch of keys at a time.
fn write(options: &StoreOptions, keys: &Keys, through: Through) -> Result<(), Error> {
    let dir = DataDir::open(&options.dir, Create::IfMissing)?;
    let files = Files { dir: &dir, options, fs: Arc::new(Disk) };
    files.create(|snapshot| {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (key, versions) in keys {
            if bytes >= snapshot.piece_bytes() {
                fold(snapshot, std::mem::take(&mut batch), through)?;
                bytes = 0;
            }
            let versions: Vec<_> = versions.iter().map(|saved| saved.stored(key)).collect();
            bytes += versions.iter().map(bytes_of).sum::<u64>();
            batch.push(KeyChanges { versions });
        }
        fold(snapshot, batch, through)
    })
}

fn fold(
    snapshot: &mut dyn Snapshot,
    keys: Vec<KeyChanges<'_>>,
    through: Through,
) -> Result<(), Error> {
    snapshot.fold(&Fold::new(keys, through))
}

fn bytes_of(stored: &Stored<'_>) -> u64 {
    let value = stored.datum.map_or(0, |datum| datum.bytes.len());
    (stored.key.len() + value) as u64
}

/// What is saved of each key, oldest version first.
type Keys = BTreeMap<Vec<u8>, Vec<Saved>>;

/// A version that was found.
#[derive(Debug)]
struct Saved {
    version: Version,
    stamp: Stamp,
    value: Option<ValueBuf>,
    /// Whether nothing newer can have been lost, unless a revision of the log was.
    is_newest: bool,
}

impl Saved {
    fn stored<'a>(&'a self, key: &'a [u8]) -> Stored<'a> {
        let datum = self.value.as_ref().map(|value| Datum {
            bytes: &value.bytes,
            kind: value.kind,
            expires_ms: value.expires_ms,
        });
        Stored { key, version: self.version, stamp: self.stamp, datum }
    }
}

struct Salvage {
    keep: Keep,
    found: BTreeMap<Vec<u8>, BTreeMap<Revision, Saved>>,
    /// Commits that deleted every key.
    wipes: BTreeMap<Revision, Stamp>,
    /// The newest of all that was found, or is known to have been.
    through: Through,
    /// What the snapshot was folded through, if it says so.
    snapshot_through: Option<Revision>,
    /// The newest revision of all that the snapshot has forgotten.
    forgotten: Revision,
    segments: u64,
    repaired: Repaired,
}

impl Salvage {
    fn new(keep: Keep) -> Salvage {
        Salvage {
            keep,
            found: BTreeMap::new(),
            wipes: BTreeMap::new(),
            through: EMPTY,
            snapshot_through: None,
            forgotten: Revision(0),
            segments: 0,
            repaired: Repaired::default(),
        }
    }

    fn lost(&mut self, what: String) {
        self.repaired.lost.push(format!("lost: {what}"));
    }

    /// Whose directory it is, by the snapshot or by the log.
    fn identity(
        &mut self,
        files: &Files<'_>,
        kind: Option<SnapshotKind>,
    ) -> Result<DatabaseId, Error> {
        if kind.is_some() {
            match files.snapshot_to_read() {
                Ok((snapshot, found)) => {
                    self.saw(snapshot.through());
                    self.snapshot_through = Some(snapshot.through().revision);
                    self.forgotten = snapshot.forgotten();
                    if kind == Some(SnapshotKind::Json) {
                        self.note_unchecked(&*snapshot)?;
                    }
                    return Ok(found.database);
                }
                Err(error @ (Error::Damaged { .. } | Error::Mismatch { .. })) => {
                    self.lost(format!("what the snapshot says of itself: {}", error.as_finding()));
                }
                Err(error @ Error::Sqlite { .. }) => {
                    self.lost(format!("what the snapshot says of itself: {error}."));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some((database, _)) = log::identity_of_any(&*files.fs, &files.dir.log_dir())? {
            return Ok(database);
        }
        match files.options.key {
            // Without a key the identity matters to nobody.
            None => Ok(DatabaseId([0; 16])),
            Some(_) => Err(Error::Mismatch {
                path: files.dir.path().to_owned(),
                what:
                    "neither the snapshot nor the log says whose it is, and without that nothing \
                       in it can be decrypted"
                        .to_owned(),
            }),
        }
    }

    /// Lines of a JSON file have no checksums, only the file has one.
    fn note_unchecked(&mut self, snapshot: &dyn Snapshot) -> Result<(), Error> {
        for fault in snapshot.verify()?.faults {
            self.lost(format!("{fault} What is saved from this file may be wrong."));
        }
        Ok(())
    }

    fn snapshot(
        &mut self,
        files: &Files<'_>,
        kind: Option<SnapshotKind>,
        cipher: Option<Arc<Cipher>>,
    ) -> Result<(), Error> {
        let Some(kind) = kind else {
            self.lost("the snapshot is missing: all that was in it and not in the log.".to_owned());
            return Ok(());
        };
        let path = files.dir.snapshot(kind);
        let mut found = |stored: Stored<'_>, is_newest| {
            self.add(stored, is_newest);
            Ok(())
        };
        let salvaged = match kind {
            SnapshotKind::Sqlite => {
                SqliteSnapshot::salvage(&path, cipher, &mut found).map(|salvaged| {
                    let gaps = "there are places at which SQLite cannot read on; the keys behind \
                                them are not known.";
                    let gaps = salvaged.has_gaps.then(|| gaps.to_owned());
                    (salvaged.newest, salvaged.older, salvaged.bad, "rows", gaps)
                })
            }
            SnapshotKind::Json => JsonSnapshot::salvage(&*files.fs, &path, cipher, &mut found).map(
                |Salvaged { keys, versions, bad, ends_early }| {
                    (keys, versions.saturating_sub(keys), bad, "lines", ends_early)
                },
            ),
        };
        match salvaged {
            Ok((keys, older, bad, of, gaps)) => {
                self.repaired.saved.push(format!(
                    "found: in {}, {keys} keys, {older} older versions",
                    kind.file_name()
                ));
                if bad > 0 {
                    let name = kind.file_name();
                    self.lost(format!("{bad} {of} of {name} are not as they were written."));
                }
                if let Some(gaps) = gaps {
                    self.lost(format!("{}: {gaps}", kind.file_name()));
                }
                Ok(())
            }
            Err(
                error @ (Error::Damaged { .. } | Error::Mismatch { .. } | Error::Sqlite { .. }),
            ) => {
                self.lost(format!("all of the snapshot: {}", error.as_finding()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn log(&mut self, files: &Files<'_>, identity: DatabaseId) -> Result<(), Error> {
        let dir = files.dir.log_dir();
        if !dir.try_exists().map_err(|error| Error::io("open", &dir, error))? {
            self.lost(format!("{} is missing, with whatever was newer in it.", dir.display()));
            return Ok(());
        }
        let options = files.log_options(identity, files.cipher(identity));
        let (mut bad, mut newest) = (Vec::new(), EMPTY);
        let snapshot = self.snapshot_through.unwrap_or_default();
        let salvaged = log::salvage(&*files.fs, &options, &mut |record| {
            let stamp = record.stamp;
            if codec::is_wipe(record.payload) {
                self.wipes.insert(stamp.revision, stamp);
            }
            newest = if stamp.revision > newest.revision { stamp } else { newest };
            for change in codec::changes(record.payload) {
                let Ok(Change { key, version, datum }) = change else {
                    bad.push(stamp.revision);
                    break;
                };
                self.add(Stored { key, version, stamp, datum }, stamp.revision > snapshot);
            }
            Ok(())
        })?;
        self.segments = salvaged.segments;
        self.repaired.saved.push(format!(
            "found: in the log, {} records of {} segments",
            salvaged.records, salvaged.segments
        ));
        for lost in &salvaged.lost {
            self.lost(lost.clone());
        }
        for revision in bad {
            self.lost(format!("part of revision {revision}, which is not as it was written."));
        }
        self.note_gaps(&salvaged);
        self.saw(Stamp { revision: salvaged.durable.max(newest.revision), ..newest });
        Ok(())
    }

    /// Says which revisions after the snapshot the log does not have.
    fn note_gaps(&mut self, salvaged: &log::Salvaged) {
        let begins = self.snapshot_through.or(salvaged.base).unwrap_or_default().0;
        let last_found = salvaged.revisions.last().map_or(0, |range| *range.end());
        let end = last_found.max(salvaged.durable.0);
        for gap in gaps(&salvaged.revisions, begins + 1, end) {
            let (first, last) = (*gap.start(), *gap.end());
            let which = match first == last {
                true => format!("revision {first}"),
                false => format!("revisions {first} to {last}"),
            };
            let never = match first > salvaged.durable.0 {
                true => ", which may never have been acknowledged",
                false => "",
            };
            self.lost(format!(
                "{which} of the log{never}: keys that were changed only there are as they were \
                 before."
            ));
        }
    }

    fn saw(&mut self, stamp: Stamp) {
        self.through.revision = self.through.revision.max(stamp.revision);
        self.through.time_ms = self.through.time_ms.max(stamp.time_ms);
    }

    fn add(&mut self, stored: Stored<'_>, is_newest: bool) {
        self.saw(stored.stamp);
        let key = match self.found.get_mut(stored.key) {
            Some(versions) => versions,
            None => self.found.entry(stored.key.to_vec()).or_default(),
        };
        let revision = stored.stamp.revision;
        let saved = key.entry(revision).or_insert_with(|| Saved {
            version: stored.version,
            stamp: stored.stamp,
            value: stored.to_buf().value,
            is_newest: false,
        });
        saved.is_newest |= is_newest;
        if let Keep::Newest(versions) = self.keep
            && key.len() as u64 > versions.max(1)
        {
            key.pop_first();
        }
    }

    /// Decides what is saved of each key, and says what is not.
    fn resolve(&mut self) -> Keys {
        let mut keys = Keys::new();
        let (mut outdated, mut broken) = (Vec::new(), Vec::new());
        let wipes: Vec<Stamp> = self.wipes.values().copied().collect();
        for (key, mut versions) in std::mem::take(&mut self.found) {
            self.add_deletes(&mut versions, &wipes);
            let mut chain = Vec::new();
            while let Some((_, saved)) = versions.pop_last() {
                let follows = |above: &Saved| above.version.0 == saved.version.0 + 1;
                if !chain.last().is_none_or(follows) {
                    broken.push((key.clone(), saved.version));
                    break;
                }
                let begins = saved.version <= Version(1);
                chain.push(saved);
                if begins {
                    break;
                }
            }
            chain.reverse();
            if chain.last().is_some_and(|newest| self.has_forgotten(newest)) {
                continue;
            }
            if let Some(newest) = chain.last().filter(|newest| !newest.is_newest) {
                outdated.push((key.clone(), newest.version, newest.stamp.revision));
            }
            keys.insert(key, chain);
        }
        self.name_keys(&outdated, |(key, version, revision)| {
            format!(
                "whatever came after version {version} of key {}, of revision {revision}: that is \
                 saved as its newest.",
                shown(key)
            )
        });
        self.name_keys(&broken, |(key, version)| {
            format!(
                "version {version} of key {} and those before it: one after it is lost.",
                shown(key)
            )
        });
        keys
    }

    /// Adds the deletes that are implied by commits that deleted every key, where no version of
    /// that number was found.
    fn add_deletes(&self, versions: &mut BTreeMap<Revision, Saved>, wipes: &[Stamp]) {
        let mut deletes = Vec::new();
        let mut found = versions.values().peekable();
        while let Some(saved) = found.next() {
            let wipe = first_wipe_after(wipes, saved.stamp.revision);
            let next = found.peek();
            let Some(wipe) = wipe.filter(|wipe| {
                saved.value.is_some()
                    && next.is_none_or(|next| {
                        wipe.revision < next.stamp.revision && next.version.0 == saved.version.0 + 2
                    })
            }) else {
                continue;
            };
            deletes.push(Saved {
                version: Version(saved.version.0 + 1),
                stamp: wipe,
                value: None,
                is_newest: wipe.revision > self.snapshot_through.unwrap_or_default(),
            });
        }
        versions.extend(deletes.into_iter().map(|delete| (delete.stamp.revision, delete)));
    }

    /// Whether a version is one that the snapshot has forgotten, and the log still has.
    fn has_forgotten(&self, newest: &Saved) -> bool {
        let expires_ms = newest.value.as_ref().map_or(Some(0), |value| value.expires_ms);
        let is_over = expires_ms.is_some_and(|expires_ms| expires_ms < self.through.time_ms);
        !newest.is_newest && is_over && newest.stamp.revision <= self.forgotten
    }

    fn name_keys<T>(&mut self, keys: &[T], line: impl Fn(&T) -> String) {
        for key in keys.iter().take(KEYS_NAMED_MAX) {
            self.lost(line(key));
        }
        if keys.len() > KEYS_NAMED_MAX {
            self.lost(format!("the same of {} keys more.", keys.len() - KEYS_NAMED_MAX));
        }
    }

    /// What was written is checked like any other directory.
    fn check(&mut self, new: &StoreOptions) -> Result<(), Error> {
        let findings = verify(new.clone())?;
        match findings.faults.first() {
            None => Ok(()),
            Some(fault) => Err(Error::Mismatch {
                path: new.dir.clone(),
                what: format!("what was saved cannot be used: {fault}"),
            }),
        }
    }
}

/// What is missing in ranges that are in order, from `first` to `last`.
fn gaps(ranges: &[RangeInclusive<u64>], first: u64, last: u64) -> Vec<RangeInclusive<u64>> {
    let mut gaps = Vec::new();
    let mut next = first;
    for range in ranges {
        if *range.start() > next {
            gaps.push(next..=*range.start() - 1);
        }
        next = next.max(range.end().saturating_add(1));
    }
    if next <= last {
        gaps.push(next..=last);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is saved of a key, and what is said to be lost, if these versions are found of it, each
    /// at its revision.
    fn saved(found: &[(u64, u64, Option<&str>)], forgotten: u64) -> (Vec<u64>, Vec<String>) {
        let mut salvage = Salvage::new(Keep::All);
        salvage.forgotten = Revision(forgotten);
        for &(version, revision, text) in found {
            let datum = text.map(|text| Datum {
                bytes: text.as_bytes(),
                kind: kv_core::ValueKind::Text,
                expires_ms: None,
            });
            let stamp = Stamp { revision: Revision(revision), time_ms: revision };
            salvage.add(Stored { key: b"k", version: Version(version), stamp, datum }, false);
        }
        let keys = salvage.resolve();
        let versions = keys.into_values().flatten().map(|saved| saved.version.0);
        (versions.collect(), salvage.repaired.lost)
    }

    #[test]
    fn what_was_forgotten_is_not_saved() {
        let old = [(4, 10, Some("v")), (5, 11, None)];
        let (versions, lost) = saved(&old, 10);
        assert_eq!((versions, lost.len()), (vec![4, 5], 1));
        assert_eq!(saved(&old, 11), (vec![], vec![]));
        let (versions, lost) = saved(&old[..1], 11);
        assert_eq!((versions, lost.len()), (vec![4], 1), "it may be another that is lost");
        // The key has begun anew.
        let (versions, lost) = saved(&[old[0], old[1], (1, 20, Some("v")), (2, 21, None)], 11);
        assert_eq!((versions, lost.len()), (vec![1, 2], 1), "{lost:?}");
        assert!(lost[0].contains("after version 2"), "{lost:?}");
    }

    #[test]
    fn what_is_missing_between_ranges_is_told() {
        assert_eq!(gaps(&[1..=3, 6..=7], 2, 9), [4..=5, 8..=9]);
        assert_eq!(gaps(&[1..=9], 4, 9), []);
        assert_eq!(gaps(&[8..=9], 4, 9), [4..=7]);
        assert_eq!(gaps(&[], 4, 3), []);
    }
}
