//! The server: it puts the store on the network, and decides nothing about data itself.
//!
//! Read in this order: [`server`] starts and stops it all; [`listener`] takes connections;
//! [`connection`] speaks the line protocol on one; [`command`] turns a request into calls of the
//! engine; [`http`] is the other face. [`config`], [`telemetry`] and [`shutdown`] are what a
//! service needs besides; [`subcommand`] is what the program does instead of serving.
//!
//! **Architecture invariant:** the command layer is shared by every face of the server and knows
//! neither sockets nor framing; the faces only translate.

pub mod server;

mod storage;

mod memory;

pub mod listener;

pub mod connection;

pub mod http;

pub mod clients;

pub mod tokens;

pub mod command;

pub mod config;
pub mod limits;
pub mod shutdown;
pub mod telemetry;

pub mod subcommand;

/// What VERSION answers: the program's version and the protocol's.
pub const VERSION_LINE: &str = concat!("kv-server ", env!("CARGO_PKG_VERSION"), " protocol 1");
