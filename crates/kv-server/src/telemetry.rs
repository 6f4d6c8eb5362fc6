//! Where log lines go: to standard error, as text or as JSON, from a level on.
//!
//! Only the set-up is here; what is logged is decided where it happens. There is no log file and no
//! rotation: whatever runs the server collects its standard error.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;

use crate::config::{LogFormat, LogLevel};

/// Sets up logging for the process. Only the first call has an effect, so that tests which share a
/// process may all call it.
pub fn init(level: LogLevel, format: LogFormat) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(filter(level))
        .with_writer(std::io::stderr)
        // Without a reader of standard error there is nobody to complain to.
        .log_internal_errors(false);
    let installed = match format {
        LogFormat::Text => lines.with_ansi(wants_colour()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // An error means that logging was set up before.
    drop(installed);
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Colours are for people only, and for those who did not decline them (`NO_COLOR`).
fn wants_colour() -> bool {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !declined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_does_no_harm() {
        init(LogLevel::Off, LogFormat::Text);
        init(LogLevel::Trace, LogFormat::Json);
        tracing::info!("not seen: the first call has switched the log off");
    }
}
