//! One simulated directory: names as a program sees them, names on the disk, and the changes that
//! no sync of the directory has made durable yet.

use std::collections::BTreeMap;

use super::file::{Fate, Sequence};

/// A file's identity, whatever its names are.
pub(crate) type Inode = u64;

type Names = BTreeMap<String, Inode>;

/// A directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    /// What lookups see.
    pub(crate) live: Names,
    /// What surely survives a power cut.
    durable: Names,
    unsynced: Vec<(Sequence, Change)>,
}

/// Names that change together: a rename takes one and gives another.
#[derive(Debug, Clone)]
struct Change(Vec<(String, Option<Inode>)>);

impl Change {
    fn apply(self, names: &mut Names) {
        for (name, inode) in self.0 {
            match inode {
                Some(inode) => names.insert(name, inode),
                None => names.remove(&name),
            };
        }
    }
}

impl Directory {
    pub(crate) fn link(&mut self, name: &str, inode: Inode, sequence: Sequence) {
        self.change(vec![(name.to_owned(), Some(inode))], sequence);
    }

    pub(crate) fn unlink(&mut self, name: &str, sequence: Sequence) {
        self.change(vec![(name.to_owned(), None)], sequence);
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, inode: Inode, sequence: Sequence) {
        self.change(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))], sequence);
    }

    fn change(&mut self, names: Vec<(String, Option<Inode>)>, sequence: Sequence) {
        let change = Change(names);
        change.clone().apply(&mut self.live);
        self.unsynced.push((sequence, change));
    }

    /// All names become durable. When that fails, a later sync may still bring them, other than
    /// with a file's content: names are kept in a journal, or else the whole file system stops.
    pub(crate) fn sync(&mut self) {
        self.settle(|_| true);
    }

    pub(crate) fn cut_power(&mut self, mut fate: impl FnMut(Sequence) -> Fate) {
        // A name is there or not; there is no torn one.
        self.settle(|sequence| matches!(fate(sequence), Fate::Kept));
        self.live = self.durable.clone();
    }

    pub(crate) fn unsynced(&self) -> impl Iterator<Item = Sequence> {
        self.unsynced.iter().map(|&(sequence, _)| sequence)
    }

    /// Every file that has, or may turn out to have, a name here.
    pub(crate) fn names(&self) -> impl Iterator<Item = Inode> {
        let changed = self.unsynced.iter().flat_map(|(_, change)| &change.0);
        let changed = changed.filter_map(|&(_, inode)| inode);
        self.live.values().chain(self.durable.values()).copied().chain(changed)
    }

    fn settle(&mut self, mut is_kept: impl FnMut(Sequence) -> bool) {
        for (sequence, change) in self.unsynced.drain(..) {
            if is_kept(sequence) {
                change.apply(&mut self.durable);
            }
        }
    }
}
