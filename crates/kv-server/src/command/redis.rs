//! The Redis dialect: what its commands do, for requests that come as arrays.
//!
//! Reading them is `kv_protocol::redis`'s; here they become calls of the same session that the
//! native commands use. So inside a transaction that BEGIN has begun GET, SET and DEL are part of
//! it. A command on several keys, and MULTI … EXEC, is a [group](kv_core::Session::group).
//!
//! ```text
//!   words ─ in the dialect? ──► spec ─► queued (MULTI) ┄┄┄► EXEC
//!     │        │                  └───► read, run ──► reply
//!     │        └─ a native command, KV … ─► a line ─► Request ─► Client::execute
//!     └─ TX id … ─► as above, in that transaction
//! ```
//!
//! A command that has to pause has written nothing, and is called again with the same words.

mod about;
mod client;
mod config;
mod exec;
mod info;
mod keys;
mod strings;

use std::collections::BTreeMap;

use kv_core::{Error, Pause, TxnId, Value};
use kv_protocol::redis::{self, RedisCommand, RedisGroup, RedisSpec, Refusal};
use kv_protocol::resp::write;
use kv_protocol::word::write_word;
use kv_protocol::{Format, Request, RespVersion};

use self::exec::{Multi, Watched};
use self::keys::Collecting;
use super::{Client, Next};

pub(crate) use self::keys::Cursors;

/// What a client has said that its later requests depend on.
#[derive(Debug, Default)]
pub(crate) struct Dialect {
    pub(crate) version: RespVersion,
    multi: Option<Box<Multi>>,
    watched: Watched,
    /// The place in the queue of the command that EXEC runs.
    exec_at: Option<usize>,
    /// Keys that commands which have paused have collected, by their place in the queue of EXEC.
    collecting: BTreeMap<usize, Collecting>,
    /// Values that an MGET which has paused has read.
    values: Vec<Option<Value>>,
}

impl Dialect {
    /// Whether a command that paused has left something to go on with.
    #[inline]
    fn keeps_something(&self) -> bool {
        !self.collecting.is_empty() | !self.values.is_empty()
    }
}

/// Why a command has no reply of its own yet.
#[derive(Debug)]
enum Stop {
    /// It is refused, in these words.
    Refused(Refusal),
    /// It has to pause, or the engine refuses it.
    Paused(Pause),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl From<Pause> for Stop {
    fn from(pause: Pause) -> Stop {
        Stop::Paused(pause)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Paused(error.into())
    }
}

type Run<T> = Result<T, Stop>;

/// The engine's error as the dialect tells it: in Redis's words where it has some.
fn refusal_of(error: &Error) -> Refusal {
    match error {
        Error::NotAnInteger(_) => Refusal::NOT_AN_INTEGER,
        Error::Overflow(_) => Refusal::new("ERR increment or decrement would overflow"),
        other => format!("{} {other}", other.code()).into(),
    }
}

impl Client {
    /// Has replies written for a request that came as an array.
    pub(crate) fn answer_in_resp(&mut self) {
        self.format = Format::Resp(self.dialect.version);
    }

    /// Runs a request that came as an array, and appends its reply, whether it went well or not.
    /// No words are no request.
    ///
    /// # Errors
    ///
    /// The pause, if it has to be run again after it; never [`Pause::Failed`].
    pub fn execute_words(&mut self, words: &[&[u8]], out: &mut Vec<u8>) -> Result<Next, Pause> {
        let Some(name) = words.first() else { return Ok(Next::Request) };
        let ran = match redis::find(name) {
            Some(spec) => self.run_in_dialect(spec, words, out),
            None => self.run_beyond_dialect(words, out),
        };
        let ran = ran.or_else(|stop| self.tell(stop, out));
        if self.dialect.keeps_something() | self.attachments.is_inside() {
            self.tidy_up(&ran);
        }
        ran
    }

    /// Lets go of what only a command that has paused needs.
    #[cold]
    fn tidy_up(&mut self, ran: &Result<Next, Pause>) {
        if ran.is_ok() {
            self.dialect.collecting.clear();
            self.dialect.values.clear();
        }
        // A list is read in its transaction until it ends.
        if !matches!(ran, Err(_) | Ok(Next::List(_))) {
            self.park();
        }
    }

    /// Appends the refusal of a command that has stopped, unless it only has to pause.
    fn tell(&mut self, stop: Stop, out: &mut Vec<u8>) -> Result<Next, Pause> {
        match stop {
            Stop::Refused(refusal) => write::error(out, &refusal.0),
            Stop::Paused(Pause::Failed(error)) => write::error(out, &refusal_of(&error).0),
            Stop::Paused(pause) => return Err(pause),
        }
        Ok(Next::Request)
    }

