//! GET, SET and all that works on values.

use super::request::{AtTime, Expiry, RedisCommand, Set, SetAnswer};
use super::{
    ALL_KEYS, InMulti, KeyWords, ONE_KEY, RedisGroup, RedisSpec, Refusal, integer, is_word, keys,
};

const STRING: RedisSpec = RedisSpec {
    name: "",
    arity: 2,
    flags: &["readonly", "fast"],
    keys: ONE_KEY,
    group: RedisGroup::String,
    since: "1.0.0",
    syntax: "key",
    summary: "",
    differs: "",
    in_multi: InMulti::Queued,
    has_parts: false,
    parse: |_| Err(Refusal::SYNTAX),
};
const WRITE: &[&str] = &["write", "denyoom"];
const WRITE_FAST: &[&str] = &["write", "denyoom", "fast"];
const PAIRS: KeyWords = keys(1, -1, 2);

pub(super) static GET: RedisSpec = RedisSpec {
    name: "get",
    summary: "the value of a key",
    parse: |words| Ok(RedisCommand::Get(words[1])),
    ..STRING
};

pub(super) static SET: RedisSpec = RedisSpec {
    name: "set",
    arity: -3,
    flags: WRITE,
    syntax: "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
             PXAT unix-time-milliseconds | KEEPTTL]",
    summary: "stores a value",
    parse: parse_set,
    ..STRING
};

pub(super) static SETNX: RedisSpec = RedisSpec {
    name: "setnx",
    arity: 3,
    flags: WRITE_FAST,
    syntax: "key value",
    summary: "stores a value if there is none",
    parse: |words| {
        let set = plain(words[1], words[2], SetAnswer::Number);
        Ok(RedisCommand::Set(Set { if_there: Some(false), ..set }))
    },
    ..STRING
};

pub(super) static SETEX: RedisSpec = RedisSpec {
    name: "setex",
    arity: 4,
    flags: WRITE,
    since: "2.0.0",
    syntax: "key seconds value",
    summary: "stores a value that expires after so many seconds",
    parse: |words| set_expiring(words, "setex", 1000),
    ..STRING
};

pub(super) static PSETEX: RedisSpec = RedisSpec {
    name: "psetex",
    arity: 4,
    flags: WRITE,
    since: "2.6.0",
    syntax: "key milliseconds value",
    summary: "stores a value that expires after so many milliseconds",
    parse: |words| set_expiring(words, "psetex", 1),
    ..STRING
};

pub(super) static GETSET: RedisSpec = RedisSpec {
    name: "getset",
    arity: 3,
    flags: WRITE_FAST,
    syntax: "key value",
    summary: "stores a value and answers the one before",
    parse: |words| Ok(RedisCommand::Set(plain(words[1], words[2], SetAnswer::Old))),
    ..STRING
};

pub(super) static GETDEL: RedisSpec = RedisSpec {
    name: "getdel",
    flags: &["write", "fast"],
    since: "6.2.0",
    summary: "the value of a key, which is deleted",
    parse: |words| Ok(RedisCommand::GetDel(words[1])),
    ..STRING
};

pub(super) static GETEX: RedisSpec = RedisSpec {
    name: "getex",
    arity: -2,
    flags: &["write", "fast"],
    since: "6.2.0",
    syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
             PXAT unix-time-milliseconds | PERSIST]",
    summary: "the value of a key, and sets when it expires",
    differs: "Changing when a key expires makes a version.",
    parse: parse_getex,
    ..STRING
};

pub(super) static MGET: RedisSpec = RedisSpec {
    name: "mget",
    arity: -2,
    keys: ALL_KEYS,
    syntax: "key [key ...]",
    summary: "the values of keys, as they were at one moment",
    parse: |words| Ok(RedisCommand::MGet(&words[1..])),
    ..STRING
};

