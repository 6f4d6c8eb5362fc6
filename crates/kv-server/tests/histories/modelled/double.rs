//! The model as a client that answers the same commands, and what it cannot know: which versions
//! are still kept, and who holds locks.

use kv_testkit::model::{
    self, Interval as Span, Isolation, Model, Place, ValueCondition, Version, only,
};

use super::may_be_kept;
use crate::command::{Answer, Command, Interval, Past, Refusal, Selection};

/// The only client.
const CLIENT: u32 = 1;

/// What an answer should have been, for people.
type Expected = String;

pub(super) struct Double {
    pub(super) model: Model,
    history: Option<usize>,
    /// Whether it is asked in lines, so that what makes no sense is refused before it is tried.
    is_wire: bool,
    /// Transactions that read an older revision: what they need may be gone.
    of_the_past: Vec<u64>,
}

impl Double {
    pub(super) fn new(history: Option<usize>, is_wire: bool) -> Double {
        Double { model: Model::default(), history, is_wire, of_the_past: Vec::new() }
    }

    pub(super) fn close(&mut self) {
        self.model.close(CLIENT);
        self.of_the_past.clear();
    }

    /// Whether the command was refused for a lock of another of the client's transactions, of
    /// which there must be one. Then nothing was done.
    pub(super) fn is_own_lock(&self, txn: Option<u64>, told: &Result<Answer, Refusal>) -> bool {
        let is_busy = told.as_ref().is_err_and(|refusal| refusal.code == "BUSY");
        let meant = self.model.runs_in(CLIENT, txn);
        let Ok(Some(meant)) = meant else { return false };
        let root = self.model.root(CLIENT, meant);
        let others = self.model.open_of(CLIENT);
        let others = others.iter().filter(|open| open.id != root && open.parent.is_none());
        is_busy && others.filter(|open| !open.aborted).count() > 0
    }

    /// Does the command in the model too, unless the store may have forgotten what it would show.
    pub(super) fn agrees(
        &mut self,
        txn: Option<u64>,
        command: &Command,
        told: &Result<Answer, Refusal>,
    ) -> Result<(), Expected> {
        let expected = self.answer(txn, command);
        self.note_judged(txn, command);
        let is_pruned = told.as_ref().is_err_and(|refusal| refusal.code == "PRUNED");
        let agrees = match (command, &expected, told) {
            (Command::History { .. }, Ok(Answer::Versions(all)), Ok(Answer::Versions(told))) => {
                may_be_kept(told, all, self.history)
            }
            (_, Ok(_), Err(_)) if is_pruned => self.may_be_pruned(txn, command),
            _ => *told == expected,
        };
        if agrees { Ok(()) } else { Err(format!("{expected:?}")) }
    }

    fn may_be_pruned(&self, txn: Option<u64>, command: &Command) -> bool {
        let Some(kept) = self.history else { return false };
        let is_kept = |key: &str, is_it: &dyn Fn(&Version) -> bool| {
            self.model.history(key.as_bytes()).iter().take(kept).any(is_it)
        };
        match command {
            Command::GetVersion { key, version } => !is_kept(key, &|it| it.version == *version),
            // The newest one at the revision is kept if any as old as that is.
            Command::GetAt { key, revision } => !is_kept(key, &|it| it.revision <= *revision),
            _ => {
                let meant = self.model.runs_in(CLIENT, txn).ok().flatten();
                meant
                    .is_some_and(|meant| self.of_the_past.contains(&self.model.root(CLIENT, meant)))
            }
        }
    }

