//! One transaction with its nested ones: a stack of scopes over one set of touched keys.
//!
//! Pure bookkeeping: what is locked, what is written, and how to undo a scope. It latches nothing
//! and waits for nothing; [`super::work`] does that and tells it.
//!
//! A *scope* is one level of nesting. It remembers, of each key that it has changed, what the key
//! was to the tree when the scope began. Ending a child well adds to its parent's memory what the
//! parent does not remember yet; ending it badly brings every key back.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use super::judged::Judged;
use super::session::TxnInfo;
use crate::error::AbortReason;
use crate::key::Key;
use crate::lock::Mode;
use crate::lock::waits::Target;
use crate::store::record::Record;
use crate::types::{Interval, Isolation, Revision, SessionId, ShardIndex, TreeId, TxnId};

/// A transaction tree.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) id: TreeId,
    /// The session that its locks belong to: the one that began it, until it is
    /// [detached](super::session::Session::detach), then a number of its own.
    pub(crate) session: SessionId,
    pub(crate) isolation: Isolation,
    pub(crate) view: Option<ReadView>,
    pub(crate) aborted: Option<AbortReason>,
    /// The root first, the innermost last. Never empty.
    pub(crate) scopes: Vec<Scope>,
    scopes_begun: u64,
    pub(crate) touched: BTreeMap<Key, Touched>,
    /// Intervals that are locked to be read.
    pub(crate) ranges: Vec<Interval>,
    /// How deep the scope is, counted from 1, that has locked all keys to be written.
    holds_all: Option<usize>,
    /// At what time what expires is judged.
    pub(crate) judged: Judged,
    /// Of all writes, those included that scopes remember.
    write_set_bytes: usize,
}

/// A registered read view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadView {
    pub(crate) revision: Revision,
    pub(crate) opened: Instant,
    /// The time at which it is judged what has expired, in milliseconds since the Unix epoch.
    pub(crate) as_of_ms: u64,
}

/// One level of nesting.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Which of its tree it is, whatever it is called by whom.
    pub(crate) nth: u64,
    /// What the session that it is in calls it.
    pub(crate) txn: TxnId,
    pub(crate) begun: Instant,
    /// How long its requests wait for a lock; none is for ever.
    pub(crate) lock_wait_max: Option<Duration>,
    /// What the keys that it has changed were before. Empty for the root, which is undone by
    /// forgetting everything.
    undo: BTreeMap<Key, Before>,
    /// Whether it has deleted every key. What it has written since is still there.
    is_wiped: bool,
    /// Keys whose writes are its own.
    writes: usize,
}

/// What a tree has to do with one key: always a lock, sometimes a write.
#[derive(Debug, Clone)]
pub(crate) struct Touched {
    pub(crate) hash: u64,
    pub(crate) shard: ShardIndex,
    pub(crate) mode: Mode,
    /// Whether a command has shown the key's committed state. Then a rolled back child leaves a
    /// shared lock behind, for what was seen must stay true.
    pub(crate) is_shown: bool,
    pub(crate) write: Option<Write>,
}

/// A write that is not committed.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) record: Record,
    /// The scope that it belongs to, counted from 0, the root.
    pub(crate) scope: usize,
}

/// What a key was to the tree before a change: not touched, or locked and perhaps written.
type Before = Option<(Mode, Option<Write>)>;

/// A lock that a rolled back scope gives back: to be released, or lowered to `keep`.
#[derive(Debug)]
pub(crate) struct GivenBack {
    pub(crate) key: Key,
    pub(crate) hash: u64,
    pub(crate) shard: ShardIndex,
    pub(crate) keep: Option<Mode>,
}

impl Tree {
    pub(crate) fn new(
        id: TreeId,
        session: SessionId,
        isolation: Isolation,
        view: Option<ReadView>,
    ) -> Tree {
        Tree {
            id,
            session,
            isolation,
            view,
            aborted: None,
            scopes: Vec::with_capacity(1),
            scopes_begun: 0,
            touched: BTreeMap::new(),
            ranges: Vec::new(),
            holds_all: None,
            judged: view.map_or_else(Judged::default, |view| Judged::at(view.as_of_ms)),
            write_set_bytes: 0,
        }
    }

