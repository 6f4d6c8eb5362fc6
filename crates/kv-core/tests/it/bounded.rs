//! A store with a memory bound over one that has everything, beside a store without a bound: they
//! must answer the same, whatever has left memory and come back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_core::clock::ManualClock;
use kv_core::{
    BeginOptions, Builder, Change, CommitLog, CommitSize, Condition, Database, Error, Eviction,
    Fetched, Fetcher, Holds, Interval, Isolation, Older, Page, PageRequest, Parent, Pause, Payload,
    Place, Revision, ScanOptions, Session, Stamp, Step, ValueKind, Version, Watermark,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// A log, and what is folded of it: of each key as many versions as are kept, and no more.
pub(crate) struct Cellar {
    holds: Holds,
    history: usize,
    logged: Mutex<Vec<(Stamp, Vec<u8>)>>,
    stored: Mutex<BTreeMap<Vec<u8>, Vec<Fetched>>>,
    durable: Arc<Watermark>,
    fetches: AtomicU64,
    /// Done between the next read of a key and its answer.
    after_next_read: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for Cellar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cellar").field("holds", &self.holds).finish_non_exhaustive()
    }
}

impl Cellar {
    pub(crate) fn new(holds: Holds, history: usize) -> Arc<Cellar> {
        Arc::new(Cellar {
            holds,
            history,
            logged: Mutex::default(),
            stored: Mutex::default(),
            durable: Watermark::new(u64::MAX),
            fetches: AtomicU64::new(0),
            after_next_read: Mutex::default(),
        })
    }

    pub(crate) fn open(self: &Arc<Self>, builder: &mut Builder) -> Database {
        let last = Stamp { revision: Revision(0), time_ms: 0 };
        builder.fetcher(self.clone()).history(Some(self.history));
        builder.loader().open(last, Some(self.clone()))
    }

    /// Folds all that has been logged.
    pub(crate) fn fold(&self, db: &Database) {
        let logged = std::mem::take(&mut *self.logged.lock().unwrap());
        let Some(&(Stamp { revision, .. }, _)) = logged.last() else { return };
        let mut stored = self.stored.lock().unwrap();
        for (stamp, payload) in &logged {
            let (is_wipe, mut rest) = match payload.strip_prefix(&WIPE[..]) {
                Some(rest) => (true, rest),
                None => (false, &payload[..]),
            };
            while !rest.is_empty() {
                let (key, fetched) = decode(&mut rest, *stamp);
                let versions = stored.entry(key).or_default();
                let before = versions.last().map(|last: &Fetched| last.version.0);
                assert!(before.is_none_or(|before| before + 1 == fetched.version.0));
                self.push(versions, fetched);
            }
            for versions in stored.values_mut().filter(|_| is_wipe) {
                let Some(last) = versions.last() else { continue };
                if last.value.is_some() && last.stamp.revision < stamp.revision {
                    let version = Version(last.version.0 + 1);
                    let delete = Fetched { version, stamp: *stamp, value: None, expires_ms: None };
                    self.push(versions, delete);
                }
            }
        }
        drop(stored);
        db.note_folded(revision);
    }

    fn push(&self, versions: &mut Vec<Fetched>, newest: Fetched) {
        versions.push(newest);
        let kept = versions.len().min(self.history);
        versions.drain(..versions.len() - kept);
    }

    /// Forgets a key; the engine is still to be told.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.stored.lock().unwrap().remove(key);
    }

    pub(crate) fn after_next_read(&self, act: impl FnOnce() + Send + 'static) {
        *self.after_next_read.lock().unwrap() = Some(Box::new(act));
    }

    /// How often something was fetched.
    pub(crate) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    fn count_fetch(&self) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
    }
}

fn decode(rest: &mut &[u8], stamp: Stamp) -> (Vec<u8>, Fetched) {
    let mut take = |len: usize| {
        let (taken, left) = rest.split_at(len);
        *rest = left;
        taken.to_vec()
    };
    let mut number = || u64::from_le_bytes(take(8).try_into().unwrap());
    let [version, kind, expires, key_len, value_len] = [(); 5].map(|()| number());
    let (key, value) = (take(key_len as usize), take(value_len as usize));
    let value = match kind {
        0 => None,
        1 => Some((value, ValueKind::Text)),
        _ => Some((value, ValueKind::Json)),
    };
    let expires_ms = Some(expires).filter(|&at| at != 0);
    (key, Fetched { version: Version(version), stamp, value, expires_ms })
}

