//! One client for several servers, each of which has its part of the keys.
//!
//! Keys are spread by a consistent-hash ring that every client computes from the servers' names
//! alone; there is nothing to ask and nobody who decides. All clients must be given the same
//! names, in any order.
//!
//! **A transaction runs on one server.** It belongs to the server of its first key, and a key of
//! another one is refused with [`Error::CrossServer`]: never half a transaction. Keys that belong
//! together are kept together by a tag in braces: `{ann}:name` and `{ann}:mail` are on one server.
//!
//! **More servers.** [`ShardedClient::add_server`] puts one on the ring, and from then on this
//! client looks for a key that has not moved yet where it was before, moving it first. Do so in
//! every client; then have one of them [`ShardedClient::rebalance`] all keys. Between the first and
//! the last client that knows of the new server, a key may be written on both: let writers rest
//! meanwhile. A key moves with its newest value, its type and its time to live, not with its
//! history.

mod rebalance;

mod ring;

mod rows;

mod transaction;

use std::fmt;
use std::sync::Arc;

use kv_protocol::Request;
use parking_lot::RwLock;

use crate::client::Client;
use crate::commands::{Commands, Execute};
use crate::connection::Frame;
use crate::error::{Error, Result};
use crate::line::Line;
use crate::options::{Begin, Scan};
use crate::retry::Attempts;
use crate::rows::Pair;
use crate::transaction::Failed;

pub use rebalance::Progress;
use ring::Ring;
pub use rows::ShardedRows;
pub use transaction::ShardedTransaction;

/// A client of several servers. A clone is cheap and shares everything.
///
/// ```no_run
/// use kv_client::Commands;
/// use kv_client::sharded::ShardedClient;
///
/// # async fn example() -> kv_client::Result<()> {
/// let client = ShardedClient::connect(["10.0.0.1:7878", "10.0.0.2:7878"]).await?;
/// client.put("{ann}:name", "Ann").await?;
/// client
///     .transaction(|txn| async move {
///         txn.increment("{ann}:visits", 1).await?;
///         txn.put("{ann}:seen", "today").await
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ShardedClient(Arc<RwLock<Servers>>);

#[derive(Clone)]
struct Servers {
    /// By their number on the ring; the name is the address that was given.
    all: Vec<(String, Client)>,
    ring: Ring,
    /// The ring on which keys are that have not moved yet.
    before: Option<Ring>,
}

