//! The naive engine's commands: those that scripts use, each as the lock that it needs and then
//! a call of the model. What is not in a script is not understood.

use std::time::Duration;

use kv_testkit::model::{
    Bytes, Condition, Conditions, Interval, Isolation, Meta, Pattern, Place, Refusal,
    ValueCondition, only,
};

use crate::locks::{Request, Target, Tree};
use crate::naive::{Flaw, Naive};

/// How far a command gets.
pub(crate) enum Attempt {
    Reply(Vec<String>),
    /// With this lock it may get further, and is tried again.
    NeedsLock(Request),
}

/// Why a command ends without a result: a refusal, or a lock that is missing.
enum Stop {
    Refused(String),
    NeedsLock(Request),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        let version = match refusal {
            Refusal::Precondition(version) => format!("it is at version {version}"),
            _ => "refused".into(),
        };
        Self::Refused(format!("{} {version}", refusal.code()))
    }
}

fn argument() -> Stop {
    Refusal::Argument.into()
}

type Outcome = Result<Vec<String>, Stop>;

/// Runs one line, or says which lock it needs first.
pub(crate) fn attempt(engine: &mut Naive, session: u32, line: &str) -> Attempt {
    let mut words = Words::of(line);
    let name = words.next().unwrap_or_default().to_ascii_uppercase();
    match run(engine, session, &name, words) {
        Ok(reply) => Attempt::Reply(reply),
        Err(Stop::Refused(text)) => Attempt::Reply(vec![format!("ERR {text}")]),
        Err(Stop::NeedsLock(request)) => Attempt::NeedsLock(request),
    }
}

fn run(engine: &mut Naive, session: u32, name: &str, mut words: Words) -> Outcome {
    match name {
        "PING" => one("PONG"),
        "REVISION" => one(engine.model.last_commit(session)),
        "TRANSACTIONS" => list(transaction_rows(engine, session)),
        "LOCKS" => list(lock_rows(engine)),
        "BEGIN" => begin(engine, session, words),
        "COMMIT" | "ROLLBACK" => end(engine, session, name == "COMMIT", words.id()?),
        "COMMITALL" => commit_all(engine, session),
        "SHOWALL" => show_all(engine, session, words.id()?),
        "HISTORY" => history(engine, words),
        "NEAREST" => nearest(engine, session, words),
        "SCAN" | "COUNT" => scan(engine, session, name == "COUNT", words),
        "GET" | "EXISTS" | "META" | "TTL" => read(engine, session, name, words),
        "EXPIRE" | "PERSIST" => expire(engine, session, name == "EXPIRE", words),
        "PUT" => put(engine, session, words),
        "DEL" => {
            let key = words.next_bytes()?;
            let WriteOptions { id, condition, .. } = words.write_options()?;
            write_lock(engine, session, id, &key, true)?;
            let found = engine.model.delete(session, id, &key, condition);
            one(if guarded(engine, session, id, found)? { "OK" } else { "NIL" })
        }
        "INCR" => {
            let key = words.next_bytes()?;
            let WriteOptions { id, by, .. } = words.write_options()?;
            write_lock(engine, session, id, &key, true)?;
            let number = engine.model.increment(session, id, &key, by);
            one(guarded(engine, session, id, number)?)
        }
        _ => Err(Stop::Refused(format!("UNKNOWN {name}"))),
    }
}

fn one(text: impl ToString) -> Outcome {
    Ok(vec![text.to_string()])
}

fn list(mut rows: Vec<String>) -> Outcome {
    rows.push(format!("END {}", rows.len()));
    Ok(rows)
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", String::from_utf8_lossy(bytes))
}

fn value(value: Option<Bytes>) -> String {
    value.map_or("NIL".into(), |value| quoted(&value))
}

// --- locks

fn tree(engine: &Naive, session: u32, id: Option<u64>) -> Tree {
    Tree { session, root: id.map_or(0, |id| engine.model.root(session, id)) }
}

