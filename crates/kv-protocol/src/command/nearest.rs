//! `NEAREST x n [PREFIX p] [id]`: the pairs whose values are the numbers closest to one.

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::arguments::{Arguments, is};
use crate::request::{Nearest, Request};

pub(super) const NEAREST: CommandSpec = CommandSpec {
    name: "NEAREST",
    aliases: &[],
    group: Group::Lists,
    syntax: "NEAREST x n [PREFIX p] [id]",
    summary: "the n pairs whose values are the numbers closest to x, the closest first",
    detail: "Of two that are as close the one with the lesser key comes first. What a number is \
             says SCAN's VALUE NUMBER; other values are passed over, so there may be no rows at \
             all. n is at most 10000. All keys, or those with the prefix, are looked at, and in a \
             SERIALIZABLE transaction stay locked to its end.",
    examples: &[
        Example::new("NEAREST 20.5 2", "\"b\" \"21\"\n\"a\" \"19\"\nEND 2"),
        Example::new("NEAREST -1e3 5 PREFIX temperature: 1", "END 0"),
    ],
    flags: Flags::NONE,
    parse,
};

fn parse<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    let number = arguments.need("a number to be close to")?;
    let rows = arguments.number("a number of rows")?;
    let (mut prefix, mut txn) = (None, arguments.id()?);
    while txn.is_none() {
        let Some(word) = arguments.next()? else { break };
        if !is(&word, "PREFIX") {
            return Err(arguments.unexpected(&word));
        }
        let keys = arguments.need("a prefix after PREFIX")?;
        arguments.set(&mut prefix, keys, "PREFIX")?;
        txn = arguments.id()?;
    }
    Ok(Request::Nearest(Box::new(Nearest { number, rows, prefix, txn })))
}

pub(super) fn write(out: &mut Vec<u8>, nearest: &Nearest<'_>) {
    writing::word(out, &nearest.number);
    writing::number(out, nearest.rows);
    if let Some(prefix) = &nearest.prefix {
        writing::keyword(out, "PREFIX");
        writing::word(out, prefix);
    }
    writing::id(out, nearest.txn);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn number_and_rows_come_first_then_options() {
        let nearest = |number: &'static str, rows, prefix: Option<&'static [u8]>, txn| {
            let (number, prefix) = (number.as_bytes().into(), prefix.map(Into::into));
            Request::Nearest(Box::new(Nearest { number, rows, prefix, txn }))
        };
        assert_eq!(parsed("NEAREST 5 3"), nearest("5", 3, None, None));
        assert_eq!(parsed("nearest -1.5e3 0 2"), nearest("-1.5e3", 0, None, Some(2)));
        assert_eq!(parsed("NEAREST x 3 PREFIX 1 2"), nearest("x", 3, Some(b"1"), Some(2)));
    }

    #[test]
    fn missing_and_surplus_words_are_named() {
        assert!(argument_error("NEAREST").contains("needs a number to be close to"));
        assert!(argument_error("NEAREST 5").contains("needs a number of rows"));
        assert!(argument_error("NEAREST 5 -1").contains("got \"-1\""));
        assert!(argument_error("NEAREST 5 1 PREFIX").contains("needs a prefix"));
        assert!(argument_error("NEAREST 5 1 PREFIX a PREFIX b").contains("PREFIX only once"));
        assert!(argument_error("NEAREST 5 1 LIMIT 1").contains("did not expect \"LIMIT\""));
        assert!(argument_error("NEAREST 5 1 2 3").contains("the number \"3\""));
    }
}
