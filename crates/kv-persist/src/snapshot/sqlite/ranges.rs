//! Shares a walk over all keys among threads, although nobody knows how the keys are distributed.
//!
//! Each thread walks over a range, a piece at a time. After a piece, if another thread has nothing
//! to do, it gives away the upper half of what it has left: half of the keys that there could be,
//! not of those that there are. If that was little, it is asked again after the next piece.

use parking_lot::{Condvar, Mutex};
use rusqlite::types::ValueRef;

/// A key as SQLite orders it: text before blobs, each by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// One that is stored as text. What lies between two keys need not be text itself.
    Text(Vec<u8>),
    /// Any other.
    Blob(Vec<u8>),
}

impl Place {
    /// Before all keys, since none is empty.
    pub(super) fn start() -> Place {
        Place::Text(Vec::new())
    }

    /// Where a key column stands; none if it is no key.
    pub(super) fn of(value: ValueRef<'_>) -> Option<Place> {
        match value {
            ValueRef::Text(bytes) => Some(Place::Text(bytes.to_vec())),
            ValueRef::Blob(bytes) => Some(Place::Blob(bytes.to_vec())),
            _ => None,
        }
    }

    /// As a parameter of a statement.
    pub(super) fn value(&self) -> ValueRef<'_> {
        match self {
            Place::Text(bytes) => ValueRef::Text(bytes),
            Place::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }

    /// The bytes of the key column.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Place::Text(bytes) | Place::Blob(bytes) => bytes,
        }
    }

    /// The place just after this one.
    pub(super) fn next(mut self) -> Place {
        match &mut self {
            Place::Text(bytes) | Place::Blob(bytes) => bytes.push(0),
        }
        self
    }

    /// A place above `self` and at most `last`, about in the middle; none if there is hardly one.
    pub(super) fn middle(&self, last: &Place) -> Option<Place> {
        match (self, last) {
            (Place::Text(low), Place::Text(high)) => middle(low, high).map(Place::Text),
            (Place::Blob(low), Place::Blob(high)) => middle(low, high).map(Place::Blob),
            (Place::Text(_), Place::Blob(_)) => Some(Place::Blob(Vec::new())),
            (Place::Blob(_), Place::Text(_)) => None,
        }
    }
}

/// Takes the eight bytes after what the two have in common for a number.
fn middle(low: &[u8], high: &[u8]) -> Option<Vec<u8>> {
    let common = low.iter().zip(high).take_while(|(low, high)| low == high).count();
    let number = |bytes: &[u8]| {
        let mut eight = [0; 8];
        for (to, from) in eight.iter_mut().zip(&bytes[common..]) {
            *to = *from;
        }
        u64::from_be_bytes(eight)
    };
    let (from, to) = (number(low), number(high));
    // Rounded up, so that it is above `low`, and at most `high`.
    let half = to.checked_sub(from)?.div_ceil(2);
    let mut middle = high[..common].to_vec();
    let bytes = (from + half).to_be_bytes();
    let length = bytes.iter().rposition(|&byte| byte != 0)? + 1;
    middle.extend_from_slice(&bytes[..length]);
    (half > 0).then_some(middle)
}

/// Keys from `from` on, up to but without `to` if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: Place,
    pub(super) to: Option<Place>,
}

impl Range {
    /// Cuts off its upper half, given the last key in it.
    pub(super) fn split(&mut self, last: &Place) -> Option<Range> {
        let middle = self.from.middle(last)?;
        let to = self.to.replace(middle.clone());
        Some(Range { from: middle, to })
    }
}

/// The ranges that nobody walks over yet.
#[derive(Debug)]
pub(super) struct Ranges {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: Vec<Range>,
    /// Threads that walk over a range.
    busy: usize,
    /// Threads that wait for one.
    idle: usize,
    is_over: bool,
}

impl Ranges {
    /// Everything is one range.
    pub(super) fn new() -> Ranges {
        let all = Range { from: Place::start(), to: None };
        let state = State { free: vec![all], busy: 0, idle: 0, is_over: false };
        Ranges { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The next range for a thread, as soon as there is one; none when all is done.
    pub(super) fn take(&self) -> Option<Range> {
        let mut state = self.state.lock();
        state.idle += 1;
        while state.free.is_empty() && state.busy > 0 && !state.is_over {
            self.changed.wait(&mut state);
        }
        state.idle -= 1;
        let range = if state.is_over { None } else { state.free.pop() };
        state.busy += usize::from(range.is_some());
        range
    }

    /// Whether a thread waits for more than is free.
    pub(super) fn is_wanted(&self) -> bool {
        let state = self.state.lock();
        state.idle > state.free.len()
    }

    /// Gives a range away.
    pub(super) fn give(&self, range: Range) {
        self.state.lock().free.push(range);
        self.changed.notify_one();
    }

    /// Says that a thread is done with its range.
    pub(super) fn done(&self) {
        let mut state = self.state.lock();
        state.busy -= 1;
        if state.busy == 0 {
            self.changed.notify_all();
        }
    }

    /// Ends the walk for all, because one has failed.
    pub(super) fn end(&self) {
        self.state.lock().is_over = true;
        self.changed.notify_all();
    }

    /// Whether it was ended.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_middle_is_above_one_and_not_above_the_other(mut a: Vec<u8>, mut b: Vec<u8>) {
            if a > b {
                std::mem::swap(&mut a, &mut b);
            }
            match middle(&a, &b) {
                Some(middle) => prop_assert!(a < middle && middle <= b),
                // Nothing but zeros tells them apart, as far as it looks.
                None => {
                    let rest = b.strip_prefix(&a[..]);
                    prop_assert!(rest.is_some_and(|rest| rest.iter().take(8).all(|&at| at == 0)));
                }
            }
        }
    }

    #[test]
    fn halves_are_halves() {
        let text = |bytes: &str| Place::Text(bytes.as_bytes().to_vec());
        assert_eq!(text("user:1").middle(&text("user:5")), Some(text("user:3")));
        assert_eq!(text("user:1").middle(&text("user:1")), None);
        assert_eq!(text("a").middle(&Place::Blob(vec![7])), Some(Place::Blob(vec![])));
        let mut range = Range { from: text("a"), to: None };
        let upper = range.split(&text("c"));
        assert_eq!(range, Range { from: text("a"), to: Some(text("b")) });
        assert_eq!(upper, Some(Range { from: text("b"), to: None }));
    }
}
