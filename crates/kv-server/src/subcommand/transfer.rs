//! What import and export have in common: the file and its format.

use std::ffi::OsStr;
use std::path::Path;

use kv_protocol::transfer::Format;

use super::Failure;

/// What stands for standard input or output.
pub(super) const STREAM: &str = "-";

/// A file of pairs, or a standard stream, and its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer<'a> {
    /// The file; none is a standard stream.
    pub(super) path: Option<&'a Path>,
    pub(super) format: Format,
}

impl<'a> Transfer<'a> {
    /// Settles the format: the one that was named, or what the file's name ends in.
    pub(super) fn new(file: &'a Path, format: Option<Format>) -> Result<Self, Failure> {
        let path = Some(file).filter(|file| file.as_os_str() != STREAM);
        let format = format.or_else(|| match path {
            None => Some(Format::Ndjson),
            Some(path) => by_name(path),
        });
        let Some(format) = format else {
            return Err(Failure::Usage(format!(
                "{}: its name does not say its format: name it with --format ({})",
                file.display(),
                names()
            )));
        };
        Ok(Self { path, format })
    }
}

/// Reads the name of a format.
pub(super) fn format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| format!("expected one of {}", names()))
}

fn names() -> String {
    Format::ALL.map(Format::as_str).join(", ")
}

fn by_name(path: &Path) -> Option<Format> {
    match path.extension().and_then(OsStr::to_str)? {
        "jsonl" => Some(Format::Ndjson),
        extension => Format::parse(extension),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_named_or_is_what_the_name_ends_in() {
        let of =
            |file, format| Transfer::new(Path::new(file), format).map(|transfer| transfer.format);
        for (file, format) in [
            ("a.ndjson", Format::Ndjson),
            ("a.jsonl", Format::Ndjson),
            ("a.b/c.json", Format::Json),
            ("A.CSV", Format::Csv),
            ("-", Format::Ndjson),
        ] {
            assert_eq!(of(file, None).unwrap(), format, "{file}");
            assert_eq!(of(file, Some(Format::Json)).unwrap(), Format::Json);
        }
        for file in ["pairs", "pairs.txt", ".json", "./-"] {
            let Err(Failure::Usage(text)) = of(file, None) else { panic!("{file} has a format") };
            assert!(text.starts_with(file), "{text}");
            assert!(text.ends_with("--format (ndjson, json, csv)"), "{text}");
        }
    }
}
