//! `FORMAT TEXT|JSON` `PING` `VERSION` `HELP [command]` `QUIT`: the connection itself.

use super::{CommandSpec, Example, Flags, Group, find, unknown};
use crate::reply::{ErrorReply, Format};
use crate::request::Request;
use crate::request::arguments::Arguments;
use crate::word::Shown;

pub(super) const FORMAT: CommandSpec = CommandSpec {
    name: "FORMAT",
    aliases: &[],
    group: Group::Connection,
    syntax: "FORMAT TEXT|JSON",
    summary: "how this session's replies are written from now on",
    detail: "Under JSON each reply is one JSON object on one line. The reply to FORMAT itself is \
             written in the new format.",
    examples: &[Example::new("FORMAT TEXT", "OK")],
    flags: Flags::NONE,
    parse: format,
};

pub(super) const PING: CommandSpec = CommandSpec {
    name: "PING",
    aliases: &[],
    group: Group::Connection,
    syntax: "PING",
    summary: "answers PONG",
    detail: "",
    examples: &[Example::new("PING", "PONG")],
    flags: Flags::NONE,
    parse: |_| Ok(Request::Ping),
};

pub(super) const VERSION: CommandSpec = CommandSpec {
    name: "VERSION",
    aliases: &[],
    group: Group::Connection,
    syntax: "VERSION",
    summary: "the versions of program and protocol",
    detail: "",
    examples: &[Example::new("VERSION", "\"kv-server 0.1.0 protocol 1\"")],
    flags: Flags::NONE,
    parse: |_| Ok(Request::Version),
};

pub(super) const HELP: CommandSpec = CommandSpec {
    name: "HELP",
    aliases: &[],
    group: Group::Connection,
    syntax: "HELP [command]",
    summary: "list the commands, or explain one",
    detail: "",
    examples: &[Example::new(
        "HELP PING",
        "\"usage\" \"PING\"\n\"summary\" \"answers PONG\"\n\"example\" \"PING\"\n\
         \"reply\" \"PONG\"\nEND 4",
    )],
    flags: Flags::NONE,
    parse: help,
};

pub(super) const QUIT: CommandSpec = CommandSpec {
    name: "QUIT",
    aliases: &[],
    group: Group::Connection,
    syntax: "QUIT",
    summary: "answers OK and closes the connection",
    detail: "Transactions that are still open are rolled back, as they are whenever a connection \
             ends.",
    examples: &[Example::new("QUIT", "OK")],
    flags: Flags::NONE,
    parse: |_| Ok(Request::Quit),
};

fn format<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    let word = arguments.need("TEXT or JSON")?;
    Format::parse(&word)
        .map(Request::Format)
        .ok_or_else(|| arguments.error(format_args!("needs TEXT or JSON, got {}", Shown(&word))))
}

fn help<'a>(arguments: &mut Arguments<'a>) -> Result<Request<'a>, ErrorReply> {
    match arguments.next()? {
        None => Ok(Request::Help(None)),
        Some(name) => match find(&name) {
            Some(spec) => Ok(Request::Help(Some(spec))),
            None => Err(unknown(&name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::ErrorCode;
    use crate::request::tests::{argument_error, parsed};

    #[test]
    fn formats_are_named_in_either_case() {
        assert_eq!(parsed("FORMAT json"), Request::Format(Format::Json));
        assert_eq!(parsed("format TEXT"), Request::Format(Format::Text));
        assert_eq!(argument_error("FORMAT"), "FORMAT needs TEXT or JSON: FORMAT TEXT|JSON");
        assert!(argument_error("FORMAT XML").contains("got \"XML\""));
        assert!(argument_error("FORMAT TEXT JSON").contains("did not expect \"JSON\""));
    }

    #[test]
    fn help_is_about_a_command_that_exists() {
        assert_eq!(parsed("HELP"), Request::Help(None));
        assert_eq!(parsed("HELP get"), Request::Help(find(b"GET")));
        assert_eq!(parsed("help info"), Request::Help(find(b"STATS")));
        let error = Request::parse(b"HELP GETT").unwrap_err();
        assert_eq!(error.code, ErrorCode::Unknown);
        assert!(error.text.contains("did you mean GET?"));
    }

    #[test]
    fn the_others_take_no_word() {
        assert_eq!(parsed("PING"), Request::Ping);
        assert_eq!(parsed("version"), Request::Version);
        assert_eq!(parsed("Quit"), Request::Quit);
        for name in ["PING", "VERSION", "QUIT"] {
            assert!(argument_error(&format!("{name} x")).contains("did not expect \"x\""));
        }
    }
}
