//! A session with a server, as a person sees it: statements go in, replies come out as they are to
//! be shown, and what is open is known.
//!
//! When the connection is lost while a transaction is open, the shell says so and **does nothing
//! until it is told ROLLBACK**: else the next PUT, meant for the transaction, would be one of its
//! own.

use std::io::Write;
use std::time::{Duration, Instant};

use kv_client::blocking::{Client, Session};
use kv_client::{Error, OpenTransaction};
use kv_protocol::word::Words;

use crate::answer::{self, Answer};
use crate::exit::{Exit, Failure};
use crate::render::{self, Format};
use crate::style::Palette;

/// A session and what is known of it.
pub(crate) struct Shell {
    client: Client,
    session: Option<Session>,
    open: Vec<OpenTransaction>,
    /// Why what was open is lost, until a ROLLBACK.
    lost: Option<String>,
    /// Whether something has a token on this connection, and so outlives it.
    has_token: bool,
    pub(crate) format: Format,
    pub(crate) palette: Palette,
}

/// What became of a statement that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The answer was that there is no such thing.
    pub(crate) is_missing: bool,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Shell {
    pub(crate) fn new(client: Client, format: Format, palette: Palette) -> Self {
        let (session, open, lost, has_token) = (None, Vec::new(), None, false);
        Shell { client, session, open, lost, has_token, format, palette }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The transactions that are open, by their ids.
    pub(crate) fn open(&self) -> &[OpenTransaction] {
        &self.open
    }

    /// Whether a transaction was lost, and nothing was said to that yet.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Goes to another server; what was open here is rolled back.
    pub(crate) fn change_to(&mut self, client: Client) {
        *self = Shell::new(client, self.format, self.palette);
    }

    /// Runs a statement and writes the reply.
    pub(crate) fn run(
        &mut self,
        statement: &[u8],
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let verb = verb(statement);
        if self.lost.is_some() {
            return self.run_when_lost(&verb, out);
        }
        if let Err(error) = self.connect() {
            return Err(self.failed(error, &verb));
        }
        let Some(session) = &self.session else {
            return Err(Failure::new(Exit::CannotConnect, "there is no connection"));
        };
        let began = Instant::now();
        let result = if self.format.needs_json() {
            session.send_for_json(statement).and_then(|object| {
                let answer = answer::parse(&object)?;
                Ok(Replied::Json(object, answer))
            })
        } else {
            session.send(statement).map(Replied::Text)
        };
        let took = began.elapsed();
        self.has_token |= result.is_ok() && matches!(&*verb, b"TOKEN" | b"ATTACH");
        let was_open = self.open.len();
        let is_known = self.look_again(&verb, result.is_err());
        let begins = matches!(&*verb, b"BEGIN" | b"ATTACH");
        if !is_known && result.is_ok() && (was_open > 0 || begins) {
            let reason = "the connection was lost".to_owned();
            return Err(self.lose(reason));
        }
        match result {
            Ok(replied) => {
                let is_missing = replied.write(out, self.format, self.palette)?;
                Ok(Outcome { is_missing, took })
            }
            Err(error) => Err(self.failed(error, &verb)),
        }
    }

    /// Only ROLLBACK is heard.
    fn run_when_lost(&mut self, verb: &[u8], out: &mut impl Write) -> Result<Outcome, Failure> {
        let reason = self.lost.clone().unwrap_or_default();
        if verb != b"ROLLBACK" {
            let text = format!("TXN_LOST nothing was sent: {reason}; ROLLBACK to go on");
            return Err(Failure::new(Exit::TransactionLost, text));
        }
        self.lost = None;
        writeln!(out, "OK")?;
        Ok(Outcome { is_missing: false, took: Duration::ZERO })
    }

    /// A session that stands; none can be made again while a transaction is open.
    pub(crate) fn connect(&mut self) -> Result<(), Error> {
        if self.session.as_ref().is_some_and(Session::is_alive) {
            return Ok(());
        }
        if self.session.take().is_some() && !self.open.is_empty() {
            let reason = "the connection was lost".to_owned();
            return Err(Error::TransactionLost { reason });
        }
        self.session = Some(self.client.session()?);
        Ok(())
    }

    /// What an error means for what is open.
    fn failed(&mut self, error: Error, verb: &[u8]) -> Failure {
        let is_gone = self.session.as_ref().is_none_or(|session| !session.is_alive());
        if !is_gone || self.open.is_empty() {
            return error.into();
        }
        // Whether that COMMIT was done is what the error says; what else was open is lost.
        let is_commit =
            matches!(error, Error::OutcomeUnknown { .. }) && verb.starts_with(b"COMMIT");
        if is_commit && self.open.len() == 1 {
            self.session = None;
            self.open.clear();
            return error.into();
        }
        let reason = match error {
            Error::OutcomeUnknown { reason, .. } if is_commit => {
                format!("whether {} was done is unknown: {reason}", String::from_utf8_lossy(verb))
            }
            Error::OutcomeUnknown { reason, .. }
            | Error::Disconnected { reason }
            | Error::TransactionLost { reason } => reason,
            other => other.to_string(),
        };
        self.lose(reason)
    }

    /// What was open is lost with its connection; nothing is sent until that has been noticed.
    fn lose(&mut self, reason: String) -> Failure {
        self.session = None;
        self.open.clear();
        let lost = match std::mem::take(&mut self.has_token) {
            true => format!(
                "the connection was lost ({reason}), and what had no token was rolled back; ATTACH \
                 goes on with the rest"
            ),
            false => format!(
                "the transaction was rolled back because its connection was lost ({reason})"
            ),
        };
        let text = format!("TXN_LOST {lost}; ROLLBACK to go on");
        self.lost = Some(lost);
        Failure::new(Exit::TransactionLost, text)
    }

    /// Asks what is open, if that may have changed; whether it is known.
    fn look_again(&mut self, verb: &[u8], has_failed: bool) -> bool {
        let controls = controls_transactions(verb);
        let may_have_ended_one = has_failed && !self.open.is_empty();
        if !controls && !may_have_ended_one {
            return true;
        }
        let told = self.session.as_ref().map(Session::transactions);
        match told {
            Some(Ok(open)) => {
                self.open = open;
                self.has_token &= !self.open.is_empty();
                true
            }
            _ => false,
        }
    }
}

enum Replied {
    Text(kv_client::Reply),
    Json(String, Answer),
}

impl Replied {
    /// Whether there is no such thing.
    fn write(
        self,
        out: &mut impl Write,
        format: Format,
        palette: Palette,
    ) -> Result<bool, Failure> {
        match self {
            Replied::Text(reply) => {
                render::reply(out, format, palette, &reply)?;
                Ok(reply == kv_client::Reply::Nil)
            }
            Replied::Json(object, answer) => {
                render::answer(out, format, palette, &object, &answer)?;
                Ok(matches!(answer, Answer::Single { is_missing: true, .. }))
            }
        }
    }
}

/// Whether a command begins or ends a transaction.
pub(crate) fn controls_transactions(verb: &[u8]) -> bool {
    kv_protocol::command::find(verb).is_some_and(|spec| spec.flags.controls_transactions)
}

/// The command of a statement, in upper case.
pub(crate) fn verb(statement: &[u8]) -> Vec<u8> {
    let first = Words::new(statement).next_word().ok().flatten();
    first.map(|word| word.bytes.to_ascii_uppercase()).unwrap_or_default()
}
