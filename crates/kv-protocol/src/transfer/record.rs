//! One record as an object of JSON, as NDJSON and JSON both have it, and the checks that every
//! format makes of a record.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Record;
use crate::json_value::check_json;
use crate::limits::SizeLimits;
use crate::reply::json as text;
use crate::request::{PutOptions, Request};
use crate::time::{parse_time, write_time};
use crate::word::Shown;

/// What is wrong with a record, and how many lines below its beginning.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) lines_below: u64,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), lines_below: 0 }
    }

    /// A fault of the JSON itself. The reader's own words name a line and a column of what it was
    /// given, which is not the whole file.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let told = error.to_string();
        let place = format!(" at line {line} column {column}");
        let what = told.strip_suffix(&place).unwrap_or(&told);
        Self {
            what: format!("byte {column}: {what}"),
            lines_below: (line as u64).saturating_sub(1),
        }
    }
}

/// A value, before its type is settled.
pub(super) enum Given<'a> {
    /// As itself: a string of JSON if it is text, else any JSON.
    Raw(&'a RawValue),
    /// As the text of the value, whatever its type.
    Text(Cow<'a, [u8]>),
    /// In base64.
    Base64(&'a [u8]),
}

/// The types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    Text,
    Json,
}

impl Type {
    pub(super) const fn of(json: bool) -> Type {
        if json { Type::Json } else { Type::Text }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Type::Text => "text",
            Type::Json => "json",
        }
    }
}

/// The members of a record's object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a record: {\"key\":…,\"value\":…}")]
struct Members<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    // `null` is a value, so its presence is not what an option of serde's tells.
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value_base64: Option<Cow<'a, str>>,
    #[serde(rename = "type", default)]
    kind: Option<Type>,
    #[serde(borrow, default)]
    expires: Option<Cow<'a, str>>,
}

fn present<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(reader).map(Some)
}

/// Appends a record as an object.
pub(super) fn write(out: &mut Vec<u8>, record: &Record<'_>) {
    out.extend_from_slice(br#"{"key":"#);
    text::key(out, &record.key);
    let value = &*record.value;
    match std::str::from_utf8(value) {
        Ok(value) if !record.json => {
            out.extend_from_slice(br#","value":"#);
            text::string(out, value);
        }
        Ok(value) if keeps_its_bytes(value) => {
            out.extend_from_slice(br#","value":"#);
            out.extend_from_slice(value.as_bytes());
            if value.starts_with('"') {
                out.extend_from_slice(br#","type":"json""#);
            }
        }
        _ => {
            out.extend_from_slice(br#","value_base64":""#);
            text::base64(out, value);
            out.push(b'"');
            if record.json {
                out.extend_from_slice(br#","type":"json""#);
            }
        }
    }
    if let Some(expires_ms) = record.expires_ms {
        out.extend_from_slice(br#","expires":""#);
        write_time(out, expires_ms);
        out.push(b'"');
    }
    out.push(b'}');
}

/// Whether a JSON value is the same after it has stood in an object on one line.
fn keeps_its_bytes(value: &str) -> bool {
    let is_blank = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_whitespace);
    let bytes = value.as_bytes();
    !is_blank(bytes.first())
        && !is_blank(bytes.last())
        && memchr::memchr2(b'\n', b'\r', bytes).is_none()
        // It may come from an embedded store, which does not look into its values.
        && check_json(bytes).is_ok()
}

/// Reads a record from an object.
pub(super) fn parse(object: &[u8], limits: &SizeLimits) -> Result<Record<'static>, Fault> {
    let Members { key, value, value_base64, kind, expires } =
        serde_json::from_slice(object).map_err(|error| Fault::json(&error))?;
    let given = match (value, &value_base64) {
        (Some(value), None) => Given::Raw(value),
        (None, Some(value)) => Given::Base64(value.as_bytes()),
        _ => return Err(Fault::new("expected one of \"value\" and \"value_base64\"")),
    };
    let expires_ms = expires.map(|text| time(text.as_bytes())).transpose()?;
    finish(key.into_owned().into_bytes(), given, kind, expires_ms, limits)
}

/// Puts a record together and checks it: what is in base64, the sizes, and that JSON is JSON.
pub(super) fn finish(
    named: Vec<u8>,
    given: Given<'_>,
    kind: Option<Type>,
    expires_ms: Option<u64>,
    limits: &SizeLimits,
) -> Result<Record<'static>, Fault> {
    let key = match named.strip_prefix(text::KEY_BASE64) {
        Some(encoded) => base64("the key behind \"base64:\"", encoded)?,
        None => named,
    };
    if key.is_empty() {
        return Err(Fault::new("expected a key of at least one byte, found an empty one"));
    }
    let is_text = match &given {
        Given::Raw(value) => value.get().starts_with('"'),
        Given::Text(_) | Given::Base64(_) => true,
    };
    let json = match kind {
        Some(kind) => kind == Type::Json,
        None => !is_text,
    };
    let value = match given {
        Given::Raw(value) if json => value.get().as_bytes().to_vec(),
        Given::Raw(value) if is_text => {
            let value: String =
                serde_json::from_str(value.get()).map_err(|error| Fault::json(&error))?;
            value.into_bytes()
        }
        Given::Raw(_) => {
            return Err(Fault::new(format!(
                "the value of {} is said to be text and is not: expected a string",
                Shown(&key)
            )));
        }
        Given::Text(value) => value.into_owned(),
        Given::Base64(encoded) => base64("\"value_base64\"", encoded)?,
    };
    let record = Record { key: Cow::Owned(key), value: Cow::Owned(value), json, expires_ms };
    check(&record, limits)?;
    Ok(record)
}

fn check(record: &Record<'_>, limits: &SizeLimits) -> Result<(), Fault> {
    // What a PUT refuses is refused here, and in the same words.
    let put = Request::Put {
        key: Cow::Borrowed(&record.key),
        value: Cow::Borrowed(&record.value),
        txn: None,
        options: PutOptions { json: record.json, ..PutOptions::default() },
    };
    put.check_sizes(limits).map_err(|error| Fault::new(error.text))?;
    if record.json {
        check_json(&record.value).map_err(|error| {
            Fault::new(format!(
                "the value of {} is said to be JSON and is not: {error}",
                Shown(&record.key)
            ))
        })?;
    }
    Ok(())
}

/// Reads a time.
pub(super) fn time(text: &[u8]) -> Result<u64, Fault> {
    parse_time(text).ok_or_else(|| {
        Fault::new(format!(
            "\"expires\": expected a time such as 2026-11-20T10:00:00.123Z, found {}",
            Shown(text)
        ))
    })
}

fn base64(what: &str, encoded: &[u8]) -> Result<Vec<u8>, Fault> {
    STANDARD.decode(encoded).map_err(|error| {
        Fault::new(format!("{what}: expected base64, found {}: {error}", Shown(encoded)))
    })
}
