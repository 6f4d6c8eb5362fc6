//! What each transaction saw of others, and whether anybody may see such a thing at all: values
//! that were rolled back, overwritten before the commit, or never written. Which reads fit
//! together is judged elsewhere.

use std::collections::HashMap;
use std::ops::Bound;

use super::history::{Operation, Outcome, Value};
use super::index::Index;
use super::report::{Kind, Violation, name, shown};

/// A state of a key that somebody else left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) chain: usize,
    /// `None` is missing.
    pub(super) value: Option<Value>,
    /// A scan saw it: as a pair, or as a key of its interval that was not among the pairs.
    pub(super) by_scan: bool,
}

/// What is wrong with a read by itself.
pub(super) struct Problem {
    kind: Kind,
    reason: String,
}

/// Looks at each read of those who count.
pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for reader in (0..index.all.len()).filter(|&reader| index.counts[reader]) {
        let (seen, problems) = from_others(index, reader);
        for Problem { kind, reason } in problems {
            violations.push(index.violation(kind, &[reason], &[reader]));
        }
        for seen in seen {
            violations.extend(judge(index, reader, seen));
        }
    }
    violations
}

fn judge(index: &Index<'_>, reader: usize, seen: Seen) -> Option<Violation> {
    let value = seen.value?;
    let key = &index.chains[seen.chain].key;
    let what = format!("{} read {key} = {value}", name(reader));
    let written = index.written.get(&value).filter(|written| written.chain == seen.chain);
    let Some(written) = written else {
        let reason = format!("{what}, which nobody wrote there");
        return Some(index.violation(Kind::UnwrittenValue, &[reason], &[reader]));
    };
    let by = name(written.writer);
    let involved = [reader, written.writer];
    let (kind, reason) = if written.writer == reader {
        (Kind::Internal, format!("{what}, which it had not written then, or had overwritten"))
    } else if written.is_undone {
        (Kind::AbortedRead, format!("{what}, which {by} wrote in a nested one and rolled back"))
    } else if index.all[written.writer].outcome == Outcome::Aborted {
        (Kind::AbortedRead, format!("{what}, which {by} wrote, and did not commit"))
    } else if !written.is_final {
        (Kind::IntermediateRead, format!("{what}, which {by} overwrote before it committed"))
    } else {
        return None;
    };
    Some(index.violation(kind, &[reason], &involved))
}

/// What the transaction saw of others' writes, and what is wrong with what it saw of its own.
pub(super) fn from_others(index: &Index<'_>, reader: usize) -> (Vec<Seen>, Vec<Problem>) {
    let mut own: HashMap<usize, Option<Value>> = HashMap::new();
    let mut seen = Vec::new();
    let mut problems = Vec::new();
    for operation in &index.all[reader].operations {
        match operation {
            Operation::Write { key, value } => {
                own.insert(index.keys[key.as_str()], Some(*value));
            }
            Operation::Delete { key } => {
                own.insert(index.keys[key.as_str()], None);
            }
            Operation::Read { key, value } => match index.keys.get(key.as_str()) {
                Some(&chain) => {
                    let one = Seen { chain, value: *value, by_scan: false };
                    sort_out(index, &own, one, &mut seen, &mut problems);
                }
                None => problems.extend(value.map(|value| unwritten(key, value))),
            },
            Operation::Scan { from, to, pairs } => {
                let found: HashMap<&str, Value> =
                    pairs.iter().map(|(key, value)| (key.as_str(), *value)).collect();
                if !pairs.is_sorted_by(|one, next| one.0 < next.0) {
                    let reason = format!("a scan's keys are not in order: {pairs:?}");
                    problems.push(Problem { kind: Kind::Internal, reason });
                }
                for (key, value) in pairs {
                    let is_inside = key >= from && to.as_ref().is_none_or(|to| key < to);
                    if !is_inside || !index.keys.contains_key(key.as_str()) {
                        problems.push(unwritten(key, *value));
                    }
                }
                let end = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let is_empty = to.as_ref().is_some_and(|to| to <= from);
                let bounds = (Bound::Included(from.as_str()), end);
                let keys = (!is_empty).then(|| index.keys.range::<str, _>(bounds));
                for (key, &chain) in keys.into_iter().flatten() {
                    let one = Seen { chain, value: found.get(key).copied(), by_scan: true };
                    sort_out(index, &own, one, &mut seen, &mut problems);
                }
            }
        }
    }
    (seen, problems)
}

fn unwritten(key: &str, value: Value) -> Problem {
    Problem { kind: Kind::UnwrittenValue, reason: format!("{key} = {value} was never written") }
}

/// After its own write a transaction must see that, and nothing of others.
fn sort_out(
    index: &Index<'_>,
    own: &HashMap<usize, Option<Value>>,
    one: Seen,
    seen: &mut Vec<Seen>,
    problems: &mut Vec<Problem>,
) {
    match own.get(&one.chain) {
        None => seen.push(one),
        Some(&wrote) if wrote == one.value => {}
        Some(&wrote) => {
            let key = &index.chains[one.chain].key;
            let (wrote, read) = (shown(wrote), shown(one.value));
            let reason = format!("it left {key} = {wrote}, then read {read}");
            problems.push(Problem { kind: Kind::Internal, reason });
        }
    }
}
