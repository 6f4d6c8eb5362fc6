//! A backup that becomes a database of its own, at its first start without a log.
//!
//! ```text
//!   1  all of it has been read       until here a refusal leaves it untouched
//!   2  it gets an identity           it is still a backup: a start after a crash does the same
//!   3  its log begins, durably       with this identity
//!   4  the mark of a backup goes     from here on, without its log it lacks something
//! ```
//!
//! With the identity of the database that it was taken of, the log of one would go on from the
//! snapshot of the other: their revisions are the same up to the backup.

use crate::crypt;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::stored::DatabaseId;

/// Step 2. Answers the identity.
pub(super) fn identify(snapshot: &mut dyn Snapshot) -> Result<DatabaseId, Error> {
    match snapshot.take_identity(DatabaseId(crypt::random())) {
        // Better to serve readers than not to start.
        Err(error) if error.is_full() => {
            tracing::warn!(
                %error,
                "the restored database keeps the identity of the one that it is a backup of: do \
                 not mix their files"
            );
            Ok(snapshot.database())
        }
        identified => identified,
    }
}

/// Step 4; of any other snapshot, that it is used from here on.
pub(super) fn adopt(snapshot: &mut dyn Snapshot) -> Result<(), Error> {
    match snapshot.adopt() {
        // As before; and the first fold takes it away too.
        Err(error) if error.is_full() => {
            tracing::warn!(%error, "the snapshot stays marked as a backup until it is folded into");
            Ok(())
        }
        adopted => adopted,
    }
}