    /// Begins a scope: the root, or a child of the innermost.
    pub(crate) fn push_scope(
        &mut self,
        txn: TxnId,
        begun: Instant,
        lock_wait_max: Option<Duration>,
    ) {
        let (undo, nth) = (BTreeMap::new(), self.scopes_begun);
        self.scopes_begun += 1;
        self.scopes.push(Scope {
            nth,
            txn,
            begun,
            lock_wait_max,
            undo,
            is_wiped: false,
            writes: 0,
        });
    }

    pub(crate) fn innermost(&self) -> &Scope {
        &self.scopes[self.scopes.len() - 1]
    }

    /// The innermost transaction that its client has a name for; 0 if there is none.
    pub(crate) fn named(&self) -> TxnId {
        let named = self.scopes.iter().rev().find(|scope| scope.txn != TxnId::GROUP);
        named.map_or(TxnId(0), |scope| scope.txn)
    }

    /// How deep the innermost scope is that was begun before or as this one, counted from 1: what
    /// a transaction of a detached tree is called by those who are not in it.
    pub(crate) fn depth_of(&self, txn: TxnId) -> TxnId {
        let depth = self.scopes.iter().filter(|scope| scope.txn <= txn).count();
        TxnId(depth.max(1) as u64)
    }

    /// Its transactions, the root first.
    pub(crate) fn transactions(&self, now: Instant) -> impl Iterator<Item = TxnInfo> {
        self.scopes.iter().enumerate().map(move |(at, scope)| TxnInfo {
            txn: scope.txn,
            parent: at.checked_sub(1).map(|parent| self.scopes[parent].txn),
            isolation: self.isolation,
            is_aborted: self.aborted.is_some(),
            age: now.saturating_duration_since(scope.begun),
            writes: scope.writes,
        })
    }

    /// The tree's own state of a key, if it has written it.
    pub(crate) fn own(&self, key: &[u8]) -> Option<&Record> {
        let write = self.touched.get(key)?.write.as_ref()?;
        Some(&write.record)
    }

    /// Whether a range lock of the tree covers the key.
    pub(crate) fn range_covers(&self, key: &[u8]) -> bool {
        self.ranges.iter().any(|range| range.contains(key))
    }

    pub(crate) fn has_locks(&self) -> bool {
        !self.touched.is_empty() || self.has_ranges()
    }

    /// Whether it has any interval locked.
    pub(crate) fn has_ranges(&self) -> bool {
        self.holds_all.is_some() || !self.ranges.is_empty()
    }

    /// Whether all keys are locked to be written.
    pub(crate) fn holds_all(&self) -> bool {
        self.holds_all.is_some()
    }

    /// Whether it has deleted every key: then it sees nothing but what it has written since.
    #[inline]
    pub(crate) fn is_wiped(&self) -> bool {
        self.holds_all.is_some() && self.wiped_by().is_some()
    }

    /// Which of its transactions has deleted every key, if one has.
    pub(crate) fn wiped_by(&self) -> Option<TxnId> {
        self.scopes.iter().rev().find(|scope| scope.is_wiped).map(|scope| scope.txn)
    }

    pub(crate) fn lock_count(&self) -> usize {
        self.touched.len() + self.ranges.len() + usize::from(self.holds_all.is_some())
    }

    pub(crate) fn write_set_bytes(&self) -> usize {
        self.write_set_bytes
    }

    /// Has the innermost scope remember what a key is, if it does not yet.
    fn remember(&mut self, key: &Key) {
        let [_, .., scope] = &mut self.scopes[..] else { return };
        if scope.undo.contains_key(&**key) {
            return;
        }
        let before = self.touched.get(&**key).map(|held| (held.mode, held.write.clone()));
        self.write_set_bytes += bytes_before(&before);
        scope.undo.insert(key.clone(), before);
    }

    /// Notes that the lock has been granted.
    pub(crate) fn note_lock(&mut self, key: Key, hash: u64, shard: ShardIndex, mode: Mode) {
        self.remember(&key);
        let held = self.touched.entry(key).or_insert(Touched {
            hash,
            shard,
            mode,
            is_shown: false,
            write: None,
        });
        held.mode = held.mode.max(mode);
    }

