//! Whether the reads of each SNAPSHOT and READONLY transaction come from one view that was taken
//! at its begin, and whether the first updater won.
//!
//! A view is a revision: everything up to it is seen, nothing after it. Each read allows some
//! revisions, those during which the key was in the state that was seen:
//!
//! ```text
//! revision   0     1     2     3     4     5     6     7
//! k1         -     a     a     a     b     b     b     b      read a: 1 to 3
//! k2         -     -     -     x     x     x     -     -      read missing: 0 to 2, 6 to 7
//! ```
//!
//! All reads together must leave at least one; so must the moment of the begin; and so must the
//! writes, because the version before each one's own must be in the view. Whether transactions
//! fit together is judged elsewhere.

use super::history::{Mode, Outcome};
use super::index::Index;
use super::reads::{self, Seen};
use super::report::{Kind, Violation, name, shown};

/// Revisions from the first to before the second.
type Span = (u64, u64);

/// What everything together says about the revisions of commits at a moment.
struct Moments {
    /// End of each acknowledged commit, and the highest revision among those up to it.
    ended: Vec<Span>,
    /// Begin of each commit, and the lowest revision among those from it on.
    began: Vec<Span>,
}

/// Looks at each transaction that reads a view and counts.
pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let moments = Moments::new(index);
    let reads_a_view = |&number: &usize| {
        let mode = index.all[number].mode;
        index.counts[number] && matches!(mode, Mode::Snapshot | Mode::Readonly)
    };
    let readers = (0..index.all.len()).filter(reads_a_view);
    readers.filter_map(|number| check_one(index, &moments, number)).collect()
}

fn check_one(index: &Index<'_>, moments: &Moments, number: usize) -> Option<Violation> {
    let me = &index.all[number];
    let mut reasons = Vec::new();
    let mut allowed: Vec<Span> = vec![(0, u64::MAX)];
    for seen in reads::from_others(index, number).0 {
        let spans = spans_of(index, seen);
        allowed = intersection(&allowed, &spans);
        let (key, value) = (&index.chains[seen.chain].key, shown(seen.value));
        reasons.push(format!("{} read {key} = {value}: {}", name(number), told(&spans)));
        if allowed.is_empty() {
            let involved = [vec![number], writers_around(index, seen)].concat();
            return Some(index.violation(Kind::FracturedView, &reasons, &involved));
        }
    }
    let at_begin = moments.at_begin(me.begin, me.begun);
    allowed = intersection(&allowed, &[at_begin]);
    reasons.push(format!("{} began: {}", name(number), told(&[at_begin])));
    if allowed.is_empty() {
        return Some(index.violation(Kind::WrongView, &reasons, &[number]));
    }
    if me.mode != Mode::Snapshot {
        return None;
    }
    for &(chain, place) in &index.made[number] {
        let chain = &index.chains[chain];
        let Some(before) = place.checked_sub(1).map(|place| chain.versions[place]) else {
            continue;
        };
        let in_view = (before.revision, u64::MAX);
        allowed = intersection(&allowed, &[in_view]);
        let key = &chain.key;
        reasons.push(format!("{} wrote the next {key}: {}", name(number), told(&[in_view])));
        if allowed.is_empty() {
            let involved: Vec<usize> = before.writer.into_iter().chain([number]).collect();
            return Some(index.violation(Kind::FirstUpdaterLost, &reasons, &involved));
        }
    }
    None
}

/// The revisions at which the key was in the state that was seen.
fn spans_of(index: &Index<'_>, seen: Seen) -> Vec<Span> {
    let chain = &index.chains[seen.chain];
    let versions = &chain.versions;
    let span = |place: usize| {
        let end = versions.get(place + 1).map_or(u64::MAX, |next| next.revision);
        (versions[place].revision, end)
    };
    match seen.value {
        None if chain.may_be_deleted => vec![(0, u64::MAX)],
        None => {
            let missing = (0..versions.len()).filter(|&place| versions[place].value.is_none());
            missing.map(span).collect()
        }
        // Where the place is not known, the read proves nothing.
        Some(value) => match index.places.get(&value) {
            Some(&place) if index.written[&value].chain == seen.chain => vec![span(place)],
            _ => vec![(0, u64::MAX)],
        },
    }
}

fn writers_around(index: &Index<'_>, seen: Seen) -> Vec<usize> {
    let place = seen.value.and_then(|value| index.places.get(&value)).copied().unwrap_or(0);
    let versions = index.chains[seen.chain].versions.iter().skip(place).take(2);
    versions.filter_map(|version| version.writer).collect()
}

fn intersection(one: &[Span], other: &[Span]) -> Vec<Span> {
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
    let common = pairs.map(|(one, other)| (one.0.max(other.0), one.1.min(other.1)));
    common.filter(|(from, to)| from < to).collect()
}

fn told(spans: &[Span]) -> String {
    let spans: Vec<String> = spans
        .iter()
        .map(|&(from, to)| match to {
            u64::MAX => format!("{from} or later"),
            _ => format!("{from} to {}", to.saturating_sub(1)),
        })
        .collect();
    format!("the view is of revision {}", spans.join(", or "))
}

impl Moments {
    fn new(index: &Index<'_>) -> Self {
        let (mut ended, mut began) = (Vec::new(), Vec::new());
        for (number, transaction) in index.all.iter().enumerate() {
            let Some(revision) = index.revisions[number] else { continue };
            if matches!(transaction.outcome, Outcome::Committed { .. }) {
                ended.push((transaction.end, revision));
            }
            began.push((transaction.begin, revision));
        }
        ended.sort_unstable();
        began.sort_unstable();
        let mut highest = 0;
        for (_, revision) in &mut ended {
            highest = highest.max(*revision);
            *revision = highest;
        }
        let mut lowest = u64::MAX;
        for (_, revision) in began.iter_mut().rev() {
            lowest = lowest.min(*revision);
            *revision = lowest;
        }
        Self { ended, began }
    }

    /// The revisions that a view can have: it holds what had ended before the begin, and nothing
    /// that began after BEGIN was answered.
    fn at_begin(&self, begin: u64, begun: u64) -> Span {
        let ended = self.ended.partition_point(|&(end, _)| end < begin);
        let from = ended.checked_sub(1).map_or(0, |last| self.ended[last].1);
        let began = self.began.partition_point(|&(other, _)| other <= begun);
        let to = self.began.get(began).map_or(u64::MAX, |next| next.1);
        (from, to)
    }
}
