//! A log without commits under another key: the last step of changing the key of a database.
//!
//! What is encrypted with another key cannot be read, but it can be seen to hold nothing: the only
//! segment begins where the snapshot ends, and has only zeros behind its header. Nothing is lost
//! when an equally empty one takes its name.

use std::path::Path;

use super::LogOptions;
use super::scan::ZEROS;
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::writer::{Failure, NewSegment};
use crate::crypt;
use crate::error::Error;
use crate::fs::{Access, File, FileSystem};
use crate::stored::Through;

/// How much is looked at at once, in bytes.
const WINDOW_BYTES: usize = 64 << 10;

/// Whether the log is of another key and holds no commit that a snapshot of `through` lacks.
///
/// # Errors
///
/// [`Error::Io`]; why the segment's header is refused.
pub(crate) fn is_void(
    fs: &dyn FileSystem,
    options: &LogOptions,
    through: Through,
) -> Result<bool, Error> {
    let found = sole_empty(fs, options, through)?;
    Ok(found.is_some_and(|header| header.key != options.key()))
}

/// Whether the log is one segment without commits that goes on after `through`, whatever its key.
///
/// # Errors
///
/// As [`is_void`].
pub(crate) fn is_empty(
    fs: &dyn FileSystem,
    options: &LogOptions,
    through: Through,
) -> Result<bool, Error> {
    Ok(sole_empty(fs, options, through)?.is_some())
}

/// Puts an empty segment of this key, durably, into the place of one of another key that
/// [`is_void`]; else does nothing.
///
/// # Errors
///
/// [`Error::Io`]; then the log is as it was, or as it is to be.
pub(crate) fn reseal(
    fs: &dyn FileSystem,
    options: &LogOptions,
    through: Through,
) -> Result<(), Error> {
    let Some(found) = sole_empty(fs, options, through)? else { return Ok(()) };
    if found.key == options.key() {
        return Ok(());
    }
    let header = SegmentHeader {
        key: options.key(),
        salt: crypt::random(),
        previous: [0; 16],
        carried_through: found.base.revision,
        ..found
    };
    let new = NewSegment { fs, options, header, room: 0 };
    new.create(|_| Ok(())).map(drop).map_err(Failure::into_error)
}

fn sole_empty(
    fs: &dyn FileSystem,
    options: &LogOptions,
    through: Through,
) -> Result<Option<SegmentHeader>, Error> {
    let dir = &options.dir;
    let names = fs.list(dir).map_err(|error| Error::io("list", dir, error))?;
    let mut numbers = names.iter().filter_map(|name| segment::number_in(name));
    let (Some(number), None) = (numbers.next(), numbers.next()) else { return Ok(None) };
    let path = segment::path(dir, number);
    let failed = |error| Error::io("read", &path, error);
    let file = fs.open(&path, Access::Read).map_err(failed)?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let length = file.read_full(&mut bytes, 0).map_err(failed)?;
    let header = SegmentHeader::decode(&path, &bytes[..length])?;
    let is_next = header.database == options.database
        && header.number == number
        && header.base.revision == through.revision;
    let is_empty = is_next && has_only_zeros(&*file, &path)?;
    Ok(is_empty.then_some(header))
}

/// Whether nothing was ever written behind the header.
fn has_only_zeros(file: &dyn File, path: &Path) -> Result<bool, Error> {
    let mut window = vec![0; WINDOW_BYTES];
    let mut offset = SEGMENT_HEADER_BYTES as u64;
    loop {
        let read = file.read_full(&mut window, offset);
        let read = read.map_err(|error| Error::io("read", path, error))?;
        let is_zero = |some: &[u8]| *some == ZEROS[..some.len()];
        if !window[..read].chunks(ZEROS.len()).all(is_zero) {
            return Ok(false);
        }
        if read < WINDOW_BYTES {
            return Ok(true);
        }
        offset += read as u64;
    }
}