pub(super) static MSET: RedisSpec = RedisSpec {
    name: "mset",
    arity: -3,
    flags: WRITE,
    keys: PAIRS,
    since: "1.0.1",
    syntax: "key value [key value ...]",
    summary: "stores values, all of them or none",
    differs: "It may have to wait for a lock, and answers TIMEOUT if it does not get it in time.",
    parse: |words| parse_mset(words, "mset", false),
    ..STRING
};

pub(super) static MSETNX: RedisSpec = RedisSpec {
    name: "msetnx",
    arity: -3,
    flags: WRITE,
    keys: PAIRS,
    since: "1.0.1",
    syntax: "key value [key value ...]",
    summary: "stores values if none of the keys is there",
    differs: "As MSET.",
    parse: |words| parse_mset(words, "msetnx", true),
    ..STRING
};

pub(super) static APPEND: RedisSpec = RedisSpec {
    name: "append",
    arity: 3,
    flags: WRITE_FAST,
    since: "2.0.0",
    syntax: "key value",
    summary: "adds to the end of a value, and answers its length",
    differs: "Makes a version with all of the value.",
    parse: |words| Ok(RedisCommand::Append(words[1], words[2])),
    ..STRING
};

pub(super) static STRLEN: RedisSpec = RedisSpec {
    name: "strlen",
    since: "2.2.0",
    summary: "the length of a value in bytes",
    parse: |words| Ok(RedisCommand::StrLen(words[1])),
    ..STRING
};

pub(super) static GETRANGE: RedisSpec = RedisSpec {
    name: "getrange",
    arity: 4,
    flags: &["readonly"],
    since: "2.4.0",
    syntax: "key start end",
    summary: "a part of a value",
    parse: |words| Ok(RedisCommand::GetRange(words[1], integer(words[2])?, integer(words[3])?)),
    ..STRING
};

pub(super) static SETRANGE: RedisSpec = RedisSpec {
    name: "setrange",
    arity: 4,
    flags: WRITE,
    since: "2.2.0",
    syntax: "key offset value",
    summary: "replaces a part of a value, and answers its length",
    differs: "Makes a version with all of the value.",
    parse: |words| {
        let offset = usize::try_from(integer(words[2])?);
        let offset = offset.map_err(|_| Refusal::new("ERR offset is out of range"))?;
        Ok(RedisCommand::SetRange(words[1], offset, words[3]))
    },
    ..STRING
};

pub(super) static INCR: RedisSpec = RedisSpec {
    name: "incr",
    flags: WRITE_FAST,
    summary: "adds 1 to a number",
    parse: |words| Ok(RedisCommand::Add(words[1], 1)),
    ..STRING
};

pub(super) static DECR: RedisSpec = RedisSpec {
    name: "decr",
    flags: WRITE_FAST,
    summary: "takes 1 from a number",
    parse: |words| Ok(RedisCommand::Add(words[1], -1)),
    ..STRING
};

pub(super) static INCRBY: RedisSpec = RedisSpec {
    name: "incrby",
    arity: 3,
    flags: WRITE_FAST,
    syntax: "key increment",
    summary: "adds to a number",
    parse: |words| Ok(RedisCommand::Add(words[1], integer(words[2])?)),
    ..STRING
};

pub(super) static DECRBY: RedisSpec = RedisSpec {
    name: "decrby",
    arity: 3,
    flags: WRITE_FAST,
    syntax: "key decrement",
    summary: "takes from a number",
    parse: |words| {
        let by = integer(words[2])?.checked_neg();
        let by = by.ok_or(Refusal::new("ERR decrement would overflow"))?;
        Ok(RedisCommand::Add(words[1], by))
    },
    ..STRING
};

