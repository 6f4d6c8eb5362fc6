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
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use kv_core::error::AbortReason;
use kv_core::{Row, Scan, TxnId, ValueKind};
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
        if self.rows > 0 && self.limit == Some(self.rows) {
            // There may be more: behind this key, as a query names it.
            let next = percent_encode(&self.last, NON_ALPHANUMERIC);
            out.extend_from_slice(format!(",\"next\":\"{next}\"").as_bytes());
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
pub(super) async fn all_pairs(face: &Arc<Face>, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut seat = face.seat(headers)?;
    let scan = seat.scan(&Selection::default()).await?;
    stream(face, seat, scan, Flat::default(), body::JSON).await
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
    stream(&face, seat, scan, Records::default(), NDJSON).await
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
    let mut listing = Listing::new(&face, seat, scan, rows);
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
    asked: Instant,
    /// How long its view may be open, or its transaction idle.
    age_max: Duration,
    idle_max: Duration,
}

/// Sends a list as it is taken. What fails before anything was sent is told as an error.
async fn stream<W: Written + 'static>(
    face: &Face,
    seat: Seat,
    scan: Scan,
    written: W,
    kind: &'static str,
) -> Result<Response, Problem> {
    let mut listing = Listing::new(face, seat, scan, written);
    let (is_whole, first) = listing.next_piece(limits::OUTPUT_BYTES_AT_ONCE).await?;
    let body = match is_whole {
        true => Body::from(first),
        false => listing.rest(first),
    };
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

impl<W: Written + 'static> Listing<W> {
    fn new(face: &Face, seat: Seat, scan: Scan, written: W) -> Self {
        let config = face.server.config();
        let (age_max, idle_max) = (config.view_age_max, config.idle_transaction_timeout);
        let asked = Instant::now();
        Listing { seat, scan, written, is_begun: false, asked, age_max, idle_max }
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
        self.check_live()?;
        Ok((false, out))
    }

    /// Whether what comes next would still be of the same state: a transaction that was aborted
    /// has neither view nor locks, and a view of its own has its age, too.
    fn check_live(&mut self) -> Result<(), Problem> {
        if self.seat.is_in_transaction() {
            return Ok(self.seat.session().check_live(None)?);
        }
        if self.asked.elapsed() > self.age_max {
            let (txn, reason) = (TxnId(0), AbortReason::ViewAge);
            return Err(kv_core::Error::Aborted { txn, reason }.into());
        }
        Ok(())
    }

    /// The pieces from here on, made by a task as they are taken.
    fn rest(self, first: Vec<u8>) -> Body {
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(self.send(first, sender));
        Body::from_stream(Pieces { receiver, is_over: false })
    }

    async fn send(mut self, first: Vec<u8>, sender: Sender<Piece>) {
        let mut piece = first;
        let mut is_last = false;
        loop {
            // Whoever takes nothing for long keeps no locks meanwhile. The connection is another
            // matter: see `connection`.
            let taken = timeout(self.idle_max, sender.reserve()).await;
            if taken.is_err() {
                self.seat.session().abort_all(AbortReason::Idle);
            }
            let Ok(Ok(room)) = taken else { return };
            room.send(Ok(Some(piece.into())));
            if is_last {
                let _ = sender.send(Ok(None)).await;
                return;
            }
            match self.next_piece(limits::OUTPUT_BYTES_AT_ONCE).await {
                Ok(next) => (is_last, piece) = next,
                Err(problem) => {
                    debug!(code = problem.code(), "a list over HTTP is broken off");
                    let _ = sender.send(Err(io::Error::other(problem.code()))).await;
                    return;
                }
            }
        }
    }
}

/// A part of a list, or that there was none behind the last.
type Piece = io::Result<Option<Bytes>>;

/// The parts as they come. Without an end they are broken off, whatever the reason.
struct Pieces {
    receiver: Receiver<Piece>,
    is_over: bool,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let piece = ready!(self.receiver.poll_recv(context));
        self.is_over = !matches!(piece, Some(Ok(Some(_))));
        Poll::Ready(match piece {
            Some(Ok(Some(bytes))) => Some(Ok(bytes)),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}
