//! Requests on their way out.

use kv_protocol::{CommandSpec, Request};

use crate::error::{Error, Result};

/// A request as it is sent, and what is to be known if no reply comes.
#[derive(Clone, Debug)]
pub struct Line {
    /// The line with its LF.
    pub(crate) bytes: Vec<u8>,
    /// The command.
    pub(crate) command: &'static str,
    /// Whether it changes anything: then a lost reply leaves its outcome unknown.
    pub(crate) writes: bool,
    /// The key that it is about, where that decides who is asked.
    key: Vec<u8>,
}

impl Line {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let mut bytes = Vec::new();
        request.write(&mut bytes);
        bytes.push(b'\n');
        let spec = request.spec();
        // COMMIT and its like write, too, as far as their outcome goes.
        let writes = spec.flags.writes || spec.flags.controls_transactions;
        Line { bytes, command: spec.name, writes, key: Vec::new() }
    }

    /// A line as it was typed, without its LF.
    pub(crate) fn typed(line: &[u8], spec: Option<&CommandSpec>) -> Self {
        let flags = spec.map(|spec| spec.flags).unwrap_or_default();
        Line {
            bytes: [line, b"\n"].concat(),
            command: spec.map_or("the command", |spec| spec.name),
            writes: flags.writes || flags.controls_transactions,
            key: Vec::new(),
        }
    }

    /// The same line for whoever has this key.
    pub(crate) fn routed_by(mut self, key: Option<&[u8]>) -> Self {
        self.key = key.unwrap_or_default().to_vec();
        self
    }

    /// The key that it is about.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// What it means that it was sent and no reply came.
    pub(crate) fn unanswered(&self, reason: String) -> Error {
        match self.writes {
            true => Error::OutcomeUnknown { command: self.command, reason },
            false => Error::Disconnected { reason },
        }
    }

    /// The same result; an unknown outcome names this command.
    pub(crate) fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            Error::OutcomeUnknown { reason, .. } => {
                Error::OutcomeUnknown { command: self.command, reason }
            }
            other => other,
        })
    }
}