fn isolation(engine: &Naive, session: u32, id: u64) -> Isolation {
    let open = engine.model.open_of(session);
    open.iter().find(|open| open.id == id).map_or(Isolation::Serializable, |open| open.isolation)
}

/// The shared lock of a read: only SERIALIZABLE transactions take one.
fn read_lock(engine: &Naive, session: u32, id: Option<u64>, target: Target) -> Result<(), Stop> {
    let flawed = match &target {
        Target::Range(_) => engine.has(Flaw::NoRangeLocks),
        Target::Key(key) => {
            let is_missing = matches!(engine.model.get(session, id, key), Ok(None));
            is_missing && engine.has(Flaw::MissingKeysAreNotLocked)
        }
    };
    let id = engine.model.runs_in(session, id)?;
    let locks = match id {
        Some(id) => isolation(engine, session, id) == Isolation::Serializable,
        None => engine.has(Flaw::SingleReadsLock),
    };
    if !locks || flawed || engine.has(Flaw::NoReadLocks) {
        return Ok(());
    }
    needs(engine, session, id, target, false, true)
}

/// The exclusive lock of a write.
fn write_lock(
    engine: &mut Naive,
    session: u32,
    id: Option<u64>,
    key: &[u8],
    shows: bool,
) -> Result<(), Stop> {
    let id = engine.model.runs_in(session, id)?;
    if id.is_some_and(|id| isolation(engine, session, id) == Isolation::Readonly) {
        return Err(Refusal::Readonly.into());
    }
    needs(engine, session, id, Target::Key(key.to_vec()), true, shows)?;
    if shows {
        engine.model.judge(session, id, only(key));
    }
    Ok(())
}

fn needs(
    engine: &Naive,
    session: u32,
    id: Option<u64>,
    target: Target,
    exclusive: bool,
    shows: bool,
) -> Result<(), Stop> {
    let tree = tree(engine, session, id);
    let level = id.map_or(1, |id| engine.model.depth(session, id));
    let request = Request { tree, level, target, exclusive, shows };
    if engine.locks.has(&request) { Ok(()) } else { Err(Stop::NeedsLock(request)) }
}

/// A CONFLICT aborts the tree in the model; here its locks go as well.
fn guarded<T>(
    engine: &mut Naive,
    session: u32,
    id: Option<u64>,
    result: Result<T, Refusal>,
) -> Result<T, Stop> {
    if matches!(result, Err(Refusal::Conflict)) {
        let id = id.or_else(|| engine.model.current(session));
        engine.abort(tree(engine, session, id));
    }
    Ok(result?)
}

pub(crate) fn lock_rows(engine: &Naive) -> Vec<String> {
    let rows = engine.locks.rows().into_iter();
    rows.map(|(tree, exclusive, waits)| {
        let mode = if exclusive { "X" } else { "S" };
        let state = if waits { "waiting" } else { "held" };
        format!("{} {} ? {mode} {state} 0", tree.session, tree.root)
    })
    .collect()
}

// --- transactions

fn begin(engine: &mut Naive, session: u32, mut words: Words) -> Outcome {
    let (mut place, mut isolation, mut at, mut wait) = (Place::Root, None, None, None);
    while let Some(word) = words.next() {
        match word.to_ascii_uppercase().as_str() {
            "NESTED" => place = Place::Current,
            "SERIALIZABLE" if engine.has(Flaw::SerializableIsSnapshot) => {
                isolation = Some(Isolation::Snapshot);
            }
            "SNAPSHOT" if engine.has(Flaw::SnapshotIsSerializable) => {
                isolation = Some(Isolation::Serializable);
            }
            "SERIALIZABLE" => isolation = Some(Isolation::Serializable),
            "SNAPSHOT" => isolation = Some(Isolation::Snapshot),
            "READONLY" => isolation = Some(Isolation::Readonly),
            "AT" => at = Some(words.number()?),
            "WAIT" => wait = Some(words.duration()?),
            number => place = Place::Inside(number.parse().map_err(|_| argument())?),
        }
    }
    let id = engine.model.begin(session, place, isolation, at)?;
    if let Some((wait, session)) = wait.zip(engine.sessions.get_mut(&session)) {
        session.patience.insert(id, wait);
    }
    one(format!("OK {id}"))
}

