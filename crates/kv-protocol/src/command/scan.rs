//! `SCAN [PREFIX p|RANGE from to] [LIMIT n] [AFTER key] [id]` and COUNT with the same words.
//!
//! SCAN answers rows `"key" "value"`, COUNT only their number. The options come in any order; the
//! id is the last word. What a row costs and what is locked is the server's.

use std::borrow::Cow;

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::arguments::{Arguments, is};
use crate::request::{Interval, Request, Selection};
use crate::word::Shown;

pub(super) const SCAN: CommandSpec = CommandSpec {
    name: "SCAN",
    aliases: &[],
    group: Group::Lists,
    syntax: "SCAN [PREFIX p|RANGE from to] [LIMIT n] [AFTER key] [id]",
    summary: "pairs in the order of their keys",
    detail: "A RANGE is from <= key < to, by bytes. To page, send the last key of a page as the \
             next one's AFTER. In a SERIALIZABLE transaction the keys examined stay locked to \
             its end, so LIMIT also limits what is locked.",
    examples: &[
        Example::new("SCAN PREFIX user: LIMIT 2", "\"user:1\" \"Ann\"\n\"user:2\" \"Bob\"\nEND 2"),
        Example::new("SCAN RANGE a b AFTER apple 1", "END 0"),
    ],
    flags: Flags::NONE,
    parse: |arguments| selection(arguments).map(Request::Scan),
};

pub(super) const COUNT: CommandSpec = CommandSpec {
    name: "COUNT",
    aliases: &[],
    group: Group::Lists,
    syntax: "COUNT [PREFIX p|RANGE from to] [LIMIT n] [AFTER key] [id]",
    summary: "how many pairs SCAN would answer",
    detail: "",
    examples: &[Example::new("COUNT", "3"), Example::new("COUNT PREFIX user:", "2")],
    flags: Flags::NONE,
    parse: |arguments| selection(arguments).map(Request::Count),
};

fn selection<'a>(arguments: &mut Arguments<'a>) -> Result<Selection<'a>, ErrorReply> {
    let (mut interval, mut limit, mut after) = (None, None, None);
    let mut txn = arguments.id()?;
    while txn.is_none() {
        let Some(word) = arguments.next()? else { break };
        if is(&word, "PREFIX") {
            let prefix = arguments.need("a prefix after PREFIX")?;
            arguments.set(&mut interval, Interval::Prefix(prefix), "PREFIX or RANGE")?;
        } else if is(&word, "RANGE") {
            let range = range(arguments)?;
            arguments.set(&mut interval, range, "PREFIX or RANGE")?;
        } else if is(&word, "LIMIT") {
            let rows = arguments.number("a number of rows after LIMIT")?;
            arguments.set(&mut limit, rows, "LIMIT")?;
        } else if is(&word, "AFTER") {
            let key: Cow<'a, [u8]> = arguments.need("a key after AFTER")?;
            arguments.set(&mut after, key, "AFTER")?;
        } else {
            return Err(arguments.unexpected(&word));
        }
        txn = arguments.id()?;
    }
    Ok(Selection { interval: interval.unwrap_or_default(), limit, after, txn })
}

fn range<'a>(arguments: &mut Arguments<'a>) -> Result<Interval<'a>, ErrorReply> {
    let from = arguments.need("a key to begin from after RANGE")?;
    let to = arguments.need("a second key, to end before, after RANGE")?;
    if from > to {
        let (from, to) = (Shown(&from), Shown(&to));
        return Err(arguments.error(format_args!(
            "has the ends of its RANGE the wrong way round: {from} comes after {to}"
        )));
    }
    Ok(Interval::Range { from, to })
}

pub(super) fn write(out: &mut Vec<u8>, selection: &Selection<'_>) {
    match &selection.interval {
        Interval::All => {}
        Interval::Prefix(prefix) => {
            writing::keyword(out, "PREFIX");
            writing::word(out, prefix);
        }
        Interval::Range { from, to } => {
            writing::keyword(out, "RANGE");
            writing::word(out, from);
            writing::word(out, to);
        }
    }
    writing::option(out, "LIMIT", selection.limit);
    if let Some(after) = &selection.after {
        writing::keyword(out, "AFTER");
        writing::word(out, after);
    }
    writing::id(out, selection.txn);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    fn scan(line: &str) -> Selection<'_> {
        match parsed(line) {
            Request::Scan(selection) => selection,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_is_selected_unless_something_is_named() {
        assert_eq!(scan("SCAN"), Selection::default());
        assert_eq!(scan("scan 5"), Selection { txn: Some(5), ..Selection::default() });
        assert_eq!(parsed("COUNT 5"), Request::Count(scan("SCAN 5")));
    }

    #[test]
    fn options_come_in_any_order_and_the_id_last() {
        let expected = Selection {
            interval: Interval::Range { from: b"a".into(), to: b"b".into() },
            limit: Some(10),
            after: Some(b"aa".into()),
            txn: Some(3),
        };
        assert_eq!(scan("SCAN RANGE a b LIMIT 10 AFTER aa 3"), expected);
        assert_eq!(scan("SCAN after aa limit 10 range a b 3"), expected);
        assert!(argument_error("SCAN 3 LIMIT 10").contains("did not expect \"LIMIT\""));
        assert!(argument_error("SCAN LIMIT 10 3 4").contains("the number \"4\""));
    }

    #[test]
    fn a_word_after_an_option_belongs_to_it() {
        assert_eq!(scan("SCAN PREFIX 5").interval, Interval::Prefix(b"5".into()));
        assert_eq!(scan("SCAN PREFIX LIMIT").interval, Interval::Prefix(b"LIMIT".into()));
        assert_eq!(scan("SCAN AFTER 5 6").after, Some(b"5".into()));
        assert_eq!(scan("SCAN PREFIX \"\"").interval, Interval::Prefix(b"".into()));
    }

    #[test]
    fn ends_the_wrong_way_round_are_refused_and_an_empty_range_is_not() {
        assert!(argument_error("SCAN RANGE b a").contains("the wrong way round"));
        assert!(argument_error("COUNT RANGE a \"\"").contains("the wrong way round"));
        assert!(matches!(scan("SCAN RANGE a a").interval, Interval::Range { .. }));
    }

    #[test]
    fn each_option_stands_once() {
        for (line, option) in [
            ("SCAN PREFIX a PREFIX b", "PREFIX or RANGE"),
            ("SCAN PREFIX a RANGE b c", "PREFIX or RANGE"),
            ("SCAN LIMIT 1 LIMIT 1", "LIMIT"),
            ("COUNT AFTER a AFTER a", "AFTER"),
        ] {
            assert!(argument_error(line).contains(&format!("{option} only once")), "{line}");
        }
    }

    #[test]
    fn limits_are_not_negative_but_may_be_zero() {
        assert_eq!(scan("SCAN LIMIT 0").limit, Some(0));
        assert!(argument_error("SCAN LIMIT -1").contains("got \"-1\""));
    }

    #[test]
    fn missing_and_unknown_words_are_named() {
        assert!(argument_error("SCAN PREFIX").contains("needs a prefix"));
        assert!(argument_error("SCAN RANGE").contains("needs a key to begin from"));
        assert!(argument_error("SCAN RANGE a").contains("needs a second key"));
        assert!(argument_error("SCAN AFTER").contains("needs a key after AFTER"));
        assert!(argument_error("SCAN MATCH a*").contains("did not expect \"MATCH\""));
        assert!(argument_error("COUNT VALUE EQ a").starts_with("COUNT did not expect \"VALUE\""));
    }
}
