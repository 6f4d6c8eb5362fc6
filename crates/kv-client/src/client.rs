//! The client: one connection that all single commands share, and a pool of connections for what
//! needs one to itself.
//!
//! ```text
//!   Client ─┬─ shared connections   single commands of all tasks, pipelined: reads on one,
//!           │                       writes on the other
//!           └─ pool                 a connection for each transaction, scan and session
//! ```
//!
//! Single commands share a connection because replies come in order: while one task waits for its
//! reply, the requests of others are on their way. A transaction has a connection to itself, since
//! a command in it may wait for a lock, and nobody else should wait behind it. For the same reason
//! reads, which never wait for a lock, do not share one with writes, which may.
//!
//! **Writes of keys that are locked hold up the writes behind them**, for at most as long as the
//! server lets them wait (`--lock-timeout`). So a task that has a transaction open writes within
//! that, not beside it; and what is written to a key that many want is written in transactions.
//!
//! # When a connection is lost
//!
//! A command that had not left is sent on the next connection, which is made with growing pauses
//! for as long as [`Builder::reconnect_timeout`] says. A command that had left is never sent again:
//! it may have been done. Its error says which of two things is true: it only read, and may be sent
//! again ([`Error::Disconnected`]), or what it did is unknown ([`Error::OutcomeUnknown`]).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_protocol::Request;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::commands::{Commands, Execute};
use crate::connection::{Connection, Failure, Frame, no_reply};
use crate::connector::Connector;
use crate::error::{Error, Result};
use crate::limits;
use crate::line::Line;
use crate::options::{Begin, Scan};
use crate::pool::{Lease, Pool};
use crate::reply;
use crate::retry::{Attempts, Backoff};
use crate::rows::Rows;
use crate::session::Session;
use crate::transaction::{Failed, Transaction};

/// A client of one server. A clone is cheap and shares all connections; they are closed with the
/// last clone.
///
/// Its commands are in the trait [`Commands`].
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    connector: Arc<Connector>,
    reads: Shared,
    writes: Shared,
    pool: Arc<Pool>,
}

/// A connection that many share.
#[derive(Default)]
struct Shared {
    connection: Mutex<Option<Connection>>,
    /// Held by whoever is making the connection; what its last attempt came to.
    connecting: tokio::sync::Mutex<Option<FailedAttempt>>,
}

/// What whoever waited for it is told, too.
struct FailedAttempt {
    at: Instant,
    reason: String,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    connect_timeout: Duration,
    reconnect_timeout: Duration,
    reply_timeout: Duration,
    connections_max: usize,
    attempts_max: u32,
}

/// What a client is told before it connects. Each setter names its default.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    address: Result<Address, String>,
    settings: Settings,
}

