//! Exchange formats: the pairs of a store as a stream of text that other programs read and write.
//!
//! A [`Writer`] turns [`Record`]s into one of three [`Format`]s, a [`Reader`] turns them back. Each
//! format keeps every key and value byte for byte, and what kind of value it is. Neither holds more
//! than one record at a time, and a reader never more than the longest one may take. Files, sockets
//! and the store are the caller's.
//!
//! # A record
//!
//! In NDJSON and JSON a record is an object, in CSV a row with columns of the same names:
//!
//! | name | |
//! |---|---|
//! | `key` | the key; one that is not UTF-8 as `base64:…`, and so one that begins with that word |
//! | `value` | a string is text; everything else is a value stored as JSON, as itself |
//! | `value_base64` | the value in its stead, if it cannot stand there as it is |
//! | `type` | `json` or `text`, where the value does not tell: for a JSON value that is a string |
//! | `expires` | until when the pair lives, `2026-11-20T10:00:00.123Z`; left out: for ever |
//!
//! In base64 stand values that are not UTF-8 and, in objects, JSON values that would not keep their
//! bytes there: those with a line break, or with white space around them. In CSV `value` is the
//! text of the value in any case, and `type` says what it is.
//!
//! # The formats
//!
//! - **NDJSON**: a record a line; the last line is `{"end":true,"count":2}`. A file that was cut
//!   off has no such line or a broken one. Reading accepts a file without it, which people write by
//!   hand, and [`Reader::is_whole`] tells; a count that is wrong is an error.
//! - **JSON**: an array of records, whose bracket is missing if it was cut off. Reading also takes
//!   one flat object `{"key":value}`, in which a string is text and all else is JSON.
//! - **CSV**: a header with the names of the columns, then a row a record. Reading takes the
//!   columns in any order; only a key and one of the values must be among them. Nothing tells a
//!   file that was cut off between two rows.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Write};

mod record;

mod ndjson;

mod json;

mod csv;

#[cfg(test)]
mod tests;

use crate::limits::{KIB, SizeLimits};

/// The most bytes that one byte of a key or value takes: `\u001f`.
const BYTES_PER_BYTE_MAX: usize = 6;
/// Room for a record's names, its type and time, and white space that somebody found pretty.
const OVERHEAD_BYTES: usize = 4 * KIB;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// An object a line, and a last line with their count.
    Ndjson,
    /// One array of objects; when reading, one flat object too.
    Json,
    /// Rows of comma-separated fields below a header.
    Csv,
}

impl Format {
    /// Every format, the one that is best for most things first.
    pub const ALL: [Format; 3] = [Format::Ndjson, Format::Json, Format::Csv];

    /// Its name, which is also what the names of its files end in.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Ndjson => "ndjson",
            Format::Json => "json",
            Format::Csv => "csv",
        }
    }

    /// The format of a name, in either case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key, never empty when it was read.
    pub key: Cow<'a, [u8]>,
    /// The value.
    pub value: Cow<'a, [u8]>,
    /// Whether the value is JSON rather than text or bytes; it was checked when it was read.
    pub json: bool,
    /// Until when the pair lives, in milliseconds since the Unix epoch; none is for ever. What is
    /// beyond [`TIME_MS_MAX`](crate::time::TIME_MS_MAX) is written as that.
    pub expires_ms: Option<u64>,
}

