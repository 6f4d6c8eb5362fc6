//! What is remembered of what was typed: in `~/.kv_history` (or `KV_HISTORY`), readable by nobody
//! else. Not remembered are lines that begin with a space, and passwords.

use std::path::PathBuf;

use kv_protocol::word::Words;
use rustyline::Editor;
use rustyline::history::FileHistory;

use super::helper::Helper;

/// The most lines that are remembered.
const LINES_MAX: usize = 10_000;

pub(super) fn load(editor: &mut Editor<Helper, FileHistory>) {
    // Without a history the program is of use, too.
    let _ = rustyline::history::History::set_max_len(editor.history_mut(), LINES_MAX);
    if let Some(path) = path() {
        let _ = editor.load_history(&path);
    }
}

/// Remembers a line at once, so that nothing is lost if the terminal goes away.
pub(super) fn add(editor: &mut Editor<Helper, FileHistory>, line: &str) {
    let Ok(true) = editor.add_history_entry(redacted(line)) else { return };
    if let Some(path) = path() {
        // The file is made with mode 0600.
        let _ = editor.append_history(&path);
    }
}

fn path() -> Option<PathBuf> {
    match std::env::var_os("KV_HISTORY") {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
        None => std::env::home_dir().map(|home| home.join(".kv_history")),
    }
}

/// A line without its password or token.
fn redacted(line: &str) -> String {
    let mut words = Words::new(line.as_bytes());
    let verb = words.next_word().ok().flatten();
    for secret in ["AUTH", "ATTACH"] {
        if verb.as_ref().is_some_and(|verb| verb.bytes.eq_ignore_ascii_case(secret.as_bytes())) {
            return format!("{secret} …");
        }
    }
    // \connect kv://user:password@host
    let secret = line.find("://").and_then(|scheme| {
        let at = line.rfind('@').filter(|at| *at > scheme)?;
        let colon = line[scheme + 3..at].find(':')? + scheme + 3;
        Some((colon, at))
    });
    match secret {
        Some((colon, at)) => format!("{}:…{}", &line[..colon], &line[at..]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_remembered() {
        assert_eq!(redacted("auth ann secret"), "AUTH …");
        assert_eq!(redacted("attach 9f86d081884c7d659a2feaa0c55ad015"), "ATTACH …");
        assert_eq!(redacted("\\connect kv://ann:secret@host:1"), "\\connect kv://ann:…@host:1");
        assert_eq!(redacted("PUT a kv://host"), "PUT a kv://host");
        assert_eq!(redacted("PUT author x"), "PUT author x");
    }
}
