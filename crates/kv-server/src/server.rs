//! The server as a whole: the store, the listeners, and how they start and stop.

use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kv_core::limits::KEYS_AHEAD_MAX;
use kv_core::{Database, Fetch, Stuck, Watermark};
use kv_persist::Store;
use kv_protocol::word::Words;
use kv_protocol::{CommandSpec, ErrorCode, ErrorReply, KeysAhead, Request, command};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clients::Clients;
use crate::command::Jobs;
use crate::command::redis::Cursors;
use crate::config::{Config, Storage};
use crate::connection;
use crate::http;
use crate::listener::{BindError, Connections, Listener};
use crate::memory;
use crate::shutdown::{Drained, Shutdown, Signals, run_signals};
use crate::tokens::Tokens;
use crate::{limits, storage};

/// What all connections share.
#[derive(Debug)]
pub struct Server {
    config: Config,
    database: Database,
    /// The files, if there are any.
    store: Option<Store>,
    connections: Connections,
    clients: Arc<Clients>,
    /// Transactions that have a token.
    tokens: Arc<Tokens>,
    /// Where SCANs of the Redis protocol go on.
    cursors: Cursors,
    /// Bytes of memory that the process may take; 0 is as many as it needs.
    memory_bytes_max: AtomicU64,
    /// What stops it, while it serves.
    shutdown: OnceLock<Shutdown>,
    jobs: Jobs,
    /// Leave to fetch something from the files.
    fetches: Semaphore,
    started: Instant,
}

/// Why a server did not start, or stopped on a fault.
#[derive(Debug)]
pub enum Fault {
    /// An address could not be listened on.
    Bind(BindError),
    /// The data directory is refused, or failed.
    Data(kv_persist::Error),
    /// The operating system refused something else that a server needs.
    System(std::io::Error),
}

impl Fault {
    /// What the program exits with: 3 for a data directory that is refused, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Fault::Data(error) if error.is_refusal() => ExitCode::from(EXIT_REFUSED),
            Fault::Data(_) | Fault::Bind(_) | Fault::System(_) => ExitCode::FAILURE,
        }
    }
}

/// The exit code for a data directory that is refused.
const EXIT_REFUSED: u8 = 3;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Bind(error) => error.fmt(f),
            Fault::Data(error) => error.fmt(f),
            Fault::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Bind(error) => Some(error),
            Fault::Data(error) => Some(error),
            Fault::System(error) => Some(error),
        }
    }
}

fn no_such_command(spec: &CommandSpec) -> ErrorReply {
    let text = format!("there is no command {} on this server; HELP lists the commands", spec.name);
    ErrorReply::new(ErrorCode::Unknown, text)
}

