//! Replies on their way to the client: in order, and none before what it shows is durable.
//!
//! ```text
//!   bytes   ┌──── gone ────┬──── free to go ────┬──────────── held ────────────┐
//!           0             sent             held.front().start               bytes.len()
//! ```
//!
//! A reply is *held* while it depends on a revision that a crash could still take back. What a
//! session depends on only rises, so behind a held reply all are held. Meanwhile the session runs
//! on: many commits share one write to the disk.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use kv_core::{Database, Reached, Revision, Stuck};
use kv_protocol::{ErrorReply, Format, Reply};

use crate::command::refusal;
use crate::limits;

/// The replies of one connection that have not been sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// So much of `bytes` has been sent.
    sent: usize,
    /// Where the last reply that was noted ends.
    noted: usize,
    held: VecDeque<Held>,
    /// What the replies that are free to go depend on: durable, and soon visible.
    settled: Revision,
    waiting: Option<Reached>,
}

/// Replies next to each other that depend on the same revision.
#[derive(Debug)]
struct Held {
    start: usize,
    revision: Revision,
    replies: usize,
    /// How they are written, and what stands in for them would be.
    format: Format,
}

impl Outbox {
    /// Where replies are appended; each is then to be noted.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Notes that what was appended is a reply that depends on this revision. Nothing appended is
    /// no reply.
    pub(super) fn note(&mut self, depends_on: Revision, format: Format, database: &Database) {
        if self.noted == self.bytes.len() {
            return;
        }
        let start = std::mem::replace(&mut self.noted, self.bytes.len());
        if self.held.is_empty() && database.durable().get() >= depends_on.0 {
            self.settled = depends_on;
            return;
        }
        match self.held.back_mut() {
            Some(last) if (last.revision, last.format) == (depends_on, format) => {
                last.replies += 1;
            }
            _ => {
                let held = Held { start, revision: depends_on, replies: 1, format };
                self.held.push_back(held);
            }
        }
    }

    /// What can be sent now. Frees the replies whose revision has become durable.
    pub(super) fn sendable(&mut self, database: &Database) -> &[u8] {
        let durable = Revision(database.durable().get());
        while let Some(free) = self.held.pop_front_if(|held| held.revision <= durable) {
            self.settled = free.revision;
            self.waiting = None;
        }
        let free_bytes = self.held.front().map_or(self.bytes.len(), |held| held.start);
        if self.sent < free_bytes {
            let is_settled = database.is_settled(self.settled);
            debug_assert!(is_settled, "what is free to go is durable");
        }
        &self.bytes[self.sent..free_bytes]
    }

    /// Notes that so much of what could be sent has been.
    pub(super) fn note_sent(&mut self, bytes: usize) {
        self.sent += bytes;
        // A client that is never idle would never have everything sent.
        if self.sent >= limits::OUTPUT_BYTES_AT_ONCE {
            let gone = std::mem::take(&mut self.sent);
            self.bytes.drain(..gone);
            self.noted -= gone;
            self.held.iter_mut().for_each(|held| held.start -= gone);
        }
    }

    /// Gives up the room of what has been sent; all of it, if the connection may be idle next.
    pub(super) fn shrink(&mut self, is_idle: bool) {
        if !self.is_empty() {
            return;
        }
        self.sent = 0;
        self.noted = 0;
        if is_idle || self.bytes.capacity() > limits::OUTPUT_BYTES_KEPT {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }

    /// Whether everything has been sent.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Bytes that are yet to be sent.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether replies wait for the disk.
    pub(super) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Ready when the first held reply can be sent, or when it is known that it never will be. To
    /// be polled only while replies are held.
    pub(super) fn poll_settled(
        &mut self,
        database: &Database,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Stuck>> {
        let Some(first) = self.held.front() else { return Poll::Pending };
        let wanted = first.revision.0;
        let waiting = self.waiting.get_or_insert_with(|| database.durable().reached(wanted));
        let outcome = ready!(Pin::new(waiting).poll(context));
        self.waiting = None;
        Poll::Ready(outcome)
    }

    /// Replaces every held reply: what they tell may not be true after the next start.
    pub(super) fn fail(&mut self) {
        let Some(first) = self.held.front() else { return };
        self.bytes.truncate(first.start);
        let unknown: ErrorReply = refusal(&kv_core::Error::Outcome);
        for held in self.held.drain(..) {
            for _ in 0..held.replies {
                Reply::Error(unknown.clone()).write(&mut self.bytes, held.format);
            }
        }
        self.noted = self.bytes.len();
    }
}
