//! Cycles in a directed graph of numbered nodes: strongly connected components after Tarjan,
//! without recursion, and a short cycle inside one. What nodes and edges mean is not known here.

use std::collections::{HashMap, VecDeque};

/// An edge, from and to.
pub(super) type Arrow = (usize, usize);

/// How many nodes of a component are tried as the start of its shortest cycle.
const STARTS_MAX: usize = 50;

/// Edges by the node that they start at, all in one list.
struct Outgoing {
    /// Where each node's edges begin in `edges`; one more at the end.
    starts: Vec<usize>,
    /// Numbers of edges.
    edges: Vec<usize>,
}

impl Outgoing {
    fn new(nodes: usize, arrows: &[Arrow]) -> Self {
        let mut starts = vec![0; nodes + 1];
        for &(from, _) in arrows {
            starts[from + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut edges = vec![0; arrows.len()];
        for (edge, &(from, _)) in arrows.iter().enumerate() {
            edges[next[from]] = edge;
            next[from] += 1;
        }
        Self { starts, edges }
    }

    fn of(&self, node: usize) -> &[usize] {
        &self.edges[self.starts[node]..self.starts[node + 1]]
    }
}

/// The strongly connected components of more than one node.
pub(super) fn components(nodes: usize, arrows: &[Arrow]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let outgoing = Outgoing::new(nodes, arrows);
    let mut found = Vec::new();
    let mut order = vec![UNSEEN; nodes];
    let mut lowest = vec![0; nodes];
    let mut is_open = vec![false; nodes];
    let mut open = Vec::new();
    let mut count = 0;
    // Each entry is a node and how many of its edges were followed.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for root in 0..nodes {
        if order[root] == UNSEEN {
            path.push((root, 0));
        }
        while let Some((node, followed)) = path.pop() {
            if followed == 0 {
                order[node] = count;
                lowest[node] = count;
                count += 1;
                open.push(node);
                is_open[node] = true;
            }
            if let Some(&edge) = outgoing.of(node).get(followed) {
                path.push((node, followed + 1));
                let to = arrows[edge].1;
                if order[to] == UNSEEN {
                    path.push((to, 0));
                } else if is_open[to] {
                    lowest[node] = lowest[node].min(order[to]);
                }
                continue;
            }
            if let Some(&(parent, _)) = path.last() {
                lowest[parent] = lowest[parent].min(lowest[node]);
            }
            if lowest[node] == order[node] {
                let start = open.iter().rposition(|&other| other == node).unwrap_or(0);
                let component = open.split_off(start);
                component.iter().for_each(|&member| is_open[member] = false);
                if component.len() > 1 {
                    found.push(component);
                }
            }
        }
    }
    found
}

/// A short cycle inside the component, as numbers of edges. Nodes that are `free` do not count
/// for its length.
pub(super) fn short_cycle(
    component: &[usize],
    arrows: &[Arrow],
    free: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let mut outgoing: HashMap<usize, Vec<usize>> = HashMap::new();
    component.iter().for_each(|&node| {
        outgoing.insert(node, Vec::new());
    });
    for (edge, (from, to)) in arrows.iter().enumerate() {
        if outgoing.contains_key(to)
            && let Some(edges) = outgoing.get_mut(from)
        {
            edges.push(edge);
        }
    }
    let starts = component.iter().filter(|&&node| !free(node)).take(STARTS_MAX);
    let cycles = starts.filter_map(|&start| cycle_through(start, arrows, &outgoing, &free));
    let shortest = cycles.min_by_key(|(length, _)| *length);
    shortest.map(|(_, edges)| edges).unwrap_or_default()
}

/// The shortest way from a node back to itself. Breadth first, free nodes before others.
fn cycle_through(
    start: usize,
    arrows: &[Arrow],
    outgoing: &HashMap<usize, Vec<usize>>,
    free: &impl Fn(usize) -> bool,
) -> Option<(usize, Vec<usize>)> {
    let mut reached_by: HashMap<usize, usize> = HashMap::new();
    let mut todo = VecDeque::from([(start, 0)]);
    let mut done = HashMap::from([(start, 0)]);
    while let Some((node, length)) = todo.pop_front() {
        if done.get(&node).is_some_and(|&shorter| shorter < length) {
            continue;
        }
        for &edge in &outgoing[&node] {
            let to = arrows[edge].1;
            if to == start {
                return Some((length + 1, way_back(start, edge, arrows, &reached_by)));
            }
            let longer = length + usize::from(!free(to));
            if done.get(&to).is_some_and(|&shorter| shorter <= longer) {
                continue;
            }
            done.insert(to, longer);
            reached_by.insert(to, edge);
            if free(to) {
                todo.push_front((to, longer));
            } else {
                todo.push_back((to, longer));
            }
        }
    }
    None
}

fn way_back(
    start: usize,
    last: usize,
    arrows: &[Arrow],
    reached_by: &HashMap<usize, usize>,
) -> Vec<usize> {
    let mut edges = vec![last];
    let mut node = arrows[last].0;
    while node != start
        && let Some(&edge) = reached_by.get(&node)
    {
        edges.push(edge);
        node = arrows[edge].0;
    }
    edges.reverse();
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_without_cycles_has_no_components() {
        assert!(components(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]).is_empty());
        assert!(components(0, &[]).is_empty());
    }

    #[test]
    fn components_are_found_apart() {
        let arrows = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 3), (4, 5)];
        let mut found = components(6, &arrows);
        found.iter_mut().for_each(|component| component.sort_unstable());
        found.sort();
        assert_eq!(found, [vec![0, 1, 2], vec![3, 4]]);
    }

    #[test]
    fn a_short_cycle_is_closed_and_short() {
        let arrows = [(0, 1), (1, 2), (2, 3), (3, 0), (2, 1)];
        let cycle = short_cycle(&[0, 1, 2, 3], &arrows, |_| false);
        assert_eq!(cycle.len(), 2);
        let closed = cycle.iter().zip(cycle.iter().cycle().skip(1));
        assert!(closed.take(2).all(|(&one, &next)| arrows[one].1 == arrows[next].0));
    }

    #[test]
    fn a_long_path_needs_no_deep_stack() {
        let nodes = 1_000_000;
        let mut arrows: Vec<Arrow> = (1..nodes).map(|node| (node - 1, node)).collect();
        arrows.push((nodes - 1, 0));
        assert_eq!(components(nodes, &arrows)[0].len(), nodes);
    }
}