    fn run_in_dialect(
        &mut self,
        spec: &'static RedisSpec,
        words: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Run<Next> {
        self.last_command = spec.name;
        if self.dialect.multi.is_some() {
            return self.within_multi(spec, words, out);
        }
        self.check_spec(spec, words)?;
        let command = spec.parse(words)?;
        self.run(spec, &command, None, out)
    }

    /// Refuses what the settings switch off, and too few words or too many.
    #[inline]
    fn check_spec(&self, spec: &RedisSpec, words: &[&[u8]]) -> Result<(), Refusal> {
        if !self.server.config().disabled.is_empty() && self.is_disabled(spec, words) {
            return Err(redis::disabled(words[0]));
        }
        spec.check_arity(words.len())
    }

    #[cold]
    fn is_disabled(&self, spec: &RedisSpec, words: &[&[u8]]) -> bool {
        let part = words.get(1).map(|part| String::from_utf8_lossy(part));
        let whole = part.map(|part| format!("{}|{part}", spec.name));
        self.server.config().disabled.iter().any(|name| {
            name.eq_ignore_ascii_case(spec.name)
                || (name.eq_ignore_ascii_case("flushall") && spec.name == "flushdb")
                || whole.as_ref().is_some_and(|whole| name.eq_ignore_ascii_case(whole))
        })
    }

    /// Runs a command; of those on keys the transaction can be named.
    fn run(
        &mut self,
        spec: &'static RedisSpec,
        command: &RedisCommand<'_>,
        txn: Option<TxnId>,
        out: &mut Vec<u8>,
    ) -> Run<Next> {
        if !self.attachments.is_empty() && runs_in_transaction(spec, command) {
            self.enter(txn)?;
        }
        match command {
            RedisCommand::Get(key) => self.redis_get(key, txn, out)?,
            RedisCommand::Set(set) => self.redis_set(spec.name, set, txn, out)?,
            RedisCommand::GetDel(key) => self.get_del(key, txn, out)?,
            RedisCommand::GetEx(key, expiry) => self.get_ex(key, expiry, txn, out)?,
            RedisCommand::MGet(keys) => self.mget(keys, txn, out)?,
            RedisCommand::MSet { pairs, if_absent } => self.mset(pairs, *if_absent, txn, out)?,
            RedisCommand::Append(key, more) => self.append(key, more, txn, out)?,
            RedisCommand::StrLen(key) => self.str_len(key, txn, out)?,
            RedisCommand::GetRange(key, start, end) => {
                self.get_range(key, *start, *end, txn, out)?;
            }
            RedisCommand::SetRange(key, offset, part) => {
                self.set_range(key, *offset, part, txn, out)?;
            }
            RedisCommand::Add(key, by) => {
                let sum = self.session.add(txn, key, *by)?;
                write::integer(out, sum);
            }
            RedisCommand::AddFloat(key, by) => self.add_float(key, by, txn, out)?,
            RedisCommand::Del(keys) => self.redis_del(keys, txn, out)?,
            RedisCommand::Exists(keys) => self.redis_exists(keys, txn, out)?,
            RedisCommand::Expire(key, at, only_if) => {
                self.redis_expire(spec.name, key, *at, *only_if, txn, out)?;
            }
            RedisCommand::Ttl(key, form) => self.redis_ttl(key, *form, txn, out)?,
            RedisCommand::Persist(key) => self.redis_persist(key, txn, out)?,
            RedisCommand::Type(key) => self.type_of(key, txn, out)?,
            RedisCommand::Rename { from, to, if_absent } => {
                self.rename(from, to, *if_absent, txn, out)?;
            }
            RedisCommand::Copy { from, to, replace } => {
                self.copy(from, to, *replace, txn, out)?;
            }
            RedisCommand::Keys(pattern) => return self.list_keys(pattern, txn, out),
            RedisCommand::Scan(scan) => self.redis_scan(scan, txn, out)?,
            RedisCommand::RandomKey => self.random_key(out)?,
            other => return self.run_without_keys(other, out),
        }
        Ok(Next::Request)
    }

    fn run_without_keys(&mut self, command: &RedisCommand<'_>, out: &mut Vec<u8>) -> Run<Next> {
        match command {
            RedisCommand::Multi => self.multi(out),
            RedisCommand::Exec => return self.exec(out),
            RedisCommand::Discard => self.discard(out)?,
            RedisCommand::Watch(keys) => self.watch_keys(keys, out)?,
            RedisCommand::Unwatch => self.unwatch(out),
            RedisCommand::Ping(None) => write::simple(out, "PONG"),
            RedisCommand::Ping(Some(message)) | RedisCommand::Echo(message) => {
                write::bulk(out, message);
            }
            RedisCommand::Hello(hello) => self.hello(hello, out)?,
            RedisCommand::Auth { user, password: _ } => self.auth(*user, out)?,
            RedisCommand::Select => write::simple(out, "OK"),
            RedisCommand::Quit => {
                write::simple(out, "OK");
                return Ok(Next::Close);
            }
            RedisCommand::Reset => self.reset(out),
            RedisCommand::Client(part) => return self.client(part, out),
            RedisCommand::Command(part) => self.about_commands(part, out),
            RedisCommand::Config(part) => self.config(part, out)?,
            RedisCommand::DbSize => self.db_size(out),
            RedisCommand::FlushAll => {
                self.session.delete_all(None)?;
                write::simple(out, "OK");
            }
            RedisCommand::Info(sections) => self.redis_info(sections, out),
            RedisCommand::Time => self.time(out),
            RedisCommand::Save => return self.save(),
            RedisCommand::BgSave => return self.bg_save(out),
            RedisCommand::LastSave => self.last_save(out),
            RedisCommand::Shutdown => return self.shut_down(),
            other => {
                let text = format!("ERR {other:?} is not served here");
                return Err(Refusal::from(text).into());
            }
        }
        Ok(Next::Request)
    }

    // ---- Beyond the dialect: native commands.

    /// Runs a command whose name the dialect does not have.
    fn run_beyond_dialect(&mut self, words: &[&[u8]], out: &mut Vec<u8>) -> Run<Next> {
        let name = words[0];
        if name.eq_ignore_ascii_case(redis::IN_TRANSACTION) {
            return self.run_in_transaction(words, out);
        }
        let native = if name.eq_ignore_ascii_case(redis::NATIVE) { &words[1..] } else { words };
        let is_known = native.first().is_some_and(|name| {
            kv_protocol::command::find(name).is_some_and(|spec| self.server.has_command(spec))
        });
        if !is_known {
            self.spoil_multi();
            return Err(redis::unknown(native).into());
        }
        if self.dialect.multi.is_some() {
            return self.queue_native(native, words, out);
        }
        self.run_native(native, None, out)
    }

    /// Runs a native command; `txn` is the transaction if it is named outside of it.
    fn run_native(&mut self, words: &[&[u8]], txn: Option<TxnId>, out: &mut Vec<u8>) -> Run<Next> {
        let line = as_line(words);
        let request = match self.server.parse(&line) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(Next::Request),
            Err(refusal) => {
                self.refuse(&refusal, None, out);
                return Ok(Next::Request);
            }
        };
        if let Request::Format(_) = request {
            let text = "ERR FORMAT is about replies to lines; HELLO chooses the version of RESP";
            return Err(Refusal::new(text).into());
        }
        self.last_command = request.spec().name;
        let request = match txn {
            None => request,
            Some(txn) => request.in_transaction(txn.0).map_err(|name| {
                Refusal::from(format!(
                    "ARGUMENT {name} does not run in a transaction that is named"
                ))
            })?,
        };
        Ok(self.execute(&request, out)?)
    }

