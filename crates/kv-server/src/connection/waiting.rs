//! Waiting: for a lock, for room, for what has to be fetched; and meanwhile sending what becomes
//! durable, and noticing a client that leaves.

use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::Poll;

use kv_core::error::AbortReason;
use kv_core::{LockWait, Pause, Reached, Stuck};
use kv_protocol::{ErrorCode, ErrorReply};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::{Connection, End, Event, MindsDrain, Waited, poll_read};
use crate::command::refusal;
use crate::limits;

impl Connection {
    /// Waits for, or fetches, what a command paused for. What could not be fetched is the command's
    /// failure, not the connection's.
    pub(super) async fn resolve(&mut self, pause: Pause) -> Result<Result<(), ErrorReply>, End> {
        let failed = match pause {
            Pause::Lock(wait) => return self.wait_for_lock(wait).await.map(Ok),
            Pause::Failed(error) => *error,
            Pause::Yield => return self.let_others().await.map(Ok),
            Pause::Room(room) => match self.wait_for_room(room).await? {
                Ok(()) => return Ok(Ok(())),
                Err(Stuck) => {
                    let failed = kv_core::Error::Io("the log has failed".into());
                    warn!(error = %failed, "a commit that waited for room is refused");
                    failed
                }
            },
            Pause::Fetch(fetch) => {
                let failed = match self.server.fetch(fetch).await {
                    // A command that needs much may fetch for long.
                    Ok(()) => return self.let_others().await.map(Ok),
                    Err(error) => error,
                };
                warn!(error = %failed, "a value could not be fetched");
                failed
            }
        };
        Ok(Err(refusal(&failed)))
    }

    /// Waits until the log has room. Whoever leaves, or stops the server, is not kept waiting by a
    /// disk: the commit is not done then.
    async fn wait_for_room(&mut self, mut room: Reached) -> Result<Result<(), Stuck>, End> {
        match self.wait_watchfully(&mut room, None, MindsDrain::Yes).await? {
            Waited::Over(outcome) => Ok(outcome),
            Waited::Draining => {
                self.client.session().abort_all(AbortReason::Shutdown);
                let text = "the server is stopping, and the command waited for room in the log or \
                            in memory; nothing was done, and open transactions were rolled back; \
                            connect again later";
                self.say(ErrorCode::Shutdown, text);
                Err(End::Draining)
            }
            Waited::Gone | Waited::TimeUp => {
                Err(self.give_up_waiting("room in the log or in memory"))
            }
        }
    }

    /// Waits until the lock is granted or its time is up. If the client leaves, what it waited for
    /// is not done.
    async fn wait_for_lock(&mut self, mut wait: LockWait) -> Result<(), End> {
        let deadline = wait.deadline().map(Instant::from_std);
        match self.wait_watchfully(&mut wait, deadline, MindsDrain::No).await? {
            Waited::Over(_) | Waited::Draining => Ok(()),
            Waited::TimeUp => {
                self.client.session().expire();
                Ok(())
            }
            Waited::Gone => Err(self.give_up_waiting("a lock")),
        }
    }

    /// Waits, and meanwhile sends what becomes durable and notices a client that leaves.
    pub(super) async fn wait_watchfully<W: Future + Unpin>(
        &mut self,
        wait: &mut W,
        deadline: Option<Instant>,
        minds_drain: MindsDrain,
    ) -> Result<Waited<W::Output>, End> {
        loop {
            let look_again = Instant::now() + limits::LEAVING_LOOKED_FOR_EVERY;
            let is_full = self.input.len() - self.run >= limits::INPUT_BYTES_WHILE_WAITING;
            let wake_at = match deadline {
                Some(deadline) if is_full => Some(deadline.min(look_again)),
                None if is_full => Some(look_again),
                deadline => deadline,
            };
            let event = self.over_or_gone(wait, minds_drain);
            let event = match wake_at {
                None => Ok(event.await),
                Some(wake_at) => timeout_at(wake_at, event).await,
            };
            match event {
                Ok(Event::Waited(waited)) => return Ok(waited),
                Ok(Event::Full) => {}
                Ok(Event::Settled) => self.flush_settled().await?,
                Err(_) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Ok(Waited::TimeUp);
                }
                // It has sent so much ahead that its leaving cannot be read: ask the socket.
                Err(_) if self.stream.has_left().await => return Ok(Waited::Gone),
                Err(_) => {}
            }
        }
    }

    async fn over_or_gone<W: Future + Unpin>(
        &mut self,
        wait: &mut W,
        minds_drain: MindsDrain,
    ) -> Event<W::Output> {
        let was_full = self.input.len() - self.run >= limits::INPUT_BYTES_WHILE_WAITING;
        std::future::poll_fn(|context| {
            if let Poll::Ready(outcome) = Pin::new(&mut *wait).poll(context) {
                return Poll::Ready(Event::Waited(Waited::Over(outcome)));
            }
            if self.outbox.poll_settled(self.server.database(), context).is_ready() {
                return Poll::Ready(Event::Settled);
            }
            if minds_drain == MindsDrain::Yes && self.drained.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Waited(Waited::Draining));
            }
            if was_full {
                return Poll::Pending;
            }
            let mut scratch = [MaybeUninit::uninit(); limits::READ_BYTES];
            loop {
                match poll_read(&mut self.stream, context, &mut scratch, &mut self.input) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(false) => return Poll::Ready(Event::Waited(Waited::Gone)),
                    Poll::Ready(true) => {}
                }
                if self.input.len() - self.run >= limits::INPUT_BYTES_WHILE_WAITING {
                    return Poll::Ready(Event::Full);
                }
            }
        })
        .await
    }

    /// The client closed its side while its command waited. If it only closed one half, it can
    /// still read why nothing was done.
    fn give_up_waiting(&mut self, waited_for: &str) -> End {
        self.client.roll_back_all();
        let text = format!(
            "the connection was closed while the command waited for {waited_for}; nothing was \
             done, and open transactions were rolled back, but for what has a token"
        );
        self.say(ErrorCode::Aborted, text);
        End::Quit
    }
}
