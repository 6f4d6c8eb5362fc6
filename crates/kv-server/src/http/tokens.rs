//! Transactions over HTTP: the header that names one by its token, who may use it for a request,
//! and `/begin`, `/commit`, `/rollback`.
//!
//! Where they are between requests is in [`crate::tokens`], for all faces. One request at a time
//! runs in one; another one meanwhile is answered BUSY (409).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use kv_core::{BeginOptions, Error, Isolation, Parent};
use serde::Serialize;
use utoipa::ToSchema;

use super::Face;
use super::body;
use super::caller::Caller;
use super::problem::Problem;
use crate::limits;
use crate::tokens::Token;

/// The header that names a transaction.
pub(super) const HEADER: &str = "kv-transaction";

/// Who asks: in the transaction that the request names, if it names one, else for itself alone.
/// Afterwards it waits for another request.
pub(super) struct Seat {
    /// There is one until it is dropped.
    caller: Option<Box<Caller>>,
    face: Arc<Face>,
    in_transaction: bool,
}

impl Seat {
    /// Whether the request names a transaction.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.in_transaction
    }
}

impl std::ops::Deref for Seat {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        self.caller.as_deref().expect(TAKEN)
    }
}

impl std::ops::DerefMut for Seat {
    fn deref_mut(&mut self) -> &mut Caller {
        self.caller.as_deref_mut().expect(TAKEN)
    }
}

/// Only when it is dropped is a seat empty.
const TAKEN: &str = "a seat is taken until it is dropped";

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(mut caller) = self.caller.take() else { return };
        caller.client().let_go();
        // Texts name a transaction by how deep it is.
        caller.session().restart_numbers();
        if !std::thread::panicking() && caller.is_clean() {
            let mut idle = self.face.idle.lock();
            if idle.len() < limits::HTTP_CALLERS_KEPT {
                idle.push(caller);
            }
        }
    }
}

impl Face {
    /// Who asks, by the headers.
    pub(super) fn seat(self: &Arc<Self>, headers: &HeaderMap) -> Result<Seat, Problem> {
        match token_of(headers)? {
            None => Ok(self.own_seat()),
            Some(token) => self.seat_in(token),
        }
    }

    /// Somebody who asks for himself alone.
    fn own_seat(self: &Arc<Self>) -> Seat {
        let idle = self.idle.lock().pop();
        let caller = idle.unwrap_or_else(|| Box::new(Caller::new(&self.server)));
        Seat { caller: Some(caller), face: Arc::clone(self), in_transaction: false }
    }

    /// Somebody who asks in the transaction of a token.
    fn seat_in(self: &Arc<Self>, token: &[u8]) -> Result<Seat, Problem> {
        let token = Token::parse(token).ok_or_else(Problem::expired)?;
        let mut seat = self.own_seat();
        seat.client().join(token).map_err(|error| match error {
            Error::NoSuchToken => Problem::expired(),
            Error::InUse(_) => Problem::busy(),
            other => other.into(),
        })?;
        seat.in_transaction = true;
        Ok(seat)
    }

    /// Somebody in the transaction that the headers must name.
    fn named(self: &Arc<Self>, headers: &HeaderMap) -> Result<Seat, Problem> {
        let Some(token) = token_of(headers)? else {
            let text = "No transaction: name it with the header Kv-Transaction";
            return Err(Problem::no_transaction(text));
        };
        self.seat_in(token)
    }
}

fn token_of(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut tokens = headers.get_all(HEADER).iter();
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(None),
        (Some(token), None) if !token.is_empty() => Ok(Some(token.as_bytes())),
        _ => Err(Problem::bad_request("Kv-Transaction must be one token")),
    }
}

/// A transaction that has begun.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Begun {
    status: &'static str,
    /// The token: send it as the header `Kv-Transaction`.
    transaction_id: String,
    /// 1 for the outermost, one more for each that is nested.
    depth: usize,
    /// When it is aborted if nothing is heard of it, in Unix seconds.
    expires_at: f64,
}

/// What has ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ended {
    status: &'static str,
}

#[derive(Debug, Default, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BeginBody {
    /// `serializable`, `snapshot` or `readonly`.
    isolation: Option<String>,
}

/// Begin a transaction; with the header, one nested in that.
#[utoipa::path(post, path = "/begin", tag = "transactions",
    params(("Kv-Transaction" = Option<String>, Header)), request_body(content = Option<BeginBody>),
    responses((status = 200, body = Begun), (status = "default", response = Problem)))]
pub(super) async fn begin(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    bytes: body::Small,
) -> Result<Json<Begun>, Problem> {
    let asked: BeginBody = match &*bytes.0 {
        b"" => BeginBody::default(),
        _ => body::json(&headers, &bytes.0)?,
    };
    let isolation = asked.isolation.map(|name| isolation(&name)).transpose()?;
    let mut seat = face.seat(&headers)?;
    let parent = if seat.is_in_transaction() { Parent::Current } else { Parent::None };
    let txn =
        seat.session().begin(BeginOptions { parent, isolation, ..BeginOptions::default() })?;
    let depth = seat.session().open_count();
    let token = seat.client().token_of(Some(txn))?;
    let expires = SystemTime::now() + face.server.tokens().idle_max();
    let expires_at = expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let (status, transaction_id) = ("transaction started", token.to_string());
    Ok(Json(Begun { status, transaction_id, depth, expires_at }))
}

fn isolation(name: &str) -> Result<Isolation, Problem> {
    match name.to_ascii_lowercase().as_str() {
        "serializable" => Ok(Isolation::Serializable),
        "snapshot" => Ok(Isolation::Snapshot),
        "readonly" | "read_only" => Ok(Isolation::Readonly),
        _ => Err(Problem::wrong_type("isolation is one of serializable, snapshot and readonly")),
    }
}

/// Commit the innermost transaction of the token.
#[utoipa::path(post, path = "/commit", tag = "transactions",
    params(("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = Ended), (status = "default", response = Problem)))]
pub(super) async fn commit(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    _: body::Small,
) -> Result<Json<Ended>, Problem> {
    face.named(&headers)?.run(|session| session.commit(None)).await?;
    Ok(Json(Ended { status: "committed" }))
}

/// Roll back the innermost transaction of the token.
#[utoipa::path(post, path = "/rollback", tag = "transactions",
    params(("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = Ended), (status = "default", response = Problem)))]
pub(super) async fn rollback(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    _: body::Small,
) -> Result<Json<Ended>, Problem> {
    face.named(&headers)?.session().rollback(None)?;
    Ok(Json(Ended { status: "rolled back" }))
}
