//! One HTTP connection: hyper on a socket, with a bound on how long anything may take.
//!
//! | | bound |
//! |---|---|
//! | from a connection, or the last reply, to the end of the next request's headers | 30 s |
//! | a body | 60 s |
//! | headers | 64 KiB, 100 of them |
//! | a client that takes nothing of its reply | 60 s, then it is cut off |

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

use crate::limits;
use crate::listener::{Peer, Stream};
use crate::shutdown::Shutdown;

/// Serves a connection until it ends, or the server has drained.
pub async fn serve(endpoints: Router, stream: Stream, peer: Peer, shutdown: Shutdown) {
    let service = TowerToHyperService::new(endpoints);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HTTP_HEADER_TIME_MAX)
        .max_buf_size(limits::HTTP_HEADER_BYTES_MAX)
        .max_headers(limits::HTTP_HEADERS_MAX);
    let connection = builder.serve_connection(TokioIo::new(Patient::new(stream)), service);
    let mut connection = pin!(connection);
    let cut = shutdown.cut_token().child_token();
    let drain = shutdown.drain_token().child_token();
    let ended = cut.run_until_cancelled(async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = drain.cancelled() => {
                // The request that is under way is answered.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    if let Some(Err(error)) = ended.await {
        debug!(%peer, %error, "an HTTP connection was broken off");
    }
}

/// A stream whose other end must take something of what is sent, now and then.
struct Patient {
    stream: Stream,
    /// Running while nothing is taken.
    stalled: Pin<Box<Sleep>>,
    is_stalled: bool,
}

impl Patient {
    fn new(stream: Stream) -> Self {
        let stalled = Box::pin(sleep(limits::WRITE_STALL_MAX));
        Patient { stream, stalled, is_stalled: false }
    }

    /// What comes of an attempt to write.
    fn noted<T>(
        &mut self,
        context: &mut Context<'_>,
        attempt: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.is_stalled = false;
            return attempt;
        }
        if !self.is_stalled {
            self.is_stalled = true;
            self.stalled.as_mut().reset(Instant::now() + limits::WRITE_STALL_MAX);
        }
        match self.stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let attempt = Pin::new(&mut this.stream).poll_write(context, from);
        this.noted(context, attempt)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let attempt = Pin::new(&mut this.stream).poll_flush(context);
        this.noted(context, attempt)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let attempt = Pin::new(&mut this.stream).poll_shutdown(context);
        this.noted(context, attempt)
    }
}
