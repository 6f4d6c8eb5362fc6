//! Replies as Rust values: what a frame says, for each kind of command.

use std::time::Duration;

use kv_protocol::reply::StatValue;
use kv_protocol::request::Isolation;
use kv_protocol::time::parse_time;
use kv_protocol::word::{Word, Words};
use kv_protocol::{ErrorCode, ListKind, Row, TextReply, TransactionState};

use crate::connection::Frame;
use crate::error::{Error, Result, ServerError};
use crate::value::{Key, Value};

/// What a key is, beside its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The version; for a transaction's own write, the one that it will get.
    pub version: u64,
    /// The revision of the commit; none for a transaction's own write.
    pub revision: Option<u64>,
    /// Whether the value was stored as JSON.
    pub json: bool,
    /// The size of the value.
    pub bytes: u64,
    /// When it was written, in Unix milliseconds; none for a transaction's own write.
    pub updated_ms: Option<u64>,
    /// How long it has to live, rounded up to a second; none if it does not expire.
    pub time_to_live: Option<Duration>,
}

/// A committed version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// Its number, from 1.
    pub version: u64,
    /// The revision of its commit.
    pub revision: u64,
    /// The time of its commit, in Unix milliseconds.
    pub updated_ms: u64,
    /// The value; none if it is a delete.
    pub value: Option<Value>,
}

/// How long a key has to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    /// There is no such key.
    NoKey,
    /// It does not expire.
    Endless,
    /// So long, rounded up to a second.
    Left(Duration),
}

/// A transaction that a session has open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenTransaction {
    /// Its id in the session.
    pub id: u64,
    /// The transaction that it is nested in.
    pub parent: Option<u64>,
    /// Its isolation.
    pub isolation: Isolation,
    /// Whether it was aborted and waits for a rollback.
    pub is_aborted: bool,
    /// How long it has been open.
    pub age: Duration,
    /// How many keys it has written.
    pub writes: u64,
}

/// The reply to any command, as the server's text format has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Done; with a number after BEGIN and COMMITALL.
    Ok(Option<u64>),
    /// A value.
    Value(Value),
    /// No such key, or version.
    Nil,
    /// A number.
    Number(i64),
    /// A sign of life.
    Pong,
    /// A list: the words of each row.
    List(Vec<Vec<Word<'static>>>),
}

fn lines(frame: &Frame) -> impl Iterator<Item = &[u8]> {
    let whole = frame.strip_suffix(b"\n").unwrap_or(frame);
    whole.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn unexpected(what: &str) -> Error {
    Error::Protocol(format!("expected {what}, got something else"))
}

/// A line by itself; a refusal is an error.
fn parse(line: &[u8]) -> Result<TextReply> {
    match TextReply::parse(line) {
        Ok(TextReply::Error { code: ErrorCode::Outcome, text }) => {
            Err(Error::OutcomeUnknown { command: "the commit", reason: text })
        }
        Ok(TextReply::Error { code, text }) => {
            Err(Error::Server(ServerError { code, message: text }))
        }
        Ok(reply) => Ok(reply),
        Err(error) => Err(Error::Protocol(error.to_string())),
    }
}

fn single(frame: &Frame) -> Result<TextReply> {
    parse(lines(frame).next().unwrap_or_default())
}

pub(crate) fn done(frame: &Frame) -> Result<()> {
    match single(frame)? {
        TextReply::Ok(_) => Ok(()),
        _ => Err(unexpected("OK")),
    }
}

pub(crate) fn id(frame: &Frame) -> Result<u64> {
    match single(frame)? {
        TextReply::Ok(Some(id)) => Ok(id),
        _ => Err(unexpected("OK and a number")),
    }
}

pub(crate) fn pong(frame: &Frame) -> Result<()> {
    match single(frame)? {
        TextReply::Pong => Ok(()),
        _ => Err(unexpected("PONG")),
    }
}

/// Whether there was something to be done: OK or NIL.
pub(crate) fn was_there(frame: &Frame) -> Result<bool> {
    match single(frame)? {
        TextReply::Ok(None) => Ok(true),
        TextReply::Nil => Ok(false),
        _ => Err(unexpected("OK or NIL")),
    }
}

pub(crate) fn number(frame: &Frame) -> Result<i64> {
    match single(frame)? {
        TextReply::Number(number) => Ok(number),
        _ => Err(unexpected("a number")),
    }
}

pub(crate) fn count(frame: &Frame) -> Result<u64> {
    number(frame)?.try_into().map_err(|_| unexpected("a number that is not negative"))
}

pub(crate) fn flag(frame: &Frame) -> Result<bool> {
    Ok(number(frame)? != 0)
}

pub(crate) fn value(frame: &Frame) -> Result<Option<Value>> {
    match single(frame)? {
        TextReply::Value(bytes) => Ok(Some(bytes.into())),
        TextReply::Nil => Ok(None),
        _ => Err(unexpected("a value or NIL")),
    }
}

pub(crate) fn text(frame: &Frame) -> Result<String> {
    match value(frame)? {
        Some(value) => Ok(value.to_str_lossy().into_owned()),
        None => Err(unexpected("a text")),
    }
}

pub(crate) fn time_to_live(frame: &Frame) -> Result<TimeToLive> {
    match single(frame)? {
        TextReply::Nil => Ok(TimeToLive::NoKey),
        TextReply::Number(-1) => Ok(TimeToLive::Endless),
        TextReply::Number(seconds) => match u64::try_from(seconds) {
            Ok(seconds) => Ok(TimeToLive::Left(Duration::from_secs(seconds))),
            Err(_) => Err(unexpected("seconds")),
        },
        _ => Err(unexpected("seconds or NIL")),
    }
}

pub(crate) fn meta(frame: &Frame) -> Result<Option<Meta>> {
    let Some(value) = value(frame)? else { return Ok(None) };
    let text = value.to_str_lossy();
    let field = |name: &str| {
        text.split(' ')
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(|| unexpected("what is known of a key"))
    };
    let number = |name: &str| match field(name)? {
        "-" | "-1" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| unexpected("numbers of a key")),
    };
    Ok(Some(Meta {
        version: number("version")?.unwrap_or_default(),
        revision: number("revision")?,
        json: field("type")? == "json",
        bytes: number("bytes")?.unwrap_or_default(),
        updated_ms: parse_time(field("updated")?.as_bytes()),
        time_to_live: number("ttl")?.map(Duration::from_secs),
    }))
}

