//! How far a long task has come, for people who watch it: nothing unless standard error is a
//! terminal.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that shows how far a task has come, and goes away when it is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of so many bytes; none if it is not known how many.
    pub(super) fn of_bytes(what: &'static str, bytes: Option<u64>) -> Progress {
        let known = "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left";
        Progress::new(what, bytes, known, "{msg} {spinner} {bytes}")
    }

    /// Of so many pairs.
    pub(super) fn of_pairs(what: &'static str, pairs: u64) -> Progress {
        let known = "{msg} {wide_bar} {human_pos} of {human_len} pairs, {eta} left";
        Progress::new(what, Some(pairs), known, "")
    }

    fn new(what: &'static str, length: Option<u64>, known: &str, unknown: &str) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let (bar, template) = match length {
            Some(length) => (ProgressBar::new(length), known),
            None => (ProgressBar::no_length(), unknown),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(bar.with_message(what))
    }

    /// It has come so far.
    pub(super) fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
