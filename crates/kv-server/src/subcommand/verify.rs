//! `verify`: whether everything in a data directory is as it was written.

use std::io::Write;

use super::{Failure, answer, store};
use crate::config::DataDirectory;

pub(super) fn run(directory: &DataDirectory, out: &mut dyn Write) -> Result<(), Failure> {
    let verified = store::verify(directory)?;
    let path = directory.path.display();
    for line in &verified.contents {
        answer(out, format_args!("{line}"))?;
    }
    for fault in &verified.faults {
        answer(out, format_args!("fault: {fault}"))?;
    }
    match verified.faults.len() {
        0 => answer(out, format_args!("{path} is sound")),
        faults => Err(Failure::Refused(format!(
            "{path} is damaged: {faults} faults were found, and nothing was changed; kv-server \
             repair saves what can be saved into a new directory"
        ))),
    }
}
