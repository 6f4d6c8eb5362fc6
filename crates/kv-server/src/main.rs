//! The server's binary: reads the settings, and serves or does what a subcommand says.

use std::process::ExitCode;

use kv_server::config::Invocation;
use kv_server::{server, subcommand, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Invocation { config, task } = match Invocation::from_process() {
        Ok(invocation) => invocation,
        Err(refusal) => {
            refusal.print();
            return refusal.exit_code();
        }
    };
    telemetry::init(config.log_level, config.log_format);
    if let Some(task) = task {
        return subcommand::run(&task, &config);
    }
    match server::run(config) {
        Ok(code) => code,
        Err(fault) => {
            // Not through the log, which may be switched off.
            let line = format!("kv-server: {fault}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            fault.exit_code()
        }
    }
}
