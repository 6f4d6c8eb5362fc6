//! Creating the file, looking at one without touching it, and connecting to it.
//!
//! A file is looked at before it is opened for writing: first the 100 bytes of its header, which
//! say whether it is ours and of a format that we know, then through a connection that only reads.
//! What is refused has not been changed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::meta::Meta;
use super::schema;
use super::{damaged, failed};
use crate::error::Error;
use crate::fs::{Disk, FileSystem};

/// How long something waits for another program that holds SQLite's own lock.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Pages that the writer keeps in memory, in KiB: the inner ones of some hundred million keys.
/// Changed leaves beyond it go to the write-ahead log early, which costs nothing: keys come in
/// order, so none is changed twice.
const CACHE_KIB: u32 = 8 << 10;

/// Pages that a reader keeps, in KiB: the innermost ones. There are several readers, and the system
/// has the file in its own cache.
const READER_CACHE_KIB: u32 = 512;

/// The first version of SQLite that does not corrupt a file in WAL mode.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// What the names of the files that SQLite puts beside a file end in.
pub(super) const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

const HEADER_BYTES: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The name of SQLite's write-ahead log or its index, which stand beside the file.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The name of a file that is not complete yet, and will have the name `path`. It begins with a
/// dot, as the name of no backup does.
///
/// # Errors
///
/// If `path` is not the name of a file.
pub(crate) fn unfinished(path: &Path) -> Result<PathBuf, Error> {
    let Some(name) = path.file_name() else {
        return Err(Error::io("create", path, io::ErrorKind::InvalidFilename.into()));
    };
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    unfinished.push(".unfinished");
    Ok(path.with_file_name(unfinished))
}

/// Makes an empty file.
pub(super) fn create(path: &Path, mut meta: Meta) -> Result<(), Error> {
    refuse_existing(path)?;
    make(path, |new| {
        let connection = connect(new, Access::Write)?;
        fill(&connection, &mut meta).map_err(failed(path, "create"))?;
        into_wal_mode(&connection, path)?;
        drop(connection);
        // SQLite would take what an earlier file of this name has left for a part of this one.
        remove_beside(path)?;
        sync_dir_of(path)
    })
}

/// Has a write-ahead log used from now on, as the file remembers.
pub(super) fn into_wal_mode(connection: &Connection, path: &Path) -> Result<(), Error> {
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(failed(path, "use a write-ahead log"))?;
    if mode != "wal" {
        let what = "SQLite cannot use a write-ahead log here; a local file system is needed";
        return Err(Error::Mismatch { path: path.to_owned(), what: what.into() });
    }
    Ok(())
}

/// Whether closing the last connection leaves SQLite's write-ahead log as it is. Else it moves what
/// is in it into the file, and removes it.
pub(super) fn keep_wal(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// # Errors
///
/// If there is anything with this name.
pub(super) fn refuse_existing(path: &Path) -> Result<(), Error> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("create", path, error)),
        Ok(_) => Err(Error::io("create", path, io::ErrorKind::AlreadyExists.into())),
    }
}

/// Makes a file under another name, readable by its owner only, and gives it its name when it is
/// complete and durable. If that fails, there is none.
pub(super) fn make(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let new = unfinished(path)?;
    remove(&new)?;
    Disk.create(&new).map_err(|error| Error::io("create", &new, error))?;
    let made = fill(&new).and_then(|()| settle(&new, path));
    if made.is_err() {
        // The first error says more than one about removing what it left.
        let _ = remove(&new);
    }
    made
}

/// Makes a finished file durable, and then gives it its name.
fn settle(new: &Path, path: &Path) -> Result<(), Error> {
    let file = File::open(new).map_err(|error| Error::io("open", new, error))?;
    file.sync_all().map_err(|error| Error::io("sync", new, error))?;
    Disk.rename(new, path).map_err(|error| Error::io("rename", new, error))?;
    sync_dir_of(path)
}

/// Makes durable which files there are beside this one, and under which names.
pub(super) fn sync_dir_of(path: &Path) -> Result<(), Error> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    Disk.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))
}

/// Makes durable what is found: whoever wrote it may have been killed before a sync, and the log
/// is cut for the sake of what SQLite reads here. Nobody in this process may have the file open,
/// since closing any descriptor of it ends SQLite's locks.
pub(super) fn sync(path: &Path) -> Result<(), Error> {
    for path in [path, &beside(path, "-wal")] {
        match File::open(path).and_then(|file| file.sync_all()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("sync", path, error));
            }
            _ => {}
        }
    }
    sync_dir_of(path)
}

/// Removes a file that may not be there, and what SQLite put beside it.
fn remove(path: &Path) -> Result<(), Error> {
    remove_if_there(path)?;
    remove_beside(path)
}

