//! Writing: PUT, DEL, INCR, EXPIRE and PERSIST, in a transaction or as one.

use std::sync::Arc;

use super::super::tree::Tree;
use super::super::work::Work;
use super::super::write::{Update, Write, Written};
use super::Session;
use crate::durability::Datum;
use crate::error::Error;
use crate::limits::{EXPIRY_MS_MAX, MODIFIED_BYTES_MAX};
use crate::step::{Pause, Step};
use crate::store::record::Record;
use crate::types::{Condition, Isolation, TxnId, ValueKind, Version};

impl Session {
    /// Stores a value.
    ///
    /// # Errors
    ///
    /// [`Error::Precondition`] if `condition` is not met; within a transaction also what
    /// [`Session::get`] names, [`Error::ReadOnly`], [`Error::Limit`], and [`Error::Conflict`] in a
    /// SNAPSHOT one. Nothing is stored then.
    pub fn put(
        &mut self,
        txn: Option<TxnId>,
        key: &[u8],
        value: &[u8],
        kind: ValueKind,
        condition: Option<Condition>,
    ) -> Step<()> {
        self.shared.check_key(key)?;
        self.shared.check_value(value)?;
        let record = Some(Record::value_in(self.spare.take(), key, value, kind));
        self.write(txn, key, Write::Put { record, condition }).map(|_| ())
    }

    /// As [`Session::put`], for a value that expires after so many seconds, counted from when this
    /// is done for good, without a pause.
    ///
    /// # Errors
    ///
    /// As [`Session::put`]; also [`Error::Lifetime`].
    pub fn put_expiring(
        &mut self,
        txn: Option<TxnId>,
        key: &[u8],
        value: &[u8],
        kind: ValueKind,
        condition: Option<Condition>,
        ttl_s: u64,
    ) -> Step<()> {
        let expires_ms = self.expiry_after(ttl_s)?;
        self.put_until(txn, key, value, kind, condition, expires_ms)
    }

    /// As [`Session::put`], for a value that expires at a time, in milliseconds since the Unix
    /// epoch. If that is past, the version is made and never seen.
    ///
    /// # Errors
    ///
    /// As [`Session::put`]. A time beyond [`EXPIRY_MS_MAX`] counts as that.
    pub fn put_until(
        &mut self,
        txn: Option<TxnId>,
        key: &[u8],
        value: &[u8],
        kind: ValueKind,
        condition: Option<Condition>,
        expires_ms: u64,
    ) -> Step<()> {
        self.shared.check_key(key)?;
        self.shared.check_value(value)?;
        let expires_ms = Some(expires_ms.min(EXPIRY_MS_MAX));
        let datum = Datum { bytes: value, kind, expires_ms };
        let record = Some(Record::value_for(key, datum, Version(0)));
        self.write(txn, key, Write::Put { record, condition }).map(|_| ())
    }

    /// Has a key expire after so many seconds from now, by a new version with the same value;
    /// without a number never. False if there is no such key.
    ///
    /// # Errors
    ///
    /// As [`Session::put`]; also [`Error::Lifetime`].
    pub fn expire_after(
        &mut self,
        txn: Option<TxnId>,
        key: &[u8],
        ttl_s: Option<u64>,
    ) -> Step<bool> {
        self.shared.check_key(key)?;
        let expires_ms = ttl_s.map(|ttl_s| self.expiry_after(ttl_s)).transpose()?;
        let written = self.write(txn, key, Write::Expire { expires_ms })?;
        Ok(written == Written::Done)
    }

    /// The time that many seconds from now, in milliseconds since the Unix epoch.
    fn expiry_after(&self, seconds: u64) -> Result<u64, Error> {
        let now_ms = self.shared.now_ms();
        let seconds_max = EXPIRY_MS_MAX.saturating_sub(now_ms) / 1000;
        if !(1..=seconds_max).contains(&seconds) {
            return Err(Error::Lifetime { seconds, seconds_max });
        }
        Ok(now_ms + seconds * 1000)
    }

    /// Deletes a key; false if there was nothing to delete.
    ///
    /// # Errors
    ///
    /// As [`Session::put`].
    pub fn delete(
        &mut self,
        txn: Option<TxnId>,
        key: &[u8],
        if_version: Option<Version>,
    ) -> Step<bool> {
        self.shared.check_key(key)?;
        let written = self.write(txn, key, Write::Delete { if_version })?;
        Ok(written == Written::Done)
    }

