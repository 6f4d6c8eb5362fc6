//! Transactions that outlive a request: each is a session of its own, found by a token of 128
//! random bits that its client was given and nobody else can guess.
//!
//! ```text
//!             /begin                    /commit, /rollback of the outermost
//!   (none) ───────────► open ──────────────────────────────────────────────► forgotten
//!                        │ idle for the limit                                    ▲
//!                        └────────────► aborted: ABORTED ── as long once more ───┘
//! ```
//!
//! One request at a time runs in a transaction; another one meanwhile is answered BUSY (409).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use kv_core::error::AbortReason;
use kv_core::{BeginOptions, Isolation, Parent};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::OwnedMutexGuard;
use utoipa::ToSchema;

use super::Face;
use super::body;
use super::caller::Caller;
use super::problem::Problem;
use crate::limits;

/// The header that names a transaction.
pub(super) const HEADER: &str = "kv-transaction";

/// Between two looks for transactions that are idle.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The transactions, by their tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    idle_max: Duration,
    open: Mutex<HashMap<String, Arc<Open>>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Open {
    caller: Arc<tokio::sync::Mutex<Caller>>,
    /// When it was last used.
    used: Mutex<Instant>,
}

/// Who asks: somebody in a transaction, whose turn it is, or somebody for this request alone.
pub(super) enum Seat {
    /// In a transaction.
    Token(OwnedMutexGuard<Caller>, Arc<Open>),
    /// By itself; it goes back to the others that wait for somebody. There is one until then.
    Own(Option<Box<Caller>>, Arc<Face>),
}

impl std::ops::Deref for Seat {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        match self {
            Seat::Token(caller, _) => caller,
            Seat::Own(caller, _) => caller.as_deref().expect(TAKEN),
        }
    }
}

impl std::ops::DerefMut for Seat {
    fn deref_mut(&mut self) -> &mut Caller {
        match self {
            Seat::Token(caller, _) => caller,
            Seat::Own(caller, _) => caller.as_deref_mut().expect(TAKEN),
        }
    }
}

/// Only when it is dropped is a seat empty.
const TAKEN: &str = "a seat is taken until it is dropped";

impl Drop for Seat {
    fn drop(&mut self) {
        match self {
            Seat::Token(_, open) => *open.used.lock() = Instant::now(),
            Seat::Own(caller, face) => {
                if let Some(mut caller) = caller.take().filter(|_| !std::thread::panicking())
                    && caller.is_clean()
                {
                    let mut idle = face.idle.lock();
                    if idle.len() < limits::HTTP_CALLERS_KEPT {
                        idle.push(caller);
                    }
                }
            }
        }
    }
}

impl Tokens {
    pub(super) fn new(idle_max: Duration) -> Self {
        Tokens { idle_max, open: Mutex::default() }
    }

    fn add(&self, token: String, caller: Caller) {
        let caller = Arc::new(tokio::sync::Mutex::new(caller));
        let open = Arc::new(Open { caller, used: Mutex::new(Instant::now()) });
        self.open.lock().insert(token, open);
    }

    fn forget(&self, token: &str) {
        self.open.lock().remove(token);
    }

    /// The transaction of a token, if nobody else is at it.
    fn seat(&self, token: &str) -> Result<Seat, Problem> {
        // Held while it is looked at, so that only a request finds it busy, and not the sweep.
        let mut all = self.open.lock();
        let open = all.get(token).cloned().ok_or_else(Problem::expired)?;
        let caller = Arc::clone(&open.caller).try_lock_owned().map_err(|_| Problem::busy())?;
        let mut seat = Seat::Token(caller, open);
        // A commit whose client did not wait for it has ended it: what came next would be
        // transactions of their own.
        if !seat.session().has_open_transactions() {
            all.remove(token);
            return Err(Problem::expired());
        }
        Ok(seat)
    }

    /// Aborts what was idle for too long, forgets what was for twice as long, and what an operator
    /// has cut off.
    fn sweep(&self) {
        self.open.lock().retain(|_, open| {
            let Ok(mut caller) = open.caller.try_lock() else { return true };
            let idle = open.used.lock().elapsed();
            if idle > self.idle_max {
                caller.session().abort_all(AbortReason::Idle);
            } else {
                caller.session().abort_old_views();
            }
            idle <= self.idle_max * 2
                && !caller.is_cut()
                && caller.session().has_open_transactions()
        });
    }
}

/// Ends transactions that are idle, until the server drains; then all of them.
pub(super) async fn watch(face: Arc<Face>) {
    let drain = face.drain.clone();
    while drain.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN_AFTER)).await.is_some() {
        face.tokens.sweep();
    }
    face.tokens.open.lock().clear();
}

impl Face {
    /// Who asks, by the headers.
    pub(super) fn seat(self: &Arc<Self>, headers: &HeaderMap) -> Result<Seat, Problem> {
        if let Some(token) = token_of(headers)? {
            return self.tokens.seat(token);
        }
        let idle = self.idle.lock().pop();
        let caller = idle.unwrap_or_else(|| Box::new(Caller::new(&self.server)));
        Ok(Seat::Own(Some(caller), Arc::clone(self)))
    }

    /// The transaction that the headers name.
    fn named(&self, headers: &HeaderMap) -> Result<(String, Seat), Problem> {
        let Some(token) = token_of(headers)? else {
            let text = "No transaction: name it with the header Kv-Transaction";
            return Err(Problem::no_transaction(text));
        };
        Ok((token.to_owned(), self.tokens.seat(token)?))
    }
}

fn token_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(token) = headers.get(HEADER) else { return Ok(None) };
    let token = token.to_str().ok().filter(|token| !token.is_empty());
    token.map(Some).ok_or_else(|| Problem::bad_request("Kv-Transaction must be a token"))
}

/// 128 random bits.
fn new_token() -> Result<String, Problem> {
    let bits = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
    let (high, low) = bits.map_err(|error| {
        Problem::from(kv_core::Error::Internal(format!("no random bits: {error}")))
    })?;
    Ok(format!("{high:016x}{low:016x}"))
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
    let (token, depth) = match token_of(&headers)? {
        Some(token) => {
            let mut seat = face.tokens.seat(token)?;
            (token.to_owned(), start(&mut seat, Parent::Current, isolation)?)
        }
        None => {
            let (token, mut caller) = (new_token()?, Caller::new(&face.server));
            let depth = start(&mut caller, Parent::None, isolation)?;
            face.tokens.add(token.clone(), caller);
            (token, depth)
        }
    };
    let expires = SystemTime::now() + face.tokens.idle_max;
    let expires_at = expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let status = "transaction started";
    Ok(Json(Begun { status, transaction_id: token, depth, expires_at }))
}

/// Begins a transaction; how deep it is nested, from 1.
fn start(
    caller: &mut Caller,
    parent: Parent,
    isolation: Option<Isolation>,
) -> Result<usize, Problem> {
    caller.session().begin(BeginOptions { parent, isolation, ..BeginOptions::default() })?;
    Ok(caller.session().transactions().len())
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
    let (token, mut seat) = face.named(&headers)?;
    seat.run(|session| session.commit(None)).await?;
    face.forget_if_over(&token, &mut seat);
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
    let (token, mut seat) = face.named(&headers)?;
    seat.session().rollback(None)?;
    face.forget_if_over(&token, &mut seat);
    Ok(Json(Ended { status: "rolled back" }))
}

impl Face {
    fn forget_if_over(&self, token: &str, seat: &mut Seat) {
        if !seat.session().has_open_transactions() {
            self.tokens.forget(token);
        }
    }
}
