//! `PUT key value [id] [EX seconds] [IF ABSENT|IF PRESENT|IF VERSION n] [JSON]`
//!
//! Answers `OK`, or PRECONDITION with the current version. That a value marked JSON is JSON is
//! checked here, before anything is locked; whether the condition holds, by the server.

use super::{CommandSpec, Example, Flags, Group, expire, writing};
use crate::json_value::check_json;
use crate::reply::ErrorReply;
use crate::request::arguments::{Arguments, is};
use crate::request::{Condition, PutOptions, Request};
use crate::word::Shown;

pub(super) const PUT: CommandSpec = CommandSpec {
    name: "PUT",
    aliases: &[],
    group: Group::Keys,
    syntax: "PUT key value [id] [EX seconds] [IF ABSENT|IF PRESENT|IF VERSION n] [JSON]",
    summary: "set a key",
    detail: "With a condition that is not met it answers PRECONDITION with the current version; \
             a missing key is version 0. EX has the key expire after so many seconds; without it \
             the key will not expire, even if it would have before. JSON says that the value is \
             JSON and comes back as that, not as text; it must be valid.",
    examples: &[
        Example::new("PUT house large", "OK"),
        Example::new("PUT house \"very large\" 1", "OK"),
        Example::new("PUT house small IF VERSION 3", "OK"),
        Example::new("PUT sale open EX 3600", "OK"),
        Example::new(r#"PUT colours "[\"red\",\"blue\"]" JSON"#, "OK"),
    ],
    flags: Flags::WRITES,
    parse,
};

#[inline]
fn parse<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    let key = arguments.key()?;
    let value = arguments.need("a value")?;
    let txn = arguments.id()?;
    let (mut ttl_s, mut condition, mut json) = (None, None, None);
    while let Some(word) = arguments.next()? {
        if is(&word, "IF") {
            let met = read_condition(arguments)?;
            arguments.set(&mut condition, met, "IF")?;
        } else if is(&word, "EX") {
            let seconds = expire::seconds(arguments, "a number of seconds after EX")?;
            arguments.set(&mut ttl_s, seconds, "EX")?;
        } else if is(&word, "JSON") {
            arguments.set(&mut json, (), "JSON")?;
        } else {
            return Err(arguments.unexpected(&word));
        }
    }
    let json = json.is_some();
    if json {
        check_json(&value).map_err(|fault| {
            arguments.error(format_args!("needs a value that is JSON ({fault})"))
        })?;
    }
    Ok(Request::Put { key, value, txn, options: PutOptions { ttl_s, condition, json } })
}

fn read_condition(arguments: &mut Arguments<'_>) -> Result<Condition, ErrorReply> {
    let word = arguments.need("ABSENT, PRESENT or VERSION n after IF")?;
    if is(&word, "ABSENT") {
        Ok(Condition::Absent)
    } else if is(&word, "PRESENT") {
        Ok(Condition::Present)
    } else if is(&word, "VERSION") {
        arguments.number("a version after IF VERSION").map(Condition::Version)
    } else {
        let shown = Shown(&word);
        Err(arguments
            .error(format_args!("needs ABSENT, PRESENT or VERSION n after IF, got {shown}")))
    }
}

