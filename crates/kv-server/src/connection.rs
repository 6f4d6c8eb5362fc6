//! One connection: bytes in, commands run, bytes out. A request is a line, or an array in RESP;
//! its first byte tells.
//!
//! ```text
//!   read what is there ──► run every whole request ──► one write of all replies ──► read …
//!                               │ a lock is not free
//!                               └─► write the replies so far, wait, run the request again
//! ```
//!
//! Replies come in order, and all those of one batch leave in one write. A reply that shows what is
//! not yet durable is held back (`outbox`), and the commands behind it are run meanwhile, up to a
//! bound. An idle connection holds no buffers: what is read goes through a buffer on the stack, and
//! both buffers are freed when they are empty. A client that does not read its replies stops being
//! served, not the server: nothing is run for it while its replies wait for it.
//!
//! Nothing here knows what a command does; that is [`crate::command`].

mod lists;
mod outbox;
mod sending;
mod waiting;

use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use kv_core::Pause;
use kv_core::error::AbortReason;
use kv_protocol::resp::decoder::ARRAY;
use kv_protocol::{
    ErrorCode, ErrorReply, Framed, LineDecoder, Reply, RespDecoder, RespFault, RespFramed,
};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::{debug, error};

use self::outbox::Outbox;
use crate::command::{Client, Job, Listing, Next, refusal};
use crate::limits;
use crate::listener::{Peer, Stream};
use crate::server::Server;
use crate::shutdown::Shutdown;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client has gone, or the socket is broken.
    Gone,
    /// The client said QUIT and was answered.
    Quit,
    /// It was told why, and may still be sending.
    Refused,
    /// It spoke another protocol.
    Foreign,
    /// The server is stopping.
    Draining,
    /// The log has failed, and the client was told what is not known.
    LogFailed,
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brought {
    Bytes,
    /// The client will send no more.
    Nothing,
    Drain,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited<T> {
    /// What was waited for has come.
    Over(T),
    /// The client has closed its side.
    Gone,
    /// The deadline has come.
    TimeUp,
    /// The server is stopping.
    Draining,
}

/// What happens while something is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event<T> {
    Waited(Waited<T>),
    /// As much has been sent ahead as is read.
    Full,
    /// Replies that were held can be sent.
    Settled,
}

/// Whether a wait ends when the server is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MindsDrain {
    Yes,
    No,
}

struct Connection {
    stream: Stream,
    client: Client,
    decoder: LineDecoder,
    arrays: RespDecoder,
    /// What was received and not yet run begins at `run`.
    input: Vec<u8>,
    run: usize,
    /// When a command was last done in an open transaction: bytes that make no command do not
    /// keep it from being idle.
    last_command: Instant,
    outbox: Outbox,
    /// A list that is being written.
    listing: Option<Box<Listing>>,
    /// When the command that runs began, or its last rows were sent.
    last_sent: Instant,
    /// This connection's own child of the server's token, so that asking it disturbs nobody.
    drain: CancellationToken,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    server: Arc<Server>,
}

/// Serves a connection until it ends. Its transactions are rolled back then.
pub async fn serve(server: Arc<Server>, stream: Stream, peer: Peer, shutdown: Shutdown) {
    let drain = shutdown.drain_token().child_token();
    let cut = shutdown.cut_token().child_token();
    let (address, local) = (peer.to_string(), stream.local_address());
    let mut connection = Connection {
        stream,
        client: Client::connected(Arc::clone(&server), address, local, cut.clone()),
        decoder: LineDecoder::new(server.config().line_bytes_max),
        arrays: RespDecoder::new(server.config().line_bytes_max),
        input: Vec::new(),
        run: 0,
        last_command: Instant::now(),
        outbox: Outbox::default(),
        listing: None,
        last_sent: Instant::now(),
        drained: Box::pin(drain.clone().cancelled_owned()),
        drain,
        server,
    };
    let session = connection.client.session().id().0;
    debug!(%peer, session, "connected");
    let _told = TellOfPanic { session };
    let ended = cut.run_until_cancelled(connection.run_to_end()).await;
    debug!(%peer, ?ended, "connection ended");
}

/// Tells the operator of a panic that ends a connection, and nothing but that: the session is
/// dropped next, which rolls back what it has open.
struct TellOfPanic {
    session: u64,
}

impl Drop for TellOfPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(
                session = self.session,
                "a panic has ended this connection, and its transactions are rolled back; the \
                 server goes on: please report what the panic said"
            );
        }
    }
}