impl Server {
    /// A server with its store, not yet listening.
    ///
    /// # Errors
    ///
    /// [`Fault::Data`] if the data directory is refused, or cannot be used.
    pub fn open(config: Config) -> Result<Arc<Server>, Fault> {
        let store = match &config.storage {
            Storage::InMemory => None,
            Storage::Directory(directory) => Some(storage::open(directory, &config)?),
        };
        let database = match &store {
            Some(store) => store.database().clone(),
            None => storage::builder(&config).open(),
        };
        let connections = Connections::new(config.connections_max);
        let (jobs, started) = (Jobs::default(), Instant::now());
        let fetches = Semaphore::new(limits::FETCHES_MAX);
        let memory_bytes_max = AtomicU64::new(config.memory_bytes_max.unwrap_or(0));
        let (clients, cursors) = (Arc::<Clients>::default(), Cursors::default());
        let tokens =
            Tokens::new(config.idle_transaction_timeout, database.clone(), Arc::clone(&clients));
        Ok(Arc::new(Server {
            config,
            database,
            store,
            connections,
            clients,
            tokens,
            cursors,
            memory_bytes_max,
            shutdown: OnceLock::new(),
            jobs,
            fetches,
            started,
        }))
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The store.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The files, if there are any.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// The commands that keep the disk busy for long.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Who is connected.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Transactions that have a token.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    pub(crate) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// Bytes of memory that the process may take; none is as many as it needs.
    pub fn memory_bytes_max(&self) -> Option<u64> {
        Some(self.memory_bytes_max.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Gives a server that was started with a bound of its memory another one.
    pub fn set_memory_bytes_max(&self, bytes: u64) {
        self.memory_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Begins to drain, as a SIGTERM does; false if it is not serving.
    pub fn stop(&self) -> bool {
        self.shutdown.get().map(Shutdown::drain).is_some()
    }

    /// Fetches what a command paused for. It may read a file; only its own client waits for that.
    ///
    /// # Errors
    ///
    /// What kept it from being read.
    pub async fn fetch(&self, fetch: Box<Fetch>) -> Result<(), kv_core::Error> {
        let closed = |_| kv_core::Error::Internal("nothing is fetched any more".into());
        let _leave = self.fetches.acquire().await.map_err(closed)?;
        let database = self.database.clone();
        let fetched = tokio::task::spawn_blocking(move || database.fetch(&fetch)).await;
        fetched.unwrap_or_else(|panic| Err(kv_core::Error::Internal(panic.to_string())))
    }

    /// Has the keys of the requests that come next in the processor's cache; answers how many.
    #[inline]
    pub fn touch_ahead(&self, received: &[u8]) -> usize {
        let mut keys = [&[][..]; KEYS_AHEAD_MAX];
        let mut count = 0;
        let near = &received[..received.len().min(limits::INPUT_BYTES_AHEAD_MAX)];
        for (place, key) in keys.iter_mut().zip(KeysAhead::new(near)) {
            *place = key;
            count += 1;
        }
        self.database.touch_ahead(&keys[..count]);
        count
    }

    /// How many connections are open.
    pub fn connections_open(&self) -> usize {
        self.connections.open()
    }

    /// How long the server has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Reads a line as a request. A command that the settings switch off does not exist: it is
    /// neither complained of when it is used wrongly, nor explained.
    ///
    /// # Errors
    ///
    /// The refusal of a line that is no request.
    pub fn parse<'a>(&self, line: &'a [u8]) -> Result<Option<Request<'a>>, ErrorReply> {
        if !self.config.disabled.is_empty()
            && let Some(Ok(verb)) = Words::new(line).next_word().transpose()
            && let Some(spec) = command::find(&verb.bytes)
            && !self.has_command(spec)
        {
            return Err(no_such_command(spec));
        }
        let request = Request::parse(line)?;
        match &request {
            Some(Request::Help(Some(spec))) if !self.has_command(spec) => {
                Err(no_such_command(spec))
            }
            _ => Ok(request),
        }
    }

    /// Whether the settings leave a command switched on.
    pub fn has_command(&self, spec: &CommandSpec) -> bool {
        !self.config.disabled.contains(&spec.name)
    }

    /// Listens on every configured address.
    ///
    /// # Errors
    ///
    /// If one cannot be listened on; then none is.
    pub fn bind(&self) -> Result<Vec<Listener>, Fault> {
        let listeners: Result<Vec<Listener>, BindError> =
            self.config.listen.iter().map(Listener::bind).collect();
        listeners.map_err(Fault::Bind)
    }

    /// Listens for HTTP, if that is configured. Without anybody having asked for it, an address
    /// that is in use is no reason not to start.
    ///
    /// # Errors
    ///
    /// If it cannot be listened on.
    pub fn bind_http(&self) -> Result<Option<Listener>, Fault> {
        let Some(endpoint) = &self.config.http else { return Ok(None) };
        match Listener::bind(endpoint) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) if !self.config.is_http_explicit => {
                warn!("HTTP is off: {error}; --http names another address, or off");
                Ok(None)
            }
            Err(error) => Err(Fault::Bind(error)),
        }
    }

