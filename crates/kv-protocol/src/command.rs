//! The one registry of commands, from which parsing, HELP and the documentation all come.
//!
//! Each command, or small family of them, is one file below: its wire form, its [`CommandSpec`],
//! how it is read and written, and its tests. To add one: write its file, add its spec to
//! [`COMMANDS`], its variant to [`Request`], and its lines to `write` and `spec_of` here; a test
//! tells what was forgotten. How a command is *executed* is the server's.

use std::fmt;

use crate::error_code::ErrorCode;
use crate::limits::VERB_BYTES_MAX;
use crate::reply::{ErrorReply, Row};
use crate::request::Request;
use crate::request::arguments::Arguments;
use crate::word::Shown;

mod begin;
mod commit;
mod put;
mod token;

mod get;

mod del;
mod exists;
mod expire;
mod incr;

mod history;

mod nearest;
mod scan;

mod connection;
mod durability;
mod showall;
mod status;

mod suggest;
pub(crate) mod verb;
mod writing;

#[cfg(test)]
pub(crate) mod documentation;

/// What a command is about; HELP and the documentation list the commands by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Beginning and ending transactions.
    Transactions,
    /// One key.
    Keys,
    /// Many keys.
    Lists,
    /// What the server holds and does.
    Status,
    /// The connection itself.
    Connection,
}

impl Group {
    /// The groups in the order in which they are documented.
    pub const ALL: [Group; 5] =
        [Group::Transactions, Group::Keys, Group::Lists, Group::Status, Group::Connection];

    /// The heading.
    pub const fn as_str(self) -> &'static str {
        match self {
            Group::Transactions => "Transactions",
            Group::Keys => "Keys",
            Group::Lists => "Lists",
            Group::Status => "Status",
            Group::Connection => "Connection",
        }
    }
}

/// What a command does, for those who decide whether it may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// It changes the store, or takes the lock of one that will.
    pub writes: bool,
    /// It needs the admin role where there are users.
    pub admin: bool,
    /// It begins or ends transactions instead of running in one.
    pub controls_transactions: bool,
}

impl Flags {
    const NONE: Flags = Flags { writes: false, admin: false, controls_transactions: false };
    const WRITES: Flags = Flags { writes: true, ..Flags::NONE };
    const ADMIN: Flags = Flags { admin: true, ..Flags::NONE };
    const CONTROLS: Flags = Flags { controls_transactions: true, ..Flags::NONE };
}

/// A request and the reply to it, as in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// The line sent.
    pub request: &'static str,
    /// The line or lines that come back, the last one without its LF.
    pub reply: &'static str,
}

impl Example {
    const fn new(request: &'static str, reply: &'static str) -> Self {
        Self { request, reply }
    }
}

/// How a command reads its words.
type Parse = for<'a> fn(&mut Arguments<'a>) -> Result<Request<'a>, ErrorReply>;

/// All there is to know about a command except what it does.
pub struct CommandSpec {
    /// The verb, in upper case.
    pub name: &'static str,
    /// Other verbs for the same.
    pub aliases: &'static [&'static str],
    /// What it is about.
    pub group: Group,
    /// The usage line: words in upper case stand as they are, `[…]` may be left out, `a|b` is a
    /// choice.
    pub syntax: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What else there is to know, in a few sentences.
    pub detail: &'static str,
    /// How it looks.
    pub examples: &'static [Example],
    /// What it does to the store.
    pub flags: Flags,
    pub(crate) parse: Parse,
}

impl PartialEq for CommandSpec {
    /// There is one spec a name.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CommandSpec {}

impl fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandSpec").field(&self.name).finish()
    }
}

/// Every command, in the order of the documentation.
pub static COMMANDS: &[&CommandSpec] = ALL;

