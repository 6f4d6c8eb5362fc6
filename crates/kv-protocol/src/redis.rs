//! The Redis dialect: its commands for strings and keys, as requests in arrays use them.
//!
//! Each family of commands is one file below: the [`RedisSpec`]s of its commands, how their words
//! are read, and the tests. Reading follows Redis to its error texts. A command is read in two
//! steps, as Redis does: its name and the number of its words are checked when it comes
//! ([`find`], [`RedisSpec::check_arity`]), the rest when it is run ([`RedisSpec::parse`]), which
//! within MULTI is later. What a command *does* is the server's.
//!
//! To add one: write its spec, add it to [`REDIS_COMMANDS`], its variant to [`RedisCommand`]; the
//! compiler says what else. `docs/REDIS.md` is generated from here.

use std::borrow::Cow;
use std::fmt;

use crate::word::Shown;

pub mod number;

mod request;

mod connection;
mod keys;
mod server;
mod strings;
mod transactions;

#[cfg(test)]
mod documentation;

pub use request::{
    AtTime, ClientCommand, ClientFilter, CommandCommand, ConfigCommand, ExpireIf, Expiry, Hello,
    RedisCommand, Scan, Set, SetAnswer, TtlForm, part_of,
};

/// A refusal as Redis writes it behind `-`: a code and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub Cow<'static, str>);

impl Refusal {
    /// A syntax error.
    pub const SYNTAX: Refusal = Refusal::new("ERR syntax error");
    /// What should be an integer is none.
    pub const NOT_AN_INTEGER: Refusal = Refusal::new("ERR value is not an integer or out of range");
    /// There is one database, number 0.
    pub const DB_INDEX: Refusal = Refusal::new("ERR DB index is out of range");

    /// A refusal with a fixed text.
    pub const fn new(text: &'static str) -> Refusal {
        Refusal(Cow::Borrowed(text))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Refusal {
        Refusal(Cow::Owned(text))
    }
}

/// What a command is about, as COMMAND DOCS groups it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RedisGroup {
    /// Values.
    String,
    /// Keys of any type.
    Generic,
    /// MULTI and what belongs to it.
    Transactions,
    /// The connection.
    Connection,
    /// The server.
    Server,
}

impl RedisGroup {
    /// The groups in the order in which they are documented.
    pub const ALL: [RedisGroup; 5] = [
        RedisGroup::String,
        RedisGroup::Generic,
        RedisGroup::Transactions,
        RedisGroup::Connection,
        RedisGroup::Server,
    ];

    /// Its name, as COMMAND DOCS has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            RedisGroup::String => "string",
            RedisGroup::Generic => "generic",
            RedisGroup::Transactions => "transactions",
            RedisGroup::Connection => "connection",
            RedisGroup::Server => "server",
        }
    }
}

/// What becomes of a command within MULTI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InMulti {
    /// It is queued, and run by EXEC.
    Queued,
    /// It is run at once.
    AtOnce,
    /// It is refused, and so is the EXEC that follows.
    Refused,
}

/// Where the keys stand among a command's words, of which its name is the first, at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyWords {
    /// The first key; 0 if there is none.
    pub first: i32,
    /// The last; below 0 it counts from the end, where the last word is -1.
    pub last: i32,
    /// From one key to the next.
    pub step: i32,
}

/// How a command reads its words.
type Parse = for<'a> fn(&'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal>;

/// All there is to know about a command except what it does.
pub struct RedisSpec {
    /// Its name, in lower case.
    pub name: &'static str,
    /// How many words it has, its name included; below 0 it has so many or more.
    pub arity: i32,
    /// What Redis says of it: `write`, `readonly`, `fast`, `admin` and so on.
    pub flags: &'static [&'static str],
    /// Where its keys are.
    pub keys: KeyWords,
    /// What it is about.
    pub group: RedisGroup,
    /// The version of Redis that has it since.
    pub since: &'static str,
    /// What follows its name.
    pub syntax: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What is not as in Redis; nothing if it is the same.
    pub differs: &'static str,
    /// What becomes of it within MULTI.
    pub in_multi: InMulti,
    /// Whether its second word names a part of it, with words of its own.
    pub has_parts: bool,
    parse: Parse,
}

impl fmt::Debug for RedisSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisSpec").field(&self.name).finish()
    }
}

impl RedisSpec {
    /// Whether it changes the store.
    pub fn writes(&self) -> bool {
        self.flags.contains(&"write")
    }

