//! Deleting every key, in a transaction or as one.

use super::super::tree::Tree;
use super::super::work::Work;
use super::Session;
use crate::step::{Pause, Step};
use crate::types::{Isolation, TxnId};

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
            None => self.delete_all_single(),
        }
    }

    fn delete_all_single(&mut self) -> Step<()> {
        let shared = &self.shared;
        let tree = self.single.get_or_insert_with(|| {
            let mut tree = Tree::new(shared.next_tree(), Isolation::Serializable, None);
            tree.push_scope(TxnId(0), shared.clock().now(), shared.options.lock_wait_max);
            tree
        });
        let mut work = Work {
            shared,
            session: self.id,
            tree,
            pending: &mut self.pending,
            depends_on: &mut self.depends_on,
            has_other_trees: false,
            fetching: &mut self.fetching,
        };
        let result = work.delete_all();
        if let Err(Pause::Lock(_)) = result {
            return result;
        }
        let Some(mut tree) = self.single.take() else { return result };
        match result.and_then(|()| self.shared.commit(&mut tree)) {
            Ok(committed) => {
                self.note_commit(committed);
                Ok(())
            }
            // Also when it has to wait for room in the log: it is done anew afterwards.
            Err(pause) => {
                self.shared.discard(&mut tree);
                Err(pause)
            }
        }
    }
}