    /// Serves until the server is told to stop and has drained.
    pub async fn serve(
        self: Arc<Self>,
        listeners: Vec<Listener>,
        http: Option<Listener>,
        shutdown: Shutdown,
    ) -> Drained {
        if let Some(listener) = http {
            let endpoints = http::endpoints(Arc::clone(&self), &shutdown);
            let stop = shutdown.clone();
            let handler =
                move |stream, peer| http::serve(endpoints.clone(), stream, peer, stop.clone());
            let serving = listener.serve(self.connections.clone(), shutdown.clone(), handler);
            shutdown.tasks().spawn(serving);
        }
        let tokens = Arc::clone(&self.tokens);
        shutdown.tasks().spawn(tokens.watch(shutdown.drain_token().clone()));
        // Whoever serves twice is stopped by the first.
        let _ = self.shutdown.set(shutdown.clone());
        for listener in listeners {
            let (server, stop) = (Arc::clone(&self), shutdown.clone());
            let handler = move |stream, peer| {
                connection::serve(Arc::clone(&server), stream, peer, stop.clone())
            };
            // A task that the drain waits for, so that a socket file is removed before the end.
            let serving = listener.serve(self.connections.clone(), shutdown.clone(), handler);
            shutdown.tasks().spawn(serving);
        }
        shutdown.drained(self.config.drain_timeout).await
    }
}

/// Runs a server until a signal stops it, or its log fails.
///
/// # Errors
///
/// When it cannot start, or had to stop.
pub fn run(config: Config) -> Result<ExitCode, Fault> {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    config.memory_bytes_max.into_iter().for_each(memory::prepare);
    let drain_timeout = config.drain_timeout;
    let threads = config.threads;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(Fault::System)?;
    // Before the files are touched: one of the signals tells that a file may not grow.
    let signals = runtime.block_on(async { Signals::catch() }).map_err(Fault::System)?;
    let server = Server::open(config)?;
    let shutdown = Shutdown::new();
    let cut = shutdown.cut_token().clone();
    let (drained, began) = runtime.block_on(async {
        tokio::spawn(run_signals(signals, shutdown.clone()));
        if let Some(store) = server.store() {
            tokio::spawn(stop_when_failed(store.log().synced(), shutdown.clone()));
        }
        let listeners = server.bind()?;
        memory::watch(Arc::downgrade(&server)).map_err(Fault::System)?;
        let http = server.bind_http()?;
        listeners.iter().for_each(|listener| listener.announce("lines, RESP"));
        http.iter().for_each(|listener| listener.announce("HTTP"));
        info!(version = env!("CARGO_PKG_VERSION"), "serving");
        let drain = shutdown.drain_token().clone();
        let began = async move {
            drain.cancelled().await;
            Instant::now()
        };
        Ok(tokio::join!(Arc::clone(&server).serve(listeners, http, shutdown), began))
    })?;
    let mut drained = drained;
    if let Some(store) = server.store() {
        // Whoever stops it twice does not want to wait for what the next start can do.
        let left = match drained {
            Drained::CutOff(_) => Duration::ZERO,
            Drained::Completely | Drained::TimedOut(_) => {
                drain_timeout.saturating_sub(began.elapsed())
            }
        };
        runtime.spawn(hurry_when_cut(Arc::clone(&server), cut.clone()));
        store.close(left).map_err(Fault::Data)?;
        if drained == Drained::Completely && cut.is_cancelled() {
            drained = Drained::CutOff(0);
        }
    }
    runtime.shutdown_background();
    Ok(drained.exit_code())
}

/// Has the files closed at once when a second signal comes while they are being closed.
async fn hurry_when_cut(server: Arc<Server>, cut: CancellationToken) {
    cut.cancelled().await;
    if let Some(store) = server.store() {
        store.hurry();
    }
}

/// Has the server stop when its log has failed: nothing can be committed any more, and what was
/// under way is decided at the next start.
async fn stop_when_failed(synced: Arc<Watermark>, shutdown: Shutdown) {
    if synced.reached(u64::MAX).await == Err(Stuck) {
        error!("the log has failed; the server stops, and the next start decides what was kept");
        shutdown.drain();
    }
}
