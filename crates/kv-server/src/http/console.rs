//! The page at `/`: what the server is doing now, and what is in it. It uses the same endpoints as
//! everybody, reads only unless its switch is on, and loads nothing from elsewhere.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

const HTML: &str = "text/html; charset=utf-8";
const PAGE: &str = include_str!("console/index.html");

/// Each file, by its name.
const FILES: [(&str, &str, &str); 2] = [
    ("console.js", "text/javascript; charset=utf-8", include_str!("console/console.js")),
    ("console.css", "text/css; charset=utf-8", include_str!("console/console.css")),
];

/// The page.
pub(super) async fn page() -> Response {
    ([(header::CONTENT_TYPE, HTML)], PAGE).into_response()
}

/// What it is made of.
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let file = FILES.iter().find(|(of, ..)| *of == name);
    let (_, kind, text) = file.ok_or_else(|| Problem::not_found("There is no such file"))?;
    Ok(([(header::CONTENT_TYPE, *kind)], *text).into_response())
}
