//! One of the two stores, with its sessions.

use std::sync::atomic::Ordering::Relaxed;

use kv_core::{Condition, Interval, Parent, Pause, Session, Step, Version};

use super::commands::{SESSIONS, key};
use super::*;

pub(super) struct Side {
    sessions: Vec<Session>,
    db: Database,
    files: Option<Files>,
    history: usize,
    /// The newest revision when it was opened last: the times of those before are not known.
    opened_at: Revision,
}

struct Files {
    store: Store,
    setting: Setting,
    clock: Arc<ManualClock>,
    counts: Arc<Counts>,
}

fn builder(history: usize, clock: &Arc<ManualClock>) -> Builder {
    let mut builder = Database::builder();
    builder.history(Some(history)).clock(Arc::clone(clock) as _).view_age_max(Duration::MAX);
    builder.lock_timeout(Some(Duration::ZERO));
    builder
}

impl Files {
    fn open(
        mut setting: Setting,
        opening: Opening,
        clock: &Arc<ManualClock>,
        counts: &Arc<Counts>,
    ) -> Files {
        let mut builder = builder(setting.history, clock);
        // Indexes and a filter that each shard has, however few its keys are.
        setting.bytes_max = setting.bytes_max_of_keys + 12_500 * opening.shards;
        let bytes_max = opening.bytes_max.unwrap_or(setting.bytes_max);
        builder.shards(opening.shards).memory_max(Some(bytes_max));
        let store = Store::open(setting.options.clone(), &mut builder).unwrap();
        let shards = store.database().shards();
        let not_here = shards.iter().map(|shard| shard.keys.saturating_sub(shard.resident_keys));
        counts.left_out.fetch_add(not_here.sum::<usize>() as u64, Relaxed);
        store.database().set_memory_max(setting.bytes_max);
        Files { store, setting, clock: Arc::clone(clock), counts: Arc::clone(counts) }
    }

    fn open_again(self, opening: Opening) -> Files {
        let Files { store, setting, clock, counts } = self;
        for shard in store.database().shards() {
            counts.evictions.fetch_add(shard.evictions, Relaxed);
            counts.fetches.fetch_add(shard.fetches, Relaxed);
        }
        if opening.is_closed_before {
            store.close(Duration::from_secs(60)).unwrap();
        }
        drop(store);
        Files::open(setting, opening, &clock, &counts)
    }
}

impl Side {
    pub(super) fn with_files(
        setting: Setting,
        opening: Opening,
        clock: &Arc<ManualClock>,
        counts: &Arc<Counts>,
    ) -> Side {
        let history = setting.history;
        let files = Files::open(setting, opening, clock, counts);
        let db = files.store.database().clone();
        Side::new(db, Some(files), history)
    }

    pub(super) fn without_files(history: usize, clock: &Arc<ManualClock>) -> Side {
        Side::new(builder(history, clock).open(), None, history)
    }

    fn new(db: Database, files: Option<Files>, history: usize) -> Side {
        let mut side = Side { sessions: Vec::new(), db, files, history, opened_at: Revision(0) };
        side.open_sessions();
        side
    }

    pub(super) fn open_sessions(&mut self) {
        self.sessions = (0..SESSIONS).map(|_| self.db.session()).collect();
    }

    pub(super) fn end_all(&mut self) {
        self.sessions.iter_mut().for_each(Session::rollback_all);
    }

    pub(super) fn keys(&self) -> usize {
        self.db.stats().keys
    }

    pub(super) fn finish(mut self) {
        self.sessions.clear();
        self.db.check_idle().unwrap();
        if let Some(files) = self.files.take() {
            files.store.checkpoint().checkpoint().unwrap();
            let options = files.setting.options.clone();
            drop((self, files));
            let found = kv_persist::verify::verify(options).unwrap();
            assert_eq!(found.faults, Vec::<String>::new());
        }
    }