impl Connection {
    async fn run_to_end(&mut self) -> End {
        let Err(end) = self.run().await;
        // What was said last is still to be sent, unless there is nobody to send it to.
        match end {
            End::Gone | End::Foreign => {}
            End::Quit | End::Refused | End::Draining | End::LogFailed => {
                // Its locks are free before anything is waited for.
                self.client.roll_back_all();
                if let Ok(()) | Err(End::LogFailed) = self.settle_and_flush().await {
                    self.close_slowly().await;
                }
            }
        }
        end
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            self.run_requests().await?;
            self.flush().await?;
            let has_run = self.run > 0;
            if has_run {
                self.client.tell_state();
            }
            if has_run && self.client.session().has_live_transactions() {
                self.last_command = Instant::now();
            }
            self.forget_run_lines();
            // A client that always has more to say would never be read in vain.
            if self.drain.is_cancelled() {
                return Err(self.farewell());
            }
            match self.read_or_idle().await? {
                Brought::Bytes => {}
                Brought::Nothing => {
                    // It may have closed one half only, and still read what it is owed.
                    self.client.roll_back_all();
                    self.settle_and_flush().await?;
                    return Err(End::Gone);
                }
                Brought::Drain => return Err(self.farewell()),
            }
        }
    }

    // ---- Running.

    /// Runs every whole request that has been received.
    async fn run_requests(&mut self) -> Result<(), End> {
        let (mut since_yield, mut touched) = (0, 0);
        loop {
            let received = &self.input[self.run..];
            let is_within = self.arrays.is_within() || self.decoder.is_within();
            if touched == 0 && !is_within && received.len() >= limits::INPUT_BYTES_TOUCHED_FROM {
                touched = self.server.touch_ahead(received);
            }
            touched = touched.saturating_sub(1);
            let (ran, request_bytes) = if received.first() == Some(&ARRAY) {
                match self.arrays.next(received) {
                    RespFramed::Request { consumed } => {
                        let words = self.arrays.words(received);
                        self.client.answer_in_resp();
                        (self.client.execute_words(&words, self.outbox.buffer()), consumed)
                    }
                    RespFramed::Incomplete => return Ok(()),
                    RespFramed::Fault(fault) => return Err(self.refuse_array(fault)),
                }
            } else {
                self.client.answer_in_lines();
                let (line, consumed) = match self.decoder.next(received) {
                    Framed::Line { line, consumed } => (&received[line], consumed),
                    Framed::Incomplete => return Ok(()),
                    Framed::TooLong => return Err(self.refuse_line()),
                    Framed::HttpRequest => return Err(End::Foreign),
                };
                (self.client.execute_line(line, self.outbox.buffer()), consumed)
            };
            let next = match ran {
                Ok(next) => {
                    self.run += request_bytes;
                    self.note_reply();
                    next
                }
                Err(pause) => {
                    let request = received[..request_bytes].to_vec();
                    self.run += request_bytes;
                    self.run_paused(&request, pause).await?
                }
            };
            if !matches!(next, Next::Request) {
                self.go_on(next).await?;
            }
            since_yield += 1;
            if self.outbox.len() >= limits::OUTPUT_BYTES_AT_ONCE {
                self.flush().await?;
            }
            while self.outbox.len() >= limits::OUTPUT_BYTES_HELD_MAX {
                self.settled().await?;
                self.flush().await?;
            }
            if since_yield >= limits::COMMANDS_AT_ONCE {
                since_yield = 0;
                if self.drain.is_cancelled() {
                    return Err(self.farewell());
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Runs a request again that had to pause.
    fn run_again(&mut self, request: &[u8]) -> Result<Next, Pause> {
        // It was a whole request before it paused, and still is.
        if request.first() == Some(&ARRAY) {
            let mut arrays = RespDecoder::new(usize::MAX);
            arrays.next(request);
            let words = arrays.words(request);
            return self.client.execute_words(&words, self.outbox.buffer());
        }
        let line = request.strip_suffix(b"\n").unwrap_or(request);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.client.execute_line(line, self.outbox.buffer())
    }

    async fn go_on(&mut self, next: Next) -> Result<(), End> {
        match next {
            Next::Request => Ok(()),
            Next::Close => Err(End::Quit),
            Next::List(listing) => self.write_list(listing).await,
            Next::Job(job) => self.run_job(job).await,
            Next::Background(admitted) => {
                let server = Arc::clone(&self.server);
                // What it comes to is in the log and in STATS.
                drop(tokio::task::spawn_blocking(move || server.run_job(admitted)));
                Ok(())
            }
        }
    }

    /// Has something done that blocks, and answers it. It is done to its end even if the client
    /// leaves; but then the locks of its transactions are free at once.
    async fn run_job(&mut self, job: Job) -> Result<(), End> {
        self.settle_and_flush().await?;
        let admitted = match self.server.jobs().admit(job) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.answer_job(Err(refusal));
                return Ok(());
            }
        };
        let server = Arc::clone(&self.server);
        let mut job = tokio::task::spawn_blocking(move || server.run_job(admitted));
        let done = match self.wait_watchfully(&mut job, None, MindsDrain::No).await? {
            Waited::Over(done) => done,
            Waited::Gone | Waited::TimeUp | Waited::Draining => {
                self.client.roll_back_all();
                // It may have closed one half only, and still read the answer.
                job.await
            }
        };
        let done =
            done.unwrap_or_else(|panic| Err(refusal(&kv_core::Error::Internal(panic.to_string()))));
        self.answer_job(done);
        Ok(())
    }

    fn answer_job(&mut self, done: Result<(), ErrorReply>) {
        self.client.answer_job(done, self.outbox.buffer());
        self.note_reply();
    }

    /// Runs a request that had to pause, until it has its reply.
    async fn run_paused(&mut self, request: &[u8], mut pause: Pause) -> Result<Next, End> {
        self.last_sent = Instant::now();
        loop {
            self.flush().await?;
            if let Err(failed) = self.resolve(pause).await? {
                self.client.give_up();
                self.client.refuse(&failed, None, self.outbox.buffer());
                self.note_reply();
                return Ok(Next::Request);
            }
            match self.run_again(request) {
                Ok(next) => {
                    self.note_reply();
                    return Ok(next);
                }
                Err(next_pause) => pause = next_pause,
            }
        }
    }

    // ---- Refusing.

    fn refuse_array(&mut self, fault: RespFault) -> End {
        kv_protocol::resp::write::error(self.outbox.buffer(), &fault.to_string());
        self.note_reply();
        End::Refused
    }

    fn refuse_line(&mut self) -> End {
        let max = self.decoder.line_bytes_max();
        let text = format!(
            "the line is longer than {max} bytes; the connection is closed, because where the \
             next one begins is not known"
        );
        self.say(ErrorCode::TooBig, text);
        End::Refused
    }

    /// Says goodbye to a client whose server is stopping.
    fn farewell(&mut self) -> End {
        if self.client.has_open_transactions() {
            self.client.session().abort_all(AbortReason::Shutdown);
            let text = "the server is stopping; open transactions were rolled back, nothing of \
                        them was kept; connect again later";
            self.say(ErrorCode::Shutdown, text);
        }
        End::Draining
    }

    fn say(&mut self, code: ErrorCode, text: impl Into<std::borrow::Cow<'static, str>>) {
        Reply::Error(ErrorReply::new(code, text)).write(self.outbox.buffer(), self.client.format);
        self.note_reply();
    }

    /// Notes that a reply has been written, and what it depends on.
    fn note_reply(&mut self) {
        let depends_on = self.client.session().depends_on();
        self.outbox.note(depends_on, self.client.format, self.server.database());
    }

    // ---- Reading and writing.

    /// Drops what has been run from the input, and the buffer itself when nothing is left.
    fn forget_run_lines(&mut self) {
        if self.run == self.input.len() {
            self.input = Vec::new();
            self.arrays.shrink();
        } else {
            self.input.drain(..self.run);
        }
        self.run = 0;
    }

    /// Reads; meanwhile aborts the open transactions of a client that stays silent for too long,
    /// and those whose read views get too old.
    async fn read_or_idle(&mut self) -> Result<Brought, End> {
        if !self.client.session().has_live_transactions() {
            return self.read().await;
        }
        let idle = self.last_command + self.server.config().idle_transaction_timeout;
        loop {
            let view = self.client.session().abort_old_views().map(Instant::from_std);
            let until = view.map_or(idle, |view| view.min(idle));
            match timeout_at(until, self.read()).await {
                Ok(brought) => return brought,
                Err(_) if Instant::now() >= idle => break,
                // Views age past their limit, not up to it.
                Err(_) => tokio::time::sleep(limits::VIEW_AGE_SLACK).await,
            }
        }
        debug!(session = self.client.session().id().0, "idle transactions aborted");
        self.client.session().abort_all(AbortReason::Idle);
        self.client.tell_open();
        self.read().await
    }

    /// Reads, and meanwhile sends the replies that become durable.
    async fn read(&mut self) -> Result<Brought, End> {
        loop {
            let event = std::future::poll_fn(|context| {
                let mut scratch = [MaybeUninit::uninit(); limits::READ_BYTES];
                match poll_read(&mut self.stream, context, &mut scratch, &mut self.input) {
                    Poll::Ready(true) => return Poll::Ready(Some(Brought::Bytes)),
                    Poll::Ready(false) => return Poll::Ready(Some(Brought::Nothing)),
                    Poll::Pending => {}
                }
                if self.outbox.poll_settled(self.server.database(), context).is_ready() {
                    return Poll::Ready(None);
                }
                self.drained.as_mut().poll(context).map(|()| Some(Brought::Drain))
            });
            match event.await {
                Some(brought) => return Ok(brought),
                None => self.flush_settled().await?,
            }
        }
    }
}

/// Reads what is there, through `scratch`, to the end of `input`; false at the end of the stream
/// or when it is broken.
fn poll_read(
    stream: &mut Stream,
    context: &mut Context<'_>,
    scratch: &mut [MaybeUninit<u8>],
    input: &mut Vec<u8>,
) -> Poll<bool> {
    let mut read = ReadBuf::uninit(scratch);
    match Pin::new(stream).poll_read(context, &mut read) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(())) if !read.filled().is_empty() => {
            input.extend_from_slice(read.filled());
            Poll::Ready(true)
        }
        Poll::Ready(_) => Poll::Ready(false),
    }
}
