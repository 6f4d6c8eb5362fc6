//! `/v1/batch`, many operations of which all are done or none, and `/v1/import`.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use http_body_util::BodyExt;
use kv_core::error::AbortReason;
use kv_core::{Condition, GroupLocks, Mode, Pause, ValueKind, Version};
use kv_protocol::transfer::{Format, Reader, Record};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::Face;
use super::body;
use super::pairs::Write;
use super::problem::Problem;
use super::status::too_much;
use super::tokens::Seat;
use crate::limits;

/// What is to be done, all or nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    operations: Vec<Operation>,
}

/// One operation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Operation {
    /// `get`, `put` or `delete`.
    op: Kind,
    key: String,
    /// Of a put.
    #[schema(value_type = Option<serde_json::Value>)]
    #[serde(default, deserialize_with = "body::present")]
    value: Option<Box<RawValue>>,
    /// Of a put: seconds to live, at least 1.
    ttl: Option<u64>,
    /// Of a put or delete: the version that must be the newest, 0 for none.
    if_version: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Get,
    Put,
    Delete,
}

/// What an operation came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {
    key: String,
    /// Whether the key was there before.
    found: bool,
    /// The version: of a get the newest, of a put the new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// Of a get.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Box<RawValue>>,
}

/// What all of them came to, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Results {
    results: Vec<Done>,
}

/// An operation whose value has been read.
struct Ready {
    kind: Kind,
    key: Vec<u8>,
    value: Vec<u8>,
    value_kind: ValueKind,
    ttl_s: Option<u64>,
    if_version: Option<Version>,
}

impl Operation {
    fn ready(self, face: &Face) -> Result<Ready, Problem> {
        let name = match self.op {
            Kind::Get => "GET",
            Kind::Put => "PUT",
            Kind::Delete => "DEL",
        };
        face.check_enabled(name)?;
        let (value, value_kind) = match (&self.value, self.op) {
            (Some(value), Kind::Put) => body::stored(value)?,
            (None, Kind::Put) => return Err(Problem::bad_request("A put needs a value")),
            (Some(_), _) => return Err(Problem::bad_request("Only a put has a value")),
            (None, _) => (Vec::new(), ValueKind::Text),
        };
        if self.key.is_empty() || self.ttl == Some(0) {
            let text = "A key has at least one byte, and ttl is at least 1";
            return Err(Problem::bad_request(text));
        }
        face.check_sizes(self.key.as_bytes(), &value)?;
        Ok(Ready {
            kind: self.op,
            key: self.key.into_bytes(),
            value,
            value_kind,
            ttl_s: self.ttl,
            if_version: self.if_version.map(Version),
        })
    }

    /// How the key of an operation is locked.
    fn mode(kind: Kind) -> Mode {
        if kind == Kind::Get { Mode::Shared } else { Mode::Exclusive }
    }
}

/// Many operations: all are done, or none.
#[utoipa::path(post, path = "/v1/batch", tag = "v1", request_body = Batch,
    params(("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = Results), (status = "default", response = Problem)))]
pub(super) async fn batch(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    bytes: Body,
) -> Result<Json<Results>, Problem> {
    let asked: Batch = face.json(&headers, bytes).await?;
    if asked.operations.len() > limits::HTTP_BATCH_MAX {
        let text = format!("A batch has at most {} operations", limits::HTTP_BATCH_MAX);
        return Err(Problem::bad_request(text));
    }
    let ready = asked.operations.into_iter().map(|operation| operation.ready(&face));
    let ready = ready.collect::<Result<Vec<_>, _>>()?;
    let mut locks = GroupLocks::default();
    ready.iter().for_each(|of| locks.key(&of.key, Operation::mode(of.kind)));
    let mut seat = face.seat(&headers)?;
    let results = seat
        .run(|session| {
            session.group(None, &locks, |session| {
                let mut bytes = 0;
                let done = |of: &Ready| {
                    let done = of.done(session)?;
                    bytes += done.value.as_ref().map_or(0, |value| value.get().len());
                    let is_bounded = bytes <= limits::HTTP_REPLY_BYTES_MAX;
                    if is_bounded { Ok(done) } else { Err(Pause::from(too_much())) }
                };
                ready.iter().map(done).collect::<Result<Vec<_>, _>>()
            })
        })
        .await?;
    Ok(Json(Results { results }))
}

impl Ready {
    fn done(&self, session: &mut kv_core::Session) -> kv_core::Step<Done> {
        let before = session.meta(None, &self.key)?.map(|meta| meta.version.0);
        let mut done = Done {
            key: body::key_name(&self.key),
            found: before.is_some(),
            version: before,
            value: None,
        };
        match self.kind {
            Kind::Get => {
                done.value = session.get(None, &self.key)?.as_ref().map(body::shown);
            }
            Kind::Put => {
                let write = Write {
                    key: &self.key,
                    value: &self.value,
                    kind: self.value_kind,
                    ttl_s: self.ttl_s,
                    condition: self.if_version.map(Condition::Version),
                };
                write.put(session)?;
                done.version = session.meta(None, &self.key)?.map(|meta| meta.version.0);
            }
            Kind::Delete => {
                session.delete(None, &self.key, self.if_version)?;
                done.version = None;
            }
        }
        Ok(done)
    }
}

/// What an import came to.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Imported {
    /// Records that were put.
    imported: u64,
    /// Records that had expired, and were left out.
    expired: u64,
    /// Whether the last line with their number was there: else it may have been cut off.
    whole: bool,
}

/// Puts the records of an export, as they come: a thousand in a transaction each, or all of them in
/// the transaction that is named.
#[utoipa::path(post, path = "/v1/import", tag = "v1",
    params(("Kv-Transaction" = Option<String>, Header)),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = Imported), (status = "default", response = Problem)))]