fn end(engine: &mut Naive, session: u32, commits: bool, id: Option<u64>) -> Outcome {
    let id = id.or_else(|| engine.model.current(session)).ok_or(Refusal::NotOpen)?;
    let tree = tree(engine, session, Some(id));
    let level = engine.model.depth(session, id);
    if commits {
        engine.model.commit(session, Some(id))?;
        engine.locks.fold(tree, level);
    } else {
        engine.model.rollback(session, Some(id))?;
        engine.locks.undo(tree, level);
    }
    release_ended(engine, session, &[tree.root]);
    one("OK")
}

fn release_ended(engine: &mut Naive, session: u32, roots: &[u64]) {
    let open: Vec<u64> = engine.model.open_of(session).iter().map(|open| open.id).collect();
    for &root in roots.iter().filter(|root| !open.contains(root)) {
        engine.locks.release(Tree { session, root });
    }
}

fn commit_all(engine: &mut Naive, session: u32) -> Outcome {
    let roots: Vec<u64> = engine.model.open_of(session).iter().map(|open| open.id).collect();
    let (ended, failed) = engine.model.commit_all(session);
    release_ended(engine, session, &roots);
    if failed.is_empty() {
        return one(format!("OK {ended}"));
    }
    let failed: Vec<String> = failed.iter().map(u64::to_string).collect();
    Err(Stop::Refused(format!("ABORTED {ended} committed; {} not: aborted", failed.join(", "))))
}

fn transaction_rows(engine: &Naive, session: u32) -> Vec<String> {
    let open = engine.model.open_of(session).into_iter();
    open.map(|open| {
        let parent = open.parent.map_or("-".into(), |parent| parent.to_string());
        let state = if open.aborted { "aborted" } else { "open" };
        format!("{} {parent} {:?} {state} 0 0", open.id, open.isolation)
    })
    .collect()
}

// --- reads

fn read(engine: &mut Naive, session: u32, name: &str, mut words: Words) -> Outcome {
    let key = words.next_bytes()?;
    let (mut id, mut update) = (None, false);
    while let Some(word) = words.next() {
        match word.to_ascii_uppercase().as_str() {
            "VERSION" => return one(value(engine.model.get_version(&key, words.number()?))),
            "AT" => return one(value(engine.model.get_at(&key, words.number()?)?)),
            "FOR" => update = words.next().is_some(),
            number => id = Some(number.parse().map_err(|_| argument())?),
        }
    }
    if update {
        engine.model.runs_in(session, id)?.ok_or(Refusal::Argument)?;
        write_lock(engine, session, id, &key, true)?;
        let checked = engine.model.writes_in(session, id, &key);
        guarded(engine, session, id, checked)?;
    } else {
        read_lock(engine, session, id, Target::Key(key.clone()))?;
        if !engine.model.has_written(session, id, &key) {
            engine.model.judge(session, id, only(&key));
        }
    }
    match name {
        "EXISTS" => one(u8::from(engine.model.exists(session, id, &key)?)),
        "META" => match engine.model.meta(session, id, &key)? {
            None => one("NIL"),
            Some(meta) => {
                let revision = meta.revision.map_or("-".into(), |revision| revision.to_string());
                let (version, bytes, ttl) = (meta.version, meta.bytes, ttl(meta));
                one(format!(
                    "\"version={version} revision={revision} type=text bytes={bytes} updated=0 \
                     ttl={ttl}\""
                ))
            }
        },
        "TTL" => one(engine.model.meta(session, id, &key)?.map_or("NIL".into(), ttl)),
        _ => one(value(engine.model.get(session, id, &key)?)),
    }
}

