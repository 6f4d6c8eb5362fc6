//! Scripts: schedules of several sessions, as text that needs no Rust to read.
//!
//! This module is the language ([`Script`]), the [`Driver`] that a store offers to be driven by,
//! and the runner ([`run()`]). It knows nothing of what the commands mean.
//!
#![doc = include_str!("../../scripts/README.md")]

mod driver;
mod parse;
mod pattern;
mod run;
mod tcp;

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tcp_tests;

pub use driver::{Driver, is_list_command};
pub use parse::{Action, Ending, Expectation, ExpectedLine, ParseError, Script, Step};
pub use run::{Failure, run, run_all, run_file, script_files};
pub use tcp::TcpDriver;
