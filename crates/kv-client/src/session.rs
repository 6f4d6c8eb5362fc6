//! A connection to type into: what a person says is passed on as it is, and the answer comes back
//! as data.

use std::time::Duration;

use kv_protocol::word::Words;
use kv_protocol::{Format, Request};

use crate::connection::{Connection, Failure, Frame};
use crate::error::{Error, Result};
use crate::line::Line;
use crate::reply::{self, OpenTransaction, Reply};

/// A connection with its own transactions, which are rolled back when it is dropped.
///
/// It is never made again: once it is lost, every command answers [`Error::Disconnected`], and what
/// was open has been rolled back.
///
/// ```no_run
/// use kv_client::Reply;
/// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
/// let session = client.session().await?;
/// assert_eq!(session.send("BEGIN").await?, Reply::Ok(Some(1)));
/// session.send("PUT house large").await?;
/// assert_eq!(session.send("COMMIT").await?, Reply::Ok(None));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    reply_timeout: Duration,
}

impl Session {
    pub(crate) fn new(connection: Connection, reply_timeout: Duration) -> Self {
        Session { connection, reply_timeout }
    }

    /// Sends one line, without its LF, and answers what came back.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let session = client.session().await?;
    /// assert_eq!(session.send("PING").await?, kv_client::Reply::Pong);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for what is not one command with a reply of a known form: a line break,
    /// nothing at all, or FORMAT. Otherwise as every command.
    pub async fn send(&self, line: impl AsRef<[u8]>) -> Result<Reply> {
        self.call(&typed(line.as_ref())?, reply::any).await
    }

    /// The same, and answers the reply as the server's JSON format has it: one object, of which a
    /// refusal is one, too. Only there does a value that was stored as JSON stand as itself.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let session = client.session().await?;
    /// println!("{}", session.send_for_json("GET house").await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Session::send), but for refusals.
    pub async fn send_for_json(&self, line: impl AsRef<[u8]>) -> Result<String> {
        let line = typed(line.as_ref())?;
        let there = Line::of(&Request::Format(Format::Json));
        let back = Line::of(&Request::Format(Format::Text));
        let call =
            self.connection.call_between(&there.bytes, &line.bytes, &back.bytes, reply::json);
        self.answer(&line, call).await
    }

    /// The transactions that are open, by their ids.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let session = client.session().await?;
    /// session.send("BEGIN SNAPSHOT").await?;
    /// assert_eq!(session.transactions().await?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As every command.
    pub async fn transactions(&self) -> Result<Vec<OpenTransaction>> {
        self.call(&Line::of(&Request::Transactions), reply::transactions).await
    }

    /// Whether the connection still stands, as far as is known.
    ///
    /// ```no_run
    /// # async fn example(client: kv_client::Client) -> kv_client::Result<()> {
    /// let session = client.session().await?;
    /// assert!(session.is_alive());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }

    async fn call<T>(&self, line: &Line, read: fn(&Frame) -> Result<T>) -> Result<T> {
        self.answer(line, self.connection.call(&line.bytes, read)).await
    }

    async fn answer<T>(
        &self,
        line: &Line,
        call: impl Future<Output = Result<Result<T>, Failure>>,
    ) -> Result<T> {
        match self.connection.in_time(self.reply_timeout, call).await {
            Ok(result) => line.named(result),
            Err(Failure::NotSent(reason)) => Err(Error::Disconnected { reason }),
            Err(Failure::Lost(reason)) => Err(line.unanswered(reason)),
        }
    }
}

/// A line that can be sent as one command.
fn typed(line: &[u8]) -> Result<Line> {
    if line.contains(&b'\n') {
        return Err(argument("one command is one line; write \\n in quotes for a line break"));
    }
    let verb = Words::new(line).next_word().ok().flatten();
    let Some(verb) = verb.map(|word| word.bytes.to_ascii_uppercase()) else {
        return Err(argument("there is no command in the line"));
    };
    if verb == b"FORMAT" {
        return Err(argument("FORMAT would change what this client reads; it shows JSON itself"));
    }
    Ok(Line::typed(line, kv_protocol::command::find(&verb)))
}

fn argument(text: &str) -> Error {
    Error::Argument(text.to_owned())
}