/// The seconds that are left, as clients see them.
fn ttl(meta: Meta) -> String {
    meta.ttl_ms.map_or("-1".into(), |ttl_ms| ttl_ms.div_ceil(1000).to_string())
}

fn history(engine: &Naive, mut words: Words) -> Outcome {
    let key = words.next_bytes()?;
    let limit = if words.next().is_some() { words.number()? } else { u64::MAX };
    let versions = engine.model.history(&key).into_iter().take(limit as usize);
    let row = |version: kv_testkit::model::Version| {
        format!("{} {} 0 {}", version.version, version.revision, value(version.value))
    };
    list(versions.map(row).collect())
}

fn show_all(engine: &mut Naive, session: u32, id: Option<u64>) -> Outcome {
    if id.is_some() {
        let pairs = engine.model.scan(session, id, &Interval::default())?;
        return list(pairs.iter().map(pair).collect());
    }
    let rows = engine.model.show_all(session).into_iter();
    let rows = rows.map(|(key, shown, owner)| {
        let owner = owner.map_or(String::new(), |owner| format!(" {owner}"));
        format!("{} {}{owner}", quoted(&key), value(shown))
    });
    list(rows.collect())
}

fn scan(engine: &mut Naive, session: u32, counts: bool, mut words: Words) -> Outcome {
    let (mut interval, mut limit, mut id) = (Interval::default(), None, None);
    let mut conditions = Conditions::default();
    while let Some(word) = words.next() {
        match word.to_ascii_uppercase().as_str() {
            "PREFIX" => interval = Interval::prefix(&words.next_bytes()?),
            "RANGE" => {
                interval.from = words.next_bytes()?;
                interval.to = Some(words.next_bytes()?);
            }
            "AFTER" => interval.after = Some(words.next_bytes()?),
            "LIMIT" => limit = Some(words.number()? as usize),
            "VALUE" => conditions.value = Some(words.value_condition()?),
            "MATCH" => conditions.key = Some(Pattern::Glob(words.needed()?)),
            "REGEX" => conditions.key = Some(Pattern::Regex(words.needed()?)),
            number => id = Some(number.parse().map_err(|_| argument())?),
        }
    }
    let wanted = Interval { limit, ..interval.clone() };
    let pairs = engine.model.select(session, id, &wanted, &conditions)?;
    interval = conditions.examined(&interval);
    if let Some((last, _)) = pairs.last().filter(|_| limit == Some(pairs.len())) {
        interval.to = Some([last.as_slice(), &[0]].concat());
    }
    read_lock(engine, session, id, Target::Range(interval.clone()))?;
    engine.model.judge(session, id, interval);
    if counts {
        return one(pairs.len());
    }
    list(pairs.iter().map(pair).collect())
}

fn nearest(engine: &mut Naive, session: u32, mut words: Words) -> Outcome {
    let (x, rows) = (words.needed()?, words.number()?);
    let (mut interval, mut id) = (Interval::default(), None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "PREFIX" => interval = Interval::prefix(&words.next_bytes()?),
            number => id = Some(number.parse().map_err(|_| argument())?),
        }
    }
    if rows > 0 {
        read_lock(engine, session, id, Target::Range(interval.clone()))?;
    }
    let pairs = engine.model.nearest(session, id, &x, rows, &interval)?;
    list(pairs.iter().map(pair).collect())
}

fn pair((key, value): &(Bytes, Bytes)) -> String {
    format!("{} {}", quoted(key), quoted(value))
}

fn put(engine: &mut Naive, session: u32, mut words: Words) -> Outcome {
    let (key, value) = (words.next_bytes()?, words.next_bytes()?);
    let WriteOptions { id, condition, ttl_ms, .. } = words.write_options()?;
    write_lock(engine, session, id, &key, condition != Condition::Always)?;
    let done = match ttl_ms {
        None => engine.model.put(session, id, &key, &value, condition),
        Some(ttl_ms) => engine.model.put_expiring(session, id, &key, &value, ttl_ms),
    };
    guarded(engine, session, id, done)?;
    one("OK")
}

