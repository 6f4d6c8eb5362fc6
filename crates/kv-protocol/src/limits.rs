//! Every size that the wire is bounded by, in one place: default, unit, reason and relations.
//!
//! These are defaults and fixed bounds. What a server is configured with comes from its own
//! configuration and reaches this crate as [`SizeLimits`] and as the limit of a
//! [`LineDecoder`](crate::line::LineDecoder).

/// 1024 bytes.
pub const KIB: usize = 1024;
/// 1024 KiB.
pub const MIB: usize = 1024 * KIB;

/// The shortest key, in bytes. An empty key would be indistinguishable from "from the start".
pub const KEY_BYTES_MIN: usize = 1;
/// The longest key by default, in bytes: keys stay in memory, so they are kept small.
pub const KEY_BYTES_MAX: usize = 64 * KIB;
/// The longest value by default, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 * MIB;

/// The longest line by default, in bytes without its LF or CRLF.
pub const LINE_BYTES_MAX: usize = 40 * MIB;
/// The longest line of a client that has yet to authenticate: enough for any AUTH, too little for
/// a stranger to fill the memory with.
pub const LINE_BYTES_MAX_UNAUTHENTICATED: usize = 64 * KIB;

/// Words in a request of the Redis protocol at most. Redis takes more; each takes some bytes here
/// beside what was sent.
pub const RESP_WORDS_MAX: usize = 1 << 20;
/// The longest word that Redis takes, in bytes; a longer one is a protocol error there, and here
/// unless a server was told to take longer requests.
pub const RESP_WORD_BYTES_MAX: usize = 512 * MIB;
/// The longest line that says how many words there are, or how long one is, in bytes, as in Redis.
pub const RESP_HEADER_BYTES_MAX: usize = 64 * KIB;

/// The longest name of a command, in bytes (`TRANSACTIONS`). A longer verb is unknown at once.
pub const VERB_BYTES_MAX: usize = 12;
/// How deep arrays and objects of a value stored as JSON may be nested. A list shows it within
/// three more, and common parsers give up at 128.
pub const JSON_DEPTH_MAX: usize = 100;
/// How much of a client's bytes an error text shows before it cuts them off.
pub const SHOWN_BYTES_MAX: usize = 64;

/// The most bytes that one byte takes in a request of [`write_word`](crate::word::write_word),
/// which escapes only what cannot stand as it is.
const REQUEST_BYTES_PER_BYTE_MAX: usize = 2;
/// Room for the verb, an id and every option of a PUT.
const REQUEST_OVERHEAD_BYTES: usize = KIB;

const _: () = assert!(KEY_BYTES_MIN <= KEY_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX <= VALUE_BYTES_MAX);
const _: () = assert!(LINE_BYTES_MAX_UNAUTHENTICATED <= LINE_BYTES_MAX);
const _: () = assert!(VERB_BYTES_MAX < 16, "a verb is packed into a u128");
// The largest PUT fits into a line, whatever its bytes are.
const _: () = assert!(
    REQUEST_BYTES_PER_BYTE_MAX * (KEY_BYTES_MAX + VALUE_BYTES_MAX) + REQUEST_OVERHEAD_BYTES
        <= LINE_BYTES_MAX
);

const _: () = assert!(JSON_DEPTH_MAX + 3 < 128);

/// The sizes of keys and values that a server accepts; see
/// [`Request::check_sizes`](crate::Request::check_sizes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// The longest key, in bytes.
    pub key_bytes_max: usize,
    /// The longest value, in bytes.
    pub value_bytes_max: usize,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self { key_bytes_max: KEY_BYTES_MAX, value_bytes_max: VALUE_BYTES_MAX }
    }
}
