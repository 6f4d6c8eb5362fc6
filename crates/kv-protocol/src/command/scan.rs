//! SCAN and COUNT, with the same words: an interval, conditions, LIMIT and AFTER.
//!
//! SCAN answers rows `"key" "value"`, COUNT only their number. The options come in any order; the
//! id is the last word. What a pattern or a number is, what a row costs and what is locked is the
//! server's.

use std::borrow::Cow;

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::arguments::{Arguments, is};
use crate::request::{Interval, Pattern, Request, Selection, ValueCondition};
use crate::word::Shown;

pub(super) const SCAN: CommandSpec = CommandSpec {
    name: "SCAN",
    aliases: &[],
    group: Group::Lists,
    syntax: "SCAN [PREFIX p|RANGE from to] [MATCH glob|REGEX re] [VALUE EQ v|VALUE MATCH glob|\
             VALUE REGEX re|VALUE RANGE from to|VALUE NUMBER low high] [LIMIT n] [AFTER key] [id]",
    summary: "pairs in the order of their keys, those that meet all conditions",
    detail: "A RANGE is from <= key < to, by bytes. MATCH is a glob that the whole key fits: `*` \
             any characters, `?` one, `[a-z]` one of these, `[^a-z]` one of the others, a \
             backslash takes the next as it is (between double quotes write it twice); a byte that \
             is not UTF-8 is a character of its own. REGEX is found anywhere in the key unless \
             `^` and `$` anchor it; its syntax is that of the Rust crate regex. What stands before \
             a glob's first wildcard, or after a `^`, is as good as a PREFIX. VALUE EQ compares \
             bytes, VALUE RANGE is from <= value < to by bytes, VALUE NUMBER is low <= value <= \
             high for values that are numbers: text or JSON such as `5`, `-0.5` or `1e9`, with an \
             optional sign, fraction and exponent, nothing around it, compared exactly. To page, \
             send the last key of a page as the next one's AFTER. In a SERIALIZABLE transaction \
             the keys examined, matching or not, stay locked to its end, so LIMIT also limits \
             what is locked.",
    examples: &[
        Example::new("SCAN PREFIX user: LIMIT 2", "\"user:1\" \"Ann\"\n\"user:2\" \"Bob\"\nEND 2"),
        Example::new("SCAN RANGE a b AFTER apple 1", "END 0"),
        Example::new("SCAN MATCH user:?* VALUE REGEX ^B", "\"user:2\" \"Bob\"\nEND 1"),
    ],
    flags: Flags::NONE,
    parse: |arguments| selection(arguments).map(|it| Request::Scan(Box::new(it))),
};

pub(super) const COUNT: CommandSpec = CommandSpec {
    name: "COUNT",
    aliases: &[],
    group: Group::Lists,
    syntax: "COUNT [PREFIX p|RANGE from to] [MATCH glob|REGEX re] [VALUE EQ v|VALUE MATCH glob|\
             VALUE REGEX re|VALUE RANGE from to|VALUE NUMBER low high] [LIMIT n] [AFTER key] [id]",
    summary: "how many pairs SCAN would answer",
    detail: "",
    examples: &[
        Example::new("COUNT", "3"),
        Example::new("COUNT PREFIX user:", "2"),
        Example::new("COUNT VALUE NUMBER 0 9.5", "1"),
    ],
    flags: Flags::NONE,
    parse: |arguments| selection(arguments).map(|it| Request::Count(Box::new(it))),
};

