//! Reads the configuration file into settings as text, each with the line it stands on.
//!
//! It knows TOML but no setting: which names exist and what their values mean is the business of
//! the flags. So a value is handed on as the text that would follow the flag.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Spanned, Value};

use super::refusal::{Origin, Refusal};

/// One line `name = value`, as text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name of the setting.
    pub(super) name: String,
    /// The line, counted from 1.
    pub(super) line: usize,
    /// The value, or the values of a list.
    pub(super) values: Vec<String>,
    /// Whether it was written as a list.
    pub(super) is_list: bool,
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, Refusal> {
    let failed =
        |error| Refusal::File { path: path.into(), reason: format!("cannot read: {error}") };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, Refusal> {
    let table: BTreeMap<Spanned<String>, Spanned<Value>> =
        toml::from_str(text).map_err(|error| malformed(path, text, &error))?;
    let mut entries = Vec::with_capacity(table.len());
    for (name, value) in table {
        let line = line_of(text, name.span().start);
        let name = name.into_inner();
        let is_list = value.as_ref().is_array();
        let Some(values) = flatten(value.into_inner()) else {
            let reason = "expected a text, a number, true or false, or a list of them".to_owned();
            return Err(Refusal::Setting { origin: Origin::File(path.into(), line), name, reason });
        };
        entries.push(Entry { name, line, values, is_list });
    }
    // In the order of the file, so that the first mistake in it is the one that is told.
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// A mistake in the TOML itself, with the text of its line in place of a setting's name.
fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> Refusal {
    let reason = error.message().trim().replace('\n', ", ");
    match error.span() {
        None => Refusal::File { path: path.into(), reason },
        Some(span) => {
            let line = line_of(text, span.start);
            let name = text.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
            Refusal::Setting { origin: Origin::File(path.into(), line), name, reason }
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

fn flatten(value: Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => values.into_iter().map(scalar).collect(),
        single => scalar(single).map(|text| vec![text]),
    }
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Entry>, String> {
        parse(Path::new("kv.toml"), text).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn values_keep_their_lines() {
        let text = "# settings\nshards = 4\n\nlisten = [\n \"a\",\n \"b\" ]\nin-memory = true\n";
        let entry = |name: &str, line, values: &[&str], is_list| Entry {
            name: name.into(),
            line,
            values: values.iter().map(|&value| value.into()).collect(),
            is_list,
        };
        let expected = vec![
            entry("shards", 2, &["4"], false),
            entry("listen", 4, &["a", "b"], true),
            entry("in-memory", 7, &["true"], false),
        ];
        assert_eq!(parsed(text), Ok(expected));
    }

    #[test]
    fn what_is_no_setting_is_refused_with_its_line() {
        let refused = |text| parsed(text).unwrap_err();
        assert!(
            refused("a = 1\n[limits]\nb = 2").starts_with("kv.toml:2: limits: expected a text")
        );
        assert!(refused("a = 1.5").starts_with("kv.toml:1: a: expected a text"));
        assert!(refused("a = 1\nshards 4\n").starts_with("kv.toml:2: shards 4: "));
        assert!(refused("a = 1\na = 2\n").contains("duplicate"), "{}", refused("a = 1\na = 2\n"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let refusal = read(Path::new("/nowhere/kv.toml")).unwrap_err().to_string();
        assert!(refusal.starts_with("/nowhere/kv.toml: cannot read: "), "{refusal}");
    }
}
