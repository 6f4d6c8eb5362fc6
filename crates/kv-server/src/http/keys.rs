//! `/v1/kv/{key}`: raw values with entity tags, and `/v1/history/{key}`.
//!
//! An entity tag is a key's version. Versions never repeat, a delete counts as one, so a tag that
//! was seen once never means another value.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use kv_core::{Condition, Revision, ValueKind, Version};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Face;
use super::body::{self, Parameters};
use super::caller::Entry;
use super::pairs::{Write, Written};
use super::problem::Problem;
use super::status::too_much;
use crate::limits;

const BINARY: &str = "application/octet-stream";

/// The value of a key: its bytes, or JSON if it was stored as that.
#[utoipa::path(get, path = "/v1/kv/{key}", tag = "v1",
    params(("key" = String, Path), ("version" = Option<u64>, Query), ("at" = Option<u64>, Query),
        ("If-None-Match" = Option<String>, Header), ("Kv-Transaction" = Option<String>, Header)),
    responses(
        (status = 200, content((Vec<u8> = "application/octet-stream"),
            (serde_json::Value = "application/json"))),
        (status = 304), (status = "default", response = Problem)))]
pub(super) async fn get(
    State(face): State<Arc<Face>>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let key = body::key(&uri, "/v1/kv/")?;
    let parameters = Parameters::of(&uri, &["version", "at"])?;
    let mut seat = face.seat(&headers)?;
    if let Some(version) = parameters.number("version")? {
        let found = seat.run(|session| session.get_version(&key, Version(version))).await?;
        let Some(value) = found else {
            let name = body::key_name(&key);
            return Err(Problem::not_found(format!("Key '{name}' version {version} not found")));
        };
        return Ok(valued(&method, &headers, &value, Some(version)));
    }
    if let Some(revision) = parameters.number("at")? {
        let found = seat.run(|session| session.get_at(&key, Revision(revision))).await?;
        let value = found.ok_or_else(|| missing(&key))?;
        return Ok(valued(&method, &headers, &value, None));
    }
    let Entry { meta, value } = seat.entry(&key).await?.ok_or_else(|| missing(&key))?;
    // A transaction's own write has no version yet that nobody else can get.
    let version = meta.updated_ms.map(|_| meta.version.0);
    let mut response = valued(&method, &headers, &value, version);
    if let Some(ttl_s) = meta.ttl_s() {
        response.headers_mut().insert("kv-ttl", HeaderValue::from(ttl_s));
    }
    Ok(response)
}

pub(super) fn missing(key: &[u8]) -> Problem {
    Problem::not_found(format!("Key '{}' not found", body::key_name(key)))
}

/// A value as a reply, or that the client has it already.
fn valued(
    method: &Method,
    headers: &HeaderMap,
    value: &kv_core::Value,
    version: Option<u64>,
) -> Response {
    let etag = version.map(|version| format!("\"{version}\""));
    let is_known = etag.as_ref().is_some_and(|etag| {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
        known.is_some_and(|known| known == "*" || tags(known).any(|tag| tag == etag))
    });
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => {
            let bytes = if *method == Method::HEAD { Vec::new() } else { value.bytes().to_vec() };
            let mut response = Response::new(Body::from(bytes));
            let kind = if value.kind() == ValueKind::Json { body::JSON } else { BINARY };
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(value.len()));
            response
        }
    };
    let headers = response.headers_mut();
    // It may be kept, and has to be asked for again.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    body::set_etag(&mut response, version);
    response
}

fn tags(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(|tag| tag.trim().trim_start_matches("W/"))
}

/// What must hold for a write, by the headers.
pub(super) fn condition(headers: &HeaderMap) -> Result<Option<Condition>, Problem> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let wrong = || Problem::bad_request("If-Match takes * or one version in quotes: \"17\"");
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(Condition::Absent)),
        (None, Some(_)) => Err(Problem::bad_request("If-None-Match takes * for a write")),
        (Some("*"), None) => Ok(Some(Condition::Present)),
        (Some(tag), None) => {
            let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            let version = version.and_then(|version| version.parse().ok()).ok_or_else(wrong)?;
            Ok(Some(Condition::Version(Version(version))))
        }
        (Some(_), Some(_)) => Err(Problem::bad_request("Either If-Match or If-None-Match")),
    }
}

/// The version that a delete must find, by the headers.
pub(super) fn version_to_delete(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    match condition(headers)? {
        None | Some(Condition::Present) => Ok(None),
        Some(Condition::Version(version)) => Ok(Some(version)),
        Some(Condition::Absent) => {
            Err(Problem::bad_request("A delete takes If-Match, not If-None-Match"))
        }
    }
}

