//! How far a transfer has come: on a terminal a bar with rate and time left, elsewhere nothing.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// A bar for so many records; none if nobody knows how many.
pub(super) fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{msg} {bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{msg} {human_pos}, {per_sec}, {elapsed} so far"),
    };
    let style = ProgressStyle::with_template(template);
    let bar = bar.with_message(what);
    bar.enable_steady_tick(REDRAW_EVERY);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