pub(super) async fn import(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    mut stream: Body,
) -> Result<Json<Imported>, Problem> {
    if body::media_type(&headers).as_deref() != Some("application/x-ndjson") {
        return Err(Problem::wrong_media_type("application/x-ndjson"));
    }
    let mut seat = face.seat(&headers)?;
    // A transaction is idle while nothing comes that is done in it.
    let time_max = match seat.is_in_transaction() {
        true => limits::HTTP_BODY_TIME_MAX.min(face.server.tokens().idle_max()),
        false => limits::HTTP_BODY_TIME_MAX,
    };
    let mut import = Import::default();
    let (mut unread, mut lines_end) = (Vec::new(), 0);
    let config = face.server.config();
    let mut moved_on = Instant::now();
    loop {
        // However little comes at a time, some lines have to come in time.
        let left = time_max.saturating_sub(moved_on.elapsed());
        let Ok(frame) = timeout(left, stream.frame()).await else {
            seat.session().abort_all(AbortReason::Idle);
            return Err(Problem::too_slow());
        };
        let is_over = frame.is_none();
        if let Some(frame) = frame {
            let broken = |error| Problem::bad_request(format!("The body is broken: {error}"));
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                if let Some(at) = data.iter().rposition(|byte| *byte == b'\n') {
                    lines_end = unread.len() + at + 1;
                }
                unread.extend_from_slice(&data);
            }
        }
        if unread.len() > config.line_bytes_max + limits::OUTPUT_BYTES_AT_ONCE {
            return Err(Problem::too_big(config.line_bytes_max));
        }
        if lines_end >= limits::OUTPUT_BYTES_AT_ONCE || is_over {
            let end = if is_over { unread.len() } else { lines_end };
            let piece: Vec<u8> = unread.drain(..end).collect();
            lines_end = 0;
            import.put_lines(&face, &mut seat, &piece).await?;
            moved_on = Instant::now();
        }
        if is_over {
            return Ok(Json(import.done));
        }
    }
}

/// An import under way.
#[derive(Default)]
struct Import {
    /// Lines that were read, and records that were on them.
    lines: u64,
    records: u64,
    done: Imported,
}

impl Import {
    /// Puts the records of whole lines.
    async fn put_lines(
        &mut self,
        face: &Face,
        seat: &mut Seat,
        text: &[u8],
    ) -> Result<(), Problem> {
        let mut batch = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.lines += 1;
            match self.record(face, line) {
                Ok(record) => batch.extend(record),
                Err(told) => {
                    // Those before it were good.
                    self.put(seat, &batch).await?;
                    let Imported { imported, .. } = self.done;
                    let line = self.lines;
                    return Err(Problem::bad_request(format!(
                        "Line {line}: {told}; {imported} records before it are in"
                    )));
                }
            }
            if batch.len() >= limits::HTTP_IMPORT_BATCH {
                self.put(seat, &batch).await?;
                batch.clear();
            }
        }
        self.put(seat, &batch).await
    }

    /// The record of a line; none if there is none on it. Or what is wrong with it.
    fn record(&mut self, face: &Face, line: &[u8]) -> Result<Option<Record<'static>>, String> {
        let limits = face.server.config().size_limits();
        let text = line.trim_ascii();
        if text.is_empty() {
            return Ok(None);
        }
        if self.done.whole {
            return Err("nothing may stand behind the line that ends it".to_owned());
        }
        if text.starts_with(b"{\"end\":") {
            let end: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
            let count = end.get("count").and_then(serde_json::Value::as_u64);
            self.done.whole = count == Some(self.records);
            return match self.done.whole {
                true => Ok(None),
                false => Err(format!("it does not count the {} records there were", self.records)),
            };
        }
        let record = Reader::new(Format::Ndjson, Cursor::new(line), limits).next_record();
        self.records += 1;
        record.map_err(|error| match error {
            kv_protocol::transfer::Error::Malformed { what, .. } => what,
            other => other.to_string(),
        })
    }

    /// Puts records in one transaction, but for those that have expired.
    async fn put(&mut self, seat: &mut Seat, batch: &[Record<'_>]) -> Result<(), Problem> {
        if batch.is_empty() {
            return Ok(());
        }
        let now_ms = seat.session().now_ms();
        let is_alive =
            |of: &&Record<'_>| of.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms);
        let alive: Vec<&Record<'_>> = batch.iter().filter(is_alive).collect();
        let mut locks = GroupLocks::default();
        alive.iter().for_each(|of| locks.key(&of.key, Mode::Exclusive));
        seat.run(|session| {
            session.group(None, &locks, |session| {
                alive.iter().try_for_each(|of| {
                    let kind = if of.json { ValueKind::Json } else { ValueKind::Text };
                    match of.expires_ms {
                        None => session.put(None, &of.key, &of.value, kind, None),
                        Some(ms) => session.put_until(None, &of.key, &of.value, kind, None, ms),
                    }
                })
            })
        })
        .await?;
        self.done.imported += alive.len() as u64;
        self.done.expired += (batch.len() - alive.len()) as u64;
        Ok(())
    }
}
