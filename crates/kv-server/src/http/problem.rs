//! Errors over HTTP: `application/problem+json` as RFC 9457 has it, with the protocol's own code.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kv_protocol::{ErrorCode, ErrorReply};
use serde::Serialize;
use utoipa::{ToResponse, ToSchema};

use super::body::set_etag;

/// Why a request was refused.
#[derive(Clone, Debug, Serialize, ToSchema, ToResponse)]
#[response(description = "Why it was refused", content_type = "application/problem+json")]
pub(super) struct Problem {
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// A stable word for programs.
    code: &'static str,
    /// The same text as `detail`.
    error: String,
    /// Whether the same request can succeed later.
    retryable: bool,
    /// The key's version now, where a condition on it was not met.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_version: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        let detail = text.into();
        Problem {
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            error: detail.clone(),
            detail,
            code,
            retryable: false,
            current_version: None,
        }
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "NOTFOUND", text)
    }

    /// The request cannot be understood.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, ErrorCode::Argument.as_str(), text)
    }

    /// A member or parameter is of the wrong type.
    pub(super) fn wrong_type(text: impl Into<String>) -> Self {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::Type.as_str(), text)
    }

    pub(super) fn wrong_method() -> Self {
        let text = "This endpoint does not have this method; /openapi.json lists those it has";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD", text)
    }

    /// The body is not of the endpoint's media type.
    pub(super) fn wrong_media_type(expected: &str) -> Self {
        let text = format!("Expected the header Content-Type: {expected}");
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "MEDIATYPE", text)
    }

    /// A page of somebody else's made this request, or a name that is not this server's.
    pub(super) fn foreign(text: impl Into<String>) -> Self {
        Problem::new(StatusCode::FORBIDDEN, ErrorCode::Forbidden.as_str(), text)
    }

    pub(super) fn too_big(bytes_max: usize) -> Self {
        let text = format!("The body is longer than {bytes_max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooBig.as_str(), text)
    }

    pub(super) fn too_slow() -> Self {
        let text = "The body did not come in time";
        Problem { retryable: true, ..Problem::new(StatusCode::REQUEST_TIMEOUT, "SLOW", text) }
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        let code = ErrorCode::Shutdown.as_str();
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, text);
        Problem { retryable: true, ..problem }
    }

    /// The token names no transaction.
    pub(super) fn no_transaction(text: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, ErrorCode::NoTransaction.as_str(), text)
    }

    /// The token's transaction was ended by the server.
    pub(super) fn expired() -> Self {
        let text = "The transaction of this token has ended: it was idle for too long, or was \
                    committed or rolled back; begin another one";
        let problem = Problem::new(StatusCode::CONFLICT, ErrorCode::NoTransaction.as_str(), text);
        Problem { retryable: true, ..problem }
    }

    pub(super) fn busy() -> Self {
        let text = "Another request of this transaction is under way; send one after the other";
        Problem::new(StatusCode::CONFLICT, ErrorCode::Busy.as_str(), text)
    }

    pub(super) fn with_current_version(self, version: Option<u64>) -> Self {
        Problem { current_version: version, ..self }
    }

    /// A condition of the request's headers is not met.
    pub(super) fn precondition(text: impl Into<String>, current: u64) -> Self {
        let code = ErrorCode::Precondition.as_str();
        let problem = Problem::new(StatusCode::PRECONDITION_FAILED, code, text);
        problem.with_current_version(Some(current))
    }

    /// A command that the settings switch off.
    pub(super) fn disabled(command: &str) -> Self {
        Problem::foreign(format!("{command} is switched off on this server"))
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }
}

/// The status that a code has.
fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Conflict | ErrorCode::Deadlock | ErrorCode::Aborted | ErrorCode::Busy => {
            StatusCode::CONFLICT
        }
        ErrorCode::Timeout | ErrorCode::Shutdown | ErrorCode::Outcome => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::Pruned => StatusCode::GONE,
        ErrorCode::Precondition => StatusCode::PRECONDITION_FAILED,
        ErrorCode::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Type => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::OutOfMemory | ErrorCode::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::NoAuth => StatusCode::UNAUTHORIZED,
        ErrorCode::ReadOnly | ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::Io | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl From<ErrorReply> for Problem {
    fn from(refusal: ErrorReply) -> Self {
        let problem = Problem::new(status_of(refusal.code), refusal.code.as_str(), refusal.text);
        Problem { retryable: refusal.code.is_retryable(), ..problem }
    }
}

impl From<kv_core::Error> for Problem {
    fn from(error: kv_core::Error) -> Self {
        let current = match &error {
            kv_core::Error::Precondition { current, .. } => Some(current.0),
            _ => None,
        };
        Problem::from(crate::command::refusal(&error)).with_current_version(current)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let etag = self.current_version.filter(|version| *version > 0);
        let mut response = (status, Json(self)).into_response();
        set_etag(&mut response, etag);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