    /// Has everything leave memory that can.
    pub(super) fn empty_memory(&self) {
        let Some(files) = &self.files else { return };
        files.store.checkpoint().checkpoint().unwrap();
        self.db.set_memory_max(0);
        self.db.sweep();
        self.db.set_memory_max(files.setting.bytes_max);
    }

    fn open_again(&mut self, opening: Opening) {
        self.sessions.clear();
        if let Some(files) = self.files.take() {
            self.db.check_idle().unwrap();
            // The last handle of the store that is closed.
            self.db = Database::builder().open();
            let files = files.open_again(opening);
            self.db = files.store.database().clone();
            self.files = Some(files);
        }
        self.opened_at = self.db.revision();
        self.open_sessions();
    }

    /// Calls an operation of a session until it has a result, and until that is durable.
    fn run<T>(
        &mut self,
        session: usize,
        mut operation: impl FnMut(&mut Session) -> Step<T>,
    ) -> Result<T, kv_core::Error> {
        let session = &mut self.sessions[session];
        let done = loop {
            match operation(session) {
                Ok(done) => break done,
                Err(Pause::Fetch(fetch)) => self.db.fetch(&fetch)?,
                Err(Pause::Yield) => {}
                Err(Pause::Room(room)) => {
                    let store = &self.files.as_ref().unwrap().store;
                    store.checkpoint().checkpoint().unwrap();
                    room.block().unwrap();
                }
                Err(Pause::Failed(error)) => return Err(*error),
                Err(pause) => panic!("nobody waits here, yet {pause:?}"),
            }
        };
        self.db.settle(session.depends_on())?;
        Ok(done)
    }

    /// Whether a command asks for a version that need not be kept.
    pub(super) fn may_be_pruned(&mut self, command: &Command) -> bool {
        let kept = |side: &mut Side, session: usize, key: &[u8]| {
            side.run(session, |session| session.history(key, None)).unwrap()
        };
        let place = match command {
            Command::Version(session, index, version) => {
                kept(self, *session, &key(index)).iter().position(|past| past.version.0 <= *version)
            }
            Command::At(session, index, at) => {
                let at = self.revision(at);
                kept(self, *session, &key(index)).iter().position(|past| past.revision <= at)
            }
            // In a transaction that reads the past.
            _ => None,
        };
        place.is_none_or(|place| place >= self.history)
    }

    fn revision(&self, at: &proptest::sample::Index) -> Revision {
        let since = self.db.revision().0 - self.opened_at.0;
        Revision(self.opened_at.0 + at.index(since as usize + 1) as u64)
    }

    fn begin(&mut self, command: &Command) -> Result<String, kv_core::Error> {
        let (session, options) = match command {
            &Command::Begin(session, isolation, is_nested) => {
                let is_nested = is_nested && self.sessions[session].current().is_some();
                let options = match is_nested {
                    true => BeginOptions { parent: Parent::Current, ..BeginOptions::default() },
                    false => BeginOptions { isolation: Some(isolation), ..BeginOptions::default() },
                };
                (session, options)
            }
            Command::BeginAt(session, at) => {
                let (isolation, at) = (Some(Isolation::Readonly), Some(self.revision(at)));
                (*session, BeginOptions { isolation, at, ..BeginOptions::default() })
            }
            other => panic!("{other:?} begins nothing"),
        };
        Ok(format!("{:?}", self.sessions[session].begin(options)?))
    }

