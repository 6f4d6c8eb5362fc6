//! How a log is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::record::Protection;
use crate::crypt::KeyId;
use crate::error::Error;
use crate::stored::DatabaseId;

/// How long a segment gets before another is begun, in bytes: so that what is folded can be removed
/// in pieces much smaller than a log.
const SEGMENT_BYTES: u64 = 64 << 20;
/// How much is allocated at once, in bytes: many batches, and not much to be left over.
const ALLOCATE_BYTES: u64 = 8 << 20;
/// How much the log holds before commits wait for the checkpoint, in bytes.
const LOG_BYTES_MAX: u64 = 1 << 30;
/// How long commits are gathered before they are written, if nobody waits for the disk: long
/// enough that tiny ones are not written one by one.
pub(super) const LINGER: Duration = Duration::from_millis(2);
/// How much is gathered at most before it is written in that case, in bytes.
pub(super) const LINGER_BYTES_MAX: u64 = 1 << 20;
/// A batch of so many commits or more shows that clients keep many in flight, and more of them are
/// about to come: then a little is gained by each wait, and much by a batch twice as long.
pub(super) const CROWD_RECORDS_MIN: u64 = 128;
/// How long commits are gathered after such a batch, where clients wait for the disk. It is about
/// what a sync takes, so it hardly shows beside the wait for the sync before.
pub(super) const CROWD_LINGER: Duration = Duration::from_micros(150);
/// How often the log is synced with [`Durability::Interval`].
pub(super) const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How often a full disk is asked again.
pub(super) const FULL_RETRY: Duration = Duration::from_secs(1);

/// When commits are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Before anybody is told of them.
    #[default]
    Fsync,
    /// Written within milliseconds, so that they survive the process; durable within about a
    /// second. Nobody waits.
    Interval,
    /// Written within milliseconds; durable when the system likes. Nobody waits.
    None,
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Its directory, which exists and has nothing else in it.
    pub dir: PathBuf,
    /// Whose log it is.
    pub database: DatabaseId,
    /// When commits are durable. Default: before anybody is told of them.
    pub durability: Durability,
    /// How long a segment gets before another is begun, in bytes. Default: 64 MiB.
    pub segment_bytes: u64,
    /// How much disk space is allocated at once, in bytes. Default: 8 MiB.
    pub allocate_bytes: u64,
    /// How much the log may hold that is not in the snapshot, in bytes; passed by one commit at
    /// most. Default: 1 GiB.
    pub log_bytes_max: u64,
    /// Compression and encryption of what is written. Default: neither.
    pub protection: Protection,
    /// A fault to be found by a test.
    #[cfg(feature = "testing")]
    pub planted: Option<PlantedBug>,
}

/// Faults that are built in so that tests can show that they would be found.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// Commits are called durable before they are synced.
    AcknowledgeBeforeSync,
    /// A new segment's name is not synced.
    SkipDirectorySync,
    /// A record is taken whatever its checksum.
    AcceptWrongChecksum,
    /// Recovery loses the last record.
    StopOneRecordEarly,
}

impl LogOptions {
    /// The defaults, for the log of `database` in `dir`.
    pub fn new(dir: impl Into<PathBuf>, database: DatabaseId) -> LogOptions {
        LogOptions {
            dir: dir.into(),
            database,
            durability: Durability::default(),
            segment_bytes: SEGMENT_BYTES,
            allocate_bytes: ALLOCATE_BYTES,
            log_bytes_max: LOG_BYTES_MAX,
            protection: Protection::default(),
            #[cfg(feature = "testing")]
            planted: None,
        }
    }

    /// The key that segments are encrypted with.
    pub(super) fn key(&self) -> KeyId {
        self.protection.cipher.as_ref().map_or(KeyId::NONE, |cipher| cipher.key_id())
    }

    /// Whether segments with this key can be read.
    ///
    /// # Errors
    ///
    /// [`Error::Key`].
    pub(super) fn check_key(&self, found: KeyId) -> Result<(), Error> {
        let (given, dir) = (self.key(), self.dir.display());
        let what = match (found.is_none(), given.is_none()) {
            _ if found == given => return Ok(()),
            (true, _) => {
                format!("the log in {dir} is not encrypted, and a key was given; start without one")
            }
            (_, true) => format!("the log in {dir} is encrypted, and no key was given"),
            _ => format!(
                "the log in {dir} is encrypted with key {found}, and the key that was given is \
                 {given}"
            ),
        };
        Err(Error::Key { what })
    }

    #[cfg(feature = "testing")]
    fn has(&self, bug: PlantedBug) -> bool {
        self.planted == Some(bug)
    }
}

macro_rules! planted {
    ($($(#[$doc:meta])* $name:ident: $bug:ident;)*) => {
        impl LogOptions {
            $(
                $(#[$doc])*
                pub(super) fn $name(&self) -> bool {
                    #[cfg(feature = "testing")]
                    return self.has(PlantedBug::$bug);
                    #[cfg(not(feature = "testing"))]
                    return false;
                }
            )*
        }
    };
}

planted! {
    acknowledges_early: AcknowledgeBeforeSync;
    skips_directory_sync: SkipDirectorySync;
    accepts_wrong_checksums: AcceptWrongChecksum;
    stops_early: StopOneRecordEarly;
}
