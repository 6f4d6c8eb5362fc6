//! Reading in key order across shards: a merge of the shards' ordered indexes.
//!
//! Each shard is read in short runs under its latch; the runs are merged by key. A run costs what
//! it returns, and nothing is held between runs: the view's revision keeps the result consistent.
//!
//! # Keys that are not in memory
//!
//! If keys may leave memory, what is *stored* of them is read in pages, and merged as if it were
//! one more shard:
//!
//! ```text
//!   shard 0   b d ........ m │ not read yet         memory was read up to m at least,
//!   shard 1   c e ........... p │                   so a page may go up to m
//!   stored    a b c d e f g │ next page ... m
//! ```
//!
//! A page is read only after every shard has been read up to its end. So a key that memory did not
//! have then had left it before, and the page, read later, has its newest version of that time or
//! a newer one. If that is newer than the view, the key has come back to memory since, and is
//! looked at again. Of a key that memory had, memory's word counts: it may be newer than what is
//! stored, so keys in memory that the view does not show hide what is stored of them.

use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use super::record::Record;
use super::shard::{Gone, Seen};
use super::shards::Shards;
use crate::db::Shared;
use crate::durability::{Stamp, first_wipe_after};
use crate::key::Key;
use crate::limits::{KEYS_PER_LATCH_MAX, PAGE_BYTES};
use crate::memory::Way;
use crate::step::{Fetching, PageRequest, Step};
use crate::types::{Interval, Revision, ShardIndex};

const RUN_ROWS_MIN: usize = 8;
const RUN_ROWS_MAX: usize = KEYS_PER_LATCH_MAX;

/// What a scan comes upon.
#[derive(Debug, Clone)]
pub(crate) enum Hit {
    Record(Record),
    /// A key without one, and why.
    Key(Key, Without),
}

/// Why a scan has no version of a key in hand.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Without {
    /// Its version at this view is not in memory.
    Gone(Gone),
    /// It did not exist at this view.
    Hidden,
    /// It has to be looked at by itself.
    Again,
}

impl Hit {
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Hit::Record(record) => record.key(),
            Hit::Key(key, _) => key,
        }
    }
}

#[derive(Debug)]
struct Run {
    hits: VecDeque<Hit>,
    /// Where the shard is to be read on; none when it has no more.
    next_from: Option<Box<[u8]>>,
}

/// What is stored of keys, beside what is in memory.
#[derive(Debug)]
struct Stored {
    rows: VecDeque<Record>,
    /// What may have deleted some of these rows since.
    wipes: Vec<Stamp>,
    /// Up to here all is in `rows`, or has been; none when there is no more.
    next_from: Option<Box<[u8]>>,
}

/// The next hit of one shard. The smallest key is the greatest, as a heap wants it.
#[derive(Debug)]
struct Head {
    hit: Hit,
    shard: ShardIndex,
}

/// What is read of every shard.
#[derive(Debug)]
struct Wanted {
    /// Where it ends.
    to: Option<Box<[u8]>>,
    revision: Revision,
    /// How much is read at a time.
    run_rows: usize,
    /// Whether keys are wanted that the view does not show.
    with_hidden: bool,
}

/// A merge of all shards over an interval, as a view at one revision sees it.
#[derive(Debug)]
pub(crate) struct Merge {
    wanted: Wanted,
    runs: Vec<Run>,
    heads: BinaryHeap<Head>,
    /// None if all keys are in memory.
    stored: Option<Stored>,
    is_started: bool,
}

impl Merge {
    /// `rows_expected` decides how much is read at a time.
    pub(crate) fn new(
        shared: &Shared,
        interval: &Interval,
        revision: Revision,
        rows_expected: Option<u64>,
    ) -> Merge {
        let shards = &shared.shards;
        let may_leave = shared.memory.way() == Way::Leave;
        let from = || (!interval.is_empty()).then(|| interval.from.clone());
        let each = rows_expected
            .and_then(|rows| usize::try_from(rows).ok())
            .map_or(RUN_ROWS_MAX, |rows| rows / shards.count() * 2);
        Merge {
            wanted: Wanted {
                to: interval.to.clone(),
                revision,
                run_rows: each.clamp(RUN_ROWS_MIN, RUN_ROWS_MAX),
                with_hidden: may_leave,
            },
            runs: shards
                .indices()
                .map(|_| Run { hits: VecDeque::new(), next_from: from() })
                .collect(),
            heads: BinaryHeap::new(),
            stored: may_leave.then(|| Stored {
                rows: VecDeque::new(),
                wipes: Vec::new(),
                next_from: from(),
            }),
            is_started: false,
        }
    }

    /// The next key in order.
    #[inline]
    pub(crate) fn next(&mut self, shared: &Shared, fetching: &mut Fetching) -> Step<Option<Hit>> {
        if self.stored.is_none() {
            return Ok(self.next_here(&shared.shards));
        }
        self.start(&shared.shards);
        match self.next_stored(shared, fetching)? {
            Some(hit) => Ok(Some(hit)),
            None => Ok(self.next_here(&shared.shards)),
        }
    }

