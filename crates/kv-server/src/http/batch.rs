//! `/v1/batch`, many operations of which all are done or none, and `/v1/import`.

use std::io::Cursor;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use http_body_util::BodyExt;
use kv_core::{Condition, GroupLocks, Mode, ValueKind, Version};
use kv_protocol::limits::SizeLimits;
use kv_protocol::transfer::{Format, Reader, Record};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::Face;
use super::body;
use super::problem::Problem;
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
                ready.iter().map(|of| of.done(session)).collect::<Result<Vec<_>, _>>()
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
                let condition = self.if_version.map(Condition::Version);
                let (key, value, kind) = (&self.key, &self.value, self.value_kind);
                match self.ttl_s {
                    None => session.put(None, key, value, kind, condition)?,
                    Some(ttl_s) => {
                        session.put_expiring(None, key, value, kind, condition, ttl_s)?;
                    }
                }
                done.version = session.meta(None, key)?.map(|meta| meta.version.0);
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
#[derive(Debug, Serialize, ToSchema)]
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
    let mut done = Imported { imported: 0, expired: 0, whole: false };
    let (mut unread, mut lines) = (Vec::new(), 0);
    let config = face.server.config();
    loop {
        let frame = timeout(limits::HTTP_BODY_TIME_MAX, stream.frame()).await;
        let frame = frame.map_err(|_| Problem::too_slow())?;
        let is_over = frame.is_none();
        if let Some(frame) = frame {
            let broken = |error| Problem::bad_request(format!("The body is broken: {error}"));
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                unread.extend_from_slice(&data);
            }
        }
        if unread.len() > config.line_bytes_max + limits::OUTPUT_BYTES_AT_ONCE {
            return Err(Problem::too_big(config.line_bytes_max));
        }
        let end = match is_over {
            true => unread.len(),
            false => unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
        };
        if end >= limits::OUTPUT_BYTES_AT_ONCE || is_over {
            let piece: Vec<u8> = unread.drain(..end).collect();
            put_lines(&face, &mut seat, &piece, &mut lines, &mut done).await?;
        }
        if is_over {
            return Ok(Json(done));
        }
    }
}

/// Puts the records of whole lines.
async fn put_lines(
    face: &Face,
    seat: &mut Seat,
    text: &[u8],
    lines: &mut u64,
    done: &mut Imported,
) -> Result<(), Problem> {
    let mut batch = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        *lines += 1;
        if let Some(record) = face.record(line, *lines, done)? {
            batch.push(record);
        }
        if batch.len() >= limits::HTTP_IMPORT_BATCH {
            put_batch(seat, &batch, done).await?;
            batch.clear();
        }
    }
    put_batch(seat, &batch, done).await
}

impl Face {
    /// The record of a line; none if there is none on it.
    fn record(
        &self,
        line: &[u8],
        number: u64,
        done: &mut Imported,
    ) -> Result<Option<Record<'static>>, Problem> {
        let config = self.server.config();
        let limits = SizeLimits {
            key_bytes_max: config.key_bytes_max,
            value_bytes_max: config.value_bytes_max,
        };
        let text = line.trim_ascii();
        if text.starts_with(b"{\"end\":") {
            let end: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
            let expected = end.get("count").and_then(serde_json::Value::as_u64);
            if expected != Some(done.imported + done.expired) && expected != Some(number - 1) {
                let text = format!("Line {number}: the end counts other records than there were");
                return Err(Problem::bad_request(text));
            }
            done.whole = true;
            return Ok(None);
        }
        let mut reader = Reader::new(Format::Ndjson, Cursor::new(line), limits);
        reader.next_record().map_err(|error| {
            let told = match error {
                kv_protocol::transfer::Error::Malformed { what, .. } => what,
                other => other.to_string(),
            };
            let put = done.imported;
            Problem::bad_request(format!("Line {number}: {told}; {put} records before it are in"))
        })
    }
}

async fn put_batch(
    seat: &mut Seat,
    batch: &[Record<'_>],
    done: &mut Imported,
) -> Result<(), Problem> {
    if batch.is_empty() {
        return Ok(());
    }
    let now_ms =
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let is_alive = |of: &&Record<'_>| of.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms);
    let alive: Vec<&Record<'_>> = batch.iter().filter(is_alive).collect();
    let mut locks = GroupLocks::default();
    alive.iter().for_each(|of| locks.key(&of.key, Mode::Exclusive));
    seat.run(|session| {
        session.group(None, &locks, |session| {
            alive.iter().try_for_each(|of| {
                let kind = if of.json { ValueKind::Json } else { ValueKind::Text };
                match of.expires_ms {
                    None => session.put(None, &of.key, &of.value, kind, None),
                    Some(expires_ms) => {
                        let ttl_s = expires_ms.saturating_sub(now_ms).div_ceil(1000).max(1);
                        session.put_expiring(None, &of.key, &of.value, kind, None, ttl_s)
                    }
                }
            })
        })
    })
    .await?;
    done.imported += alive.len() as u64;
    done.expired += (batch.len() - alive.len()) as u64;
    Ok(())
}
