//! What completion knows of the server: its commands, and keys and versions that it looks up while
//! somebody waits with a finger on Tab.
//!
//! It has a connection of its own and reads in a READONLY transaction, so that it takes no lock and
//! waits for nobody; it asks for a bounded number of rows, and gives up after a bounded time.

use std::time::Duration;

use kv_client::blocking::{Client, Commands};
use kv_client::{Isolation, Reply, Scan};

use crate::args::Options;

/// How long completion may take.
const PATIENCE: Duration = Duration::from_millis(50);
/// The most keys that are offered.
const KEYS_MAX: u64 = 100;
/// The most versions that are offered.
const VERSIONS_MAX: u64 = 20;

/// A command of the server's: how it is typed, and what it does.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub(super) syntax: String,
    pub(super) summary: String,
}

pub(super) struct Lookup {
    client: Option<Client>,
    /// The server's table of commands, as its HELP tells it.
    commands: Vec<Usage>,
}

impl Lookup {
    pub(super) fn new(address: &str, options: &Options) -> Self {
        // Who asks is in what was given, not in the address that is shown.
        let address = match options.server.contains(address) {
            true => &options.server,
            false => address,
        };
        let client = Client::builder(address)
            .reply_timeout(PATIENCE)
            .reconnect_timeout(PATIENCE)
            .connections_max(1)
            .connect()
            .ok();
        let help = client.as_ref().and_then(|client| client.session().ok()?.send("HELP").ok());
        let rows = match help {
            Some(Reply::List(rows)) => rows,
            _ => Vec::new(),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let commands = rows
            .iter()
            .filter_map(|row| match &row[..] {
                [syntax, summary] => {
                    Some(Usage { syntax: text(&syntax.bytes), summary: text(&summary.bytes) })
                }
                _ => None,
            })
            .collect();
        Lookup { client, commands }
    }

    pub(super) fn commands(&self) -> &[Usage] {
        &self.commands
    }

    /// The command of a verb, in either case.
    pub(super) fn usage(&self, verb: &str) -> Option<&Usage> {
        let is_it = |usage: &&Usage| {
            usage.syntax.split(' ').next().is_some_and(|name| name.eq_ignore_ascii_case(verb))
        };
        self.commands.iter().find(is_it)
    }

    /// Keys that begin so; none if the server does not tell in time.
    pub(super) fn keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let found = self.client.as_ref().and_then(|client| {
            let view = client.begin(Isolation::ReadOnly).ok()?;
            view.page(Scan::prefix(prefix).limit(KEYS_MAX)).ok()
        });
        found.unwrap_or_default().into_iter().map(|(key, _)| key.into()).collect()
    }

    /// The versions of a key, the newest first.
    pub(super) fn versions(&self, key: &[u8]) -> Vec<u64> {
        let found = self.client.as_ref().and_then(|client| client.history(key, VERSIONS_MAX).ok());
        found.unwrap_or_default().into_iter().map(|of| of.version).collect()
    }
}
