//! Reading: single keys, versions, history, scans. Nothing here changes more than locks.

use super::super::judged::Judged;
use super::super::nearest::Nearest;
use super::super::scan::{OpenView, Overlaid, Scan, ScanOptions, overlay};
use super::super::tree::Tree;
use super::super::write::next_version;
use super::Session;
use crate::error::{Error, Limit};
use crate::limits::NEAREST_ROWS_MAX;
use crate::matching::Number;
use crate::step::Step;
use crate::store::record::Record;
use crate::types::{Interval, Revision, TxnId, Version};
use crate::value::{Meta, Past, Value};

impl Session {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// Within a transaction: [`Error::LockTimeout`], [`Error::Deadlock`], [`Error::OwnLock`],
    /// [`Error::ChildOpen`], [`Error::Aborted`]; [`Error::Pruned`] in a view of the past.
    pub fn get(&mut self, txn: Option<TxnId>, key: &[u8]) -> Step<Option<Value>> {
        self.shared.check_key(key)?;
        match self.resolve(txn)? {
            None => self.shared.read_single(key, self.depends_on),
            Some(root) => self.read(root, key, false)?.as_ref().map(Value::of).transpose(),
        }
    }

    /// The value of a key, which is locked exclusively at once.
    ///
    /// # Errors
    ///
    /// As [`Session::get`]; also [`Error::ForUpdateOutside`], [`Error::ReadOnly`], and
    /// [`Error::Conflict`] in a SNAPSHOT transaction.
    pub fn get_for_update(&mut self, txn: Option<TxnId>, key: &[u8]) -> Step<Option<Value>> {
        self.shared.check_key(key)?;
        let root = self.resolve(txn)?.ok_or(Error::ForUpdateOutside)?;
        self.read(root, key, true)?.as_ref().map(Value::of).transpose()
    }

