//! The data directory: what lies where in it, and that one process at a time uses it.
//!
//! ```text
//!   kv-data/
//!     LOCK         locked while somebody uses the directory; names the process, for people
//!     kv.sqlite    the snapshot: either this one,
//!     kv.json        or this one
//!     log/         the log's segments, and, named .torn, what recovery cut off its end, kept for
//!                  whoever wants to look
//! ```
//!
//! The lock is the operating system's, on the open file: it ends with the process, however that
//! ends, so that nobody ever has to remove a stale one. What the file says is for error messages
//! only. The directory itself is locked too, so that whoever removes the file all the same does not
//! let a second process in.
//!
//! A file that is missing is as bad as one that is damaged, and quieter. So the directory is
//! refused if what is there cannot be all of it: a log without the snapshot that it goes on from,
//! or a snapshot without the log that goes on from it.

use std::fmt;
use std::fs::{DirBuilder, DirEntry, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::Error;

/// Directories are for their owner alone.
const DIR_MODE: u32 = 0o700;

/// So are files.
const FILE_MODE: u32 = 0o600;

/// A process number has at most 10 digits.
const PID_BYTES_MAX: u64 = 10;

/// A data directory that nobody else uses until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Hold the lock; none if the directory can only be read.
    _locks: Vec<File>,
}

/// Whether a directory that does not exist is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// It is, with the directories above it that are missing.
    IfMissing,
    /// It is not.
    Never,
}

/// Which file a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SnapshotKind {
    /// An SQLite database.
    #[default]
    Sqlite,
    /// One JSON file.
    Json,
}

/// What a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// No database yet.
    Nothing,
    /// A snapshot without a log: a backup, or a database whose log is missing. The snapshot knows
    /// which; see [`DataDir::log_is_missing`].
    SnapshotOnly,
    /// A snapshot and a log.
    SnapshotAndLog,
}

impl DataDir {
    /// Takes a directory for this process alone, to write in it.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another process has it, or this one already; [`Error::Io`], naming the
    /// user that this runs as, if it may not be written; [`Error::Mismatch`] if it is a file. Then
    /// nothing was changed, except that a directory may have been created.
    pub fn open(path: &Path, create: Create) -> Result<DataDir, Error> {
        if create == Create::IfMissing {
            create_dir(path)?;
        }
        check_dir(path)?;
        let itself = lock_itself(path, File::try_lock)?;
        let lock_path = path.join("LOCK");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let lock = options.open(&lock_path).map_err(|error| denied("open", &lock_path, error))?;
        take(lock.try_lock(), path, &lock)?;
        let locks = itself.into_iter().chain([lock]).collect();
        let dir = DataDir { path: path.to_owned(), _locks: locks };
        if create == Create::IfMissing {
            create_dir(&dir.log_dir())?;
        }
        Ok(dir)
    }

