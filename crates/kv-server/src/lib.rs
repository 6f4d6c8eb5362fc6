//! The server: listeners, sessions, configuration, shutdown.

pub mod config;
pub mod limits;
pub mod telemetry;

pub mod listener;
pub mod shutdown;
