//! The client library: talk to a server from a Rust program.
//!
//! ```no_run
//! use kv_client::{Client, Commands};
//!
//! #[tokio::main]
//! async fn main() -> kv_client::Result<()> {
//!     let client = Client::connect("127.0.0.1:7878").await?;
//!     client.put("house", "large").await?;
//!
//!     // Commits if the closure answers Ok, rolls back otherwise; done again after a conflict.
//!     client
//!         .transaction(|txn| async move {
//!             let house = txn.get("house").await?.unwrap_or_default();
//!             txn.put("copy of house", house).await
//!         })
//!         .await
//! }
//! ```
//!
//! - [`Client`]: connect, single [`Commands`], transactions, scans. A clone shares its connections.
//! - [`Transaction`]: rolls back when it is dropped; nests.
//! - [`blocking`]: the same names without `async`.
//! - [`sharded`]: one client for several servers, each with its part of the keys.
//! - [`error`](mod@error): what each error means for the data.
//!
//! Three things that it never does: send a command again that may have been done; let a command of
//! a lost transaction become a transaction of its own; speak without TLS when TLS was asked for.
//!
//! The modules stand in the order in which they are best read.

pub mod error;

pub mod address;

pub mod value;

pub mod options;

pub mod commands;

pub mod client;

pub mod transaction;

pub mod rows;

pub mod session;

pub mod blocking;

pub mod sharded;

mod line;

mod reply;

mod retry;

mod pool;

mod connector;

mod connection;

mod framing;

mod limits;

pub use address::Address;
pub use client::{Builder, Client};
pub use commands::Commands;
pub use error::{Error, ErrorCode, Result, ServerError};
pub use options::{Begin, Isolation, Put, Scan};
pub use reply::{Meta, OpenTransaction, Reply, TimeToLive, Version};
pub use rows::{Pair, Rows};
pub use session::Session;
pub use transaction::Transaction;
pub use value::{EncodedValue, IntoValue, Json, Key, Value};

/// The page about this crate, whose programs are compiled as tests; the one in the README is the
/// first half of it.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/CLIENT.md")]
struct ClientPage;
