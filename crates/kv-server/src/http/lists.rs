//! Lists of any length: each is read from one view, a piece at a time, and sent as it is taken.
//!
//! ```text
//!   task: Scan ─► 64 KiB ─► channel of two ─► body ─► hyper ─► client
//! ```
//!
//! A client that stops reading holds two pieces and a view, and is cut off after a minute. What
//! fails midway breaks the reply off, so that nobody takes the beginning for the whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use kv_core::{Row, Scan, ValueKind};
use kv_protocol::reply::json;
use kv_protocol::transfer::{self, Record};
use kv_protocol::{Format, Interval, Pattern, Selection, list_row};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;
use tracing::debug;

use super::Face;
use super::body::{self, Parameters, datum};
use super::problem::Problem;
use super::tokens::Seat;
use crate::limits;

const NDJSON: &str = "application/x-ndjson";

/// How rows become bytes.
trait Written: Send {
    fn begin(&mut self, out: &mut Vec<u8>);
    fn row(&mut self, row: &Row, out: &mut Vec<u8>);
    fn end(&mut self, out: &mut Vec<u8>);
}

/// `{"key":value,…}`
#[derive(Default)]
struct Flat {
    rows: u64,
}

impl Written for Flat {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.push(b'{');
    }

    fn row(&mut self, row: &Row, out: &mut Vec<u8>) {
        let Some(value) = row.value() else { return };
        if self.rows > 0 {
            out.push(b',');
        }
        self.rows += 1;
        json::key(out, row.key());
        out.push(b':');
        json::value_alone(out, datum(&value));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.push(b'}');
    }
}

/// Rows as `SCAN` has them: an object a line, or within one object.
struct Rows {
    is_ndjson: bool,
    rows: u64,
    limit: Option<u64>,
    last: Vec<u8>,
}

impl Written for Rows {
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.is_ndjson {
            out.extend_from_slice(b"{\"rows\":[");
        }
    }

    fn row(&mut self, row: &Row, out: &mut Vec<u8>) {
        let Some(value) = row.value() else { return };
        let pair = kv_protocol::Row::Pair { key: row.key(), value: datum(&value) };
        list_row(out, Format::Json, self.is_ndjson || self.rows == 0, &pair);
        if self.is_ndjson {
            out.push(b'\n');
        }
        self.rows += 1;
        self.last.clear();
        self.last.extend_from_slice(row.key());
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.is_ndjson {
            return;
        }
        out.extend_from_slice(format!("],\"count\":{}", self.rows).as_bytes());
        if self.limit == Some(self.rows) {
            // There may be more: behind this key.
            out.extend_from_slice(b",\"next\":");
            json::key(out, &self.last);
        }
        out.push(b'}');
    }
}

/// Records as every import reads them, the last line with their number.
#[derive(Default)]
struct Records {
    rows: u64,
}

impl Written for Records {
    fn begin(&mut self, _: &mut Vec<u8>) {}

    fn row(&mut self, row: &Row, out: &mut Vec<u8>) {
        let Some(value) = row.value() else { return };
        let record = Record {
            key: row.key().into(),
            value: value.bytes().into(),
            json: value.kind() == ValueKind::Json,
            expires_ms: row.expires_ms(),
        };
        transfer::append_ndjson(out, &record);
        self.rows += 1;
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        transfer::append_ndjson_end(out, self.rows);
    }
}

/// Every pair as one object, as this transaction or the newest state has them.
#[utoipa::path(get, path = "/snapshot", tag = "pairs",
    params(("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, body = serde_json::Value), (status = "default", response = Problem)))]
pub(super) async fn snapshot(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    all_pairs(&face, &headers).await
}

/// Every pair as one object.
pub(super) async fn all_pairs(face: &Face, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut seat = face.seat(headers)?;
    let scan = seat.scan(&Selection::default()).await?;
    stream(seat, scan, Flat::default(), body::JSON).await
}

/// Every pair as NDJSON with type and time to live, the last line with their number.
#[utoipa::path(get, path = "/v1/export", tag = "v1",
    params(("prefix" = Option<String>, Query), ("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, content_type = "application/x-ndjson", body = String),
        (status = "default", response = Problem)))]
pub(super) async fn export(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri, &["prefix"])?;
    let interval = match parameters.bytes("prefix") {
        Some(prefix) => Interval::Prefix(prefix.into()),
        None => Interval::All,
    };
    let mut seat = face.seat(&headers)?;
    let scan = seat.scan(&Selection { interval, ..Selection::default() }).await?;
    stream(seat, scan, Records::default(), NDJSON).await
}

const SELECTION: [&str; 6] = ["prefix", "from", "to", "match", "limit", "after"];

/// Pairs in the order of their keys: all of them, or a page.
///
/// As JSON `{"rows":[{"key","value"}],"count","next"}`, as NDJSON an object a line if `Accept` says
/// `application/x-ndjson`. A page that fits into a mebibyte names the next one in `Link`.
#[utoipa::path(get, path = "/v1/kv", tag = "v1",
    params(("prefix" = Option<String>, Query), ("from" = Option<String>, Query),
        ("to" = Option<String>, Query), ("match" = Option<String>, Query),
        ("limit" = Option<u64>, Query), ("after" = Option<String>, Query),
        ("Kv-Transaction" = Option<String>, Header)),
    responses((status = 200, content((serde_json::Value = "application/json"),
        (String = "application/x-ndjson"))), (status = "default", response = Problem)))]
