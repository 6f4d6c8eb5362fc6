//! DEL, EXPIRE, SCAN and all that works on keys.

use super::request::{AtTime, ExpireIf, RedisCommand, Scan, TtlForm};
use super::{
    ALL_KEYS, InMulti, NO_KEYS, ONE_KEY, RedisGroup, RedisSpec, Refusal, integer, is_word, keys,
};

const GENERIC: RedisSpec = RedisSpec {
    name: "",
    arity: 2,
    flags: &["readonly", "fast"],
    keys: ONE_KEY,
    group: RedisGroup::Generic,
    since: "1.0.0",
    syntax: "key",
    summary: "",
    differs: "",
    in_multi: InMulti::Queued,
    has_parts: false,
    parse: |_| Err(Refusal::SYNTAX),
};
const MANY: &str = "key [key ...]";
const EXPIRE_VERSION: &str = "Makes a version with the same value.";

pub(super) static DEL: RedisSpec = RedisSpec {
    name: "del",
    arity: -2,
    flags: &["write"],
    keys: ALL_KEYS,
    syntax: MANY,
    summary: "deletes keys, and answers how many there were",
    differs: "The older versions of a deleted key are kept.",
    parse: |words| Ok(RedisCommand::Del(&words[1..])),
    ..GENERIC
};

pub(super) static UNLINK: RedisSpec = RedisSpec {
    name: "unlink",
    arity: -2,
    flags: &["write", "fast"],
    keys: ALL_KEYS,
    since: "4.0.0",
    syntax: MANY,
    summary: "deletes keys, and answers how many there were",
    differs: "The same as DEL.",
    parse: |words| Ok(RedisCommand::Del(&words[1..])),
    ..GENERIC
};

pub(super) static EXISTS: RedisSpec = RedisSpec {
    name: "exists",
    arity: -2,
    keys: ALL_KEYS,
    syntax: MANY,
    summary: "how many of the keys are there",
    parse: |words| Ok(RedisCommand::Exists(&words[1..])),
    ..GENERIC
};

pub(super) static TOUCH: RedisSpec = RedisSpec {
    name: "touch",
    arity: -2,
    keys: ALL_KEYS,
    since: "3.2.1",
    syntax: MANY,
    summary: "uses keys, and answers how many were there",
    parse: |words| Ok(RedisCommand::Exists(&words[1..])),
    ..GENERIC
};

const EXPIRING: RedisSpec =
    RedisSpec { arity: -3, flags: &["write", "fast"], differs: EXPIRE_VERSION, ..GENERIC };

pub(super) static EXPIRE: RedisSpec = RedisSpec {
    name: "expire",
    syntax: "key seconds [NX | XX | GT | LT]",
    summary: "has a key expire after so many seconds",
    parse: |words| parse_expire(words, 1000, AtTime::InMs),
    ..EXPIRING
};

pub(super) static PEXPIRE: RedisSpec = RedisSpec {
    name: "pexpire",
    since: "2.6.0",
    syntax: "key milliseconds [NX | XX | GT | LT]",
    summary: "has a key expire after so many milliseconds",
    parse: |words| parse_expire(words, 1, AtTime::InMs),
    ..EXPIRING
};

pub(super) static EXPIREAT: RedisSpec = RedisSpec {
    name: "expireat",
    since: "1.2.0",
    syntax: "key unix-time-seconds [NX | XX | GT | LT]",
    summary: "has a key expire at a time in seconds",
    parse: |words| parse_expire(words, 1000, AtTime::AtMs),
    ..EXPIRING
};

pub(super) static PEXPIREAT: RedisSpec = RedisSpec {
    name: "pexpireat",
    since: "2.6.0",
    syntax: "key unix-time-milliseconds [NX | XX | GT | LT]",
    summary: "has a key expire at a time in milliseconds",
    parse: |words| parse_expire(words, 1, AtTime::AtMs),
    ..EXPIRING
};

