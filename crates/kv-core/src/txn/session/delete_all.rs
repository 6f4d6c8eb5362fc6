//! Deleting every key, in a transaction or as one.

use super::Session;
use crate::step::Step;
use crate::types::TxnId;

impl Session {
    /// Deletes every key, expired ones included: it locks all keys exclusively, and is one revision
    /// and one record of the log, whatever the bounds of locks and writes. Within a transaction it
    /// becomes part of that, which sees nothing afterwards but what it writes then.
    ///
    /// Each key that is not deleted already gets another version, a delete. If there is none, no
    /// revision is made.
    ///
    /// # Errors
    ///
    /// As [`Session::put`](crate::Session::put); also
    /// [`Error::DeleteAllNeedsSerializable`](crate::Error::DeleteAllNeedsSerializable) in a
    /// SNAPSHOT transaction. Nothing is deleted then.
    pub fn delete_all(&mut self, txn: Option<TxnId>) -> Step<()> {
        match self.resolve(txn)? {
            Some(root) => self.work(root)?.delete_all(),
            None => {
                let result = self.single_work().delete_all();
                self.end_single(result)
            }
        }
    }
}
