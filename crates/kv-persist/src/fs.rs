//! Files, as far as the log and recovery need them: a seam, so that a test can put a file system
//! below them that crashes at any operation and forgets what was not synced.
//!
//! The rules are those of POSIX, no kinder: what was written is durable after
//! [`File::sync_data`]; that a file exists, or has a name, is durable after
//! [`FileSystem::sync_dir`] of its directory; a write may be cut short.

mod direct;
mod disk;

use std::fmt;
use std::io;
use std::path::Path;

pub use disk::Disk;

/// A file system.
pub trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// Creates a file that does not exist yet, readable and writable by its owner only.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] and whatever the system refuses with.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// As [`FileSystem::create`], for a file that is written from its beginning to its end, synced
    /// often and seldom read: past the system's cache, where that is possible. What follows a write
    /// may become zeros, for some thousands of bytes.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::create`].
    fn create_direct(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.create(path)
    }

    /// Opens a file that exists.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] and whatever the system refuses with.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;

    /// The names of the files in a directory, in no order.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Renames a file, replacing one that has the name already.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes durable which files a directory has, and under which names.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "nobody asks, and asking can fail")]
pub trait File: fmt::Debug + Send + Sync {
    /// Reads at an offset; may read less than asked for, 0 bytes only at the end.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at an offset; may write less than asked for.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    fn len(&self) -> io::Result<u64>;

    /// Cuts it, or lengthens it with zeros.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes sure that this much of it has room on the disk, so that writing there cannot fail for
    /// want of space. Lengthens it with zeros if it is shorter.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`] and whatever the system refuses with.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Makes its content and length durable. After an error nothing is known of what was written
    /// since the last success, and asking again would not tell.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    fn sync_data(&self) -> io::Result<()>;

    /// Whether the name `path` still leads to this file.
    fn is_at(&self, path: &Path) -> bool;
}

impl dyn File + '_ {
    /// Reads until the buffer is full or the file ends; answers how much was read.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with.
    pub fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Writes all of it.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses with; then any part may have been written.
    pub fn write_full(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_at(&bytes[written..], offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
