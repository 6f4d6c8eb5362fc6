//! Runs a script over a [`Driver`] and says, when it fails, exactly where and why.
//!
//! The runner owns the whole judgement: what was sent, what came back, who is said to wait. It
//! does not know what a command means, nor how the store behind the driver works.
//!
//! Invariant: between two steps, every line that a session has received has been compared with
//! the script, unless a `goes on` directly follows.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::driver::Driver;
use super::parse::{Action, Ending, Expectation, Script, Step};
use super::pattern::{self, Variables};

/// How long the list of locks may take to become empty after all sessions were closed.
const LOCKS_GONE_WITHIN: Duration = Duration::from_secs(3);
/// How many scripts run at the same time; most of their time is waiting.
const AT_A_TIME: usize = 8;
/// How long to wait between two looks at something that takes its time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Why a script failed, with all that a reader needs to see it happen.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The script's file.
    pub file: String,
    /// The line that was not met, counted from 1.
    pub line: usize,
    /// What the script says.
    pub expected: String,
    /// What happened instead.
    pub got: String,
    /// Everything that was sent and received so far.
    pub transcript: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: the script failed", self.file, self.line)?;
        writeln!(f, "  expected: {}", self.expected)?;
        writeln!(f, "  got:      {}", self.got)?;
        writeln!(f, "  so far:")?;
        self.transcript.lines().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

impl std::error::Error for Failure {}

/// Runs the script. Closes all its sessions at the end, also after a failure.
///
/// # Errors
/// At the first thing that is not as the script says.
pub fn run(script: &Script, driver: &mut dyn Driver) -> Result<(), Box<Failure>> {
    let mut runner = Runner {
        script,
        driver,
        sessions: BTreeMap::new(),
        variables: Variables::new(),
        transcript: String::new(),
        line: 1,
    };
    let outcome = script.steps.iter().try_for_each(|step| runner.step(step));
    let outcome = outcome.and_then(|()| runner.check_all_ended());
    runner.close_all();
    outcome.and_then(|()| runner.check_no_locks())
}

/// Reads the file and runs it.
///
/// # Errors
/// When the file is not a script (as text), or at the first thing that is not as it says.
pub fn run_file(path: &Path, driver: &mut dyn Driver) -> Result<(), String> {
    let script = Script::load(path).map_err(|error| error.to_string())?;
    run(&script, driver).map_err(|failure| failure.to_string())
}

/// Runs every script whose path contains `part`, each over a driver of its own, several at a time.
/// Answers how many there were.
///
/// # Errors
/// When scripts failed, or a driver could not be opened: the texts of all failures.
pub fn run_all<D: Driver>(
    part: &str,
    open: impl Fn() -> Result<D, String> + Sync,
) -> Result<usize, String> {
    let files = script_files(part).map_err(|error| error.to_string())?;
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = open().and_then(|mut driver| run_file(file, &mut driver));
                    let mut list = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    list.extend(outcome.err());
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failures.len() {
        0 => Ok(files.len()),
        count => {
            Err(format!("{count} of {} scripts failed\n\n{}", files.len(), failures.join("\n")))
        }
    }
}

/// The scripts of this crate's `scripts/` folder, sorted; those whose path below it contains
/// `part`, or all of them when it is empty.
///
/// # Errors
/// When the folder cannot be read.
pub fn script_files(part: &str) -> std::io::Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let below = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy();
            if path.is_dir() {
                folders.push(path);
            } else if below.ends_with(".kv") && below.contains(part) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What the runner knows of one session.
#[derive(Default)]
struct Session {
    /// When each command that has no reply yet was sent, the oldest first.
    unanswered: VecDeque<Instant>,
    /// Lines that have come and were not compared yet.
    unread: Vec<String>,
    /// How long after its command the newest reply was read.
    took: Duration,
}

struct Runner<'a> {
    script: &'a Script,
    driver: &'a mut dyn Driver,
    sessions: BTreeMap<String, Session>,
    variables: Variables,
    transcript: String,
    /// The line of the step that is being run.
    line: usize,
}

type Outcome = Result<(), Box<Failure>>;

