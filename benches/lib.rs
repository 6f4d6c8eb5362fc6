//! What the benchmarks share: seeded workloads, rounds and ratios, and a server to talk to.
//!
//! A benchmark is one flat file beside this one, or a folder if it has several parts. It says what
//! is compared and prints a table; everything that two of them need is here. None of it is meant
//! for anything but measuring.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run is to stop and say why")]
#![expect(clippy::print_stdout, reason = "the tables are what a benchmark is for")]

pub mod arguments;
pub mod built;
pub mod control;
pub mod files;
pub mod interactive;
pub mod lru;
pub mod measure;
pub mod paced;
pub mod peers;
pub mod postgres;
pub mod process;
pub mod redis_benchmark;
pub mod report;
pub mod sides;
pub mod svg;
pub mod table;
pub mod traffic;
pub mod workload;
pub mod ycsb;

/// The allocator of the server, so that the engine is measured with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
