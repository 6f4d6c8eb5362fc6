//! Requests and replies as data, the line protocol, and the one table of commands.
//!
//! This crate turns bytes into [`Request`]s and [`Reply`]s into bytes, and back again for clients.
//! It opens no socket, runs no command and knows no store, so that a server, a client and a test
//! share one definition of the wire. The way of a request through it:
//!
//! ```text
//! bytes ─ line::LineDecoder ─> line ─ Request::parse ─> Request ─ (server) ─> Reply ─> bytes
//!                                      │                                       │
//!                     word::Words, command::COMMANDS            Format::Text, Format::Json
//! ```
//!
//! ```
//! use kv_protocol::{Format, Reply, Request};
//!
//! let request = Request::parse(b"PUT house \"not small\"").unwrap();
//! assert!(matches!(request, Some(Request::Put { ref value, .. }) if **value == *b"not small"));
//!
//! let mut out = Vec::new();
//! Reply::Began(1).write(&mut out, Format::Text);
//! assert_eq!(out, b"OK 1\n");
//! ```
//!
//! **Architecture invariant:** nothing here blocks, awaits, reads a clock or names the engine. The
//! modules stand in the order in which they are best read.

pub mod limits;

pub mod error_code;
pub mod line;
pub mod word;

pub mod resp;

pub mod ahead;

pub mod json_value;
pub mod units;

pub mod request;

pub mod command;

pub mod redis;

pub mod reply;

pub mod time;

pub mod transfer;

pub use ahead::KeysAhead;
pub use command::{COMMANDS, CommandSpec};
pub use error_code::ErrorCode;
pub use line::{Framed, LineDecoder};
pub use reply::text_reply::TextReply;
pub use reply::{
    Datum, ErrorReply, Format, ListKind, Meta, Reply, Row, TransactionState, list_begin, list_end,
    list_fail, list_row,
};
pub use request::{
    Condition, Interval, Isolation, Nearest, Parent, Pattern, PutOptions, Read, Request, Selection,
    ValueCondition,
};
pub use resp::{RespDecoder, RespFault, RespFramed, RespVersion};
