//! Every bound and default of the client, with its unit and reason.

use std::time::Duration;

/// The most bytes of one reply that are held; far more than a page of a scan or the largest value,
/// so that only a server that does not know when to end is cut off.
pub(crate) const REPLY_BYTES_MAX: usize = 1 << 30;

/// Room for what one read of a socket brings.
pub(crate) const READ_BYTES: usize = 16 << 10;

/// How long a connection may take: a server on the other side of the world answers within a
/// second, and a person waits no longer than this.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a reply may take: more than the server's longest wait for a lock by default.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// How many transactions, scans and sessions of one client have a connection at the same time.
pub(crate) const CONNECTIONS_MAX: usize = 32;

/// How long an unused connection is kept; below the server's own limit.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How many requests of one connection may be unanswered; the next one waits.
pub(crate) const IN_FLIGHT_MAX: usize = 10_000;

/// How often a transaction is done before its error is handed on.
pub(crate) const ATTEMPTS_MAX: u32 = 10;

/// What the first pause between two attempts is drawn from; each one after it from twice as much.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(2);

/// What the longest pause is drawn from.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The rows of a scan's first page; those after it are sized by [`PAGE_BYTES`].
pub(crate) const PAGE_ROWS_FIRST: u64 = 256;

/// The most rows of a page: with values of a mebibyte, which the page before may not have shown,
/// that is half of [`REPLY_BYTES_MAX`].
pub(crate) const PAGE_ROWS_MAX: u64 = 512;

/// How many bytes a page of a scan aims at.
pub(crate) const PAGE_BYTES: u64 = 1 << 20;

/// How many points each server has on the ring: with 256 of them the fullest of ten servers has
/// about a tenth more keys than the mean.
pub(crate) const POINTS_PER_SERVER: u32 = 256;

const _: () = assert!(BACKOFF_MIN.as_nanos() < BACKOFF_MAX.as_nanos());
const _: () = assert!(PAGE_ROWS_FIRST <= PAGE_ROWS_MAX);
