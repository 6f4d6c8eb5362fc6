//! Directories for data, on the disk that the target directory is on.
//!
//! Never the system's directory for temporary files: that may be memory, where a sync costs
//! nothing and measures nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;
use tempfile::TempDir;

/// What the kernel calls file systems that are memory.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A new directory, which is removed when it is dropped.
pub fn scratch(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(data_root()).unwrap()
}

/// The directory of this name, to be kept from one run to the next; it may not exist yet.
pub fn kept(name: &str) -> PathBuf {
    data_root().join(name)
}

fn data_root() -> PathBuf {
    // This program is target/PROFILE/deps/NAME.
    let program = std::env::current_exe().unwrap();
    let root = program.ancestors().nth(3).unwrap().join("bench-data");
    fs::create_dir_all(&root).unwrap();
    let kind = rustix::fs::statfs(&root).unwrap().f_type as u64;
    assert!(!MEMORY_FILE_SYSTEMS.contains(&kind), "{} is memory, not a disk", root.display());
    root
}

/// Has the kernel forget what it holds in memory of the files below `dir`, so that they are read
/// from the disk again. They are made durable first.
pub fn forget(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            forget(&path);
        } else {
            let file = fs::File::open(&path).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }
}

/// Bytes of the files below `dir`.
pub fn bytes_below(dir: &Path) -> u64 {
    let bytes = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => bytes_below(&entry.path()),
        false => entry.metadata().unwrap().len(),
    };
    fs::read_dir(dir).unwrap().map(|entry| bytes(entry.unwrap())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_on_a_disk_and_goes_away() {
        let dir = scratch("files-test");
        let path = dir.path().to_owned();
        fs::create_dir(path.join("below")).unwrap();
        fs::write(path.join("below/file"), b"12345").unwrap();
        forget(&path);
        assert_eq!(bytes_below(&path), 5);
        drop(dir);
        assert!(!path.exists());
    }
}
