//! The server's binary: reads the settings and runs.

use std::process::ExitCode;

use kv_server::config::Config;
use kv_server::{server, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = match Config::from_process() {
        Ok(config) => config,
        Err(refusal) => {
            refusal.print();
            return refusal.exit_code();
        }
    };
    telemetry::init(config.log_level, config.log_format);
    match server::run(config) {
        Ok(code) => code,
        Err(fault) => {
            tracing::error!("{fault}");
            ExitCode::FAILURE
        }
    }
}
