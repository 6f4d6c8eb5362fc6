//! What each command does: a request becomes calls of the engine, their results a reply.
//!
//! This layer knows neither sockets nor framing, so that every face of the server shares it. A
//! command never blocks: it may pause for a lock or for a value to be fetched, and is then called
//! again with the same request; nothing has been written for it by then. A list that may be long
//! is not written by the command but handed out as a [`Listing`], to be written in pieces.
//!
//! A new command gets its request in `kv-protocol`, and an arm in `Client::run` that calls a
//! function in one of the modules below.

mod attached;
mod durability;
mod listing;
pub(crate) mod redis;
mod status;
mod transaction;
mod value;

use std::sync::Arc;

use kv_core::{Pause, Session, Step};
use kv_protocol::{ErrorCode, ErrorReply, Format, Reply, Request};

use tokio_util::sync::CancellationToken;

use self::attached::Attachments;
pub use self::durability::{Admitted, Job, Jobs};
pub(crate) use self::listing::options as scan_options;
pub use self::listing::{Listed, Listing};
use self::redis::Dialect;
use crate::clients::Entered;
use crate::server::Server;

/// One client of the server: its session and how it wants its replies.
#[derive(Debug)]
pub struct Client {
    pub(crate) session: Session,
    /// What it has open that has a token.
    attachments: Attachments,
    /// How the reply to the request that is run is written.
    pub(crate) format: Format,
    /// How replies to lines are.
    line_format: Format,
    pub(crate) server: Arc<Server>,
    /// What its requests in arrays depend on.
    dialect: Dialect,
    /// Its place among the others.
    info: Entered,
    /// What it asked for last.
    last_command: &'static str,
}

/// What is to be done after a command.
#[derive(Debug)]
pub enum Next {
    /// Go on with the next request.
    Request,
    /// Write this list first.
    List(Box<Listing>),
    /// Do this first, off the runtime's threads, and answer with
    /// [`Client::answer_job`]: it takes as long as the disk does.
    Job(Job),
    /// Do this as well, off the runtime's threads. It has been answered.
    Background(Admitted),
    /// Close the connection.
    Close,
}

impl Client {
    /// A new client of the server, that is at no other end of a connection.
    pub fn new(server: Arc<Server>) -> Client {
        Client::connected(server, String::new(), String::new(), CancellationToken::new())
    }

    /// A new client of the server, with the address that it comes from, the one that it has
    /// reached, and what is cancelled to cut it off.
    pub fn connected(
        server: Arc<Server>,
        address: String,
        local_address: String,
        cut: CancellationToken,
    ) -> Client {
        let session = server.database().session();
        let info = server.clients().enter(session.id().0, address, local_address, cut);
        Client {
            session,
            attachments: Attachments::default(),
            format: Format::Text,
            line_format: Format::Text,
            server,
            dialect: Dialect::default(),
            info,
            last_command: "",
        }
    }

    /// Has replies written for a request that came as a line.
    #[inline]
    pub(crate) fn answer_in_lines(&mut self) {
        self.format = self.line_format;
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The client's session.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Runs a request that came as a line, and appends its reply, whether it went well or not. A
    /// line of no words is no request.
    ///
    /// # Errors
    ///
    /// As [`Client::execute`].
    pub fn execute_line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<Next, Pause> {
        match self.server.parse(line) {
            Ok(None) => Ok(Next::Request),
            Ok(Some(request)) => {
                self.last_command = request.spec().name;
                self.execute(&request, out)
            }
            Err(refusal) => {
                self.refuse(&refusal, None, out);
                Ok(Next::Request)
            }
        }
    }

    /// Runs a request and appends its reply, whether it went well or not.
    ///
    /// # Errors
    ///
    /// The pause, if the request has to be run again after it; never [`Pause::Failed`].
    pub fn execute(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> Result<Next, Pause> {
        let next = match self.run_request(request, out) {
            Err(Pause::Failed(error)) => {
                let txn = request.transaction();
                self.refuse(&refusal(&error), txn, out);
                Next::Request
            }
            ran => ran?,
        };
        // A list is read in its transaction until it ends.
        if !matches!(next, Next::List(_)) {
            self.park();
        }
        Ok(next)
    }

    fn run_request(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> Step<Next> {
        if !self.attachments.is_empty() {
            self.enter_for(request)?;
        }
        match request {
            Request::Get { key, read } => self.get(out, key, *read),
            Request::Put { key, value, txn, options } => self.put(out, key, value, *txn, *options),
            Request::Del { key, txn, if_version } => self.del(out, key, *txn, *if_version),
            Request::Exists { key, txn } => self.exists(out, key, *txn),
            Request::Incr { key, by, txn } => self.incr(out, key, *by, *txn),
            Request::Meta { key, txn } => self.meta(out, key, *txn),
            Request::Expire { key, ttl_s, txn } => self.expire(out, key, Some(*ttl_s), *txn),
            Request::Persist { key, txn } => self.expire(out, key, None, *txn),
            Request::Ttl { key, txn } => self.ttl(out, key, *txn),
            Request::History { key, limit } => self.history(key, *limit),
            Request::Begin { parent, isolation, at, wait } => {
                self.begin(out, *parent, *isolation, *at, *wait)
            }
            Request::Commit { txn } => self.commit(out, *txn),
            Request::Rollback { txn } => self.rollback(out, *txn),
            Request::CommitAll => self.commit_all(out),
            Request::Token { txn } => self.token(out, *txn),
            Request::Attach { token } => self.attach(out, token),
            Request::Scan(selection) => self.scan(selection),
            Request::Count(selection) => self.count(selection),
            Request::Nearest(nearest) => self.nearest(nearest),
            Request::ShowAll { txn } => self.show_all(*txn),
            Request::Transactions => self.transactions(out),
            Request::Revision => self.revision(out),
            Request::Locks => Ok(self.locks()),
            Request::Shards { with_load } => self.shards(out, *with_load),
            Request::Stats => self.stats(out),
            Request::Check => self.check(out),
            Request::Checkpoint => self.checkpoint(out),
            Request::Backup { file } => self.backup(out, file),
            Request::Help(spec) => self.help(out, *spec),
            Request::Ping => self.reply(out, &Reply::Pong),
            Request::Version => self.reply(out, &Reply::Said(crate::VERSION_LINE)),
            Request::Format(format) => {
                (self.format, self.line_format) = (*format, *format);
                self.reply(out, &Reply::Done)
            }
            Request::Quit => {
                self.reply(out, &Reply::Done)?;
                Ok(Next::Close)
            }
            other => {
                let text = format!("{} is not served here", other.spec().name);
                self.reply(out, &Reply::Error(ErrorReply::new(ErrorCode::Unknown, text)))
            }
        }
    }

    /// Appends a reply; the next request can be run.
    fn reply(&self, out: &mut Vec<u8>, reply: &Reply<'_>) -> Step<Next> {
        reply.write(out, self.format);
        Ok(Next::Request)
    }

    /// Appends a refusal, with what became of the transaction that was meant.
    pub fn refuse(&self, refusal: &ErrorReply, txn: Option<u64>, out: &mut Vec<u8>) {
        let refusal = refusal.clone().in_transaction(self.state_of(txn));
        Reply::Error(refusal).write(out, self.format);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // What has a token outlives the client, even in the middle of a command.
        self.park();
    }
}

/// An engine's error as it goes over the wire.
pub(crate) fn refusal(error: &kv_core::Error) -> ErrorReply {
    let code = ErrorCode::parse(error.code().as_bytes()).unwrap_or(ErrorCode::Internal);
    ErrorReply::new(code, error.to_string())
}
