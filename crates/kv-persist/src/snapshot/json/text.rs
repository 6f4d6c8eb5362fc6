//! The document: what its lines say, and that they say it in order.
//!
//! It is read and written as a stream of versions, by key and then by number. The lines are
//!
//! ```text
//!   {"format":1, … ,"keys":[               first
//!   {"key":"house","versions":[            a key begins
//!   {"version":1, … }                      a version; a comma if another follows
//!   ]}                                     the key ends; a comma if another follows
//!   ],"count":{ … },"crc32c":"0a1b2c3d"}   last; the checksum is over all bytes before its digits
//! ```
//!
//! Keys and values come back byte for byte. What is UTF-8 is a string, and everything else
//! `{"base64":"…"}`. A value of type JSON stands there as it was stored, if it is valid and in one
//! line; otherwise its type is `json-text`, and its text is a string.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kv_core::{Datum, Revision, Stamp, ValueKind, Version};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::frame::{Input, Output};
use crate::error::Error;
use crate::fs::File;
use crate::stored::{DatabaseId, Stored, StoredBuf, Through, ValueBuf};

/// The document's format.
const FORMAT: u64 = 1;

/// How every document begins, and will.
const FORMAT_FIELD: &str = "{\"format\":";

/// What comes before the checksum's digits, in the last line.
const SUM_FIELD: &str = ",\"crc32c\":\"";

/// What the first line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) database: DatabaseId,
    pub(super) through: Through,
    pub(super) is_backup: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstLine {
    #[serde(rename = "format")]
    _format: u64,
    database: String,
    revision: u64,
    time: u64,
    backup: bool,
    #[serde(rename = "keys")]
    _keys: [(); 0],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(rename = "versions")]
    _versions: [(); 0],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionLine<'a> {
    version: u64,
    revision: u64,
    time: u64,
    expires: Option<u64>,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Deleted,
    Text,
    Json,
    JsonText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LastLine {
    #[serde(rename = "keys")]
    _keys: [(); 0],
    count: Count,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(deny_unknown_fields)]
struct Count {
    keys: u64,
    versions: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64 {
    base64: String,
}

/// A JSON `null` is a value; only a field that is not there is none.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Writes a document.
#[derive(Debug)]
pub(super) struct Writer {
    output: Output,
    sum: u32,
    /// The key whose versions are being written.
    key: Option<Vec<u8>>,
    keys: u64,
    versions: u64,
    line: Vec<u8>,
}

impl Writer {
    /// Writes the first line.
    pub(super) fn start(output: Output, head: &Head) -> Result<Writer, Error> {
        let mut writer =
            Writer { output, sum: 0, key: None, keys: 0, versions: 0, line: Vec::new() };
        writer.put(&format!(
            "{FORMAT_FIELD}{FORMAT},\"database\":\"{:032x}\",\"revision\":{},\"time\":{},\
             \"backup\":{},\"keys\":[",
            u128::from_be_bytes(head.database.0),
            head.through.revision,
            head.through.time_ms,
            head.is_backup
        ));
        writer.flush()?;
        Ok(writer)
    }

    /// Writes a version, which follows all those before it in the order of keys and numbers.
    pub(super) fn push(&mut self, stored: Stored<'_>) -> Result<(), Error> {
        match self.key.as_deref() {
            Some(key) if key == stored.key => self.put(",\n"),
            Some(key) => {
                assert!(key < stored.key, "keys come in order");
                self.put("\n]},\n");
                self.begin_key(stored.key);
            }
            None => {
                self.put("\n");
                self.begin_key(stored.key);
            }
        }
        self.put(&format!(
            "{{\"version\":{},\"revision\":{},\"time\":{}",
            stored.version, stored.stamp.revision, stored.stamp.time_ms
        ));
        match stored.datum {
            None => self.put(",\"type\":\"deleted\""),
            Some(datum) => self.put_value(datum),
        }
        self.put("}");
        self.versions += 1;
        self.flush()
    }

    /// Writes the last line; answers the file, which is not durable yet.
    pub(super) fn finish(mut self) -> Result<Box<dyn File>, Error> {
        self.put(if self.key.is_some() { "\n]}\n" } else { "\n" });
        self.put(&format!(
            "],\"count\":{{\"keys\":{},\"versions\":{}}}{SUM_FIELD}",
            self.keys, self.versions
        ));
        self.flush()?;
        self.put(&format!("{:08x}\"}}\n", self.sum));
        self.flush()?;
        self.output.finish()
    }