pub(super) static TTL: RedisSpec = RedisSpec {
    name: "ttl",
    summary: "the seconds until a key expires; -1 never, -2 no such key",
    parse: |words| Ok(RedisCommand::Ttl(words[1], TtlForm { in_ms: false, is_absolute: false })),
    ..GENERIC
};

pub(super) static PTTL: RedisSpec = RedisSpec {
    name: "pttl",
    since: "2.6.0",
    summary: "the milliseconds until a key expires; -1 never, -2 no such key",
    parse: |words| Ok(RedisCommand::Ttl(words[1], TtlForm { in_ms: true, is_absolute: false })),
    ..GENERIC
};

pub(super) static EXPIRETIME: RedisSpec = RedisSpec {
    name: "expiretime",
    since: "7.0.0",
    summary: "the time in seconds at which a key expires; -1 never, -2 no such key",
    parse: |words| Ok(RedisCommand::Ttl(words[1], TtlForm { in_ms: false, is_absolute: true })),
    ..GENERIC
};

pub(super) static PEXPIRETIME: RedisSpec = RedisSpec {
    name: "pexpiretime",
    since: "7.0.0",
    summary: "the time in milliseconds at which a key expires; -1 never, -2 no such key",
    parse: |words| Ok(RedisCommand::Ttl(words[1], TtlForm { in_ms: true, is_absolute: true })),
    ..GENERIC
};

pub(super) static PERSIST: RedisSpec = RedisSpec {
    name: "persist",
    flags: &["write", "fast"],
    since: "2.2.0",
    summary: "has a key not expire",
    differs: EXPIRE_VERSION,
    parse: |words| Ok(RedisCommand::Persist(words[1])),
    ..GENERIC
};

pub(super) static TYPE: RedisSpec = RedisSpec {
    name: "type",
    summary: "`string`, or `none` if there is no such key",
    parse: |words| Ok(RedisCommand::Type(words[1])),
    ..GENERIC
};

const TWO_KEYS: RedisSpec = RedisSpec {
    arity: 3,
    flags: &["write"],
    keys: keys(1, 2, 1),
    syntax: "key newkey",
    differs: "Deletes the one and writes the other; both keep their histories.",
    ..GENERIC
};

pub(super) static RENAME: RedisSpec = RedisSpec {
    name: "rename",
    summary: "gives a value another key",
    parse: |words| Ok(RedisCommand::Rename { from: words[1], to: words[2], if_absent: false }),
    ..TWO_KEYS
};

pub(super) static RENAMENX: RedisSpec = RedisSpec {
    name: "renamenx",
    flags: &["write", "fast"],
    summary: "gives a value another key, if there is none of that name",
    parse: |words| Ok(RedisCommand::Rename { from: words[1], to: words[2], if_absent: true }),
    ..TWO_KEYS
};

pub(super) static COPY: RedisSpec = RedisSpec {
    name: "copy",
    arity: -3,
    flags: &["write", "denyoom"],
    since: "6.2.0",
    syntax: "source destination [DB 0] [REPLACE]",
    summary: "copies a value to another key",
    differs: "",
    parse: parse_copy,
    ..TWO_KEYS
};

pub(super) static KEYS: RedisSpec = RedisSpec {
    name: "keys",
    flags: &["readonly"],
    keys: NO_KEYS,
    syntax: "pattern",
    summary: "all keys that fit a glob",
    differs: "In the order of keys, as of one moment; a literal beginning of the pattern narrows \
              what is read. Others are served meanwhile.",
    parse: |words| Ok(RedisCommand::Keys(words[1])),
    ..GENERIC
};

pub(super) static SCAN: RedisSpec = RedisSpec {
    name: "scan",
    arity: -2,
    flags: &["readonly"],
    keys: NO_KEYS,
    since: "2.8.0",
    syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
    summary: "some keys, and the cursor that goes on behind them",
    differs: "In the order of keys, none twice. COUNT keys are looked at, not about so many, and \
              at most 10,000. The server remembers where a cursor stands, of the last 65,536 that \
              were handed out; an older one, or one of before a restart, is refused.",
    parse: parse_scan,
    ..GENERIC
};