    /// Adds to the integer under a key, and answers the sum; a missing key counts as 0.
    ///
    /// # Errors
    ///
    /// As [`Session::put`]; also [`Error::NotAnInteger`] and [`Error::Overflow`].
    pub fn add(&mut self, txn: Option<TxnId>, key: &[u8], by: i64) -> Step<i64> {
        self.shared.check_key(key)?;
        match self.write(txn, key, Write::Add { by })? {
            Written::Sum(sum) => Ok(sum),
            Written::Done | Written::NotThere => {
                Err(Error::Internal("an addition answers its sum".into()).into())
            }
        }
    }

    /// Has `decide` say what becomes of a key, given the value that is there, in one step that
    /// nobody comes between. It is called again if this has to pause, and told the same or what is
    /// there then. A value that it decides for is at most `value_bytes_max` bytes long, if it says
    /// so: if that is short, no lock is taken where nobody else is, and it is called under the
    /// shard's latch, where a panic ends the process.
    ///
    /// # Errors
    ///
    /// As [`Session::put`]; and whatever `decide` fails with.
    pub fn modify(
        &mut self,
        txn: Option<TxnId>,
        key: &[u8],
        value_bytes_max: Option<usize>,
        mut decide: impl FnMut(Option<Datum<'_>>) -> Result<Update, Error>,
    ) -> Step<()> {
        self.shared.check_key(key)?;
        let shared = Arc::clone(&self.shared);
        let mut checked = |there: Option<Datum<'_>>| {
            let mut update = decide(there)?;
            if let Update::Put { value, expires_ms, .. } = &mut update {
                shared.check_value(value)?;
                debug_assert!(value_bytes_max.is_none_or(|max| value.len() <= max));
                *expires_ms = expires_ms.map(|at_ms| at_ms.min(EXPIRY_MS_MAX));
            }
            Ok(update)
        };
        // What is long is not copied under a latch.
        let value_bytes_max = value_bytes_max.filter(|max| *max <= MODIFIED_BYTES_MAX);
        let write = Write::Modify { decide: &mut checked, value_bytes_max };
        self.write(txn, key, write).map(|_| ())
    }

    fn write(&mut self, txn: Option<TxnId>, key: &[u8], mut write: Write<'_>) -> Step<Written> {
        match self.resolve(txn)? {
            Some(root) => self.work(root)?.write(key, &mut write),
            None => self.write_single(key, write),
        }
    }

    fn write_single(&mut self, key: &[u8], mut write: Write<'_>) -> Step<Written> {
        if self.single.is_none() {
            let (depends_on, committed) = (&mut self.depends_on, &mut self.last_commit);
            let spare = &mut self.spare;
            let written =
                self.shared.write_single(key, &mut write, depends_on, committed, spare)?;
            if let Some(written) = written {
                return Ok(written);
            }
        }
        let result = self.single_work().write(key, &mut write);
        self.end_single(result)
    }

    /// The work of the transaction of a single command that needs locks, which is begun now unless
    /// it was before a pause.
    pub(super) fn single_work(&mut self) -> Work<'_> {
        let shared = &self.shared;
        let tree = self.single.get_or_insert_with(|| {
            let mut tree = Tree::new(shared.next_tree(), self.id, Isolation::Serializable, None);
            tree.push_scope(TxnId(0), shared.clock().now(), shared.options.lock_wait_max);
            tree
        });
        Work {
            shared,
            session: self.id,
            tree,
            pending: &mut self.pending,
            depends_on: &mut self.depends_on,
            has_other_trees: false,
            fetching: &mut self.fetching,
        }
    }

    /// Ends the transaction of a single command, unless it has to go on after a pause.
    pub(super) fn end_single<T>(&mut self, result: Step<T>) -> Step<T> {
        if let Err(Pause::Lock(_) | Pause::Fetch(_)) = result {
            return result;
        }
        let Some(mut tree) = self.single.take() else { return result };
        match result.and_then(|done| Ok((done, self.shared.commit(&mut tree)?))) {
            Ok((done, committed)) => {
                self.note_commit(committed);
                Ok(done)
            }
            // Also when it has to wait for room in the log: it is decided anew afterwards.
            Err(pause) => {
                self.shared.discard(&mut tree);
                Err(pause)
            }
        }
    }
}
