//! `BEGIN [id|NESTED] [SERIALIZABLE|SNAPSHOT|READONLY] [AT revision] [WAIT duration]`
//!
//! Answers `OK id`. What the parent's isolation allows and which revisions are kept is known to
//! the server only; that AT needs READONLY and an independent transaction can be seen here.

use std::time::Duration;

use super::{CommandSpec, Example, Flags, Group, writing};
use crate::reply::ErrorReply;
use crate::request::arguments::{Arguments, is};
use crate::request::{Isolation, Parent, Request};
use crate::units::{DurationText, parse_duration};
use crate::word::Shown;

pub(super) const BEGIN: CommandSpec = CommandSpec {
    name: "BEGIN",
    aliases: &[],
    group: Group::Transactions,
    syntax: "BEGIN [id|NESTED] [SERIALIZABLE|SNAPSHOT|READONLY] [AT revision] [WAIT duration]",
    summary: "begin a transaction; answers its id",
    detail: "Without an id it begins a new independent transaction; with an id, one nested in \
             that one; with NESTED, one nested in the current one. SERIALIZABLE, the default, \
             locks what it reads and writes; SNAPSHOT reads one point in time and may answer \
             CONFLICT to a write; READONLY never waits and never writes. AT reads the store as \
             it was at a revision (READONLY only). WAIT bounds each wait for a lock: 250ms, 5s, \
             1m, 1h, or 0 to fail at once.",
    examples: &[
        Example::new("BEGIN", "OK 1"),
        Example::new("BEGIN 1", "OK 2"),
        Example::new("BEGIN READONLY AT 17", "OK 3"),
        Example::new("BEGIN SNAPSHOT WAIT 250ms", "OK 4"),
    ],
    flags: Flags::CONTROLS,
    parse,
};

fn parse<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    let mut parent = match arguments.id()? {
        Some(id) => Parent::Id(id),
        None => Parent::None,
    };
    let (mut isolation, mut at, mut wait) = (None, None, None);
    let mut is_first = parent == Parent::None;
    while let Some(word) = arguments.next()? {
        if let Some(level) = Isolation::parse(&word) {
            arguments.set(&mut isolation, level, "an isolation")?;
        } else if is(&word, "AT") {
            let revision = arguments.number("a revision after AT")?;
            arguments.set(&mut at, revision, "AT")?;
        } else if is(&word, "WAIT") {
            let duration = read_duration(arguments)?;
            arguments.set(&mut wait, duration, "WAIT")?;
        } else if is_first && is(&word, "NESTED") {
            parent = Parent::Current;
        } else if is(&word, "NESTED") {
            return Err(arguments.error(format_args!("takes an id or NESTED first, and only one")));
        } else {
            return Err(arguments.unexpected(&word));
        }
        is_first = false;
    }
    if at.is_some() && isolation != Some(Isolation::ReadOnly) {
        return Err(arguments.error(format_args!("takes AT only with READONLY")));
    }
    if at.is_some() && parent != Parent::None {
        return Err(arguments.error(format_args!(
            "takes AT only for an independent transaction; a nested one reads as its root does"
        )));
    }
    Ok(Request::Begin { parent, isolation, at, wait })
}

fn read_duration(arguments: &mut Arguments<'_>) -> Result<Duration, ErrorReply> {
    let word = arguments.need("a duration after WAIT, such as 250ms or 5s")?;
    std::str::from_utf8(&word).ok().and_then(|text| parse_duration(text).ok()).ok_or_else(|| {
        let shown = Shown(&word);
        arguments.error(format_args!(
            "needs a duration after WAIT, such as 250ms, 5s, 1m, 1h or 0, got {shown}"
        ))
    })
}

pub(super) fn write(
    out: &mut Vec<u8>,
    parent: Parent,
    isolation: Option<Isolation>,
    at: Option<u64>,
    wait: Option<Duration>,
) {
    match parent {
        Parent::None => {}
        Parent::Id(id) => writing::number(out, id),
        Parent::Current => writing::keyword(out, "NESTED"),
    }
    if let Some(isolation) = isolation {
        writing::keyword(out, isolation.as_str());
    }
    writing::option(out, "AT", at);
    if let Some(wait) = wait {
        writing::keyword(out, "WAIT");
        writing::keyword(out, &DurationText(wait).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{argument_error, parsed};

    fn begin(parent: Parent, isolation: Option<Isolation>) -> Request<'static> {
        Request::Begin { parent, isolation, at: None, wait: None }
    }

    #[test]
    fn a_transaction_is_independent_unless_a_parent_is_named() {
        assert_eq!(parsed("BEGIN"), begin(Parent::None, None));
        assert_eq!(parsed("begin 7"), begin(Parent::Id(7), None));
        assert_eq!(parsed("BEGIN nested"), begin(Parent::Current, None));
        assert_eq!(
            parsed("BEGIN NESTED SNAPSHOT"),
            begin(Parent::Current, Some(Isolation::Snapshot))
        );
    }

    #[test]
    fn options_come_in_any_order() {
        let expected = Request::Begin {
            parent: Parent::None,
            isolation: Some(Isolation::ReadOnly),
            at: Some(17),
            wait: Some(Duration::from_millis(250)),
        };
        assert_eq!(parsed("BEGIN READONLY AT 17 WAIT 250ms"), expected);
        assert_eq!(parsed("BEGIN wait 250MS at 17 readonly"), expected);
    }

    #[test]
    fn a_wait_of_zero_is_a_wait() {
        let Request::Begin { wait, .. } = parsed("BEGIN WAIT 0") else { unreachable!() };
        assert_eq!(wait, Some(Duration::ZERO));
    }

    #[test]
    fn each_option_stands_once() {
        assert!(argument_error("BEGIN SNAPSHOT READONLY").contains("an isolation only once"));
        assert!(argument_error("BEGIN WAIT 5s WAIT 5s").contains("WAIT only once"));
        assert!(argument_error("BEGIN READONLY AT 1 AT 2").contains("AT only once"));
        assert!(argument_error("BEGIN NESTED NESTED").contains("first, and only one"));
    }

    #[test]
    fn the_parent_comes_first_and_is_one() {
        assert!(argument_error("BEGIN 1 NESTED").contains("first, and only one"));
        assert!(argument_error("BEGIN SNAPSHOT NESTED").contains("first, and only one"));
        assert!(argument_error("BEGIN NESTED 1").contains("the number \"1\""));
        assert!(argument_error("BEGIN SNAPSHOT 1").contains("where the usage shows it"));
    }

    #[test]
    fn a_revision_is_read_by_an_independent_readonly_transaction_only() {
        assert!(argument_error("BEGIN AT 5").contains("AT only with READONLY"));
        assert!(argument_error("BEGIN AT 5 SNAPSHOT").contains("AT only with READONLY"));
        assert!(argument_error("BEGIN 1 READONLY AT 5").contains("independent"));
    }

    #[test]
    fn malformed_options_are_told_what_was_expected() {
        assert!(argument_error("BEGIN WAIT").contains("needs a duration after WAIT"));
        assert!(argument_error("BEGIN WAIT 5").contains("got \"5\""));
        assert!(argument_error("BEGIN WAIT \\xff").contains("got"));
        assert!(argument_error("BEGIN READONLY AT").contains("needs a revision after AT"));
        assert!(argument_error("BEGIN READONLY AT x").contains("got \"x\""));
        assert!(argument_error("BEGIN FAST").contains("did not expect \"FAST\""));
    }
}