pub(super) static INCRBYFLOAT: RedisSpec = RedisSpec {
    name: "incrbyfloat",
    arity: 3,
    flags: WRITE_FAST,
    since: "2.6.0",
    syntax: "key increment",
    summary: "adds to a number that may have a fraction",
    differs: "Numbers with at most 17 digits behind the point are added exactly; others as 64-bit \
              floats, where Redis has 80 bits.",
    parse: |words| Ok(RedisCommand::AddFloat(words[1], words[2])),
    ..STRING
};

fn plain<'a>(key: &'a [u8], value: &'a [u8], answer: SetAnswer) -> Set<'a> {
    Set { key, value, expiry: Expiry::Default, if_there: None, answer }
}

fn invalid_expiry(command: &str) -> Refusal {
    format!("ERR invalid expire time in '{command}' command").into()
}

/// A time to live that must be above 0, in units of so many milliseconds.
fn lifetime(word: &[u8], command: &str, unit_ms: i64) -> Result<i64, Refusal> {
    let given = integer(word)?;
    let ms = Some(given).filter(|given| *given > 0).and_then(|given| given.checked_mul(unit_ms));
    ms.ok_or_else(|| invalid_expiry(command))
}

fn set_expiring<'a>(
    words: &'a [&'a [u8]],
    command: &str,
    unit_ms: i64,
) -> Result<RedisCommand<'a>, Refusal> {
    let expiry = Expiry::At(AtTime::InMs(lifetime(words[2], command, unit_ms)?));
    let set = plain(words[1], words[3], SetAnswer::Done);
    Ok(RedisCommand::Set(Set { expiry, ..set }))
}

fn parse_mset<'a>(
    words: &'a [&'a [u8]],
    command: &str,
    if_absent: bool,
) -> Result<RedisCommand<'a>, Refusal> {
    if words.len().is_multiple_of(2) {
        return Err(super::wrong_arity(command));
    }
    Ok(RedisCommand::MSet { pairs: &words[1..], if_absent })
}

/// A way to say when something expires.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    unit_ms: i64,
    at: fn(i64) -> AtTime,
}

const WAYS: [Way; 4] = [
    Way { name: "EX", unit_ms: 1000, at: AtTime::InMs },
    Way { name: "PX", unit_ms: 1, at: AtTime::InMs },
    Way { name: "EXAT", unit_ms: 1000, at: AtTime::AtMs },
    Way { name: "PXAT", unit_ms: 1, at: AtTime::AtMs },
];

/// What has been said of when a value expires. As in Redis, a way may be repeated, and two ways
/// may not be mixed; whether what was said last is a number is looked at in the end.
#[derive(Default)]
struct Said<'a> {
    way: Option<&'static str>,
    number: Option<(&'a [u8], Way)>,
}

impl<'a> Said<'a> {
    /// Notes a way; false if another was said before.
    fn note(&mut self, way: &'static str) -> bool {
        **self.way.get_or_insert(way) == *way
    }

    /// Reads a word, and the one behind it, as one of the ways.
    fn read(
        &mut self,
        word: &[u8],
        rest: &mut impl Iterator<Item = &'a &'a [u8]>,
    ) -> Result<(), Refusal> {
        let way = WAYS.into_iter().find(|way| is_word(word, way.name)).ok_or(Refusal::SYNTAX)?;
        let number = rest.next().ok_or(Refusal::SYNTAX)?;
        if !self.note(way.name) {
            return Err(Refusal::SYNTAX);
        }
        self.number = Some((number, way));
        Ok(())
    }

    fn expiry(&self, command: &str) -> Result<Option<Expiry>, Refusal> {
        let Some((number, Way { unit_ms, at, .. })) = self.number else { return Ok(None) };
        Ok(Some(Expiry::At(at(lifetime(number, command, unit_ms)?))))
    }
}

