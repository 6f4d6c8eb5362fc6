//! The expected state: what each writer meant to commit, and what it was told became of it. It
//! lives in the test's process, so that it survives whatever happens to the server.
//!
//! After a start the server is asked for every version of every key. Each revision must be one
//! commit of this journal, as a whole; the revisions must be all from 1 to the last; and each
//! commit that was acknowledged must be among them.

use std::collections::{BTreeMap, BTreeSet};

use kv_testkit::server::{Client, TestServer};

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No answer came, or OUTCOME.
    Unknown,
    /// It was acknowledged.
    Committed,
    /// It was refused.
    Refused,
}

/// A commit that was tried.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    /// By key: what is put there, or nothing for a delete.
    pub(crate) changes: BTreeMap<String, Option<String>>,
    pub(crate) outcome: Outcome,
}

/// What one writer did, in order. Its keys and values begin with its name, which no other has, and
/// its values go on with the number of their commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    pub(crate) writer: String,
    pub(crate) commits: Vec<Commit>,
}

/// What all writers did in one directory, and what was read there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    pub(crate) writers: Vec<Written>,
    /// The highest revision that a reader has been shown.
    pub(crate) shown: u64,
}

/// One version of a key, as HISTORY shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) version: u64,
    pub(crate) revision: u64,
    pub(crate) value: Option<String>,
}

/// All versions of all keys, oldest first.
pub(crate) type State = BTreeMap<String, Vec<Version>>;

/// `w3.17:…` is the value of the commit 17 of the writer w3.
pub(crate) fn commit_of(value: &str) -> (&str, usize) {
    let (writer, rest) = value.split_once('.').expect("a value names its writer");
    let number = rest.split(':').next().expect("a split has a first part");
    (writer, number.parse().expect("a value names its commit"))
}

impl Journal {
    /// How many commits were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let commits = self.writers.iter().flat_map(|written| &written.commits);
        commits.filter(|commit| commit.outcome == Outcome::Committed).count()
    }

    fn keys(&self) -> BTreeSet<String> {
        let commits = self.writers.iter().flat_map(|written| &written.commits);
        commits.flat_map(|commit| commit.changes.keys().cloned()).collect()
    }

    /// Compares the server with what is expected, and answers all that it has. What was unknown is
    /// known from now on.
    pub(crate) fn check(&mut self, server: &TestServer) -> State {
        let mut client = server.connect();
        assert_eq!(client.ask("CHECK"), "OK");
        let state = read_all(&mut client, &self.keys());
        let by_revision = commits_in(&state);
        let revisions: Vec<u64> = by_revision.keys().copied().collect();
        let last = revisions.last().copied().unwrap_or(0);
        let all: Vec<u64> = (1..=last).collect();
        assert_eq!(revisions, all, "the state is that after some commit, so none is missing");
        assert!(last >= self.shown, "revision {} was shown, {last} is there", self.shown);
        let mut found = BTreeMap::new();
        for (revision, changes) in &by_revision {
            let id = self.identify(changes, &state, *revision);
            let twice = found.insert(id.clone(), *revision);
            assert_eq!(twice, None, "commit {id:?} is there twice");
        }
        self.settle(&found);
        self.shown = last;
        state
    }

    /// Which commit these changes are, that they are all of it.
    fn identify(
        &self,
        changes: &BTreeMap<String, Option<String>>,
        state: &State,
        revision: u64,
    ) -> (String, usize) {
        let value = changes.values().flatten().next();
        let value =
            value.unwrap_or_else(|| panic!("revision {revision} only deletes: {changes:?}"));
        let (writer, number) = commit_of(value);
        let written = self.writers.iter().find(|written| written.writer == writer);
        let commit = written.and_then(|written| written.commits.get(number));
        let commit = commit.unwrap_or_else(|| panic!("nobody wrote {value}"));
        let was_there = |key: &str| {
            let before = state.get(key).into_iter().flatten();
            let before = before.take_while(|version| version.revision < revision).last();
            before.is_some_and(|version| version.value.is_some())
        };
        let mut expected = commit.changes.clone();
        // A delete of what is not there makes no version.
        expected.retain(|key, value| value.is_some() || was_there(key));
        assert_eq!(changes, &expected, "revision {revision} is commit {number} of {writer}");
        (writer.to_owned(), number)
    }

    /// What was acknowledged is there, what was refused is not, and of the rest a prefix is.
    fn settle(&mut self, found: &BTreeMap<(String, usize), u64>) {
        for Written { writer, commits } in &mut self.writers {
            let (mut first_missing, mut last_revision) = (None, 0);
            for (number, commit) in commits.iter_mut().enumerate() {
                let there = found.get(&(writer.clone(), number));
                match (commit.outcome, there) {
                    (Outcome::Committed, None) => panic!(
                        "commit {number} of {writer} was acknowledged and is lost: {commit:?}"
                    ),
                    (Outcome::Refused, Some(_)) => {
                        panic!("commit {number} of {writer} was refused and is there: {commit:?}")
                    }
                    (Outcome::Refused, None) => {}
                    (_, None) => {
                        first_missing.get_or_insert(number);
                        commit.outcome = Outcome::Refused;
                    }
                    (_, Some(&revision)) => {
                        assert_eq!(
                            first_missing, None,
                            "commit {number} of {writer} is there, an earlier one is not"
                        );
                        assert!(revision > last_revision, "commit {number} of {writer} is early");
                        last_revision = revision;
                        commit.outcome = Outcome::Committed;
                    }
                }
            }
        }
    }
}

/// The changes of each revision.
fn commits_in(state: &State) -> BTreeMap<u64, BTreeMap<String, Option<String>>> {
    let mut commits: BTreeMap<u64, BTreeMap<String, Option<String>>> = BTreeMap::new();
    for (key, versions) in state {
        for Version { revision, value, .. } in versions {
            commits.entry(*revision).or_default().insert(key.clone(), value.clone());
        }
    }
    commits
}

/// Every version of these keys; there must be no others.
pub(crate) fn read_all(client: &mut Client, keys: &BTreeSet<String>) -> State {
    let mut state = State::new();
    for key in keys {
        let mut rows = client.ask_list(format!("HISTORY {key}"));
        let end = rows.pop().expect("a list ends");
        assert!(end.starts_with("END "), "HISTORY {key}: {end}");
        let versions: Vec<Version> = rows.iter().rev().map(|row| version_of(row)).collect();
        let numbers: Vec<u64> = versions.iter().map(|version| version.version).collect();
        let all: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, all, "versions of {key}");
        if !versions.is_empty() {
            state.insert(key.clone(), versions);
        }
    }
    let newest = |(key, versions): (&String, &Vec<Version>)| {
        let value = versions.last()?.value.as_ref()?;
        Some(format!("\"{key}\" \"{value}\""))
    };
    let expected: Vec<String> = state.iter().filter_map(newest).collect();
    let mut rows = client.ask_list("SHOWALL");
    rows.pop();
    assert_eq!(rows, expected, "what is there is the newest of the history");
    state
}

/// `3 17 2026-11-20T10:00:00.123Z "value"`
fn version_of(row: &str) -> Version {
    let mut words = row.splitn(4, ' ');
    let mut next = || words.next().unwrap_or_else(|| panic!("a row of HISTORY: {row}"));
    let version = next().parse().unwrap();
    let revision = next().parse().unwrap();
    next();
    let value = match next() {
        "NIL" => None,
        quoted => Some(quoted.trim_matches('"').to_owned()),
    };
    Version { version, revision, value }
}