fn selection<'a>(arguments: &mut Arguments<'a>) -> Result<Selection<'a>, ErrorReply> {
    let (mut interval, mut key, mut value) = (None, None, None);
    let (mut limit, mut after) = (None, None);
    let mut txn = arguments.id()?;
    while txn.is_none() {
        let Some(word) = arguments.next()? else { break };
        if is(&word, "PREFIX") {
            let prefix = arguments.need("a prefix after PREFIX")?;
            arguments.set(&mut interval, Interval::Prefix(prefix), "PREFIX or RANGE")?;
        } else if is(&word, "RANGE") {
            let (from, to) = range(arguments, "a key")?;
            arguments.set(&mut interval, Interval::Range { from, to }, "PREFIX or RANGE")?;
        } else if let Some(pattern) = pattern(arguments, &word)? {
            arguments.set(&mut key, pattern, "MATCH or REGEX")?;
        } else if is(&word, "VALUE") {
            let condition = value_condition(arguments)?;
            arguments.set(&mut value, condition, "VALUE")?;
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
    Ok(Selection { interval: interval.unwrap_or_default(), key, value, limit, after, txn })
}

/// What follows MATCH or REGEX, if that is the word.
fn pattern<'a>(
    arguments: &mut Arguments<'a>,
    word: &[u8],
) -> Result<Option<Pattern<'a>>, ErrorReply> {
    if is(word, "MATCH") {
        return arguments.need("a glob after MATCH").map(|glob| Some(Pattern::Glob(glob)));
    }
    if is(word, "REGEX") {
        let regex = arguments.need("a regular expression after REGEX")?;
        return Ok(Some(Pattern::Regex(regex)));
    }
    Ok(None)
}

/// What follows VALUE.
fn value_condition<'a>(arguments: &mut Arguments<'a>) -> Result<ValueCondition<'a>, ErrorReply> {
    const KINDS: &str = "EQ, MATCH, REGEX, RANGE or NUMBER after VALUE";
    let word = arguments.need(KINDS)?;
    if let Some(pattern) = pattern(arguments, &word)? {
        return Ok(ValueCondition::Matches(pattern));
    }
    if is(&word, "EQ") {
        return arguments.need("a value after EQ").map(ValueCondition::Equal);
    }
    if is(&word, "RANGE") {
        let (from, to) = range(arguments, "a value")?;
        return Ok(ValueCondition::Range { from, to });
    }
    if is(&word, "NUMBER") {
        let low = arguments.need("the least number after NUMBER")?;
        let high = arguments.need("the greatest number, after the least, after NUMBER")?;
        return Ok(ValueCondition::Number { low, high });
    }
    Err(arguments.error(format_args!("needs {KINDS}, got {}", Shown(&word))))
}

type Word<'a> = Cow<'a, [u8]>;

/// The two words after RANGE.
fn range<'a>(
    arguments: &mut Arguments<'a>,
    what: &str,
) -> Result<(Word<'a>, Word<'a>), ErrorReply> {
    let from = arguments.need(&format!("{what} to begin from after RANGE"))?;
    let second = what.replacen("a ", "a second ", 1);
    let to = arguments.need(&format!("{second}, to end before, after RANGE"))?;
    if from > to {
        let (from, to) = (Shown(&from), Shown(&to));
        return Err(arguments.error(format_args!(
            "has the ends of its RANGE the wrong way round: {from} comes after {to}"
        )));
    }
    Ok((from, to))
}

pub(super) fn write(out: &mut Vec<u8>, selection: &Selection<'_>) {
    match &selection.interval {
        Interval::All => {}
        Interval::Prefix(prefix) => option(out, "PREFIX", &[prefix]),
        Interval::Range { from, to } => option(out, "RANGE", &[from, to]),
    }
    if let Some(pattern) = &selection.key {
        write_pattern(out, pattern);
    }
    if let Some(condition) = &selection.value {
        writing::keyword(out, "VALUE");
        match condition {
            ValueCondition::Equal(value) => option(out, "EQ", &[value]),
            ValueCondition::Matches(pattern) => write_pattern(out, pattern),
            ValueCondition::Range { from, to } => option(out, "RANGE", &[from, to]),
            ValueCondition::Number { low, high } => option(out, "NUMBER", &[low, high]),
        }
    }
    writing::option(out, "LIMIT", selection.limit);
    if let Some(after) = &selection.after {
        option(out, "AFTER", &[after]);
    }
    writing::id(out, selection.txn);
}

fn write_pattern(out: &mut Vec<u8>, pattern: &Pattern<'_>) {
    match pattern {
        Pattern::Glob(glob) => option(out, "MATCH", &[glob]),
        Pattern::Regex(regex) => option(out, "REGEX", &[regex]),
    }
}