fn parse_set<'a>(words: &'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal> {
    let mut set = plain(words[1], words[2], SetAnswer::Done);
    let mut rest = words[3..].iter();
    let mut said = Said::default();
    while let Some(word) = rest.next() {
        if is_word(word, "NX") && set.if_there != Some(true) {
            set.if_there = Some(false);
        } else if is_word(word, "XX") && set.if_there != Some(false) {
            set.if_there = Some(true);
        } else if is_word(word, "GET") {
            set.answer = SetAnswer::Old;
        } else if is_word(word, "KEEPTTL") && said.note("KEEPTTL") {
            set.expiry = Expiry::Keep;
        } else {
            said.read(word, &mut rest)?;
        }
    }
    set.expiry = said.expiry("set")?.unwrap_or(set.expiry);
    Ok(RedisCommand::Set(set))
}

fn parse_getex<'a>(words: &'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal> {
    let mut rest = words[2..].iter();
    let mut said = Said::default();
    let mut expiry = Expiry::Default;
    while let Some(word) = rest.next() {
        if is_word(word, "PERSIST") && said.note("PERSIST") {
            expiry = Expiry::Never;
        } else {
            said.read(word, &mut rest)?;
        }
    }
    let expiry = said.expiry("getex").map(|said| said.unwrap_or(expiry));
    Ok(RedisCommand::GetEx(words[1], expiry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::find;

    fn parse(line: &'static str) -> Result<RedisCommand<'static>, String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let words: &'static [&'static [u8]] = words.leak();
        let spec = find(words[0]).unwrap();
        spec.check_arity(words.len()).and_then(|()| spec.parse(words)).map_err(|e| e.to_string())
    }

    fn set(line: &'static str) -> Set<'static> {
        match parse(line) {
            Ok(RedisCommand::Set(set)) => set,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn set_takes_its_options_in_any_order() {
        let all = set("set k v get px 5 XX");
        assert_eq!(all.expiry, Expiry::At(AtTime::InMs(5)));
        assert_eq!((all.if_there, all.answer), (Some(true), SetAnswer::Old));
        assert_eq!(set("SET k v KEEPTTL").expiry, Expiry::Keep);
        assert_eq!(set("SET k v EXAT 7").expiry, Expiry::At(AtTime::AtMs(7000)));
        assert_eq!(set("SETEX k 3 v").expiry, Expiry::At(AtTime::InMs(3000)));
        assert_eq!(set("SETNX k v").if_there, Some(false));
        assert_eq!(set("set k v nx nx").if_there, Some(false));
    }

    #[test]
    fn set_is_refused_in_redis_words() {
        for line in [
            "SET k v NX XX",
            "SET k v EX",
            "SET k v EX 5 PX 5",
            "SET k v KEEPTTL EX 5",
            "SET k v EX 5 KEEPTTL",
            "SET k v FOO",
            "SET k v EX 0 FOO",
            "GETEX k EX 5 PERSIST",
            "GETEX k PERSIST EX",
            "GETEX k KEEPTTL",
        ] {
            assert_eq!(parse(line), Err("ERR syntax error".to_owned()), "{line}");
        }
        for (line, told) in [
            ("SET k v EX 0", "ERR invalid expire time in 'set' command"),
            ("SET k v PX -1", "ERR invalid expire time in 'set' command"),
            ("SET k v EX 9223372036854775807", "ERR invalid expire time in 'set' command"),
            ("SET k v EX x", "ERR value is not an integer or out of range"),
            ("SETEX k 0 v", "ERR invalid expire time in 'setex' command"),
            ("PSETEX k -5 v", "ERR invalid expire time in 'psetex' command"),
            ("SETRANGE k -1 v", "ERR offset is out of range"),
            ("SETRANGE k x v", "ERR value is not an integer or out of range"),
            ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
            ("MSETNX a 1 b", "ERR wrong number of arguments for 'msetnx' command"),
            ("DECRBY k -9223372036854775808", "ERR decrement would overflow"),
            ("INCRBY k 1.5", "ERR value is not an integer or out of range"),
        ] {
            assert_eq!(parse(line), Err(told.to_owned()), "{line}");
        }
    }
}
