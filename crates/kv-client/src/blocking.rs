//! The same client without `async`: the same names, and each call returns when it is done.
//!
//! A thread in the background does the input and output of each client and its clones. Calls may
//! come from any number of threads at the same time, and share the connection as tasks would. They
//! panic within an async runtime, whose threads must not wait: use [`crate::Client`] there.
//!
//! ```no_run
//! use kv_client::blocking::{Client, Commands};
//!
//! fn main() -> kv_client::Result<()> {
//!     let client = Client::connect("127.0.0.1:7878")?;
//!     client.put("house", "large")?;
//!     client.transaction(|txn| {
//!         let house = txn.get("house")?.unwrap_or_default();
//!         txn.put("copy of house", house)
//!     })
//! }
//! ```

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Runtime};

use crate::commands::Commands as _;
use crate::error::{Error, Result};
use crate::options::{Begin, Isolation, Put, Scan};
use crate::reply::{Meta, OpenTransaction, Reply, TimeToLive, Version};
use crate::retry::Attempts;
use crate::rows::Pair;
use crate::value::{IntoValue, Value};

/// What waits for the async client of the same name.
pub trait Block {
    /// The async one.
    #[doc(hidden)]
    type Inner: crate::Commands;

    #[doc(hidden)]
    fn inner(&self) -> &Self::Inner;

    #[doc(hidden)]
    fn runtime(&self) -> &Runtime;
}

/// Declares each command once more; what it does and how it is used stands in the async trait.
macro_rules! same_names {
    ($(
        fn $name:ident $(<$($generic:ident: $bound:path),+>)? ($($argument:ident: $type:ty),*)
            -> $result:ty;
    )+) => {
        /// The commands of [`crate::Commands`], each of which returns when it is done.
        pub trait Commands: Block {$(
            #[doc = concat!(
                "As [`", stringify!($name), "`](crate::Commands::", stringify!($name), ").",
            )]
            ///
            /// # Errors
            ///
            /// As there.
            fn $name $(<$($generic: $bound),+>)? (&self, $($argument: $type),*) -> Result<$result> {
                self.runtime().block_on(self.inner().$name($($argument),*))
            }
        )+}
    };
}

same_names! {
    fn put(key: impl AsRef<[u8]>, value: impl IntoValue) -> ();
    fn put_with(key: impl AsRef<[u8]>, value: impl IntoValue, put: Put) -> ();
    fn put_all<K: AsRef<[u8]>, V: IntoValue>(puts: impl IntoIterator<Item = (K, V, Put)>) -> ();
    fn get(key: impl AsRef<[u8]>) -> Option<Value>;
    fn get_all<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Vec<Option<Value>>;
    fn get_version(key: impl AsRef<[u8]>, version: u64) -> Option<Value>;
    fn get_at(key: impl AsRef<[u8]>, revision: u64) -> Option<Value>;
    fn delete(key: impl AsRef<[u8]>) -> bool;
    fn delete_all<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Vec<bool>;
    fn delete_version(key: impl AsRef<[u8]>, version: u64) -> bool;
    fn exists(key: impl AsRef<[u8]>) -> bool;
    fn increment(key: impl AsRef<[u8]>, by: i64) -> i64;
    fn meta(key: impl AsRef<[u8]>) -> Option<Meta>;
    fn meta_all<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Vec<Option<Meta>>;
    fn history(key: impl AsRef<[u8]>, limit: u64) -> Vec<Version>;
    fn expire(key: impl AsRef<[u8]>, after: Duration) -> bool;
    fn persist(key: impl AsRef<[u8]>) -> bool;
    fn time_to_live(key: impl AsRef<[u8]>) -> TimeToLive;
    fn count(scan: Scan) -> u64;
    fn page(scan: Scan) -> Vec<Pair>;
    fn nearest(number: f64, rows: u64, prefix: impl AsRef<[u8]>) -> Vec<Pair>;
}

/// A client of one server, as [`crate::Client`]. A clone is cheap and shares all connections.
#[derive(Clone)]
pub struct Client {
    // Before the runtime, so that what it has to send at its end is sent.
    inner: crate::Client,
    runtime: Arc<Runtime>,
    attempts_max: u32,
}

