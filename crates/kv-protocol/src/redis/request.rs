//! Requests of the Redis dialect as data, their words read and checked.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Refusal;

/// One request. It borrows keys and values from what was received.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RedisCommand<'a> {
    /// GET.
    Get(&'a [u8]),
    /// SET, SETNX, SETEX, PSETEX, GETSET.
    Set(Set<'a>),
    /// GETDEL.
    GetDel(&'a [u8]),
    /// GETEX: read, and change when it expires. What is wrong with the time is told only if there
    /// is such a key, as in Redis.
    GetEx(&'a [u8], Result<Expiry, Refusal>),
    /// MGET.
    MGet(&'a [&'a [u8]]),
    /// MSET, MSETNX: keys, each with its value behind it.
    MSet {
        /// The pairs.
        pairs: &'a [&'a [u8]],
        /// Only if none of the keys is there.
        if_absent: bool,
    },
    /// APPEND.
    Append(&'a [u8], &'a [u8]),
    /// STRLEN.
    StrLen(&'a [u8]),
    /// GETRANGE: both ends included, below 0 from the end.
    GetRange(&'a [u8], i64, i64),
    /// SETRANGE.
    SetRange(&'a [u8], usize, &'a [u8]),
    /// INCR, DECR, INCRBY, DECRBY.
    Add(&'a [u8], i64),
    /// INCRBYFLOAT.
    AddFloat(&'a [u8], &'a [u8]),
    /// DEL, UNLINK.
    Del(&'a [&'a [u8]]),
    /// EXISTS, TOUCH.
    Exists(&'a [&'a [u8]]),
    /// EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT.
    Expire(&'a [u8], AtTime, ExpireIf),
    /// TTL, PTTL, EXPIRETIME, PEXPIRETIME.
    Ttl(&'a [u8], TtlForm),
    /// PERSIST.
    Persist(&'a [u8]),
    /// TYPE.
    Type(&'a [u8]),
    /// RENAME, RENAMENX.
    Rename {
        /// The key.
        from: &'a [u8],
        /// Its new name.
        to: &'a [u8],
        /// Only if nothing has that name.
        if_absent: bool,
    },
    /// COPY.
    Copy {
        /// The key.
        from: &'a [u8],
        /// The copy.
        to: &'a [u8],
        /// Also if something has that name.
        replace: bool,
    },
    /// KEYS.
    Keys(&'a [u8]),
    /// SCAN.
    Scan(Scan<'a>),
    /// RANDOMKEY.
    RandomKey,
    /// MULTI.
    Multi,
    /// EXEC.
    Exec,
    /// DISCARD.
    Discard,
    /// WATCH.
    Watch(&'a [&'a [u8]]),
    /// UNWATCH.
    Unwatch,
    /// PING.
    Ping(Option<&'a [u8]>),
    /// ECHO.
    Echo(&'a [u8]),
    /// HELLO.
    Hello(Hello<'a>),
    /// AUTH.
    Auth {
        /// The user; none is the default one.
        user: Option<&'a [u8]>,
        /// The password.
        password: &'a [u8],
    },
    /// SELECT 0: there is no other.
    Select,
    /// QUIT.
    Quit,
    /// RESET.
    Reset,
    /// CLIENT.
    Client(ClientCommand<'a>),
    /// COMMAND.
    Command(CommandCommand<'a>),
    /// CONFIG.
    Config(ConfigCommand<'a>),
    /// DBSIZE.
    DbSize,
    /// FLUSHDB, FLUSHALL.
    FlushAll,
    /// INFO: the sections asked for.
    Info(&'a [&'a [u8]]),
    /// TIME.
    Time,
    /// SAVE.
    Save,
    /// BGSAVE.
    BgSave,
    /// LASTSAVE.
    LastSave,
    /// SHUTDOWN.
    Shutdown,
}

/// A moment, as a client says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTime {
    /// So many milliseconds from now, or before now.
    InMs(i64),
    /// So many milliseconds since the Unix epoch.
    AtMs(i64),
}

/// When a value expires that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Not said: a SET has it live without end, a GETEX leaves it as it is.
    Default,
    /// As what was there before.
    Keep,
    /// Then.
    At(AtTime),
    /// Never (GETEX PERSIST).
    Never,
}

/// What a SET answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetAnswer {
    /// OK, or null if the condition was not met.
    Done,
    /// 1, or 0 if the condition was not met.
    Number,
    /// The value before.
    Old,
}

/// SET and its relatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// When it expires.
    pub expiry: Expiry,
    /// Only if the key is there (true) or is not (false).
    pub if_there: Option<bool>,
    /// What is answered.
    pub answer: SetAnswer,
}

/// When EXPIRE does something: only if all that is set holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireIf {
    /// NX: it does not expire yet.
    pub never: bool,
    /// XX: it expires already.
    pub expires: bool,
    /// GT: it will expire later than now; never is latest.
    pub later: bool,
    /// LT: it will expire sooner than now.
    pub sooner: bool,
}

/// How a time to live is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlForm {
    /// In milliseconds; else in seconds, rounded.
    pub in_ms: bool,
    /// As a time since the Unix epoch; else from now.
    pub is_absolute: bool,
}

/// SCAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    /// Where it goes on; 0 begins.
    pub cursor: u64,
    /// Only keys that fit this glob.
    pub pattern: Option<&'a [u8]>,
    /// How many keys are looked at.
    pub count: u64,
    /// Only keys of a type; whether that is the one there is.
    pub has_type: bool,
}

/// HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The version of the protocol; none is the one that is spoken.
    pub version: Option<i64>,
    /// User and password.
    pub auth: Option<(&'a [u8], &'a [u8])>,
    /// The connection's name.
    pub name: Option<&'a [u8]>,
}

/// The parts of CLIENT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCommand<'a> {
    /// Its number.
    Id,
    /// Its name.
    GetName,
    /// Names it.
    SetName(&'a [u8]),
    /// Says which library speaks: attribute and value.
    SetInfo(&'a [u8], &'a [u8]),
    /// Itself, as LIST has it.
    Info,
    /// Those that fit.
    List(ClientFilter<'a>),
    /// Ends those that fit; whether their number is answered.
    Kill(ClientFilter<'a>, bool),
    /// The parts.
    Help,
}

/// Which clients are meant: those for which all holds that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter<'a> {
    /// Their numbers; none is all.
    pub ids: Option<BTreeSet<u64>>,
    /// The address that they come from.
    pub address: Option<&'a [u8]>,
    /// The address that they have reached.
    pub local_address: Option<&'a [u8]>,
    /// The user.
    pub user: Option<&'a [u8]>,
    /// Whether there is any of that type: `normal` there is.
    pub is_other_type: bool,
    /// Not the one that asks.
    pub skip_me: bool,
}

/// The parts of COMMAND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandCommand<'a> {
    /// All of them.
    All,
    /// How many.
    Count,
    /// About those named; none is all.
    Info(&'a [&'a [u8]]),
    /// What they are for.
    Docs(&'a [&'a [u8]]),
    /// Their names; only those that fit a glob.
    List(Option<&'a [u8]>),
    /// None: they are in a category or of a module that does not exist here.
    ListNone,
    /// The parts.
    Help,
}

/// The parts of CONFIG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigCommand<'a> {
    /// Settings that fit one of these globs.
    Get(&'a [&'a [u8]]),
    /// Names, each with a value behind it.
    Set(&'a [&'a [u8]]),
    /// The parts.
    Help,
}

/// The part of a string that GETRANGE means: of a length, both ends included, below 0 from the end.
pub fn part_of(length: usize, start: i64, end: i64) -> Range<usize> {
    let bytes = i64::try_from(length).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_end = |at: i64| if at < 0 { bytes.saturating_add(at).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(bytes - 1));
    if start > end || bytes == 0 {
        return 0..0;
    }
    usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_strings() {
        let part = |start, end| &"This is a string"[part_of(16, start, end)];
        assert_eq!(part(0, 3), "This");
        assert_eq!(part(-3, -1), "ing");
        assert_eq!(part(0, -1), "This is a string");
        assert_eq!(part(10, 100), "string");
        assert_eq!(part(-100, 3), "This");
        assert_eq!(part(5, 3), "");
        assert_eq!(part(-1, -3), "");
        assert_eq!(part(16, 20), "");
        assert_eq!(part(0, -100), "T");
        assert_eq!(part_of(0, 0, -1), 0..0);
        assert_eq!(part_of(3, i64::MIN, i64::MAX), 0..3);
    }
}
