//! Durability: the log, the snapshot that it is folded into, and recovery from both.
//!
//! ```text
//!   engine ─► log ─► checkpoint ─► snapshot         while the server runs
//!   engine ◄─ log ◄─────────────── snapshot         at a start
//! ```
//!
//! Every commit goes to the [`log`], in order; whoever waits for it is told when it is on disk. The
//! [`checkpoint`] folds the log into the [`snapshot`], an SQLite or a JSON file, and cuts the log.
//! [`Store`] puts them together with an engine (`kv_core`) and with the [`directory`] that they are
//! in. What is promised, and the formats of all files, is in `docs/PERSISTENCE.md`.
//!
//! # Reading the source
//!
//! The modules stand in the order in which they are best read. Begin with the pages of [`log`], for
//! why a crash at any point is harmless, and of [`log::recover()`], for how a torn tail is told
//! from damage; then [`checkpoint`], then [`snapshot::sqlite`]. [`stored`], [`fs`], [`crypt`],
//! [`compress`] and [`codec`] are small, and know nothing of each other.
//!
//! # What holds throughout
//!
//! 1. At any moment the snapshot and the log after it are the whole state.
//! 2. A file has its name only when its content is on disk.
//! 3. What is refused has not been changed.
//! 4. A sync that has failed is never tried again.
//! 5. Nothing that a file says is believed before its checksum was compared, and no memory is taken
//!    for a length that the file does not have.

pub mod error;

pub mod stored;
mod wipes;

pub mod fs;

pub mod crypt;
mod deadline;

pub mod compress;

pub mod codec;

pub mod log;

pub mod directory;

pub mod snapshot;

mod guard;
mod idle;

pub mod checkpoint;

pub mod store;

pub mod verify;

pub mod repair;

pub mod rekey;

pub use error::Error;
/// The places at which tests break it; see [`kv_core::failpoint`].
pub use kv_core::failpoint;
pub use store::{ReadOnly, Store, StoreOptions};
