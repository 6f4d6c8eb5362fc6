//! NDJSON: a record a line, and a last line that says how many there are.

use std::io::{self, BufRead, Read as _, Write};

use serde::Deserialize;

use super::record::{self, Fault};
use super::{Error, Record, record_bytes_max, too_long};
use crate::limits::SizeLimits;

/// What Windows puts before UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The last line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: bool,
    count: u64,
}

#[derive(Debug)]
pub(super) struct Reader<R> {
    input: R,
    limits: SizeLimits,
    /// The line that was read last.
    buffer: Vec<u8>,
    lines: u64,
    records: u64,
    has_end: bool,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R, limits: SizeLimits) -> Self {
        Self { input, limits, buffer: Vec::new(), lines: 0, records: 0, has_end: false }
    }

    pub(super) fn has_end(&self) -> bool {
        self.has_end
    }

    pub(super) fn next_record(&mut self) -> Result<Option<Record<'static>>, Error> {
        while self.read_line()? {
            let mut line = &*self.buffer;
            if self.lines == 1 {
                line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            }
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            if self.has_end {
                return Err(self.fault("expected nothing after the line with \"end\"".to_owned()));
            }
            if !is_end(line) {
                let record = record::parse(line, &self.limits)
                    .map_err(|Fault { what, .. }| self.fault(what))?;
                self.records += 1;
                return Ok(Some(record));
            }
            self.check_end(line).map_err(|what| self.fault(what))?;
            self.has_end = true;
        }
        Ok(None)
    }

    /// Reads a line into the buffer; whether there was one.
    fn read_line(&mut self) -> Result<bool, Error> {
        self.buffer.clear();
        self.lines += 1;
        let bytes_max = record_bytes_max(&self.limits);
        // One byte more tells a line that is too long from one that is just long enough.
        let bytes =
            (&mut self.input).take(bytes_max as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        if bytes > bytes_max && self.buffer.last() != Some(&b'\n') {
            return Err(self.fault(too_long(bytes_max)));
        }
        Ok(bytes > 0)
    }

    fn check_end(&self, line: &[u8]) -> Result<(), String> {
        let end: End = serde_json::from_slice(line).map_err(|error| Fault::json(&error).what)?;
        if !end.end {
            return Err("expected \"end\":true, found false".to_owned());
        }
        if end.count != self.records {
            return Err(format!(
                "expected {} records, as this line says, found {}: some are missing, or were added \
                 without correcting it",
                end.count, self.records
            ));
        }
        Ok(())
    }

    fn fault(&self, what: String) -> Error {
        Error::Malformed { line: self.lines, record: self.records + 1, what }
    }
}

/// Whether a line is an object whose first member is `end`; no record has such a member.
fn is_end(line: &[u8]) -> bool {
    let members = line.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    members.is_some_and(|members| members.starts_with(br#""end""#))
}

#[derive(Debug)]
pub(super) struct Writer<W> {
    output: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, buffer: Vec::new() }
    }

    pub(super) fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.buffer.clear();
        record::write(&mut self.buffer, record);
        self.buffer.push(b'\n');
        self.output.write_all(&self.buffer)
    }

    pub(super) fn finish(mut self, count: u64) -> io::Result<W> {
        self.buffer.clear();
        end(&mut self.buffer, count);
        self.output.write_all(&self.buffer)?;
        Ok(self.output)
    }
}

/// Appends the last line.
pub(super) fn end(out: &mut Vec<u8>, count: u64) {
    out.extend_from_slice(format!("{{\"end\":true,\"count\":{count}}}\n").as_bytes());
}