    /// Does it, and answers all that can be seen of it.
    pub(super) fn execute(&mut self, command: &Command) -> Result<String, kv_core::Error> {
        let shown = match command {
            Command::Begin(..) | Command::BeginAt(..) => self.begin(command)?,
            &Command::Commit(session) => format!("{:?}", self.run(session, |s| s.commit(None))?),
            &Command::Rollback(session) => format!("{:?}", self.sessions[session].rollback(None)?),
            Command::Get(session, index, for_update) => {
                let get = |s: &mut Session| match for_update {
                    true => s.get_for_update(None, &key(index)),
                    false => s.get(None, &key(index)),
                };
                format!("{:?}", self.run(*session, get)?)
            }
            Command::Meta(session, index) => {
                format!("{:?}", self.run(*session, |s| s.meta(None, &key(index)))?)
            }
            Command::Version(session, index, version) => {
                let get = |s: &mut Session| s.get_version(&key(index), Version(*version));
                format!("{:?}", self.run(*session, get)?)
            }
            Command::At(session, index, at) => {
                let at = self.revision(at);
                format!("{:?}", self.run(*session, |s| s.get_at(&key(index), at))?)
            }
            Command::History(session, index) => {
                // Beyond those that are kept it may show what views need.
                let limit = Some(self.history as u64);
                format!("{:?}", self.run(*session, |s| s.history(&key(index), limit))?)
            }
            Command::Scan(session, interval, limit) => self.scan(*session, interval, *limit)?,
            Command::Count(session, interval, rows_max) => {
                let options = ScanOptions::of(interval.clone());
                let mut scan = self.run(*session, |s| s.scan(None, &options))?;
                format!("{}", self.run(*session, |_| scan.count_rows(*rows_max))?)
            }
            Command::ShowAll(session) => {
                let scan = self.sessions[*session].show_all();
                self.rows(*session, scan)?
            }
            write @ (Command::Put(..)
            | Command::PutIf(..)
            | Command::Add(..)
            | Command::Delete(..)
            | Command::Expire(..)
            | Command::DeleteAll(..)) => self.write(write)?,
            own => self.do_own(own),
        };
        Ok(shown)
    }

    /// What is done to one of the two only, or to the clock that they share.
    fn do_own(&mut self, command: &Command) -> String {
        match (command, &self.files) {
            (Command::Open(opening), _) => self.open_again(*opening),
            (Command::Wait(ms), Some(files)) => files.clock.advance(Duration::from_millis(*ms)),
            (Command::Fold, Some(files)) => {
                files.store.checkpoint().checkpoint().unwrap();
            }
            (Command::Sweep, Some(_)) => self.db.sweep(),
            (Command::Empty, Some(_)) => self.empty_memory(),
            (_, _) => {}
        }
        String::new()
    }

    fn scan(
        &mut self,
        session: usize,
        interval: &Interval,
        limit: Option<u64>,
    ) -> Result<String, kv_core::Error> {
        let options = ScanOptions { limit, ..ScanOptions::of(interval.clone()) };
        let scan = self.run(session, |session| session.scan(None, &options))?;
        self.rows(session, scan)
    }

    fn rows(&mut self, session: usize, mut scan: kv_core::Scan) -> Result<String, kv_core::Error> {
        let mut rows = String::new();
        while let Some(row) = self.run(session, |_| scan.next_row())? {
            let key = row.key().escape_ascii();
            rows += &format!("{key} {:?} {:?}; ", row.value(), row.txn);
        }
        Ok(rows)
    }

    fn write(&mut self, command: &Command) -> Result<String, kv_core::Error> {
        let kind = ValueKind::Text;
        let shown = match command {
            Command::Put(session, index, bytes, ttl) => {
                let (key, value) = (key(index), vec![b'a' + (bytes % 26) as u8; *bytes]);
                self.run(*session, |s| match ttl {
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
                let put = |s: &mut Session| s.put(None, &key(index), b"7", kind, Some(condition));
                format!("{:?}", self.run(*session, put)?)
            }
            Command::Add(session, index) => {
                format!("{}", self.run(*session, |s| s.add(None, &key(index), 3))?)
            }
            Command::Delete(session, index, version) => {
                let version = version.map(Version);
                format!("{}", self.run(*session, |s| s.delete(None, &key(index), version))?)
            }
            Command::Expire(session, index, ttl) => {
                format!("{}", self.run(*session, |s| s.expire_after(None, &key(index), *ttl))?)
            }
            Command::DeleteAll(session) => {
                self.run(*session, |s| s.delete_all(None))?;
                String::new()
            }
            other => panic!("{other:?} is no write"),
        };
        Ok(shown)
    }
}
