//! JSON: one array of records, or, when reading, one flat object of keys and values.
//!
//! The document is not read as a whole. What is between its brackets is cut into values by looking
//! for where each ends, which takes no more than counting brackets outside strings; whether it is
//! a value at all is left to a parser, which gets them one by one.

use std::io::{self, BufRead, Write};

use serde_json::value::RawValue;

use super::ndjson::BYTE_ORDER_MARK;
use super::record::{self, Fault, Given};
use super::{Error, Record, record_bytes_max, too_long};
use crate::limits::SizeLimits;

#[derive(Debug)]
pub(super) struct Reader<R> {
    input: R,
    limits: SizeLimits,
    /// The value that was read last.
    buffer: Vec<u8>,
    state: State,
    /// Where the next byte stands, from 1.
    line: u64,
    records: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the document.
    Start,
    /// Between the brackets of an array, or the braces of an object.
    Inside(Container),
    /// Behind the document.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

impl Container {
    const fn closing(self) -> u8 {
        match self {
            Container::Array => b']',
            Container::Object => b'}',
        }
    }
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R, limits: SizeLimits) -> Self {
        Self { input, limits, buffer: Vec::new(), state: State::Start, line: 1, records: 0 }
    }

    pub(super) fn has_end(&self) -> bool {
        self.state == State::End
    }