/// What the payload of a commit that deletes all else begins with.
const WIPE: [u8; 8] = [0xff; 8];

impl CommitLog for Cellar {
    fn reserve(&self, _size: CommitSize) -> Step<u64> {
        Ok(0)
    }

    fn release(&self, _reserved: u64) {}

    fn encode(&self, changes: &mut dyn Iterator<Item = Change<'_>>, payload: &mut Payload) {
        for Change { key, version, datum } in changes {
            let kind = datum.map_or(0, |datum| 1 + u64::from(datum.kind == ValueKind::Json));
            let expires = datum.and_then(|datum| datum.expires_ms).unwrap_or(0);
            let value = datum.map_or(&[][..], |datum| datum.bytes);
            for number in [version.0, kind, expires, key.len() as u64, value.len() as u64] {
                payload.extend_from_slice(&number.to_le_bytes());
            }
            payload.extend_from_slice(key);
            payload.extend_from_slice(value);
        }
    }

    fn encode_wipe(&self, payload: &mut Payload) {
        payload.extend_from_slice(&WIPE);
    }

    fn append(&self, stamp: Stamp, payload: &mut Payload, _reserved: u64) {
        self.logged.lock().unwrap().push((stamp, payload.to_vec()));
    }

    fn appended(&self) {}

    fn durable(&self) -> Arc<Watermark> {
        Arc::clone(&self.durable)
    }
}

impl Fetcher for Cellar {
    fn value(&self, key: &[u8], version: Version, _place: Place) -> Result<Vec<u8>, Error> {
        self.count_fetch();
        let stored = self.stored.lock().unwrap();
        let versions = stored.get(key).into_iter().flatten();
        let found = versions.rev().find(|fetched| fetched.version == version);
        let value = found.and_then(|found| found.value.clone());
        value.map(|(bytes, _)| bytes).ok_or_else(|| Error::Io(format!("{version} is not stored")))
    }

    fn older(&self, key: &[u8], older: Older) -> Result<Vec<Fetched>, Error> {
        self.count_fetch();
        let stored = self.stored.lock().unwrap();
        let mut found = Vec::new();
        for fetched in stored.get(key).into_iter().flatten().rev() {
            if fetched.version >= older.below || found.len() == older.limit {
                continue;
            }
            found.push(fetched.clone());
            if older.until.is_some_and(|until| fetched.stamp.revision <= until)
                || older.down_to.is_some_and(|down_to| fetched.version <= down_to)
            {
                break;
            }
        }
        Ok(found)
    }

    fn holds(&self) -> Holds {
        self.holds
    }

    fn newest(&self, key: &[u8]) -> Result<Option<Fetched>, Error> {
        assert_eq!(self.holds, Holds::Keys);
        self.count_fetch();
        let found = self.stored.lock().unwrap().get(key).and_then(|found| found.last().cloned());
        let act = self.after_next_read.lock().unwrap().take();
        act.into_iter().for_each(|act| act());
        Ok(found)
    }

    fn page(&self, wanted: &PageRequest) -> Result<Page, Error> {
        assert_eq!(self.holds, Holds::Keys);
        self.count_fetch();
        let mut page = Page::default();
        for (key, versions) in &*self.stored.lock().unwrap() {
            if !wanted.interval.contains(key) {
                continue;
            }
            if page.rows.len() == wanted.rows_max {
                page.next_from = Some(key.as_slice().into());
                break;
            }
            page.rows.extend(versions.last().map(|newest| (key.clone(), newest.clone())));
        }
        Ok(page)
    }
}

/// Calls an operation until it has a result.
pub(crate) fn run<T>(
    session: &mut Session,
    mut operation: impl FnMut(&mut Session) -> Step<T>,
) -> Result<T, Error> {
    loop {
        match operation(session) {
            Ok(done) => return Ok(done),
            Err(Pause::Fetch(fetch)) => session.database().fetch(&fetch)?,
            Err(Pause::Yield) => {}
            // Room is made in both stores at once.
            Err(Pause::Room(_)) => {
                return Err(Error::OutOfMemory { bytes: 0, bytes_max: 0, is_too_large: false });
            }
            Err(Pause::Failed(error)) => return Err(*error),
            Err(pause) => panic!("nobody waits here, yet {pause:?}"),
        }
    }
}

