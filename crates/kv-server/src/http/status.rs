//! What the server says of itself: health, metrics, counters, locks, transactions.

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use kv_core::TxnInfo;
use kv_protocol::{Format, Request};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::ReaderStream;

use super::Face;
use super::caller::Caller;
use super::problem::Problem;
use crate::command::{Job, Listed, Listing, Next};
use crate::limits;

/// Whether the process runs.
#[utoipa::path(get, path = "/healthz", tag = "status",
    responses((status = 200, body = serde_json::Value)))]
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Whether it takes requests: not while it drains, or when its disk is full.
#[utoipa::path(get, path = "/readyz", tag = "status",
    responses((status = 200, body = serde_json::Value), (status = "default", response = Problem)))]
pub(super) async fn readyz(State(face): State<Arc<Face>>) -> Result<Json<Value>, Problem> {
    if face.drain.is_cancelled() {
        return Err(Problem::unavailable("The server is stopping"));
    }
    if face.server.store().is_some_and(|store| store.stats().log.is_full) {
        return Err(Problem::unavailable("The disk is full: writes are refused"));
    }
    Ok(Json(json!({"status": "ready"})))
}

impl Face {
    /// What a command that only tells something answers in JSON.
    async fn told(&self, request: Request<'_>) -> Result<Value, Problem> {
        let mut caller = Caller::new(&self.server);
        let text = caller.told(&request).await?;
        serde_json::from_slice(&text)
            .map_err(|error| kv_core::Error::Internal(error.to_string()).into())
    }

    /// The counters, by their names.
    async fn counters(&self) -> Result<Map<String, Value>, Problem> {
        let mut told = self.told(Request::Stats).await?;
        let rows = told["rows"].take();
        let rows = rows.as_array().cloned().unwrap_or_default();
        Ok(rows
            .into_iter()
            .filter_map(|mut row| Some((row["name"].as_str()?.to_owned(), row["value"].take())))
            .collect())
    }
}

impl Caller {
    /// The reply of a command in JSON, on one line.
    async fn told(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Problem> {
        let mut out = Vec::new();
        self.client().format = Format::Json;
        loop {
            match self.client().execute(request, &mut out) {
                Ok(Next::List(mut listing)) => {
                    self.write_whole(&mut listing, &mut out).await?;
                    break;
                }
                Ok(_) => break,
                Err(pause) => self.wait(pause).await?,
            }
        }
        self.settle().await?;
        Ok(out)
    }

    async fn write_whole(
        &mut self,
        listing: &mut Listing,
        out: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        loop {
            if out.len() > limits::HTTP_REPLY_BYTES_MAX {
                return Err(too_much().into());
            }
            let bytes_max = out.len() + limits::OUTPUT_BYTES_AT_ONCE;
            match self.client().write_list(listing, out, bytes_max) {
                Ok(Listed::More) => tokio::task::yield_now().await,
                Ok(_) => return Ok(()),
                Err(pause) => self.wait(pause).await?,
            }
        }
    }
}

/// A reply that is made as a whole would be too long.
pub(super) fn too_much() -> kv_core::Error {
    let limit = kv_core::error::Limit::ReplyBytes;
    kv_core::Error::Limit { limit, max: limits::HTTP_REPLY_BYTES_MAX }
}

/// The counters, as STATS has them.
#[utoipa::path(get, path = "/v1/stats", tag = "status",
    responses((status = 200, body = serde_json::Value), (status = "default", response = Problem)))]
pub(super) async fn stats(State(face): State<Arc<Face>>) -> Result<Json<Value>, Problem> {
    Ok(Json(face.counters().await?.into()))
}

/// The locks that are held and waited for, as LOCKS has them.
#[utoipa::path(get, path = "/v1/locks", tag = "status",
    responses((status = 200, body = serde_json::Value), (status = "default", response = Problem)))]
pub(super) async fn locks(State(face): State<Arc<Face>>) -> Result<Json<Value>, Problem> {
    let mut told = face.told(Request::Locks).await?;
    Ok(Json(json!({"locks": told["rows"].take()})))
}

/// What each shard holds, and how busy it is, as SHARDS LOAD has it.
#[utoipa::path(get, path = "/v1/shards", tag = "status",
    responses((status = 200, body = serde_json::Value),
        (status = "default", response = Problem)))]
pub(super) async fn shards(State(face): State<Arc<Face>>) -> Result<Json<Value>, Problem> {
    let mut told = face.told(Request::Shards { with_load: true }).await?;
    Ok(Json(json!({"shards": told["rows"].take()})))
}

/// The clients that are connected, the transactions that have a token, and what each has open.
#[utoipa::path(get, path = "/v1/transactions", tag = "status",
    responses((status = 200, body = serde_json::Value), (status = "default", response = Problem)))]
pub(super) async fn transactions(State(face): State<Arc<Face>>) -> Result<Json<Value>, Problem> {
    let sessions = face.server.clients().all();
    let rows: Vec<Value> = sessions
        .iter()
        .map(|of| {
            let state = of.state();
            let open: Vec<Value> =
                state.open.iter().map(|info| transaction(info, state.open_as_of)).collect();
            json!({
                "session": of.id,
                "detached": of.is_detached(),
                "transactions": open,
                "address": of.address,
                "name": state.name,
                "age_in_ms": of.age().as_millis() as u64,
                "idle_in_ms": state.active.elapsed().as_millis() as u64,
                "command": state.command,
            })
        })
        .collect();
    let open = face.server.database().stats().transactions_open;
    Ok(Json(json!({"transactions_open": open, "sessions": rows})))
}

