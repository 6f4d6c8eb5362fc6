//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: a queue of commands, run as one group.
//!
//! As in Redis a command that fails leaves the others done; but what keeps all of it from being
//! committed (a lock not granted in time, a full disk) leaves nothing done. EXEC locks the keys of
//! all its commands, and those that are watched, before it looks at any of them: what it then sees
//! stays so until it is committed.

use std::collections::BTreeMap;

use kv_core::error::Limit;
use kv_core::{Error, GroupLocks, Mode, Pause, Step, Watch};
use kv_protocol::redis::{
    self, ClientCommand, ConfigCommand, InMulti, RedisCommand, RedisSpec, Refusal,
};
use kv_protocol::resp::write;
use kv_protocol::{Read, Request};

use super::{Client, Next, Run, Stop, as_line};
use crate::limits::WATCHED_BYTES_MAX;
use crate::storage::held_bytes_max;

/// What has been queued since MULTI.
#[derive(Debug, Default)]
pub(super) struct Multi {
    queue: Vec<Queued>,
    /// Bytes of all words.
    bytes: usize,
    /// A command was refused, so that EXEC will be.
    is_spoilt: bool,
}

/// A command that waits for EXEC.
#[derive(Debug)]
struct Queued {
    words: Vec<Vec<u8>>,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Dialect(&'static RedisSpec),
    Native,
}

/// Keys that are watched, and what they were.
#[derive(Debug, Default)]
pub(super) struct Watched {
    keys: BTreeMap<Box<[u8]>, Watch>,
    /// Bytes of all keys.
    bytes: usize,
}

impl Watched {
    fn clear(&mut self) {
        self.keys.clear();
        self.bytes = 0;
    }
}

/// What a queued word and a queued command take beside their bytes.
const WORD_BYTES: usize = 2 * size_of::<Vec<u8>>();
const COMMAND_BYTES: usize = 2 * size_of::<Queued>();

const NOT_ALLOWED: Refusal = Refusal::new("ERR Command not allowed inside a transaction");

impl Client {
    pub(super) fn multi(&mut self, out: &mut Vec<u8>) {
        self.dialect.multi = Some(Box::default());
        write::simple(out, "OK");
    }

    /// Has EXEC refuse, because a command was refused that should have been queued.
    pub(super) fn spoil_multi(&mut self) {
        if let Some(multi) = &mut self.dialect.multi {
            multi.is_spoilt = true;
        }
    }

