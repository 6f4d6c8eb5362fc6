//! The naive engine: the reference model, the rules of locking, and sessions that wait. It runs
//! on one thread: nothing happens but in a call of the driver.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use kv_testkit::model::Model;
use kv_testkit::script::Driver;

use crate::commands::{self, Attempt};
use crate::locks::{Answer, Locks, Request, Tree};

/// How long a wait may last where nothing else is said.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// A mistake that an engine could have; the scripts must notice each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    NoDeadlockDetection,
    ChildRollbackFreesReads,
    NoQueue,
    QueueBehindWhoWaitsForMe,
    NoReadLocks,
    NoRangeLocks,
    MissingKeysAreNotLocked,
    SnapshotIsSerializable,
    SerializableIsSnapshot,
    SingleReadsLock,
    LocksOutliveAborts,
}

impl Flaw {
    pub(crate) const ALL: [Self; 11] = [
        Self::NoDeadlockDetection,
        Self::ChildRollbackFreesReads,
        Self::NoQueue,
        Self::QueueBehindWhoWaitsForMe,
        Self::NoReadLocks,
        Self::NoRangeLocks,
        Self::MissingKeysAreNotLocked,
        Self::SnapshotIsSerializable,
        Self::SerializableIsSnapshot,
        Self::SingleReadsLock,
        Self::LocksOutliveAborts,
    ];
}

#[derive(Default)]
pub(crate) struct Session {
    /// What was sent and is not done, the oldest first.
    lines: VecDeque<String>,
    replies: VecDeque<Vec<String>>,
    /// While the oldest line waits for a lock: until when.
    waits: Option<Instant>,
    /// By root: how long it waits.
    pub(crate) patience: BTreeMap<u64, Duration>,
}

/// The engine.
#[derive(Default)]
pub(crate) struct Naive {
    pub(crate) model: Model,
    pub(crate) locks: Locks,
    pub(crate) sessions: BTreeMap<u32, Session>,
    names: BTreeMap<String, u32>,
    numbers: u32,
    /// When the model's clock began to go.
    started: Option<Instant>,
}

impl Naive {
    pub(crate) fn with(flaw: Flaw) -> Self {
        let mut engine = Self::default();
        engine.locks.flaw = Some(flaw);
        engine
    }

    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.locks.flaw == Some(flaw)
    }

    /// Until nothing moves any more: grants first, then what was sent, then whose time is up.
    fn pump(&mut self) {
        let elapsed = self.started.get_or_insert_with(Instant::now).elapsed();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap();
        self.model.advance(elapsed_ms - self.model.now_ms());
        loop {
            if let Some(session) = self.locks.grant_next() {
                self.go_on(session);
            } else if let Some(session) = self.find(|session| session.waits.is_none()) {
                self.execute(session);
            } else if let Some(session) = self.find(|session| session.is_late()) {
                self.locks.stop_waiting(session);
                self.go_on_with(session, vec!["ERR TIMEOUT waited too long".into()]);
            } else {
                return;
            }
        }
    }

    /// A session that has something to do.
    fn find(&self, wanted: impl Fn(&Session) -> bool) -> Option<u32> {
        let mut sessions = self.sessions.iter();
        let found = sessions.find(|(_, session)| !session.lines.is_empty() && wanted(session));
        found.map(|(&number, _)| number)
    }

    fn go_on(&mut self, session: u32) {
        self.sessions.get_mut(&session).unwrap().waits = None;
        self.execute(session);
    }

    fn go_on_with(&mut self, session: u32, reply: Vec<String>) {
        let session = self.sessions.get_mut(&session).unwrap();
        session.waits = None;
        session.lines.pop_front();
        session.replies.push_back(reply);
    }

    /// Runs the session's oldest line, as far as it gets without waiting.
    fn execute(&mut self, session: u32) {
        let line = self.sessions[&session].lines[0].clone();
        let single = Tree { session, root: 0 };
        let reply = loop {
            let request = match commands::attempt(self, session, &line) {
                Attempt::Reply(reply) => break reply,
                Attempt::NeedsLock(request) => request,
            };
            let error = match self.locks.ask(&request) {
                Answer::Granted => continue,
                Answer::Busy => "BUSY your own transaction holds it",
                // Who does not wait closes no cycle.
                Answer::Deadlock | Answer::MustWait if self.patience(&request).is_zero() => {
                    "TIMEOUT it is locked"
                }
                Answer::Deadlock => {
                    self.abort(request.tree);
                    "DEADLOCK you closed a cycle"
                }
                Answer::MustWait => {
                    let until = Instant::now() + self.patience(&request);
                    self.locks.wait(request);
                    self.sessions.get_mut(&session).unwrap().waits = Some(until);
                    return;
                }
            };
            break vec![format!("ERR {error}")];
        };
        self.locks.release(single);
        self.go_on_with(session, reply);
    }

    /// The whole tree, its locks too.
    pub(crate) fn abort(&mut self, tree: Tree) {
        if tree.root > 0 {
            self.model.abort(tree.session, tree.root);
        }
        if !self.has(Flaw::LocksOutliveAborts) {
            self.locks.release(tree);
        }
    }

    fn patience(&self, request: &Request) -> Duration {
        let patience = &self.sessions[&request.tree.session].patience;
        patience.get(&request.tree.root).copied().unwrap_or(LOCK_TIMEOUT)
    }
}

impl Session {
    fn is_late(&self) -> bool {
        self.waits.is_some_and(|until| until <= Instant::now())
    }
}

impl Driver for Naive {
    fn send(&mut self, session: &str, line: &str) -> Result<(), String> {
        let number = *self.names.entry(session.to_string()).or_insert_with(|| {
            self.numbers += 1;
            self.numbers
        });
        self.sessions.entry(number).or_default().lines.push_back(line.to_string());
        self.pump();
        Ok(())
    }

    fn poll(&mut self, session: &str) -> Option<Vec<String>> {
        self.pump();
        let number = self.names.get(session)?;
        self.sessions.get_mut(number)?.replies.pop_front()
    }

    fn settle(&mut self) -> Result<(), String> {
        self.pump();
        Ok(())
    }

    fn close(&mut self, session: &str) {
        let Some(number) = self.names.remove(session) else { return };
        self.sessions.remove(&number);
        self.model.close(number);
        self.locks.release_session(number);
        self.pump();
    }

    fn locks(&mut self) -> Result<Vec<String>, String> {
        Ok(commands::lock_rows(self))
    }
}