/// Set a key to the body: JSON if it is sent as `application/json`, else bytes.
#[utoipa::path(put, path = "/v1/kv/{key}", tag = "v1",
    params(("key" = String, Path), ("ttl" = Option<u64>, Query), ("If-Match" = Option<String>,
        Header), ("If-None-Match" = Option<String>, Header),
        ("Kv-Transaction" = Option<String>, Header)),
    request_body(content((Vec<u8> = "application/octet-stream"),
        (serde_json::Value = "application/json"))),
    responses((status = 200, body = Written), (status = 201, body = Written),
        (status = "default", response = Problem)))]
pub(super) async fn put(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    let key = body::key(&uri, "/v1/kv/")?;
    let parameters = Parameters::of(&uri, &["ttl"])?;
    let kind = match body::media_type(&headers).as_deref() {
        None | Some(BINARY | "text/plain") => ValueKind::Text,
        Some(body::JSON) => ValueKind::Json,
        Some(_) => {
            return Err(Problem::wrong_media_type("application/octet-stream or application/json"));
        }
    };
    let condition = condition(&headers)?;
    let value = body::read(body, face.server.config().value_bytes_max).await?;
    if kind == ValueKind::Json {
        kv_protocol::json_value::check_json(&value)
            .map_err(|error| Problem::bad_request(format!("Invalid JSON: {error}")))?;
    }
    let ttl_s = parameters.number("ttl")?;
    // Not before its body has come: nobody else can do anything in the transaction meanwhile.
    let mut seat = face.seat(&headers)?;
    let write = Write { key: &key, value: &value, kind, ttl_s, condition };
    let written = write.done(&face, &mut seat).await?;
    let status = match written.previous_version {
        None => StatusCode::CREATED,
        Some(_) => StatusCode::OK,
    };
    let version = Some(written.new_version).filter(|_| !seat.is_in_transaction());
    let mut response = (status, Json(written)).into_response();
    body::set_etag(&mut response, version);
    Ok(response)
}

/// Delete a key.
#[utoipa::path(delete, path = "/v1/kv/{key}", tag = "v1",
    params(("key" = String, Path), ("If-Match" = Option<String>, Header),
        ("Kv-Transaction" = Option<String>, Header)),
    responses((status = 204), (status = "default", response = Problem)))]
pub(super) async fn delete(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    let key = body::key(&uri, "/v1/kv/")?;
    let version = version_to_delete(&headers)?;
    let mut seat = face.seat(&headers)?;
    match seat.run(|session| session.delete(None, &key, version)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false if headers.contains_key(header::IF_MATCH) => {
            Err(Problem::precondition("If-Match is not met: there is no such key", 0))
        }
        false => Err(missing(&key)),
    }
}

/// A version of a key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Past {
    /// Its number, from 1.
    version: u64,
    /// The revision of its commit.
    revision: u64,
    /// The time of its commit, in Unix seconds.
    timestamp: f64,
    /// Whether it is a delete.
    deleted: bool,
    /// The value; null for a delete.
    #[schema(value_type = serde_json::Value)]
    value: Option<Box<RawValue>>,
}

/// The kept versions of a key, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct History {
    key: String,
    versions: Vec<Past>,
}

/// The kept versions of a key, the newest first.
#[utoipa::path(get, path = "/v1/history/{key}", tag = "v1",
    params(("key" = String, Path), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = History), (status = "default", response = Problem)))]
pub(super) async fn history(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<History>, Problem> {
    let key = body::key(&uri, "/v1/history/")?;
    let limit = Parameters::of(&uri, &["limit"])?.number("limit")?;
    let limit = limit.unwrap_or(limits::HTTP_HISTORY_DEFAULT).min(limits::HTTP_HISTORY_MAX);
    let mut seat = face.seat(&headers)?;
    let versions = seat.run(|session| session.history(&key, Some(limit))).await?;
    if versions.is_empty() && limit > 0 {
        return Err(missing(&key));
    }
    let value_bytes = |past: &kv_core::Past| past.value.as_ref().map_or(0, |value| value.len());
    if versions.iter().map(value_bytes).sum::<usize>() > limits::HTTP_REPLY_BYTES_MAX {
        return Err(too_much().into());
    }
    let versions = versions.iter().map(|past| Past {
        version: past.version.0,
        revision: past.revision.0,
        timestamp: past.updated_ms as f64 / 1000.0,
        deleted: past.value.is_none(),
        value: past.value.as_ref().map(body::shown),
    });
    Ok(Json(History { key: body::key_name(&key), versions: versions.collect() }))
}