    /// Takes a directory to read it: others may read it meanwhile, nobody may write. Changes
    /// nothing in it but the lock file. If not even that can be opened, it goes on without a lock,
    /// with a warning: a medium that cannot be written has no writer.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if a process has it to write in it; [`Error::Io`] if it may not be read.
    pub fn open_to_read(path: &Path) -> Result<DataDir, Error> {
        check_dir(path)?;
        let itself = lock_itself(path, File::try_lock_shared)?;
        let lock_path = path.join("LOCK");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let opened = options.open(&lock_path).or_else(|_| File::open(&lock_path));
        let lock = match opened {
            Ok(lock) => {
                take(lock.try_lock_shared(), path, &lock)?;
                Some(lock)
            }
            Err(error) => {
                tracing::warn!(
                    path = %lock_path.display(),
                    %error,
                    "reading without a lock: make sure that no server uses the directory"
                );
                None
            }
        };
        let locks = itself.into_iter().chain(lock).collect();
        Ok(DataDir { path: path.to_owned(), _locks: locks })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log's segments are.
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where a snapshot of this kind is.
    pub fn snapshot(&self, kind: SnapshotKind) -> PathBuf {
        self.path.join(kind.file_name())
    }

    /// Where the SQLite snapshot is.
    pub fn sqlite(&self) -> PathBuf {
        self.snapshot(SnapshotKind::Sqlite)
    }

    /// Where the JSON snapshot is.
    pub fn json(&self) -> PathBuf {
        self.snapshot(SnapshotKind::Json)
    }

    /// Which kind of snapshot is there, if any.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if both are.
    pub fn snapshot_kind(&self) -> Result<Option<SnapshotKind>, Error> {
        match (exists(&self.sqlite())?, exists(&self.json())?) {
            (false, false) => Ok(None),
            (true, false) => Ok(Some(SnapshotKind::Sqlite)),
            (false, true) => Ok(Some(SnapshotKind::Json)),
            (true, true) => Err(self.mismatch(
                "it holds both kv.sqlite and kv.json, and a database has one of them; move the one \
                 that does not belong here to another directory"
                    .to_owned(),
            )),
        }
    }

    /// What is there, if it is all of it and fits the kind of snapshot that is wanted.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`], saying what to do.
    pub fn contents(&self, wanted: SnapshotKind) -> Result<Contents, Error> {
        let has_log = self.has_log()?;
        match self.snapshot_kind()? {
            Some(kind) if kind != wanted => Err(self.mismatch(format!(
                "its snapshot is {}, and --snapshot {wanted} was asked for; start with --snapshot \
                 {kind}, or export the data and import it into a new directory with --snapshot \
                 {wanted}",
                kind.file_name()
            ))),
            Some(_) if has_log => Ok(Contents::SnapshotAndLog),
            Some(_) => Ok(Contents::SnapshotOnly),
            None if has_log => Err(self.mismatch(format!(
                "there is a log, and the snapshot {} that it goes on from is missing; put it back, \
                 or restore a backup into a new directory",
                wanted.file_name()
            ))),
            None => Ok(Contents::Nothing),
        }
    }

    /// The error for a snapshot without a log, when the snapshot is not a backup, which has none.
    pub fn log_is_missing(&self) -> Error {
        self.mismatch(
            "there is a snapshot, and the log that goes on from it is missing, perhaps with \
             commits that were acknowledged; put the directory log back, or save what the snapshot \
             holds into a new directory with `kv-server repair`"
                .to_owned(),
        )
    }

    fn has_log(&self) -> Result<bool, Error> {
        let dir = self.log_dir();
        let mut entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(denied("list", &dir, error)),
        };
        // A segment that was never finished is what a crash leaves of the first one, too.
        let is_log = |entry: &DirEntry| !entry.file_name().as_bytes().ends_with(b".log.new");
        let log = entries.find(|entry| entry.as_ref().map_or(true, is_log));
        log.transpose().map(|log| log.is_some()).map_err(|error| denied("list", &dir, error))
    }

    fn mismatch(&self, what: String) -> Error {
        Error::Mismatch { path: self.path.clone(), what }
    }
}

impl SnapshotKind {
    /// The snapshot's name in the data directory.
    pub fn file_name(self) -> &'static str {
        match self {
            SnapshotKind::Sqlite => "kv.sqlite",
            SnapshotKind::Json => "kv.json",
        }
    }
}

/// As the flag `--snapshot` has it.
impl fmt::Display for SnapshotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SnapshotKind::Sqlite => "sqlite",
            SnapshotKind::Json => "json",
        })
    }
}

impl FromStr for SnapshotKind {
    type Err = UnknownSnapshot;

    fn from_str(name: &str) -> Result<SnapshotKind, UnknownSnapshot> {
        let kinds = [SnapshotKind::Sqlite, SnapshotKind::Json];
        kinds.into_iter().find(|kind| kind.to_string() == name).ok_or(UnknownSnapshot)
    }
}

/// There is no kind of snapshot of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownSnapshot;

impl fmt::Display for UnknownSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot is sqlite or json")
    }
}

impl std::error::Error for UnknownSnapshot {}

/// Creates a directory for its owner alone, and those above it that are missing, durably. One that
/// exists is left as it is.
///
/// # Errors
///
/// [`Error::Io`], naming the user that this runs as if that is why.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    let exists = exists(path)?;
    if !exists {
        create_dir(parent)?;
        match DirBuilder::new().mode(DIR_MODE).create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(denied("create", path, error));
            }
            _ => {}
        }
    }
    // Also if it exists: who created it may have died before this.
    match File::open(parent).and_then(|parent| parent.sync_all()) {
        // Whoever may not even list the parent did not create the directory.
        Err(error) if exists && error.kind() == ErrorKind::PermissionDenied => Ok(()),
        // Nothing in it can be new.
        Err(error) if exists && error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(()),
        synced => synced.map_err(|error| denied("sync", parent, error)),
    }
}

fn check_dir(path: &Path) -> Result<(), Error> {
    let metadata = std::fs::metadata(path).map_err(|error| denied("open", path, error))?;
    if !metadata.is_dir() {
        let what = "it is a file, and a data directory is wanted".to_owned();
        return Err(Error::Mismatch { path: path.to_owned(), what });
    }
    if metadata.mode() & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format!("{:03o}", metadata.mode() & 0o777),
            "others may look into the data directory: chmod 700 it"
        );
    }
    Ok(())
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|error| denied("open", path, error))
}

