//! SQLite's index of its write-ahead log: the file `-shm` that reading a snapshot after a crash
//! leaves beside it.
//!
//! It holds nothing that cannot be made again, but whoever asked for a look should not find a file
//! more than before.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};

use super::open::beside;

/// Sees to it that reading a snapshot leaves no index behind. To be made before the snapshot is
/// opened, and dropped after it.
#[derive(Debug)]
pub(crate) struct NoTrace {
    /// None if it was there before.
    index: Option<PathBuf>,
}

impl NoTrace {
    /// For the snapshot at a path, which need not exist.
    pub(crate) fn of(snapshot: &Path) -> NoTrace {
        let index = beside(snapshot, "-shm");
        NoTrace { index: (!index.exists()).then_some(index) }
    }

    /// Leaves whatever there is from now on.
    pub(super) fn disarm(&mut self) {
        self.index = None;
    }
}

impl Drop for NoTrace {
    fn drop(&mut self) {
        let Some(index) = &self.index else { return };
        let Ok(file) = OpenOptions::new().read(true).write(true).open(index) else { return };
        // Whoever else has the snapshot open has a lock on the index, and goes on with it.
        if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_index_that_was_not_there_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = dir.path().join("kv.sqlite");
        let index = dir.path().join("kv.sqlite-shm");
        for was_there in [false, true] {
            let guard = NoTrace::of(&snapshot);
            fs::write(&index, "").unwrap();
            drop(guard);
            assert_eq!(index.exists(), was_there);
            fs::write(&index, "").unwrap();
        }
        drop(NoTrace::of(&dir.path().join("other")));
        fs::remove_file(&index).unwrap();
        let mut guard = NoTrace::of(&snapshot);
        fs::write(&index, "").unwrap();
        guard.disarm();
        drop(guard);
        assert!(index.exists());
    }
}