    pub(super) fn next_record(&mut self) -> Result<Option<Record<'static>>, Error> {
        loop {
            let record = match self.state {
                State::Start => {
                    self.state = State::Inside(self.open()?);
                    continue;
                }
                State::Inside(container) => {
                    if !self.has_next(container)? {
                        self.state = State::End;
                        continue;
                    }
                    match container {
                        Container::Array => self.element()?,
                        Container::Object => self.member()?,
                    }
                }
                State::End => {
                    return match self.peek()? {
                        None => Ok(None),
                        found => Err(self.expected("nothing behind the document", found)),
                    };
                }
            };
            self.records += 1;
            return Ok(Some(record));
        }
    }

    /// Reads the bracket that the document begins with.
    fn open(&mut self) -> Result<Container, Error> {
        for byte in BYTE_ORDER_MARK {
            if self.input.fill_buf()?.first() == Some(byte) {
                self.input.consume(1);
            }
        }
        let container = match self.peek()? {
            Some(b'[') => Container::Array,
            Some(b'{') => Container::Object,
            other => return Err(self.expected("[ or {", other)),
        };
        self.input.consume(1);
        Ok(container)
    }

    /// Reads up to the next element or member; whether there is one.
    fn has_next(&mut self, container: Container) -> Result<bool, Error> {
        let next = self.peek()?;
        if next == Some(container.closing()) {
            self.input.consume(1);
            return Ok(false);
        }
        if self.records > 0 {
            let closing = char::from(container.closing());
            self.expect(b',', &format!(", or {closing}"))?;
        }
        Ok(true)
    }

    fn element(&mut self) -> Result<Record<'static>, Error> {
        let line = self.read_value("a record")?;
        record::parse(&self.buffer, &self.limits).map_err(|fault| self.fault(line, fault))
    }

    fn member(&mut self) -> Result<Record<'static>, Error> {
        if self.peek()? != Some(b'"') {
            let found = self.peek()?;
            return Err(self.expected("a key in quotes", found));
        }
        let line = self.read_value("a key")?;
        let key: String = serde_json::from_slice(&self.buffer)
            .map_err(|error| self.fault(line, Fault::json(&error)))?;
        self.expect(b':', ":")?;
        let line = self.read_value("a value")?;
        let value: &RawValue = serde_json::from_slice(&self.buffer)
            .map_err(|error| self.fault(line, Fault::json(&error)))?;
        record::finish(key.into_bytes(), Given::Raw(value), None, None, &self.limits)
            .map_err(|fault| self.fault(line, fault))
    }

    /// The next byte that is not white space, which is not read yet.
    fn peek(&mut self) -> Result<Option<u8>, Error> {
        loop {
            let bytes = self.input.fill_buf()?;
            let blank = bytes.iter().take_while(|byte| is_blank(**byte)).count();
            let found = bytes.get(blank).copied();
            let is_end = bytes.is_empty();
            self.line += line_breaks(&bytes[..blank]);
            self.input.consume(blank);
            if found.is_some() || is_end {
                return Ok(found);
            }
        }
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), Error> {
        let found = self.peek()?;
        if found != Some(byte) {
            return Err(self.expected(what, found));
        }
        self.input.consume(1);
        Ok(())
    }

    /// Reads one value into the buffer; answers the line that it begins on.
    fn read_value(&mut self, what: &str) -> Result<u64, Error> {
        let first = self.peek()?;
        if first.is_none_or(|byte| matches!(byte, b',' | b':' | b']' | b'}')) {
            return Err(self.expected(what, first));
        }
        let line = self.line;
        let bytes_max = record_bytes_max(&self.limits);
        self.buffer.clear();
        let mut extent = Extent::default();
        loop {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                if extent.is_scalar() {
                    return Ok(line);
                }
                return Err(self.expected("the rest of the value", None));
            }
            let (length, is_whole) = extent.measure(bytes);
            if self.buffer.len() + length > bytes_max {
                return Err(self.fault(line, Fault::new(too_long(bytes_max))));
            }
            self.buffer.extend_from_slice(&bytes[..length]);
            self.line += line_breaks(&bytes[..length]);
            self.input.consume(length);
            if is_whole {
                return Ok(line);
            }
        }
    }

    fn expected(&self, what: &str, found: Option<u8>) -> Error {
        let found = match found {
            Some(byte) => byte.escape_ascii().to_string(),
            None => "the end of the input".to_owned(),
        };
        self.fault(self.line, Fault::new(format!("expected {what}, found {found}")))
    }

    fn fault(&self, line: u64, Fault { what, lines_below }: Fault) -> Error {
        Error::Malformed { line: line + lines_below, record: self.records + 1, what }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn line_breaks(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Finds the end of a value that comes in pieces.
#[derive(Default)]
struct Extent {
    /// Brackets that are open.
    depth: u64,
    is_in_string: bool,
    /// Whether the byte before was a backslash that escapes the next one.
    is_escaped: bool,
    /// Whether the value has begun with something else than a quote or a bracket.
    is_bare: bool,
}

impl Extent {
    /// Whether the input may end here: a number or a word has no closing mark.
    fn is_scalar(&self) -> bool {
        self.is_bare && self.depth == 0 && !self.is_in_string
    }

    /// How much of the next piece belongs to the value, and whether it ends there.
    fn measure(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if self.is_in_string {
                if self.is_escaped {
                    self.is_escaped = false;
                } else if let Some(plain) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
                    at += plain;
                    self.is_escaped = bytes[at] == b'\\';
                    self.is_in_string = self.is_escaped;
                } else {
                    return (bytes.len(), false);
                }
                at += 1;
                if !self.is_in_string && self.depth == 0 {
                    return (at, true);
                }
                continue;
            }
            match byte {
                b',' | b':' | b']' | b'}' if self.is_bare && self.depth == 0 => return (at, true),
                b'"' | b'[' | b'{' if self.is_bare && self.depth == 0 => return (at, true),
                byte if is_blank(byte) && self.depth == 0 => return (at, true),
                b'"' => self.is_in_string = true,
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ if self.depth == 0 => self.is_bare = true,
                _ => {}
            }
            at += 1;
        }
        (bytes.len(), false)
    }
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

    pub(super) fn write(&mut self, record: &Record<'_>, is_first: bool) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.extend_from_slice(if is_first { b"[\n" } else { b",\n" });
        record::write(&mut self.buffer, record);
        self.output.write_all(&self.buffer)
    }

    pub(super) fn finish(mut self, is_empty: bool) -> io::Result<W> {
        self.output.write_all(if is_empty { b"[]\n" } else { b"\n]\n" })?;
        Ok(self.output)
    }
}