impl Runner<'_> {
    fn step(&mut self, step: &Step) -> Outcome {
        if !matches!(step.action, Action::GoesOn { .. }) {
            self.check_nothing_unread()?;
        }
        self.line = step.line;
        match &step.action {
            Action::Send { session, command } => self.send(session, command, &step.expectation),
            Action::GoesOn { session } => self.goes_on(session, &step.expectation),
            Action::Closes { session } => {
                self.note(&format!("{session}: closes"));
                self.driver.close(session);
                self.sessions.remove(session);
                self.settle()
            }
            Action::Sleep(duration) => {
                self.note(&format!("sleep {duration:?}"));
                std::thread::sleep(*duration);
                self.settle()
            }
        }
    }

    fn send(&mut self, name: &str, command: &str, expected: &Expectation) -> Outcome {
        let command = pattern::substitute(command, &self.variables);
        let session = self.sessions.entry(name.to_string()).or_default();
        let waited = !session.unanswered.is_empty();
        let sent_at = Instant::now();
        match (waited, expected.ending == Ending::Queues) {
            (true, false) => {
                let text = format!("{name} has its replies, or this command says `queues`");
                return self.fail(&text, &format!("{name} still waits for an earlier one"));
            }
            (false, true) => {
                let text = format!("{name} waits already, so that this command queues");
                return self.fail(&text, &format!("{name} does not wait"));
            }
            _ => session.unanswered.push_back(sent_at),
        }
        self.note(&format!("{name}: {command}"));
        if let Err(reason) = self.driver.send(name, &command) {
            return self.fail("the command is sent", &reason);
        }
        self.settle()?;
        self.check_replies(name, expected)
    }

    fn goes_on(&mut self, name: &str, expected: &Expectation) -> Outcome {
        self.note(&format!("{name}: goes on"));
        if let Some((_, to)) = expected.within {
            while self.still_due(name, expected, to) {
                std::thread::sleep(LOOK_AGAIN_AFTER);
                self.drain();
            }
        }
        self.settle()?;
        self.check_replies(name, expected)
    }

    /// Whether replies that the block names have not come, and may still come in time.
    fn still_due(&self, name: &str, expected: &Expectation, to: Duration) -> bool {
        let Some(session) = self.sessions.get(name) else { return false };
        let Some(sent_at) = session.unanswered.front() else { return false };
        let complete =
            expected.ending == Ending::Waits && session.unread.len() >= expected.lines.len();
        !complete && sent_at.elapsed() <= to
    }

    fn settle(&mut self) -> Outcome {
        let settled = self.driver.settle();
        self.drain();
        match settled {
            Ok(()) => Ok(()),
            Err(reason) => self.fail("every session replies or waits for a lock", &reason),
        }
    }

    /// Takes over every reply that has come, to whomever.
    fn drain(&mut self) {
        for (name, session) in &mut self.sessions {
            while let Some(reply) = self.driver.poll(name) {
                if let Some(sent_at) = session.unanswered.pop_front() {
                    session.took = sent_at.elapsed();
                }
                for line in reply {
                    self.transcript.push_str(&format!("   {name}> {line}\n"));
                    session.unread.push(line);
                }
            }
        }
    }

    fn check_replies(&mut self, name: &str, expected: &Expectation) -> Outcome {
        let session = self.sessions.entry(name.to_string()).or_default();
        let got = std::mem::take(&mut session.unread);
        let waits = !session.unanswered.is_empty();
        let took = session.took;
        let step_line = self.line;
        for (index, wanted) in expected.lines.iter().enumerate() {
            self.line = wanted.line;
            match got.get(index) {
                Some(line) if pattern::matches(&wanted.text, line, &mut self.variables) => {}
                Some(line) => return self.fail(&wanted.text, line),
                None if waits => return self.fail(&wanted.text, &format!("{name} still waits")),
                None => return self.fail(&wanted.text, "no more lines"),
            }
        }
        self.line = step_line;
        let surplus = &got[expected.lines.len()..];
        match expected.ending {
            Ending::Replied if waits => self.fail("all replies", &format!("{name} still waits")),
            Ending::Replied if expected.lines.is_empty() => {
                let error = surplus.iter().find(|line| line.starts_with("ERR"));
                error.map_or(Ok(()), |line| self.fail("any reply but an error", line))
            }
            _ if !surplus.is_empty() => {
                let text = if waits || expected.lines.is_empty() { "no reply" } else { "no more" };
                self.fail(text, &surplus.join(" / "))
            }
            Ending::Waits | Ending::Queues if !waits => {
                self.fail(&format!("{name} waits"), &format!("{name} has all its replies"))
            }
            _ => self.check_time(expected, took),
        }
    }

    fn check_time(&self, expected: &Expectation, took: Duration) -> Outcome {
        match expected.within {
            Some((from, to)) if took < from || took > to => {
                self.fail(&format!("within {from:?}..{to:?}"), &format!("after {took:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Nobody but those named by a `goes on` may have got a reply.
    fn check_nothing_unread(&self) -> Outcome {
        match self.sessions.iter().find(|(_, session)| !session.unread.is_empty()) {
            None => Ok(()),
            Some((name, session)) => {
                let text = format!("{name} waits until the script says that it goes on");
                self.fail(&text, &session.unread.join(" / "))
            }
        }
    }

    fn check_all_ended(&self) -> Outcome {
        self.check_nothing_unread()?;
        match self.sessions.iter().find(|(_, session)| !session.unanswered.is_empty()) {
            None => Ok(()),
            Some((name, _)) => self.fail("nobody waits at the end", &format!("{name} still waits")),
        }
    }

    fn close_all(&mut self) {
        for name in self.sessions.keys() {
            self.driver.close(name);
        }
    }

    fn check_no_locks(&mut self) -> Outcome {
        let started = Instant::now();
        loop {
            match self.driver.locks() {
                Ok(rows) if rows.is_empty() => return Ok(()),
                Ok(rows) if started.elapsed() > LOCKS_GONE_WITHIN => {
                    return self.fail("no locks once all sessions are closed", &rows.join(" / "));
                }
                Ok(_) => std::thread::sleep(LOOK_AGAIN_AFTER),
                Err(reason) => return self.fail("the list of locks", &reason),
            }
        }
    }

    fn note(&mut self, text: &str) {
        self.transcript.push_str(text);
        self.transcript.push('\n');
    }

    fn fail(&self, expected: &str, got: &str) -> Outcome {
        Err(Box::new(Failure {
            file: self.script.file.clone(),
            line: self.line,
            expected: expected.to_string(),
            got: got.to_string(),
            transcript: self.transcript.clone(),
        }))
    }
}
