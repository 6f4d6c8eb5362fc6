//! `INCR key [BY n] [id]`
//!
//! Answers the new number. Here the id is the last word, after the option.

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::Request;
use crate::request::arguments::{Arguments, is};

pub(super) const INCR: CommandSpec = CommandSpec {
    name: "INCR",
    aliases: &[],
    group: Group::Keys,
    syntax: "INCR key [BY n] [id]",
    summary: "add to a number; answers the new one",
    detail: "Adds 1, or n, which may be negative. A missing key counts as 0. Numbers are whole, \
             of 64 bits; a value that is none, and a result that would not fit, answer TYPE.",
    examples: &[
        Example::new("INCR visits", "1"),
        Example::new("INCR visits BY -5", "-4"),
        Example::new("INCR visits BY 10 1", "6"),
    ],
    flags: Flags::WRITES,
    parse,
};

fn parse<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    let key = arguments.key()?;
    let mut txn = arguments.id()?;
    let mut by = None;
    while txn.is_none() {
        let Some(word) = arguments.next()? else { break };
        if !is(&word, "BY") {
            return Err(arguments.unexpected(&word));
        }
        let amount = arguments.signed_number("a number after BY")?;
        arguments.set(&mut by, amount, "BY")?;
        txn = arguments.id()?;
    }
    Ok(Request::Incr { key, by: by.unwrap_or(1), txn })
}

pub(super) fn write(out: &mut Vec<u8>, key: &[u8], by: i64, txn: Option<u64>) {
    writing::word(out, key);
    if by != 1 {
        writing::keyword(out, "BY");
        writing::number(out, by);
    }
    writing::id(out, txn);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    fn incr(by: i64, txn: Option<u64>) -> Request<'static> {
        Request::Incr { key: b"k".into(), by, txn }
    }

    #[test]
    fn the_id_is_last() {
        assert_eq!(parsed("INCR k"), incr(1, None));
        assert_eq!(parsed("INCR k 5"), incr(1, Some(5)));
        assert_eq!(parsed("INCR k BY 5"), incr(5, None));
        assert_eq!(parsed("incr k by -5 6"), incr(-5, Some(6)));
        assert_eq!(parsed("INCR k BY -9223372036854775808"), incr(i64::MIN, None));
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(argument_error("INCR").contains("needs a key"));
        assert!(argument_error("INCR k BY").contains("needs a number after BY"));
        assert!(argument_error("INCR k BY x").contains("got \"x\""));
        assert!(argument_error("INCR k BY 1.5").contains("got \"1.5\""));
        assert!(argument_error("INCR k BY 9223372036854775808").contains("64 bits"));
        assert!(argument_error("INCR k BY 1 BY 2").contains("BY only once"));
        assert!(argument_error("INCR k 5 BY 1").contains("did not expect \"BY\""));
        assert!(argument_error("INCR k -5").contains("did not expect \"-5\""));
    }
}
