//! At what time a SERIALIZABLE transaction has judged what expires: when it first locked the key,
//! so that its reads repeat.
//!
//! A key that is read by itself is judged at that time, together with its lock; it is remembered
//! only if what was there can expire at all. A scan judges all of the interval that it locks at
//! once. What was judged stays judged: a later, larger scan adds only the gaps between.
//!
//! ```text
//!   GET k at 5       ....k............        k: 5
//!   SCAN g..p at 8   ..[=5===========)        k: 5, the rest of g..p: 8
//!   SCAN a..z at 9   [=][5===========)[===)   k: 5, the rest of g..p: 8, the rest: 9
//! ```
//!
//! Whoever reads without locks judges everything at one time, that of the read view.
//!
//! Pure bookkeeping, in the order of keys: intervals that do not overlap.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::store::record::Record;
use crate::types::Interval;

/// Times by key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judged {
    /// The time at which everything is judged, in milliseconds since the Unix epoch; none if each
    /// key has its own.
    all_at_ms: Option<u64>,
    /// By where an interval begins: where it ends, and its time in milliseconds since the Unix
    /// epoch.
    intervals: BTreeMap<Box<[u8]>, (End, u64)>,
}

/// Where an interval ends, itself not included; none is beyond all keys.
type End = Option<Box<[u8]>>;

impl Judged {
    /// Everything is judged at one time.
    pub(crate) fn at(time_ms: u64) -> Judged {
        Judged { all_at_ms: Some(time_ms), ..Judged::default() }
    }

    /// Whether there is something under a committed record's key; what is not judged yet counts as
    /// judged at `now_ms`, but is not noted.
    pub(crate) fn is_live(&self, record: &Record, now_ms: u64) -> bool {
        record.is_live(|| self.time_of(record.key()).unwrap_or(now_ms))
    }

    /// As [`Judged::is_live`], and notes what was not judged yet.
    pub(crate) fn judge(&mut self, record: &Record, now_ms: impl FnOnce() -> u64) -> bool {
        record.is_live(|| match self.time_of(record.key()) {
            Some(time_ms) => time_ms,
            None => {
                let now_ms = now_ms();
                self.note(&Interval::key(record.key()), now_ms);
                now_ms
            }
        })
    }

    /// The time at which a key was judged, if it was.
    pub(crate) fn time_of(&self, key: &[u8]) -> Option<u64> {
        if self.all_at_ms.is_some() {
            return self.all_at_ms;
        }
        let up_to = (Bound::Unbounded, Bound::Included(key));
        let (_, (to, time_ms)) = self.intervals.range::<[u8], _>(up_to).next_back()?;
        to.as_deref().is_none_or(|to| key < to).then_some(*time_ms)
    }

    /// Notes that what is not judged yet of an interval is judged at this time.
    pub(crate) fn note(&mut self, interval: &Interval, time_ms: u64) {
        if interval.is_empty() || self.all_at_ms.is_some() {
            return;
        }
        let mut from = interval.from.clone();
        for (begin, end) in self.overlapping(interval) {
            if from < begin {
                self.intervals.insert(from, (Some(begin), time_ms));
            }
            let Some(end) = end else { return };
            from = end;
        }
        let left = Interval { from, to: interval.to.clone() };
        if !left.is_empty() {
            self.intervals.insert(left.from, (left.to, time_ms));
        }
    }

    /// What is judged already and overlaps the interval, in order.
    fn overlapping(&self, interval: &Interval) -> Vec<(Box<[u8]>, End)> {
        self.judged_in(interval).map(|(from, (to, _))| (from.clone(), to.clone())).collect()
    }

    fn judged_in<'a>(
        &'a self,
        interval: &'a Interval,
    ) -> impl Iterator<Item = (&'a Box<[u8]>, &'a (End, u64))> {
        let first = (Bound::Unbounded, Bound::Included(&*interval.from));
        let first = self.intervals.range::<[u8], _>(first).next_back();
        let first = first.filter(|(_, (to, _))| to.as_ref().is_none_or(|to| *to > interval.from));
        let rest = (Bound::Excluded(&*interval.from), Bound::Unbounded);
        let rest = self.intervals.range::<[u8], _>(rest);
        first.into_iter().chain(rest.take_while(|(from, _)| interval.contains(from)))
    }

    /// What a scan of the interval needs of it.
    pub(crate) fn part(&self, interval: &Interval) -> Judged {
        let part = self.judged_in(interval).map(|(from, end)| (from.clone(), end.clone()));
        Judged { all_at_ms: self.all_at_ms, intervals: part.collect() }
    }

    /// Forgets every key.
    pub(crate) fn clear(&mut self) {
        self.intervals.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durability::Datum;
    use crate::types::{ValueKind, Version};

    fn times(judged: &Judged, keys: &[u8]) -> Vec<Option<u64>> {
        keys.iter().map(|key| judged.time_of(&[*key])).collect()
    }

    #[test]
    fn the_first_time_stays() {
        let mut judged = Judged::default();
        judged.note(&Interval::key(b"k"), 5);
        judged.note(&Interval::range(b"g", b"p"), 8);
        judged.note(&Interval::key(b"h"), 9);
        judged.note(&Interval::range(b"a", b"z"), 9);
        let expected = [Some(9), Some(8), Some(8), Some(5), Some(8), Some(9), None];
        assert_eq!(times(&judged, b"aghklpz"), expected);
        assert_eq!(judged.time_of(b"k\0"), Some(8), "a key is no prefix");
        judged.note(&Interval::all(), 11);
        judged.note(&Interval::all(), 12);
        assert_eq!(times(&judged, b"zAk"), [Some(11), Some(11), Some(5)]);
    }

    #[test]
    fn what_is_judged_is_noted_if_it_can_expire() {
        let datum = Datum { bytes: b"v", kind: ValueKind::Text, expires_ms: Some(10) };
        let record = Record::value_for(b"k", datum, Version(1));
        let mut judged = Judged::default();
        assert!(!judged.is_live(&record, 10) && judged.is_live(&record, 9));
        assert!(judged.judge(&record, || 9));
        assert!(judged.judge(&record, || 11), "as it was first");
        judged.judge(&Record::value(b"l", b"v", ValueKind::Text), || 9);
        assert_eq!(times(&judged, b"kl"), [Some(9), None]);
        let mut view = Judged::at(10);
        assert!(!view.judge(&record, || 9));
    }

    #[test]
    fn a_part_knows_what_the_whole_does() {
        let mut judged = Judged::default();
        judged.note(&Interval::range(b"c", b"f"), 1);
        judged.note(&Interval::key(b"h"), 2);
        judged.note(&Interval::range(b"j", b"m"), 3);
        let part = judged.part(&Interval::range(b"d", b"k"));
        assert_eq!(times(&part, b"dehjkl"), times(&judged, b"dehjkl"));
        assert!(judged.part(&Interval::range(b"f", b"h")).intervals.is_empty());
        judged.note(&Interval::range(b"m", b"m"), 4);
        assert_eq!(judged.intervals.len(), 3, "what is empty is not noted");
    }
}
