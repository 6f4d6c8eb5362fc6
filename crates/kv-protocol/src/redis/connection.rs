//! PING, HELLO, CLIENT and all that is about the connection.

use std::collections::BTreeSet;

use super::request::{ClientCommand, ClientFilter, Hello, RedisCommand};
use super::{
    InMulti, NO_KEYS, RedisGroup, RedisSpec, Refusal, check_part, integer, is_word, unknown_part,
    wrong_arity,
};

const CONNECTION: RedisSpec = RedisSpec {
    name: "",
    arity: 1,
    flags: &["noscript", "loading", "stale", "fast"],
    keys: NO_KEYS,
    group: RedisGroup::Connection,
    since: "1.0.0",
    syntax: "",
    summary: "",
    differs: "",
    in_multi: InMulti::Queued,
    has_parts: false,
    parse: |_| Err(Refusal::SYNTAX),
};

pub(super) static PING: RedisSpec = RedisSpec {
    name: "ping",
    arity: -1,
    flags: &["fast"],
    syntax: "[message]",
    summary: "PONG, or the message",
    parse: |words| match words {
        [_] => Ok(RedisCommand::Ping(None)),
        [_, message] => Ok(RedisCommand::Ping(Some(message))),
        _ => Err(wrong_arity("ping")),
    },
    ..CONNECTION
};

pub(super) static ECHO: RedisSpec = RedisSpec {
    name: "echo",
    arity: 2,
    flags: &["loading", "stale", "fast"],
    syntax: "message",
    summary: "the message",
    parse: |words| Ok(RedisCommand::Echo(words[1])),
    ..CONNECTION
};

pub(super) static HELLO: RedisSpec = RedisSpec {
    name: "hello",
    arity: -1,
    since: "6.0.0",
    syntax: "[protover [AUTH username password] [SETNAME clientname]]",
    summary: "chooses the version of the protocol",
    differs: "Refused within MULTI.",
    in_multi: InMulti::Refused,
    parse: parse_hello,
    ..CONNECTION
};

pub(super) static AUTH: RedisSpec = RedisSpec {
    name: "auth",
    arity: -2,
    syntax: "[username] password",
    summary: "says who the client is",
    differs: "There are no users yet: only `default` exists, and takes any password.",
    parse: |words| match words {
        [_, password] => Ok(RedisCommand::Auth { user: None, password }),
        [_, user, password] => Ok(RedisCommand::Auth { user: Some(user), password }),
        _ => Err(Refusal::SYNTAX),
    },
    ..CONNECTION
};

pub(super) static SELECT: RedisSpec = RedisSpec {
    name: "select",
    arity: 2,
    flags: &["loading", "stale", "fast"],
    syntax: "index",
    summary: "chooses the database: 0",
    differs: "There is one database.",
    parse: |words| match integer(words[1])? {
        0 => Ok(RedisCommand::Select),
        _ => Err(Refusal::DB_INDEX),
    },
    ..CONNECTION
};

pub(super) static QUIT: RedisSpec = RedisSpec {
    name: "quit",
    arity: -1,
    summary: "closes the connection",
    in_multi: InMulti::AtOnce,
    parse: |_| Ok(RedisCommand::Quit),
    ..CONNECTION
};

pub(super) static RESET: RedisSpec = RedisSpec {
    name: "reset",
    since: "6.2.0",
    summary: "makes the connection as if it were new",
    differs: "Rolls back what BEGIN has begun, too, but for what has a token; that it lets go of.",
    in_multi: InMulti::AtOnce,
    parse: |_| Ok(RedisCommand::Reset),
    ..CONNECTION
};

pub(super) static CLIENT: RedisSpec = RedisSpec {
    name: "client",
    arity: -2,
    flags: &["noscript", "loading", "stale"],
    since: "2.4.0",
    syntax: "ID | GETNAME | SETNAME name | SETINFO attribute value | INFO | LIST [TYPE type] \
             [ID id [id ...]] | KILL ip:port | KILL [ID id] [ADDR ip:port] [LADDR ip:port] \
             [TYPE type] [USER username] [SKIPME yes | no]",
    summary: "about connections",
    differs: "Of its parts, those shown. A transaction that has a token is among them, with \
              `laddr=detached`; only KILL with its ID ends it.",
    has_parts: true,
    parse: parse_client,
    ..CONNECTION
};