/// What a client is told before it connects, as [`crate::Builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    inner: crate::Builder,
    attempts_max: u32,
}

impl Builder {
    /// As [`crate::Builder::connect_timeout`].
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Builder { inner: self.inner.connect_timeout(timeout), ..self }
    }

    /// As [`crate::Builder::reconnect_timeout`].
    pub fn reconnect_timeout(self, timeout: Duration) -> Self {
        Builder { inner: self.inner.reconnect_timeout(timeout), ..self }
    }

    /// As [`crate::Builder::reply_timeout`].
    pub fn reply_timeout(self, timeout: Duration) -> Self {
        Builder { inner: self.inner.reply_timeout(timeout), ..self }
    }

    /// As [`crate::Builder::connections_max`].
    pub fn connections_max(self, connections: usize) -> Self {
        Builder { inner: self.inner.connections_max(connections), ..self }
    }

    /// As [`crate::Builder::attempts_max`].
    pub fn attempts_max(self, attempts: u32) -> Self {
        Builder { attempts_max: attempts.max(1), ..self }
    }

    /// Connects, as [`crate::Builder::connect`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn connect(self) -> Result<Client> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kv-client")
            .enable_all()
            .build()
            .map_err(no_thread)?;
        let inner = runtime.block_on(self.inner.connect())?;
        Ok(Client { inner, runtime: Arc::new(runtime), attempts_max: self.attempts_max })
    }
}

fn no_thread(source: io::Error) -> Error {
    Error::Connect { address: "anything: this process cannot start a thread".to_owned(), source }
}

impl Client {
    /// As [`crate::Client::connect`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn connect(address: &str) -> Result<Client> {
        Client::builder(address).connect()
    }

    /// As [`crate::Client::builder`].
    pub fn builder(address: &str) -> Builder {
        let attempts_max = crate::limits::ATTEMPTS_MAX;
        Builder { inner: crate::Client::builder(address), attempts_max }
    }

    /// The server's address, without user and password.
    pub fn address(&self) -> String {
        self.inner.address()
    }

    /// As [`crate::Client::begin`].
    ///
    /// ```no_run
    /// use kv_client::Isolation;
    /// use kv_client::blocking::{Client, Commands};
    ///
    /// # fn example(client: Client) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Snapshot)?;
    /// txn.put("house", "small")?;
    /// txn.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As there.
    pub fn begin(&self, begin: impl Into<Begin>) -> Result<Transaction> {
        let inner = self.runtime.block_on(self.inner.begin(begin))?;
        Ok(Transaction { inner, runtime: Arc::clone(&self.runtime) })
    }

    /// As [`crate::Client::attach`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn attach(&self, token: &str) -> Result<Transaction> {
        let inner = self.runtime.block_on(self.inner.attach(token))?;
        Ok(Transaction { inner, runtime: Arc::clone(&self.runtime) })
    }

    /// As [`crate::Client::transaction`]: it may be done more than once.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn transaction<T, E>(&self, work: impl Fn(&Transaction) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error> + 'static,
    {
        self.transaction_with(Isolation::Serializable, work)
    }

    /// As [`crate::Client::transaction_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn transaction_with<T, E>(
        &self,
        begin: impl Into<Begin>,
        work: impl Fn(&Transaction) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<Error> + 'static,
    {
        let begin = begin.into();
        let mut attempts = Attempts::new(self.attempts_max);
        loop {
            let failed = match self.begin(begin) {
                Ok(transaction) => match transaction.run(&work) {
                    Ok(done) => return Ok(done),
                    Err(failed) => failed,
                },
                Err(error) => error.into(),
            };
            std::thread::sleep(attempts.pause_after(failed)?);
        }
    }

    /// As [`crate::Client::scan`].
    ///
    /// ```no_run
    /// use kv_client::Scan;
    /// use kv_client::blocking::Client;
    ///
    /// # fn example(client: Client) -> kv_client::Result<()> {
    /// for pair in client.scan(Scan::prefix("order:")) {
    ///     let (key, value) = pair?;
    ///     println!("{key:?} is {value:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, scan: Scan) -> Rows {
        Rows { inner: self.inner.scan(scan), runtime: Arc::clone(&self.runtime) }
    }

    /// As [`crate::Client::session`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn session(&self) -> Result<Session> {
        let inner = self.runtime.block_on(self.inner.session())?;
        Ok(Session { inner, runtime: Arc::clone(&self.runtime) })
    }

    /// As [`crate::Client::ping`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn ping(&self) -> Result<()> {
        self.runtime.block_on(self.inner.ping())
    }

    /// As [`crate::Client::version`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn version(&self) -> Result<String> {
        self.runtime.block_on(self.inner.version())
    }

    /// As [`crate::Client::stats`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn stats(&self) -> Result<Vec<(String, String)>> {
        self.runtime.block_on(self.inner.stats())
    }
}