/// The same as a constant, which the table of verbs is computed from.
const ALL: &[&CommandSpec] = &[
    &begin::BEGIN,
    &commit::COMMIT,
    &commit::ROLLBACK,
    &commit::COMMITALL,
    &token::TOKEN,
    &token::ATTACH,
    &put::PUT,
    &get::GET,
    &del::DEL,
    &exists::EXISTS,
    &incr::INCR,
    &exists::META,
    &expire::EXPIRE,
    &expire::PERSIST,
    &expire::TTL,
    &history::HISTORY,
    &scan::SCAN,
    &scan::COUNT,
    &nearest::NEAREST,
    &showall::SHOWALL,
    &status::TRANSACTIONS,
    &status::REVISION,
    &status::LOCKS,
    &status::SHARDS,
    &status::STATS,
    &status::CHECK,
    &durability::CHECKPOINT,
    &durability::BACKUP,
    &connection::FORMAT,
    &connection::PING,
    &connection::VERSION,
    &connection::HELP,
    &connection::QUIT,
];

const _: () = {
    let mut at = 0;
    while at < ALL.len() {
        assert!(ALL[at].name.len() <= VERB_BYTES_MAX, "raise VERB_BYTES_MAX");
        at += 1;
    }
};

/// The command of a verb, in either case.
#[inline]
pub fn find(verb: &[u8]) -> Option<&'static CommandSpec> {
    verb::find(verb)
}

/// The refusal of a verb that is no command, with the command that was probably meant.
#[cold]
pub(crate) fn unknown(verb: &[u8]) -> ErrorReply {
    let shown = Shown(verb);
    let text = match suggest::nearest(verb) {
        Some(name) => {
            format!("there is no command {shown}; did you mean {name}? HELP lists the commands")
        }
        None => format!("there is no command {shown}; HELP lists the commands"),
    };
    ErrorReply::new(ErrorCode::Unknown, text)
}

