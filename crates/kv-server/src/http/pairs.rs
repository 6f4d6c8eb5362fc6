//! The endpoints without a version in their path: `/get`, `/put`, `/set`, `/delete`, `/kv`. Values
//! are JSON both ways: a string is text, all else is kept as the JSON that it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use kv_core::{Condition, GroupLocks, Mode, Session, Step, ValueKind, Version};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Face;
use super::body::{self, Parameters};
use super::caller::{Caller, Entry};
use super::keys::{condition, missing, version_to_delete};
use super::problem::Problem;

/// One key that is written.
pub(super) struct Write<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) kind: ValueKind,
    pub(super) ttl_s: Option<u64>,
    pub(super) condition: Option<Condition>,
}

/// What a write came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Written {
    /// `create` or `update`.
    operation: &'static str,
    key: String,
    /// The same as `new_version`.
    version: u64,
    pub(super) new_version: u64,
    /// The version before; null if there was no such key.
    pub(super) previous_version: Option<u64>,
}

/// What a write came to, and what is kept now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Put {
    #[serde(flatten)]
    written: Written,
    /// How many versions are kept, this one included.
    total_versions: u64,
}

impl Write<'_> {
    /// Does it, in the session's current transaction if there is one.
    pub(super) fn put(&self, session: &mut Session) -> Step<()> {
        let Write { key, value, kind, ttl_s, condition } = *self;
        match ttl_s {
            None => session.put(None, key, value, kind, condition),
            Some(ttl_s) => session.put_expiring(None, key, value, kind, condition, ttl_s),
        }
    }

    /// Does it, in the caller's transaction if there is one, and tells what was there before; and
    /// how many versions of the key were kept, at most `count_max`.
    async fn counted(
        &self,
        face: &Face,
        caller: &mut Caller,
        count_max: u64,
    ) -> Result<(Written, u64), Problem> {
        face.check_sizes(self.key, self.value)?;
        if self.ttl_s == Some(0) {
            return Err(Problem::bad_request("ttl is in whole seconds, at least 1"));
        }
        let mut locks = GroupLocks::default();
        locks.key(self.key, Mode::Exclusive);
        let (before, new, kept) = caller
            .run(|session| {
                session.group(None, &locks, |session| {
                    let before = session.meta(None, self.key)?;
                    self.put(session)?;
                    let new = session.meta(None, self.key)?.map_or(Version(0), |meta| meta.version);
                    let kept = match count_max {
                        0 => 0,
                        _ => session.history(self.key, Some(count_max))?.len() as u64,
                    };
                    Ok((before.map(|meta| meta.version.0), new.0, kept))
                })
            })
            .await?;
        let written = Written {
            operation: if before.is_some() { "update" } else { "create" },
            key: body::key_name(self.key),
            version: new,
            new_version: new,
            previous_version: before,
        };
        Ok((written, kept))
    }

    /// Does it, in the caller's transaction if there is one, and tells what was there before.
    pub(super) async fn done(&self, face: &Face, caller: &mut Caller) -> Result<Written, Problem> {
        Ok(self.counted(face, caller, 0).await?.0)
    }
}

impl Face {
    /// What every face refuses: see [`kv_protocol::Request::check_sizes`].
    pub(super) fn check_sizes(&self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        let request = kv_protocol::Request::Put {
            key: key.into(),
            value: value.into(),
            txn: None,
            options: kv_protocol::PutOptions::default(),
        };
        request.check_sizes(&self.server.config().size_limits()).map_err(Problem::from)
    }
}

/// A pair and when it was written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Found {
    key: String,
    #[schema(value_type = serde_json::Value)]
    value: Box<RawValue>,
    version: u64,
    /// When it was written, in Unix seconds; null for the transaction's own write.
    timestamp: Option<f64>,
}

