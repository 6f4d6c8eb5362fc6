//! The k nearest: rows whose values are numbers, by their distance from a number.
//!
//! All rows are read, and few kept: at most k of the numbers below `x` and k of the others, each in
//! a heap whose farthest gives way. On one side the closer of two is simply the greater, or the
//! smaller, which is exact whatever the numbers are; only when the sides are merged at the end are
//! distances compared.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::vec::IntoIter;

use super::scan::{Row, Scan};
use crate::matching::Number;
use crate::step::Step;

/// The rows closest to a number, once all have been read.
#[derive(Debug)]
pub struct Nearest {
    scan: Scan,
    x: Number,
    rows_max: usize,
    /// Numbers below `x`, mirrored at zero: the farthest is the greatest here too.
    below: BinaryHeap<Candidate>,
    /// Numbers from `x` on.
    above: BinaryHeap<Candidate>,
    found: Option<IntoIter<Row>>,
}

/// A row that may be among the nearest. The farther is the greater; of rows as far, the one with
/// the greater key.
#[derive(Debug)]
struct Candidate {
    number: Number,
    row: Row,
}

impl Nearest {
    pub(crate) fn new(scan: Scan, x: Number, rows_max: usize) -> Nearest {
        let scan = scan.with_turns();
        let (below, above) = (BinaryHeap::new(), BinaryHeap::new());
        Nearest { scan, x, rows_max, below, above, found: None }
    }

    /// The next row, the closest first. Pauses as [`Scan::next_row`] does.
    ///
    /// # Errors
    ///
    /// As [`Scan::next_row`].
    pub fn next_row(&mut self) -> Step<Option<Row>> {
        if self.found.is_none() {
            while let Some(row) = self.scan.next_row()? {
                self.offer(row);
            }
        }
        Ok(self
            .found
            .get_or_insert_with(|| {
                let below = std::mem::take(&mut self.below).into_sorted_vec();
                let above = std::mem::take(&mut self.above).into_sorted_vec();
                merged(&self.x, below, above, self.rows_max).into_iter()
            })
            .next())
    }

    fn offer(&mut self, row: Row) {
        let number = row.value().and_then(|value| Number::of_value(&value, value.kind()));
        let Some(number) = number else { return };
        let (side, number) = if number < self.x {
            (&mut self.below, number.negated())
        } else {
            (&mut self.above, number)
        };
        let candidate = Candidate { number, row };
        if side.len() < self.rows_max {
            side.push(candidate);
        } else if let Some(mut farthest) = side.peek_mut()
            && candidate < *farthest
        {
            *farthest = candidate;
        }
    }
}

/// Both sides, each the closest first, as one.
fn merged(x: &Number, below: Vec<Candidate>, above: Vec<Candidate>, rows_max: usize) -> Vec<Row> {
    let mut below = below.into_iter().map(|one| Candidate { number: one.number.negated(), ..one });
    let mut above = above.into_iter();
    let (mut lower, mut upper) = (below.next(), above.next());
    let mut rows = Vec::new();
    while rows.len() < rows_max {
        let is_lower_next = match (&lower, &upper) {
            (Some(lower), Some(upper)) => {
                let distances = x.compare_distances(&lower.number, &upper.number);
                distances.then_with(|| lower.row.key().cmp(upper.row.key())).is_lt()
            }
            (lower, _) => lower.is_some(),
        };
        let next = if is_lower_next {
            std::mem::replace(&mut lower, below.next())
        } else {
            std::mem::replace(&mut upper, above.next())
        };
        let Some(next) = next else { break };
        rows.push(next.row);
    }
    rows
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.number.cmp(&other.number).then_with(|| self.row.key().cmp(other.row.key()))
    }
}
