//! The HTTP face: requests become calls of the engine, its answers JSON, raw bytes or a stream.
//!
//! ```text
//!   socket ─ hyper, with limits ─► gate ─► handler ─► Caller ─► Session ─► engine
//!            (connection)          who may  pairs, keys,  pauses, and waiting
//!                                  ask      batch, …      until it is durable
//! ```
//!
//! - `gate`: what is refused before a handler sees it, and the headers of every reply;
//! - `caller`: somebody who asks: a session, and the waiting that its commands need;
//! - `tokens`: transactions, and who asks in one;
//! - `keys`, `pairs`, `batch`, `lists`, `status`: the endpoints;
//! - `problem`: errors, as RFC 9457 has them;
//! - `api`, `console`: the OpenAPI document with its viewer, and the page at `/`.
//!
//! **Architecture invariant:** no rule of the store is here. What a condition, a lock or a
//! transaction means is decided by the engine, as for every other face.

mod api;

mod batch;

mod body;

mod caller;

mod connection;

mod console;

mod gate;

mod keys;

mod lists;

mod pairs;

mod problem;

mod status;

mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use connection::serve;

use crate::limits;
use crate::server::Server;
use crate::shutdown::Shutdown;
use caller::Caller;
use problem::Problem;

/// What all requests share.
#[derive(Debug)]
struct Face {
    server: Arc<Server>,
    drain: CancellationToken,
    /// Callers without anybody: what one of them takes to be made is half of what a read takes.
    #[expect(clippy::vec_box, reason = "they are moved in and out for each request")]
    idle: Mutex<Vec<Box<Caller>>>,
    /// Leave to make a copy of the data, which is there until it has been read.
    backups: Arc<Semaphore>,
}

/// Every endpoint of a server; made once, for all connections.
pub fn endpoints(server: Arc<Server>, shutdown: &Shutdown) -> Router {
    router(Arc::new(Face {
        server,
        drain: shutdown.drain_token().clone(),
        idle: Mutex::default(),
        backups: Arc::new(Semaphore::new(limits::HTTP_BACKUPS_MAX)),
    }))
}

/// What each endpoint takes and answers is in its handler's `utoipa::path`, and a test holds the
/// two together.
fn router(face: Arc<Face>) -> Router {
    let plain = Router::new()
        .route("/get/{*key}", get(pairs::get_key))
        .route("/put/{*key}", post(pairs::put_key))
        .route("/set", post(pairs::set))
        .route("/delete/{*key}", post(pairs::delete_key).delete(pairs::delete_key))
        .route("/begin", post(tokens::begin))
        .route("/commit", post(tokens::commit))
        .route("/rollback", post(tokens::rollback))
        .route("/snapshot", get(lists::snapshot))
        .route("/kv", get(pairs::get_kv).put(pairs::put_kv).delete(pairs::delete_kv))
        .route("/cache/stats", get(status::cache_stats))
        .route("/db/stats", get(status::db_stats));
    let v1 = Router::new()
        .route("/v1/kv/{*key}", get(keys::get).put(keys::put).delete(keys::delete))
        .route("/v1/kv", get(lists::page))
        .route("/v1/history/{*key}", get(keys::history))
        .route("/v1/batch", post(batch::batch))
        .route("/v1/export", get(lists::export))
        .route("/v1/import", post(batch::import))
        .route("/v1/backup", get(status::backup))
        .route("/v1/locks", get(status::locks))
        .route("/v1/shards", get(status::shards))
        .route("/v1/transactions", get(status::transactions))
        .route("/v1/stats", get(status::stats));
    let whole = Router::new()
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .route("/", get(console::page))
        .route("/console/{file}", get(console::asset));
    let gate = axum::middleware::from_fn_with_state(Arc::clone(&face), gate::pass);
    plain
        .merge(v1)
        .merge(whole)
        .fallback(any(no_such_endpoint))
        .method_not_allowed_fallback(wrong_method)
        .with_state(face)
        .merge(api::viewer())
        .layer(gate)
}

async fn no_such_endpoint() -> Problem {
    Problem::not_found("There is no such endpoint; /openapi.json lists all of them")
}

async fn wrong_method() -> Problem {
    Problem::wrong_method()
}
