//! Checking a data directory that nobody uses, all of it, without changing anything.
//!
//! 1. The snapshot by itself: every row, every line.
//! 2. The log by itself: every batch, every record, every change in it; and whether it ends as a
//!    crash may leave it.
//! 3. Both together: that they are of one database, that no revision is missing between them, and
//!    that the versions which the log has of a key follow the one in the snapshot.
//!
//! So what is found sound here is what a start would serve. What is found wrong is a sentence for
//! the operator; [`repair`](crate::repair) saves what can be saved.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kv_core::durability::first_wipe_after;
use kv_core::{Change, Revision, Stamp, Version};

use crate::directory::{Contents, DataDir};
use crate::error::Error;
use crate::fs::Disk;
use crate::log::{self, LogOptions};
use crate::snapshot::Snapshot;
use crate::snapshot::sqlite::NoTrace;
use crate::store::{Files, Found, Opened, StoreOptions};
use crate::stored::{DatabaseId, Stored};

/// Faults of one kind that are told one by one; of more, this many say enough.
const FAULTS_MAX: usize = 100;

/// What a check has found, a line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is there.
    pub contents: Vec<String>,
    /// What is unusual but as it may be: a torn tail.
    pub remarks: Vec<String>,
    /// What is wrong; empty if nothing is.
    pub faults: Vec<String>,
}

impl Findings {
    fn add_fault(&mut self, fault: String) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// Checks everything in a data directory, which must not be in use. Of the options, the directory
/// and the key count; the snapshot may be of either kind.
///
/// # Errors
///
/// If nothing can be told: a refusal ([`Error::is_refusal`]) if the directory is in use, of another
/// key, from the future or no data directory; otherwise what the system refused.
pub fn verify(mut options: StoreOptions) -> Result<Findings, Error> {
    let dir = DataDir::open_to_read(&options.dir)?;
    options.snapshot = dir.snapshot_kind()?.unwrap_or(options.snapshot);
    let _no_trace = NoTrace::of(&dir.sqlite());
    let files = Files { dir: &dir, options: &options, fs: Arc::new(Disk) };
    files.check_holds_something()?;
    Verification { files, findings: Findings::default() }.run()
}

struct Verification<'a> {
    files: Files<'a>,
    findings: Findings,
}

