//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use super::request::RedisCommand;
use super::{ALL_KEYS, InMulti, NO_KEYS, RedisGroup, RedisSpec, Refusal};

const TRANSACTION: RedisSpec = RedisSpec {
    name: "",
    arity: 1,
    flags: &["noscript", "loading", "stale", "fast"],
    keys: NO_KEYS,
    group: RedisGroup::Transactions,
    since: "1.2.0",
    syntax: "",
    summary: "",
    differs: "",
    in_multi: InMulti::AtOnce,
    has_parts: false,
    parse: |_| Err(Refusal::SYNTAX),
};

pub(super) static MULTI: RedisSpec = RedisSpec {
    name: "multi",
    summary: "queues the commands that follow, for EXEC",
    parse: |_| Ok(RedisCommand::Multi),
    ..TRANSACTION
};

pub(super) static EXEC: RedisSpec = RedisSpec {
    name: "exec",
    flags: &["noscript", "loading", "stale", "skip_slowlog"],
    summary: "runs what was queued, as one; null if a watched key has changed",
    differs: "It takes the locks of all its keys first, and answers TIMEOUT with nothing done if \
              it does not get them in time. Within BEGIN it is a nested transaction. A full log \
              or disk refuses all of it.",
    parse: |_| Ok(RedisCommand::Exec),
    ..TRANSACTION
};

pub(super) static DISCARD: RedisSpec = RedisSpec {
    name: "discard",
    since: "2.0.0",
    summary: "forgets what was queued",
    parse: |_| Ok(RedisCommand::Discard),
    ..TRANSACTION
};

pub(super) static WATCH: RedisSpec = RedisSpec {
    name: "watch",
    arity: -2,
    keys: ALL_KEYS,
    since: "2.2.0",
    syntax: "key [key ...]",
    summary: "has EXEC do nothing if one of the keys changes before it",
    differs: "Takes no lock; what a key is now is compared with what it is under EXEC's locks.",
    parse: |words| Ok(RedisCommand::Watch(&words[1..])),
    ..TRANSACTION
};

pub(super) static UNWATCH: RedisSpec = RedisSpec {
    name: "unwatch",
    since: "2.2.0",
    summary: "watches nothing any more",
    in_multi: InMulti::Queued,
    parse: |_| Ok(RedisCommand::Unwatch),
    ..TRANSACTION
};
