//! `DEL key [id] [IF VERSION n]`
//!
//! Answers `OK`, or `NIL` if there was nothing. A number right after the verb is the key: `DEL 2`
//! deletes the key `2`.

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::Request;
use crate::request::arguments::{Arguments, is};
use crate::word::Shown;

pub(super) const DEL: CommandSpec = CommandSpec {
    name: "DEL",
    aliases: &[],
    group: Group::Keys,
    syntax: "DEL key [id] [IF VERSION n]",
    summary: "delete a key; answers NIL if there was nothing",
    detail: "IF VERSION deletes only if that is the newest version, else it answers PRECONDITION \
             with the current one. A delete is a version too, so earlier ones stay readable as \
             far as they are kept.",
    examples: &[
        Example::new("DEL house", "OK"),
        Example::new("DEL 2", "NIL"),
        Example::new("DEL house 1 IF VERSION 3", "OK"),
    ],
    flags: Flags::WRITES,
    parse,
};

fn parse<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    let key = arguments.key()?;
    let txn = arguments.id()?;
    let mut if_version = None;
    while let Some(word) = arguments.next()? {
        if !is(&word, "IF") {
            return Err(arguments.unexpected(&word));
        }
        let keyword = arguments.need("VERSION n after IF")?;
        if !is(&keyword, "VERSION") {
            let shown = Shown(&keyword);
            return Err(arguments.error(format_args!("needs VERSION n after IF, got {shown}")));
        }
        let version = arguments.number("a version after IF VERSION")?;
        arguments.set(&mut if_version, version, "IF VERSION")?;
    }
    Ok(Request::Del { key, txn, if_version })
}

pub(super) fn write(out: &mut Vec<u8>, key: &[u8], txn: Option<u64>, if_version: Option<u64>) {
    writing::word(out, key);
    writing::id(out, txn);
    writing::option(out, "IF VERSION", if_version);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn a_number_after_the_verb_is_the_key() {
        assert_eq!(parsed("DEL 2"), Request::Del { key: b"2".into(), txn: None, if_version: None });
    }

    #[test]
    fn id_and_version_may_be_named() {
        let expected = Request::Del { key: b"k".into(), txn: Some(1), if_version: Some(3) };
        assert_eq!(parsed("DEL k 1 IF VERSION 3"), expected);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(argument_error("DEL").contains("needs a key"));
        assert!(argument_error("DEL k IF").contains("needs VERSION n after IF"));
        assert!(argument_error("DEL k IF ABSENT").contains("got \"ABSENT\""));
        assert!(argument_error("DEL k IF VERSION").contains("needs a version"));
        assert!(argument_error("DEL k IF VERSION 1 IF VERSION 1").contains("only once"));
        assert!(argument_error("DEL k IF VERSION 1 2").contains("where the usage shows it"));
        assert!(argument_error("DEL k l").contains("did not expect \"l\""));
    }
}
