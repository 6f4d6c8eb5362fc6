//! The graph of who must come before whom, and the search for cycles in it. An edge from a
//! SNAPSHOT transaction's read to the next version is left out: it is what that isolation does
//! not promise. Which edges mean what, the module page says.

use super::cycles::{self, Arrow};
use super::history::{Mode, Outcome};
use super::index::Index;
use super::reads::{self, Seen};
use super::report::{Kind, Violation, name, shown};

/// Cycles that are reported, at most.
const CYCLES_MAX: usize = 5;

#[derive(Debug, Clone, Copy)]
enum Reason {
    /// The version at this place came next.
    WroteNext { chain: usize, place: usize },
    /// It read what the other wrote.
    ReadFrom(Seen),
    /// It read a version; the other wrote the one at this place, or an earlier one.
    ReadBefore(Seen, usize),
    /// It had ended when the other began.
    RealTime,
}

impl Reason {
    /// The kinds of edges are searched for cycles in this order.
    fn stage(self) -> usize {
        match self {
            Self::WroteNext { .. } => 0,
            Self::ReadFrom(_) => 1,
            Self::ReadBefore(..) => 2,
            Self::RealTime => 3,
        }
    }
}

/// Transactions are nodes by their number; moments of real time follow them.
struct Graph {
    nodes: usize,
    arrows: Vec<Arrow>,
    reasons: Vec<Reason>,
}

impl Graph {
    fn add(&mut self, from: Option<usize>, to: Option<usize>, reason: Reason) {
        if let Some((from, to)) = from.zip(to).filter(|(from, to)| from != to) {
            self.arrows.push((from, to));
            self.reasons.push(reason);
        }
    }
}

/// Builds the graph and looks for cycles, among few kinds of edges first.
pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut graph = Graph { nodes: index.all.len(), arrows: Vec::new(), reasons: Vec::new() };
    let mut violations = Vec::new();
    add_versions(index, &mut graph);
    for reader in (0..index.all.len()).filter(|&reader| index.counts[reader]) {
        for seen in reads::from_others(index, reader).0 {
            match seen.value {
                Some(_) => add_read(index, &mut graph, reader, seen),
                None => violations.extend(add_read_of_nothing(index, &mut graph, reader, seen)),
            }
        }
    }
    add_real_time(index, &mut graph);
    for last in 0..=3 {
        let edges: Vec<usize> =
            (0..graph.arrows.len()).filter(|&edge| graph.reasons[edge].stage() <= last).collect();
        let arrows: Vec<Arrow> = edges.iter().map(|&edge| graph.arrows[edge]).collect();
        let components = cycles::components(graph.nodes, &arrows);
        for component in components.iter().take(CYCLES_MAX) {
            let is_moment = |node| node >= index.all.len();
            let cycle = cycles::short_cycle(component, &arrows, is_moment);
            let cycle: Vec<usize> = cycle.into_iter().map(|edge| edges[edge]).collect();
            violations.push(explain(index, &graph, &cycle));
        }
        if !components.is_empty() {
            break;
        }
    }
    violations
}

fn add_versions(index: &Index<'_>, graph: &mut Graph) {
    for (chain, versions) in index.chains.iter().enumerate() {
        let mut before = None;
        for (place, version) in versions.versions.iter().enumerate() {
            graph.add(before, version.writer, Reason::WroteNext { chain, place });
            before = version.writer.or(before);
        }
    }
}

/// The first version from this place on whose writer is known.
fn writer_from(index: &Index<'_>, chain: usize, place: usize) -> Option<(usize, usize)> {
    let versions = index.chains[chain].versions.iter().enumerate().skip(place);
    versions.into_iter().find_map(|(place, version)| Some((place, version.writer?)))
}

fn add_next(index: &Index<'_>, graph: &mut Graph, reader: usize, seen: Seen, place: usize) {
    if index.all[reader].mode == Mode::Snapshot {
        return;
    }
    if let Some((place, writer)) = writer_from(index, seen.chain, place + 1) {
        graph.add(Some(reader), Some(writer), Reason::ReadBefore(seen, place));
    }
}

fn add_read(index: &Index<'_>, graph: &mut Graph, reader: usize, seen: Seen) {
    let Some(value) = seen.value else { return };
    let written = index.written.get(&value).filter(|written| written.chain == seen.chain);
    let Some(written) = written.filter(|written| index.counts[written.writer]) else { return };
    graph.add(Some(written.writer), Some(reader), Reason::ReadFrom(seen));
    if let Some(&place) = index.places.get(&value) {
        add_next(index, graph, reader, seen, place);
    }
}