    fn begin_key(&mut self, key: &[u8]) {
        self.put("{\"key\":");
        put_string(&mut self.line, key);
        self.put(",\"versions\":[\n");
        self.key = Some(key.to_vec());
        self.keys += 1;
    }

    fn put_value(&mut self, datum: Datum<'_>) {
        if let Some(expires_ms) = datum.expires_ms {
            self.put(&format!(",\"expires\":{expires_ms}"));
        }
        match datum.kind {
            ValueKind::Json if is_one_json_line(datum.bytes) => {
                self.put(",\"type\":\"json\",\"value\":");
                self.line.extend_from_slice(datum.bytes);
            }
            ValueKind::Json => {
                self.put(",\"type\":\"json-text\",\"value\":");
                put_string(&mut self.line, datum.bytes);
            }
            ValueKind::Text => {
                self.put(",\"type\":\"text\",\"value\":");
                put_string(&mut self.line, datum.bytes);
            }
        }
    }

    fn put(&mut self, text: &str) {
        self.line.extend_from_slice(text.as_bytes());
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.sum = crc32c::crc32c_append(self.sum, &self.line);
        self.output.write(&self.line)?;
        self.line.clear();
        Ok(())
    }
}

/// Whether it can stand in the document as it is.
fn is_one_json_line(bytes: &[u8]) -> bool {
    let is_whole = |value: &RawValue| value.get().len() == bytes.len();
    memchr::memchr2(b'\n', b'\r', bytes).is_none()
        && serde_json::from_slice::<&RawValue>(bytes).is_ok_and(is_whole)
}

fn put_string(line: &mut Vec<u8>, bytes: &[u8]) {
    let text = match str::from_utf8(bytes) {
        Ok(text) => serde_json::to_string(text),
        Err(_) => Ok(format!("{{\"base64\":\"{}\"}}", STANDARD.encode(bytes))),
    };
    line.extend_from_slice(text.expect("a string is JSON").as_bytes());
}

fn read_string(value: &RawValue) -> Option<Vec<u8>> {
    let text = value.get();
    if text.starts_with('"') {
        return serde_json::from_str::<String>(text).ok().map(String::into_bytes);
    }
    let encoded: Base64 = serde_json::from_str(text).ok()?;
    STANDARD.decode(encoded.base64).ok()
}

/// Reads a document.
#[derive(Debug)]
pub(super) struct Reader {
    input: Input,
    head: Head,
    sum: u32,
    line: Vec<u8>,
    key: Vec<u8>,
    place: Place,
    count: Count,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A key, or the last line.
    Key,
    /// The key's first version, which must be there.
    FirstVersion,
    /// A version above this one, or the end of the key.
    VersionAfter(Version),
    /// Nothing.
    End,
}

impl Reader {
    /// Reads the first line.
    pub(super) fn start(mut input: Input) -> Result<Reader, Error> {
        let mut line = Vec::new();
        if !input.line(&mut line)? {
            return Err(input.cut_off());
        }
        let sum = crc32c::crc32c_append(crc32c::crc32c(&line), b"\n");
        let head = read_head(&line, &input)?;
        if input.head().is_some_and(|framed| framed != head) {
            return Err(input.damaged("its two headers differ"));
        }
        let (place, count) = (Place::Key, Count::default());
        Ok(Reader { input, head, sum, line, key: Vec::new(), place, count })
    }

    /// What the first line says.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// How many keys have begun.
    pub(super) fn keys(&self) -> u64 {
        self.count.keys
    }

    /// How many versions have been read.
    pub(super) fn versions(&self) -> u64 {
        self.count.versions
    }

    /// The next version; none at the end, and only then is everything known to be as it was
    /// written.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], and what the file system answers.
    pub(super) fn next(&mut self) -> Result<Option<StoredBuf>, Error> {
        while self.place != Place::End {
            let mut line = std::mem::take(&mut self.line);
            if !self.input.line(&mut line)? {
                return Err(self.input.cut_off());
            }
            let version = self.read_line(&line)?;
            self.sum = crc32c::crc32c_append(crc32c::crc32c_append(self.sum, &line), b"\n");
            if self.place == Place::End && self.input.line(&mut line)? {
                return Err(self.input.damaged("it goes on after its end"));
            }
            self.line = line;
            if version.is_some() {
                return Ok(version);
            }
        }
        Ok(None)
    }

