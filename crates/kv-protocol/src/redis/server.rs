//! INFO, CONFIG, COMMAND and all that is about the server.

use super::request::{CommandCommand, ConfigCommand, RedisCommand};
use super::{InMulti, NO_KEYS, RedisGroup, RedisSpec, Refusal, check_part, is_word, unknown_part};

const SERVER: RedisSpec = RedisSpec {
    name: "",
    arity: 1,
    flags: &["loading", "stale", "fast"],
    keys: NO_KEYS,
    group: RedisGroup::Server,
    since: "1.0.0",
    syntax: "",
    summary: "",
    differs: "",
    in_multi: InMulti::Queued,
    has_parts: false,
    parse: |_| Err(Refusal::SYNTAX),
};
const ADMIN: &[&str] = &["admin", "noscript"];

pub(super) static COMMAND: RedisSpec = RedisSpec {
    name: "command",
    arity: -1,
    flags: &["loading", "stale"],
    since: "2.8.13",
    syntax: "[COUNT | DOCS [name ...] | INFO [name ...] | LIST [FILTERBY PATTERN pattern]]",
    summary: "about the commands there are",
    differs: "Of its parts, those shown. The native commands are among them.",
    has_parts: true,
    parse: parse_command,
    ..SERVER
};

pub(super) static CONFIG: RedisSpec = RedisSpec {
    name: "config",
    arity: -2,
    flags: &["admin", "noscript", "loading", "stale"],
    since: "2.0.0",
    syntax: "GET pattern [pattern ...] | SET name value [name value ...]",
    summary: "shows settings, and changes those that can be",
    differs: "The settings are this server's, under its flags' names; those that Redis has too \
              also under its own. SET can change `maxmemory`; any other can be set to what it is.",
    has_parts: true,
    parse: parse_config,
    ..SERVER
};

pub(super) static DBSIZE: RedisSpec = RedisSpec {
    name: "dbsize",
    flags: &["readonly", "fast"],
    summary: "how many keys there are",
    differs: "Not part of a transaction.",
    parse: |_| Ok(RedisCommand::DbSize),
    ..SERVER
};

const FLUSH: RedisSpec = RedisSpec {
    arity: -1,
    flags: &["write"],
    syntax: "[ASYNC | SYNC]",
    summary: "deletes every key",
    differs: "One commit, at one revision; the versions before it are kept as after any delete. \
              ASYNC and SYNC are the same.",
    parse: |words| match words {
        [_] => Ok(RedisCommand::FlushAll),
        [_, how] if is_word(how, "ASYNC") || is_word(how, "SYNC") => Ok(RedisCommand::FlushAll),
        _ => Err(Refusal::SYNTAX),
    },
    ..SERVER
};

pub(super) static FLUSHDB: RedisSpec = RedisSpec { name: "flushdb", ..FLUSH };

pub(super) static FLUSHALL: RedisSpec = RedisSpec { name: "flushall", ..FLUSH };

pub(super) static INFO: RedisSpec = RedisSpec {
    name: "info",
    arity: -1,
    flags: &["loading", "stale"],
    syntax: "[section ...]",
    summary: "what the server is and does",
    differs: "The fields that mean something here. STATS has more.",
    parse: |words| Ok(RedisCommand::Info(&words[1..])),
    ..SERVER
};

pub(super) static TIME: RedisSpec = RedisSpec {
    name: "time",
    since: "2.6.0",
    summary: "the server's time: seconds since the Unix epoch, and microseconds",
    parse: |_| Ok(RedisCommand::Time),
    ..SERVER
};

pub(super) static SAVE: RedisSpec = RedisSpec {
    name: "save",
    flags: ADMIN,
    summary: "folds the log into the snapshot",
    differs: "Others are served meanwhile. Nothing has to be saved to be durable.",
    in_multi: InMulti::Refused,
    parse: |_| Ok(RedisCommand::Save),
    ..SERVER
};

pub(super) static BGSAVE: RedisSpec = RedisSpec {
    name: "bgsave",
    arity: -1,
    flags: ADMIN,
    syntax: "[SCHEDULE]",
    summary: "begins to fold the log into the snapshot",
    differs: "Refused within MULTI.",
    in_multi: InMulti::Refused,
    parse: |words| match words {
        [_] => Ok(RedisCommand::BgSave),
        [_, schedule] if is_word(schedule, "SCHEDULE") => Ok(RedisCommand::BgSave),
        _ => Err(Refusal::SYNTAX),
    },
    ..SERVER
};

pub(super) static LASTSAVE: RedisSpec = RedisSpec {
    name: "lastsave",
    summary: "when the log was folded last, in seconds since the Unix epoch",
    parse: |_| Ok(RedisCommand::LastSave),
    ..SERVER
};

pub(super) static SHUTDOWN: RedisSpec = RedisSpec {
    name: "shutdown",
    arity: -1,
    flags: ADMIN,
    syntax: "[NOSAVE | SAVE] [NOW] [FORCE]",
    summary: "stops the server, which drains",
    differs: "The options are the same: nothing that was acknowledged is lost. ABORT is refused.",
    in_multi: InMulti::Refused,
    parse: |words| {
        let options = ["NOSAVE", "SAVE", "NOW", "FORCE"];
        let is_one = |word: &&[u8]| options.iter().any(|option| is_word(word, option));
        if words[1..].iter().all(is_one) {
            Ok(RedisCommand::Shutdown)
        } else {
            Err(Refusal::SYNTAX)
        }
    },
    ..SERVER
};

fn parse_command<'a>(words: &'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal> {
    let Some(part) = words.get(1) else { return Ok(RedisCommand::Command(CommandCommand::All)) };
    let check = |part, arity| check_part("command", part, arity, words.len());
    let command = if is_word(part, "COUNT") {
        check("count", 2)?;
        CommandCommand::Count
    } else if is_word(part, "DOCS") {
        CommandCommand::Docs(&words[2..])
    } else if is_word(part, "INFO") {
        CommandCommand::Info(&words[2..])
    } else if is_word(part, "LIST") {
        match &words[2..] {
            [] => CommandCommand::List(None),
            [filter, kind, what] if is_word(filter, "FILTERBY") => match kind {
                kind if is_word(kind, "PATTERN") => CommandCommand::List(Some(what)),
                kind if is_word(kind, "MODULE") || is_word(kind, "ACLCAT") => {
                    CommandCommand::ListNone
                }
                _ => return Err(Refusal::SYNTAX),
            },
            _ => return Err(Refusal::SYNTAX),
        }
    } else if is_word(part, "HELP") {
        check("help", 2)?;
        CommandCommand::Help
    } else {
        return Err(unknown_part("COMMAND", part));
    };
    Ok(RedisCommand::Command(command))
}

fn parse_config<'a>(words: &'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal> {
    let check = |part, arity| check_part("config", part, arity, words.len());
    let part = words[1];
    let command = if is_word(part, "GET") {
        check("get", -3)?;
        ConfigCommand::Get(&words[2..])
    } else if is_word(part, "SET") {
        check("set", -4)?;
        if !words.len().is_multiple_of(2) {
            return Err(super::wrong_arity("config|set"));
        }
        ConfigCommand::Set(&words[2..])
    } else if is_word(part, "HELP") {
        check("help", 2)?;
        ConfigCommand::Help
    } else {
        return Err(unknown_part("CONFIG", part));
    };
    Ok(RedisCommand::Config(command))
}