fn option(out: &mut Vec<u8>, keyword: &str, words: &[&[u8]]) {
    writing::keyword(out, keyword);
    words.iter().for_each(|word| writing::word(out, word));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    fn scan(line: &str) -> Selection<'_> {
        match parsed(line) {
            Request::Scan(selection) => *selection,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_is_selected_unless_something_is_named() {
        assert_eq!(scan("SCAN"), Selection::default());
        assert_eq!(scan("scan 5"), Selection { txn: Some(5), ..Selection::default() });
        assert_eq!(parsed("COUNT 5"), Request::Count(Box::new(scan("SCAN 5"))));
    }

    #[test]
    fn options_come_in_any_order_and_the_id_last() {
        let expected = Selection {
            interval: Interval::Range { from: b"a".into(), to: b"b".into() },
            key: Some(Pattern::Glob(b"a*".into())),
            value: Some(ValueCondition::Matches(Pattern::Regex(b"^5".into()))),
            limit: Some(10),
            after: Some(b"aa".into()),
            txn: Some(3),
        };
        let line = "SCAN RANGE a b MATCH a* VALUE REGEX ^5 LIMIT 10 AFTER aa 3";
        assert_eq!(scan(line), expected);
        let line = "SCAN value regex ^5 after aa limit 10 match a* range a b 3";
        assert_eq!(scan(line), expected);
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
    fn a_value_is_asked_for_in_five_ways() {
        let value = |line| scan(line).value.unwrap();
        assert_eq!(value("SCAN VALUE EQ 5"), ValueCondition::Equal(b"5".into()));
        let glob = Pattern::Glob(b"5*".into());
        assert_eq!(value("SCAN VALUE MATCH 5*"), ValueCondition::Matches(glob));
        let regex = Pattern::Regex(b"a b".into());
        assert_eq!(value("SCAN VALUE REGEX \"a b\""), ValueCondition::Matches(regex));
        let (from, to) = (b"5".into(), b"6".into());
        assert_eq!(value("SCAN VALUE RANGE 5 6 1"), ValueCondition::Range { from, to });
        let (low, high) = (b"-5".into(), b"1e3".into());
        assert_eq!(value("SCAN VALUE NUMBER -5 1e3 1"), ValueCondition::Number { low, high });
        assert_eq!(scan("SCAN REGEX VALUE").key, Some(Pattern::Regex(b"VALUE".into())));
    }

    #[test]
    fn ends_the_wrong_way_round_are_refused_and_an_empty_range_is_not() {
        assert!(argument_error("SCAN RANGE b a").contains("the wrong way round"));
        assert!(argument_error("COUNT RANGE a \"\"").contains("the wrong way round"));
        assert!(argument_error("COUNT VALUE RANGE b a").contains("the wrong way round"));
        assert!(matches!(scan("SCAN RANGE a a").interval, Interval::Range { .. }));
    }

    #[test]
    fn each_option_stands_once() {
        for (line, option) in [
            ("SCAN PREFIX a PREFIX b", "PREFIX or RANGE"),
            ("SCAN PREFIX a RANGE b c", "PREFIX or RANGE"),
            ("SCAN LIMIT 1 LIMIT 1", "LIMIT"),
            ("COUNT AFTER a AFTER a", "AFTER"),
            ("SCAN MATCH a REGEX a", "MATCH or REGEX"),
            ("SCAN VALUE EQ a VALUE NUMBER 1 2", "VALUE"),
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
        assert!(argument_error("SCAN MATCH").contains("needs a glob after MATCH"));
        assert!(argument_error("SCAN REGEX").contains("needs a regular expression"));
        assert!(argument_error("SCAN VALUE").contains("needs EQ, MATCH, REGEX, RANGE or NUMBER"));
        assert!(argument_error("SCAN VALUE a").contains("after VALUE, got \"a\""));
        assert!(argument_error("SCAN VALUE EQ").contains("needs a value after EQ"));
        assert!(argument_error("SCAN VALUE RANGE a").contains("needs a second value"));
        assert!(argument_error("SCAN VALUE NUMBER 1").contains("needs the greatest number"));
        assert!(argument_error("COUNT LIKE a").starts_with("COUNT did not expect \"LIKE\""));
    }
}
