//! `EXISTS key [id]` and `META key [id]`: asking about a key instead of for its value.
//!
//! EXISTS answers `1` or `0`; META one quoted value of `name=value` words, or `NIL`.

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::request::Request;

pub(super) const EXISTS: CommandSpec = CommandSpec {
    name: "EXISTS",
    aliases: &[],
    group: Group::Keys,
    syntax: "EXISTS key [id]",
    summary: "whether there is such a key: 1 or 0",
    detail: "",
    examples: &[Example::new("EXISTS house", "1"), Example::new("EXISTS garage 1", "0")],
    flags: Flags::NONE,
    parse: |arguments| Ok(Request::Exists { key: arguments.key()?, txn: arguments.id()? }),
};

pub(super) const META: CommandSpec = CommandSpec {
    name: "META",
    aliases: &[],
    group: Group::Keys,
    syntax: "META key [id]",
    summary: "a key's version, revision, type, size and times",
    detail: "The revision, and the time of the update, is - for what this transaction itself \
             wrote and has not committed. The ttl is in seconds; -1 means that the key does not \
             expire.",
    examples: &[
        Example::new(
            "META house",
            "\"version=3 revision=17 type=text bytes=5 updated=2026-11-20T10:00:00.123Z ttl=-1\"",
        ),
        Example::new("META garage", "NIL"),
    ],
    flags: Flags::NONE,
    parse: |arguments| Ok(Request::Meta { key: arguments.key()?, txn: arguments.id()? }),
};

/// Writes what both have: a key and an id.
pub(super) fn write(out: &mut Vec<u8>, key: &[u8], txn: Option<u64>) {
    writing::word(out, key);
    writing::id(out, txn);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn a_key_and_an_id_are_read() {
        assert_eq!(parsed("EXISTS k"), Request::Exists { key: b"k".into(), txn: None });
        assert_eq!(parsed("exists 1 2"), Request::Exists { key: b"1".into(), txn: Some(2) });
        assert_eq!(parsed("META k 2"), Request::Meta { key: b"k".into(), txn: Some(2) });
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(argument_error("EXISTS"), "EXISTS needs a key: EXISTS key [id]");
        assert!(argument_error("META \"\"").contains("at least one byte"));
        assert!(argument_error("META k l").contains("did not expect \"l\""));
        assert!(argument_error("EXISTS k 1 2").contains("the number \"2\""));
    }
}