    /// Notes that a request has been granted. Ranges that touch become one; what expires in a range
    /// is judged from now on as it is at this time.
    pub(crate) fn note_granted(
        &mut self,
        target: Target,
        mode: Mode,
        now_ms: impl FnOnce() -> u64,
    ) {
        match target {
            Target::Key { key, hash, shard } => self.note_lock(key, hash, shard, mode),
            Target::Range(interval) if mode == Mode::Exclusive => {
                debug_assert_eq!(interval, Interval::all());
                self.holds_all.get_or_insert(self.scopes.len());
            }
            Target::Range(mut interval) => {
                self.judged.note(&interval, now_ms());
                self.ranges.retain(|held| match interval.merged(held) {
                    Some(merged) => {
                        interval = merged;
                        false
                    }
                    None => true,
                });
                self.ranges.push(interval);
            }
        }
    }

    /// Notes that a command has shown the committed state of a key that is locked.
    pub(crate) fn note_shown(&mut self, key: &[u8]) {
        if let Some(held) = self.touched.get_mut(key) {
            held.is_shown = true;
        }
    }

    /// Notes that every key is deleted, all of which are locked exclusively. Of the tree's own
    /// writes none is left.
    pub(crate) fn note_wipe(&mut self) {
        debug_assert!(self.holds_all.is_some(), "what is written is locked");
        let is_written = |(_, held): &(&Key, &Touched)| held.write.is_some();
        let written: Vec<Key> =
            self.touched.iter().filter(is_written).map(|(key, _)| key.clone()).collect();
        for key in written {
            self.remember(&key);
            if let Some(held) = self.touched.get_mut(&*key) {
                let write = held.write.take();
                self.write_set_bytes -= bytes_of(write.as_ref());
                count(&mut self.scopes, write.as_ref(), None);
            }
        }
        self.scopes.last_mut().into_iter().for_each(|scope| scope.is_wiped = true);
    }

    /// Notes a write of a key that is locked exclusively.
    pub(crate) fn note_write(&mut self, key: &[u8], record: Record) {
        let scope = self.scopes.len() - 1;
        if let Some((key, _)) = self.touched.get_key_value(key) {
            self.remember(&key.clone());
        }
        // Where every key is deleted, a delete is no write of its own.
        let is_needless = record.is_tombstone() && self.is_wiped();
        let Some(held) = self.touched.get_mut(key) else {
            debug_assert!(false, "what is written is locked");
            return;
        };
        debug_assert_eq!(held.mode, Mode::Exclusive);
        let write = (!is_needless).then_some(Write { record, scope });
        self.write_set_bytes += bytes_of(write.as_ref());
        let replaced = std::mem::replace(&mut held.write, write);
        self.write_set_bytes -= bytes_of(replaced.as_ref());
        count(&mut self.scopes, replaced.as_ref(), held.write.as_ref());
    }

    /// Ends the innermost scope well: what it did becomes its parent's.
    pub(crate) fn fold_innermost(&mut self) {
        let Some(child) = self.scopes.pop() else { return };
        let depth_left = self.scopes.len();
        let is_root = depth_left == 1;
        self.holds_all = self.holds_all.map(|depth| depth.min(depth_left));
        let Some(parent) = self.scopes.last_mut() else { return };
        parent.is_wiped |= child.is_wiped;
        parent.writes += child.writes;
        for (key, before) in child.undo {
            let write = self.touched.get_mut(&*key).and_then(|held| held.write.as_mut());
            if let Some(write) = write.filter(|write| write.scope == depth_left) {
                write.scope = depth_left - 1;
            }
            if is_root || parent.undo.contains_key(&*key) {
                self.write_set_bytes -= bytes_before(&before);
            } else {
                parent.undo.insert(key, before);
            }
        }
    }

