//! A file system that fails from a chosen operation on, and notes what it was asked for.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::fs::{Access, Disk, File, FileSystem};

/// Lets so many operations pass, and fails all that follow. Syncs nothing: here, nothing crashes.
#[derive(Debug, Clone)]
pub(super) struct Failing {
    left: Arc<AtomicU64>,
    /// The operations that passed; of several of one kind in a row, the first.
    pub(super) passed: Arc<Mutex<Vec<&'static str>>>,
}

impl Failing {
    /// Lets all pass.
    pub(super) fn never() -> Failing {
        Failing { left: Arc::new(AtomicU64::new(u64::MAX)), passed: Arc::default() }
    }

    fn pass(&self, operation: &'static str) -> io::Result<()> {
        let mut passed = self.passed.lock().unwrap();
        if self.left.load(Ordering::SeqCst) == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.left.fetch_sub(1, Ordering::SeqCst);
        if passed.last() != Some(&operation) {
            passed.push(operation);
        }
        Ok(())
    }

    /// Lets so many more pass.
    pub(super) fn allow(&self, operations: u64) {
        self.left.store(operations, Ordering::SeqCst);
    }

    fn file(&self, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(FailingFile(self.clone(), file))
    }
}

#[derive(Debug)]
struct FailingFile(Failing, Box<dyn File>);

impl FileSystem for Failing {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.pass("create")?;
        Ok(self.file(Disk.create(path)?))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        self.pass("open")?;
        Ok(self.file(Disk.open(path, access)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.pass("list").and_then(|()| Disk.list(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass("rename").and_then(|()| Disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass("remove").and_then(|()| Disk.remove(path))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.pass("sync_dir")
    }
}

impl File for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.pass("read").and_then(|()| self.1.read_at(buffer, offset))
    }

    /// Writes less than it is asked to.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let some = &bytes[..bytes.len().div_ceil(2)];
        self.0.pass("write").and_then(|()| self.1.write_at(some, offset))
    }

    fn len(&self) -> io::Result<u64> {
        self.0.pass("len").and_then(|()| self.1.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.pass("set_len").and_then(|()| self.1.set_len(bytes))
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.0.pass("allocate").and_then(|()| self.1.allocate(bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.pass("sync")
    }

    fn is_at(&self, path: &Path) -> bool {
        self.1.is_at(path)
    }
}
