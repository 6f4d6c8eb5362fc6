//! Who wrote which version of which key, in which order; and who counts as committed. Everything
//! else is derived from this. What reads say is judged elsewhere.

use std::collections::{BTreeMap, HashMap};

use super::history::{History, Installed, Operation, Outcome, Transaction, Value};
use super::report::{Kind, Violation, name, shown, violation};

/// One committed state of one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    /// `None`: before everything, or a delete whose transaction is not known.
    pub(super) writer: Option<usize>,
    pub(super) revision: u64,
    /// `None` is missing.
    pub(super) value: Option<Value>,
}

/// All versions of a key, the oldest first; the first one is that it is missing.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) key: String,
    pub(super) versions: Vec<Version>,
    /// A delete may have happened anywhere, by a transaction whose outcome is unknown.
    pub(super) may_be_deleted: bool,
}

/// Who wrote a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) writer: usize,
    pub(super) chain: usize,
    /// It was the last that the transaction wrote to the key.
    pub(super) is_final: bool,
    /// It was rolled back with a nested transaction.
    pub(super) is_undone: bool,
}

/// The history, turned over: by key and by value.
pub(super) struct Index<'a> {
    pub(super) all: &'a [Transaction],
    /// Key to chain, in key order.
    pub(super) keys: BTreeMap<&'a str, usize>,
    pub(super) chains: Vec<Chain>,
    pub(super) written: HashMap<Value, Written>,
    /// Place of a value in its chain; missing if its revision is not known.
    pub(super) places: HashMap<Value, usize>,
    /// Chain and place of each version that a transaction made.
    pub(super) made: Vec<Vec<(usize, usize)>>,
    /// Committed for sure: told so, or seen.
    pub(super) counts: Vec<bool>,
    pub(super) revisions: Vec<Option<u64>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History) -> (Self, Vec<Violation>) {
        let all = &history.transactions;
        let revisions = all.iter().map(|transaction| match transaction.outcome {
            Outcome::Committed { revision } => revision,
            Outcome::Aborted | Outcome::Unknown => None,
        });
        let mut index = Self {
            all,
            keys: BTreeMap::new(),
            chains: Vec::new(),
            written: HashMap::new(),
            places: HashMap::new(),
            made: vec![Vec::new(); all.len()],
            counts: Vec::new(),
            revisions: revisions.collect(),
        };
        let mut violations = index.collect_writes();
        index.decide_who_counts(history);
        violations.extend(index.check_revisions());
        violations.extend(index.build_chains(history));
        (index, violations)
    }

    pub(super) fn violation(
        &self,
        kind: Kind,
        reasons: &[String],
        involved: &[usize],
    ) -> Violation {
        violation(kind, reasons, self.all, involved)
    }

    fn chain_of(&mut self, key: &'a str) -> usize {
        *self.keys.entry(key).or_insert_with(|| {
            let missing = Version { writer: None, revision: 0, value: None };
            let versions = vec![missing];
            self.chains.push(Chain { key: key.to_string(), versions, may_be_deleted: false });
            self.chains.len() - 1
        })
    }

    /// Fills `written`, and creates a chain for every key that anybody wrote.
    fn collect_writes(&mut self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (writer, transaction) in self.all.iter().enumerate() {
            let undone = transaction.undone.iter().map(|(key, value)| (key, Some(*value), true));
            let done = transaction.operations.iter().filter_map(|operation| match operation {
                Operation::Write { key, value } => Some((key, Some(*value), false)),
                Operation::Delete { key } => Some((key, None, false)),
                Operation::Read { .. } | Operation::Scan { .. } => None,
            });
            let mut last: HashMap<usize, Option<Value>> = HashMap::new();
            for (key, value, is_undone) in undone.chain(done) {
                let chain = self.chain_of(key);
                if !is_undone && let Some(Some(before)) = last.insert(chain, value) {
                    self.written.entry(before).and_modify(|written| written.is_final = false);
                }
                let Some(value) = value else { continue };
                let written = Written { writer, chain, is_final: !is_undone, is_undone };
                if let Some(other) = self.written.insert(value, written) {
                    let reason = format!("{value} was written twice");
                    let involved = [other.writer, writer];
                    violations.push(self.violation(Kind::Malformed, &[reason], &involved));
                }
            }
        }
        violations
    }

    /// Committed are those that were told so, and those of unknown outcome whose write was seen by
    /// one who counts, or is in the store's own list.
    fn decide_who_counts(&mut self, history: &History) {
        let is_committed =
            |transaction: &Transaction| matches!(transaction.outcome, Outcome::Committed { .. });
        self.counts = self.all.iter().map(is_committed).collect();
        let listed = history.installed.values().flatten().filter_map(|version| version.value);
        let mut seen: Vec<Value> = listed.collect();
        let counted = self.all.iter().filter(|transaction| is_committed(transaction));
        counted.for_each(|transaction| seen.extend(values_read(transaction)));
        while let Some(value) = seen.pop() {
            let Some(written) = self.written.get(&value).copied() else { continue };
            let writer = &self.all[written.writer];
            if writer.outcome == Outcome::Unknown && !self.counts[written.writer] {
                self.counts[written.writer] = true;
                seen.extend(values_read(writer));
            }
        }
    }

    /// A revision is one commit's, and later transactions have higher ones.
    fn check_revisions(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut commits: Vec<(u64, usize)> = Vec::new();
        for (number, revision) in self.revisions.iter().enumerate() {
            commits.extend(revision.map(|revision| (revision, number)));
        }
        commits.sort_unstable();
        for pair in commits.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let reason = format!("two commits have revision {}", pair[0].0);
            let involved = [pair[0].1, pair[1].1];
            violations.push(self.violation(Kind::Malformed, &[reason], &involved));
        }
        // By falling revision: nobody may have ended before one of a higher revision ... began.
        let mut earliest_end: Option<usize> = None;
        for &(_, number) in commits.iter().rev() {
            if let Some(later) =
                earliest_end.filter(|&later| self.all[later].end < self.all[number].begin)
            {
                let reason = format!(
                    "{} had ended before {} began, and has the higher revision",
                    name(later),
                    name(number)
                );
                let involved = [later, number];
                violations.push(self.violation(Kind::VersionOrder, &[reason], &involved));
            }
            if earliest_end.is_none_or(|other| self.all[number].end < self.all[other].end) {
                earliest_end = Some(number);
            }
        }
        violations
    }

    fn build_chains(&mut self, history: &'a History) -> Vec<Violation> {
        let mut violations = Vec::new();
        let by_revision: HashMap<u64, usize> = (self.revisions.iter().enumerate())
            .filter_map(|(number, revision)| Some(((*revision)?, number)))
            .collect();
        for (key, versions) in &history.installed {
            let chain = self.chain_of(key);
            if !versions.is_sorted_by(|one, next| one.revision < next.revision) {
                let reason = format!("the store lists the versions of {key} out of order");
                violations.push(self.violation(Kind::VersionOrder, &[reason], &[]));
            }
            for installed in versions {
                if let Err(problem) = self.install(chain, *installed, &by_revision) {
                    violations.push(problem);
                }
            }
        }
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_by_key(|&number| self.revisions[number]);
        for number in order {
            for (key, value) in final_writes(&self.all[number]) {
                let chain = self.keys[key];
                let listed = history.installed.contains_key(key);
                violations.extend(self.place(number, chain, value, listed));
            }
        }
        for (number, chain) in self.chains.iter().enumerate() {
            for (place, version) in chain.versions.iter().enumerate() {
                self.places.extend(version.value.map(|value| (value, place)));
                if let Some(writer) = version.writer {
                    self.made[writer].push((number, place));
                }
            }
        }
        violations
    }

    /// Takes over a version from the store's own list.
    fn install(
        &mut self,
        chain: usize,
        installed: Installed,
        by_revision: &HashMap<u64, usize>,
    ) -> Result<(), Violation> {
        let Installed { revision, value } = installed;
        let Some(value) = value else {
            let writer = by_revision.get(&revision).copied();
            self.chains[chain].versions.push(Version { writer, revision, value: None });
            return Ok(());
        };
        let key = &self.chains[chain].key;
        let what = format!("the store lists {value} as a version of {key} at revision {revision}");
        let problem = |why: &str, involved: &[usize]| {
            self.violation(Kind::VersionOrder, &[format!("{what}, {why}")], involved)
        };
        let Some(written) = self.written.get(&value).filter(|w| w.chain == chain).copied() else {
            return Err(problem("which nobody wrote", &[]));
        };
        let writer = written.writer;
        if written.is_undone || !self.counts[writer] {
            return Err(problem("whose writer did not commit", &[writer]));
        }
        if !written.is_final {
            return Err(problem("which its writer overwrote", &[writer]));
        }
        if self.revisions[writer].is_some_and(|known| known != revision) {
            return Err(problem("but its writer has another revision", &[writer]));
        }
        self.revisions[writer] = Some(revision);
        self.chains[chain].versions.push(Version {
            writer: Some(writer),
            revision,
            value: Some(value),
        });
        Ok(())
    }

    /// Puts a transaction's last write to a key at the end of the chain; transactions come in the
    /// order of their revisions.
    fn place(
        &mut self,
        writer: usize,
        chain: usize,
        value: Option<Value>,
        is_listed: bool,
    ) -> Option<Violation> {
        let is_unknown = self.all[writer].outcome == Outcome::Unknown;
        if is_unknown && value.is_none() {
            self.chains[chain].may_be_deleted = true;
        }
        let revision = self.revisions[writer].filter(|_| self.counts[writer])?;
        let versions = &mut self.chains[chain].versions;
        let state = versions.last().and_then(|version| version.value);
        if is_listed {
            let mut listed = versions.iter();
            let is_there = value.is_none()
                || listed.any(|version| version.value == value && version.writer == Some(writer));
            let key = &self.chains[chain].key;
            let reason = format!("the store does not list {key} = {}", shown(value));
            return (!is_there).then(|| self.violation(Kind::VersionOrder, &[reason], &[writer]));
        }
        // A delete of what is missing makes no version.
        if value.is_some() || state.is_some() {
            versions.push(Version { writer: Some(writer), revision, value });
        }
        None
    }
}

/// The last write to each key; `None` is a delete.
fn final_writes(transaction: &Transaction) -> BTreeMap<&str, Option<Value>> {
    let mut last = BTreeMap::new();
    for operation in &transaction.operations {
        match operation {
            Operation::Write { key, value } => last.insert(key.as_str(), Some(*value)),
            Operation::Delete { key } => last.insert(key.as_str(), None),
            Operation::Read { .. } | Operation::Scan { .. } => None,
        };
    }
    last
}

fn values_read(transaction: &Transaction) -> Vec<Value> {
    let mut values = Vec::new();
    for operation in &transaction.operations {
        match operation {
            Operation::Read { value, .. } => values.extend(value),
            Operation::Scan { pairs, .. } => values.extend(pairs.iter().map(|(_, value)| value)),
            Operation::Write { .. } | Operation::Delete { .. } => {}
        }
    }
    values
}
