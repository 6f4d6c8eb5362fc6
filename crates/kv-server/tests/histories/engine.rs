//! Clients of the engine itself: a session each, on the thread that asks.

use std::fmt::Debug;
use std::time::Duration;

use kv_core::{
    BeginOptions, Conditions, Database, Error, Isolation, Number, Parent, Pattern, Pause, Revision,
    Row, ScanOptions, Session, Step, TxnId, ValueCondition, ValueKind, Version,
};
use kv_testkit::model::{self, Place};

use crate::command::{Answer, Client, Command, Interval, Past, Refusal, Selection};

/// A client of a store in this process.
pub(crate) struct EngineClient {
    database: Database,
    session: Session,
    /// Whether to give up where it would wait; it is refused with [`GIVEN_UP`] then.
    is_impatient: bool,
}

/// A code that no store answers.
const GIVEN_UP: &str = "given up";

impl EngineClient {
    pub(crate) fn new(database: &Database) -> EngineClient {
        EngineClient {
            database: database.clone(),
            session: database.session(),
            is_impatient: false,
        }
    }

    /// Calls an operation until it has a result; what it depends on is settled then.
    fn block<T>(&mut self, operation: impl Fn(&mut Session) -> Step<T>) -> Result<T, Refusal> {
        let result = loop {
            match operation(&mut self.session) {
                Ok(result) => break Ok(result),
                Err(Pause::Failed(error)) => break Err(refusal(&error)),
                Err(pause @ (Pause::Fetch(_) | Pause::Room(_))) => {
                    panic!("all is in memory: {pause:?}")
                }
                Err(Pause::Yield) => {}
                Err(Pause::Lock(_)) if self.is_impatient => break Err(Refusal::new(GIVEN_UP)),
                Err(Pause::Lock(wait)) => {
                    wait.block();
                    if !wait.is_settled() {
                        self.session.expire();
                    }
                }
            }
        };
        let settled = self.database.settle(self.session.depends_on());
        assert_eq!(settled, Ok(()), "there is no log that could fail");
        result
    }

    fn end(&mut self, end: impl Fn(&mut Session) -> Step<u64>) -> Result<Answer, Refusal> {
        let before = self.session.last_commit();
        let count = self.block(end)?;
        let revision = self.session.last_commit();
        let revision = (revision != before).then_some(revision.0);
        Ok(Answer::Committed { revision, count })
    }

    fn list<T: Debug>(
        &mut self,
        begin: impl Fn(&mut Session) -> Step<kv_core::Scan>,
        row: impl Fn(&Row) -> T,
    ) -> Result<Vec<T>, Refusal> {
        self.block(|session| {
            let mut scan = begin(session)?;
            let mut rows = Vec::new();
            while let Some(found) = scan.next_row()? {
                rows.push(row(&found));
            }
            Ok(rows)
        })
    }

    fn nearest(
        &mut self,
        txn: Option<TxnId>,
        number: &str,
        rows_max: u64,
        prefix: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let x = Number::needed(number.as_bytes()).map_err(|error| refusal(&error))?;
        let interval = prefix.map_or_else(kv_core::Interval::all, |prefix| {
            kv_core::Interval::prefix(prefix.as_bytes())
        });
        self.block(|session| {
            let mut nearest = session.nearest(txn, &x, rows_max, &interval)?;
            let mut rows = Vec::new();
            while let Some(found) = nearest.next_row()? {
                rows.push(pair(&found));
            }
            Ok(Answer::Pairs(rows))
        })
    }

    fn history(&mut self, key: &str) -> Result<Answer, Refusal> {
        let versions = self.block(|session| session.history(key.as_bytes(), None))?;
        let told = |past: kv_core::Past| Past {
            version: past.version.0,
            revision: past.revision.0,
            value: past.value.map(|value| text(&value)),
        };
        Ok(Answer::Versions(versions.into_iter().map(told).collect()))
    }

