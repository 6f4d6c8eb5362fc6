//! `EXPIRE key seconds [id]`, `PERSIST key [id]` and `TTL key [id]`: how long a key lives.
//!
//! EXPIRE and PERSIST answer `OK`, or `NIL` if there is no such key; TTL the seconds that are
//! left, `-1` if the key does not expire, or `NIL`. `EX seconds` of a PUT is read here too.

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::Request;
use crate::request::arguments::Arguments;

pub(super) const EXPIRE: CommandSpec = CommandSpec {
    name: "EXPIRE",
    aliases: &[],
    group: Group::Keys,
    syntax: "EXPIRE key seconds [id]",
    summary: "give a key a time to live; answers NIL if there is no such key",
    detail: "The seconds are whole and at least 1, and count from now, not from a later COMMIT. \
             It makes a new version with the same value. When the time is over, the key is gone \
             at once; that makes no version.",
    examples: &[
        Example::new("EXPIRE house 60", "OK"),
        Example::new("EXPIRE house 60 1", "OK"),
        Example::new("EXPIRE garage 60", "NIL"),
    ],
    flags: Flags::WRITES,
    parse: |arguments| {
        let key = arguments.key()?;
        let ttl_s = seconds(arguments, "a number of seconds after the key")?;
        Ok(Request::Expire { key, ttl_s, txn: arguments.id()? })
    },
};

pub(super) const PERSIST: CommandSpec = CommandSpec {
    name: "PERSIST",
    aliases: &[],
    group: Group::Keys,
    syntax: "PERSIST key [id]",
    summary: "have a key not expire; answers NIL if there is no such key",
    detail: "It makes a new version with the same value, even if the key would not have expired.",
    examples: &[Example::new("PERSIST house", "OK"), Example::new("PERSIST garage 1", "NIL")],
    flags: Flags::WRITES,
    parse: |arguments| Ok(Request::Persist { key: arguments.key()?, txn: arguments.id()? }),
};

pub(super) const TTL: CommandSpec = CommandSpec {
    name: "TTL",
    aliases: &[],
    group: Group::Keys,
    syntax: "TTL key [id]",
    summary: "the seconds that a key has to live",
    detail: "Rounded up; -1 if the key does not expire, NIL if there is no such key. In a \
             transaction it repeats: it counts from the time by which the transaction judges the \
             key. Of what the transaction itself wrote it counts from now.",
    examples: &[
        Example::new("TTL house", "60"),
        Example::new("TTL street", "-1"),
        Example::new("TTL garage 1", "NIL"),
    ],
    flags: Flags::NONE,
    parse: |arguments| Ok(Request::Ttl { key: arguments.key()?, txn: arguments.id()? }),
};

/// The time to live that must come next. How long it may be at most, the server's clock says.
pub(super) fn seconds(arguments: &mut Arguments<'_>, what: &str) -> Result<u64, ErrorReply> {
    match arguments.number(what)? {
        0 => Err(arguments.error(format_args!("needs {what}, at least 1, got \"0\""))),
        seconds => Ok(seconds),
    }
}

pub(super) fn write(out: &mut Vec<u8>, key: &[u8], ttl_s: u64, txn: Option<u64>) {
    writing::word(out, key);
    writing::number(out, ttl_s);
    writing::id(out, txn);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn the_seconds_stand_before_the_id() {
        let expire = |ttl_s, txn| Request::Expire { key: b"k".into(), ttl_s, txn };
        assert_eq!(parsed("EXPIRE k 60"), expire(60, None));
        assert_eq!(parsed("expire k 60 2"), expire(60, Some(2)));
        assert_eq!(parsed("PERSIST k 2"), Request::Persist { key: b"k".into(), txn: Some(2) });
        assert_eq!(parsed("TTL 1"), Request::Ttl { key: b"1".into(), txn: None });
    }

    #[test]
    fn seconds_are_whole_and_at_least_one() {
        assert!(argument_error("EXPIRE k").contains("needs a number of seconds after the key"));
        assert!(argument_error("EXPIRE k 0").contains("at least 1"));
        for wrong in ["-1", "1.5", "soon", "\"\"", "18446744073709551616"] {
            let error = argument_error(&format!("EXPIRE k {wrong}"));
            assert!(error.contains("a whole number from 0 to"), "{error}");
        }
        assert!(argument_error("EXPIRE k 1 2 3").contains("the number \"3\""));
        assert!(argument_error("TTL").contains("needs a key"));
        assert!(argument_error("PERSIST k l").contains("did not expect \"l\""));
    }
}
