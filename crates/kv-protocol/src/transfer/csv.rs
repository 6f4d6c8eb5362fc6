//! CSV: a header with the names of the columns, then a row a record.
//!
//! Rows are read and written by the crate of that name. It would hold a field of any length, so it
//! reads through a gate that is opened for one record at a time.

use std::borrow::Cow;
use std::io::{self, BufRead, Read, Write};

use ::csv::{ByteRecord, ErrorKind, QuoteStyle, ReaderBuilder, WriterBuilder};

use super::record::{self, Fault, Given, Type};
use super::{Error, Record, record_bytes_max, too_long};
use crate::limits::SizeLimits;
use crate::reply::json as text;
use crate::time::write_time;
use crate::word::Shown;

/// The columns, in the order in which they are written.
const COLUMNS: [&str; 5] = ["key", "value", "value_base64", "expires", "type"];
const KEY: usize = 0;
const VALUE: usize = 1;
const VALUE_BASE64: usize = 2;
const EXPIRES: usize = 3;
const TYPE: usize = 4;

/// For each of our columns, where a file has it.
type Places = [Option<usize>; COLUMNS.len()];

#[derive(Debug)]
pub(super) struct Reader<R> {
    rows: ::csv::Reader<Gate<R>>,
    row: ByteRecord,
    limits: SizeLimits,
    /// None before the header was read.
    places: Option<Places>,
    records: u64,
}

/// Lets so many bytes through, then fails.
#[derive(Debug)]
struct Gate<R> {
    input: R,
    bytes_left: usize,
}

impl<R: Read> Read for Gate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes_left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = buffer.len().min(self.bytes_left);
        let bytes = self.input.read(&mut buffer[..length])?;
        self.bytes_left -= bytes;
        Ok(bytes)
    }
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R, limits: SizeLimits) -> Self {
        let gate = Gate { input, bytes_left: 0 };
        Self {
            rows: ReaderBuilder::new().has_headers(false).from_reader(gate),
            row: ByteRecord::new(),
            limits,
            places: None,
            records: 0,
        }
    }

    pub(super) fn next_record(&mut self) -> Result<Option<Record<'static>>, Error> {
        let places = match self.places {
            Some(places) => places,
            None => {
                let places = self.header()?;
                *self.places.insert(places)
            }
        };
        if !self.read_row()? {
            return Ok(None);
        }
        let record = record_of(&self.row, places, &self.limits)
            .map_err(|Fault { what, .. }| self.fault(self.row_line(), what))?;
        self.records += 1;
        Ok(Some(record))
    }

    fn header(&mut self) -> Result<Places, Error> {
        let mut places = [None; COLUMNS.len()];
        if !self.read_row()? {
            return Err(self.fault(1, expected_header("the end of the input")));
        }
        for (place, name) in self.row.iter().enumerate() {
            let name = name.trim_ascii();
            let column = COLUMNS.iter().position(|column| column.as_bytes() == name);
            let is_new = column.is_some_and(|column| places[column].replace(place).is_none());
            if !is_new {
                let found = format!("the column {}", Shown(name));
                return Err(self.fault(self.row_line(), expected_header(&found)));
            }
        }
        if places[KEY].is_none() || places[VALUE].is_none() && places[VALUE_BASE64].is_none() {
            return Err(self.fault(self.row_line(), expected_header("no such column")));
        }
        Ok(places)
    }

    /// Reads the next row; whether there was one.
    fn read_row(&mut self) -> Result<bool, Error> {
        let bytes_max = record_bytes_max(&self.limits);
        self.rows.get_mut().bytes_left = bytes_max;
        self.rows.read_byte_record(&mut self.row).map_err(|error| {
            let line = self.rows.position().line();
            match error.into_kind() {
                ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    self.fault(line, too_long(bytes_max))
                }
                ErrorKind::Io(error) => Error::Io(error),
                ErrorKind::UnequalLengths { pos, expected_len, len } => {
                    let line = pos.map_or(line, |pos| pos.line());
                    self.fault(
                        line,
                        format!("expected {expected_len} fields, as in the header, found {len}"),
                    )
                }
                other => self.fault(line, format!("expected a row of CSV: {other:?}")),
            }
        })
    }

    /// The line that the last row begins on.
    fn row_line(&self) -> u64 {
        self.row.position().map_or(1, |position| position.line())
    }

    fn fault(&self, line: u64, what: String) -> Error {
        Error::Malformed { line, record: self.records + 1, what }
    }
}

fn expected_header(found: &str) -> String {
    format!(
        "expected a header that names each column once, key and value and of {} what there is \
         besides, found {found}",
        COLUMNS.join(",")
    )
}

fn record_of(
    row: &ByteRecord,
    places: Places,
    limits: &SizeLimits,
) -> Result<Record<'static>, Fault> {
    let field = |column: usize| places[column].and_then(|place| row.get(place)).unwrap_or_default();
    let kind = match field(TYPE) {
        b"" => None,
        b"text" => Some(Type::Text),
        b"json" => Some(Type::Json),
        other => {
            let found = Shown(other);
            return Err(Fault::new(format!("\"type\": expected text or json, found {found}")));
        }
    };
    let given = match (field(VALUE), field(VALUE_BASE64)) {
        (value, b"") => Given::Text(Cow::Borrowed(value)),
        (b"", encoded) => Given::Base64(encoded),
        _ => return Err(Fault::new("expected one of \"value\" and \"value_base64\", found both")),
    };
    let expires_ms = match field(EXPIRES) {
        b"" => None,
        text => Some(record::time(text)?),
    };
    record::finish(field(KEY).to_vec(), given, kind, expires_ms, limits)
}

#[derive(Debug)]
pub(super) struct Writer<W: Write> {
    rows: ::csv::Writer<W>,
    /// The fields of a row that are not written as they are.
    buffers: [Vec<u8>; 3],
}

impl<W: Write> Writer<W> {
    pub(super) fn new(output: W) -> Self {
        let rows = WriterBuilder::new().quote_style(QuoteStyle::Necessary).from_writer(output);
        Self { rows, buffers: Default::default() }
    }

    pub(super) fn write(&mut self, record: &Record<'_>, is_first: bool) -> io::Result<()> {
        if is_first {
            self.rows.write_record(COLUMNS)?;
        }
        for buffer in &mut self.buffers {
            buffer.clear();
        }
        let [key, value_base64, expires] = &mut self.buffers;
        text::key_name(key, &record.key);
        let is_text = std::str::from_utf8(&record.value).is_ok();
        if !is_text {
            text::base64(value_base64, &record.value);
        }
        let value = if is_text { &*record.value } else { b"" };
        if let Some(expires_ms) = record.expires_ms {
            write_time(expires, expires_ms);
        }
        let kind = Type::of(record.json).as_str().as_bytes();
        self.rows.write_record([key, value, value_base64, expires, kind])?;
        Ok(())
    }

    pub(super) fn finish(mut self, is_empty: bool) -> io::Result<W> {
        if is_empty {
            self.rows.write_record(COLUMNS)?;
        }
        self.rows.into_inner().map_err(|error| error.into_error())
    }
}
