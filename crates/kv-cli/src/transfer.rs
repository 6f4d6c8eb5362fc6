//! Import and export over the wire, in the formats of [`kv_protocol::transfer`].

mod export;

mod import;

mod progress;

use std::path::Path;

use kv_protocol::transfer::Format;

use crate::exit::Failure;

pub(crate) use export::export;
pub(crate) use import::import;

/// The format that was named, or what the file's name ends in, or NDJSON.
fn format_of(named: Option<&str>, path: &Path) -> Result<Format, Failure> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match named {
        Some(name) => Format::parse(name)
            .ok_or_else(|| Failure::usage(format!("--as takes ndjson, json or csv; got {name}"))),
        None => Ok(ending.and_then(Format::parse).unwrap_or(Format::Ndjson)),
    }
}

fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}
