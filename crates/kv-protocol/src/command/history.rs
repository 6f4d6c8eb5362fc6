//! `HISTORY key [LIMIT n]`
//!
//! Answers rows `version revision updated "value"`, the newest first; `NIL` as value is a delete.
//! It shows what is committed, so it takes no id.

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::Request;
use crate::request::arguments::{Arguments, is};

pub(super) const HISTORY: CommandSpec = CommandSpec {
    name: "HISTORY",
    aliases: &[],
    group: Group::Keys,
    syntax: "HISTORY key [LIMIT n]",
    summary: "a key's kept versions, newest first",
    detail: "Each row is version, revision, time and value, with NIL for a delete. Only \
             committed versions are shown.",
    examples: &[Example::new(
        "HISTORY house LIMIT 2",
        "3 17 2026-11-20T10:00:00.123Z NIL\n2 12 2026-11-20T09:59:00.000Z \"small\"\nEND 2",
    )],
    flags: Flags::NONE,
    parse,
};

fn parse<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    let key = arguments.key()?;
    let mut limit = None;
    while let Some(word) = arguments.next()? {
        if !is(&word, "LIMIT") {
            return Err(arguments.unexpected(&word));
        }
        let rows = arguments.number("a number of rows after LIMIT")?;
        arguments.set(&mut limit, rows, "LIMIT")?;
    }
    Ok(Request::History { key, limit })
}

pub(super) fn write(out: &mut Vec<u8>, key: &[u8], limit: Option<u64>) {
    writing::word(out, key);
    writing::option(out, "LIMIT", limit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn a_limit_may_be_given() {
        assert_eq!(parsed("HISTORY k"), Request::History { key: b"k".into(), limit: None });
        let none = Request::History { key: b"k".into(), limit: Some(0) };
        assert_eq!(parsed("history k limit 0"), none);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(argument_error("HISTORY").contains("needs a key"));
        assert!(argument_error("HISTORY k 1").contains("did not expect \"1\""));
        assert!(argument_error("HISTORY k LIMIT").contains("needs a number of rows"));
        assert!(argument_error("HISTORY k LIMIT -1").contains("got \"-1\""));
        assert!(argument_error("HISTORY k LIMIT 1 LIMIT 1").contains("only once"));
    }
}
