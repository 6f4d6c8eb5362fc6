//! Where the data is, and how it gets there: in memory only, or in a directory.
//!
//! The two are one type, so that a server without files has no durability, no log and no key to ask
//! for. Nothing is opened here.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use kv_protocol::word::Shown;
use kv_protocol::{ErrorCode, ErrorReply};

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory; it is gone when the server stops.
    InMemory,
    /// In files of one directory.
    Directory(DataDirectory),
}

/// A data directory, and how it is written. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirectory {
    /// The directory; it may not exist yet.
    pub path: PathBuf,
    /// What a reply waits for.
    pub durability: Durability,
    /// What the log is folded into.
    pub snapshot: SnapshotFormat,
    /// How values are packed.
    pub compression: Compression,
    /// Where the key is, if the data is encrypted.
    pub key: Option<KeySource>,
    /// What the data was encrypted with until now, if the key is to be changed.
    pub old_key: Option<OldKeySource>,
    /// How long a change stays in the log alone; above zero.
    pub checkpoint_interval: Duration,
    /// By how much the log grows before it is folded.
    pub checkpoint_log_bytes: u64,
    /// How large the log may become; at least twice `checkpoint_log_bytes`.
    pub log_bytes_max: u64,
    /// Where BACKUP writes; never within `path`.
    pub backup_dir: Option<PathBuf>,
}

/// What the reply to a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// That it is on disk.
    Fsync,
    /// Nothing; what is committed is brought to disk each second.
    Interval,
    /// Nothing; when it comes to disk is for the operating system to say.
    None,
}

/// What the log is folded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SnapshotFormat {
    /// An SQLite database.
    Sqlite,
    /// One JSON file.
    Json,
}

/// Who gives way when memory is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Eviction {
    /// Who was not used for long.
    Lru,
    /// Who was used once, rather than again and again.
    #[value(name = "s3fifo")]
    S3Fifo,
    /// Nobody.
    None,
}

/// How values are packed on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// As they are.
    None,
    /// Quickly.
    Lz4,
    /// Tightly.
    Zstd,
}

/// Where the encryption key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// Here: it stood in the environment.
    Given(Secret),
}

/// Where the key is that the data was encrypted with until now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldKeySource {
    /// It was not encrypted.
    NotEncrypted,
    /// Here.
    Key(KeySource),
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes charge of a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: mind where it goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(not shown)")
    }
}

/// What the names of the files end in that SQLite puts beside a file: a backup of such a name would
/// be taken for a part of another.
const NAMES_OF_SQLITE: [&str; 3] = ["-wal", "-shm", "-journal"];

impl DataDirectory {
    /// Whether a path leads into the directory, going by the names alone: links are not followed.
    pub fn contains(&self, path: &Path) -> bool {
        let absolute = |path| std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        absolute(path).starts_with(absolute(&self.path))
    }

    /// The path of a backup that a client named. Only a plain name leads to one, so that a client
    /// cannot have a file written anywhere but in the directory that the operator chose.
    ///
    /// # Errors
    ///
    /// The refusal of any other name, and of every name if there is no directory for backups.
    pub fn backup_file(&self, name: &[u8]) -> Result<PathBuf, ErrorReply> {
        let refuse = |text| Err(ErrorReply::new(ErrorCode::Argument, text));
        let Some(dir) = &self.backup_dir else {
            return refuse(
                "this server has no directory for backups; it is started with --backup-dir DIR to \
                 have one"
                    .to_owned(),
            );
        };
        let path = Path::new(OsStr::from_bytes(name));
        // `a/` and `./a` have the file name `a` too; only a plain name is its own.
        let is_plain = path.file_name().is_some_and(|file| file.as_bytes() == name);
        if !is_plain || name.starts_with(b".") || name.contains(&0) {
            let shown = Shown(name);
            return refuse(format!(
                "BACKUP needs the name of a file, without a directory and not beginning with a \
                 dot, got {shown}: BACKUP file"
            ));
        }
        if let Some(end) = NAMES_OF_SQLITE.iter().find(|end| name.ends_with(end.as_bytes())) {
            let shown = Shown(name);
            return refuse(format!(
                "BACKUP needs a name that does not end in {end}, as SQLite names files of its own, \
                 got {shown}: BACKUP file"
            ));
        }
        Ok(dir.join(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(backup_dir: Option<&str>) -> DataDirectory {
        DataDirectory {
            path: "data".into(),
            durability: Durability::Fsync,
            snapshot: SnapshotFormat::Sqlite,
            compression: Compression::None,
            key: None,
            old_key: None,
            checkpoint_interval: Duration::from_secs(5),
            checkpoint_log_bytes: 1,
            log_bytes_max: 2,
            backup_dir: backup_dir.map(PathBuf::from),
        }
    }

    #[test]
    fn a_backup_stays_in_its_directory() {
        let directory = directory(Some("/backups"));
        for name in ["monday.sqlite", "a b", "a..b", "ä", "\\", "x~"] {
            let path = directory.backup_file(name.as_bytes()).unwrap();
            assert_eq!(path, Path::new("/backups").join(name));
        }
        let path = directory.backup_file(b"\xff").unwrap();
        assert_eq!(path.as_os_str().as_bytes(), b"/backups/\xff");
        for name in [
            "",
            ".",
            "..",
            "/",
            "a/",
            "./a",
            "/etc/passwd",
            "../a",
            "a/../b",
            "a/b",
            "a/.",
            ".hidden",
            "a\0b",
            "//a",
            "a//",
        ] {
            let error = directory.backup_file(name.as_bytes()).unwrap_err();
            assert_eq!(error.code, ErrorCode::Argument);
            assert!(error.text.contains("without a directory"), "{name}: {error}");
        }
    }

    #[test]
    fn a_backup_is_not_named_like_what_sqlite_puts_beside_a_file() {
        let directory = directory(Some("/backups"));
        for end in ["-wal", "-shm", "-journal"] {
            let error = directory.backup_file(format!("a{end}").as_bytes()).unwrap_err();
            assert_eq!(error.code, ErrorCode::Argument);
            assert!(error.text.contains(&format!("end in {end},")), "{error}");
            assert!(directory.backup_file(format!("a{end}.sqlite").as_bytes()).is_ok());
        }
        assert!(directory.backup_file(b"wal").is_ok());
    }

    #[test]
    fn without_a_directory_there_are_no_backups() {
        let error = directory(None).backup_file(b"a").unwrap_err();
        assert!(error.text.contains("--backup-dir"), "{error}");
    }

    #[test]
    fn what_is_within_the_directory_is_seen_by_its_names() {
        let directory = DataDirectory { path: "./data".into(), ..directory(None) };
        for path in ["data", "./data/", "data/a", "./data/./a/b"] {
            assert!(directory.contains(Path::new(path)), "{path}");
        }
        for path in [".", "data2", "./data.old", "a/data", "/data"] {
            assert!(!directory.contains(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let key = KeySource::Given(Secret::new("swordfish".to_owned()));
        assert_eq!(format!("{key:?}"), "Given(Secret(not shown))");
    }
}
