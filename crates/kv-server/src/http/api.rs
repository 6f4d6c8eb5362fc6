//! The OpenAPI document, made from the handlers, and Swagger UI, whose assets are built in.

use axum::Router;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use super::problem::Problem;
use super::{batch, keys, lists, pairs, status, tokens};

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "kv",
        description = "A transactional key-value store. Requests with the header Kv-Transaction \
                       run in the transaction that /begin answered; others are transactions of \
                       their own. Errors are application/problem+json.",
        license(name = "MIT")
    ),
    tags(
        (name = "pairs", description = "Values as JSON"),
        (name = "transactions", description = "Begin, commit, roll back, by token"),
        (name = "v1", description = "Raw values with entity tags, listings, batches, transfer"),
        (name = "status", description = "Health, metrics, counters")
    ),
    components(responses(Problem)),
    paths(
        pairs::get_key, pairs::put_key, pairs::set, pairs::delete_key,
        pairs::get_kv, pairs::put_kv, pairs::delete_kv,
        tokens::begin, tokens::commit, tokens::rollback,
        keys::get, keys::put, keys::delete, keys::history,
        lists::snapshot, lists::page, lists::export,
        batch::batch, batch::import,
        status::healthz, status::readyz, status::metrics, status::stats, status::locks,
        status::shards, status::transactions, status::cache_stats, status::db_stats, status::backup
    )
)]
struct Document;

/// `/openapi.json`, and `/docs`, which shows it.
pub(super) fn viewer() -> Router {
    SwaggerUi::new("/docs").url("/openapi.json", Document::openapi()).into()
}
