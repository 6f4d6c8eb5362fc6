//! The program `kv-cli`: reads the command line and does what it says.

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match kv_cli::Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { kv_cli::Exit::Usage } else { kv_cli::Exit::Ok };
            // A reader that has gone does not want to know.
            let _ = error.print();
            return ExitCode::from(code as u8);
        }
    };
    match kv_cli::run(cli) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => kv_cli::report(&failure),
    }
}