    /// Puts each shard's first hit among the heads.
    fn start(&mut self, shards: &Shards) {
        if self.is_started {
            return;
        }
        self.is_started = true;
        for shard in shards.indices() {
            let first = self.runs[shard.0].next(shards, shard, &self.wanted);
            self.heads.extend(first.map(|hit| Head { hit, shard }));
        }
    }

    /// The next key in memory.
    fn next_here(&mut self, shards: &Shards) -> Option<Hit> {
        self.start(shards);
        let mut head = self.heads.peek_mut()?;
        match self.runs[head.shard.0].next(shards, head.shard, &self.wanted) {
            Some(next) => Some(std::mem::replace(&mut head.hit, next)),
            None => Some(PeekMut::pop(head).hit),
        }
    }

    /// The next key that is stored, if it comes before the next one in memory.
    fn next_stored(&mut self, shared: &Shared, fetching: &mut Fetching) -> Step<Option<Hit>> {
        loop {
            let Some(stored) = &mut self.stored else { return Ok(None) };
            let head = self.heads.peek().map(|head| head.hit.key());
            if let Some(row) = stored.rows.front() {
                return match head.map(|head| row.key().cmp(head)) {
                    Some(Ordering::Greater) => Ok(None),
                    Some(Ordering::Equal) => {
                        stored.rows.pop_front();
                        Ok(None)
                    }
                    Some(Ordering::Less) | None => {
                        let row = stored.rows.pop_front();
                        Ok(row.map(|row| hit_of(row, self.wanted.revision, &stored.wipes)))
                    }
                };
            }
            match &stored.next_from {
                Some(from) if head.is_none_or(|head| **from <= *head) => {
                    self.read_page(shared, fetching)?;
                }
                _ => return Ok(None),
            }
        }
    }

    /// Reads what is stored, up to where every shard has been read at most.
    fn read_page(&mut self, shared: &Shared, fetching: &mut Fetching) -> Step<()> {
        let Some(stored) = &mut self.stored else { return Ok(()) };
        let Some(from) = stored.next_from.clone() else { return Ok(()) };
        let read_up_to = self.runs.iter().filter_map(|run| run.next_from.as_ref()).min();
        let mut next_from = None;
        // Asked after memory was read: what was there then has not left before.
        if shared.memory.has_left() {
            let to = read_up_to.or(self.wanted.to.as_ref()).cloned();
            let interval = Interval { from, to };
            let rows_max = self.wanted.run_rows;
            let wanted = PageRequest { interval, rows_max, bytes_max: PAGE_BYTES };
            let page = fetching.page(wanted)?;
            stored.rows.extend(page.rows);
            stored.wipes = page.wipes;
            next_from = page.next_from;
        }
        stored.next_from = next_from.or(read_up_to.cloned());
        Ok(())
    }
}

/// What a view at `revision` sees of a row that is stored.
fn hit_of(row: Record, revision: Revision, wipes: &[Stamp]) -> Hit {
    let without = if row.revision() > revision {
        Without::Again
    } else if first_wipe_after(wipes, row.revision()).is_some_and(|wipe| wipe.revision <= revision)
    {
        Without::Hidden
    } else {
        return Hit::Record(row);
    };
    Hit::Key(Key::from(row.key()), without)
}

impl Run {
    /// The shard's next hit.
    #[inline]
    fn next(&mut self, shards: &Shards, shard: ShardIndex, wanted: &Wanted) -> Option<Hit> {
        if self.hits.is_empty() {
            self.read(shards, shard, wanted);
        }
        self.hits.pop_front()
    }

    /// Reads on until there is a hit, or no more.
    #[cold]
    fn read(&mut self, shards: &Shards, shard: ShardIndex, wanted: &Wanted) {
        let Wanted { ref to, revision, run_rows, with_hidden } = *wanted;
        let hits = &mut self.hits;
        while hits.is_empty()
            && let Some(from) = self.next_from.take()
        {
            let state = shards.read(shard);
            self.next_from =
                state.scan(&from, to.as_deref(), revision, with_hidden, |seen, key| {
                    hits.push_back(match seen {
                        Seen::Record(record) => Hit::Record(record.clone()),
                        Seen::Gone(gone) => Hit::Key(Key::from(key), Without::Gone(gone)),
                        Seen::Nothing => Hit::Key(Key::from(key), Without::Hidden),
                        Seen::Away => Hit::Key(Key::from(key), Without::Again),
                    });
                    hits.len() < run_rows
                });
        }
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    #[inline]
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    #[inline]
    fn cmp(&self, other: &Head) -> Ordering {
        other.hit.key().cmp(self.hit.key())
    }
}