/// A key may have been missing several times. What is certain: the reader comes after the first
/// of the times that it can have seen, and before what ended the last of them.
fn add_read_of_nothing(
    index: &Index<'_>,
    graph: &mut Graph,
    reader: usize,
    seen: Seen,
) -> Option<Violation> {
    let chain = &index.chains[seen.chain];
    if chain.may_be_deleted {
        return None;
    }
    let versions = &chain.versions;
    let me = &index.all[reader];
    let own = index.made[reader].iter().find(|(chain, _)| *chain == seen.chain);
    let times = (0..own.map_or(versions.len(), |&(_, place)| place)).filter(|&place| {
        let came_in_time = versions[place].writer.is_none_or(|by| index.all[by].begin < me.end);
        let is_over = versions.get(place + 1).and_then(|next| next.writer);
        let is_over = is_over.is_some_and(|by| ends_before(index, by, reader));
        versions[place].value.is_none() && came_in_time && !is_over
    });
    let times: Vec<usize> = times.collect();
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
        let key = &chain.key;
        let reason = format!("{} read {key} = missing, when it was never so", name(reader));
        let writers = versions.iter().filter_map(|version| version.writer);
        let involved: Vec<usize> = writers.take(5).chain([reader]).collect();
        return Some(index.violation(Kind::RealTime, &[reason], &involved));
    };
    graph.add(versions[first].writer, Some(reader), Reason::ReadFrom(seen));
    add_next(index, graph, reader, seen, last);
    None
}

/// Whether it is known that one had ended before the other began.
fn ends_before(index: &Index<'_>, one: usize, other: usize) -> bool {
    is_acknowledged(index, one) && index.all[one].end < index.all[other].begin
}

/// A transaction of unknown outcome may take effect long after its client gave up.
fn is_acknowledged(index: &Index<'_>, number: usize) -> bool {
    matches!(index.all[number].outcome, Outcome::Committed { .. })
}

/// One chain of moments, so that n transactions need 3n edges and not n².
///
/// Those who end lead to the next moment, and a moment leads to those who begin after it:
/// `T1 -> moment -> moment -> T2`.
fn add_real_time(index: &Index<'_>, graph: &mut Graph) {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (number, transaction) in index.all.iter().enumerate().filter(|(n, _)| index.counts[*n]) {
        // At equal times nobody is before the other, so begins are sorted before ends.
        events.push((transaction.begin, false, number));
        if is_acknowledged(index, number) {
            events.push((transaction.end, true, number));
        }
    }
    events.sort_unstable();
    let mut moment: Option<usize> = None;
    let mut is_used = true;
    for (_, is_end, number) in events {
        if !is_end {
            graph.add(moment, Some(number), Reason::RealTime);
            is_used = true;
            continue;
        }
        if is_used {
            let next = graph.nodes;
            graph.nodes += 1;
            graph.add(moment, Some(next), Reason::RealTime);
            moment = Some(next);
            is_used = false;
        }
        graph.add(Some(number), moment, Reason::RealTime);
    }
}

fn explain(index: &Index<'_>, graph: &Graph, cycle: &[usize]) -> Violation {
    let is_moment = |node: usize| node >= index.all.len();
    // Begin at a transaction, so that a way through moments is not cut in two.
    let start = cycle.iter().position(|&edge| !is_moment(graph.arrows[edge].0)).unwrap_or(0);
    let mut lines = Vec::new();
    let mut involved = Vec::new();
    let mut left = 0;
    let (mut most, mut missed) = (0, 0);
    for &edge in cycle[start..].iter().chain(&cycle[..start]) {
        let (from, to) = graph.arrows[edge];
        let reason = graph.reasons[edge];
        most = most.max(reason.stage());
        missed += usize::from(matches!(reason, Reason::ReadBefore(..)));
        if !is_moment(from) {
            left = from;
            involved.push(from);
        }
        if !is_moment(to) {
            lines.push(step(index, left, to, reason));
        }
    }
    let kind = match (most, missed) {
        (0, _) => Kind::DirtyWrite,
        (1, _) => Kind::CircularFlow,
        (2, 1) => Kind::GSingle,
        (2, _) => Kind::G2,
        _ => Kind::RealTime,
    };
    index.violation(kind, &lines, &involved)
}

fn step(index: &Index<'_>, from: usize, to: usize, reason: Reason) -> String {
    let (one, other) = (name(from), name(to));
    let key = |chain: usize| &index.chains[chain].key;
    let version = |chain: usize, place: usize| shown(index.chains[chain].versions[place].value);
    let because = match reason {
        Reason::WroteNext { chain, place } => {
            let (key, value) = (key(chain), version(chain, place));
            format!("{one} wrote {key} before {other} made it {value} (ww)")
        }
        Reason::ReadFrom(seen) => {
            let by = if seen.by_scan { " by a scan" } else { "" };
            let (key, value) = (key(seen.chain), shown(seen.value));
            format!("{other} read {key} = {value}{by}, which {one} had left (wr)")
        }
        Reason::ReadBefore(seen, place) => {
            let by = if seen.by_scan { " by a scan" } else { "" };
            let (key, value) = (key(seen.chain), shown(seen.value));
            let next = version(seen.chain, place);
            format!("{one} read {key} = {value}{by}, before {other} made it {next} (rw)")
        }
        Reason::RealTime => format!("{one} had ended before {other} began (rt)"),
    };
    format!("{one} -> {other}: {because}")
}