    /// Whether a key is there.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    pub fn exists(&mut self, txn: Option<TxnId>, key: &[u8]) -> Step<bool> {
        self.shared.check_key(key)?;
        match self.resolve(txn)? {
            None => Ok(self.shared.see_single(key, self.depends_on, |_| Ok(()))?.is_some()),
            Some(root) => Ok(self.read(root, key, false)?.is_some()),
        }
    }

    /// What is known of a key's current state.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    pub fn meta(&mut self, txn: Option<TxnId>, key: &[u8]) -> Step<Option<Meta>> {
        self.shared.check_key(key)?;
        let Some(root) = self.resolve(txn)? else {
            let meta = |record: &Record| Ok(Meta::committed(record, self.shared.now_ms()));
            return self.shared.see_single(key, self.depends_on, meta);
        };
        let Some(record) = self.read(root, key, false)? else { return Ok(None) };
        let now_ms = self.shared.now_ms();
        if record.revision() != Revision(0) {
            let judged_ms = self.work(root)?.tree.judged.time_of(key);
            return Ok(Some(Meta::committed(&record, judged_ms.unwrap_or(now_ms))));
        }
        // An own write: the version that it will get shows what is committed under it.
        let mut work = self.work(root)?;
        let newest = work.newest(key)?;
        work.tree.note_shown(key);
        Ok(Some(Meta::own(&record, next_version(newest.as_ref()), now_ms)))
    }

    fn read(&mut self, root: TxnId, key: &[u8], for_update: bool) -> Step<Option<Record>> {
        self.work(root)?.read(key, for_update)
    }

    /// One committed version of a key, expired or not. Takes no lock, and knows of no transaction.
    ///
    /// # Errors
    ///
    /// [`Error::Pruned`] if it is no longer kept.
    pub fn get_version(&mut self, key: &[u8], version: Version) -> Step<Option<Value>> {
        Ok(self.past(key, version)?.and_then(|past| past.value))
    }

    /// One committed version of a key, with its commit. Otherwise as [`Session::get_version`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn past(&mut self, key: &[u8], version: Version) -> Step<Option<Past>> {
        self.shared.check_key(key)?;
        let revision = self.readable();
        let found = self.shared.version(key, version, revision, &mut self.fetching)?;
        found.as_ref().map(Past::of).transpose()
    }

    /// The value that a key had at a revision, as of the time of that commit. Takes no lock, and
    /// knows of no transaction.
    ///
    /// # Errors
    ///
    /// [`Error::FutureRevision`], or [`Error::Pruned`] if it is no longer kept.
    pub fn get_at(&mut self, key: &[u8], revision: Revision) -> Step<Option<Value>> {
        self.shared.check_key(key)?;
        self.check_revision(revision)?;
        let found = self.shared.seen_at(key, revision, &mut self.fetching)?;
        if found.is_none() && revision < self.shared.memory.forgotten() {
            return Err(Error::Pruned(key.into()).into());
        }
        let as_of_ms = || self.shared.order.time_of(revision);
        let found = found.filter(|record| record.is_live(as_of_ms));
        found.as_ref().map(Value::of).transpose()
    }

    /// The committed versions of a key that are kept, expired ones too, newest first, at most
    /// `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyKey`], [`Error::TooBig`].
    pub fn history(&mut self, key: &[u8], limit: Option<u64>) -> Step<Vec<Past>> {
        self.shared.check_key(key)?;
        let revision = self.readable();
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let versions = self.shared.history(key, revision, limit, &mut self.fetching)?;
        versions.iter().map(Past::of).collect()
    }

    /// Rows in key order. A SERIALIZABLE transaction has locked the keys that the scan examines
    /// when this returns well: up to the last row if the limit is reached, else the interval.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    pub fn scan(&mut self, txn: Option<TxnId>, options: &ScanOptions) -> Step<Scan> {
        let search = self.search.take();
        let Some(root) = self.resolve(txn)? else {
            let view = OpenView::newest(&self.shared, self.depends_on);
            let judged = Judged::at(self.shared.now_ms());
            return Ok(Scan::new(&self.shared, options, view, judged, Vec::new()));
        };
        let mut search = search.filter(|search| search.is_of(root, options));
        let mut work = self.work(root)?;
        let revision = match work.tree.view {
            Some(view) => view.revision,
            None => {
                if let Err(pause) = work.lock_scan(root, options, &mut search) {
                    self.search = search;
                    return Err(pause);
                }
                // All of the interval is installed at the newest revision, since it is locked. And
                // as rows that are missing leave no record to go by, all of it counts as shown.
                let newest = work.shared.order.newest();
                *work.depends_on = newest.max(*work.depends_on);
                newest
            }
        };
        let overlay = overlay(work.tree, options);
        let judged = work.tree.judged.part(&options.examined());
        let is_wiped = work.tree.is_wiped();
        let view = OpenView::at(&self.shared, revision);
        let scan = Scan::new(&self.shared, options, view, judged, overlay);
        Ok(if is_wiped { scan.without_committed() } else { scan })
    }

    /// The rows of an interval whose values are the `rows_max` numbers closest to `x`, closest
    /// first, and of those that are as close the first in key order. A SERIALIZABLE transaction has
    /// locked the interval when this returns well.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if `rows_max` is above [`NEAREST_ROWS_MAX`], and as [`Session::get`].
    pub fn nearest(
        &mut self,
        txn: Option<TxnId>,
        x: &Number,
        rows_max: u64,
        interval: &Interval,
    ) -> Step<Nearest> {
        if rows_max > NEAREST_ROWS_MAX {
            let max = usize::try_from(NEAREST_ROWS_MAX).unwrap_or(usize::MAX);
            return Err(Error::Limit { limit: Limit::NearestRows, max }.into());
        }
        // No rows need no lock, as with SCAN's LIMIT.
        let limit = Some(0).filter(|_| rows_max == 0);
        let options = ScanOptions { limit, ..ScanOptions::of(interval.clone()) };
        let scan = self.scan(txn, &options)?;
        Ok(Nearest::new(scan, x.clone(), usize::try_from(rows_max).unwrap_or(usize::MAX)))
    }

    /// The newest committed state, with all uncommitted writes of this session over it, deletes
    /// included. Takes no lock.
    pub fn show_all(&mut self) -> Scan {
        let view = OpenView::newest(&self.shared, self.depends_on);
        let judged = Judged::at(self.shared.now_ms());
        let mut writes: Vec<Overlaid> =
            self.trees.values().flat_map(|tree| overlay(tree, &ScanOptions::default())).collect();
        writes.sort_by(|one, other| one.key.cmp(&other.key));
        let wiped_by = self.trees.values().find_map(Tree::wiped_by);
        let scan = Scan::new(&self.shared, &ScanOptions::default(), view, judged, writes);
        scan.with_deletes(wiped_by)
    }
}