impl Verification<'_> {
    fn run(mut self) -> Result<Findings, Error> {
        let found = self.snapshot()?;
        let database = found.as_ref().map(|(_, identity)| identity.database);
        let opened = found.map(|(snapshot, identity)| self.files.with_log(snapshot, identity));
        match opened {
            Some(Ok(opened)) if opened.begins_log => {
                let remark = "the log begins at the next start: this is a backup, or its key has \
                              just been changed.";
                self.findings.remarks.push(remark.to_owned());
            }
            Some(Ok(opened)) => self.log(&opened)?,
            Some(Err(error)) => {
                self.fault(error)?;
                self.log_alone(database)?;
            }
            None => self.log_alone(None)?,
        }
        Ok(self.findings)
    }

    /// Notes what is wrong.
    ///
    /// # Errors
    ///
    /// The error, if it says nothing of the data.
    fn fault(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Damaged { .. } | Error::Mismatch { .. } => {
                self.findings.add_fault(error.as_finding());
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Checks the snapshot by itself; answers it, if it can be read at all.
    fn snapshot(&mut self) -> Result<Option<Found>, Error> {
        let name = self.files.options.snapshot.file_name();
        let (snapshot, found) = match self.files.snapshot_to_read() {
            Ok(found) => found,
            Err(error) => {
                self.fault(error)?;
                return Ok(None);
            }
        };
        let verified = snapshot.verify()?;
        self.findings.contents.push(format!(
            "{name}: {} keys, {} versions, through revision {}",
            verified.keys,
            verified.versions,
            snapshot.through().revision
        ));
        self.findings.faults.extend(verified.faults);
        Ok(Some((snapshot, found)))
    }

    /// Checks the log by itself, and then with the snapshot if nothing has been found wrong.
    fn log(&mut self, opened: &Opened) -> Result<(), Error> {
        let through = opened.snapshot.through();
        self.note_log(log::verify(&*self.files.fs, &opened.log, through)?);
        if self.findings.faults.is_empty() {
            let links = Links::of_log(&self.files, opened)?;
            links.check(&*opened.snapshot, self.files.options.threads, &mut self.findings)?;
        }
        Ok(())
    }

    /// Checks the log, if there is one, although nobody knows what it goes on from.
    fn log_alone(&mut self, database: Option<DatabaseId>) -> Result<(), Error> {
        let Files { dir, fs, .. } = &self.files;
        if dir.contents(self.files.options.snapshot)? != Contents::SnapshotAndLog {
            return Ok(());
        }
        let known = match database {
            Some(database) => Some(database),
            None => log::identity_of_any(&**fs, &dir.log_dir())?.map(|(database, _)| database),
        };
        // Without any header that is whole, nothing in it can belong to this one or to another.
        let database = known.unwrap_or(DatabaseId([0; 16]));
        let options: LogOptions = self.files.log_options(database, self.files.cipher(database));
        self.note_log(log::verify_segments(&**fs, &options)?);
        Ok(())
    }

    fn note_log(&mut self, verified: log::LogVerified) {
        self.findings.contents.push(format!(
            "log: {} segments, {} records, through revision {}",
            verified.segments, verified.records, verified.last
        ));
        self.findings.remarks.extend(verified.remarks);
        verified.faults.into_iter().for_each(|fault| self.findings.add_fault(fault));
    }
}

/// The versions of the keys that are in the log after the snapshot: memory for as much as is in
/// the log, however large the snapshot is.
#[derive(Default)]
struct Links {
    keys: HashMap<Box<[u8]>, Link>,
    /// Commits that deleted every key, in their order.
    wipes: Vec<Stamp>,
    broken: Vec<String>,
}

/// What the log has of one key.
struct Link {
    /// The newest version before the first in the log, 0 if there is none: that in the snapshot, or
    /// the delete of a wipe after it.
    before: AtomicU64,
    first: (Version, Revision),
    last: (Version, Revision),
    /// Whether the last is no delete.
    is_live: bool,
}

impl Links {
    fn of_log(files: &Files<'_>, opened: &Opened) -> Result<Links, Error> {
        let mut links = Links::default();
        let through = opened.snapshot.through();
        log::recover(&*files.fs, &opened.log, through, &mut |record| {
            record.changes().try_for_each(|change| {
                links.add(&change?, record.stamp);
                Ok(())
            })?;
            links.wipes.extend(record.is_wipe().then_some(record.stamp));
            Ok(())
        })?;
        Ok(links)
    }

    fn add(&mut self, change: &Change<'_>, stamp: Stamp) {
        let (version, is_live) = (change.version, change.datum.is_some());
        let last = (version, stamp.revision);
        match self.keys.get_mut(change.key) {
            Some(link) => {
                let before = newest_before(link.last, link.is_live, stamp.revision, &self.wipes);
                (link.last, link.is_live) = (last, is_live);
                if before.0 + 1 == version.0 {
                    return;
                }
                self.broken.push(format!(
                    "in the log, revision {} has version {version} of key {}, after version \
                     {before}.",
                    stamp.revision,
                    shown(change.key)
                ));
            }
            None => {
                let before = AtomicU64::new(0);
                let link = Link { before, first: last, last, is_live };
                self.keys.insert(change.key.into(), link);
            }
        }
    }

    /// Whether each key goes on in the log where it stops in the snapshot.
    fn check(
        mut self,
        snapshot: &dyn Snapshot,
        threads: usize,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        snapshot.load(threads, &|stored| {
            if let Some(link) = self.keys.get(stored.key) {
                let Stored { version, stamp, datum, .. } = stored;
                let found = (version, stamp.revision);
                let before = newest_before(found, datum.is_some(), link.first.1, &self.wipes);
                link.before.fetch_max(before.0, Ordering::Relaxed);
            }
            Ok(())
        })?;
        let forgets = snapshot.forgotten() > Revision(0);
        for (key, link) in &self.keys {
            let before = link.before.load(Ordering::Relaxed);
            // One that was written again while it was forgotten goes on all the same.
            if link.first.0.0 != before + 1 && !(before == 0 && forgets) {
                self.broken.push(format!(
                    "the log goes on with version {} of key {}, and the snapshot has it up to \
                     version {before}.",
                    link.first.0,
                    shown(key)
                ));
            }
        }
        let more = self.broken.len().saturating_sub(FAULTS_MAX);
        findings.faults.extend(self.broken.into_iter().take(FAULTS_MAX));
        if more > 0 {
            findings.faults.push(format!("There are {more} faults more."));
        }
        Ok(())
    }
}

/// The newest version of a key before it is written at `next`: the one that was found, or the
/// delete of a wipe in between.
fn newest_before(
    found: (Version, Revision),
    is_live: bool,
    next: Revision,
    wipes: &[Stamp],
) -> Version {
    let (version, revision) = found;
    let wipe = first_wipe_after(wipes, revision).filter(|wipe| is_live && wipe.revision < next);
    Version(version.0 + u64::from(wipe.is_some()))
}

/// A key as it is shown to people.
pub(crate) fn shown(key: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 64;
    let text = String::from_utf8_lossy(&key[..key.len().min(SHOWN_BYTES_MAX)]);
    let dots = if key.len() > SHOWN_BYTES_MAX { "…" } else { "" };
    format!("\"{}{dots}\"", text.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Compression;
    use crate::snapshot::json::{JsonOptions, JsonSnapshot};
    use crate::snapshot::{Fold, KeyChanges};
    use crate::stored::Keep;

    fn stamp(revision: u64) -> Stamp {
        Stamp { revision: Revision(revision), time_ms: revision }
    }

    /// What is found if the snapshot has versions 1 and 2 of the key "a", and the log these.
    fn faults(log: &[(&str, u64)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let options = JsonOptions {
            files: Arc::new(Disk),
            path: dir.path().join("kv.json"),
            keep: Keep::All,
            cipher: None,
            compression: Compression::None,
        };
        let mut snapshot = JsonSnapshot::create(options, DatabaseId([1; 16])).unwrap();
        let version = |number| Stored {
            key: b"a",
            version: Version(number),
            stamp: stamp(number),
            datum: None,
        };
        let keys = vec![KeyChanges { versions: vec![version(1), version(2)] }];
        snapshot.fold(&Fold::new(keys, stamp(2))).unwrap();
        let mut links = Links::default();
        for (revision, (key, version)) in (3..).zip(log) {
            let change = Change { key: key.as_bytes(), version: Version(*version), datum: None };
            links.add(&change, stamp(revision));
        }
        let mut findings = Findings::default();
        links.check(&snapshot, 1, &mut findings).unwrap();
        findings.faults
    }

    #[test]
    fn versions_in_the_log_follow_each_other_and_the_snapshot() {
        assert_eq!(faults(&[("a", 3), ("b", 1), ("a", 4), ("b", 2)]), [""; 0]);
        for (log, told) in [
            (&[("a", 4)][..], "goes on with version 4 of key \"a\""),
            (&[("a", 2)], "goes on with version 2 of key \"a\""),
            (&[("b", 2)], "goes on with version 2 of key \"b\""),
            (&[("a", 3), ("a", 5)], "revision 4 has version 5 of key \"a\", after version 3"),
            (&[("a", 3), ("a", 3)], "revision 4 has version 3 of key \"a\", after version 3"),
        ] {
            let faults = faults(log);
            assert!(faults.len() == 1 && faults[0].contains(told), "{faults:?}");
        }
    }

    #[test]
    fn a_wipe_between_two_versions_is_a_version_of_its_own() {
        let datum =
            kv_core::Datum { bytes: b"v", kind: kv_core::ValueKind::Text, expires_ms: None };
        let broken = |is_value: bool, next: u64, at: u64| {
            let datum = is_value.then_some(datum);
            let mut links = Links::default();
            links.add(&Change { key: b"k", version: Version(1), datum }, stamp(3));
            links.wipes.push(stamp(5));
            links.add(&Change { key: b"k", version: Version(next), datum }, stamp(at));
            !links.broken.is_empty()
        };
        assert!(!broken(true, 3, 6) && broken(true, 2, 6));
        assert!(!broken(false, 2, 6) && broken(false, 3, 6), "it was deleted already");
        assert!(!broken(true, 2, 5) && broken(true, 3, 5), "it is the commit's own");
    }
}