pub(super) fn write(
    out: &mut Vec<u8>,
    key: &[u8],
    value: &[u8],
    txn: Option<u64>,
    options: PutOptions,
) {
    writing::word(out, key);
    writing::word(out, value);
    writing::id(out, txn);
    writing::option(out, "EX", options.ttl_s);
    match options.condition {
        None => {}
        Some(Condition::Absent) => writing::keyword(out, "IF ABSENT"),
        Some(Condition::Present) => writing::keyword(out, "IF PRESENT"),
        Some(Condition::Version(version)) => writing::option(out, "IF VERSION", Some(version)),
    }
    if options.json {
        writing::keyword(out, "JSON");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    fn put(value: &[u8], txn: Option<u64>, condition: Option<Condition>) -> Request<'_> {
        let options = PutOptions { condition, ..PutOptions::default() };
        Request::Put { key: b"k".into(), value: value.into(), txn, options }
    }

    #[test]
    fn key_and_value_are_any_bytes() {
        assert_eq!(parsed("PUT k v"), put(b"v", None, None));
        assert_eq!(parsed("PUT k \"\""), put(b"", None, None));
        assert_eq!(parsed(r#"put k "a\0b c""#), put(b"a\0b c", None, None));
        let line = b"PUT k \xff\xfe\0";
        assert_eq!(Request::parse(line).unwrap().unwrap(), put(b"\xff\xfe\0", None, None));
    }

    #[test]
    fn the_id_follows_the_value() {
        assert_eq!(parsed("PUT k 5"), put(b"5", None, None));
        assert_eq!(parsed("PUT k 5 6"), put(b"5", Some(6), None));
        assert!(argument_error("PUT k v IF ABSENT 6").contains("where the usage shows it"));
        assert!(argument_error("PUT k v 6 7").contains("the number \"7\""));
        assert!(argument_error("PUT 6 k v").contains("did not expect \"v\""));
    }

    #[test]
    fn conditions_are_read() {
        assert_eq!(parsed("PUT k v if absent"), put(b"v", None, Some(Condition::Absent)));
        assert_eq!(parsed("PUT k v 1 IF PRESENT"), put(b"v", Some(1), Some(Condition::Present)));
        assert_eq!(parsed("PUT k v IF VERSION 0"), put(b"v", None, Some(Condition::Version(0))));
    }

    #[test]
    fn a_time_to_live_is_read() {
        let Request::Put { options, .. } = parsed("PUT k v 1 ex 60 IF ABSENT") else {
            unreachable!()
        };
        let expected = PutOptions {
            ttl_s: Some(60),
            condition: Some(Condition::Absent),
            ..PutOptions::default()
        };
        assert_eq!(options, expected);
        assert!(argument_error("PUT k v EX").contains("needs a number of seconds after EX"));
        assert!(argument_error("PUT k v EX 0").contains("at least 1"));
        assert!(argument_error("PUT k v EX -1").contains("got \"-1\""));
        assert!(argument_error("PUT k v EX 1 EX 1").contains("EX only once"));
        assert!(argument_error("PUT k v EX 1 2").contains("where the usage shows it"));
    }

    #[test]
    fn options_come_in_any_order_each_once() {
        assert_eq!(parsed("PUT k 1 2 JSON IF ABSENT"), parsed("PUT k 1 2 IF ABSENT JSON"));
        assert!(argument_error("PUT k v IF ABSENT IF ABSENT").contains("IF only once"));
        assert!(argument_error("PUT k 1 JSON JSON").contains("JSON only once"));
    }

    #[test]
    fn a_missing_word_is_named() {
        let usage = "PUT key value [id] [EX seconds] [IF ABSENT|IF PRESENT|IF VERSION n] [JSON]";
        assert_eq!(argument_error("PUT"), format!("PUT needs a key: {usage}"));
        assert_eq!(argument_error("PUT k"), format!("PUT needs a value: {usage}"));
        assert!(argument_error("PUT \"\" v").contains("at least one byte"));
        assert!(argument_error("PUT k v IF").contains("after IF"));
        assert!(argument_error("PUT k v IF MAYBE").contains("got \"MAYBE\""));
        assert!(argument_error("PUT k v IF VERSION").contains("a version after IF VERSION"));
        assert!(argument_error("PUT k v IF VERSION -1").contains("got \"-1\""));
    }

    #[test]
    fn an_option_that_does_not_exist_is_refused() {
        assert!(argument_error("PUT k v PX 5").contains("did not expect \"PX\""));
        assert!(argument_error("PUT k v w").contains("did not expect \"w\""));
    }

    #[test]
    fn a_value_marked_json_must_be_json() {
        for json in ["1", "null", "\" {\\\"a\\\": [1, true]} \"", "\"\\\"text\\\"\""] {
            let line = format!("PUT k {json} JSON");
            let Request::Put { options, .. } = parsed(&line) else { unreachable!() };
            assert!(options.json, "{json}");
        }
        for text in ["v", "\"\"", "01", "\"{\"", "\"1 2\"", "\"\\\"\\xff\\\"\"", "\"\\\"\\n\\\"\""]
        {
            let error = argument_error(&format!("PUT k {text} JSON"));
            assert!(error.contains("needs a value that is JSON"), "{error}");
        }
        let deep = format!("PUT k {} JSON", "[".repeat(100_000));
        assert!(argument_error(&deep).contains("needs a value that is JSON"));
    }
}