    /// Refuses a request with too few words, or too many.
    ///
    /// # Errors
    ///
    /// In Redis's words.
    #[inline]
    pub fn check_arity(&self, words: usize) -> Result<(), Refusal> {
        if has_arity(self.arity, words) { Ok(()) } else { Err(wrong_arity(self.name)) }
    }

    /// Reads the words of a request, the command's name included. Their number has been checked.
    ///
    /// # Errors
    ///
    /// In Redis's words.
    #[inline]
    pub fn parse<'a>(&self, words: &'a [&'a [u8]]) -> Result<RedisCommand<'a>, Refusal> {
        (self.parse)(words)
    }

    /// The words of a request that are keys.
    pub fn keys_of<'a>(&self, words: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
        let from_end = |at: i32| {
            let end = if at < 0 { words.len() as i32 + at } else { at };
            usize::try_from(end).unwrap_or(0)
        };
        let (first, last) = (from_end(self.keys.first), from_end(self.keys.last));
        let has_keys = self.keys.first != 0;
        let words = words.get(first..=last).filter(|_| has_keys).unwrap_or_default();
        words.iter().step_by(usize::try_from(self.keys.step).unwrap_or(1).max(1)).copied()
    }
}

/// Whether there are so many words, or below 0 so many or more.
#[inline]
fn has_arity(arity: i32, words: usize) -> bool {
    let words = i32::try_from(words).unwrap_or(i32::MAX);
    words == arity || (arity < 0 && words >= -arity)
}

#[cold]
fn wrong_arity(name: &str) -> Refusal {
    Refusal::from(format!("ERR wrong number of arguments for '{name}' command"))
}

/// Every command of the dialect, in the order of the documentation.
pub static REDIS_COMMANDS: &[&RedisSpec] = ALL;

/// The same as a constant, which the table of names is computed from.
const ALL: &[&RedisSpec] = &[
    &strings::GET,
    &strings::SET,
    &strings::SETNX,
    &strings::SETEX,
    &strings::PSETEX,
    &strings::GETSET,
    &strings::GETDEL,
    &strings::GETEX,
    &strings::MGET,
    &strings::MSET,
    &strings::MSETNX,
    &strings::APPEND,
    &strings::STRLEN,
    &strings::GETRANGE,
    &strings::SETRANGE,
    &strings::INCR,
    &strings::DECR,
    &strings::INCRBY,
    &strings::DECRBY,
    &strings::INCRBYFLOAT,
    &keys::DEL,
    &keys::UNLINK,
    &keys::EXISTS,
    &keys::TOUCH,
    &keys::EXPIRE,
    &keys::PEXPIRE,
    &keys::EXPIREAT,
    &keys::PEXPIREAT,
    &keys::TTL,
    &keys::PTTL,
    &keys::EXPIRETIME,
    &keys::PEXPIRETIME,
    &keys::PERSIST,
    &keys::TYPE,
    &keys::RENAME,
    &keys::RENAMENX,
    &keys::COPY,
    &keys::KEYS,
    &keys::SCAN,
    &keys::RANDOMKEY,
    &transactions::MULTI,
    &transactions::EXEC,
    &transactions::DISCARD,
    &transactions::WATCH,
    &transactions::UNWATCH,
    &connection::PING,
    &connection::ECHO,
    &connection::HELLO,
    &connection::AUTH,
    &connection::SELECT,
    &connection::QUIT,
    &connection::RESET,
    &connection::CLIENT,
    &server::COMMAND,
    &server::CONFIG,
    &server::DBSIZE,
    &server::FLUSHDB,
    &server::FLUSHALL,
    &server::INFO,
    &server::TIME,
    &server::SAVE,
    &server::BGSAVE,
    &server::LASTSAVE,
    &server::SHUTDOWN,
];

/// The words that run a native command, whatever Redis means by its name.
pub const NATIVE: &[u8] = b"KV";
/// The word that runs a command in a transaction that is named: its id follows.
pub const IN_TRANSACTION: &[u8] = b"TX";

static NAMES: crate::command::verb::Table<{ 1 << 8 }> = {
    let mut names = crate::command::verb::Table::new();
    let mut index = 0;
    while index < ALL.len() {
        names.insert(ALL[index].name, index);
        index += 1;
    }
    names
};

/// The command of a name, in either case.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static RedisSpec> {
    NAMES.find(name).map(|index| ALL[index])
}