    fn read(&mut self, txn: Option<u64>, command: &Command) -> Result<Answer, Refusal> {
        let txn = txn.map(TxnId);
        let value = |value: Option<kv_core::Value>| Answer::Value(value.map(|v| text(&v)));
        match command {
            Command::Get { key, for_update: false } => {
                self.block(|session| session.get(txn, key.as_bytes())).map(value)
            }
            Command::Get { key, for_update: true } => {
                self.block(|session| session.get_for_update(txn, key.as_bytes())).map(value)
            }
            Command::GetVersion { key, version } => {
                let version = Version(*version);
                self.block(|session| session.get_version(key.as_bytes(), version)).map(value)
            }
            Command::GetAt { key, revision } => {
                let revision = Revision(*revision);
                self.block(|session| session.get_at(key.as_bytes(), revision)).map(value)
            }
            Command::Exists { key } => {
                self.block(|session| session.exists(txn, key.as_bytes())).map(Answer::Flag)
            }
            Command::Meta { key } => {
                let meta = self.block(|session| session.meta(txn, key.as_bytes()))?;
                let told = |meta: kv_core::Meta| {
                    (meta.version.0, meta.revision.map(|revision| revision.0), meta.value_bytes)
                };
                Ok(Answer::Meta(meta.map(told)))
            }
            Command::Ttl { key } => {
                let meta = self.block(|session| session.meta(txn, key.as_bytes()))?;
                let ttl_s = |meta: kv_core::Meta| meta.ttl_s().map_or(-1, u64::cast_signed);
                Ok(Answer::Ttl(meta.map(ttl_s)))
            }
            Command::History { key } => self.history(key),
            Command::Transactions => {
                let told = |info: &kv_core::TxnInfo| model::Open {
                    id: info.txn.0,
                    parent: info.parent.map(|parent| parent.0),
                    isolation: isolation_of(info.isolation),
                    aborted: info.is_aborted,
                };
                Ok(Answer::Open(self.session.transactions().iter().map(told).collect()))
            }
            Command::Scan(selection) => {
                let options = options(selection).map_err(|error| refusal(&error))?;
                self.list(|session| session.scan(txn, &options), pair).map(Answer::Pairs)
            }
            Command::Count(selection) => {
                let options = options(selection).map_err(|error| refusal(&error))?;
                let count = self.block(|session| session.scan(txn, &options)?.count_rows(u64::MAX));
                count.map(|count| Answer::Number(count.cast_signed()))
            }
            Command::Nearest { number, rows, prefix } => {
                self.nearest(txn, number, *rows, prefix.as_deref())
            }
            Command::ShowAll => {
                let shown = |row: &Row| {
                    let value = row.value().map(|value| text(&value));
                    (text(row.key()), value, row.txn.map(|txn| txn.0))
                };
                let begin = |session: &mut Session| match txn {
                    None => Ok(session.show_all()),
                    Some(_) => session.scan(txn, &ScanOptions::default()),
                };
                self.list(begin, shown).map(Answer::Shown)
            }
            _ => unreachable!("{command:?} is no read"),
        }
    }
}

impl Client for EngineClient {
    fn ask(&mut self, txn: Option<u64>, command: &Command) -> Result<Answer, Refusal> {
        let id = txn.map(TxnId);
        match command {
            Command::Begin { place, isolation, at, wait } => {
                let options = begin_options(*place, *isolation, *at, *wait);
                let begun = self.block(|session| Ok(session.begin(options)?));
                begun.map(|txn| Answer::Begun(txn.0))
            }
            Command::Commit => self.end(|session| session.commit(id).map(|()| 1)),
            Command::CommitAll => self.end(Session::commit_all),
            Command::Rollback => {
                self.block(|session| Ok(session.rollback(id)?)).map(|()| Answer::Done)
            }
            Command::Put { key, value, condition } => {
                let condition = condition_of(*condition);
                let (key, value, kind) = (key.as_bytes(), value.as_bytes(), ValueKind::Text);
                let put = self.block(|session| session.put(id, key, value, kind, condition));
                put.map(|()| Answer::Done)
            }
            Command::PutFor { key, value, ttl_s } => {
                let (key, value, kind) = (key.as_bytes(), value.as_bytes(), ValueKind::Text);
                let put =
                    self.block(|session| session.put_expiring(id, key, value, kind, None, *ttl_s));
                put.map(|()| Answer::Done)
            }
            Command::Expire { key, ttl_s } => {
                let expired =
                    self.block(|session| session.expire_after(id, key.as_bytes(), *ttl_s));
                expired.map(Answer::Flag)
            }
            Command::Delete { key, version } => {
                let version = version.map(Version);
                let deleted = self.block(|session| session.delete(id, key.as_bytes(), version));
                deleted.map(Answer::Flag)
            }
            Command::Add { key, by } => {
                let sum = self.block(|session| session.add(id, key.as_bytes(), *by));
                sum.map(Answer::Number)
            }
            read => self.read(txn, read),
        }
    }

    fn ask_impatiently(
        &mut self,
        txn: Option<u64>,
        command: &Command,
    ) -> Option<Result<Answer, Refusal>> {
        self.is_impatient = true;
        let told = self.ask(txn, command);
        self.is_impatient = false;
        Some(told).filter(|told| !told.as_ref().is_err_and(|refusal| refusal.code == GIVEN_UP))
    }