    /// Forgets every write and every lock, once they are given up.
    pub(crate) fn clear(&mut self) {
        self.touched.clear();
        self.ranges.clear();
        self.holds_all = None;
        self.judged.clear();
        for scope in &mut self.scopes {
            scope.undo.clear();
            (scope.is_wiped, scope.writes) = (false, 0);
        }
        self.write_set_bytes = 0;
    }

    /// Ends the innermost scope badly: undoes its writes, and says which locks it gives back. What
    /// it has seen stays locked.
    pub(crate) fn undo_innermost(&mut self) -> Vec<GivenBack> {
        let Some(child) = self.scopes.pop() else { return Vec::new() };
        child.undo.into_iter().filter_map(|(key, before)| self.restore(key, before)).collect()
    }

    /// Undoes the writes of the innermost scope, which goes on and keeps its locks.
    pub(crate) fn undo_writes(&mut self) {
        self.scopes.last_mut().into_iter().for_each(|scope| scope.is_wiped = false);
        if self.scopes.len() == 1 {
            self.touched.values_mut().for_each(|held| held.write = None);
            self.write_set_bytes = 0;
            self.scopes[0].writes = 0;
            return;
        }
        let innermost = self.scopes.len() - 1;
        let undo = std::mem::take(&mut self.scopes[innermost].undo);
        for (key, before) in &undo {
            let Some(held) = self.touched.get_mut(&**key) else { continue };
            let write = before.as_ref().and_then(|(_, write)| write.clone());
            self.write_set_bytes += bytes_of(write.as_ref());
            self.write_set_bytes -= bytes_of(held.write.as_ref());
            count(&mut self.scopes, held.write.as_ref(), write.as_ref());
            held.write = write;
        }
        self.scopes[innermost].undo = undo;
    }

    /// Gives the lock on all keys back, after the scope that took it was undone.
    pub(crate) fn give_back_all(&mut self) -> bool {
        let is_needless = self.holds_all.is_some_and(|depth| depth > self.scopes.len());
        if is_needless {
            self.holds_all = None;
        }
        is_needless
    }

    /// Brings a key back to what it was before a scope, and says what lock that gives back.
    fn restore(&mut self, key: Key, before: Before) -> Option<GivenBack> {
        let held = self.touched.get_mut(&*key)?;
        let (hash, shard, mode) = (held.hash, held.shard, held.mode);
        let seen = held.is_shown.then_some(Mode::Shared);
        let (locked, write) = before.map_or((None, None), |(mode, write)| (Some(mode), write));
        let keep = locked.max(seen);
        // What was remembered is the key's own write again.
        self.write_set_bytes -= bytes_of(held.write.as_ref());
        count(&mut self.scopes, held.write.as_ref(), write.as_ref().filter(|_| keep.is_some()));
        match keep {
            Some(kept) => {
                held.mode = kept;
                held.write = write;
            }
            None => {
                self.touched.remove(&*key);
            }
        }
        (keep != Some(mode)).then_some(GivenBack { key, hash, shard, keep })
    }

    /// The tree's writes in an interval, in key order.
    pub(crate) fn writes_in(&self, interval: &Interval) -> impl Iterator<Item = (&Key, &Write)> {
        let from = (Bound::Included(&*interval.from), Bound::Unbounded);
        self.touched
            .range::<[u8], _>(from)
            .take_while(|(key, _)| interval.contains(key))
            .filter_map(|(key, held)| held.write.as_ref().map(|write| (key, write)))
    }
}

fn bytes_before(before: &Before) -> usize {
    before.as_ref().map_or(0, |(_, write)| bytes_of(write.as_ref()))
}

/// Counts a write that takes another's place, each with its scope, if that is still there.
fn count(scopes: &mut [Scope], replaced: Option<&Write>, write: Option<&Write>) {
    if let Some(scope) = replaced.and_then(|write| scopes.get_mut(write.scope)) {
        scope.writes -= 1;
    }
    if let Some(scope) = write.and_then(|write| scopes.get_mut(write.scope)) {
        scope.writes += 1;
    }
}

