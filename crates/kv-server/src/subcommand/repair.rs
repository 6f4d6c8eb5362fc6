//! `repair`: what can be saved of a damaged data directory, in a new one.

use std::io::Write;
use std::path::Path;

use super::{Failure, answer, store};
use crate::config::{Config, DataDirectory};

pub(super) fn run(
    config: &Config,
    directory: &DataDirectory,
    into: &Path,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (from, to) = (directory.path.display(), into.display());
    if directory.contains(into) {
        return Err(Failure::Usage(format!(
            "--into {to} is within --data-dir {from}: expected another directory, because what is \
             damaged is left as it is"
        )));
    }
    let repaired = store::repair(config, directory, into)?;
    for line in repaired.saved.iter().chain(&repaired.lost) {
        answer(out, format_args!("{line}"))?;
    }
    let losses = match repaired.lost.len() {
        0 => "nothing was lost".to_owned(),
        1 => "1 loss is listed above".to_owned(),
        losses => format!("{losses} losses are listed above"),
    };
    answer(out, format_args!("{to} has what was saved of {from}: {losses}"))
}