pub(super) async fn page(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri, &SELECTION)?;
    let interval =
        match (parameters.bytes("prefix"), parameters.bytes("from"), parameters.bytes("to")) {
            (None, None, None) => Interval::All,
            (Some(prefix), None, None) => Interval::Prefix(prefix.into()),
            (None, Some(from), Some(to)) if from <= to => {
                Interval::Range { from: from.into(), to: to.into() }
            }
            (None, Some(_), Some(_)) => {
                return Err(Problem::bad_request("from must not be behind to"));
            }
            _ => return Err(Problem::bad_request("Either prefix, or both from and to")),
        };
    let limit = parameters.number("limit")?;
    let selection = Selection {
        interval,
        key: parameters.bytes("match").map(|glob| Pattern::Glob(glob.into())),
        limit,
        after: parameters.bytes("after").map(Into::into),
        ..Selection::default()
    };
    let mut seat = face.seat(&headers)?;
    let scan = seat.scan(&selection).await?;
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_ndjson = accepts.is_some_and(|accept| accept.contains(NDJSON));
    let rows = Rows { is_ndjson, rows: 0, limit, last: Vec::new() };
    let kind = if is_ndjson { NDJSON } else { body::JSON };
    let mut listing = Listing::new(seat, scan, rows);
    let (whole, first) = listing.next_piece(limits::HTTP_PAGE_BYTES).await?;
    let mut response = match whole {
        false => listing.rest(first).into_response(),
        true => {
            let next = (limit == Some(listing.written.rows) && limit != Some(0))
                .then(|| link(&uri, &listing.written.last));
            let mut response = Body::from(first).into_response();
            if let Some(Ok(link)) = next.map(|link| link.parse()) {
                response.headers_mut().insert(header::LINK, link);
            }
            response
        }
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Where the next page is.
fn link(uri: &Uri, last: &[u8]) -> String {
    let query = uri.query().unwrap_or_default().split('&');
    let mut parts: Vec<String> = query
        .filter(|part| !part.is_empty() && !part.starts_with("after="))
        .map(str::to_owned)
        .collect();
    parts.push(format!("after={}", percent_encode(last, NON_ALPHANUMERIC)));
    format!("<{}?{}>; rel=\"next\"", uri.path(), parts.join("&"))
}

/// A list under way.
struct Listing<W> {
    seat: Seat,
    scan: Scan,
    written: W,
    is_begun: bool,
}

/// Sends a list as it is taken. What fails before anything was sent is told as an error.
async fn stream<W: Written + 'static>(
    seat: Seat,
    scan: Scan,
    written: W,
    kind: &'static str,
) -> Result<Response, Problem> {
    let mut listing = Listing::new(seat, scan, written);
    let (is_whole, first) = listing.next_piece(limits::OUTPUT_BYTES_AT_ONCE).await?;
    let body = match is_whole {
        true => Body::from(first),
        false => listing.rest(first),
    };
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

impl<W: Written + 'static> Listing<W> {
    fn new(seat: Seat, scan: Scan, written: W) -> Self {
        Listing { seat, scan, written, is_begun: false }
    }

    /// Bytes of about this number, and whether they are the last.
    async fn next_piece(&mut self, bytes_max: usize) -> Result<(bool, Vec<u8>), Problem> {
        let mut out = Vec::new();
        if !self.is_begun {
            self.is_begun = true;
            self.written.begin(&mut out);
        }
        while out.len() < bytes_max {
            match self.scan.next_row() {
                Ok(Some(row)) => self.written.row(&row, &mut out),
                Ok(None) => {
                    self.written.end(&mut out);
                    return Ok((true, out));
                }
                Err(pause) => self.seat.wait(pause).await?,
            }
        }
        // A transaction that was aborted shows nothing more: its view or its locks are gone.
        if self.seat.session().has_open_transactions() {
            self.seat.session().check_live(None)?;
        }
        Ok((false, out))
    }

    /// The pieces from here on, made by a task as they are taken.
    fn rest(self, first: Vec<u8>) -> Body {
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(self.send(first, sender));
        Body::from_stream(Pieces(receiver))
    }

    async fn send(mut self, first: Vec<u8>, sender: Sender<io::Result<Bytes>>) {
        let mut piece = first;
        let mut is_whole = false;
        loop {
            let taken = sender.send(Ok(piece.into()));
            match timeout(limits::WRITE_STALL_MAX, taken).await {
                Ok(Ok(())) if !is_whole => {}
                // All of it was taken, nobody is there to take it, or he takes nothing.
                _ => return,
            }
            match self.next_piece(limits::OUTPUT_BYTES_AT_ONCE).await {
                Ok((is_last, next)) => (is_whole, piece) = (is_last, next),
                Err(problem) => {
                    debug!(code = problem.code(), "a list over HTTP is broken off");
                    let _ = sender.send(Err(io::Error::other(problem.code()))).await;
                    return;
                }
            }
        }
    }
}

struct Pieces(Receiver<io::Result<Bytes>>);

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
