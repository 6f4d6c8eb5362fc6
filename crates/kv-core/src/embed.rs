//! The store as a library: closures that run in a transaction, blocking or async.
//!
//! [`Database::update`] begins a SERIALIZABLE transaction, runs the closure, commits if it answers
//! `Ok` and rolls back if it answers `Err` or panics. When the transaction was aborted, by a
//! deadlock say, the closure **runs again**, up to [`ATTEMPTS_MAX`] times, so it should have no
//! effects but those on the store. A lock that takes too long aborts nothing: the closure gets
//! [`Error::LockTimeout`] and decides.
//! [`Database::view`] does the same with a READONLY one, which never waits and never runs twice.
//!
//! The async forms are the same with `_async`; they need no particular runtime.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::task::Poll;
use std::time::Duration;

use crate::db::Database;
use crate::error::Error;
use crate::matching::Number;
use crate::step::{Pause, Step};
use crate::timer::SettledOrLate;
use crate::txn::scan::{Row, ScanOptions};
use crate::txn::session::{BeginOptions, Parent, Session};
use crate::types::{Condition, Interval, Isolation, Revision, TxnId, ValueKind, Version};
use crate::value::{Meta, Past, Value};

/// How often a closure is tried before its retryable error is given to the caller.
pub const ATTEMPTS_MAX: u32 = 100;
const BACK_OFF_FIRST: Duration = Duration::from_micros(50);
const BACK_OFF_DOUBLINGS_MAX: u32 = 9;

/// A transaction that blocks the thread when it has to wait. Dropped without
/// [`commit`](Transaction::commit), it is rolled back.
#[derive(Debug)]
pub struct Transaction {
    session: Session,
    root: TxnId,
}

/// A transaction that awaits when it has to wait. Dropped without
/// [`commit`](AsyncTransaction::commit), it is rolled back.
#[derive(Debug)]
pub struct AsyncTransaction {
    session: Session,
    root: TxnId,
}

/// Defines each operation once for both kinds of transaction.
macro_rules! operations {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),*) -> $output:ty = $session:ident => $step:expr;
    )*) => {
        /// # Errors
        ///
        /// Every operation may answer [`Error::LockTimeout`], [`Error::OwnLock`] or
        /// [`Error::Limit`], which leave the transaction open; or [`Error::Deadlock`],
        /// [`Error::Conflict`] and [`Error::Aborted`], after which nothing of it is kept.
        impl Transaction {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// See [the list for all](Transaction#errors).
            pub fn $name(&mut self, $($arg: $type),*) -> Result<$output, Error> {
                block(&mut self.session, |$session| $step)
            })*
        }

        /// # Errors
        ///
        /// As those of [`Transaction`](Transaction#errors).
        impl AsyncTransaction {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// See [the list for all](Transaction#errors).
            pub async fn $name(&mut self, $($arg: $type),*) -> Result<$output, Error> {
                drive(&mut self.session, |$session| $step).await
            })*
        }
    };
}

operations! {
    /// The value of a key.
    fn get(key: impl AsRef<[u8]>) -> Option<Value> = session => session.get(None, key.as_ref());
    /// The value of a key that is about to be written: locks it exclusively at once, so that two
    /// transactions that do the same queue up instead of deadlocking.
    fn get_for_update(key: impl AsRef<[u8]>) -> Option<Value> =
        session => session.get_for_update(None, key.as_ref());
    /// Whether a key is there.
    fn exists(key: impl AsRef<[u8]>) -> bool = session => session.exists(None, key.as_ref());
    /// Version, revision, size and time of a key.
    fn meta(key: impl AsRef<[u8]>) -> Option<Meta> = session => session.meta(None, key.as_ref());
    /// Stores bytes.
    fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> () =
        session => session.put(None, key.as_ref(), value.as_ref(), ValueKind::Text, None);
    /// Stores a value of a kind, if a condition is met.
    fn put_if(
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        kind: ValueKind,
        condition: Condition
    ) -> () =
        session => session.put(None, key.as_ref(), value.as_ref(), kind, Some(condition));
    /// Stores bytes that expire after so many seconds.
    fn put_expiring(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl_s: u64) -> () = session =>
        session.put_expiring(None, key.as_ref(), value.as_ref(), ValueKind::Text, None, ttl_s);
    /// Stores a value of a kind that expires at a time, in milliseconds since the Unix epoch.
    fn put_until(
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        kind: ValueKind,
        expires_ms: u64
    ) -> () =
        session => session.put_until(None, key.as_ref(), value.as_ref(), kind, None, expires_ms);
    /// Has a key expire after so many seconds, or never; false if there is no such key.
    fn expire_after(key: impl AsRef<[u8]>, ttl_s: Option<u64>) -> bool =
        session => session.expire_after(None, key.as_ref(), ttl_s);
    /// Deletes a key; false if there was nothing to delete.
    fn delete(key: impl AsRef<[u8]>) -> bool = session => session.delete(None, key.as_ref(), None);
    /// Deletes a key if it has this version.
    fn delete_if(key: impl AsRef<[u8]>, version: Version) -> bool =
        session => session.delete(None, key.as_ref(), Some(version));
    /// Deletes every key. What the transaction writes afterwards stays.
    fn delete_all() -> () = session => session.delete_all(None);
    /// Adds to the integer under a key; a missing key counts as 0. Answers the sum.
    fn add(key: impl AsRef<[u8]>, by: i64) -> i64 = session => session.add(None, key.as_ref(), by);
    /// The committed versions of a key that are kept, newest first, at most `limit`. Knows nothing
    /// of this transaction's own writes.
    fn history(key: impl AsRef<[u8]>, limit: Option<u64>) -> Vec<Past> =
        session => session.history(key.as_ref(), limit);
}

