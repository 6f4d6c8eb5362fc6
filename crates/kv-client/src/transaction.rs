//! Transactions: a connection lent from the pool, an id, and what happens at the end.
//!
//! ```text
//!            commands                    commit, rollback
//!  begun ──► open ────────────────────────────────────────► ended: the connection goes back
//!              │ dropped: ROLLBACK is sent, nobody waits    ► ended: the connection goes back
//!              │ dropped while a reply is awaited           ► the connection is closed
//!              │ connection lost, or no reply in time       ► lost: TransactionLost, for ever
//!              │ given a token                              ► outlives this and its connection
//! ```
//!
//! Every command names the transaction's id. So a command that comes too late, for whatever reason,
//! is refused by the server; it cannot become a transaction of its own.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kv_protocol::Request;
use kv_protocol::request::{Isolation, Parent, Read};

use crate::client::Client;
use crate::commands::{Commands, Execute};
use crate::connection::{Failure, Frame};
use crate::error::{Error, ErrorCode, Result, ServerError};
use crate::line::Line;
use crate::options::{Begin, Scan};
use crate::pool::Lease;
use crate::reply;
use crate::rows::Rows;
use crate::value::Value;

/// An open transaction. Its commands are in the trait [`Commands`]; dropping it rolls it back,
/// unless it has a [token](Transaction::token).
///
/// Commands may run at the same time; the server does them in the order in which they were called.
///
/// An error of a single command leaves the transaction open, unless
/// [`Error::ends_transaction`] says otherwise.
pub struct Transaction {
    open: Arc<Open>,
    /// Whether dropping it ends the transaction, or something else will.
    is_owner: bool,
}

/// A transaction that this client has begun.
struct Open {
    tree: Arc<Tree>,
    id: u64,
    isolation: Isolation,
    /// What it is nested in; none for a root.
    parent: Option<u64>,
    has_ended: AtomicBool,
    /// A COMMIT was sent, and was done or may have been: nothing of it is to be done again.
    has_tried_commit: AtomicBool,
}

/// What a transaction shares with those nested in it.
struct Tree {
    lease: Lease,
    reply_timeout: Duration,
    /// The server has aborted it, or it is lost: it can only be done again.
    is_doomed: AtomicBool,
    /// Others may go on with it, so it ends neither with this handle nor with the connection.
    has_token: AtomicBool,
}

/// Why a closure's transaction did not commit.
pub(crate) struct Failed<E> {
    pub(crate) error: E,
    /// Whether it can be done again.
    pub(crate) again: bool,
}

impl Transaction {
    pub(crate) async fn begin(lease: Lease, begin: Begin, reply_timeout: Duration) -> Result<Self> {
        let tree = Tree::on(lease, reply_timeout);
        // If this is dropped halfway, the lease is not clean and its connection is closed.
        let id = tree.call(&Line::of(&begin.request()), reply::id).await;
        let id = id.map_err(|error| match error {
            Error::TransactionLost { reason } => Error::Disconnected { reason },
            other => other,
        })?;
        Ok(Transaction::owner(tree, id, begin.isolation(), None))
    }

    async fn attach(lease: Lease, token: &str, reply_timeout: Duration) -> Result<Self> {
        let tree = Tree::on(lease, reply_timeout);
        tree.has_token.store(true, Ordering::Release);
        let request = Request::Attach { token: token.as_bytes().into() };
        let id = tree.call(&Line::of(&request), reply::id).await?;
        let open = tree.call(&Line::of(&Request::Transactions), reply::transactions).await?;
        let info = open.into_iter().find(|info| info.id == id);
        // Somebody else may have ended it in between.
        let info = info.ok_or_else(|| {
            let message = format!("transaction {id} has ended");
            Error::Server(ServerError { code: ErrorCode::NoTransaction, message })
        })?;
        Ok(Transaction::owner(tree, id, info.isolation, info.parent))
    }

    fn owner(tree: Arc<Tree>, id: u64, isolation: Isolation, parent: Option<u64>) -> Self {
        let (has_ended, has_tried_commit) = (AtomicBool::new(false), AtomicBool::new(false));
        let open = Open { tree, id, isolation, parent, has_ended, has_tried_commit };
        Transaction { open: Arc::new(open), is_owner: true }
    }

    /// The same transaction for somebody who does not end it.
    pub(crate) fn borrowed(&self) -> Self {
        Transaction { open: Arc::clone(&self.open), is_owner: false }
    }

