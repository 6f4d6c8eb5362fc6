//! `TRANSACTIONS` `REVISION` `LOCKS` `SHARDS` `STATS` `CHECK`: what the server holds and does.
//!
//! SHARDS takes a word, the others none.

use super::{CommandSpec, Example, Flags, Group};
use crate::reply::ErrorReply;
use crate::request::Request;
use crate::request::arguments::{Arguments, is};

/// What the specs below have in common.
const STATUS: CommandSpec = CommandSpec {
    name: "",
    aliases: &[],
    group: Group::Status,
    syntax: "",
    summary: "",
    detail: "",
    examples: &[],
    flags: Flags::NONE,
    parse: |_| Ok(Request::Stats),
};

pub(super) const TRANSACTIONS: CommandSpec = CommandSpec {
    name: "TRANSACTIONS",
    syntax: "TRANSACTIONS",
    summary: "this session's open transactions",
    detail: "Each row is id, parent (- for none), isolation, state (open or aborted), age in \
             milliseconds and number of writes.",
    examples: &[Example::new(
        "TRANSACTIONS",
        "1 - SERIALIZABLE open 5210 2\n2 1 SERIALIZABLE open 130 0\nEND 2",
    )],
    parse: |_| Ok(Request::Transactions),
    ..STATUS
};

pub(super) const REVISION: CommandSpec = CommandSpec {
    name: "REVISION",
    syntax: "REVISION",
    summary: "the revision of this session's last commit",
    detail: "Every commit that changes something has a revision, counted for the whole store; \
             GET … AT and BEGIN READONLY AT read at one. It is 0 before this session's first.",
    examples: &[Example::new("REVISION", "17")],
    parse: |_| Ok(Request::Revision),
    ..STATUS
};

pub(super) const LOCKS: CommandSpec = CommandSpec {
    name: "LOCKS",
    syntax: "LOCKS",
    summary: "the locks held and waited for",
    detail: "Each row is session, transaction (- for a single command), key or range, mode \
             (shared or exclusive), held or waiting, and age in milliseconds. A key stands in \
             quotes; a range as [\"a\"..\"b\"), where a bracket includes its end, a parenthesis \
             does not, and an end that is left out has no bound.",
    examples: &[Example::new(
        "LOCKS",
        "7 1 \"house\" exclusive held 5210\n9 2 [\"a\"..\"b\") shared waiting 130\nEND 2",
    )],
    flags: Flags::ADMIN,
    parse: |_| Ok(Request::Locks),
    ..STATUS
};

pub(super) const SHARDS: CommandSpec = CommandSpec {
    name: "SHARDS",
    syntax: "SHARDS [LOAD]",
    summary: "the shards: index, keys, bytes",
    detail: "Bytes are those of keys and values in memory, older versions included. With LOAD, \
             each row goes on with the keys that are in memory, the bytes of memory that the shard \
             takes, and, counted since the server was started, how many single keys were read, \
             how many keys or values were read back from disk, and how many gave way.",
    examples: &[
        Example::new("SHARDS", "0 512 40960\n1 498 39840\nEND 2"),
        Example::new(
            "SHARDS LOAD",
            "0 512 40960 512 88064 1204 0 0\n1 498 39840 498 86016 90417 0 0\nEND 2",
        ),
    ],
    parse: shards,
    ..STATUS
};

fn shards<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    match arguments.next()? {
        None => Ok(Request::Shards { with_load: false }),
        Some(word) if is(&word, "LOAD") => {
            arguments.end()?;
            Ok(Request::Shards { with_load: true })
        }
        Some(word) => Err(arguments.unexpected(&word)),
    }
}

pub(super) const STATS: CommandSpec = CommandSpec {
    name: "STATS",
    aliases: &["INFO"],
    syntax: "STATS",
    summary: "the server's counters, as name=value rows",
    examples: &[Example::new("STATS", "keys=1010\nbytes=80800\nEND 2")],
    parse: |_| Ok(Request::Stats),
    ..STATUS
};

pub(super) const CHECK: CommandSpec = CommandSpec {
    name: "CHECK",
    syntax: "CHECK",
    summary: "verify the store's invariants",
    detail: "Answers OK, or INTERNAL with what is wrong.",
    examples: &[Example::new("CHECK", "OK")],
    parse: |_| Ok(Request::Check),
    ..STATUS
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn each_verb_is_its_request() {
        assert_eq!(parsed("TRANSACTIONS"), Request::Transactions);
        assert_eq!(parsed("revision"), Request::Revision);
        assert_eq!(parsed("Locks"), Request::Locks);
        assert_eq!(parsed("SHARDS"), Request::Shards { with_load: false });
        assert_eq!(parsed("shards load"), Request::Shards { with_load: true });
        assert_eq!(parsed("STATS"), Request::Stats);
        assert_eq!(parsed("info"), Request::Stats);
        assert_eq!(parsed("CHECK"), Request::Check);
    }

    #[test]
    fn none_takes_a_word() {
        for name in ["TRANSACTIONS", "REVISION", "LOCKS", "STATS", "CHECK"] {
            let error = argument_error(&format!("{name} 1"));
            assert_eq!(error, format!("{name} did not expect \"1\": {name}"));
        }
        for (line, word) in [("SHARDS 1", "1"), ("SHARDS LOAD 1", "1")] {
            let expected = format!("SHARDS did not expect \"{word}\": SHARDS [LOAD]");
            assert_eq!(argument_error(line), expected);
        }
    }
}
