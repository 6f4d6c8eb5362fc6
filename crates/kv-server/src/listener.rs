//! Takes connections and hands each to a task of its own, up to a bound.
//!
//! What is said on a connection is the handler's business. Here it is decided which connections
//! there are: one too many is told so in one line and closed; when the process is out of
//! descriptors or memory, accepting pauses instead of spinning; and when the server drains, it
//! stops listening at once. Complaints that could repeat with every client are logged once a
//! minute, so that a flood of clients is not followed by a flood of lines.

mod socket;
mod stream;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{debug, warn};

use self::socket::Socket;
pub use self::stream::{Peer, Stream};
use crate::config::Endpoint;
use crate::limits;
use crate::shutdown::Shutdown;

/// How many connections there may be, on all listeners together. Clones share the count.
#[derive(Clone, Debug)]
pub struct Connections {
    max: usize,
    free: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Connections {
    /// Room for `max` connections.
    pub fn new(max: usize) -> Self {
        let free = Arc::new(Semaphore::new(max));
        Self { max, free, refusals: Arc::new(Semaphore::new(limits::REFUSALS_MAX)) }
    }

    /// How many there are now.
    pub fn open(&self) -> usize {
        self.max - self.free.available_permits()
    }
}

/// Why there is nothing listening at an endpoint.
#[derive(Debug)]
pub struct BindError {
    endpoint: Endpoint,
    cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self.cause.kind() {
            io::ErrorKind::AddrInUse => "; stop what holds it, or choose another with --listen",
            io::ErrorKind::AddrNotAvailable => "; --listen must name an address of this machine",
            io::ErrorKind::PermissionDenied => "; ports below 1024 and some paths need privileges",
            _ => "",
        };
        write!(out, "cannot listen on {}: {}{advice}", self.endpoint, self.cause)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// A place where clients connect. Dropping it closes it and removes its socket file.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    endpoint: Endpoint,
}

impl Listener {
    /// Begins to listen at `endpoint`. Clients can connect from now on, but are not answered before
    /// [`Listener::serve`]. To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the address or the path is taken or not ours to take.
    pub fn bind(endpoint: &Endpoint) -> Result<Self, BindError> {
        let failed = |cause| BindError { endpoint: endpoint.clone(), cause };
        let socket = Socket::listen(endpoint).map_err(failed)?;
        let endpoint = socket.endpoint().map_err(failed)?;
        Ok(Self { socket, endpoint })
    }

    /// Where it listens: with the port that was found, when any would do.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Tells on standard error where it listens and what is spoken there, in a form that people
    /// and scripts read the port from. It is no log line: no level and no format changes it.
    pub fn announce(&self, faces: &str) {
        use std::io::Write as _;
        let line = format!("listening on {} ({faces})\n", self.endpoint);
        // A server whose standard error is closed serves all the same.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// Takes connections until the server drains, and has `handler` look after each in a task that
    /// the drain waits for.
    pub async fn serve<H, F>(self, connections: Connections, shutdown: Shutdown, handler: H)
    where
        H: Fn(Stream, Peer) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut pause = Pause::default();
        let mut refusals = Complaint::default();
        let mut failures = Complaint::default();
        let drain = shutdown.drain_token();
        while let Some(accepted) = drain.run_until_cancelled(self.socket.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    pause = Pause::default();
                    if let Ok(slot) = Arc::clone(&connections.free).try_acquire_owned() {
                        shutdown.tasks().spawn(hold(slot, handler(stream, peer)));
                        continue;
                    }
                    if let Some(more) = refusals.is_due(Instant::now()) {
                        let max = connections.max;
                        warn!(%peer, max, more, "refused: too many connections");
                    }
                    refuse(stream, &connections);
                }
                Err(error) if is_of_one_client(&error) => debug!(%error, "a client went away"),
                Err(error) => {
                    if let Some(more) = failures.is_due(Instant::now()) {
                        let endpoint = &self.endpoint;
                        warn!(%endpoint, %error, more, "cannot take connections, pausing");
                    }
                    drain.run_until_cancelled(tokio::time::sleep(pause.next())).await;
                }
            }
        }
    }
}

/// Holds a connection's place until its handler has ended.
async fn hold<F: Future<Output = ()>>(slot: OwnedSemaphorePermit, handler: F) {
    handler.await;
    drop(slot);
}

/// Tells a client in one line that there is no room for it.
fn refuse(mut stream: Stream, connections: &Connections) {
    let max = connections.max;
    let line = format!("ERR LIMIT all {max} connections are in use; close one, or retry later\n");
    // What a new connection does not take at once it never will.
    let _ = stream.try_write(line.as_bytes());
    // Closing with something unread would reset the connection and take the line back. So what the
    // client has sent is read first, for a moment, and for a few clients at a time.
    let Ok(slot) = Arc::clone(&connections.refusals).try_acquire_owned() else { return };
    let linger = async move {
        stream.shutdown().await?;
        let mut unread = [0; 512];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    tokio::spawn(async move {
        let _ = tokio::time::timeout(limits::REFUSAL_LINGER, linger).await;
        drop(slot);
    });
}

/// Whether accepting failed because of the one client that was to be accepted. All else is taken
/// for a lack of descriptors or memory, which the next attempt would meet again.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted};
    use io::ErrorKind::{NetworkDown, NetworkUnreachable, PermissionDenied, TimedOut};
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
            | TimedOut
    )
}

/// How long to wait before accepting again: twice as long each time, up to a bound.
#[derive(Debug, Default)]
struct Pause {
    last: Duration,
}

impl Pause {
    fn next(&mut self) -> Duration {
        self.last = (self.last * 2).clamp(limits::ACCEPT_BACKOFF_MIN, limits::ACCEPT_BACKOFF_MAX);
        self.last
    }
}

/// Something that is logged once a minute, however often it happens.
#[derive(Debug, Default)]
struct Complaint {
    last: Option<Instant>,
    silent: u64,
}

impl Complaint {
    /// Whether to say it now; and if so, how often it was not said since the last time.
    fn is_due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + limits::COMPLAINT_INTERVAL) {
            self.silent += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

#[cfg(test)]
mod tests;