fn bytes_of(write: Option<&Write>) -> usize {
    write.map_or(0, |write| write.record.memory_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};
    use crate::types::ValueKind;

    fn tree_with_child(touch: impl Fn(&mut Tree)) -> Tree {
        let mut tree = Tree::new(TreeId(1), SessionId(1), Isolation::Serializable, None);
        tree.push_scope(TxnId(1), ManualClock::new(0).now(), None);
        write(&mut tree, b"parent", b"old");
        tree.push_scope(TxnId(2), ManualClock::new(0).now(), None);
        touch(&mut tree);
        tree
    }

    fn lock(tree: &mut Tree, key: &[u8], mode: Mode) {
        tree.note_lock(Key::from(key), 0, ShardIndex(0), mode);
    }

    fn write(tree: &mut Tree, key: &[u8], value: &[u8]) {
        lock(tree, key, Mode::Exclusive);
        tree.note_write(key, Record::value(key, value, ValueKind::Text));
    }

    #[test]
    fn undo_brings_back_what_the_parent_wrote() {
        let mut tree = tree_with_child(|tree| {
            write(tree, b"parent", b"new");
            write(tree, b"parent", b"newer");
        });
        let given_back = tree.undo_innermost();
        assert!(given_back.is_empty(), "the parent keeps its lock");
        assert_eq!(tree.own(b"parent").map(Record::value_bytes), Some(&b"old"[..]));
        assert_eq!(tree.write_set_bytes(), Record::tombstone(b"parent").memory_bytes() + 3);
    }

    #[test]
    fn undo_releases_plain_writes_and_keeps_what_was_seen() {
        let mut tree = tree_with_child(|tree| {
            write(tree, b"plain", b"1");
            lock(tree, b"read", Mode::Shared);
            tree.note_shown(b"read");
            write(tree, b"read", b"1");
            write(tree, b"incremented", b"1");
            tree.note_shown(b"incremented");
        });
        let given_back: Vec<(Key, Option<Mode>)> =
            tree.undo_innermost().into_iter().map(|back| (back.key, back.keep)).collect();
        let key = |name: &str| Key::from(name.as_bytes());
        assert_eq!(
            given_back,
            [
                (key("incremented"), Some(Mode::Shared)),
                (key("plain"), None),
                (key("read"), Some(Mode::Shared)),
            ]
        );
        assert_eq!(tree.writes_in(&Interval::all()).count(), 1);
        assert_eq!(tree.lock_count(), 3);
    }

    #[test]
    fn a_scope_that_deleted_every_key_is_undone() {
        let mut tree = tree_with_child(|tree| {
            write(tree, b"child", b"1");
            tree.note_granted(Target::Range(Interval::all()), Mode::Exclusive, || 0);
            tree.note_wipe();
            assert!(tree.is_wiped() && tree.writes_in(&Interval::all()).next().is_none());
            write(tree, b"child", b"2");
            write(tree, b"other", b"3");
            lock(tree, b"parent", Mode::Exclusive);
            tree.note_write(b"parent", Record::tombstone(b"parent"));
            assert_eq!(tree.writes_in(&Interval::all()).count(), 2, "a delete is none of them");
        });
        tree.push_scope(TxnId(3), ManualClock::new(0).now(), None);
        tree.undo_innermost();
        assert!(!tree.give_back_all(), "it is still needed");
        tree.undo_innermost();
        assert!(tree.give_back_all() && !tree.is_wiped() && !tree.give_back_all());
        assert_eq!(tree.own(b"parent").map(Record::value_bytes), Some(&b"old"[..]));
        assert_eq!(tree.writes_in(&Interval::all()).count(), 1);
        assert_eq!(tree.write_set_bytes(), Record::tombstone(b"parent").memory_bytes() + 3);
    }

    #[test]
    fn a_folded_child_is_undone_with_its_parent() {
        let mut tree = tree_with_child(|tree| {
            tree.push_scope(TxnId(3), ManualClock::new(0).now(), None);
            write(tree, b"grandchild", b"1");
            tree.fold_innermost();
        });
        assert_eq!(tree.touched[&b"grandchild"[..]].write.as_ref().map(|w| w.scope), Some(1));
        tree.undo_innermost();
        assert!(tree.own(b"grandchild").is_none());
        assert_eq!(tree.lock_count(), 1);
    }
}