/// How much of an unknown command's words its refusal shows, in bytes, as in Redis.
const SHOWN_BYTES_MAX: usize = 128;

/// The refusal of a command that there is none of.
#[cold]
pub fn unknown(words: &[&[u8]]) -> Refusal {
    let shown = |word: &[u8], max: usize| {
        String::from_utf8_lossy(&word[..word.len().min(max)]).into_owned()
    };
    let (name, rest) = words.split_first().map_or((&b""[..], words), |(name, rest)| (*name, rest));
    let mut text = format!(
        "ERR unknown command '{}', with args beginning with: ",
        shown(name, SHOWN_BYTES_MAX)
    );
    let mut left = SHOWN_BYTES_MAX;
    for word in rest {
        let word = shown(word, left);
        text.push_str(&format!("'{word}' "));
        left = left.saturating_sub(word.len() + 3);
        if left == 0 {
            break;
        }
    }
    text.into()
}

/// The refusal of a command that the settings switch off.
#[cold]
pub fn disabled(name: &[u8]) -> Refusal {
    format!("ERR command {} is switched off on this server", Shown(name)).into()
}

/// A command's part that is named by a word, in either case.
fn is_word(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

fn integer(word: &[u8]) -> Result<i64, Refusal> {
    number::integer(word).ok_or(Refusal::NOT_AN_INTEGER)
}

/// The refusal of a part of a command that there is none of.
fn unknown_part(command: &str, part: &[u8]) -> Refusal {
    let part = String::from_utf8_lossy(&part[..part.len().min(SHOWN_BYTES_MAX)]);
    format!("ERR unknown subcommand '{part}'. Try {command} HELP.").into()
}

/// Checks the number of words of a part of a command, with those two included.
fn check_part(command: &str, part: &str, arity: i32, words: usize) -> Result<(), Refusal> {
    if has_arity(arity, words) {
        return Ok(());
    }
    Err(wrong_arity(&format!("{command}|{part}")))
}

const fn keys(first: i32, last: i32, step: i32) -> KeyWords {
    KeyWords { first, last, step }
}

const NO_KEYS: KeyWords = keys(0, 0, 0);
const ONE_KEY: KeyWords = keys(1, 1, 1);
const ALL_KEYS: KeyWords = keys(1, -1, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_in_either_case() {
        for spec in REDIS_COMMANDS {
            assert_eq!(find(spec.name.as_bytes()).map(|spec| spec.name), Some(spec.name));
            let upper = spec.name.to_uppercase();
            assert_eq!(find(upper.as_bytes()).map(|spec| spec.name), Some(spec.name));
        }
        assert!(find(b"hset").is_none() && find(b"").is_none() && find(&[b'x'; 99]).is_none());
    }

    #[test]
    fn the_number_of_words_is_checked() {
        let get = find(b"get").unwrap();
        assert_eq!(get.check_arity(2), Ok(()));
        let wrong = "ERR wrong number of arguments for 'get' command";
        assert_eq!(get.check_arity(1).unwrap_err().0, wrong);
        assert_eq!(get.check_arity(3).unwrap_err().0, wrong);
        let mget = find(b"mget").unwrap();
        assert!(mget.check_arity(1).is_err() && mget.check_arity(2).is_ok());
        assert!(mget.check_arity(2000).is_ok());
    }

    #[test]
    fn keys_are_found_among_the_words() {
        let keys = |words: &[&'static [u8]]| -> Vec<Vec<u8>> {
            find(words[0]).unwrap().keys_of(words).map(<[u8]>::to_vec).collect()
        };
        assert_eq!(keys(&[b"MSET", b"a", b"1", b"b", b"2"]), [b"a", b"b"]);
        assert_eq!(keys(&[b"DEL", b"a", b"b"]), [b"a", b"b"]);
        assert_eq!(keys(&[b"COPY", b"a", b"b", b"REPLACE"]), [b"a", b"b"]);
        assert_eq!(keys(&[b"PING", b"a"]), [[0u8; 0]; 0]);
    }

    #[test]
    fn an_unknown_command_is_told_as_redis_does() {
        assert_eq!(
            unknown(&[b"HSET", b"a", b"b"]).0,
            "ERR unknown command 'HSET', with args beginning with: 'a' 'b' "
        );
        let long = [b'x'; 300];
        assert!(unknown(&[&long, &long, &long]).0.len() < 400);
    }
}