    /// Its id on its connection, as the server's messages name it.
    ///
    /// ```no_run
    /// use kv_client::Isolation;
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Serializable).await?;
    /// println!("the server calls it {}", txn.id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(&self) -> u64 {
        self.open.id
    }

    /// Whether it was aborted by the server or lost: then every command fails, and it can only be
    /// done again from its beginning.
    ///
    /// ```no_run
    /// use kv_client::{Commands, Isolation};
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Snapshot).await?;
    /// if txn.put("k", "v").await.is_err() && txn.is_doomed() {
    ///     println!("begin again");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_doomed(&self) -> bool {
        self.open.tree.is_doomed.load(Ordering::Acquire)
    }

    /// Reads a key and takes the lock that a write will need, so that two transactions that both
    /// mean to write do not end in a deadlock.
    ///
    /// ```no_run
    /// use kv_client::{Commands, Isolation};
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Serializable).await?;
    /// let count: u64 = txn.get_for_update("count").await?.unwrap_or_default().parse()?;
    /// txn.put("count", count * 2).await?;
    /// txn.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As every command.
    pub async fn get_for_update(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let read = Read::Newest { txn: None, for_update: true };
        let line = self.line(Request::Get { key: key.as_ref().into(), read });
        self.execute(Ok(line), reply::value).await
    }

    /// The pairs as this transaction sees them, in the order of their keys, page by page. A
    /// serializable one locks what it has looked at.
    ///
    /// ```no_run
    /// use kv_client::{Isolation, Scan};
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Snapshot).await?;
    /// let orders = txn.scan(Scan::prefix("order:")).collect().await?;
    /// println!("{} orders", orders.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, scan: Scan) -> Rows {
        Rows::of_transaction(self.borrowed(), scan)
    }

    /// Begins a transaction nested in this one: its commit hands its writes to this one, its
    /// rollback undoes only them. While it is open, the server refuses commands of this one.
    ///
    /// ```no_run
    /// use kv_client::{Commands, Isolation};
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let order = client.begin(Isolation::Serializable).await?;
    /// order.put("order:1", "two chairs").await?;
    /// let discount = order.nested().await?;
    /// discount.increment("discounts", 1).await?;
    /// discount.rollback().await?;
    /// order.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As every command; then nothing was begun.
    pub async fn nested(&self) -> Result<Transaction> {
        let Open { tree, id, isolation, .. } = &*self.open;
        let parent = Parent::Id(*id);
        let begin = Request::Begin { parent, isolation: None, at: None, wait: None };
        let child = tree.call(&Line::of(&begin), reply::id).await?;
        Ok(Transaction::owner(Arc::clone(tree), child, *isolation, Some(*id)))
    }

    /// The token by which any connection can go on with it: [`Client::attach`], `ATTACH` in lines
    /// and in RESP, the header `Kv-Transaction` over HTTP. From then on neither dropping it nor
    /// losing the connection ends it, but only a commit, a rollback or the server's idle limit,
    /// whoever comes first. Nested ones and their root have the same token.
    ///
    /// ```no_run
    /// use kv_client::{Commands, Isolation};
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Serializable).await?;
    /// txn.put("order:1", "two chairs").await?;
    /// let token = txn.token().await?;
    /// drop(txn);
    /// // Later, elsewhere:
    /// client.attach(&token).await?.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As every command. If no reply came the transaction may have a token that nobody knows: then
    /// it is rolled back by [`rollback`](Transaction::rollback), or ends by the idle limit.
    pub async fn token(&self) -> Result<String> {
        let Open { tree, id, .. } = &*self.open;
        // Whether the reply comes or not.
        let had_token = tree.has_token.swap(true, Ordering::AcqRel);
        let token = tree.call(&Line::of(&Request::Token { txn: Some(*id) }), reply::text).await;
        if let Err(Error::Server(_)) = &token {
            tree.has_token.store(had_token, Ordering::Release);
        }
        token
    }

    /// Commits it. What was acknowledged is as durable as the server's `--durability` says.
    ///
    /// ```no_run
    /// use kv_client::{Commands, Error, Isolation};
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Serializable).await?;
    /// txn.put("k", "v").await?;
    /// match txn.commit().await {
    ///     Ok(()) => println!("done"),
    ///     Err(Error::OutcomeUnknown { .. }) => println!("{:?}", client.get("k").await?),
    ///     Err(error) => println!("not done: {error}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// | | |
    /// |---|---|
    /// | [`Error::OutcomeUnknown`] | it may have been committed: read before doing it again |
    /// | [`Error::TransactionLost`] | it was not: the connection had been lost before |
    /// | [`Error::Server`] | it was not; [`Error::is_retryable`] says whether to do it again |
    pub async fn commit(self) -> Result<()> {
        self.commit_borrowed().await
    }

    async fn commit_borrowed(&self) -> Result<()> {
        let Open { tree, id, parent, isolation, has_ended, .. } = &*self.open;
        if has_ended.load(Ordering::Acquire) {
            return Ok(());
        }
        let has_tried_commit = &self.open.has_tried_commit;
        // Until it is known to have come to nothing.
        has_tried_commit.store(true, Ordering::Release);
        let line = Line::of(&Request::Commit { txn: Some(*id) });
        let call = tree.lease.call(&line.bytes, reply::done);
        let result = match tree.lease.in_time(tree.reply_timeout, call).await {
            Ok(result) => line.named(result),
            Err(Failure::NotSent(reason)) => Err(tree.lost(reason, None)),
            Err(Failure::Lost(reason)) => Err(line.unanswered(reason)),
        };
        match result {
            Ok(()) => {
                self.ended();
                Ok(())
            }
            // What only reads, or only hands something to its parent, leaves nothing unknown.
            Err(Error::OutcomeUnknown { reason, .. })
                if (parent.is_some() || *isolation == Isolation::ReadOnly)
                    && !tree.has_token.load(Ordering::Acquire) =>
            {
                has_tried_commit.store(false, Ordering::Release);
                Err(tree.lost(reason, None))
            }
            Err(error @ (Error::OutcomeUnknown { .. } | Error::Protocol(_))) => {
                tree.lease.give_up("the outcome of a commit is unknown");
                Err(error)
            }
            Err(error) => {
                has_tried_commit.store(false, Ordering::Release);
                tree.note(&error);
                Err(error)
            }
        }
    }

    /// Rolls it back, with all that is nested in it, and waits until that is done. Dropping it does
    /// the same without waiting.
    ///
    /// ```no_run
    /// use kv_client::{Commands, Isolation};
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let txn = client.begin(Isolation::Serializable).await?;
    /// txn.delete("k").await?;
    /// txn.rollback().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Whatever the error, the transaction will not be committed; but one that has a token may be
    /// still open then, and others can commit it.
    pub async fn rollback(self) -> Result<()> {
        self.roll_back_borrowed().await
    }

    async fn roll_back_borrowed(&self) -> Result<()> {
        let Open { tree, id, has_ended, .. } = &*self.open;
        if has_ended.load(Ordering::Acquire) {
            return Ok(());
        }
        let line = Line::of(&Request::Rollback { txn: Some(*id) });
        tree.call(&line, reply::done).await?;
        self.ended();
        Ok(())
    }

    /// Nothing of it is left on the server.
    fn ended(&self) {
        self.open.has_ended.store(true, Ordering::Release);
        if self.open.parent.is_none() {
            self.open.tree.lease.set_clean();
        }
    }

    /// Commits if the work was done; otherwise rolls back and says whether to do it again. What the
    /// work has committed by itself is never done again.
    pub(crate) async fn finish<T, E>(self, work: Result<T, E>) -> Result<T, Failed<E>>
    where
        E: From<Error> + 'static,
    {
        let was_tried = self.open.has_tried_commit.load(Ordering::Acquire);
        match work {
            Ok(done) if was_tried => Ok(done),
            Ok(done) => match self.commit_borrowed().await {
                Ok(()) => Ok(done),
                Err(error) => Err(error.into()),
            },
            Err(error) if was_tried => Err(Failed { error, again: false }),
            Err(error) => {
                // What has a token does not end with this handle; and if it cannot be ended, it may
                // stand in the way of its own repetition.
                let is_rolled_back = !self.open.tree.has_token.load(Ordering::Acquire)
                    || self.roll_back_borrowed().await.is_ok();
                // An error of the caller's own type hides what the server said; but then the
                // transaction knows whether it could have gone on.
                let failed = Failed::of(error);
                let again = (failed.again || self.is_doomed()) && is_rolled_back;
                Err(Failed { again, ..failed })
            }
        }
    }
}

