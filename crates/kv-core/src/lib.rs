//! The engine: a sharded, versioned, transactional key-value store in memory.
//!
//! It knows no files, no sockets, no runtime: whoever embeds it brings those. A server drives
//! [`Session`]s; a program uses closures:
//!
//! ```
//! use kv_core::{Database, Error};
//!
//! let db = Database::builder().history(Some(3)).open();
//! db.put("alice", "100")?;
//!
//! // All or nothing, and as if nobody else were there. May run more than once.
//! db.update(|txn| {
//!     txn.add("alice", -30)?;
//!     txn.add("bob", 30)
//! })?;
//!
//! // One consistent state, without waiting for anybody.
//! let total = db.view(|txn| {
//!     let balance = |value: Option<kv_core::Value>| -> i64 {
//!         value.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok()).unwrap_or(0)
//!     };
//!     Ok::<_, Error>(balance(txn.get("alice")?) + balance(txn.get("bob")?))
//! })?;
//! assert_eq!(total, 100);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Reading the source
//!
//! The modules stand in the order in which they are best read: [`types`] and `store` (records,
//! shards), `mvcc` (revisions, read views), `lock` (strict two-phase locking), `txn` (what ties
//! them together), then [`embed`], the closures above. Pages worth reading on their own are those
//! of `mvcc`, `lock` and `txn`.
//!
//! **Architecture invariants.** Nothing here blocks on anything but a short latch: an operation
//! that has to wait, or needs a value that is not in memory, returns a [`Pause`] and is called
//! again. Time comes from a [`clock::Clock`] only. No latch is held across a pause. There is one
//! order of commits, and it is the order of revisions and of visibility.

pub mod types;

pub mod limits;

pub mod error;

pub mod clock;

pub mod failpoint;

mod critical;

mod key;

pub mod watermark;

pub mod matching;

mod memory;

mod store;

mod mvcc;

mod lock;

mod value;

mod step;

pub mod durability;

mod txn;

mod options;

mod db;

mod load;

mod timer;

pub mod embed;

pub use db::{Database, Stats};
pub use durability::{Change, CommitLog, CommitSize, Datum, Payload, Stamp};
pub use embed::{AsyncTransaction, Transaction};
pub use error::{AbortReason, Error, Holder, LockInfo, LockTarget};
pub use load::Loader;
pub use lock::Mode;
pub use lock::wait::LockWait;
pub use matching::{Conditions, Number, Pattern, ValueCondition};
pub use memory::Eviction;
pub use options::Builder;
pub use step::{Fetch, Fetched, Fetcher, Holds, Older, Page, PageRequest, Pause, Step};
pub use store::record::Place;
pub use store::shard::check::ShardStats;
pub use txn::nearest::Nearest;
pub use txn::scan::{Row, Scan, ScanOptions};
pub use txn::session::detached::{Detached, Name};
pub use txn::session::group::{GroupLocks, Watch};
pub use txn::session::{BeginOptions, Parent, Session, TxnInfo};
pub use txn::write::Update;
pub use types::{
    Condition, Interval, Isolation, Revision, SessionId, ShardIndex, TxnId, ValueKind, Version,
};
pub use value::{Meta, Past, Value};
pub use watermark::{Reached, Stuck, Watermark};

/// The README's program is compiled and run as a test of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