/// What is done to both stores.
#[derive(Debug, Clone)]
enum Command {
    Begin(usize, Isolation, bool),
    Commit(usize),
    Rollback(usize),
    Put(usize, Index, usize, Option<u64>),
    PutIf(usize, Index, u64),
    Add(usize, Index),
    Delete(usize, Index),
    Expire(usize, Index, Option<u64>),
    DeleteAll(usize),
    Get(usize, Index, bool),
    Meta(usize, Index),
    Version(usize, Index, u64),
    At(usize, Index, Index),
    History(usize, Index),
    Scan(usize, Index, Index, Option<u64>),
    ShowAll(usize),
    Wait(u64),
    /// To the bounded one only.
    Fold,
    Sweep,
}

const SESSIONS: usize = 4;
const KEYS: usize = 48;

fn key(index: &Index) -> Vec<u8> {
    format!("key{:02}", index.index(KEYS)).into_bytes()
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let of = || 0..SESSIONS;
    let isolation = prop_oneof![
        Just(Isolation::Serializable),
        Just(Isolation::Snapshot),
        Just(Isolation::Readonly)
    ];
    let index = any::<Index>;
    let command = prop_oneof![
        4 => (of(), isolation, any::<bool>()).prop_map(|(s, i, n)| Command::Begin(s, i, n)),
        4 => of().prop_map(Command::Commit),
        2 => of().prop_map(Command::Rollback),
        14 => (of(), index(), 0..500usize, prop::option::weighted(0.2, 1..60u64))
            .prop_map(|(s, k, len, ttl)| Command::Put(s, k, len, ttl)),
        2 => (of(), index(), 0..3u64).prop_map(|(s, k, n)| Command::PutIf(s, k, n)),
        2 => (of(), index()).prop_map(|(s, k)| Command::Add(s, k)),
        4 => (of(), index()).prop_map(|(s, k)| Command::Delete(s, k)),
        2 => (of(), index(), prop::option::of(1..60u64))
            .prop_map(|(s, k, ttl)| Command::Expire(s, k, ttl)),
        1 => of().prop_map(Command::DeleteAll),
        14 => (of(), index(), any::<bool>()).prop_map(|(s, k, u)| Command::Get(s, k, u)),
        2 => (of(), index()).prop_map(|(s, k)| Command::Meta(s, k)),
        2 => (of(), index(), 0..6u64).prop_map(|(s, k, n)| Command::Version(s, k, n)),
        2 => (of(), index(), index()).prop_map(|(s, k, at)| Command::At(s, k, at)),
        2 => (of(), index()).prop_map(|(s, k)| Command::History(s, k)),
        4 => (of(), index(), index(), prop::option::of(0..6u64))
            .prop_map(|(s, from, to, limit)| Command::Scan(s, from, to, limit)),
        1 => of().prop_map(Command::ShowAll),
        1 => (0..20_000u64).prop_map(Command::Wait),
        12 => Just(Command::Fold),
        4 => Just(Command::Sweep),
    ];
    prop::collection::vec(command, 0..600)
}

/// What one of the two stores has to keep to.
#[derive(Debug, Clone, Copy)]
struct Bound {
    bytes_max: usize,
    eviction: Eviction,
}

fn bounds() -> impl Strategy<Value = Bound> {
    let eviction = prop_oneof![Just(Eviction::Lru), Just(Eviction::S3Fifo)];
    (2_400..12_000usize, eviction).prop_map(|(bytes_max, eviction)| Bound { bytes_max, eviction })
}

/// One of the two stores, with its sessions.
struct Store {
    db: Database,
    cellar: Arc<Cellar>,
    clock: Arc<ManualClock>,
    sessions: Vec<Session>,
}

impl Store {
    fn new(holds: Holds, history: usize, shards: usize, bound: Option<Bound>) -> Store {
        let (cellar, clock) = (Cellar::new(holds, history), Arc::new(ManualClock::new(1000)));
        let mut builder = Database::builder();
        builder.shards(shards).clock(clock.clone());
        if let Some(Bound { bytes_max, eviction }) = bound {
            builder.memory_max(Some(bytes_max)).eviction(eviction);
        }
        builder.lock_timeout(Some(Duration::ZERO));
        let db = cellar.open(&mut builder);
        let sessions = (0..SESSIONS).map(|_| db.session()).collect();
        Store { db, cellar, clock, sessions }
    }

