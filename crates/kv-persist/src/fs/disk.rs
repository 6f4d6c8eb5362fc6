//! The real file system.

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::direct::DirectFile;
use super::{Access, File, FileSystem};

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

const FILE_MODE: u32 = 0o600;

fn create(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
}

impl FileSystem for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(create(path)?))
    }

    fn create_direct(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(match DirectFile::over(create(path)?) {
            Ok(direct) => Box::new(direct),
            Err(cached) => Box::new(cached),
        })
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(access == Access::Write);
        Ok(Box::new(options.open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::File::open(dir)?.sync_all()
    }
}

impl File for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        std::fs::File::set_len(self, bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let flags = rustix::fs::FallocateFlags::empty();
        let allocated = rustix::io::retry_on_intr(|| rustix::fs::fallocate(self, flags, 0, bytes));
        match allocated {
            // This file system cannot promise space: a write will have to tell.
            Err(rustix::io::Errno::OPNOTSUPP) if self.metadata()?.len() < bytes => {
                std::fs::File::set_len(self, bytes)
            }
            Err(rustix::io::Errno::OPNOTSUPP) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        std::fs::File::sync_data(self)
    }

    fn is_at(&self, path: &Path) -> bool {
        let same = |mine: std::fs::Metadata, named: std::fs::Metadata| {
            (mine.dev(), mine.ino()) == (named.dev(), named.ino())
        };
        match (self.metadata(), std::fs::metadata(path)) {
            (Ok(mine), Ok(named)) => same(mine, named),
            _ => false,
        }
    }
}
