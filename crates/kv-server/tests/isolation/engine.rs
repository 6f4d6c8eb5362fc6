//! Drives scripts over the engine and the command layer alone: one thread, no sockets, no timers.
//!
//! Every wait is a value here, so that an interleaving is exactly what the script says, and a run
//! can be repeated to the last step.
//!
//! With files and a memory bound, everything that can leaves memory before each command.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kv_core::{LockWait, Pause};
use kv_protocol::Request;
use kv_server::command::{Client, Listed, Next};
use kv_server::server::Server;
use kv_testkit::script::Driver;
use tempfile::TempDir;

use crate::served::server_on;

/// What gave way, and what was fetched, in all servers of a test.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) evictions: AtomicU64,
    pub(crate) fetches: AtomicU64,
}

/// Sessions of a server that does not listen.
pub(crate) struct EngineDriver {
    server: Arc<Server>,
    sessions: BTreeMap<String, Session>,
    /// Whether everything that can leaves memory before each command.
    is_bounded: bool,
    /// Where its files are, and where it counts, if it has any of its own.
    own: Option<(TempDir, Arc<Counts>)>,
}

struct Session {
    client: Client,
    to_run: VecDeque<String>,
    waiting: Option<(String, LockWait)>,
    replies: VecDeque<Vec<String>>,
}

impl EngineDriver {
    pub(crate) fn new(server: Arc<Server>) -> EngineDriver {
        let is_bounded = server.database().memory().is_some();
        EngineDriver { server, sessions: BTreeMap::new(), is_bounded, own: None }
    }

    /// Sessions of a server with files and a memory bound.
    pub(crate) fn new_bounded(counts: &Arc<Counts>) -> EngineDriver {
        let directory = tempfile::tempdir().unwrap();
        let mut driver = EngineDriver::new(server_on(directory.path()));
        driver.own = Some((directory, Arc::clone(counts)));
        driver
    }

    /// Whether the session's command has no reply yet.
    pub(crate) fn is_waiting(&self, session: &str) -> bool {
        self.sessions.get(session).is_some_and(|session| session.waiting.is_some())
    }

    /// The revision of the session's last commit.
    pub(crate) fn last_commit(&mut self, session: &str) -> u64 {
        self.sessions.get_mut(session).map_or(0, |session| session.client.session().last_commit().0)
    }

    fn run_all(&mut self) {
        while self.sessions.values_mut().any(|session| session.run_one(self.is_bounded)) {}
    }
}

/// Folds the log, and has everything leave memory that can. There is room for what comes then.
fn empty_memory(server: &Server) {
    server.store().unwrap().checkpoint().checkpoint().unwrap();
    let database = server.database();
    let (bytes_max, _) = database.memory().unwrap();
    database.set_memory_max(0);
    database.sweep();
    database.set_memory_max(bytes_max);
}

impl Session {
    /// Runs one command, or a waiting one again; false if there is nothing to do.
    fn run_one(&mut self, is_bounded: bool) -> bool {
        let line = match self.waiting.take() {
            Some((line, wait)) => {
                let is_late = wait.deadline().is_some_and(|deadline| deadline <= Instant::now());
                if is_late && !wait.is_settled() {
                    self.client.session().expire();
                }
                if !wait.is_settled() {
                    self.waiting = Some((line, wait));
                    return false;
                }
                line
            }
            None => match self.to_run.pop_front() {
                Some(line) => line,
                None => return false,
            },
        };
        if is_bounded {
            empty_memory(self.client.server());
        }
        self.execute(line);
        if is_bounded {
            // Readers without locks see what is durable.
            let revision = self.client.session().depends_on();
            self.client.server().database().settle(revision).unwrap();
        }
        true
    }

    fn execute(&mut self, line: String) {
        let mut out = Vec::new();
        match Request::parse(line.as_bytes()) {
            Ok(None) => return,
            Err(refusal) => self.client.refuse(&refusal, None, &mut out),
            Ok(Some(request)) => match self.client.execute(&request, &mut out) {
                Ok(Next::Request | Next::Background(_) | Next::Close) => {}
                Ok(Next::List(mut listing)) => loop {
                    match self.client.write_list(&mut listing, &mut out, usize::MAX) {
                        Ok(Listed::Whole) => break,
                        Ok(_) => {}
                        Err(pause) => self.overcome(pause, &line),
                    }
                },
                Ok(Next::Job(job)) => {
                    let server = self.client.server();
                    let admitted = server.jobs().admit(job);
                    let done = admitted.and_then(|admitted| server.run_job(admitted));
                    self.client.answer_job(done, &mut out);
                }
                Err(Pause::Lock(wait)) => {
                    self.waiting = Some((line, wait));
                    return;
                }
                Err(pause) => {
                    self.overcome(pause, &line);
                    return self.execute(line);
                }
            },
        }
        let text = String::from_utf8(out).unwrap();
        self.replies.push_back(text.lines().map(str::to_owned).collect());
    }

    fn overcome(&self, pause: Pause, line: &str) {
        match pause {
            Pause::Yield => {}
            Pause::Fetch(fetch) => self.client.server().database().fetch(&fetch).unwrap(),
            pause => panic!("{line}: {pause:?}"),
        }
    }
}

impl Driver for EngineDriver {
    fn send(&mut self, session: &str, line: &str) -> Result<(), String> {
        let server = &self.server;
        let session = self.sessions.entry(session.to_owned()).or_insert_with(|| Session {
            client: Client::new(Arc::clone(server)),
            to_run: VecDeque::new(),
            waiting: None,
            replies: VecDeque::new(),
        });
        session.to_run.push_back(line.to_owned());
        self.run_all();
        Ok(())
    }

    fn poll(&mut self, session: &str) -> Option<Vec<String>> {
        self.run_all();
        self.sessions.get_mut(session)?.replies.pop_front()
    }

    fn settle(&mut self) -> Result<(), String> {
        self.run_all();
        Ok(())
    }

    fn close(&mut self, session: &str) {
        self.sessions.remove(session);
        self.run_all();
    }

    fn locks(&mut self) -> Result<Vec<String>, String> {
        let mut observer = EngineDriver::new(Arc::clone(&self.server));
        observer.send("observer", "LOCKS")?;
        let mut rows = observer.poll("observer").ok_or("LOCKS has no reply")?;
        rows.pop();
        Ok(rows)
    }
}

impl Drop for EngineDriver {
    fn drop(&mut self) {
        self.sessions.clear();
        if !std::thread::panicking() && Arc::strong_count(&self.server) == 1 {
            self.server.database().check_idle().unwrap();
        }
        if let Some((_, counts)) = &self.own {
            for shard in self.server.database().shards() {
                counts.evictions.fetch_add(shard.evictions, Ordering::Relaxed);
                counts.fetches.fetch_add(shard.fetches, Ordering::Relaxed);
            }
        }
    }
}
