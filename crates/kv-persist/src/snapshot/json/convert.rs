//! A backup is an SQLite file whatever the snapshot is, so that there is one kind to restore.
//!
//! Everything is folded into a fresh SQLite snapshot beside the backup's place, a batch of keys at
//! a time. Its own backup is then the copy that was asked for, so that nobody else has to know
//! what makes a file a backup.

use std::io;
use std::path::{Path, PathBuf};

use super::JsonSnapshot;
use crate::error::Error;
use crate::snapshot::sqlite::{SqliteOptions, SqliteSnapshot};
use crate::snapshot::{Fold, KeyChanges, Snapshot};
use crate::stored::{Keep, StoredBuf};

/// Bytes of keys and values that are folded at once, about; they are held in memory.
const BATCH_BYTES: usize = 8 << 20;

impl JsonSnapshot {
    /// Writes a backup.
    pub(super) fn convert(&self, to: &Path) -> Result<(), Error> {
        if std::fs::exists(to).map_err(|error| Error::io("create", to, error))? {
            return Err(Error::io("create", to, io::ErrorKind::AlreadyExists.into()));
        }
        // No backup has a name that begins with a dot.
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let beside = to.with_file_name(format!(".{name}.converted"));
        remove(&beside)?;
        let converted = self.convert_beside(&beside).and_then(|sqlite| sqlite.backup(to));
        let removed = remove(&beside);
        converted.and(removed)
    }

    fn convert_beside(&self, path: &Path) -> Result<SqliteSnapshot, Error> {
        let options = SqliteOptions {
            path: path.to_owned(),
            // What is not to be kept is not in the file any more.
            keep: Keep::All,
            cipher: self.options.cipher.clone(),
            compression: self.options.compression,
        };
        let mut sqlite = SqliteSnapshot::create(options, self.head.database)?;
        self.copy_into(&mut sqlite, BATCH_BYTES)?;
        Ok(sqlite)
    }

    /// Folds everything into an empty snapshot, about so many bytes at a time.
    pub(super) fn copy_into(
        &self,
        other: &mut dyn Snapshot,
        batch_bytes: usize,
    ) -> Result<(), Error> {
        let mut reader = self.read()?;
        let (mut batch, mut bytes) = (Vec::<StoredBuf>::new(), 0);
        while let Some(stored) = reader.next()? {
            let begins_key = batch.last().is_some_and(|last| last.key != stored.key);
            if begins_key && bytes >= batch_bytes {
                self.fold_batch(other, &batch)?;
                (batch, bytes) = (Vec::new(), 0);
            }
            bytes += stored.key.len() + stored.value.as_ref().map_or(0, |value| value.bytes.len());
            batch.push(stored);
        }
        self.fold_batch(other, &batch)
    }

    fn fold_batch(&self, other: &mut dyn Snapshot, batch: &[StoredBuf]) -> Result<(), Error> {
        let of_key = batch.chunk_by(|one, next| one.key == next.key);
        let keys = of_key.map(|versions| KeyChanges {
            versions: versions.iter().map(StoredBuf::borrowed).collect(),
        });
        let through = self.head.through;
        other.fold(&Fold::new(keys.collect(), through))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes an SQLite file and what SQLite put beside it, if there is one.
fn remove(path: &Path) -> Result<(), Error> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = with_suffix(path, suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}
