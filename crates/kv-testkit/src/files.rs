//! What a directory holds, byte for byte: to see that something which must not change it has not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files with their content.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// All files below a directory with their content, but for the lock, which names who tried last,
/// and for what SQLite makes anew beside its file: an index, and a log with nothing in it.
pub fn files_of(directory: &Path) -> Files {
    let mut files = Files::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory can be read") {
            let path = entry.expect("a directory can be read").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let content = std::fs::read(&path).expect("a file can be read");
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_empty_log = name.ends_with("-wal") && content.is_empty();
            if name != "LOCK" && !name.ends_with("-shm") && !is_empty_log {
                files.insert(path, content);
            }
        }
    }
    files
}

/// The names of the files that are not the same.
pub fn difference(before: &Files, after: &Files) -> Vec<PathBuf> {
    let gone_or_changed = before.iter().filter(|(name, content)| after.get(*name) != Some(content));
    let new = after.iter().filter(|(name, _)| !before.contains_key(*name));
    gone_or_changed.chain(new).map(|(name, _)| name.clone()).collect()
}