/// Locks the directory, where the file system can do that; none where it cannot, or where it may
/// not be opened.
fn lock_itself(
    path: &Path,
    lock: impl FnOnce(&File) -> Result<(), TryLockError>,
) -> Result<Option<File>, Error> {
    let dir = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        opened => opened.map_err(|error| denied("open", path, error))?,
    };
    match lock(&dir) {
        Ok(()) => Ok(Some(dir)),
        Err(TryLockError::WouldBlock) => {
            let holder = File::open(path.join("LOCK")).ok().and_then(|lock| read_pid(&lock));
            Err(Error::Locked { dir: path.to_owned(), holder })
        }
        Err(TryLockError::Error(error)) => {
            tracing::debug!(path = %path.display(), %error, "only the file LOCK is locked");
            Ok(None)
        }
    }
}

/// Takes note of how locking went.
fn take(locked: Result<(), TryLockError>, dir: &Path, lock: &File) -> Result<(), Error> {
    locked.map_err(|error| match error {
        TryLockError::WouldBlock => Error::Locked { dir: dir.to_owned(), holder: read_pid(lock) },
        TryLockError::Error(error) => denied("lock", &dir.join("LOCK"), error),
    })?;
    // It is for error messages only: a full disk, or one that is only read, is no reason to stop.
    let _ = write_pid(lock);
    Ok(())
}