/// The rows that HELP answers: all commands, or everything about one.
pub fn help(spec: Option<&'static CommandSpec>) -> Vec<Row<'static>> {
    let row = |topic, text| Row::Help { topic, text };
    let Some(spec) = spec else {
        return COMMANDS.iter().map(|spec| row(spec.syntax, spec.summary)).collect();
    };
    let mut rows = vec![row("usage", spec.syntax), row("summary", spec.summary)];
    rows.extend(spec.aliases.iter().map(|alias| row("alias", alias)));
    if !spec.detail.is_empty() {
        rows.push(row("detail", spec.detail));
    }
    for example in spec.examples {
        rows.push(row("example", example.request));
        rows.push(row("reply", example.reply));
    }
    rows
}

/// The spec of a request's command.
pub(crate) fn spec_of(request: &Request<'_>) -> &'static CommandSpec {
    match request {
        Request::Begin { .. } => &begin::BEGIN,
        Request::Commit { .. } => &commit::COMMIT,
        Request::Rollback { .. } => &commit::ROLLBACK,
        Request::CommitAll => &commit::COMMITALL,
        Request::Token { .. } => &token::TOKEN,
        Request::Attach { .. } => &token::ATTACH,
        Request::Put { .. } => &put::PUT,
        Request::Get { .. } => &get::GET,
        Request::Del { .. } => &del::DEL,
        Request::Exists { .. } => &exists::EXISTS,
        Request::Incr { .. } => &incr::INCR,
        Request::Meta { .. } => &exists::META,
        Request::Expire { .. } => &expire::EXPIRE,
        Request::Persist { .. } => &expire::PERSIST,
        Request::Ttl { .. } => &expire::TTL,
        Request::History { .. } => &history::HISTORY,
        Request::Scan(_) => &scan::SCAN,
        Request::Count(_) => &scan::COUNT,
        Request::Nearest(_) => &nearest::NEAREST,
        Request::ShowAll { .. } => &showall::SHOWALL,
        Request::Transactions => &status::TRANSACTIONS,
        Request::Revision => &status::REVISION,
        Request::Locks => &status::LOCKS,
        Request::Shards { .. } => &status::SHARDS,
        Request::Stats => &status::STATS,
        Request::Check => &status::CHECK,
        Request::Checkpoint => &durability::CHECKPOINT,
        Request::Backup { .. } => &durability::BACKUP,
        Request::Format(_) => &connection::FORMAT,
        Request::Ping => &connection::PING,
        Request::Version => &connection::VERSION,
        Request::Help(_) => &connection::HELP,
        Request::Quit => &connection::QUIT,
    }
}

/// Appends a request's line: its verb, then what its file writes.
pub(crate) fn write(request: &Request<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(spec_of(request).name.as_bytes());
    match request {
        Request::Begin { parent, isolation, at, wait } => {
            begin::write(out, *parent, *isolation, *at, *wait);
        }
        Request::Commit { txn }
        | Request::Rollback { txn }
        | Request::Token { txn }
        | Request::ShowAll { txn } => writing::id(out, *txn),
        Request::Attach { token } => token::write_attach(out, token),
        Request::Put { key, value, txn, options } => put::write(out, key, value, *txn, *options),
        Request::Get { key, read } => get::write(out, key, *read),
        Request::Del { key, txn, if_version } => del::write(out, key, *txn, *if_version),
        Request::Exists { key, txn }
        | Request::Meta { key, txn }
        | Request::Persist { key, txn }
        | Request::Ttl { key, txn } => exists::write(out, key, *txn),
        Request::Expire { key, ttl_s, txn } => expire::write(out, key, *ttl_s, *txn),
        Request::Incr { key, by, txn } => incr::write(out, key, *by, *txn),
        Request::History { key, limit } => history::write(out, key, *limit),
        Request::Scan(selection) | Request::Count(selection) => scan::write(out, selection),
        Request::Nearest(nearest) => nearest::write(out, nearest),
        Request::Backup { file } => durability::write_backup(out, file),
        Request::Shards { with_load: true } => writing::keyword(out, "LOAD"),
        Request::Format(format) => writing::keyword(out, format.as_str()),
        Request::Help(Some(spec)) => writing::keyword(out, spec.name),
        Request::CommitAll
        | Request::Transactions
        | Request::Revision
        | Request::Locks
        | Request::Shards { with_load: false }
        | Request::Stats
        | Request::Check
        | Request::Checkpoint
        | Request::Ping
        | Request::Version
        | Request::Help(None)
        | Request::Quit => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::TextReply;

    #[test]
    fn every_example_is_a_request_of_its_command_and_its_reply_is_one() {
        for spec in COMMANDS {
            assert!(!spec.examples.is_empty(), "{} has no example", spec.name);
            for example in spec.examples {
                let request = Request::parse(example.request.as_bytes()).unwrap().unwrap();
                assert_eq!(request.spec(), *spec, "{}", example.request);
                for line in example.reply.split('\n') {
                    TextReply::parse(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"));
                }
            }
        }
    }

    #[test]
    fn every_command_is_found_by_name_and_alias_in_either_case() {
        for spec in COMMANDS {
            for name in spec.aliases.iter().chain([&spec.name]) {
                assert_eq!(find(name.as_bytes()), Some(*spec));
                assert_eq!(find(name.to_lowercase().as_bytes()), Some(*spec));
            }
            assert!(spec.syntax.starts_with(spec.name));
        }
        for verb in [&b""[..], b"GE", b"GETT", b"TRANSACTIONSX", b"GET\0", b"\0", &[0xff; 99]] {
            assert_eq!(find(verb), None);
        }
    }

    #[test]
    fn an_unknown_command_is_answered_with_the_nearest() {
        let error = Request::parse(b"GETT k").unwrap_err();
        assert_eq!(error.code, ErrorCode::Unknown);
        assert_eq!(
            error.text,
            "there is no command \"GETT\"; did you mean GET? HELP lists the commands"
        );
        let error = Request::parse(b"\x00xyzzy\n").unwrap_err();
        assert_eq!(error.text, r#"there is no command "\0xyzzy\n"; HELP lists the commands"#);
    }

    #[test]
    fn help_lists_every_command_or_explains_one() {
        assert_eq!(help(None).len(), COMMANDS.len());
        let about = help(find(b"INFO"));
        assert!(about.contains(&Row::Help { topic: "usage", text: "STATS" }));
        assert!(about.contains(&Row::Help { topic: "alias", text: "INFO" }));
    }
}
