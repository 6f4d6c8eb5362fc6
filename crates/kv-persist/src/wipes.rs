//! What a *wipe* does to keys that it does not name: a commit that deletes every key but those that
//! it writes itself.
//!
//! The log has such a commit as a mark, not as a list of keys. So each of its deletes is implied by
//! what a key was before it:
//!
//! ```text
//!   log        house 1 at 10    house 2 at 20    a wipe at 30                  house 4 at 40
//!   versions   house 1          house 2          house 3, deleted at 30        house 4
//! ```
//!
//! A key that is deleted already, or is written by the wipe's own commit, gets no other version.

use kv_core::durability::first_wipe_after;
use kv_core::{Stamp, Version};

use crate::stored::Stored;

/// The delete that a wipe made of a key whose newest version was this, if that was no delete.
pub(crate) fn delete_after<'a>(newest: &Stored<'a>, wipe: Stamp) -> Option<Stored<'a>> {
    let version = Version(newest.version.0 + 1);
    newest.datum.map(|_| Stored { key: newest.key, version, stamp: wipe, datum: None })
}

/// The versions of a key that the log names, with the deletes that are implied between and after
/// them.
pub(crate) fn with_deletes<'a>(versions: &[Stored<'a>], wipes: &[Stamp]) -> Vec<Stored<'a>> {
    let mut all = Vec::with_capacity(versions.len() + 1);
    for (at, version) in versions.iter().enumerate() {
        all.push(*version);
        let next = versions.get(at + 1).map(|next| next.stamp.revision);
        let wipe = first_wipe_after(wipes, version.stamp.revision)
            .filter(|wipe| next.is_none_or(|next| wipe.revision < next));
        all.extend(wipe.and_then(|wipe| delete_after(version, wipe)));
    }
    all
}

#[cfg(test)]
mod tests {
    use kv_core::{Datum, Revision, ValueKind};

    use super::*;

    fn stamp(revision: u64) -> Stamp {
        Stamp { revision: Revision(revision), time_ms: revision }
    }

    /// Version, revision, and whether it is a value.
    type Short = (u64, u64, bool);

    fn with(versions: &[Short], wipes: &[u64]) -> Vec<Short> {
        let datum = Datum { bytes: b"v", kind: ValueKind::Text, expires_ms: None };
        let stored: Vec<_> = versions
            .iter()
            .map(|&(version, revision, is_value)| Stored {
                key: b"k",
                version: Version(version),
                stamp: stamp(revision),
                datum: is_value.then_some(datum),
            })
            .collect();
        let wipes: Vec<_> = wipes.iter().map(|&wipe| stamp(wipe)).collect();
        let all = with_deletes(&stored, &wipes);
        all.iter().map(|one| (one.version.0, one.stamp.revision.0, one.datum.is_some())).collect()
    }

    #[test]
    fn a_delete_is_implied_once_and_not_by_the_commit_that_writes_the_key() {
        let all = with(&[(1, 10, true), (2, 20, true), (4, 40, true)], &[30, 50, 60]);
        let deletes = [(3, 30, false), (5, 50, false)];
        assert_eq!(all, [(1, 10, true), (2, 20, true), deletes[0], (4, 40, true), deletes[1]]);
        assert_eq!(with(&[(1, 10, true), (2, 20, true)], &[20]), [(1, 10, true), (2, 20, true)]);
        assert_eq!(with(&[(1, 10, true), (2, 20, false)], &[5, 30]).len(), 2);
    }
}