/// The rows of a list of this kind, each made into something.
fn rows<T>(frame: &Frame, kind: ListKind, make: impl Fn(Row<'_>) -> Option<T>) -> Result<Vec<T>> {
    let mut made = Vec::new();
    let mut words = Vec::new();
    for line in lines(frame) {
        if line.starts_with(b"END ") || line.starts_with(b"ERR ") {
            return match parse(line)? {
                TextReply::End(count) if count == made.len() as u64 => Ok(made),
                _ => Err(Error::Protocol(format!("a list of {} rows ends wrongly", made.len()))),
            };
        }
        words.clear();
        for word in Words::new(line) {
            words.push(word.map_err(|error| Error::Protocol(error.to_string()))?);
        }
        let row = Row::from_words(kind, &words).map_err(|e| Error::Protocol(e.to_string()))?;
        made.push(make(row).ok_or_else(|| unexpected("a row of the list asked for"))?);
    }
    Err(unexpected("the end of a list"))
}

pub(crate) fn pairs(frame: &Frame) -> Result<Vec<(Key, Value)>> {
    rows(frame, ListKind::Pairs, |row| match row {
        Row::Pair { key, value } => Some((key.into(), value.bytes.into())),
        _ => None,
    })
}

pub(crate) fn versions(frame: &Frame) -> Result<Vec<Version>> {
    rows(frame, ListKind::Versions, |row| match row {
        Row::Version { version, revision, updated_ms, value } => Some(Version {
            version,
            revision,
            updated_ms,
            value: value.map(|value| value.bytes.into()),
        }),
        _ => None,
    })
}

pub(crate) fn stats(frame: &Frame) -> Result<Vec<(String, String)>> {
    rows(frame, ListKind::Stats, |row| match row {
        Row::Stat { name, value } => Some((
            name.to_owned(),
            match value {
                StatValue::Number(number) => number.to_string(),
                StatValue::Text(text) => text.to_owned(),
            },
        )),
        _ => None,
    })
}

pub(crate) fn transactions(frame: &Frame) -> Result<Vec<OpenTransaction>> {
    rows(frame, ListKind::Transactions, |row| match row {
        Row::Transaction { id, parent, isolation, state, age_ms, writes } => {
            Some(OpenTransaction {
                id,
                parent,
                isolation,
                is_aborted: state == TransactionState::Aborted,
                age: Duration::from_millis(age_ms),
                writes,
            })
        }
        _ => None,
    })
}

/// A reply in the JSON format.
pub(crate) fn json(frame: &Frame) -> Result<String> {
    let line = lines(frame).next().unwrap_or_default();
    match line {
        [b'{', ..] => String::from_utf8(line.to_vec())
            .map_err(|_| Error::Protocol("JSON that is not UTF-8".to_owned())),
        // What the server says to a line that it could not even split.
        _ => parse(line).and_then(|_| Err(unexpected("an object of JSON"))),
    }
}

/// Any reply.
pub(crate) fn any(frame: &Frame) -> Result<Reply> {
    let mut rows = Vec::new();
    for line in lines(frame) {
        // Within a list, a row may look like anything but its end.
        let is_row = !rows.is_empty() && !line.starts_with(b"END ") && !line.starts_with(b"ERR ");
        if is_row {
            let words = Words::new(line).map(|word| word.map(Word::into_owned));
            let words = words.collect::<Result<Vec<_>, _>>();
            rows.push(words.map_err(|error| Error::Protocol(error.to_string()))?);
            continue;
        }
        return Ok(match parse(line)? {
            TextReply::Row(words) => {
                rows.push(words);
                continue;
            }
            TextReply::End(_) => Reply::List(rows),
            TextReply::Ok(number) => Reply::Ok(number),
            TextReply::Value(bytes) => Reply::Value(bytes.into()),
            TextReply::Nil => Reply::Nil,
            TextReply::Number(number) => Reply::Number(number),
            TextReply::Pong => Reply::Pong,
            _ => return Err(unexpected("a reply")),
        });
    }
    Err(unexpected("the end of a list"))
}
