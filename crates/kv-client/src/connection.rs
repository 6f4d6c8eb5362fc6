//! One connection: requests leave in the order in which they are asked for, many in one write, and
//! each reply goes to whoever asked.
//!
//! ```text
//!  callers ── outbox ──► writer task ──► socket ──► reader task ── waiting, in order ──► callers
//! ```
//!
//! A request is appended to the outbox and its caller to the queue of those who wait, under one
//! latch; so the n-th reply belongs to the n-th in the queue. The writer takes all of the outbox
//! at once: what is asked for while a write is under way shares the next one.
//!
//! When the connection is lost, everybody in the queue is told which of two things is true: the
//! request was still in the outbox, so it was certainly not done, or it was handed to the system,
//! so it may have been. That is all that the layers above need to be safe.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot::{self, channel};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::address::Place;
use crate::error::Error;
use crate::framing::Framer;
use crate::limits::{IN_FLIGHT_MAX, READ_BYTES, REPLY_BYTES_MAX, REPLY_TIMEOUT};
use crate::line::Line;

/// Whole lines of a server's: one reply.
pub(crate) type Frame = Bytes;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request never left: it was not done.
    NotSent(String),
    /// It left, and no reply came: it may have been done.
    Lost(String),
}

/// Who waits for a reply, and the leave to have a request unanswered, which lasts until the reply
/// has come, even if nobody waits for it any more.
struct Waiter {
    reply: oneshot::Sender<Result<Frame, Failure>>,
    _leave: OwnedSemaphorePermit,
}

/// What is left to say if nobody is there to hand out replies any more.
const ENDED: &str = "the runtime of the client has ended";

/// A handle; the connection is closed with its last clone.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Handle>);

/// Why a connection is given up on which nothing is answered.
pub(crate) fn no_reply(reply_timeout: Duration) -> String {
    format!("no reply came within {reply_timeout:?}")
}

struct Handle {
    shared: Arc<Shared>,
    reader: AbortHandle,
    writer: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The writer sends what is in the outbox, and goes.
        self.shared.state.lock().is_closing = true;
        self.shared.to_write.notify_one();
        self.reader.abort();
    }
}

struct Shared {
    state: Mutex<State>,
    /// There is something for the writer to do.
    to_write: Notify,
    /// How many more requests may be unanswered.
    in_flight: Arc<Semaphore>,
}

struct State {
    /// Requests that have not been handed to the system.
    outbox: Vec<u8>,
    /// Who waits for a reply, in the order of the requests; none where nobody wants to know.
    waiting: VecDeque<Option<Waiter>>,
    /// How many of the last of those have their request in the outbox.
    unsent: usize,
    /// Why the connection is of no use any more.
    failure: Option<String>,
    /// Nobody can ask for anything any more; what is in the outbox is still to be sent.
    is_closing: bool,
    /// What the server said without being asked: why it closes the connection.
    farewell: Option<String>,
    /// When something came from the server last.
    received: Instant,
}

impl Default for State {
    fn default() -> Self {
        State {
            outbox: Vec::new(),
            waiting: VecDeque::new(),
            unsent: 0,
            failure: None,
            is_closing: false,
            farewell: None,
            received: Instant::now(),
        }
    }
}

