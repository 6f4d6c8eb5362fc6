//! Somebody who asks over HTTP: a session, and the waiting that its commands need.
//!
//! An operation of the engine that has to pause is called again when what it paused for has come,
//! and its result is handed on when a crash can no longer take it back. A request whose client has
//! gone is dropped in the middle; what it waited for is taken back then.

use std::fmt;
use std::sync::Arc;

use kv_core::{Meta, Pause, Session, Step, Stuck, Value};
use kv_protocol::Selection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use crate::command::Client;
use crate::server::Server;

/// A session that is asked for something.
pub(super) struct Caller {
    client: Client,
    server: Arc<Server>,
    /// Cancelled by an operator.
    cut: CancellationToken,
}

/// A value and what else is known of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) meta: Meta,
    pub(super) value: Value,
}

impl Caller {
    pub(super) fn new(server: &Arc<Server>) -> Self {
        // Who is at its other end is known to hyper, and changes from request to request.
        let (from, to) = ("http".to_owned(), "http".to_owned());
        let cut = CancellationToken::new();
        let client = Client::connected(Arc::clone(server), from, to, cut.clone());
        Caller { client, server: Arc::clone(server), cut }
    }

    /// Whether an operator has ended it.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(super) fn session(&mut self) -> &mut Session {
        self.client.session()
    }

    /// Does something to its end: as often as it takes, waiting in between, until its result is
    /// durable.
    pub(super) async fn run<T: Send>(
        &mut self,
        mut operation: impl FnMut(&mut Session) -> Step<T> + Send,
    ) -> Result<T, Problem> {
        loop {
            match operation(self.client.session()) {
                Ok(done) => {
                    self.settle().await?;
                    return Ok(done);
                }
                Err(Pause::Failed(error)) => {
                    // A refusal tells of the store, too: of a version, for example.
                    self.settle().await?;
                    return Err((*error).into());
                }
                Err(pause) => self.wait(pause).await?,
            }
        }
    }

    /// Waits until nothing that the session knows can be taken back.
    pub(super) async fn settle(&mut self) -> Result<(), Problem> {
        let depends_on = self.client.session().depends_on();
        Ok(self.server.database().settled(depends_on).await?)
    }

    /// Waits for, or fetches, what an operation paused for.
    pub(super) async fn wait(&mut self, pause: Pause) -> Result<(), Problem> {
        // Taken back if the request is dropped meanwhile, or fails.
        let mut waiting = Waiting { session: self.client.session(), is_over: false };
        match pause {
            Pause::Failed(error) => return Err((*error).into()),
            Pause::Yield => tokio::task::yield_now().await,
            Pause::Fetch(fetch) => self.server.fetch(fetch).await?,
            Pause::Room(room) => room
                .await
                .map_err(|Stuck| Problem::from(kv_core::Error::Io("the log has failed".into())))?,
            Pause::Lock(wait) => match wait.deadline() {
                None => {
                    wait.await;
                }
                Some(deadline) => {
                    let granted = tokio::time::timeout_at(Instant::from_std(deadline), wait).await;
                    if granted.is_err() {
                        waiting.session.expire();
                    }
                }
            },
        }
        waiting.is_over = true;
        Ok(())
    }

    /// A key's newest value, and what is known of it, of one moment.
    pub(super) async fn entry(&mut self, key: &[u8]) -> Result<Option<Entry>, Problem> {
        self.run(|session| {
            let mut before = session.meta(None, key)?;
            loop {
                let Some(meta) = before else { return Ok(None) };
                let value = session.get(None, key)?;
                // Looked at again: cheaper than a view, unless somebody has just written it.
                let after = session.meta(None, key)?;
                let is_same = after.as_ref().is_some_and(|after| after.version == meta.version);
                match value {
                    Some(value) if is_same => return Ok(Some(Entry { meta, value })),
                    _ => before = after,
                }
            }
        })
        .await
    }

    /// Whether somebody else can have it: nothing is left of who had it.
    pub(super) fn is_clean(&mut self) -> bool {
        let is_clean = !self.session().has_open_transactions() && !self.is_cut();
        if is_clean {
            self.session().give_up();
        }
        is_clean
    }

    /// The pairs that are asked for, in the transaction if there is one.
    pub(super) async fn scan(
        &mut self,
        selection: &Selection<'_>,
    ) -> Result<kv_core::Scan, Problem> {
        let options = crate::command::scan_options(selection)?;
        self.run(|session| session.scan(None, &options)).await
    }
}

/// A pause that is being waited for.
struct Waiting<'a> {
    session: &'a mut Session,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.session.give_up();
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}