    /// Tells the model what the command has locked and looked at.
    fn note_judged(&mut self, txn: Option<u64>, command: &Command) {
        let model = &mut self.model;
        let interval = match command {
            Command::Get { key, .. }
            | Command::Exists { key }
            | Command::Meta { key }
            | Command::Ttl { key } => {
                // Then it has only looked at that.
                if model.has_written(CLIENT, txn, key.as_bytes()) {
                    return;
                }
                only(key.as_bytes())
            }
            Command::Put { condition: model::Condition::Always, .. } => return,
            Command::Put { key, .. }
            | Command::Delete { key, .. }
            | Command::Expire { key, .. }
            | Command::Add { key, .. } => only(key.as_bytes()),
            Command::Scan(selection) | Command::Count(selection) => {
                let (span, conditions) = (span(selection), &selection.conditions);
                let Ok(rows) = model.select(CLIENT, txn, &span, conditions) else { return };
                let mut examined = conditions.examined(&span);
                match (rows.last(), examined.limit) {
                    (_, Some(0)) => return,
                    (Some((last, _)), Some(limit)) if rows.len() == limit => {
                        examined.to = only(last).to;
                    }
                    _ => {}
                }
                examined
            }
            Command::Nearest { number, rows: 1..=model::NEAREST_MAX, prefix } => {
                let keys = keys_with(prefix.as_deref());
                if model.nearest(CLIENT, txn, number, 1, &keys).is_err() {
                    return;
                }
                keys
            }
            _ => return,
        };
        model.judge(CLIENT, txn, interval);
    }

    fn answer(&mut self, txn: Option<u64>, command: &Command) -> Result<Answer, Refusal> {
        if self.is_wire && makes_no_sense(command) {
            return Err(Refusal::new("ARGUMENT"));
        }
        let model = &mut self.model;
        let answer = match command {
            Command::Begin { place, isolation, at, .. } => {
                let id = model.begin(CLIENT, *place, *isolation, *at).map_err(refusal)?;
                if at.is_some() {
                    self.of_the_past.push(id);
                }
                Answer::Begun(id)
            }
            Command::Commit => {
                let before = model.last_commit(CLIENT);
                model.commit(CLIENT, txn).map_err(refusal)?;
                committed(before, model.last_commit(CLIENT), 1)
            }
            Command::CommitAll => {
                let before = model.last_commit(CLIENT);
                let (count, failed) = model.commit_all(CLIENT);
                if !failed.is_empty() {
                    return Err(Refusal::new("ABORTED"));
                }
                committed(before, model.last_commit(CLIENT), count)
            }
            Command::Rollback => {
                model.rollback(CLIENT, txn).map_err(refusal)?;
                Answer::Done
            }
            Command::Put { key, value, condition } => {
                let (key, value) = (key.as_bytes(), value.as_bytes());
                model.put(CLIENT, txn, key, value, *condition).map_err(refusal)?;
                Answer::Done
            }
            Command::Delete { key, version } => {
                let condition = version.map_or(model::Condition::Always, model::Condition::Version);
                let deleted = model.delete(CLIENT, txn, key.as_bytes(), condition);
                Answer::Flag(deleted.map_err(refusal)?)
            }
            Command::PutFor { key, value, ttl_s } => {
                let (key, value) = (key.as_bytes(), value.as_bytes());
                model.put_expiring(CLIENT, txn, key, value, ttl_s * 1000).map_err(refusal)?;
                Answer::Done
            }
            Command::Expire { key, ttl_s } => {
                let ttl_ms = ttl_s.map(|ttl_s| ttl_s * 1000);
                let was_there = model.expire(CLIENT, txn, key.as_bytes(), ttl_ms);
                Answer::Flag(was_there.map_err(refusal)?)
            }
            Command::Add { key, by } => {
                let sum = model.increment(CLIENT, txn, key.as_bytes(), *by);
                Answer::Number(sum.map_err(refusal)?)
            }
            Command::Get { key, for_update: true } => {
                let id = model.writes_in(CLIENT, txn, key.as_bytes()).map_err(refusal)?;
                if id.is_none() {
                    return Err(Refusal::new("ARGUMENT"));
                }
                value(model.get(CLIENT, txn, key.as_bytes()).map_err(refusal)?)
            }
            read => self.read(txn, read).map_err(refusal)?,
        };
        Ok(answer)
    }