    fn scan(&mut self, session: usize, options: &ScanOptions) -> Result<String, Error> {
        let session = &mut self.sessions[session];
        let mut scan = run(session, |session| session.scan(None, options))?;
        let mut rows = String::new();
        while let Some(row) = run(session, |_| scan.next_row())? {
            rows += &format!("{} {:?}; ", row.key().escape_ascii(), row.value());
        }
        Ok(rows)
    }

    /// Ends all transactions, and has keys give way.
    fn make_room(&mut self) {
        self.sessions.iter_mut().for_each(Session::rollback_all);
        self.cellar.fold(&self.db);
        self.db.sweep();
    }

    /// Whether a command asks for a version that need not be kept.
    fn may_be_pruned(&mut self, command: &Command) -> bool {
        let (Command::Version(session, index, _) | Command::At(session, index, _)) = command else {
            return false;
        };
        let session = &mut self.sessions[*session];
        let kept = run(session, |session| session.history(&key(index), None)).unwrap();
        let wanted = match command {
            Command::Version(_, _, version) => {
                kept.iter().position(|past| past.version.0 <= *version)
            }
            Command::At(_, _, at) => {
                let at = at.index(self.db.revision().0 as usize + 1) as u64;
                kept.iter().position(|past| past.revision.0 <= at)
            }
            _ => None,
        };
        wanted.is_none_or(|at| at >= self.cellar.history)
    }

    /// Does it, and answers all that can be seen of it.
    fn execute(&mut self, command: &Command) -> Result<String, Error> {
        let shown = match command {
            &Command::Begin(session, isolation, is_nested) => {
                let session = &mut self.sessions[session];
                let is_nested = is_nested && session.current().is_some();
                let options = match is_nested {
                    true => BeginOptions { parent: Parent::Current, ..BeginOptions::default() },
                    false => BeginOptions { isolation: Some(isolation), ..BeginOptions::default() },
                };
                format!("{:?}", session.begin(options)?)
            }
            &Command::Commit(session) => {
                format!("{:?}", run(&mut self.sessions[session], |s| s.commit(None))?)
            }
            &Command::Rollback(session) => {
                format!("{:?}", self.sessions[session].rollback(None)?)
            }
            Command::Get(session, index, for_update) => {
                let get = |s: &mut Session| match for_update {
                    true => s.get_for_update(None, &key(index)),
                    false => s.get(None, &key(index)),
                };
                format!("{:?}", run(&mut self.sessions[*session], get)?)
            }
            Command::Meta(session, index) => {
                format!("{:?}", run(&mut self.sessions[*session], |s| s.meta(None, &key(index)))?)
            }
            Command::Version(session, index, version) => {
                let get = |s: &mut Session| s.get_version(&key(index), Version(*version));
                format!("{:?}", run(&mut self.sessions[*session], get)?)
            }
            Command::At(session, index, at) => {
                let at = Revision(at.index(self.db.revision().0 as usize + 1) as u64);
                let get = |s: &mut Session| s.get_at(&key(index), at);
                format!("{:?}", run(&mut self.sessions[*session], get)?)
            }
            Command::History(session, index) => {
                // Beyond those that are kept it may show what views need.
                let limit = Some(self.cellar.history as u64);
                let history = |s: &mut Session| s.history(&key(index), limit);
                format!("{:?}", run(&mut self.sessions[*session], history)?)
            }
            Command::Scan(session, from, to, limit) => {
                let interval = Interval::range(&key(from), &key(to));
                let options = ScanOptions { limit: *limit, ..ScanOptions::of(interval) };
                self.scan(*session, &options)?
            }
            Command::Wait(ms) => {
                self.clock.advance(Duration::from_millis(*ms));
                String::new()
            }
            Command::Fold => {
                self.cellar.fold(&self.db);
                String::new()
            }
            Command::Sweep => {
                self.db.end_expired();
                self.db.sweep();
                String::new()
            }
            Command::ShowAll(session) => self.show_all(*session)?,
            write => self.write(write)?,
        };
        Ok(shown)
    }