fn parse_hello<'a>(words: &'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal> {
    let mut hello = Hello::default();
    let Some(version) = words.get(1) else { return Ok(RedisCommand::Hello(hello)) };
    let version = super::number::integer(version)
        .ok_or(Refusal::new("ERR Protocol version is not an integer or out of range"))?;
    if !(2..=3).contains(&version) {
        return Err(Refusal::new("NOPROTO unsupported protocol version"));
    }
    hello.version = Some(version);
    let mut rest = &words[2..];
    while let [option, more @ ..] = rest {
        rest = match more {
            [user, password, rest @ ..] if is_word(option, "AUTH") => {
                hello.auth = Some((user, password));
                rest
            }
            [name, rest @ ..] if is_word(option, "SETNAME") => {
                hello.name = Some(name);
                rest
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(format!("ERR Syntax error in HELLO option '{option}'").into());
            }
        };
    }
    Ok(RedisCommand::Hello(hello))
}

fn parse_client<'a>(words: &'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal> {
    let check = |part, arity| check_part("client", part, arity, words.len());
    let part = words[1];
    let command = if is_word(part, "ID") {
        check("id", 2)?;
        ClientCommand::Id
    } else if is_word(part, "GETNAME") {
        check("getname", 2)?;
        ClientCommand::GetName
    } else if is_word(part, "SETNAME") {
        check("setname", 3)?;
        ClientCommand::SetName(words[2])
    } else if is_word(part, "SETINFO") {
        check("setinfo", 4)?;
        ClientCommand::SetInfo(words[2], words[3])
    } else if is_word(part, "INFO") {
        check("info", 2)?;
        ClientCommand::Info
    } else if is_word(part, "LIST") {
        ClientCommand::List(parse_list(&words[2..])?)
    } else if is_word(part, "KILL") {
        check("kill", -3)?;
        match &words[2..] {
            [address] => {
                let filter = ClientFilter { address: Some(address), ..ClientFilter::default() };
                ClientCommand::Kill(filter, false)
            }
            options => ClientCommand::Kill(parse_kill(options)?, true),
        }
    } else if is_word(part, "HELP") {
        check("help", 2)?;
        ClientCommand::Help
    } else {
        return Err(unknown_part("CLIENT", part));
    };
    Ok(RedisCommand::Client(command))
}

const CLIENT_ID: Refusal = Refusal::new("ERR Invalid client ID");

fn client_id(word: &[u8]) -> Result<u64, Refusal> {
    let id = super::number::integer(word).and_then(|id| u64::try_from(id).ok());
    id.filter(|id| *id > 0).ok_or(CLIENT_ID)
}

/// Whether a type of clients is another than `normal`, which all are.
fn is_other_type(word: &[u8]) -> Result<bool, Refusal> {
    let others = ["master", "replica", "slave", "pubsub"];
    if is_word(word, "normal") {
        return Ok(false);
    }
    if others.iter().any(|other| is_word(word, other)) {
        return Ok(true);
    }
    Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(word)).into())
}

fn parse_list<'a>(options: &'a [&'a [u8]]) -> Result<ClientFilter<'a>, Refusal> {
    match options {
        [] => Ok(ClientFilter::default()),
        [option, kind] if is_word(option, "TYPE") => {
            Ok(ClientFilter { is_other_type: is_other_type(kind)?, ..ClientFilter::default() })
        }
        [option, ids @ ..] if is_word(option, "ID") && !ids.is_empty() => {
            let ids: Result<BTreeSet<u64>, Refusal> = ids.iter().map(|id| client_id(id)).collect();
            Ok(ClientFilter { ids: Some(ids?), ..ClientFilter::default() })
        }
        _ => Err(Refusal::SYNTAX),
    }
}

fn parse_kill<'a>(options: &'a [&'a [u8]]) -> Result<ClientFilter<'a>, Refusal> {
    let mut filter = ClientFilter { skip_me: true, ..ClientFilter::default() };
    for option in options.chunks(2) {
        let [name, value] = option else { return Err(Refusal::SYNTAX) };
        if is_word(name, "ID") {
            let refusal = Refusal::new("ERR client-id should be greater than 0");
            filter.ids = Some(BTreeSet::from([client_id(value).map_err(|_| refusal)?]));
        } else if is_word(name, "ADDR") {
            filter.address = Some(value);
        } else if is_word(name, "LADDR") {
            filter.local_address = Some(value);
        } else if is_word(name, "USER") {
            filter.user = Some(value);
        } else if is_word(name, "TYPE") {
            filter.is_other_type |= is_other_type(value)?;
        } else if is_word(name, "SKIPME") && is_word(value, "yes") {
            filter.skip_me = true;
        } else if is_word(name, "SKIPME") && is_word(value, "no") {
            filter.skip_me = false;
        } else {
            return Err(Refusal::SYNTAX);
        }
    }
    Ok(filter)
}