impl ShardedClient {
    /// Connects to all servers. Their addresses, as they are written here, decide which keys each
    /// has: spell them alike in every client.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] without any server or with the same twice; otherwise as
    /// [`Client::connect`] of the first that fails.
    pub async fn connect<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        // In one order whatever the caller's, so that numbers mean the same.
        let mut names: Vec<String> = addresses.into_iter().map(str::to_owned).collect();
        names.sort_unstable();
        if names.is_empty() || names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Argument("expected at least one server, and each once".to_owned()));
        }
        let mut all = Vec::new();
        for name in names {
            let client = Client::connect(&name).await?;
            all.push((name, client));
        }
        let ring = Servers::ring_of(&all);
        Ok(ShardedClient(Arc::new(RwLock::new(Servers { all, ring, before: None }))))
    }

    /// The server that a key belongs to.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::sharded::ShardedClient) -> kv_client::Result<()> {
    /// assert_eq!(client.server_of("{ann}:name"), client.server_of("{ann}:mail"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn server_of(&self, key: impl AsRef<[u8]>) -> String {
        let servers = self.0.read();
        servers.all[servers.ring.server_of(key.as_ref())].0.clone()
    }

    /// The servers, in the order in which they were added.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::sharded::ShardedClient) -> kv_client::Result<()> {
    /// println!("{} servers", client.servers().len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn servers(&self) -> Vec<String> {
        self.0.read().all.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Puts another server on the ring, which gets about `1/n` of the keys; see
    /// [the module](self) for the order in which to do things. Keys move when they are used, and
    /// all of them by [`rebalance`](ShardedClient::rebalance).
    ///
    /// # Errors
    ///
    /// As [`Client::connect`]; [`Error::Argument`] if it is one of them already, or if keys are
    /// still to be moved because of the one added before. Then nothing has changed.
    pub async fn add_server(&self, address: &str) -> Result<()> {
        let client = Client::connect(address).await?;
        let mut servers = self.0.write();
        if servers.all.iter().any(|(name, _)| name == address) {
            return Err(Error::Argument(format!("{address} is on the ring already")));
        }
        if servers.before.is_some() {
            return Err(Error::Argument(
                "keys are still to be moved because of the last server: rebalance first".to_owned(),
            ));
        }
        servers.all.push((address.to_owned(), client));
        let ring = Servers::ring_of(&servers.all);
        servers.before = Some(std::mem::replace(&mut servers.ring, ring));
        Ok(())
    }

    /// Does something in a transaction on the server of its first key; as
    /// [`Client::transaction`], so it may be done more than once.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::CrossServer`].
    pub async fn transaction<T, E, F, R>(&self, work: F) -> Result<T, E>
    where
        F: Fn(ShardedTransaction) -> R,
        R: Future<Output = Result<T, E>>,
        E: From<Error> + 'static,
    {
        let mut attempts = Attempts::new(crate::limits::ATTEMPTS_MAX);
        loop {
            let transaction = self.begin(kv_protocol::Isolation::Serializable);
            let result = work(transaction.clone()).await;
            let failed: Failed<E> = match transaction.finish(result).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            tokio::time::sleep(attempts.pause_after(failed)?).await;
        }
    }

    /// A transaction that begins with its first command, on the server of that command's key.
    ///
    /// ```no_run
    /// use kv_client::{Commands, Isolation};
    /// # async fn example(client: kv_client::sharded::ShardedClient) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Serializable);
    /// txn.put("{ann}:name", "Ann").await?;
    /// txn.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin(&self, begin: impl Into<Begin>) -> ShardedTransaction {
        ShardedTransaction::new(self.clone(), begin.into())
    }

    /// The pairs of all servers in the order of their keys. Each server shows one state of its own
    /// part; these states are not of one moment.
    ///
    /// ```no_run
    /// use kv_client::Scan;
    /// # async fn example(client: kv_client::sharded::ShardedClient) -> kv_client::Result<()> {
    /// let users = client.scan(Scan::prefix("user:")).collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, scan: Scan) -> ShardedRows {
        let limit = scan.selection.limit;
        let rows = self.clients().iter().map(|client| client.scan(scan.clone())).collect();
        ShardedRows::new(rows, limit)
    }

    fn clients(&self) -> Vec<Client> {
        self.0.read().all.iter().map(|(_, client)| client.clone()).collect()
    }

    /// The server of a key, by its name, with the key on it.
    async fn route(&self, key: &[u8]) -> Result<(String, Client)> {
        let (name, client, before) = {
            let servers = self.0.read();
            let at = servers.ring.server_of(key);
            let before = servers.before.as_ref().map(|ring| ring.server_of(key));
            let before = before.filter(|before| *before != at);
            let (name, client) = servers.all[at].clone();
            (name, client, before.map(|before| servers.all[before].1.clone()))
        };
        if let Some(before) = before {
            rebalance::move_key(&before, &client, key).await?;
        }
        Ok((name, client))
    }
}

impl Servers {
    fn ring_of(all: &[(String, Client)]) -> Ring {
        Ring::of(all.iter().map(|(name, _)| name.as_str()))
    }
}

impl Execute for ShardedClient {
    fn line(&self, request: Request<'_>) -> Line {
        Line::of(&request).routed_by(request.key())
    }

    async fn execute<T: Send>(
        &self,
        line: Result<Line>,
        read: fn(&Frame) -> Result<T>,
    ) -> Result<T> {
        let line = line?;
        let (_, client) = self.route(line.key()).await?;
        client.execute(Ok(line), read).await
    }
}

impl Commands for ShardedClient {
    async fn count(&self, scan: Scan) -> Result<u64> {
        let mut count = 0;
        for client in self.clients() {
            count += client.count(scan.clone()).await?;
        }
        Ok(count)
    }

    async fn page(&self, scan: Scan) -> Result<Vec<Pair>> {
        self.scan(scan).collect().await
    }

    fn nearest(
        &self,
        number: f64,
        rows: u64,
        prefix: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<Vec<Pair>>> + Send {
        let prefix = prefix.as_ref().to_vec();
        async move {
            let mut pairs = Vec::new();
            for client in self.clients() {
                pairs.extend(client.nearest(number, rows, &prefix).await?);
            }
            let distance = |(_, value): &Pair| (value.parse().unwrap_or(f64::MAX) - number).abs();
            pairs.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
            pairs.truncate(usize::try_from(rows).unwrap_or(usize::MAX));
            Ok(pairs)
        }
    }
}

impl fmt::Debug for ShardedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedClient").field("servers", &self.servers()).finish()
    }
}
