//! Long lists, in pieces, and searches that may find nothing for long: others get their turn in
//! between, and who has left is not searched for.

use kv_protocol::{ErrorCode, ErrorReply};
use tokio::time::Instant;
use tracing::debug;

use super::{Connection, End};
use crate::command::{Listed, Listing};
use crate::limits;

impl Connection {
    /// Writes a long list in pieces, each when the one before has been taken.
    pub(super) async fn write_list(&mut self, listing: Box<Listing>) -> Result<(), End> {
        self.listing = Some(listing);
        self.last_sent = Instant::now();
        // Its pieces do not wait one by one: they depend on what is known when it begins.
        self.settle_and_flush().await?;
        self.settle_session().await?;
        while let Some(listing) = &mut self.listing {
            let out = self.outbox.buffer();
            let written = self.client.write_list(listing, out, limits::OUTPUT_BYTES_AT_ONCE);
            self.note_reply();
            if !self.outbox.is_empty() {
                self.last_sent = Instant::now();
            }
            match written {
                Ok(Listed::Whole) => self.listing = None,
                Ok(Listed::Broken) => return Err(broken()),
                Ok(Listed::More) => {
                    self.flush().await?;
                    self.let_others().await?;
                }
                Err(pause) => {
                    self.flush().await?;
                    if let Err(failed) = self.resolve(pause).await? {
                        self.fail_list(&failed)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives others their turn in a search. While nothing is found nothing is sent, so that a
    /// client that has left does not show by what it does not take; and one that has closed its
    /// side may only have said all that it has to say. So it is served a while, and then no more.
    pub(super) async fn let_others(&mut self) -> Result<(), End> {
        tokio::task::yield_now().await;
        let is_long = self.last_sent.elapsed() >= limits::SEARCH_AFTER_CLOSE_MAX;
        if !is_long || !self.stream.has_left().await {
            return Ok(());
        }
        self.client.roll_back_all();
        let text = "the connection was closed while the command searched, and nothing was found \
                    for long; open transactions were rolled back, but for what has a token";
        if self.listing.is_some() {
            self.fail_list(&ErrorReply::new(ErrorCode::Aborted, text))?;
        } else {
            self.say(ErrorCode::Aborted, text);
        }
        Err(End::Quit)
    }

    fn fail_list(&mut self, failure: &ErrorReply) -> Result<(), End> {
        if let Some(listing) = self.listing.take() {
            let told = self.client.fail_list(&listing, failure, self.outbox.buffer());
            self.note_reply();
            if told == Listed::Broken {
                return Err(broken());
            }
        }
        Ok(())
    }
}

/// How a list ends whose number has been sent, and that cannot be completed: what follows would be
/// read as its rows.
fn broken() -> End {
    debug!("a list could not be completed, and its number had been sent");
    End::Gone
}
