//! The engine: a sharded, versioned, transactional key-value store in memory.
pub mod clock;
mod db;
pub mod error;
mod key;
pub mod limits;
mod lock;
mod mvcc;
mod options;
mod step;
mod store;
mod txn;
pub mod types;
mod value;

pub use db::{Database, Stats};
pub use error::Error;
pub use lock::Mode;
pub use lock::wait::LockWait;
pub use options::Builder;
pub use step::{Fetch, Pause, Step};
pub use store::record::Place;
pub use store::shard::ShardStats;
pub use txn::scan::{Row, Scan, ScanOptions};
pub use txn::session::{BeginOptions, Parent, Session, TxnInfo};
pub use types::*;
pub use value::{Meta, Past, Value};
