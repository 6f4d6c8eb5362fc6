//! The log: every commit, in the order of revisions, on disk before anybody is told of it.
//!
//! ```text
//!   engine ──append──► pending ──► writer: one batch, one write, one sync ──► durable watermark
//!                                     │
//!   <data>/log/0000000000000001.log  segment: header, batch, batch, batch …
//!              0000000000000002.log           batch: header, record, record …
//!                                                     record: header, the changes of a commit
//! ```
//!
//! While a sync runs the next batch collects, so that many commits share one. A segment that has
//! become long enough is followed by another; those whose commits are all in the snapshot are
//! removed.
//!
//! # Format 2
//!
//! All integers are little endian. Checksums are CRC-32C. Each is seeded with what it belongs to:
//! a batch header's with the segment's salt, a record's with that and the number of its batch, so
//! that bytes left over from elsewhere never pass. Zeros are never valid.
//!
//! Segment header, 128 bytes:
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | `kv-log\r\n` |
//! | 8..12 | format, 2; 1 has no wipes, and is the same otherwise |
//! | 12..16 | flags, 0 |
//! | 16..32 | identity of the database |
//! | 32..40 | number of the segment, as in its name |
//! | 40..48, 48..56 | base: revision and time of the last commit before this segment |
//! | 56..64 | carried through: the records up to this revision were on disk before the name was |
//! | 64..80 | salt, random |
//! | 80..96 | id of the encryption key, or zeros |
//! | 96..104 | number of the first batch |
//! | 104..120 | salt of the segment before, zeros if there is none |
//! | 120..124 | zeros |
//! | 124..128 | checksum of the bytes before it, not seeded |
//!
//! Batch header, 32 bytes:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | `B7 6B 76 62` |
//! | 4..8 | checksum of the bytes after it |
//! | 8..16 | number of the batch: 1, 2, 3 … through all segments |
//! | 16..24 | the revision that was durable when the batch was written |
//! | 24..32 | length of the records that follow, in bytes; may be 0 |
//!
//! Record, 24 bytes and a payload:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | checksum of the bytes after it, payload included |
//! | 4..8 | length of the payload, in bytes; never 0 |
//! | 8..16 | revision: that of the record before, and one |
//! | 16..24 | lowest 4 bits: compression; next 12 bits: 0; highest 48 bits: time, ms since 1970 |
//! | 24.. | payload: changes (see [`codec`](crate::codec)), compressed, sealed |
//!
//! # Why a crash at any point is harmless
//!
//! 1. A batch header says what was durable when it was written. So recovery can tell a torn tail,
//!    which nobody was told of, from damage (see [`recover()`]).
//! 2. A segment is made under another name. It gets its own only when its header is on disk, so a
//!    segment with a bad header is damaged, never unfinished.
//! 3. Nothing is ever written behind a torn tail. A start opens a new segment whose base is the
//!    last revision that was surely on disk, and copies what follows it there, on disk before the
//!    segment gets its name. What older segments have after that base no longer counts. A crash
//!    before the new name leaves all as it was; a crash after it finds the same commits again.
//! 4. A sync that fails is not repeated: the log is given up, and the next start copies what it
//!    finds, as in 3.

mod bytes;

mod segment;

mod batch;

mod record;

mod options;

mod pending;

mod space;

mod writer;

mod append;

mod thread;

mod scan;

mod chain;

mod recover;

mod start;

mod reader;

mod salvage;

mod reseal;

pub use append::{Log, LogStats};
pub use chain::EachRecord;
#[cfg(feature = "testing")]
pub use options::PlantedBug;
pub use options::{Durability, LogOptions};
pub use reader::LogReader;
pub use record::Protection;
pub use recover::{LogVerified, Recovered, Torn, recover, verify, verify_segments};
pub(crate) use reseal::{is_empty, is_void, reseal};
pub use salvage::{Finder, FoundRecord, Salvaged, identity_of_any, salvage};
pub use scan::RecordView;
pub use start::identity;
pub use thread::WriterThread;