impl Client {
    /// Goes on with the transaction of a [token](Transaction::token), on a connection of its own:
    /// with the innermost that is open. If that is nested, its commit hands its writes to the one
    /// around it, to which the token leads next.
    ///
    /// Dropping it ends nothing.
    ///
    /// ```no_run
    /// use kv_client::Commands;
    /// # async fn example(client: kv_client::Client, token: &str) -> kv_client::Result<()> {
    /// let txn = client.attach(token).await?;
    /// txn.put("order:1", "four chairs").await?;
    /// txn.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The server answers NOTX if no open transaction has the token, and BUSY while a command of
    /// somebody else's runs in it. And as [`Client::begin`].
    pub async fn attach(&self, token: &str) -> Result<Transaction> {
        let (lease, reply_timeout) = self.lease().await?;
        Transaction::attach(lease, token, reply_timeout).await
    }
}

impl<E: 'static> Failed<E> {
    /// An error of the work itself, which is told to be retryable if it is one of this crate's.
    pub(crate) fn of(error: E) -> Self {
        let ours = (&error as &dyn Any).downcast_ref::<Error>();
        Failed { again: ours.is_some_and(Error::is_retryable), error }
    }
}

impl<E: From<Error>> From<Error> for Failed<E> {
    fn from(error: Error) -> Self {
        Failed { again: error.is_retryable(), error: error.into() }
    }
}