    /// `TX id command …`.
    fn run_in_transaction(&mut self, words: &[&[u8]], out: &mut Vec<u8>) -> Run<Next> {
        if self.dialect.multi.is_some() {
            self.spoil_multi();
            return Err(Refusal::new("ERR TX inside MULTI is not allowed").into());
        }
        let [_, id, command @ ..] = words else {
            return Err(Refusal::new("ERR wrong number of arguments for 'tx' command").into());
        };
        let Some(name) = command.first() else {
            return Err(Refusal::new("ERR wrong number of arguments for 'tx' command").into());
        };
        let id = redis::number::integer(id).and_then(|id| u64::try_from(id).ok());
        let txn = TxnId(id.ok_or(Refusal::NOT_AN_INTEGER)?);
        match redis::find(name) {
            Some(spec) if is_on_keys(spec) => {
                self.check_spec(spec, command)?;
                let parsed = spec.parse(command)?;
                self.run(spec, &parsed, Some(txn), out)
            }
            Some(spec) => {
                let name = spec.name;
                Err(Refusal::from(format!("ERR {name} does not run in a transaction")).into())
            }
            None => {
                let is_native = name.eq_ignore_ascii_case(redis::NATIVE);
                let native = if is_native { &command[1..] } else { command };
                if native.first().is_none_or(|name| kv_protocol::command::find(name).is_none()) {
                    return Err(redis::unknown(native).into());
                }
                self.run_native(native, Some(txn), out)
            }
        }
    }

    /// Says that what has paused will not be run again.
    pub(crate) fn give_up(&mut self) {
        self.session.give_up();
        self.park();
        self.dialect.collecting.clear();
        self.dialect.values.clear();
        if self.dialect.exec_at.is_some() {
            self.end_multi();
        }
    }
}

/// Whether a command is done in the current transaction, if there is one.
fn runs_in_transaction(spec: &RedisSpec, command: &RedisCommand<'_>) -> bool {
    let is_other = matches!(command, RedisCommand::RandomKey);
    // EXEC sees to that itself.
    let is_whole = matches!(command, RedisCommand::Watch(_) | RedisCommand::FlushAll);
    is_whole || (is_on_keys(spec) && !is_other)
}

/// Whether a command is about keys, so that a transaction can be named for it.
fn is_on_keys(spec: &RedisSpec) -> bool {
    matches!(spec.group, RedisGroup::String | RedisGroup::Generic)
}

/// The line that is read as these words.
fn as_line(words: &[&[u8]]) -> Vec<u8> {
    let mut line = Vec::with_capacity(words.iter().map(|word| word.len() + 8).sum());
    for word in words {
        if !line.is_empty() {
            line.push(b' ');
        }
        write_word(&mut line, word);
    }
    line
}
