//! A transaction on one of several servers.

use std::fmt;
use std::sync::Arc;

use kv_protocol::Request;
use tokio::sync::Mutex;

use super::ShardedClient;
use crate::commands::{Commands, Execute};
use crate::connection::Frame;
use crate::error::{Error, Result};
use crate::line::Line;
use crate::options::{Begin, Scan};
use crate::rows::Pair;
use crate::transaction::{Failed, Transaction};

/// A transaction that begins with its first command, on the server of that command's key. A key of
/// another server is refused with [`Error::CrossServer`], and so are commands on many keys.
///
/// It is rolled back when the last clone is dropped without a commit.
#[derive(Clone)]
pub struct ShardedTransaction {
    client: ShardedClient,
    begin: Begin,
    state: Arc<Mutex<State>>,
}

/// How far it has come.
enum State {
    /// No command has said yet on which server.
    NotBegun,
    /// On this server.
    Open(String, Transaction),
    /// It was committed or rolled back.
    Ended,
}

impl ShardedTransaction {
    pub(super) fn new(client: ShardedClient, begin: Begin) -> Self {
        ShardedTransaction { client, begin, state: Arc::new(Mutex::new(State::NotBegun)) }
    }

    /// Commits it; see [`Transaction::commit`]. One that has done nothing needs no server.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn commit(self) -> Result<()> {
        match self.end().await {
            Some(transaction) => transaction.commit().await,
            None => Ok(()),
        }
    }

    /// Rolls it back; see [`Transaction::rollback`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn rollback(self) -> Result<()> {
        match self.end().await {
            Some(transaction) => transaction.rollback().await,
            None => Ok(()),
        }
    }

    /// From now on there is nothing to be done in it; what there was, if it had begun.
    async fn end(&self) -> Option<Transaction> {
        match std::mem::replace(&mut *self.state.lock().await, State::Ended) {
            State::Open(_, transaction) => Some(transaction),
            State::NotBegun | State::Ended => None,
        }
    }

    pub(super) async fn finish<T, E>(self, work: Result<T, E>) -> Result<T, Failed<E>>
    where
        E: From<Error> + 'static,
    {
        match self.end().await {
            Some(transaction) => transaction.finish(work).await,
            // It could not be begun, or the error is the caller's own.
            None => work.map_err(Failed::of),
        }
    }

    /// The transaction on the server of a key, begun if it has not been.
    async fn on(&self, key: &[u8]) -> Result<Transaction> {
        let (server, client) = self.client.route(key).await?;
        let mut state = self.state.lock().await;
        match &*state {
            State::Open(at, transaction) if *at == server => Ok(transaction.borrowed()),
            State::Open(at, _) => Err(Error::CrossServer { transaction: at.clone(), key: server }),
            State::Ended => Err(Error::Argument("the transaction has ended".to_owned())),
            State::NotBegun => {
                let transaction = client.begin(self.begin).await?;
                let borrowed = transaction.borrowed();
                *state = State::Open(server, transaction);
                Ok(borrowed)
            }
        }
    }
}

fn many_keys() -> Error {
    Error::Argument(
        "a transaction on one of several servers cannot look at the keys of all of them: \
         scan outside of it, or begin it on that server's own client"
            .to_owned(),
    )
}

impl Execute for ShardedTransaction {
    fn line(&self, request: Request<'_>) -> Line {
        // The transaction's number is known when its server is: see `execute`.
        self.client.line(request)
    }

    async fn execute<T: Send>(
        &self,
        line: Result<Line>,
        read: fn(&Frame) -> Result<T>,
    ) -> Result<T> {
        let line = line?;
        let transaction = self.on(line.key()).await?;
        let typed = line.bytes.strip_suffix(b"\n").unwrap_or(&line.bytes);
        match Request::parse(typed) {
            Ok(Some(request)) => transaction.execute(Ok(transaction.line(request)), read).await,
            // The server says what is wrong with it.
            _ => transaction.execute(Ok(line), read).await,
        }
    }
}

impl Commands for ShardedTransaction {
    async fn count(&self, _: Scan) -> Result<u64> {
        Err(many_keys())
    }

    async fn page(&self, _: Scan) -> Result<Vec<Pair>> {
        Err(many_keys())
    }

    fn nearest(
        &self,
        _: f64,
        _: u64,
        _: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<Vec<Pair>>> + Send {
        std::future::ready(Err(many_keys()))
    }
}

impl fmt::Debug for ShardedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedTransaction").field("begin", &self.begin).finish_non_exhaustive()
    }
}