pub(super) static RANDOMKEY: RedisSpec = RedisSpec {
    name: "randomkey",
    arity: 1,
    flags: &["readonly"],
    keys: NO_KEYS,
    syntax: "",
    summary: "some key",
    differs: "One that is in memory, if any is. Not part of a transaction.",
    parse: |_| Ok(RedisCommand::RandomKey),
    ..GENERIC
};

fn parse_expire<'a>(
    words: &'a [&'a [u8]],
    unit_ms: i64,
    at: fn(i64) -> AtTime,
) -> Result<RedisCommand<'a>, Refusal> {
    let mut only_if = ExpireIf::default();
    for word in &words[3..] {
        match word {
            word if is_word(word, "NX") => only_if.never = true,
            word if is_word(word, "XX") => only_if.expires = true,
            word if is_word(word, "GT") => only_if.later = true,
            word if is_word(word, "LT") => only_if.sooner = true,
            word => {
                let word = String::from_utf8_lossy(word);
                return Err(format!("ERR Unsupported option {word}").into());
            }
        }
    }
    if only_if.never && (only_if.expires || only_if.later || only_if.sooner) {
        return Err(Refusal::new(
            "ERR NX and XX, GT or LT options at the same time are not compatible",
        ));
    }
    if only_if.later && only_if.sooner {
        return Err(Refusal::new("ERR GT and LT options at the same time are not compatible"));
    }
    let given = integer(words[2])?;
    let ms = given.checked_mul(unit_ms).ok_or_else(|| {
        let command = String::from_utf8_lossy(words[0]).to_lowercase();
        Refusal::from(format!("ERR invalid expire time in '{command}' command"))
    })?;
    Ok(RedisCommand::Expire(words[1], at(ms), only_if))
}

fn parse_copy<'a>(words: &'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal> {
    let mut replace = false;
    let mut rest = words[3..].iter();
    while let Some(word) = rest.next() {
        if is_word(word, "REPLACE") {
            replace = true;
        } else if is_word(word, "DB") {
            let database = rest.next().ok_or(Refusal::SYNTAX)?;
            if integer(database)? != 0 {
                return Err(Refusal::DB_INDEX);
            }
        } else {
            return Err(Refusal::SYNTAX);
        }
    }
    if words[1] == words[2] {
        return Err(Refusal::new("ERR source and destination objects are the same"));
    }
    Ok(RedisCommand::Copy { from: words[1], to: words[2], replace })
}

/// How many keys a SCAN looks at if it is not said, as in Redis.
const SCAN_COUNT: u64 = 10;

fn parse_scan<'a>(words: &'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal> {
    let cursor = match words[1] {
        b"" => Some(0),
        cursor => std::str::from_utf8(cursor).ok().and_then(|cursor| cursor.parse().ok()),
    };
    let cursor = cursor.ok_or(Refusal::new("ERR invalid cursor"))?;
    let mut scan = Scan { cursor, pattern: None, count: SCAN_COUNT, has_type: true };
    for option in words[2..].chunks(2) {
        let [name, value] = option else { return Err(Refusal::SYNTAX) };
        if is_word(name, "COUNT") {
            scan.count = u64::try_from(integer(value)?).map_err(|_| Refusal::SYNTAX)?;
            if scan.count == 0 {
                return Err(Refusal::SYNTAX);
            }
        } else if is_word(name, "MATCH") {
            scan.pattern = Some(value);
        } else if is_word(name, "TYPE") {
            scan.has_type = is_word(value, "string");
        } else {
            return Err(Refusal::SYNTAX);
        }
    }
    Ok(RedisCommand::Scan(scan))
}
