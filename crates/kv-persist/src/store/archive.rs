//! Brings the engine what it does not have in memory, from the snapshot.

use kv_core::{Error, Fetched, Fetcher, Holds, Older, Page, PageRequest, Place, Version};

use crate::snapshot::History;
use crate::stored::{StoredBuf, show_key};

/// What has been folded into a snapshot.
#[derive(Debug)]
pub(super) struct Archive(pub(super) Box<dyn History>);

impl Fetcher for Archive {
    /// Wherever the value was put, the version that it is of tells where it is now.
    fn value(&self, key: &[u8], version: Version, _place: Place) -> Result<Vec<u8>, Error> {
        let newest = self.0.newest(key).map_err(unread)?;
        let is_superseded = newest.as_ref().is_some_and(|newest| newest.version > version);
        let found = match newest {
            Some(newest) if newest.version > version => {
                let below = Version(version.0.saturating_add(1));
                let older = Older { below, until: None, down_to: Some(version), limit: 1 };
                self.0.older(key, older).map_err(unread)?.pop()
            }
            newest => newest,
        };
        let found = found.filter(|found| found.version == version).and_then(|found| found.value);
        found.map(|value| value.bytes).ok_or_else(|| match is_superseded {
            // A view may still know of it; but of what a wipe deleted only the history is kept.
            true => Error::Pruned(key.into()),
            false => {
                let key = show_key(key);
                Error::Io(format!("the value of version {version} of {key} is not kept"))
            }
        })
    }

    fn older(&self, key: &[u8], older: Older) -> Result<Vec<Fetched>, Error> {
        let found = self.0.older(key, older).map_err(unread)?;
        Ok(found.into_iter().map(|stored| fetched(stored).1).collect())
    }

    fn holds(&self) -> Holds {
        self.0.holds()
    }

    fn newest(&self, key: &[u8]) -> Result<Option<Fetched>, Error> {
        let found = self.0.newest(key).map_err(unread)?;
        Ok(found.map(|stored| fetched(stored).1))
    }

    fn page(&self, wanted: &PageRequest) -> Result<Page, Error> {
        let found = self.0.page(wanted).map_err(unread)?;
        let rows = found.rows.into_iter().map(fetched).collect();
        Ok(Page { rows, next_from: found.next_from })
    }
}

/// The same for the engine, its key apart.
fn fetched(stored: StoredBuf) -> (Vec<u8>, Fetched) {
    let fetched = Fetched {
        version: stored.version,
        stamp: stored.stamp,
        expires_ms: stored.value.as_ref().and_then(|value| value.expires_ms),
        value: stored.value.map(|value| (value.bytes, value.kind)),
    };
    (stored.key, fetched)
}

fn unread(error: crate::error::Error) -> Error {
    Error::Io(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kv_core::{Holds, Revision, Stamp};

    use super::*;
    use crate::snapshot::StoredPage;
    use crate::stored::ValueBuf;

    /// Versions by number, of one key.
    #[derive(Debug)]
    struct Shelf(BTreeMap<u64, StoredBuf>);

    impl History for Shelf {
        fn holds(&self) -> Holds {
            Holds::Values
        }

        fn newest(&self, _key: &[u8]) -> Result<Option<StoredBuf>, crate::error::Error> {
            Ok(self.0.values().last().cloned())
        }

        fn page(&self, _wanted: &PageRequest) -> Result<StoredPage, crate::error::Error> {
            Ok(StoredPage::default())
        }

        fn older(&self, _: &[u8], older: Older) -> Result<Vec<StoredBuf>, crate::error::Error> {
            let below = self.0.range(..older.below.0).rev();
            Ok(below.take(older.limit).map(|(_, version)| version.clone()).collect())
        }
    }

    #[test]
    fn a_value_is_that_of_its_version_or_an_error() {
        let version = |number: u64, value: Option<&str>| StoredBuf {
            key: b"house".to_vec(),
            version: Version(number),
            stamp: Stamp { revision: Revision(number), time_ms: number },
            value: value.map(|text| ValueBuf {
                bytes: text.into(),
                kind: kv_core::ValueKind::Text,
                expires_ms: None,
            }),
        };
        let kept = [version(3, Some("small")), version(4, None), version(5, Some("large"))];
        let kept = kept.into_iter().map(|version| (version.version.0, version)).collect();
        let archive = Archive(Box::new(Shelf(kept)));
        let place = Place { area: 0, offset: 0, value_bytes: 5 };
        let value = |number| archive.value(b"house", Version(number), place);
        assert_eq!(value(5).unwrap(), b"large");
        assert_eq!(value(3).unwrap(), b"small");
        for number in [2, 4] {
            assert_eq!(value(number).unwrap_err(), Error::Pruned((*b"house").into()), "superseded");
        }
        for number in [6, u64::MAX] {
            let refused = value(number).unwrap_err();
            let told = format!("the value of version {number} of \"house\" is not kept");
            assert_eq!(refused, Error::Io(told));
        }
    }
}