impl Tree {
    fn on(lease: Lease, reply_timeout: Duration) -> Arc<Tree> {
        let (is_doomed, has_token) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Tree { lease, reply_timeout, is_doomed, has_token })
    }

    async fn call<T>(&self, line: &Line, read: fn(&Frame) -> Result<T>) -> Result<T> {
        self.answer(Some(line), self.lease.call(&line.bytes, read)).await
    }

    /// The answer to a call that begins with `line`.
    async fn answer<T>(
        &self,
        line: Option<&Line>,
        call: impl Future<Output = Result<Result<T>, Failure>>,
    ) -> Result<T> {
        match self.lease.in_time(self.reply_timeout, call).await {
            Ok(result) => {
                if let Err(error) = &result {
                    self.note(error);
                }
                result
            }
            Err(Failure::NotSent(reason)) => Err(self.lost(reason, None)),
            Err(Failure::Lost(reason)) => Err(self.lost(reason, line)),
        }
    }

    fn note(&self, error: &Error) {
        if error.ends_transaction() {
            self.is_doomed.store(true, Ordering::Release);
        }
    }

    /// What it means that the connection is lost, and what was sent last was not answered. With a
    /// token the transaction is still there.
    fn lost(&self, reason: String, unanswered: Option<&Line>) -> Error {
        if self.has_token.load(Ordering::Acquire) {
            return match unanswered {
                Some(line) => line.unanswered(reason),
                None => Error::Disconnected { reason },
            };
        }
        self.is_doomed.store(true, Ordering::Release);
        Error::TransactionLost { reason }
    }
}

impl Execute for Transaction {
    fn line(&self, request: Request<'_>) -> Line {
        // What cannot be run in a transaction (HISTORY) reads what is committed.
        let line = Line::of(&request);
        request.in_transaction(self.open.id).map_or(line, |request| Line::of(&request))
    }

    async fn execute<T: Send>(
        &self,
        line: Result<Line>,
        read: fn(&Frame) -> Result<T>,
    ) -> Result<T> {
        self.open.tree.call(&line?, read).await
    }

    async fn execute_all<T: Send>(
        &self,
        lines: Result<Vec<Line>>,
        read: fn(&Frame) -> Result<T>,
    ) -> Result<Vec<T>> {
        let tree = &self.open.tree;
        let lines = lines?;
        let telling = lines.iter().find(|line| line.writes).or(lines.first());
        tree.answer(telling, tree.lease.call_all(&lines, read)).await
    }
}

impl Commands for Transaction {}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Open { tree, id, parent, has_ended, .. } = &*self.open;
        if !self.is_owner || has_ended.swap(true, Ordering::AcqRel) {
            return;
        }
        if tree.has_token.load(Ordering::Acquire) {
            return;
        }
        // Behind a command that waits for a lock, a rollback would wait, too; the end of the
        // connection does not.
        if parent.is_none() && tree.lease.awaits_reply() {
            return tree.lease.give_up("the transaction was dropped");
        }
        tree.lease.send_and_forget(&Line::of(&Request::Rollback { txn: Some(*id) }).bytes);
        if parent.is_none() {
            tree.lease.set_clean();
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Open { id, isolation, parent, .. } = &*self.open;
        f.debug_struct("Transaction")
            .field("id", id)
            .field("isolation", isolation)
            .field("parent", parent)
            .field("is_doomed", &self.is_doomed())
            .finish()
    }
}