/// The value of a key, or one of its versions.
#[utoipa::path(get, path = "/get/{key}", tag = "pairs",
    params(("key" = String, Path), ("version" = Option<u64>, Query),
        ("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = Found), (status = "default", response = Problem)))]
pub(super) async fn get_key(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let key = body::key(&uri, "/get/")?;
    let version = Parameters::of(&uri, &["version"])?.number("version")?;
    let mut seat = face.seat(&headers)?;
    let name = body::key_name(&key);
    let found = match version {
        None => {
            let Entry { meta, value } = seat.entry(&key).await?.ok_or_else(|| missing(&key))?;
            Found {
                key: name,
                value: body::shown(&value),
                version: meta.version.0,
                timestamp: meta.updated_ms.map(|ms| ms as f64 / 1000.0),
            }
        }
        Some(version) => {
            let none = || Problem::not_found(format!("Key '{name}' version {version} not found"));
            let past = seat.run(|session| session.past(&key, Version(version))).await?;
            let past = past.ok_or_else(none)?;
            let value = body::shown(past.value.as_ref().ok_or_else(none)?);
            let timestamp = Some(past.updated_ms as f64 / 1000.0);
            Found { key: name.clone(), value, version, timestamp }
        }
    };
    // A transaction's own write has no version yet that nobody else can get.
    let version = found.timestamp.map(|_| found.version);
    let mut response = Json(found).into_response();
    body::set_etag(&mut response, version);
    Ok(response)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutBody {
    #[schema(value_type = serde_json::Value)]
    value: Box<RawValue>,
}

/// Set a key, and tell which version that made.
#[utoipa::path(post, path = "/put/{key}", tag = "pairs", request_body = PutBody,
    params(("key" = String, Path), ("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = Put), (status = "default", response = Problem)))]
pub(super) async fn put_key(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
    bytes: axum::body::Body,
) -> Result<Json<Put>, Problem> {
    let key = body::key(&uri, "/put/")?;
    let PutBody { value } = face.json(&headers, bytes).await?;
    let (value, kind) = body::stored(&value)?;
    let condition = condition(&headers)?;
    let mut seat = face.seat(&headers)?;
    let write = Write { key: &key, value: &value, kind, ttl_s: None, condition };
    // This write included.
    let kept_max = match face.server.config().history {
        crate::config::History::All => u64::MAX,
        crate::config::History::Newest(newest) => newest.get().into(),
    };
    let (written, before) = write.counted(&face, &mut seat, kept_max).await?;
    let total_versions = before.saturating_add(1).min(kept_max);
    Ok(Json(Put { written, total_versions }))
}

/// A key and its value.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetBody {
    key: String,
    #[schema(value_type = serde_json::Value)]
    value: Box<RawValue>,
}

/// Set a key.
#[utoipa::path(post, path = "/set", tag = "pairs", request_body = SetBody,
    params(("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = SetBody), (status = "default", response = Problem)))]
pub(super) async fn set(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    bytes: axum::body::Body,
) -> Result<Json<SetBody>, Problem> {
    let asked: SetBody = face.json(&headers, bytes).await?;
    face.set(&headers, &asked.key, &asked.value).await?;
    Ok(Json(asked))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    deleted: String,
}

/// Delete a key.
#[utoipa::path(delete, path = "/delete/{key}", tag = "pairs",
    params(("key" = String, Path), ("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = Deleted), (status = "default", response = Problem)))]
pub(super) async fn delete_key(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Deleted>, Problem> {
    let key = body::key(&uri, "/delete/")?;
    let version = version_to_delete(&headers)?;
    let mut seat = face.seat(&headers)?;
    match seat.run(|session| session.delete(None, &key, version)).await? {
        true => Ok(Json(Deleted { deleted: body::key_name(&key) })),
        false => Err(missing(&key)),
    }
}

/// One pair as an object of one member.
type OnePair = BTreeMap<String, Box<RawValue>>;

/// The value of a key; without a key, all pairs as one object.
#[utoipa::path(get, path = "/kv", tag = "pairs",
    params(("key" = Option<String>, Query), ("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = serde_json::Value), (status = "default", response = Problem)))]
pub(super) async fn get_kv(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri, &["key"])?;
    let Some(key) = parameters.bytes("key").map(<[u8]>::to_vec) else {
        return super::lists::all_pairs(&face, &headers).await;
    };
    if key.is_empty() {
        return Err(Problem::bad_request("A key has at least one byte"));
    }
    let mut seat = face.seat(&headers)?;
    let found = seat.entry(&key).await?;
    let entry = found.ok_or_else(|| Problem::not_found("Key not found"))?;
    let pair = OnePair::from([(body::key_name(&key), body::shown(&entry.value))]);
    Ok(Json(pair).into_response())
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct KvBody {
    key: Option<String>,
    #[schema(value_type = serde_json::Value)]
    #[serde(default, deserialize_with = "body::present")]
    value: Option<Box<RawValue>>,
}

/// Set a key.
#[utoipa::path(put, path = "/kv", tag = "pairs", request_body = KvBody,
    params(("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = serde_json::Value), (status = "default", response = Problem)))]
pub(super) async fn put_kv(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    bytes: axum::body::Body,
) -> Result<Response, Problem> {
    let asked: KvBody = face.json(&headers, bytes).await?;
    let (Some(key), Some(value)) = (asked.key, asked.value) else {
        return Err(Problem::bad_request("Missing key or value"));
    };
    face.set(&headers, &key, &value).await?;
    Ok(Json(OnePair::from([(key, value)])).into_response())
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Outcome {
    result: &'static str,
}

/// Delete a key.
#[utoipa::path(delete, path = "/kv", tag = "pairs", request_body = KvBody,
    params(("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = Outcome), (status = "default", response = Problem)))]
pub(super) async fn delete_kv(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    bytes: axum::body::Body,
) -> Result<Json<Outcome>, Problem> {
    let asked: KvBody = face.json(&headers, bytes).await?;
    let Some(key) = asked.key.filter(|key| !key.is_empty()) else {
        return Err(Problem::bad_request("Missing key"));
    };
    let version = version_to_delete(&headers)?;
    let mut seat = face.seat(&headers)?;
    match seat.run(|session| session.delete(None, key.as_bytes(), version)).await? {
        true => Ok(Json(Outcome { result: "Key deleted" })),
        false => Err(Problem::not_found("Key not found")),
    }
}

impl Face {
    /// A body of JSON that may hold a value of any size that is allowed.
    pub(super) async fn json<T: serde::de::DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: axum::body::Body,
    ) -> Result<T, Problem> {
        let bytes = body::read(body, self.server.config().line_bytes_max).await?;
        body::json(headers, &bytes)
    }

    async fn set(
        self: &Arc<Self>,
        headers: &HeaderMap,
        key: &str,
        value: &RawValue,
    ) -> Result<(), Problem> {
        if key.is_empty() {
            return Err(Problem::bad_request("A key has at least one byte"));
        }
        let (value, kind) = body::stored(value)?;
        self.check_sizes(key.as_bytes(), &value)?;
        let condition = condition(headers)?;
        let mut seat = self.seat(headers)?;
        seat.run(|session| session.put(None, key.as_bytes(), &value, kind, condition)).await
    }
}
