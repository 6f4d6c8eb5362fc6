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
            // Not through the log, which may be switched off.
            let line = format!("kv-server: {fault}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            ExitCode::FAILURE
        }
    }
}
