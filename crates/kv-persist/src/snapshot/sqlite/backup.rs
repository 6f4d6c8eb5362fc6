//! A copy of the file, at one revision.
//!
//! SQLite writes it, row after row, so that it is compact and has nothing in it that was deleted.
//! It is marked as a copy: a data directory may begin with one, without a log.

use std::path::Path;

use super::open::{Access, connect, make, refuse_existing};
use super::{SqliteSnapshot, failed};
use crate::error::Error;

impl SqliteSnapshot {
    /// Writes a copy to a new file.
    pub(super) fn back_up(&self, to: &Path) -> Result<(), Error> {
        refuse_existing(to)?;
        make(to, |new| {
            // SQLite takes the name as text, and writes into a file that is there and empty.
            let name = new.to_str().ok_or_else(|| {
                let what = "a backup's name has to be UTF-8; name another one".into();
                Error::Mismatch { path: to.to_owned(), what }
            })?;
            self.writer.execute("VACUUM INTO ?1", [name]).map_err(failed(to, "write a backup"))?;
            let copy = connect(new, Access::Write)?;
            let mut meta = self.meta.clone();
            meta.is_backup = true;
            let transaction = copy.unchecked_transaction().map_err(failed(to, "mark a backup"))?;
            meta.write(&transaction).map_err(failed(to, "mark a backup"))?;
            transaction.commit().map_err(failed(to, "mark a backup"))
        })
    }
}