    fn ask_alone(&mut self, command: &Command) -> (Result<Answer, Refusal>, Option<u64>) {
        assert!(!self.session.has_open_transactions());
        let before = self.session.last_commit();
        let answer = self.ask(None, command);
        let revision = self.session.last_commit();
        (answer, (revision != before).then_some(revision.0))
    }

    fn ask_and_vanish(&mut self, txn: Option<u64>, command: &Command) {
        let id = txn.map(TxnId);
        // One attempt: what would wait is left in the queue when the session goes.
        match command {
            Command::Put { key, value, .. } => {
                let (key, value) = (key.as_bytes(), value.as_bytes());
                drop(self.session.put(id, key, value, ValueKind::Text, None));
            }
            Command::Scan(selection) => {
                drop(options(selection).map(|options| self.session.scan(id, &options)));
            }
            Command::Get { key, .. } => drop(self.session.get_for_update(id, key.as_bytes())),
            _ => drop(self.session.commit(id)),
        }
        self.vanish();
    }

    fn vanish(&mut self) {
        self.session = self.database.session();
    }
}

fn begin_options(
    place: Place,
    isolation: Option<model::Isolation>,
    at: Option<u64>,
    wait: Option<Duration>,
) -> BeginOptions {
    BeginOptions {
        parent: match place {
            Place::Root => Parent::None,
            Place::Inside(id) => Parent::Txn(TxnId(id)),
            Place::Current => Parent::Current,
        },
        isolation: isolation.map(|isolation| match isolation {
            model::Isolation::Serializable => Isolation::Serializable,
            model::Isolation::Snapshot => Isolation::Snapshot,
            model::Isolation::Readonly => Isolation::Readonly,
        }),
        at: at.map(Revision),
        lock_wait_max: wait,
    }
}

fn isolation_of(isolation: Isolation) -> model::Isolation {
    match isolation {
        Isolation::Serializable => model::Isolation::Serializable,
        Isolation::Snapshot => model::Isolation::Snapshot,
        Isolation::Readonly => model::Isolation::Readonly,
    }
}

fn condition_of(condition: model::Condition) -> Option<kv_core::Condition> {
    match condition {
        model::Condition::Always => None,
        model::Condition::Absent => Some(kv_core::Condition::Absent),
        model::Condition::Present => Some(kv_core::Condition::Present),
        model::Condition::Version(version) => Some(kv_core::Condition::Version(Version(version))),
    }
}

fn options(selection: &Selection) -> Result<ScanOptions, Error> {
    let interval = match &selection.interval {
        Interval::All => kv_core::Interval::all(),
        Interval::Prefix(prefix) => kv_core::Interval::prefix(prefix.as_bytes()),
        Interval::Range(from, to) => kv_core::Interval::range(from.as_bytes(), to.as_bytes()),
    };
    let interval = match &selection.after {
        Some(after) => interval.after(after.as_bytes()),
        None => interval,
    };
    let key = selection.conditions.key.as_ref().map(pattern).transpose()?;
    let value = selection.conditions.value.as_ref().map(value_condition).transpose()?;
    Ok(ScanOptions { interval, conditions: Conditions { key, value }, limit: selection.limit })
}

fn pattern(pattern: &model::Pattern) -> Result<Pattern, Error> {
    match pattern {
        model::Pattern::Glob(glob) => Pattern::glob(glob.as_bytes()),
        model::Pattern::Regex(regex) => Pattern::regex(regex.as_bytes()),
    }
}

fn value_condition(condition: &model::ValueCondition) -> Result<ValueCondition, Error> {
    Ok(match condition {
        model::ValueCondition::Equal(value) => ValueCondition::Equal(value.as_bytes().into()),
        model::ValueCondition::Matches(of) => ValueCondition::Matches(pattern(of)?),
        model::ValueCondition::Range(from, to) => {
            ValueCondition::Within(kv_core::Interval::range(from.as_bytes(), to.as_bytes()))
        }
        model::ValueCondition::Number(low, high) => {
            ValueCondition::between(low.as_bytes(), high.as_bytes())?
        }
    })
}

fn pair(row: &Row) -> (String, String) {
    (text(row.key()), row.value().map(|value| text(&value)).unwrap_or_default())
}

fn refusal(error: &Error) -> Refusal {
    let version = match error {
        Error::Precondition { current, .. } => Some(current.0),
        _ => None,
    };
    assert_ne!(error.code(), "INTERNAL", "{error}");
    Refusal { code: error.code().into(), version }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
