//! `verify`: whether everything in a data directory is as it was written.

use std::io::Write;

use super::{Failure, answer, store};
use crate::config::{Config, DataDirectory};

pub(super) fn run(
    config: &Config,
    directory: &DataDirectory,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let found = store::verify(config, directory)?;
    let path = directory.path.display();
    for line in &found.contents {
        answer(out, format_args!("{line}"))?;
    }
    for remark in &found.remarks {
        answer(out, format_args!("note: {remark}"))?;
    }
    for fault in &found.faults {
        answer(out, format_args!("fault: {fault}"))?;
    }
    let faults = match found.faults.len() {
        0 => return answer(out, format_args!("{path} is sound")),
        1 => "1 fault was".to_owned(),
        faults => format!("{faults} faults were"),
    };
    Err(Failure::Refused(format!(
        "{path} is damaged: {faults} found, and nothing was changed; kv-server repair saves what \
         can be saved into a new directory"
    )))
}