impl Builder {
    /// How long one connection may take to be made. Default: 5 s.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # async fn example() -> kv_client::Result<()> {
    /// let builder = kv_client::Client::builder("db.example");
    /// let client = builder.connect_timeout(Duration::from_secs(1)).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long a command may wait for a lost connection to be made again. Default: 5 s.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # async fn example() -> kv_client::Result<()> {
    /// let builder = kv_client::Client::builder("db.example");
    /// let client = builder.reconnect_timeout(Duration::from_secs(60)).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconnect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.reconnect_timeout = timeout;
        self
    }

    /// How long a command may take, waiting for locks included. Default: 30 s.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # async fn example() -> kv_client::Result<()> {
    /// let builder = kv_client::Client::builder("db.example");
    /// let client = builder.reply_timeout(Duration::from_millis(200)).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reply_timeout(mut self, timeout: Duration) -> Self {
        self.settings.reply_timeout = timeout;
        self
    }

    /// How many connections there may be beside the shared ones, that is how many transactions and
    /// long scans at the same time, at least 1. Default: 32. One more waits, as long as a reply
    /// may take.
    ///
    /// ```no_run
    /// # async fn example() -> kv_client::Result<()> {
    /// let client = kv_client::Client::builder("db.example").connections_max(200).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.settings.connections_max = connections.max(1);
        self
    }

    /// How often [`Client::transaction`] does a transaction before it hands its error on, at least
    /// once. Default: 10.
    ///
    /// ```no_run
    /// # async fn example() -> kv_client::Result<()> {
    /// let client = kv_client::Client::builder("db.example").attempts_max(3).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.settings.attempts_max = attempts.max(1);
        self
    }

    /// Connects, once: a server that is not there now is an error now.
    ///
    /// ```no_run
    /// # async fn example() -> kv_client::Result<()> {
    /// match kv_client::Client::builder("db.example").connect().await {
    ///     Ok(client) => client.ping().await?,
    ///     Err(error) => eprintln!("{}: {error}", error.code()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Address`], [`Error::Connect`], or [`Error::Server`] if the server lets this client
    /// or any other client not in.
    pub async fn connect(self) -> Result<Client> {
        let Builder { address, settings } = self;
        let address = address.map_err(Error::Address)?;
        let connector = Arc::new(Connector::new(address, settings.connect_timeout));
        let first = connector.connect().await?;
        let pool = Pool::new(Arc::clone(&connector), settings.connections_max);
        Ok(Client(Arc::new(Inner {
            settings,
            connector,
            reads: Shared { connection: Mutex::new(Some(first)), ..Shared::default() },
            writes: Shared::default(),
            pool,
        })))
    }
}

impl Client {
    /// Connects to a server: `host:port`, `kv://user:password@host:port` or `unix:PATH`, see
    /// [`Address`].
    ///
    /// ```no_run
    /// # async fn example() -> kv_client::Result<()> {
    /// let client = kv_client::Client::connect("127.0.0.1:7878").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Builder::connect`].
    pub async fn connect(address: &str) -> Result<Client> {
        Client::builder(address).connect().await
    }

    /// Settings for a client of this server.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # async fn example() -> kv_client::Result<()> {
    /// let client = kv_client::Client::builder("kv://db.example")
    ///     .reply_timeout(Duration::from_secs(2))
    ///     .connections_max(100)
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(address: &str) -> Builder {
        let address = address.parse().map_err(|error| match error {
            Error::Address(text) => text,
            other => other.to_string(),
        });
        let settings = Settings {
            connect_timeout: limits::CONNECT_TIMEOUT,
            reconnect_timeout: limits::CONNECT_TIMEOUT,
            reply_timeout: limits::REPLY_TIMEOUT,
            connections_max: limits::CONNECTIONS_MAX,
            attempts_max: limits::ATTEMPTS_MAX,
        };
        Builder { address, settings }
    }

    /// The server's address, without user and password.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// println!("at {}", client.address());
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> String {
        self.0.connector.address().to_string()
    }

