//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: a queue of commands, run as one group.
//!
//! As in Redis a command that fails leaves the others done; but what keeps all of it from being
//! committed (a lock not granted in time, a full disk) leaves nothing done. EXEC locks the keys of
//! all its commands, and those that are watched, before it looks at any of them: what it then sees
//! stays so until it is committed.

use kv_core::{GroupLocks, Mode, Pause};
use kv_protocol::Request;
use kv_protocol::redis::{self, InMulti, RedisCommand, RedisSpec, Refusal};
use kv_protocol::resp::write;

use super::{Client, Next, Run, Stop, as_line};

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
            true => spec.parse(words).map(|_| ()),
            false => Ok(()),
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
        let bytes_max = self.server.config().write_set_bytes_max;
        let Some(multi) = &mut self.dialect.multi else { return Ok(Next::Request) };
        multi.bytes += words.iter().map(|word| word.len() + size_of::<Vec<u8>>()).sum::<usize>();
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
        self.dialect.watched.len()
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
        let max = self.server.config().locks_max;
        for key in keys {
            // What was watched before counts as it was then.
            if self.dialect.watched.iter().any(|watched| watched.key() == *key) {
                continue;
            }
            if self.dialect.watched.len() >= max {
                let text = format!("LIMIT at most {max} keys can be watched");
                return Err(Refusal::from(text).into());
            }
            // Called again after a pause, it finds the keys before this one watched.
            let watched = self.session.watch(None, key)?;
            self.dialect.watched.push(watched);
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
        self.dialect.exec_at = Some(0);
        let done = self.run_queue(&multi.queue);
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
    fn run_queue(&mut self, queue: &[Queued]) -> Run<Option<Vec<u8>>> {
        let locks = self.locks_of(queue);
        loop {
            let started = self.session.start_group(None, &locks);
            let outcome = started.and_then(|()| self.run_locked(queue));
            if let Some(replies) = self.session.finish_group(outcome)? {
                return Ok(replies);
            }
        }
    }

    fn run_locked(&mut self, queue: &[Queued]) -> Result<Option<Vec<u8>>, Pause> {
        let watched = std::mem::take(&mut self.dialect.watched);
        let is_unchanged = watched.iter().try_fold(true, |is_unchanged, watched| {
            Ok::<bool, Pause>(is_unchanged && self.session.is_as_watched(watched)?)
        });
        self.dialect.watched = watched;
        if !is_unchanged? {
            return Ok(None);
        }
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
                let is_named = words[0].eq_ignore_ascii_case(redis::NATIVE);
                let line = as_line(if is_named { &words[1..] } else { words });
                match self.server.parse(&line) {
                    Ok(Some(request)) => Ok(self.run_request(&request, out)?),
                    // It could be read when it was queued.
                    _ => Err(Refusal::SYNTAX.into()),
                }
            }
        }
    }

    /// Everything that the commands will need, to be locked before any of them is run.
    fn locks_of(&self, queue: &[Queued]) -> GroupLocks {
        let mut locks = GroupLocks::default();
        for watched in &self.dialect.watched {
            locks.key(watched.key(), Mode::Shared);
        }
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
                    let is_named = words[0].eq_ignore_ascii_case(redis::NATIVE);
                    let line = as_line(if is_named { &words[1..] } else { &words });
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

/// The key of a native command that is about one and names no transaction; those can be queued.
fn native_key<'a>(request: &'a Request<'_>) -> Option<&'a [u8]> {
    match request {
        Request::Put { key, txn: None, .. }
        | Request::Del { key, txn: None, .. }
        | Request::Exists { key, txn: None }
        | Request::Incr { key, txn: None, .. }
        | Request::Meta { key, txn: None }
        | Request::Expire { key, txn: None, .. }
        | Request::Persist { key, txn: None }
        | Request::Ttl { key, txn: None }
        | Request::Get { key, read: kv_protocol::Read::Newest { txn: None, .. } } => Some(key),
        _ => None,
    }
}