/// Why there is no next record. Nothing more can be read after it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The input could not be read.
    Io(io::Error),
    /// What was read is not what the format says.
    Malformed {
        /// The line, counted from 1.
        line: u64,
        /// The record, counted from 1; the one after the last if the fault is behind it.
        record: u64,
        /// What is wrong, and what was expected.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => write!(f, "cannot read: {error}"),
            Error::Malformed { line, record, what } => {
                write!(f, "line {line}, record {record}: {what}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            Error::Malformed { .. } => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}

/// Reads records, one at a time.
#[derive(Debug)]
pub struct Reader<R> {
    format: Reading<R>,
    has_failed: bool,
}

#[derive(Debug)]
enum Reading<R> {
    Ndjson(ndjson::Reader<R>),
    Json(json::Reader<R>),
    Csv(Box<csv::Reader<R>>),
}

impl<R: BufRead> Reader<R> {
    /// A reader of input in a format, which refuses keys and values over the limits.
    pub fn new(format: Format, input: R, limits: SizeLimits) -> Self {
        let format = match format {
            Format::Ndjson => Reading::Ndjson(ndjson::Reader::new(input, limits)),
            Format::Json => Reading::Json(json::Reader::new(input, limits)),
            Format::Csv => Reading::Csv(Box::new(csv::Reader::new(input, limits))),
        };
        Self { format, has_failed: false }
    }

    /// The next record; none at the end, and after an error.
    ///
    /// # Errors
    ///
    /// Where the input is not what the format says, and what was expected there. The records before
    /// it were good.
    pub fn next_record(&mut self) -> Result<Option<Record<'static>>, Error> {
        if self.has_failed {
            return Ok(None);
        }
        let next = match &mut self.format {
            Reading::Ndjson(reader) => reader.next_record(),
            Reading::Json(reader) => reader.next_record(),
            Reading::Csv(reader) => reader.next_record(),
        };
        self.has_failed = next.is_err();
        next
    }

    /// Whether what was read to its end is known to be all of it; see the formats.
    pub fn is_whole(&self) -> bool {
        !self.has_failed
            && match &self.format {
                Reading::Ndjson(reader) => reader.has_end(),
                Reading::Json(reader) => reader.has_end(),
                Reading::Csv(_) => false,
            }
    }
}

/// Writes records, one at a time. The output gets small pieces: put a buffer around it.
#[derive(Debug)]
pub struct Writer<W: Write> {
    format: Writing<W>,
    count: u64,
}

#[derive(Debug)]
enum Writing<W: Write> {
    Ndjson(ndjson::Writer<W>),
    Json(json::Writer<W>),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> Writer<W> {
    /// A writer of a format. Nothing is written yet.
    pub fn new(format: Format, output: W) -> Self {
        let format = match format {
            Format::Ndjson => Writing::Ndjson(ndjson::Writer::new(output)),
            Format::Json => Writing::Json(json::Writer::new(output)),
            Format::Csv => Writing::Csv(Box::new(csv::Writer::new(output))),
        };
        Self { format, count: 0 }
    }

    /// A writer that goes on with an output in which so many records stand already, and nothing
    /// behind them.
    pub fn going_on(format: Format, output: W, records: u64) -> Self {
        Self { count: records, ..Self::new(format, output) }
    }

    /// Writes a record.
    ///
    /// # Errors
    ///
    /// If the output does not take it; then it is of no use any more.
    pub fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let is_first = self.count == 0;
        match &mut self.format {
            Writing::Ndjson(writer) => writer.write(record)?,
            Writing::Json(writer) => writer.write(record, is_first)?,
            Writing::Csv(writer) => writer.write(record, is_first)?,
        }
        self.count += 1;
        Ok(())
    }

    /// How many records there are now.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Writes what belongs at the end, without which the output is not whole; flushes the output
    /// and gives it back.
    ///
    /// # Errors
    ///
    /// If the output does not take it.
    pub fn finish(self) -> io::Result<W> {
        let mut output = match self.format {
            Writing::Ndjson(writer) => writer.finish(self.count)?,
            Writing::Json(writer) => writer.finish(self.count == 0)?,
            Writing::Csv(writer) => writer.finish(self.count == 0)?,
        };
        output.flush()?;
        Ok(output)
    }
}

/// Appends a record as a line of NDJSON, for those who send what they write piece by piece.
pub fn append_ndjson(out: &mut Vec<u8>, record: &Record<'_>) {
    record::write(out, record);
    out.push(b'\n');
}

/// Appends the line that ends NDJSON, with the number of its records.
pub fn append_ndjson_end(out: &mut Vec<u8>, count: u64) {
    ndjson::end(out, count);
}

/// The most bytes that one record may take in a file, white space included.
fn record_bytes_max(limits: &SizeLimits) -> usize {
    let bytes = limits.key_bytes_max.saturating_add(limits.value_bytes_max);
    bytes.saturating_mul(BYTES_PER_BYTE_MAX).saturating_add(OVERHEAD_BYTES)
}

/// The fault of a record that is longer than that.
fn too_long(bytes_max: usize) -> String {
    format!(
        "expected a record of at most {bytes_max} bytes, which the longest key and value can take, \
         found a longer one"
    )
}
