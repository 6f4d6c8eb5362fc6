//! Reading in key order across shards: a merge of the shards' ordered indexes.
//!
//! Each shard is read in short runs under its latch; the runs are merged by key. A run costs what
//! it returns, and nothing is held between runs: the view's revision keeps the result consistent.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::record::Record;
use super::shard::{Gone, Seen, Shards};
use crate::key::Key;
use crate::limits::KEYS_PER_LATCH_MAX;
use crate::types::{Interval, Revision, ShardIndex};

const RUN_ROWS_MIN: usize = 8;
const RUN_ROWS_MAX: usize = KEYS_PER_LATCH_MAX;

/// What a scan comes upon.
#[derive(Debug, Clone)]
pub(crate) enum Hit {
    Record(Record),
    /// A key whose version at this view is not in memory.
    Gone(Key, Gone),
}

impl Hit {
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Hit::Record(record) => record.key(),
            Hit::Gone(key, _) => key,
        }
    }
}

#[derive(Debug)]
struct Run {
    hits: VecDeque<Hit>,
    /// Where the shard is to be read on; none when it has no more.
    next_from: Option<Box<[u8]>>,
}

/// The next hit of one shard. The smallest key is the greatest, as a heap wants it.
#[derive(Debug)]
struct Head {
    hit: Hit,
    shard: ShardIndex,
}

/// A merge of all shards over an interval, as a view at one revision sees it.
#[derive(Debug)]
pub(crate) struct Merge {
    to: Option<Box<[u8]>>,
    revision: Revision,
    run_rows: usize,
    runs: Vec<Run>,
    heads: BinaryHeap<Head>,
    is_started: bool,
}

impl Merge {
    /// `rows_expected` decides how much is read at a time.
    pub(crate) fn new(
        shards: &Shards,
        interval: &Interval,
        revision: Revision,
        rows_expected: Option<u64>,
    ) -> Merge {
        let from = || (!interval.is_empty()).then(|| interval.from.clone());
        let each = rows_expected
            .and_then(|rows| usize::try_from(rows).ok())
            .map_or(RUN_ROWS_MAX, |rows| rows / shards.count() * 2);
        Merge {
            to: interval.to.clone(),
            revision,
            run_rows: each.clamp(RUN_ROWS_MIN, RUN_ROWS_MAX),
            runs: shards
                .indices()
                .map(|_| Run { hits: VecDeque::new(), next_from: from() })
                .collect(),
            heads: BinaryHeap::new(),
            is_started: false,
        }
    }

    /// The next key in order.
    pub(crate) fn next(&mut self, shards: &Shards) -> Option<Hit> {
        if !self.is_started {
            self.is_started = true;
            shards.indices().for_each(|shard| self.advance(shards, shard));
        }
        let Head { hit, shard } = self.heads.pop()?;
        self.advance(shards, shard);
        Some(hit)
    }

    /// Puts the shard's next hit among the heads.
    fn advance(&mut self, shards: &Shards, shard: ShardIndex) {
        let run = &mut self.runs[shard.0];
        while run.hits.is_empty()
            && let Some(from) = run.next_from.take()
        {
            run.read(shards, shard, &from, self.to.as_deref(), self.revision, self.run_rows);
        }
        if let Some(hit) = run.hits.pop_front() {
            self.heads.push(Head { hit, shard });
        }
    }
}

impl Run {
    fn read(
        &mut self,
        shards: &Shards,
        shard: ShardIndex,
        from: &[u8],
        to: Option<&[u8]>,
        revision: Revision,
        rows_max: usize,
    ) {
        let hits = &mut self.hits;
        self.next_from = shards.read(shard).scan(from, to, revision, |seen, key| {
            match seen {
                Seen::Record(record) => hits.push_back(Hit::Record(record.clone())),
                Seen::Gone(gone) => hits.push_back(Hit::Gone(Key::from(key), gone)),
                Seen::Nothing => debug_assert!(false, "a scan passes over what is not there"),
            }
            hits.len() < rows_max
        });
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        other.hit.key().cmp(self.hit.key())
    }
}