impl Block for Client {
    type Inner = crate::Client;

    fn inner(&self) -> &crate::Client {
        &self.inner
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Commands for Client {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// An open transaction, as [`crate::Transaction`]; dropping it rolls it back.
pub struct Transaction {
    inner: crate::Transaction,
    runtime: Arc<Runtime>,
}

impl Transaction {
    /// As [`crate::Transaction::id`].
    pub fn id(&self) -> u64 {
        self.inner.id()
    }

    /// As [`crate::Transaction::is_doomed`].
    pub fn is_doomed(&self) -> bool {
        self.inner.is_doomed()
    }

    /// As [`crate::Transaction::get_for_update`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn get_for_update(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.runtime.block_on(self.inner.get_for_update(key))
    }

    /// As [`crate::Transaction::scan`].
    pub fn scan(&self, scan: Scan) -> Rows {
        Rows { inner: self.inner.scan(scan), runtime: Arc::clone(&self.runtime) }
    }

    /// As [`crate::Transaction::nested`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn nested(&self) -> Result<Transaction> {
        let inner = self.runtime.block_on(self.inner.nested())?;
        Ok(Transaction { inner, runtime: Arc::clone(&self.runtime) })
    }

    /// As [`crate::Transaction::token`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn token(&self) -> Result<String> {
        self.runtime.block_on(self.inner.token())
    }

    /// As [`crate::Transaction::commit`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn commit(self) -> Result<()> {
        let Transaction { inner, runtime } = self;
        runtime.block_on(inner.commit())
    }

    /// As [`crate::Transaction::rollback`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rollback(self) -> Result<()> {
        let Transaction { inner, runtime } = self;
        runtime.block_on(inner.rollback())
    }

    fn run<T, E: From<Error> + 'static>(
        self,
        work: impl Fn(&Transaction) -> Result<T, E>,
    ) -> Result<T, crate::transaction::Failed<E>> {
        let done = work(&self);
        let Transaction { inner, runtime } = self;
        runtime.block_on(inner.finish(done))
    }
}

impl Block for Transaction {
    type Inner = crate::Transaction;

    fn inner(&self) -> &crate::Transaction {
        &self.inner
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Commands for Transaction {}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// The rows of a scan, as [`crate::Rows`].
#[must_use = "a scan does nothing until its rows are asked for"]
pub struct Rows {
    inner: crate::Rows,
    runtime: Arc<Runtime>,
}

impl Iterator for Rows {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.inner.next()).transpose()
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A connection to type into, as [`crate::Session`].
pub struct Session {
    inner: crate::Session,
    runtime: Arc<Runtime>,
}

impl Session {
    /// As [`crate::Session::send`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send(&self, line: impl AsRef<[u8]>) -> Result<Reply> {
        self.runtime.block_on(self.inner.send(line))
    }

    /// As [`crate::Session::send_for_json`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_for_json(&self, line: impl AsRef<[u8]>) -> Result<String> {
        self.runtime.block_on(self.inner.send_for_json(line))
    }

    /// As [`crate::Session::transactions`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn transactions(&self) -> Result<Vec<OpenTransaction>> {
        self.runtime.block_on(self.inner.transactions())
    }

    /// As [`crate::Session::is_alive`].
    pub fn is_alive(&self) -> bool {
        self.inner.is_alive()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