/// An open transaction, as TRANSACTIONS has it.
fn transaction(info: &TxnInfo, as_of: Instant) -> Value {
    json!({
        "id": info.txn.0,
        "parent": info.parent.map(|parent| parent.0),
        "isolation": info.isolation.to_string(),
        "state": if info.is_aborted { "aborted" } else { "open" },
        "age_in_ms": (info.age + as_of.elapsed()).as_millis() as u64,
        "writes": info.writes,
    })
}

/// How the cache does: what is in memory, and what had to be read from disk.
#[utoipa::path(get, path = "/cache/stats", tag = "status",
    responses((status = 200, body = serde_json::Value), (status = "default", response = Problem)))]
pub(super) async fn cache_stats(State(face): State<Arc<Face>>) -> Result<Json<Value>, Problem> {
    let counters = face.counters().await?;
    let of = |name: &str| counters.get(name).cloned().unwrap_or(Value::Null);
    let number = |name: &str| of(name).as_u64();
    let (bytes, max) = (number("store_memory_bytes"), number("store_memory_bytes_max"));
    Ok(Json(json!({
        "current_size": of("keys_resident"),
        "max_size": max,
        "is_full": bytes.zip(max).is_some_and(|(bytes, max)| bytes >= max),
        "bytes": bytes,
        "hits": of("cache_hits"),
        "misses": of("cache_misses"),
        "evictions": of("cache_evictions"),
    })))
}

/// What the store holds.
#[utoipa::path(get, path = "/db/stats", tag = "status",
    responses((status = 200, body = serde_json::Value), (status = "default", response = Problem)))]
pub(super) async fn db_stats(State(face): State<Arc<Face>>) -> Result<Json<Value>, Problem> {
    let counters = face.counters().await?;
    let of = |name: &str| counters.get(name).cloned().unwrap_or(Value::Null);
    let files = ["log_bytes", "snapshot_bytes", "snapshot_wal_bytes"];
    let bytes: u64 = files.iter().filter_map(|name| of(name).as_u64()).sum();
    Ok(Json(json!({
        "total_keys": of("keys"),
        "total_versions": of("versions"),
        "database_size_bytes": bytes,
        "record_bytes": of("record_bytes"),
        "revision": of("revision"),
    })))
}

/// Counters that only rise.
const RISING: [&str; 12] = [
    "sessions_begun",
    "revision",
    "lock_waits",
    "cache_hits",
    "cache_misses",
    "cache_misses_in_vain",
    "cache_evictions",
    "log_written_bytes",
    "log_commits",
    "log_batches",
    "log_syncs",
    "checkpoint_folds",
];

/// The counters as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "status",
    responses((status = 200, content_type = "text/plain; version=0.0.4", body = String)))]
pub(super) async fn metrics(State(face): State<Arc<Face>>) -> Result<Response, Problem> {
    let mut text = String::new();
    for (name, value) in face.counters().await? {
        let Some(number) = value.as_u64() else { continue };
        let is_rising = RISING.contains(&name.as_str());
        let (kind, suffix) = if is_rising { ("counter", "_total") } else { ("gauge", "") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE kv_{name}{suffix} {kind}\nkv_{name}{suffix} {number}");
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// A copy of the data as an SQLite file, of one moment.
#[utoipa::path(get, path = "/v1/backup", tag = "v1",
    responses((status = 200, content_type = "application/vnd.sqlite3", body = Vec<u8>),
        (status = "default", response = Problem)))]
pub(super) async fn backup(State(face): State<Arc<Face>>) -> Result<Response, Problem> {
    if face.server.store().is_none() {
        let text = "This server keeps everything in memory: use /v1/export";
        return Err(Problem::bad_request(text));
    }
    // A copy is on the disk for as long as its reader takes.
    let place = Arc::clone(&face.backups).try_acquire_owned().map_err(|_| {
        Problem::unavailable("Another copy is being read; try again when it has been")
    })?;
    let directory = tokio::task::spawn_blocking(tempfile::tempdir)
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| Problem::from(kv_core::Error::Io("no place for the copy".into())))?;
    let path = directory.path().join("backup.sqlite");
    let admitted = face.server.jobs().admit(Job::Backup(path.clone()))?;
    let server = Arc::clone(&face.server);
    let done = tokio::task::spawn_blocking(move || server.run_job(admitted)).await;
    done.unwrap_or_else(|panic| {
        let panic = kv_core::Error::Internal(panic.to_string());
        Err(crate::command::refusal(&panic))
    })?;
    let failed = |error: std::io::Error| kv_core::Error::Io(error.to_string());
    let file = tokio::fs::File::open(&path).await.map_err(failed)?;
    let bytes = file.metadata().await.map_err(failed)?.len();
    // The name goes now, the file with its last reader.
    drop(directory);
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"kv.sqlite\"".to_owned()),
    ];
    let body = Body::from_stream(Copied { file: ReaderStream::new(file), _place: place });
    Ok((StatusCode::OK, headers, body).into_response())
}

/// A copy that is being read, and its place among the copies.
struct Copied {
    file: ReaderStream<tokio::fs::File>,
    _place: OwnedSemaphorePermit,
}

impl Stream for Copied {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.file).poll_next(context)
    }
}