/// Removes what SQLite put beside a file: nothing that the file needs, if nobody has it open.
pub(super) fn remove_beside(path: &Path) -> Result<(), Error> {
    BESIDE.iter().try_for_each(|name| remove_if_there(&beside(path, name)))
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Puts schema and metadata into an empty file.
pub(super) fn fill(connection: &Connection, meta: &mut Meta) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", schema::PAGE_BYTES)?;
    connection.pragma_update(None, "encoding", "UTF-8")?;
    connection.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", schema::FORMAT)?;
    let transaction = connection.unchecked_transaction()?;
    schema::create(connection, meta.key.is_none())?;
    meta.write(connection)?;
    transaction.commit()
}

/// Looks at a file without changing anything: header, schema, metadata. What is found goes to
/// `then`.
///
/// # Errors
///
/// What keeps it from being used, or what `then` answered.
pub(super) fn look<T>(
    path: &Path,
    then: impl FnOnce(Connection, Meta) -> Result<T, Error>,
) -> Result<T, Error> {
    check_header(path)?;
    let index = beside(path, "-shm");
    let had_index = fs::exists(&index).unwrap_or(true);
    let looked = connect(path, Access::Look).and_then(|connection| {
        let meta = check(&connection, path)?;
        then(connection, meta)
    });
    // To read a write-ahead log that a crash has left, SQLite makes an index of it.
    if looked.is_err() && !had_index {
        let _ = fs::remove_file(&index);
    }
    looked
}

fn check(connection: &Connection, path: &Path) -> Result<Meta, Error> {
    let encoding: String = connection
        .pragma_query_value(None, "encoding", |row| row.get(0))
        .map_err(failed(path, "read"))?;
    if encoding != "UTF-8" {
        return Err(damaged(path, format!("its text is encoded in {encoding}")));
    }
    // The write-ahead log may have a later header than the file.
    check_format(schema::format(connection).map_err(failed(path, "read"))?, path)?;
    schema::check(connection, path)?;
    Meta::read(connection, path)
}

fn check_header(path: &Path) -> Result<(), Error> {
    let mut header = [0; HEADER_BYTES];
    let mut file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    file.read_exact(&mut header).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(path, "it is shorter than its header".into()),
        _ => Error::io("read", path, error),
    })?;
    if !header.starts_with(MAGIC) {
        return Err(damaged(path, "it is not an SQLite file".into()));
    }
    let number = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (format, application) = (number(60), number(68));
    if application != schema::APPLICATION_ID {
        let what = "it is an SQLite file, but none of this program; name another --data-dir";
        return Err(Error::Mismatch { path: path.to_owned(), what: what.into() });
    }
    check_format(format, path)
}

/// # Errors
///
/// If it is none that this program reads.
fn check_format(format: u32, path: &Path) -> Result<(), Error> {
    match format {
        schema::FORMAT_MIN..=schema::FORMAT => Ok(()),
        0 => Err(damaged(path, "it says of itself that it has format 0".into())),
        _ => Err(Error::FromTheFuture {
            path: path.to_owned(),
            found: format.into(),
            known: schema::FORMAT.into(),
        }),
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Changing the file.
    Write,
    /// Reading it while the writer is connected too.
    Read,
    /// Reading it while nobody writes, and leaving nothing behind.
    Look,
}

/// Connects, with everything switched off that the file itself could make happen.
pub(super) fn connect(path: &Path, access: Access) -> Result<Connection, Error> {
    assert!(
        rusqlite::version_number() >= SQLITE_VERSION_MIN,
        "SQLite {} can corrupt a file; 3.51.3 or later is needed",
        rusqlite::version()
    );
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = flags | OpenFlags::SQLITE_OPEN_READ_ONLY;
    // A connection that only reads would still put an empty -wal and -shm beside the file.
    let is_alone = !has_content(&beside(path, "-wal"));
    let connection = match access {
        Access::Write => {
            Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)
        }
        Access::Look if is_alone => {
            Connection::open_with_flags(immutable(path), read | OpenFlags::SQLITE_OPEN_URI)
        }
        Access::Read | Access::Look => Connection::open_with_flags(path, read),
    };
    let connection = connection.map_err(failed(path, "open"))?;
    configure(&connection, access).map_err(failed(path, "open"))?;
    Ok(connection)
}

fn has_content(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

/// The address by which SQLite opens a file that it takes to be unchanging.
fn immutable(path: &Path) -> String {
    let mut address = "file:".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                address.push(byte.into());
            }
            _ => address.push_str(&format!("%{byte:02x}")),
        }
    }
    address + "?immutable=1"
}

fn configure(connection: &Connection, access: Access) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WAIT)?;
    for (option, value) in [
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        // A plan that does not depend on parameters is not made anew with each.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
    ] {
        connection.set_db_config(option, value)?;
    }
    connection.pragma_update(None, "cell_size_check", true)?;
    if access == Access::Write {
        connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    } else {
        // Reads the schema, which a file that is only looked at may have lost.
        if access == Access::Read {
            connection.pragma_update(None, "cache_size", -i64::from(READER_CACHE_KIB))?;
        }
        connection.pragma_update(None, "query_only", true)?;
    }
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}
