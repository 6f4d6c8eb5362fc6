//! Bodies and what is in a request beside them: JSON, keys in paths, parameters.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kv_core::{Value, ValueKind};
use kv_protocol::Datum;
use kv_protocol::json_value::check_json;
use kv_protocol::reply::json;
use percent_encoding::percent_decode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::problem::Problem;
use crate::limits;

/// A body that is never large: a few members of JSON.
pub(super) struct Small(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Small {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request.into_body(), limits::HTTP_SMALL_BODY_BYTES_MAX).await.map(Small)
    }
}

/// All of a body, up to a bound, within a bounded time.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let whole = Limited::new(body, bytes_max).collect();
    match tokio::time::timeout(limits::HTTP_BODY_TIME_MAX, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_big(bytes_max)),
        Ok(Err(error)) => Err(Problem::bad_request(format!("The body is broken: {error}"))),
        Err(_) => Err(Problem::too_slow()),
    }
}

/// What a body says, if it is said to be JSON.
pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    if media_type(headers).as_deref() != Some(JSON) {
        return Err(Problem::wrong_media_type(JSON));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::wrong_type(error.to_string()),
        _ => Problem::bad_request("Invalid JSON"),
    })
}

pub(super) const JSON: &str = "application/json";

/// The media type, in lower case and without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Has a reply carry the version that it is about as its entity tag, if it is about one.
pub(super) fn set_etag(response: &mut Response, version: Option<u64>) {
    let etag = version.map(|version| HeaderValue::from_str(&format!("\"{version}\"")));
    if let Some(Ok(etag)) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
}

/// The key behind the beginning of a path, percent-decoded: any bytes, `/` among them.
pub(super) fn key(uri: &Uri, beginning: &str) -> Result<Vec<u8>, Problem> {
    let rest = uri.path().strip_prefix(beginning).unwrap_or_default();
    let key: Vec<u8> = percent_decode(rest.as_bytes()).collect();
    if key.is_empty() {
        return Err(Problem::bad_request("A key has at least one byte"));
    }
    Ok(key)
}

/// The parameters of a query, each once, percent-decoded to any bytes.
pub(super) struct Parameters(Vec<(String, Vec<u8>)>);

impl Parameters {
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters: Vec<(String, Vec<u8>)> = Vec::new();
        let query = uri.query().unwrap_or_default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            // Forms write a space so.
            let value = value.replace('+', " ");
            if !known.contains(&name) {
                let known = known.join(", ");
                let text = format!("There is no parameter {name:?} here; there are: {known}");
                return Err(Problem::bad_request(text));
            }
            if parameters.iter().any(|(of, _)| of == name) {
                return Err(Problem::bad_request(format!("{name} is given twice")));
            }
            parameters.push((name.to_owned(), percent_decode(value.as_bytes()).collect()));
        }
        Ok(Parameters(parameters))
    }

    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| &value[..])
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.bytes(name) else { return Ok(None) };
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| {
            Problem::wrong_type(format!("{name} must be a whole number that is not negative"))
        })
    }
}

/// A value that came as JSON: a string is text, all else is kept as the JSON that it is.
pub(super) fn stored(value: &RawValue) -> Result<(Vec<u8>, ValueKind), Problem> {
    let text = value.get();
    // As every other face checks it: how deep it is nested, for example.
    check_json(text.as_bytes())
        .map_err(|error| Problem::bad_request(format!("Invalid JSON: {error}")))?;
    if !text.starts_with('"') {
        return Ok((text.as_bytes().to_vec(), ValueKind::Json));
    }
    let text: String =
        serde_json::from_str(text).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok((text.into_bytes(), ValueKind::Text))
}

/// A member that is there, be it null, which is a value too.
pub(super) fn present<'de, D: Deserializer<'de>>(
    reader: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(reader).map(Some)
}

/// A value as JSON: text as a string, JSON as itself, other bytes as `{"base64":"…"}`.
pub(super) fn shown(value: &Value) -> Box<RawValue> {
    let mut out = Vec::new();
    json::value_alone(&mut out, datum(value));
    let text = String::from_utf8(out).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_default()
}

pub(super) fn datum(value: &Value) -> Datum<'_> {
    Datum { bytes: value.bytes(), json: value.kind() == ValueKind::Json }
}

/// A key as a string of JSON names it.
pub(super) fn key_name(key: &[u8]) -> String {
    let mut out = Vec::new();
    json::key_name(&mut out, key);
    String::from_utf8(out).unwrap_or_default()
}
