//! Guessing which command was meant by a word that is none.
//!
//! Two sources: the words that other stores use for the same thing, and small slips of the hand.
//! A guess is only ever shown, never run.

use super::COMMANDS;
use crate::limits::VERB_BYTES_MAX;

/// What people type who come from elsewhere, and what it is called here.
const FAMILIAR: [(&str, &str); 14] = [
    ("SET", "PUT"),
    ("DELETE", "DEL"),
    ("REMOVE", "DEL"),
    ("KEYS", "SCAN"),
    ("LIST", "SCAN"),
    ("LS", "SCAN"),
    ("START", "BEGIN"),
    ("MULTI", "BEGIN"),
    ("EXEC", "COMMIT"),
    ("ABORT", "ROLLBACK"),
    ("DISCARD", "ROLLBACK"),
    ("DBSIZE", "COUNT"),
    ("EXIT", "QUIT"),
    ("BYE", "QUIT"),
];

/// The command that was probably meant.
pub(super) fn nearest(verb: &[u8]) -> Option<&'static str> {
    // One slip may lengthen a verb by one byte; a much longer word was never meant as one.
    if verb.is_empty() || verb.len() > VERB_BYTES_MAX + 2 {
        return None;
    }
    let verb = verb.to_ascii_uppercase();
    let familiar = FAMILIAR.iter().find(|(word, _)| word.as_bytes() == verb);
    if let Some((_, name)) = familiar {
        return Some(name);
    }
    let names = COMMANDS.iter().flat_map(|spec| spec.aliases.iter().copied().chain([spec.name]));
    names
        .map(|name| (distance(&verb, name.as_bytes()), name))
        .filter(|(slips, name)| *slips <= slips_max(name))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

/// In a short name, two slips would make anything of anything.
fn slips_max(name: &str) -> usize {
    if name.len() <= 4 { 1 } else { 2 }
}

/// The edits that turn one word into the other: a byte more, a byte less, another byte, or two
/// neighbours swapped (the "optimal string alignment" distance).
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut before_last: Vec<usize> = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i; to.len() + 1];
        for j in 1..=to.len() {
            let is_other = usize::from(from[i - 1] != to[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + is_other);
            let is_swap = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
            if is_swap {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_understood() {
        for (verb, name) in [
            ("GETT", "GET"),
            ("gte", "GET"),
            ("PUTT", "PUT"),
            ("COMIT", "COMMIT"),
            ("rolback", "ROLLBACK"),
            ("TRANSACTION", "TRANSACTIONS"),
            ("HELO", "HELP"),
            ("QIUT", "QUIT"),
        ] {
            assert_eq!(nearest(verb.as_bytes()), Some(name), "{verb}");
        }
    }

    #[test]
    fn words_of_other_stores_are_understood() {
        assert_eq!(nearest(b"set"), Some("PUT"));
        assert_eq!(nearest(b"Delete"), Some("DEL"));
        for (_, name) in FAMILIAR {
            assert!(COMMANDS.iter().any(|spec| spec.name == name));
        }
    }

    #[test]
    fn nothing_is_made_of_nonsense() {
        for verb in [&b""[..], b"XYZZY", b"\xff\xff", &[b'A'; 1000]] {
            assert_eq!(nearest(verb), None);
        }
    }
}