    /// A command of the dialect after MULTI.
    pub(super) fn within_multi(
        &mut self,
        spec: &'static RedisSpec,
        words: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Run<Next> {
        let checked = self.check_spec(spec, words).and_then(|()| match spec.has_parts {
            // Each part is looked at now, as if it were a command.
            true if is_beyond_undoing(&spec.parse(words)?) => Err(NOT_ALLOWED),
            _ => Ok(()),
        });
        if let Err(refusal) = checked {
            self.spoil_multi();
            return Err(refusal.into());
        }
        match spec.in_multi {
            InMulti::Queued => self.queue(What::Dialect(spec), words, out),
            InMulti::Refused => {
                self.spoil_multi();
                Err(NOT_ALLOWED.into())
            }
            InMulti::AtOnce => {
                let command = spec.parse(words)?;
                match command {
                    RedisCommand::Multi => {
                        Err(Refusal::new("ERR MULTI calls can not be nested").into())
                    }
                    RedisCommand::Watch(_) => {
                        Err(Refusal::new("ERR WATCH inside MULTI is not allowed").into())
                    }
                    command => self.run(spec, &command, None, out),
                }
            }
        }
    }

    /// A native command after MULTI: those on one key can be queued.
    pub(super) fn queue_native(
        &mut self,
        native: &[&[u8]],
        words: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Run<Next> {
        let line = as_line(native);
        let can_be_queued = match self.server.parse(&line) {
            Ok(Some(request)) => native_key(&request).is_some(),
            Ok(None) => false,
            Err(refusal) => {
                self.spoil_multi();
                self.refuse(&refusal, None, out);
                return Ok(Next::Request);
            }
        };
        if !can_be_queued {
            self.spoil_multi();
            let name = String::from_utf8_lossy(native[0]).to_uppercase();
            let text = format!("ERR {name} inside MULTI is not allowed");
            return Err(Refusal::from(text).into());
        }
        self.queue(What::Native, words, out)
    }

    fn queue(&mut self, what: What, words: &[&[u8]], out: &mut Vec<u8>) -> Run<Next> {
        let bytes_max = held_bytes_max(self.server.config());
        let Some(multi) = &mut self.dialect.multi else { return Ok(Next::Request) };
        multi.bytes += words.iter().map(|word| word.len() + WORD_BYTES).sum::<usize>();
        multi.bytes += COMMAND_BYTES;
        if multi.bytes > bytes_max {
            multi.is_spoilt = true;
            let text = format!("LIMIT at most {bytes_max} bytes of commands are queued");
            return Err(Refusal::from(text).into());
        }
        if !multi.is_spoilt {
            let words = words.iter().map(|word| word.to_vec()).collect();
            multi.queue.push(Queued { words, what });
        }
        write::simple(out, "QUEUED");
        Ok(Next::Request)
    }

    /// How many commands are queued, after MULTI.
    pub(crate) fn queued(&self) -> Option<usize> {
        self.dialect.multi.as_ref().map(|multi| multi.queue.len())
    }

    /// How many keys are watched.
    pub(crate) fn watched(&self) -> usize {
        self.dialect.watched.keys.len()
    }

    /// Forgets what was queued and what is watched.
    pub(super) fn end_multi(&mut self) {
        self.dialect.multi = None;
        self.dialect.watched.clear();
        self.dialect.exec_at = None;
        self.dialect.collecting.clear();
    }

    pub(super) fn discard(&mut self, out: &mut Vec<u8>) -> Run<()> {
        if self.dialect.multi.is_none() {
            return Err(Refusal::new("ERR DISCARD without MULTI").into());
        }
        self.end_multi();
        write::simple(out, "OK");
        Ok(())
    }

    pub(super) fn watch_keys(&mut self, keys: &[&[u8]], out: &mut Vec<u8>) -> Run<()> {
        let bytes_max = WATCHED_BYTES_MAX;
        for key in keys {
            // What was watched before counts as it was then.
            if self.dialect.watched.keys.contains_key(*key) {
                continue;
            }
            let bytes = self.dialect.watched.bytes + key.len() + WORD_BYTES + size_of::<Watch>();
            if bytes > bytes_max {
                let text = format!("LIMIT at most {bytes_max} bytes of keys can be watched");
                return Err(Refusal::from(text).into());
            }
            // Called again after a pause, it finds the keys before this one watched.
            let watch = self.session.watch(None, key)?;
            self.dialect.watched.keys.insert((*key).into(), watch);
            self.dialect.watched.bytes = bytes;
        }
        write::simple(out, "OK");
        Ok(())
    }

    pub(super) fn unwatch(&mut self, out: &mut Vec<u8>) {
        self.dialect.watched.clear();
        write::simple(out, "OK");
    }

    pub(super) fn exec(&mut self, out: &mut Vec<u8>) -> Run<Next> {
        let Some(multi) = self.dialect.multi.take() else {
            return Err(Refusal::new("ERR EXEC without MULTI").into());
        };
        if multi.is_spoilt {
            self.end_multi();
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return Err(Refusal::new(text).into());
        }
        if let Err(refused) = self.enter(None) {
            self.end_multi();
            return Err(refused.into());
        }
        self.dialect.exec_at = Some(0);
        // Nothing that is queued changes what EXEC has to compare.
        let watched = std::mem::take(&mut self.dialect.watched);
        let done = self.run_queue(&multi.queue, &watched);
        self.dialect.watched = watched;
        if let Err(Stop::Paused(pause)) = done {
            if matches!(pause, Pause::Failed(_)) {
                self.end_multi();
            } else {
                self.dialect.multi = Some(multi);
            }
            return Err(pause.into());
        }
        self.end_multi();
        match done? {
            Some(replies) => {
                write::array(out, multi.queue.len());
                out.extend_from_slice(&replies);
            }
            None => write::null_array(out, self.dialect.version),
        }
        Ok(Next::Request)
    }

    /// Runs all that is queued as one group; none if what was watched has changed.
    fn run_queue(&mut self, queue: &[Queued], watched: &Watched) -> Run<Option<Vec<u8>>> {
        let locks = self.locks_of(queue, watched);
        loop {
            let started = self.session.start_group(None, &locks);
            let outcome = started.and_then(|()| self.run_locked(queue, watched));
            if let Some(replies) = self.session.finish_group(outcome)? {
                return Ok(replies);
            }
            // It begins again, without what it had locked.
            self.dialect.collecting.clear();
        }
    }

    fn run_locked(&mut self, queue: &[Queued], watched: &Watched) -> Step<Option<Vec<u8>>> {
        for (key, watch) in &watched.keys {
            if !self.session.is_as_watched(key, watch)? {
                return Ok(None);
            }
        }
        let bytes_max = held_bytes_max(self.server.config());
        let mut replies = Vec::new();
        for (at, queued) in queue.iter().enumerate() {
            self.dialect.exec_at = Some(at);
            let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
            match self.run_queued(queued.what, &words, &mut replies) {
                Ok(_) => {}
                // All of it is lost then, not this command alone.
                Err(Stop::Paused(Pause::Failed(error))) if error.aborts() => {
                    return Err(Pause::Failed(error));
                }
                Err(stop) => {
                    self.tell(stop, &mut replies)?;
                }
            }
            if replies.len() > bytes_max {
                return Err(Error::Limit { limit: Limit::ReplyBytes, max: bytes_max }.into());
            }
        }
        Ok(Some(replies))
    }

    fn run_queued(&mut self, what: What, words: &[&[u8]], out: &mut Vec<u8>) -> Run<Next> {
        match what {
            What::Dialect(spec) => {
                let command = spec.parse(words)?;
                self.run(spec, &command, None, out)
            }
            What::Native => {
                match self.server.parse(&native_line(words)) {
                    Ok(Some(request)) => Ok(self.run_request(&request, out)?),
                    // It could be read when it was queued.
                    _ => Err(Refusal::SYNTAX.into()),
                }
            }
        }
    }

    /// Everything that the commands will need, to be locked before any of them is run.
    fn locks_of(&self, queue: &[Queued], watched: &Watched) -> GroupLocks {
        let mut locks = GroupLocks::default();
        watched.keys.keys().for_each(|key| locks.key(key, Mode::Shared));
        for queued in queue {
            let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
            match queued.what {
                What::Dialect(spec) => {
                    let mode = if spec.writes() { Mode::Exclusive } else { Mode::Shared };
                    // What is no key is refused when it is run.
                    let key_bytes_max = self.server.config().key_bytes_max;
                    let keys = spec.keys_of(&words);
                    keys.filter(|key| (1..=key_bytes_max).contains(&key.len()))
                        .for_each(|key| locks.key(key, mode));
                    let Ok(read) = spec.parse(&words) else { continue };
                    locks.all |= read == RedisCommand::FlushAll;
                    locks.ranges.extend(self.interval_of(&read));
                }
                What::Native => {
                    let line = native_line(&words);
                    let Ok(Some(request)) = self.server.parse(&line) else { continue };
                    let writes = request.spec().flags.writes;
                    let mode = if writes { Mode::Exclusive } else { Mode::Shared };
                    native_key(&request).into_iter().for_each(|key| locks.key(key, mode));
                }
            }
        }
        locks
    }
}

/// Whether a command does what is not undone when EXEC has to begin again.
fn is_beyond_undoing(command: &RedisCommand<'_>) -> bool {
    matches!(
        command,
        RedisCommand::Client(ClientCommand::Kill(..)) | RedisCommand::Config(ConfigCommand::Set(_))
    )
}

/// The key of a native command that is about what is there now under one, and names no transaction;
/// those can be queued.
fn native_key<'a>(request: &'a Request<'_>) -> Option<&'a [u8]> {
    let is_of_the_past = match request {
        Request::History { .. } => true,
        Request::Get { read, .. } => !matches!(read, Read::Newest { .. }),
        _ => false,
    };
    request.key().filter(|_| !is_of_the_past && request.transaction().is_none())
}

/// The line of a native command, whether it was named by KV or by itself.
fn native_line(words: &[&[u8]]) -> Vec<u8> {
    let is_named = words[0].eq_ignore_ascii_case(redis::NATIVE);
    as_line(if is_named { &words[1..] } else { words })
}