fn write_pid(mut lock: &File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// None while the holder is about to write it.
fn read_pid(lock: &File) -> Option<u32> {
    let mut text = String::new();
    lock.take(PID_BYTES_MAX + 1).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

/// An error of the system; where it is about who may do what, it tells who this is.
fn denied(what: &'static str, path: &Path, error: io::Error) -> Error {
    let user = rustix::process::geteuid().as_raw();
    let told = match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("{error}; this runs as user {user}, to whom the data directory must belong")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("{error}; user {user} must be able to write in the data directory")
        }
        _ => return Error::io(what, path, error),
    };
    Error::io(what, path, io::Error::new(error.kind(), told))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    fn refusal<T: fmt::Debug>(answer: Result<T, Error>) -> String {
        let error = answer.unwrap_err();
        assert!(error.is_refusal(), "{error}");
        error.to_string()
    }

    /// Opens a directory whose lock has been let go of. A process that another test is just
    /// starting has a copy of the lock's descriptor between its fork and its exec, and the lock
    /// with it.
    fn open_when_free(path: &Path) -> DataDir {
        let began = std::time::Instant::now();
        loop {
            match DataDir::open(path, Create::Never) {
                Err(Error::Locked { .. }) if began.elapsed().as_secs() < 10 => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                opened => return opened.unwrap(),
            }
        }
    }

    #[test]
    fn a_missing_directory_is_created_with_its_parents_for_the_owner_alone() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("a/b/kv-data");
        let missing = DataDir::open(&path, Create::Never).unwrap_err();
        assert!(!missing.is_refusal() && missing.to_string().contains("kv-data: No such file"));
        assert!(!above.path().join("a").exists());
        let dir = DataDir::open(&path, Create::IfMissing).unwrap();
        for path in [&above.path().join("a"), dir.path(), &dir.log_dir()] {
            assert_eq!(mode(path), 0o700, "{}", path.display());
        }
        assert_eq!(mode(&path.join("LOCK")), 0o600);
    }

    #[test]
    fn the_second_one_is_told_who_was_first() {
        let path = tempfile::tempdir().unwrap();
        let first = DataDir::open(path.path(), Create::IfMissing).unwrap();
        let me = std::process::id();
        let expected = format!("is in use by process {me}; stop it first");
        for _ in 0..2 {
            let told = refusal(DataDir::open(path.path(), Create::IfMissing));
            assert!(told.contains(&expected), "{told}");
            let told = refusal(DataDir::open_to_read(path.path()));
            assert!(told.contains(&expected), "{told}");
        }
        drop(first);
        open_when_free(path.path());
    }

    #[test]
    fn who_removes_the_lock_file_lets_nobody_in() {
        let path = tempfile::tempdir().unwrap();
        let first = DataDir::open(path.path(), Create::IfMissing).unwrap();
        std::fs::remove_file(path.path().join("LOCK")).unwrap();
        let told = refusal(DataDir::open(path.path(), Create::IfMissing));
        assert!(told.contains("is in use by another process"), "{told}");
        refusal(DataDir::open_to_read(path.path()));
        assert!(!path.path().join("LOCK").exists());
        drop(first);
        let reader = DataDir::open_to_read(path.path()).unwrap();
        std::fs::remove_file(path.path().join("LOCK")).unwrap();
        DataDir::open_to_read(path.path()).unwrap();
        refusal(DataDir::open(path.path(), Create::Never));
        drop(reader);
        open_when_free(path.path());
    }

    #[test]
    fn readers_keep_writers_out_and_no_readers() {
        let path = tempfile::tempdir().unwrap();
        let readers = [(); 2].map(|()| DataDir::open_to_read(path.path()).unwrap());
        refusal(DataDir::open(path.path(), Create::Never));
        assert!(!readers[0].log_dir().exists());
        drop(readers);
        open_when_free(path.path());
    }

    /// `flock`, of util-linux, holds the same lock that the standard library takes.
    #[test]
    fn the_lock_of_another_process_ends_when_it_is_killed() {
        let path = tempfile::tempdir().unwrap();
        let lock = path.path().join("LOCK");
        std::fs::write(&lock, "4194304\n").unwrap();
        let mut command = Command::new("flock");
        command.arg("--no-fork").arg(&lock).args(["sh", "-c", "echo locked; exec sleep 600"]);
        let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else {
            eprintln!("the lock of another process was NOT tried: there is no flock");
            return;
        };
        let mut told = [0; 7];
        child.stdout.take().unwrap().read_exact(&mut told).unwrap();
        let refused = DataDir::open(path.path(), Create::Never);
        let before = std::fs::read_to_string(&lock).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(refused, Err(Error::Locked { holder: Some(4_194_304), .. })));
        assert_eq!(before, "4194304\n");
        open_when_free(path.path());
        assert_eq!(std::fs::read_to_string(&lock).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn an_unreadable_pid_is_no_pid() {
        let path = tempfile::tempdir().unwrap();
        let _first = open_when_free(path.path());
        std::fs::write(path.path().join("LOCK"), [0xff; 100]).unwrap();
        let told = refusal(DataDir::open(path.path(), Create::Never));
        assert!(told.contains("is in use by another process;"), "{told}");
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for create in [Create::Never, Create::IfMissing] {
            let told = refusal(DataDir::open(file.path(), create));
            assert!(told.ends_with("it is a file, and a data directory is wanted"), "{told}");
        }
    }

    #[test]
    fn who_may_not_is_told_who_they_are() {
        let path = tempfile::tempdir().unwrap();
        std::fs::set_permissions(path.path(), PermissionsExt::from_mode(0o500)).unwrap();
        let user = rustix::process::geteuid().as_raw();
        let told = match DataDir::open(path.path(), Create::IfMissing) {
            // The superuser may do everything.
            Ok(_) if user == 0 => denied("open", path.path(), ErrorKind::PermissionDenied.into()),
            opened => opened.unwrap_err(),
        };
        assert!(!told.is_refusal());
        assert!(told.to_string().contains(&format!("this runs as user {user}")), "{told}");
        let read_only = denied("open", path.path(), ErrorKind::ReadOnlyFilesystem.into());
        assert!(read_only.to_string().contains(&format!("user {user} must")), "{read_only}");
    }

    #[test]
    fn what_is_there_must_be_all_of_it() {
        let path = tempfile::tempdir().unwrap();
        let dir = DataDir::open(path.path(), Create::IfMissing).unwrap();
        let (sqlite, json) = (SnapshotKind::Sqlite, SnapshotKind::Json);
        assert_eq!(dir.contents(sqlite).unwrap(), Contents::Nothing);

        std::fs::write(dir.log_dir().join("1"), "").unwrap();
        let told = refusal(dir.contents(json));
        assert!(told.contains("the snapshot kv.json that it goes on from is missing"), "{told}");

        std::fs::write(dir.json(), "").unwrap();
        assert_eq!(dir.contents(json).unwrap(), Contents::SnapshotAndLog);
        let told = refusal(dir.contents(sqlite));
        assert!(told.contains("--snapshot sqlite was asked for; start with --snapshot json"));

        std::fs::remove_file(dir.log_dir().join("1")).unwrap();
        assert_eq!(dir.contents(json).unwrap(), Contents::SnapshotOnly);
        std::fs::remove_dir(dir.log_dir()).unwrap();
        assert_eq!(dir.contents(json).unwrap(), Contents::SnapshotOnly);
        assert!(dir.log_is_missing().is_refusal());

        std::fs::write(dir.sqlite(), "").unwrap();
        let told = refusal(dir.contents(json));
        assert!(told.contains("both kv.sqlite and kv.json"), "{told}");
    }

    #[test]
    fn kinds_go_both_ways() {
        for kind in [SnapshotKind::Sqlite, SnapshotKind::Json] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("JSON".parse::<SnapshotKind>(), Err(UnknownSnapshot));
    }
}