impl Transaction {
    /// Rows in key order.
    ///
    /// # Errors
    ///
    /// See [the list for all](Transaction#errors).
    pub fn scan(&mut self, options: &ScanOptions) -> Result<Vec<Row>, Error> {
        let mut scan = block(&mut self.session, |session| session.scan(None, options))?;
        let mut rows = Vec::new();
        while let Some(row) = block(&mut self.session, |_| scan.next_row())? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// The rows of an interval whose values are numbers closest to `x`, closest first; see
    /// [`Session::nearest`].
    ///
    /// # Errors
    ///
    /// [`Error::Limit`], and [the list for all](Transaction#errors).
    pub fn nearest(
        &mut self,
        x: &Number,
        rows_max: u64,
        interval: &Interval,
    ) -> Result<Vec<Row>, Error> {
        let mut nearest =
            block(&mut self.session, |session| session.nearest(None, x, rows_max, interval))?;
        let mut rows = Vec::new();
        while let Some(row) = block(&mut self.session, |_| nearest.next_row())? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// Runs a closure in a transaction nested in this one: what it did is kept if it answers `Ok`,
    /// and undone, alone, if it answers `Err`.
    ///
    /// # Errors
    ///
    /// What the closure answers, or [`Error::Limit`] if the nesting is too deep.
    pub fn nested<T, E: From<Error>>(
        &mut self,
        run: impl FnOnce(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let child = Child::begin(self)?;
        let result = run(child.txn);
        child.end(result)
    }

    /// Commits, and waits until the commit is durable. The revision is that of the commit, or of
    /// the session's last one if this changed nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`], [`Error::DiskFull`], [`Error::Io`]: nothing of the transaction is kept.
    /// [`Error::Outcome`]: whether it is kept is known when the store is opened again.
    pub fn commit(mut self) -> Result<Revision, Error> {
        commit(&mut self.session, self.root)
    }

    /// Rolls back, as dropping does.
    pub fn rollback(self) {}
}

impl AsyncTransaction {
    /// Rows in key order.
    ///
    /// # Errors
    ///
    /// See [the list for all](Transaction#errors).
    pub async fn scan(&mut self, options: &ScanOptions) -> Result<Vec<Row>, Error> {
        let mut scan = drive(&mut self.session, |session| session.scan(None, options)).await?;
        let mut rows = Vec::new();
        while let Some(row) = drive(&mut self.session, |_| scan.next_row()).await? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// The rows whose values are numbers closest to `x`, as [`Transaction::nearest`].
    ///
    /// # Errors
    ///
    /// As [`Transaction::nearest`].
    pub async fn nearest(
        &mut self,
        x: &Number,
        rows_max: u64,
        interval: &Interval,
    ) -> Result<Vec<Row>, Error> {
        let begin = |session: &mut Session| session.nearest(None, x, rows_max, interval);
        let mut nearest = drive(&mut self.session, begin).await?;
        let mut rows = Vec::new();
        while let Some(row) = drive(&mut self.session, |_| nearest.next_row()).await? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// Runs an async closure in a transaction nested in this one, as [`Transaction::nested`].
    ///
    /// # Errors
    ///
    /// As [`Transaction::nested`].
    pub async fn nested<T, E: From<Error>>(
        &mut self,
        run: impl AsyncFnOnce(&mut AsyncTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let child = Child::begin(self)?;
        let result = run(child.txn).await;
        child.end(result)
    }

    /// Commits, as [`Transaction::commit`].
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit`].
    pub async fn commit(mut self) -> Result<Revision, Error> {
        commit_async(&mut self.session, self.root).await
    }

    /// Rolls back, as dropping does.
    pub fn rollback(self) {}
}

impl AsMut<Session> for Transaction {
    fn as_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl AsMut<Session> for AsyncTransaction {
    fn as_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// A nested transaction under way. Dropped without an end, because its closure panicked or its
/// future was dropped, it is rolled back, so that its parent is what it was before.
struct Child<'a, T: AsMut<Session>> {
    txn: &'a mut T,
    id: TxnId,
    is_ended: bool,
}

impl<'a, T: AsMut<Session>> Child<'a, T> {
    fn begin(txn: &'a mut T) -> Result<Self, Error> {
        let nested = BeginOptions { parent: Parent::Current, ..BeginOptions::default() };
        let id = txn.as_mut().begin(nested)?;
        Ok(Child { txn, id, is_ended: false })
    }

    fn end<R, E: From<Error>>(mut self, result: Result<R, E>) -> Result<R, E> {
        if result.is_ok() {
            self.is_ended = true;
            // Ending a nested transaction needs no lock and no room in the log: it never waits.
            block(self.txn.as_mut(), |session| session.commit(Some(self.id)))?;
        }
        result
    }
}

impl<T: AsMut<Session>> Drop for Child<'_, T> {
    fn drop(&mut self) {
        let session = self.txn.as_mut();
        // An aborted tree stays as it is, so that its root's end finds it aborted.
        if !self.is_ended && session.is_aborted(Some(self.id)) == Some(false) {
            let rolled_back = session.rollback(Some(self.id));
            debug_assert!(rolled_back.is_ok(), "an open child can be rolled back");
        }
    }
}

impl Database {
    /// Begins a transaction that blocks when it has to wait.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if too many are open; [`Error::FutureRevision`] and
    /// [`Error::AtNeedsReadonly`] for wrong options. A parent cannot be named here.
    pub fn begin(&self, options: BeginOptions) -> Result<Transaction, Error> {
        let (session, root) = self.begin_session(options)?;
        Ok(Transaction { session, root })
    }

    /// Begins a transaction that awaits when it has to wait.
    ///
    /// # Errors
    ///
    /// As [`Database::begin`].
    pub fn begin_async(&self, options: BeginOptions) -> Result<AsyncTransaction, Error> {
        let (session, root) = self.begin_session(options)?;
        Ok(AsyncTransaction { session, root })
    }

    fn begin_session(&self, options: BeginOptions) -> Result<(Session, TxnId), Error> {
        let mut session = self.session();
        let root = session.begin(options)?;
        Ok((session, root))
    }

    /// Runs a closure in a SERIALIZABLE transaction and commits it. See [the module](self) for
    /// when it runs again.
    ///
    /// ```
    /// # let db = kv_core::Database::builder().open();
    /// let total = db.update(|txn| {
    ///     txn.put("greeting", "hello")?;
    ///     txn.add("visits", 1)
    /// })?;
    /// assert_eq!(total, 1);
    /// # Ok::<(), kv_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the closure answers; the last retryable error after [`ATTEMPTS_MAX`] attempts.
    pub fn update<T, E: From<Error>>(
        &self,
        mut run: impl FnMut(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut txn = self.begin(BeginOptions::default())?;
            let result = run(&mut txn);
            match pause_before_retry(&txn.session, txn.root, attempt) {
                None => {
                    let done = result?;
                    txn.commit()?;
                    return Ok(done);
                }
                Some(pause) => {
                    drop(txn);
                    std::thread::sleep(pause);
                }
            }
        }
    }

    /// Runs a closure in a READONLY transaction: one consistent state, never a wait.
    ///
    /// # Errors
    ///
    /// What the closure answers.
    pub fn view<T, E: From<Error>>(
        &self,
        run: impl FnOnce(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        run(&mut self.begin(readonly())?)
    }

    /// Runs an async closure in a SERIALIZABLE transaction and commits it, as
    /// [`Database::update`].
    ///
    /// # Errors
    ///
    /// As [`Database::update`].
    pub async fn update_async<T, E: From<Error>>(
        &self,
        mut run: impl AsyncFnMut(&mut AsyncTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut txn = self.begin_async(BeginOptions::default())?;
            let result = run(&mut txn).await;
            match pause_before_retry(&txn.session, txn.root, attempt) {
                None => {
                    let done = result?;
                    txn.commit().await?;
                    return Ok(done);
                }
                Some(pause) => {
                    drop(txn);
                    crate::timer::sleep(pause).await;
                }
            }
        }
    }

    /// Runs an async closure in a READONLY transaction, as [`Database::view`].
    ///
    /// # Errors
    ///
    /// What the closure answers.
    pub async fn view_async<T, E: From<Error>>(
        &self,
        run: impl AsyncFnOnce(&mut AsyncTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        run(&mut self.begin_async(readonly())?).await
    }

    // ---- Single commands: each a transaction of its own.

    /// The newest value of a key. Never waits for a lock.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyKey`] or [`Error::TooBig`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        let key = key.as_ref();
        self.shared.check_key(key)?;
        loop {
            match self.shared.read_single(key, Revision(0)) {
                Ok(value) => return Ok(value),
                Err(Pause::Failed(error)) => return Err(*error),
                Err(Pause::Fetch(fetch)) => self.fetch(&fetch)?,
                Err(Pause::Lock(wait)) => wait.block(),
                Err(Pause::Yield) => {}
                Err(Pause::Room(room)) => room.block().map_err(|_| log_failed())?,
            }
        }
    }

    /// Stores bytes; answers the commit's revision.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyKey`], [`Error::TooBig`] or [`Error::LockTimeout`]; nothing is stored then.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Revision, Error> {
        let (key, value) = (key.as_ref(), value.as_ref());
        let mut session = self.session();
        block(&mut session, |session| session.put(None, key, value, ValueKind::Text, None))?;
        self.settle(session.depends_on())?;
        Ok(session.last_commit())
    }

    /// Deletes a key; false if there was nothing to delete.
    ///
    /// # Errors
    ///
    /// As [`Database::put`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        let mut session = self.session();
        let deleted = block(&mut session, |session| session.delete(None, key.as_ref(), None))?;
        self.settle(session.depends_on())?;
        Ok(deleted)
    }
}

/// How long to pause before another attempt of a transaction that was aborted; none if it was not,
/// or has been tried often enough.
fn pause_before_retry(session: &Session, root: TxnId, attempt: u32) -> Option<Duration> {
    let is_aborted = session.is_aborted(Some(root)) == Some(true);
    (is_aborted && attempt < ATTEMPTS_MAX).then(|| back_off(attempt))
}

/// Commits, and waits until nothing that the session was told can be taken back.
fn commit(session: &mut Session, root: TxnId) -> Result<Revision, Error> {
    block(session, |session| session.commit(Some(root)))?;
    session.database().settle(session.depends_on())?;
    Ok(session.last_commit())
}

/// As [`commit`], without blocking the thread.
async fn commit_async(session: &mut Session, root: TxnId) -> Result<Revision, Error> {
    drive(session, |session| session.commit(Some(root))).await?;
    session.database().settled(session.depends_on()).await?;
    Ok(session.last_commit())
}

fn readonly() -> BeginOptions {
    BeginOptions { isolation: Some(Isolation::Readonly), ..BeginOptions::default() }
}

/// Calls an operation until it has a result, blocking in between.
pub(crate) fn block<T>(
    session: &mut Session,
    mut operation: impl FnMut(&mut Session) -> Step<T>,
) -> Result<T, Error> {
    loop {
        match operation(session) {
            Ok(result) => return Ok(result),
            Err(Pause::Failed(error)) => return Err(*error),
            Err(Pause::Fetch(fetch)) => session.database().fetch(&fetch)?,
            Err(Pause::Room(room)) => room.block().map_err(|_| log_failed())?,
            // A blocked thread is nobody else's.
            Err(Pause::Yield) => {}
            Err(Pause::Lock(wait)) => {
                wait.block();
                if !wait.is_settled() {
                    session.expire();
                }
            }
        }
    }
}

/// Calls an operation until it has a result, awaiting in between.
async fn drive<T>(
    session: &mut Session,
    mut operation: impl FnMut(&mut Session) -> Step<T>,
) -> Result<T, Error> {
    loop {
        match operation(session) {
            Ok(result) => return Ok(result),
            Err(Pause::Failed(error)) => return Err(*error),
            Err(Pause::Fetch(fetch)) => session.database().fetch(&fetch)?,
            Err(Pause::Room(room)) => room.await.map_err(|_| log_failed())?,
            Err(Pause::Yield) => yield_now().await,
            Err(Pause::Lock(wait)) => {
                SettledOrLate::new(wait.clone()).await;
                if !wait.is_settled() {
                    session.expire();
                }
            }
        }
    }
}

/// Lets the other tasks of the executor run.
async fn yield_now() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The log failed before the operation had a place in it.
fn log_failed() -> Error {
    Error::Io("the log has failed, and takes no more commits".into())
}

/// A pause that doubles with each attempt, of random length, so that two that met do not meet
/// again.
fn back_off(attempt: u32) -> Duration {
    let longest = BACK_OFF_FIRST * 2u32.pow(attempt.min(BACK_OFF_DOUBLINGS_MAX));
    let random = RandomState::new().build_hasher().finish();
    longest.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}