    fn read(&self, txn: Option<u64>, command: &Command) -> Result<Answer, model::Refusal> {
        let model = &self.model;
        let answer = match command {
            Command::Get { key, .. } => value(model.get(CLIENT, txn, key.as_bytes())?),
            Command::GetVersion { key, version } => {
                value(model.get_version(key.as_bytes(), *version))
            }
            Command::GetAt { key, revision } => value(model.get_at(key.as_bytes(), *revision)?),
            Command::Exists { key } => Answer::Flag(model.exists(CLIENT, txn, key.as_bytes())?),
            Command::Meta { key } => {
                let meta = model.meta(CLIENT, txn, key.as_bytes())?;
                Answer::Meta(meta.map(|meta| (meta.version, meta.revision, meta.bytes)))
            }
            Command::Ttl { key } => {
                let meta = model.meta(CLIENT, txn, key.as_bytes())?;
                Answer::Ttl(meta.map(|meta| match meta.ttl_ms {
                    None => -1,
                    Some(ttl_ms) => ttl_ms.div_ceil(1000).cast_signed(),
                }))
            }
            Command::History { key } => {
                let versions = model.history(key.as_bytes()).into_iter().map(|version| Past {
                    version: version.version,
                    revision: version.revision,
                    value: version.value.map(text),
                });
                Answer::Versions(versions.collect())
            }
            Command::Scan(selection) => {
                pairs(model.select(CLIENT, txn, &span(selection), &selection.conditions)?)
            }
            Command::Count(selection) => {
                let found = model.select(CLIENT, txn, &span(selection), &selection.conditions)?;
                Answer::Number(i64::try_from(found.len()).unwrap_or(i64::MAX))
            }
            Command::Nearest { number, rows, prefix } => {
                let keys = keys_with(prefix.as_deref());
                pairs(model.nearest(CLIENT, txn, number, *rows, &keys)?)
            }
            Command::ShowAll => {
                let rows = model.show_all(CLIENT).into_iter();
                let rows = rows.map(|(key, value, owner)| (text(key), value.map(text), owner));
                Answer::Shown(rows.collect())
            }
            _ => Answer::Open(model.open_of(CLIENT)),
        };
        Ok(answer)
    }
}

/// How the root of this transaction runs.
pub(super) fn isolation_of(model: &Model, id: u64) -> Option<Isolation> {
    model.open_of(CLIENT).iter().find(|open| open.id == id).map(|open| open.isolation)
}

fn committed(before: u64, after: u64, count: usize) -> Answer {
    Answer::Committed { revision: (before != after).then_some(after), count: count as u64 }
}

fn refusal(refusal: model::Refusal) -> Refusal {
    let version = match refusal {
        model::Refusal::Precondition(version) => Some(version),
        _ => None,
    };
    Refusal { code: refusal.code().into(), version }
}

fn value(value: Option<Vec<u8>>) -> Answer {
    Answer::Value(value.map(text))
}

fn pairs(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Answer {
    Answer::Pairs(pairs.into_iter().map(|(key, value)| (text(key), text(value))).collect())
}

fn keys_with(prefix: Option<&str>) -> Span {
    prefix.map_or_else(Span::default, |prefix| Span::prefix(prefix.as_bytes()))
}

/// Whether it is refused as it is read.
fn makes_no_sense(command: &Command) -> bool {
    match command {
        Command::Begin { place, isolation, at: Some(_), .. } => {
            *place != Place::Root || *isolation != Some(Isolation::Readonly)
        }
        Command::Scan(selection) | Command::Count(selection) => {
            let is_reversed = |from: &String, to: &String| from > to;
            matches!(&selection.interval, Interval::Range(from, to) if is_reversed(from, to))
                || matches!(&selection.conditions.value,
                    Some(ValueCondition::Range(from, to)) if is_reversed(from, to))
        }
        _ => false,
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn span(Selection { interval, after, limit, .. }: &Selection) -> Span {
    let span = match interval {
        Interval::All => Span::default(),
        Interval::Prefix(prefix) => Span::prefix(prefix.as_bytes()),
        Interval::Range(from, to) => {
            Span { from: from.clone().into(), to: Some(to.clone().into()), ..Span::default() }
        }
    };
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    Span { after: after.clone().map(Into::into), limit, ..span }
}
