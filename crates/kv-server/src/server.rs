//! The server as a whole: the store, the listeners, and how they start and stop.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::Database;
use kv_protocol::word::Words;
use kv_protocol::{CommandSpec, ErrorCode, ErrorReply, Request, command};
use tracing::{info, warn};

use crate::config::{Config, History};
use crate::connection;
use crate::listener::{BindError, Connections, Listener};
use crate::shutdown::{Drained, Shutdown, Signals, run_signals};

/// What all connections share.
#[derive(Debug)]
pub struct Server {
    config: Config,
    database: Database,
    connections: Connections,
    started: Instant,
}

/// Why a server did not start, or stopped on a fault.
#[derive(Debug)]
pub enum Fault {
    /// An address could not be listened on.
    Bind(BindError),
    /// The operating system refused something else that a server needs.
    System(std::io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Bind(error) => error.fmt(f),
            Fault::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Bind(error) => Some(error),
            Fault::System(error) => Some(error),
        }
    }
}

fn no_such_command(spec: &CommandSpec) -> ErrorReply {
    let text = format!("there is no command {} on this server; HELP lists the commands", spec.name);
    ErrorReply::new(ErrorCode::Unknown, text)
}

impl Server {
    /// A server with an empty store, not yet listening.
    pub fn new(config: Config) -> Arc<Server> {
        let history = match config.history {
            History::All => None,
            History::Newest(versions) => usize::try_from(versions.get()).ok(),
        };
        let database = Database::builder()
            .history(history)
            .shards(config.shards)
            .lock_timeout(Some(config.lock_timeout))
            .view_age_max(config.view_age_max)
            .key_bytes_max(config.key_bytes_max)
            .value_bytes_max(config.value_bytes_max)
            .nesting_max(config.nesting_max)
            .write_set_bytes_max(config.write_set_bytes_max)
            .locks_max(config.locks_max)
            .session_transactions_max(config.session_transactions_max)
            .transactions_max(config.transactions_max)
            .open();
        let connections = Connections::new(config.connections_max);
        Arc::new(Server { config, database, connections, started: Instant::now() })
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The store.
    pub fn database(&self) -> &Database {
        &self.database
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

    /// Serves until the server is told to stop and has drained.
    pub async fn serve(self: Arc<Self>, listeners: Vec<Listener>, shutdown: Shutdown) -> Drained {
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

/// Runs a server until a signal stops it.
///
/// # Errors
///
/// When it cannot start.
pub fn run(config: Config) -> Result<ExitCode, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads)
        .enable_all()
        .build()
        .map_err(Fault::System)?;
    let drained = runtime.block_on(async {
        let signals = Signals::catch().map_err(Fault::System)?;
        let shutdown = Shutdown::new();
        tokio::spawn(run_signals(signals, shutdown.clone()));
        for warning in &config.warnings {
            warn!("{warning}");
        }
        let server = Server::new(config);
        let listeners = server.bind()?;
        listeners.iter().for_each(|listener| listener.announce("lines"));
        info!(version = env!("CARGO_PKG_VERSION"), "serving");
        Ok(server.serve(listeners, shutdown).await)
    })?;
    runtime.shutdown_background();
    Ok(drained.exit_code())
}