    fn show_all(&mut self, session: usize) -> Result<String, Error> {
        let session = &mut self.sessions[session];
        let mut scan = session.show_all();
        let mut rows = String::new();
        while let Some(row) = run(session, |_| scan.next_row())? {
            rows += &format!("{:?} {:?} {:?}; ", row.key(), row.value(), row.txn);
        }
        Ok(rows)
    }

    fn write(&mut self, command: &Command) -> Result<String, Error> {
        let kind = ValueKind::Text;
        let shown = match command {
            Command::Put(session, index, len, ttl) => {
                let (key, value) = (key(index), vec![b'v'; *len]);
                run(&mut self.sessions[*session], |s| match ttl {
                    None => s.put(None, &key, &value, kind, None),
                    Some(ttl) => s.put_expiring(None, &key, &value, kind, None, *ttl),
                })?;
                String::new()
            }
            Command::PutIf(session, index, number) => {
                let condition = match number {
                    0 => Condition::Absent,
                    1 => Condition::Present,
                    version => Condition::Version(Version(*version)),
                };
                let key = key(index);
                let put = |s: &mut Session| s.put(None, &key, b"7", kind, Some(condition));
                format!("{:?}", run(&mut self.sessions[*session], put)?)
            }
            Command::Add(session, index) => {
                format!("{}", run(&mut self.sessions[*session], |s| s.add(None, &key(index), 3))?)
            }
            Command::Delete(session, index) => {
                let delete = |s: &mut Session| s.delete(None, &key(index), None);
                format!("{}", run(&mut self.sessions[*session], delete)?)
            }
            Command::Expire(session, index, ttl) => {
                let expire = |s: &mut Session| s.expire_after(None, &key(index), *ttl);
                format!("{}", run(&mut self.sessions[*session], expire)?)
            }
            Command::DeleteAll(session) => {
                let delete_all = |s: &mut Session| s.delete_all(None);
                format!("{:?}", run(&mut self.sessions[*session], delete_all)?)
            }
            other => panic!("{other:?} is no write"),
        };
        Ok(shown)
    }
}

/// Runs the same on a store with a bound and on one without.
fn agree(holds: Holds, history: usize, shards: usize, bound: Bound, commands: &[Command]) {
    let mut bounded = Store::new(holds, history, shards, Some(bound));
    let mut unbounded = Store::new(Holds::Nothing, history, shards, None);
    let mut wiped = None;
    for (at, command) in commands.iter().enumerate() {
        if at % 8 == 7 {
            bounded.cellar.fold(&bounded.db);
        }
        let answer = bounded.execute(command);
        if matches!(answer, Err(Error::OutOfMemory { .. })) {
            // Open transactions hold what could give way; the other store cannot refuse as much.
            bounded.make_room();
            unbounded.make_room();
            continue;
        }
        let expected = match command {
            Command::Fold | Command::Sweep => Ok(String::new()),
            command => unbounded.execute(command),
        };
        // Which of several holders an error names is chance.
        let [answer, expected] = [answer, expected].map(|it| it.map_err(|error| error.code()));
        if matches!(answer, Err("PRUNED" | "IO")) && wiped.is_some() {
            // Of what was not in memory when all was deleted, no more is kept than the history.
            continue;
        }
        if expected.is_ok() && matches!(command, Command::DeleteAll(_)) {
            wiped = Some(at);
        }
        if [&answer, &expected].contains(&&Err("PRUNED")) && unbounded.may_be_pruned(command) {
            continue;
        }
        assert_eq!(answer, expected, "command {at}: {command:?}");
    }
    for store in [&mut bounded, &mut unbounded] {
        store.sessions.clear();
        store.db.check_idle().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(144))]

    #[test]
    fn what_has_left_memory_is_still_there(
        commands in commands(),
        history in 1..4usize,
        shards in 2..5usize,
        bound in bounds(),
    ) {
        agree(Holds::Keys, history, shards, bound, &commands);
    }

    #[test]
    fn values_that_have_left_memory_are_still_there(
        commands in commands(),
        history in 1..4usize,
        bound in bounds(),
    ) {
        agree(Holds::Values, history, 3, bound, &commands);
    }
}
