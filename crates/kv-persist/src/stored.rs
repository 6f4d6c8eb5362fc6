//! One version of one key, as the log and the snapshots hand it to each other.

use kv_core::{Datum, Revision, Stamp, Version};

/// The identity of a database: random, given once, and written into every file of it, so that files
/// of two databases are never taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DatabaseId(pub [u8; 16]);

/// A version whose bytes belong to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its number.
    pub version: Version,
    /// The commit that made it.
    pub stamp: Stamp,
    /// Its value; none for a delete.
    pub datum: Option<Datum<'a>>,
}

/// A version that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBuf {
    /// The key.
    pub key: Vec<u8>,
    /// Its number.
    pub version: Version,
    /// The commit that made it.
    pub stamp: Stamp,
    /// Its value; none for a delete.
    pub value: Option<ValueBuf>,
}

/// A value that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueBuf {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it is, beyond its bytes.
    pub kind: kv_core::ValueKind,
    /// When it expires, in milliseconds since the Unix epoch; none is never.
    pub expires_ms: Option<u64>,
}

impl Stored<'_> {
    /// The same, owning its bytes.
    pub fn to_buf(&self) -> StoredBuf {
        StoredBuf {
            key: self.key.to_vec(),
            version: self.version,
            stamp: self.stamp,
            value: self.datum.map(|datum| ValueBuf {
                bytes: datum.bytes.to_vec(),
                kind: datum.kind,
                expires_ms: datum.expires_ms,
            }),
        }
    }
}

impl StoredBuf {
    /// The same, borrowed.
    pub fn borrowed(&self) -> Stored<'_> {
        Stored {
            key: &self.key,
            version: self.version,
            stamp: self.stamp,
            datum: self.value.as_ref().map(|value| Datum {
                bytes: &value.bytes,
                kind: value.kind,
                expires_ms: value.expires_ms,
            }),
        }
    }
}

/// How many versions of each key are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Every one.
    All,
    /// So many, the newest included; at least 1.
    Newest(u64),
}

impl Keep {
    /// Whether `version` is kept when the key's newest is `newest`.
    pub fn keeps(self, version: Version, newest: Version) -> bool {
        match self {
            Keep::All => true,
            Keep::Newest(versions) => version.0 + versions > newest.0,
        }
    }
}

/// The end of what a snapshot or a log holds: a revision, and the newest commit time up to it.
pub type Through = Stamp;

/// Nothing at all.
pub const EMPTY: Through = Stamp { revision: Revision(0), time_ms: 0 };

/// A key, to be shown: quoted, and not all of it if it is long.
pub(crate) fn show_key(key: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 64;
    let shown = String::from_utf8_lossy(&key[..key.len().min(SHOWN_BYTES_MAX)]);
    format!("\"{}\"", shown.escape_debug())
}
