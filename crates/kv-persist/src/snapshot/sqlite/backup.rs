//! A copy of the file, at one revision.
//!
//! SQLite writes it, row after row, so that it is compact and has nothing in it that was deleted.
//! It is marked as a copy: a data directory may begin with one, without a log.
//!
//! The copy is made on a connection of its own, which reads the state of one moment: folds go on
//! meanwhile, and only the write-ahead log grows. So what the copy is folded through is asked of
//! the copy.

use std::path::Path;

use super::meta::Meta;
use super::open::{Access, BESIDE, beside, connect, make, refuse_existing};
use super::{Source, failed};
use crate::error::Error;
use crate::snapshot::Backup;
use crate::stored::Through;

impl Backup for Source {
    fn backup(&self, to: &Path) -> Result<Through, Error> {
        refuse_existing(to)?;
        for suffix in BESIDE {
            // Whoever opened the backup later would have SQLite take this for a part of it.
            refuse_existing(&beside(to, suffix))?;
        }
        let mut through = None;
        make(to, |new| {
            // SQLite takes the name as text, and writes into a file that is there and empty.
            let name = new.to_str().ok_or_else(|| {
                let what = "a backup's name has to be UTF-8; name another one".into();
                Error::Mismatch { path: to.to_owned(), what }
            })?;
            // It changes nothing in the file, but has to be able to write the other one.
            let source = connect(&self.path, Access::Write)?;
            source.execute("VACUUM INTO ?1", [name]).map_err(failed(to, "write a backup"))?;
            let copy = connect(new, Access::Write)?;
            let mut meta = Meta::read(&copy, new)?;
            through = Some(meta.through);
            meta.is_backup = true;
            let transaction = copy.unchecked_transaction().map_err(failed(to, "mark a backup"))?;
            meta.write(&transaction).map_err(failed(to, "mark a backup"))?;
            transaction.commit().map_err(failed(to, "mark a backup"))
        })?;
        through.ok_or_else(|| Error::io("write", to, std::io::ErrorKind::NotFound.into()))
    }
}