    fn read_line(&mut self, line: &[u8]) -> Result<Option<StoredBuf>, Error> {
        let line =
            str::from_utf8(line).map_err(|_| self.input.damaged("a line of it is not text"))?;
        let changed = "a line of it is not as it was written";
        let (place, read) = match self.place {
            Place::Key if line.starts_with(']') => {
                (Place::End, self.read_last(line).ok_or(changed).flatten().map(|()| None))
            }
            Place::Key => (Place::FirstVersion, self.read_key(line).ok_or(changed).map(|()| None)),
            Place::VersionAfter(_) if line.starts_with(']') => {
                let ends_key = matches!(line, "]}" | "]},");
                (Place::Key, ends_key.then_some(None).ok_or(changed))
            }
            Place::FirstVersion | Place::VersionAfter(_) => match self.read_version(line) {
                Some(stored) => (Place::VersionAfter(stored.version), Ok(Some(stored))),
                None => (self.place, Err(changed)),
            },
            Place::End => (self.place, Err(changed)),
        };
        self.place = place;
        read.map_err(|what| self.input.damaged(what))
    }

    fn read_key(&mut self, line: &str) -> Option<()> {
        let key = parse_key(line)?;
        if self.count.keys > 0 && key <= self.key {
            return None;
        }
        self.key = key;
        self.count.keys += 1;
        Some(())
    }

    fn read_version(&mut self, line: &str) -> Option<StoredBuf> {
        let stored = parse_version(line, &self.key)?;
        let above = match self.place {
            Place::VersionAfter(before) => before,
            _ => Version(0),
        };
        if stored.version <= above || stored.stamp.revision > self.head.through.revision {
            return None;
        }
        self.count.versions += 1;
        Some(stored)
    }

    /// Reads the last line. None if it is none; what is wrong, if it does not fit what came before.
    fn read_last(&self, line: &str) -> Option<Result<(), &'static str>> {
        let end = line.rfind(SUM_FIELD)?;
        let (counted, digits) = line.split_at(end + SUM_FIELD.len());
        let whole = format!("{{\"keys\":[{}}}", &line[..end]);
        let last: LastLine = serde_json::from_str(&whole).ok()?;
        let sum = crc32c::crc32c_append(self.sum, counted.as_bytes());
        Some(if digits != format!("{sum:08x}\"}}") {
            Err("its checksum is wrong: something before was changed")
        } else if last.count != self.count {
            Err("it does not have as many keys and versions as it says")
        } else {
            Ok(())
        })
    }
}

/// The key that a line begins; none if it begins none.
pub(super) fn parse_key(line: &str) -> Option<Vec<u8>> {
    let whole = format!("{line}]}}");
    let line: KeyLine<'_> = serde_json::from_str(&whole).ok()?;
    read_string(line.key)
}

/// The version of a key that a line has; none if it has none.
pub(super) fn parse_version(line: &str, key: &[u8]) -> Option<StoredBuf> {
    let line = line.strip_suffix(',').unwrap_or(line);
    let line: VersionLine<'_> = serde_json::from_str(line).ok()?;
    let value = |bytes, kind| ValueBuf { bytes, kind, expires_ms: line.expires };
    let value = match (line.kind, line.value) {
        (Kind::Deleted, None) if line.expires.is_none() => None,
        (Kind::Text, Some(raw)) => Some(value(read_string(raw)?, ValueKind::Text)),
        (Kind::Json, Some(raw)) => Some(value(raw.get().into(), ValueKind::Json)),
        (Kind::JsonText, Some(raw)) => Some(value(read_string(raw)?, ValueKind::Json)),
        _ => return None,
    };
    let stamp = Stamp { revision: Revision(line.revision), time_ms: line.time };
    Some(StoredBuf { key: key.to_vec(), version: Version(line.version), stamp, value })
}

fn read_head(line: &[u8], input: &Input) -> Result<Head, Error> {
    let damaged = || input.damaged("its first line is not as it was written");
    let line = str::from_utf8(line).map_err(|_| damaged())?;
    let format = line.strip_prefix(FORMAT_FIELD).and_then(|rest| rest.split(',').next());
    match format.and_then(|digits| digits.parse::<u64>().ok()) {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => return Err(input.later_format(found, FORMAT)),
        _ => return Err(damaged()),
    }
    let first: FirstLine = serde_json::from_str(&format!("{line}]}}")).map_err(|_| damaged())?;
    let database = u128::from_str_radix(&first.database, 16).map_err(|_| damaged())?;
    let through = Through { revision: Revision(first.revision), time_ms: first.time };
    let database = DatabaseId(database.to_be_bytes());
    Ok(Head { database, through, is_backup: first.backup })
}