impl Connection {
    /// Connects, within so long.
    pub(crate) async fn open(place: &Place, within: Duration) -> io::Result<Self> {
        let connecting = async {
            Ok(match place {
                Place::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    let (input, output) = stream.into_split();
                    Connection::new(input, output)
                }
                Place::Unix(path) => {
                    let (input, output) = UnixStream::connect(path).await?.into_split();
                    Connection::new(input, output)
                }
            })
        };
        timeout(within, connecting).await.unwrap_or_else(|_| {
            let text = format!("it did not answer within {within:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }

    fn new(
        input: impl AsyncRead + Send + Unpin + 'static,
        output: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            to_write: Notify::new(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        });
        let writer = tokio::spawn(write(Arc::clone(&shared), output)).abort_handle();
        let reader = tokio::spawn(read(Arc::clone(&shared), input)).abort_handle();
        Connection(Arc::new(Handle { shared, reader, writer }))
    }

    /// Sends a line, given with its LF, and reads the reply. A reply that cannot be read ends the
    /// connection: what follows it could not be trusted.
    pub(crate) async fn call<T>(
        &self,
        line: &[u8],
        read: impl FnOnce(&Frame) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, Failure> {
        self.call_between(&[], line, &[], read).await
    }

    /// The same, with a line before it and one after it whose replies nobody wants to know; either
    /// may be empty. Nobody else's line comes between them.
    pub(crate) async fn call_between<T>(
        &self,
        before: &[u8],
        line: &[u8],
        after: &[u8],
        read: impl FnOnce(&Frame) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, Failure> {
        let leave = self.leave(1).await?;
        let (sender, reply) = channel();
        let waiter = Waiter { reply: sender, _leave: leave };
        self.0.shared.push([(before, None), (line, Some(waiter)), (after, None)])?;
        let ended = |_| Err(Failure::Lost(ENDED.to_owned()));
        let result = read(&reply.await.unwrap_or_else(ended)?);
        if let Err(Error::Protocol(reason)) = &result {
            self.give_up(reason);
        }
        Ok(result)
    }

    /// What comes of a call, if it is answered in time. If not, the connection is given up: what
    /// comes later would be taken for the reply to another command.
    pub(crate) async fn in_time<T>(
        &self,
        reply_timeout: Duration,
        call: impl Future<Output = Result<Result<T, Error>, Failure>>,
    ) -> Result<Result<T, Error>, Failure> {
        timeout(reply_timeout, call).await.unwrap_or_else(|_| {
            let reason = no_reply(reply_timeout);
            self.give_up(&reason);
            Err(Failure::Lost(reason))
        })
    }

    /// Sends lines in one go, and reads the reply to each. A line that is refused does not keep the
    /// others from being done; the first refusal is the answer.
    pub(crate) async fn call_all<T>(
        &self,
        lines: &[Line],
        read: fn(&Frame) -> Result<T, Error>,
    ) -> Result<Result<Vec<T>, Error>, Failure> {
        let mut results = Vec::with_capacity(lines.len());
        for chunk in lines.chunks(IN_FLIGHT_MAX / 2) {
            let sent = self.call_chunk(chunk, read, &mut results).await;
            // What was sent before is not undone by what could not be sent now.
            sent.map_err(|failure| match failure {
                Failure::NotSent(reason) if !results.is_empty() => Failure::Lost(reason),
                other => other,
            })?;
        }
        let result: Result<Vec<T>, Error> = results.into_iter().collect();
        if let Err(Error::Protocol(reason)) = &result {
            self.give_up(reason);
        }
        Ok(result)
    }

    async fn call_chunk<T>(
        &self,
        chunk: &[Line],
        read: fn(&Frame) -> Result<T, Error>,
        results: &mut Vec<Result<T, Error>>,
    ) -> Result<(), Failure> {
        let mut leaves = self.leave(chunk.len()).await?;
        let (waiters, replies): (Vec<_>, Vec<_>) = chunk
            .iter()
            .filter_map(|_| {
                let (sender, reply) = channel();
                Some((Waiter { reply: sender, _leave: leaves.split(1)? }, reply))
            })
            .unzip();
        let lines = chunk.iter().map(|line| &line.bytes[..]);
        self.0.shared.push(lines.zip(waiters.into_iter().map(Some)))?;
        for (reply, line) in replies.into_iter().zip(chunk) {
            let ended = |_| Err(Failure::Lost(ENDED.to_owned()));
            results.push(line.named(read(&reply.await.unwrap_or_else(ended)?)));
        }
        Ok(())
    }

    /// Leave for so many requests to be unanswered.
    async fn leave(&self, requests: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let in_flight = Arc::clone(&self.0.shared.in_flight);
        // The semaphore is never closed.
        let leave = in_flight.acquire_many_owned(requests as u32).await;
        leave.map_err(|_| Failure::NotSent(ENDED.to_owned()))
    }

    /// Gives it up if nothing has come on it since then: whatever is at its other end does not
    /// answer, and asking again would only wait again.
    pub(crate) fn give_up_if_silent_since(&self, since: Instant) {
        if self.0.shared.state.lock().received <= since {
            self.give_up("the server has not answered anything");
        }
    }

    /// Sends a line whose reply nobody wants to know.
    pub(crate) fn send_and_forget(&self, line: &[u8]) {
        // With a failed connection the server has forgotten all that the line could be about.
        let _ = self.0.shared.push([(line, None)]);
    }

    /// Whether it can still be used.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.shared.state.lock().failure.is_none()
    }

    /// Whether a reply is still to come.
    pub(crate) fn awaits_reply(&self) -> bool {
        !self.0.shared.state.lock().waiting.is_empty()
    }

    /// Gives it up: what was answered cannot be trusted.
    pub(crate) fn give_up(&self, reason: &str) {
        self.0.shared.fail(reason);
        self.0.reader.abort();
        // It may be in the middle of a write that nobody takes; the server sees the end at once.
        self.0.writer.abort();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("is_alive", &self.is_alive()).finish()
    }
}

impl Shared {
    /// Queues lines, each with who waits for its reply; without those that are empty.
    fn push<'a>(
        &self,
        lines: impl IntoIterator<Item = (&'a [u8], Option<Waiter>)>,
    ) -> Result<(), Failure> {
        let mut state = self.state.lock();
        if let Some(reason) = &state.failure {
            return Err(Failure::NotSent(reason.clone()));
        }
        let is_idle = state.unsent == 0;
        for (line, waiter) in lines.into_iter().filter(|(line, _)| !line.is_empty()) {
            state.outbox.extend_from_slice(line);
            state.waiting.push_back(waiter);
            state.unsent += 1;
        }
        drop(state);
        if is_idle {
            self.to_write.notify_one();
        }
        Ok(())
    }

    /// Hands a reply to whoever is next.
    fn deliver(&self, frame: Frame) {
        let mut state = self.state.lock();
        state.received = Instant::now();
        match state.waiting.pop_front() {
            Some(waiter) => {
                state.unsent = state.unsent.min(state.waiting.len());
                drop(state);
                // Whoever has stopped waiting does not want to know.
                let _ = waiter.map(|waiter| waiter.reply.send(Ok(frame)));
            }
            None => {
                state.farewell = Some(String::from_utf8_lossy(&frame).trim_end().to_owned());
            }
        }
    }

    /// From now on nothing is sent or received; all who wait are told. The first reason stays.
    fn fail(&self, reason: &str) {
        let mut state = self.state.lock();
        if state.failure.is_none() {
            let reason = match state.farewell.take() {
                Some(farewell) => format!("the server said: {farewell}"),
                None => reason.to_owned(),
            };
            state.failure = Some(reason);
        }
        let reason = state.failure.clone().unwrap_or_default();
        let sent = state.waiting.len() - state.unsent;
        let waiting = std::mem::take(&mut state.waiting);
        state.unsent = 0;
        // Whoever is told that it was not sent may send it again elsewhere.
        state.outbox.clear();
        drop(state);
        for (at, waiter) in waiting.into_iter().enumerate() {
            let failure = match at < sent {
                true => Failure::Lost(reason.clone()),
                false => Failure::NotSent(reason.clone()),
            };
            let _ = waiter.map(|waiter| waiter.reply.send(Err(failure)));
        }
        self.to_write.notify_one();
    }
}

/// Writes what is in the outbox until the connection is of no use.
async fn write(shared: Arc<Shared>, mut output: impl AsyncWrite + Unpin) {
    let mut batch = Vec::new();
    loop {
        shared.to_write.notified().await;
        // Whoever is ready to ask for something does so first, and shares the write.
        tokio::task::yield_now().await;
        loop {
            batch.clear();
            let is_over = {
                let mut state = shared.state.lock();
                std::mem::swap(&mut batch, &mut state.outbox);
                state.unsent = 0;
                state.failure.is_some() || state.is_closing
            };
            if batch.is_empty() {
                if is_over {
                    return;
                }
                break;
            }
            if let Err(reason) = write_all(&mut output, &batch).await {
                return shared.fail(&reason);
            }
        }
    }
}

/// Writes all of it, however long it takes, if only some of it is taken now and then.
async fn write_all(output: &mut (impl AsyncWrite + Unpin), batch: &[u8]) -> Result<(), String> {
    let mut rest = batch;
    while !rest.is_empty() {
        match timeout(REPLY_TIMEOUT, output.write(rest)).await {
            Ok(Ok(taken @ 1..)) => rest = &rest[taken..],
            Ok(Ok(0)) => return Err("the server takes nothing more".to_owned()),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("the server took nothing for {REPLY_TIMEOUT:?}")),
        }
    }
    Ok(())
}

/// Reads replies and hands them out until the connection is of no use.
async fn read(shared: Arc<Shared>, mut input: impl AsyncRead + Unpin) {
    let mut buf = BytesMut::new();
    let mut framer = Framer::default();
    let reason = loop {
        buf.reserve(READ_BYTES);
        match input.read_buf(&mut buf).await {
            Ok(0) => break "the server closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
        while let Some(len) = framer.next(&buf) {
            shared.deliver(buf.split_to(len).freeze());
        }
        if buf.len() > REPLY_BYTES_MAX {
            break format!("a reply is longer than {REPLY_BYTES_MAX} bytes");
        }
    };
    shared.fail(&reason);
}