fn expire(engine: &mut Naive, session: u32, expires: bool, mut words: Words) -> Outcome {
    let key = words.next_bytes()?;
    let ttl_ms = if expires { Some(words.seconds()?) } else { None };
    let id = words.id()?;
    write_lock(engine, session, id, &key, true)?;
    let found = engine.model.expire(session, id, &key, ttl_ms);
    one(if guarded(engine, session, id, found)? { "OK" } else { "NIL" })
}

// --- words

/// What a write says beside key and value.
struct WriteOptions {
    id: Option<u64>,
    condition: Condition,
    by: i64,
    ttl_ms: Option<u64>,
}

/// Longer times to live are beyond what clocks hold.
const SECONDS_MAX: u64 = 1 << 32;

/// The words of a line, from first to last.
struct Words(std::vec::IntoIter<String>);

impl Words {
    fn of(line: &str) -> Self {
        let mut words = vec![String::new()];
        let mut is_quoted = false;
        for c in line.chars() {
            match (c, words.last_mut()) {
                ('"', _) => is_quoted = !is_quoted,
                (' ', _) if !is_quoted => words.push(String::new()),
                (_, Some(word)) => word.push(c),
                (_, None) => {}
            }
        }
        words.retain(|word| !word.is_empty());
        Self(words.into_iter())
    }

    fn next(&mut self) -> Option<String> {
        self.0.next()
    }

    fn next_bytes(&mut self) -> Result<Bytes, Stop> {
        Ok(self.needed()?.into_bytes())
    }

    fn number(&mut self) -> Result<u64, Stop> {
        self.next().and_then(|word| word.parse().ok()).ok_or_else(argument)
    }

    fn needed(&mut self) -> Result<String, Stop> {
        self.next().ok_or_else(argument)
    }

    /// What follows VALUE.
    fn value_condition(&mut self) -> Result<ValueCondition, Stop> {
        let kind = self.needed()?;
        let mut next = || self.needed();
        Ok(match kind.as_str() {
            "EQ" => ValueCondition::Equal(next()?),
            "MATCH" => ValueCondition::Matches(Pattern::Glob(next()?)),
            "REGEX" => ValueCondition::Matches(Pattern::Regex(next()?)),
            "RANGE" => ValueCondition::Range(next()?, next()?),
            _ => ValueCondition::Number(next()?, next()?),
        })
    }

    fn id(&mut self) -> Result<Option<u64>, Stop> {
        self.next().map(|word| word.parse().map_err(|_| argument())).transpose()
    }

    fn duration(&mut self) -> Result<Duration, Stop> {
        let word = self.next().ok_or_else(argument)?;
        let digits = word.strip_suffix("ms").unwrap_or(&word);
        digits.parse().map(Duration::from_millis).map_err(|_| argument())
    }

    /// A time to live, in milliseconds.
    fn seconds(&mut self) -> Result<u64, Stop> {
        match self.number()? {
            seconds @ 1..SECONDS_MAX => Ok(seconds * 1000),
            _ => Err(argument()),
        }
    }

    /// `[id] [EX seconds] [IF ABSENT|IF PRESENT|IF VERSION n] [BY n]`
    fn write_options(&mut self) -> Result<WriteOptions, Stop> {
        let (mut id, mut condition, mut by, mut ttl_ms) = (None, Condition::Always, 1, None);
        while let Some(word) = self.next() {
            match word.as_str() {
                "IF" => {}
                "ABSENT" => condition = Condition::Absent,
                "PRESENT" => condition = Condition::Present,
                "VERSION" => condition = Condition::Version(self.number()?),
                "EX" => ttl_ms = Some(self.seconds()?),
                "BY" => by = self.next().and_then(|word| word.parse().ok()).ok_or_else(argument)?,
                number => id = Some(number.parse().map_err(|_| argument())?),
            }
        }
        Ok(WriteOptions { id, condition, by, ttl_ms })
    }
}
