//! Sending: what can be sent is sent; what depends on the disk, or on a client that does not read,
//! is waited for.

use kv_core::error::AbortReason;
use kv_core::{Stuck, failpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use super::{Connection, End};
use crate::command::refusal;
use crate::limits;

impl Connection {
    /// Sends the replies that can be sent: all but those that wait for the disk.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        let mut is_to_be_cut = failpoint::is_armed("net.partial_reply");
        loop {
            let sendable = self.outbox.sendable(self.server.database());
            if sendable.is_empty() {
                break;
            }
            pass("net.before_reply").await?;
            let part = if is_to_be_cut { sendable.len() / 2 } else { sendable.len() };
            match self.stream.try_write(&sendable[..part]) {
                Ok(bytes) => {
                    self.outbox.note_sent(bytes);
                    if std::mem::take(&mut is_to_be_cut) {
                        pass("net.partial_reply").await?;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.wait_writable().await?;
                }
                Err(_) => return Err(End::Gone),
            }
        }
        self.outbox.shrink(self.run == self.input.len());
        Ok(())
    }

    /// Waits until some of the replies that are held can be sent, if any are.
    pub(super) async fn settled(&mut self) -> Result<(), End> {
        if !self.outbox.is_held() {
            return Ok(());
        }
        let (outbox, database) = (&mut self.outbox, self.server.database());
        let settled = std::future::poll_fn(|context| outbox.poll_settled(database, context)).await;
        settled.map_err(|Stuck| self.outcome_unknown())
    }

    /// Sends what has become durable, once [`Outbox::poll_settled`] was ready.
    pub(super) async fn flush_settled(&mut self) -> Result<(), End> {
        self.settled().await?;
        self.flush().await
    }

    /// Sends every reply, when the disk has what they depend on.
    pub(super) async fn settle_and_flush(&mut self) -> Result<(), End> {
        loop {
            self.flush().await?;
            if self.outbox.is_empty() {
                return Ok(());
            }
            if let Err(failed) = self.settled().await {
                self.flush().await?;
                return Err(failed);
            }
        }
    }

    /// Waits until nothing that the session knows can be taken back.
    pub(super) async fn settle_session(&mut self) -> Result<(), End> {
        let depends_on = self.client.session().depends_on();
        match self.server.database().settled(depends_on).await {
            Ok(()) => Ok(()),
            Err(unknown) => {
                self.client.refuse(&refusal(&unknown), None, self.outbox.buffer());
                self.flush().await?;
                Err(End::LogFailed)
            }
        }
    }

    /// The log has failed: what the held replies tell is not known to be true.
    pub(super) fn outcome_unknown(&mut self) -> End {
        self.outbox.fail();
        End::LogFailed
    }

    /// A client that takes nothing for a while loses its transactions as an idle one does, and
    /// then its connection.
    async fn wait_writable(&mut self) -> Result<(), End> {
        let idle = self.server.config().idle_transaction_timeout;
        if self.client.session().has_live_transactions() {
            match timeout(idle, self.stream.writable()).await {
                Ok(ready) => return ready.map_err(|_| End::Gone),
                Err(_) => {
                    self.client.session().abort_all(AbortReason::Idle);
                    if let Some(listing) = &mut self.listing {
                        listing.forget_if_lost(&self.client);
                    }
                    self.client.park();
                }
            }
        }
        match timeout(limits::WRITE_STALL_MAX, self.stream.writable()).await {
            Ok(ready) => ready.map_err(|_| End::Gone),
            Err(_) => {
                debug!("a client that does not read its replies is cut off");
                Err(End::Gone)
            }
        }
    }

    /// Closes so that what was said last arrives: a socket that is closed with something unread
    /// takes back what was sent.
    pub(super) async fn close_slowly(&mut self) {
        let linger = async {
            self.stream.shutdown().await?;
            let mut unread = [0; 1024];
            while self.stream.read(&mut unread).await? > 0 {}
            std::io::Result::Ok(())
        };
        // However it ends, the connection is closed next.
        let _ = timeout(limits::CLOSE_LINGER, linger).await;
    }
}

/// Passes a failpoint. An error there is that of a broken socket.
async fn pass(place: &'static str) -> Result<(), End> {
    let delay = failpoint::delay(place).map_err(|_| End::Gone)?;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    Ok(())
}