    /// Begins a transaction on a connection of its own. It is rolled back when it is dropped
    /// without a commit.
    ///
    /// The server aborts a transaction that nothing is heard of for longer than its idle limit
    /// (a minute by default); then its next command answers ABORTED.
    ///
    /// ```no_run
    /// use kv_client::{Commands, Isolation};
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Serializable).await?;
    /// let house = txn.get("house").await?;
    /// txn.put("copy", house.unwrap_or_default()).await?;
    /// txn.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if all connections are in use for as long as a reply may take, or what the
    /// server refuses. Nothing was begun.
    pub async fn begin(&self, begin: impl Into<Begin>) -> Result<Transaction> {
        let (lease, reply_timeout) = self.lease().await?;
        Transaction::begin(lease, begin.into(), reply_timeout).await
    }

    /// A connection for a transaction, and how long a reply may take.
    pub(crate) async fn lease(&self) -> Result<(Lease, Duration)> {
        let reply_timeout = self.0.settings.reply_timeout;
        Ok((self.0.pool.lease(reply_timeout).await?, reply_timeout))
    }

    /// Does something in a serializable transaction: commits if it answers `Ok`, rolls back
    /// otherwise.
    ///
    /// **It may be done more than once.** If the transaction was aborted because of another one, or
    /// lost with its connection, it is done again after a pause that grows and is drawn at random,
    /// at most [`Builder::attempts_max`] times; so keep what cannot be undone out of it. It is not
    /// done again if the outcome of its commit is unknown.
    ///
    /// ```no_run
    /// use kv_client::Commands;
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let left = client
    ///     .transaction(|txn| async move {
    ///         let stock: i64 = txn.get("stock").await?.unwrap_or_default().parse()?;
    ///         txn.put("stock", stock - 1).await?;
    ///         Ok::<_, kv_client::Error>(stock - 1)
    ///     })
    ///     .await?;
    /// # let _ = left;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the closure answered, with nothing done; or what the commit came to, see
    /// [`Transaction::commit`].
    pub async fn transaction<T, E, F, R>(&self, work: F) -> Result<T, E>
    where
        F: Fn(Transaction) -> R,
        R: Future<Output = Result<T, E>>,
        E: From<Error> + 'static,
    {
        self.transaction_with(kv_protocol::Isolation::Serializable, work).await
    }

    /// As [`Client::transaction`], begun in another way.
    ///
    /// ```no_run
    /// use kv_client::{Commands, Isolation};
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let both = client
    ///     .transaction_with(Isolation::ReadOnly, |txn| async move {
    ///         Ok::<_, kv_client::Error>((txn.get("a").await?, txn.get("b").await?))
    ///     })
    ///     .await?;
    /// # let _ = both;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Client::transaction`].
    pub async fn transaction_with<T, E, F, R>(
        &self,
        begin: impl Into<Begin>,
        work: F,
    ) -> Result<T, E>
    where
        F: Fn(Transaction) -> R,
        R: Future<Output = Result<T, E>>,
        E: From<Error> + 'static,
    {
        let begin = begin.into();
        let mut attempts = Attempts::new(self.0.settings.attempts_max);
        loop {
            let failed = match self.begin(begin).await {
                Ok(transaction) => {
                    let result = work(transaction.borrowed()).await;
                    match transaction.finish(result).await {
                        Ok(done) => return Ok(done),
                        Err(failed) => failed,
                    }
                }
                Err(error) => Failed::from(error),
            };
            sleep(attempts.pause_after(failed)?).await;
        }
    }

    /// The pairs of one state of the store, in the order of their keys, page by page: as many as
    /// there are, with memory for one page.
    ///
    /// A scan of more than one page reads in a transaction of its own and keeps its connection
    /// until it is at its end or dropped. One that takes longer than the server keeps views
    /// (`--max-view-age`) answers PRUNED.
    ///
    /// ```no_run
    /// use kv_client::Scan;
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let mut orders = client.scan(Scan::prefix("order:"));
    /// while let Some((key, value)) = orders.next().await? {
    ///     println!("{} is {}", key.to_str()?, value.to_str()?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, scan: Scan) -> Rows {
        Rows::of_client(self.clone(), scan)
    }

    /// A connection to type commands into, as into netcat: for programs that pass on what people
    /// say.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let session = client.session().await?;
    /// println!("{:?}", session.send("SCAN PREFIX order: LIMIT 3").await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Builder::connect`].
    pub async fn session(&self) -> Result<Session> {
        let connection = self.0.connector.connect().await?;
        Ok(Session::new(connection, self.0.settings.reply_timeout))
    }

    /// Asks for a sign of life.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// client.ping().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As every command.
    pub async fn ping(&self) -> Result<()> {
        self.execute(Ok(Line::of(&Request::Ping)), reply::pong).await
    }

    /// The version of the server and of the protocol.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// println!("{}", client.version().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As every command.
    pub async fn version(&self) -> Result<String> {
        self.execute(Ok(Line::of(&Request::Version)), reply::text).await
    }

    /// The server's counters, each a name and what it says.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// for (name, value) in client.stats().await? {
    ///     println!("{name} is {value}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As every command.
    pub async fn stats(&self) -> Result<Vec<(String, String)>> {
        self.execute(Ok(Line::of(&Request::Stats)), reply::stats).await
    }

    /// Sends something on a shared connection. What has not left is sent on the next one; `line`
    /// says what it means if something has left.
    async fn exchange<T, F>(&self, line: &Line, send: impl Fn(Connection) -> F) -> Result<T>
    where
        F: Future<Output = Result<Result<T>, Failure>>,
    {
        let shared = if line.writes { &self.0.writes } else { &self.0.reads };
        let (asked, mut used) = (Instant::now(), None);
        let attempt = async {
            loop {
                let connection = self.connection(shared).await?;
                used = Some(connection.clone());
                match send(connection).await {
                    Ok(result) => return result,
                    Err(Failure::Lost(reason)) => return Err(line.unanswered(reason)),
                    Err(Failure::NotSent(_)) => used = None,
                }
            }
        };
        let reply_timeout = self.0.settings.reply_timeout;
        let in_time = timeout(reply_timeout, attempt).await;
        in_time.unwrap_or_else(|_| {
            let reason = no_reply(reply_timeout);
            Err(match used {
                Some(connection) => {
                    connection.give_up_if_silent_since(asked);
                    line.unanswered(reason)
                }
                None => Error::Disconnected { reason },
            })
        })
    }

    /// A shared connection, made again if it was lost.
    async fn connection(&self, shared: &Shared) -> Result<Connection> {
        let alive = || shared.connection.lock().clone().filter(Connection::is_alive);
        if let Some(connection) = alive() {
            return Ok(connection);
        }
        let asked = Instant::now();
        let mut failed = shared.connecting.lock().await;
        if let Some(connection) = alive() {
            return Ok(connection);
        }
        // Somebody tried all the while that this task waited for its turn.
        if let Some(FailedAttempt { at, reason }) = &*failed
            && *at > asked
        {
            return Err(Error::Disconnected { reason: reason.clone() });
        }
        let mut backoff = Backoff::default();
        loop {
            match self.0.connector.connect().await {
                Ok(connection) => {
                    *shared.connection.lock() = Some(connection.clone());
                    *failed = None;
                    return Ok(connection);
                }
                Err(error) => {
                    let pause = backoff.pause();
                    let is_over = asked.elapsed() + pause > self.0.settings.reconnect_timeout;
                    if is_over || !matches!(error, Error::Connect { .. }) {
                        let reason = error.to_string();
                        *failed = Some(FailedAttempt { at: Instant::now(), reason });
                        return Err(error);
                    }
                    sleep(pause).await;
                }
            }
        }
    }
}

impl Execute for Client {
    fn line(&self, request: Request<'_>) -> Line {
        Line::of(&request)
    }

    async fn execute<T: Send>(
        &self,
        line: Result<Line>,
        read: fn(&Frame) -> Result<T>,
    ) -> Result<T> {
        let line = line?;
        let line = &line;
        let send = |connection: Connection| async move {
            Ok(line.named(connection.call(&line.bytes, read).await?))
        };
        self.exchange(line, send).await
    }

    async fn execute_all<T: Send>(
        &self,
        lines: Result<Vec<Line>>,
        read: fn(&Frame) -> Result<T>,
    ) -> Result<Vec<T>> {
        let lines = lines?;
        let Some(any) = lines.iter().find(|line| line.writes).or(lines.first()) else {
            return Ok(Vec::new());
        };
        let all = &lines;
        let send = |connection: Connection| async move { connection.call_all(all, read).await };
        self.exchange(any, send).await
    }
}

impl Commands for Client {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address()).finish()
    }
}
