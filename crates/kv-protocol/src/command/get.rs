//! `GET key [id] [FOR UPDATE] | GET key VERSION n | GET key AT revision`
//!
//! Answers a value or `NIL`. VERSION and AT read what is committed, whoever asks, so they take no
//! id and no lock; mixing the forms is refused rather than guessed at.

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::arguments::{Arguments, is};
use crate::request::{Read, Request};
use crate::word::Shown;

pub(super) const GET: CommandSpec = CommandSpec {
    name: "GET",
    aliases: &[],
    group: Group::Keys,
    syntax: "GET key [id] [FOR UPDATE] | GET key VERSION n | GET key AT revision",
    summary: "read a key",
    detail: "FOR UPDATE takes the lock that a later write needs at once; it makes sense only in \
             a transaction. VERSION reads one of the kept versions and AT what was committed at \
             a revision; both show committed versions only and answer PRUNED for what is no \
             longer kept.",
    examples: &[
        Example::new("GET house", "\"small\""),
        Example::new("GET garage", "NIL"),
        Example::new("GET house 1 FOR UPDATE", "\"small\""),
        Example::new("GET house VERSION 1", "\"large\""),
        Example::new("GET house AT 17", "\"large\""),
    ],
    flags: Flags::NONE,
    parse,
};

#[inline]
fn parse<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    let key = arguments.key()?;
    let txn = arguments.id()?;
    let mut read = None;
    while let Some(word) = arguments.next()? {
        let form = read_form(arguments, &word, txn)?;
        arguments.set(&mut read, form, "FOR UPDATE, VERSION or AT")?;
    }
    let read = read.unwrap_or(Read::Newest { txn, for_update: false });
    Ok(Request::Get { key, read })
}

fn read_form(
    arguments: &mut Arguments<'_>,
    word: &[u8],
    txn: Option<u64>,
) -> Result<Read, ErrorReply> {
    let form = if is(word, "FOR") {
        let update = arguments.need("UPDATE after FOR")?;
        if !is(&update, "UPDATE") {
            let shown = Shown(&update);
            return Err(arguments.error(format_args!("needs UPDATE after FOR, got {shown}")));
        }
        return Ok(Read::Newest { txn, for_update: true });
    } else if is(word, "VERSION") {
        Read::Version(arguments.number("a version after VERSION")?)
    } else if is(word, "AT") {
        Read::At(arguments.number("a revision after AT")?)
    } else {
        return Err(arguments.unexpected(word));
    };
    if txn.is_some() {
        return Err(arguments
            .error(format_args!("takes no id with VERSION or AT, which read what is committed")));
    }
    Ok(form)
}

pub(super) fn write(out: &mut Vec<u8>, key: &[u8], read: Read) {
    writing::word(out, key);
    match read {
        Read::Newest { txn, for_update } => {
            writing::id(out, txn);
            if for_update {
                writing::keyword(out, "FOR UPDATE");
            }
        }
        Read::Version(version) => writing::option(out, "VERSION", Some(version)),
        Read::At(revision) => writing::option(out, "AT", Some(revision)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    fn get(read: Read) -> Request<'static> {
        Request::Get { key: b"k".into(), read }
    }

    #[test]
    fn the_newest_is_read_unless_another_state_is_named() {
        assert_eq!(parsed("GET k"), get(Read::Newest { txn: None, for_update: false }));
        assert_eq!(
            parsed("\"get\" \"k\" 2"),
            get(Read::Newest { txn: Some(2), for_update: false })
        );
        let locked = get(Read::Newest { txn: Some(2), for_update: true });
        assert_eq!(parsed("GET k 2 for Update"), locked);
        assert_eq!(parsed("GET k VERSION 3"), get(Read::Version(3)));
        assert_eq!(parsed("GET k AT 17"), get(Read::At(17)));
    }

    #[test]
    fn the_forms_do_not_mix() {
        assert!(argument_error("GET k 1 VERSION 2").contains("takes no id with VERSION or AT"));
        assert!(argument_error("GET k 1 AT 2").contains("takes no id with VERSION or AT"));
        assert!(argument_error("GET k VERSION 1 AT 2").contains("only once"));
        assert!(argument_error("GET k FOR UPDATE FOR UPDATE").contains("only once"));
        assert!(argument_error("GET k FOR UPDATE 1").contains("where the usage shows it"));
        assert!(argument_error("GET k VERSION 1 2").contains("the number \"2\""));
    }

    #[test]
    fn missing_and_malformed_words_are_named() {
        assert!(argument_error("GET").starts_with("GET needs a key: GET key [id]"));
        assert!(argument_error("GET \"\"").contains("at least one byte"));
        assert!(argument_error("GET k FOR").contains("needs UPDATE after FOR"));
        assert!(argument_error("GET k FOR READ").contains("got \"READ\""));
        assert!(argument_error("GET k VERSION").contains("needs a version"));
        assert!(argument_error("GET k AT -1").contains("got \"-1\""));
        assert!(argument_error("GET k v").contains("did not expect \"v\""));
    }
}
