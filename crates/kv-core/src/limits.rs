//! Every bound of the engine, in one place, with its unit and its reason.
//!
//! Those that a user may change are the defaults of [`crate::Builder`]; the others are fixed, and
//! relations between them are checked when the crate is compiled.

use std::time::Duration;

/// Longest key, in bytes. Its length minus one fits the 16 bits that a record has for it.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value, in bytes, unless configured otherwise.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Versions kept of each key, unless configured otherwise.
pub const HISTORY_VERSIONS: usize = 10;
/// Shards, unless configured otherwise: enough that a few dozen cores seldom meet.
pub const SHARDS: usize = 16;
/// Most shards: beyond it, a range lock and a scan cost more than the latches save.
pub const SHARDS_MAX: usize = 1024;
/// How long a request waits for a lock, unless the transaction or the user says otherwise.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
/// How old a read view may get, unless configured otherwise: older versions stay in memory for it.
pub const VIEW_AGE_MAX: Duration = Duration::from_secs(3600);
/// How long a deleted key is remembered without files, unless configured otherwise.
pub const TOMBSTONE_RETENTION: Duration = Duration::from_hours(30 * 24);
/// Slots of a shard that are looked at for what has expired under one hold of its latch.
pub(crate) const ENDING_PER_LATCH: u32 = 256;
/// A round over all slots takes so many calls of `Database::end_expired` at most.
pub(crate) const ENDING_CALLS_PER_ROUND: u32 = 600;
/// Slots of a shard that are looked at in a call at least, if it has so many.
pub(crate) const ENDING_PER_CALL_MIN: u32 = 1024;
/// Deepest nesting of transactions, the root counted.
pub const NESTING_MAX: usize = 64;
/// Bytes of keys and values that one transaction may have written and not yet committed.
pub const WRITE_SET_BYTES_MAX: usize = 256 << 20;
/// Locks that one transaction may hold.
pub const LOCKS_PER_TRANSACTION_MAX: usize = 1_000_000;
/// Transactions that one session may have open, nested ones counted.
pub const TRANSACTIONS_PER_SESSION_MAX: usize = 1_000;
/// Transactions that may be open in the whole store, nested ones counted.
pub const TRANSACTIONS_MAX: usize = 100_000;
/// Commits that may be between their revision and their visibility. A commit begins only when at
/// most half of them are; the other half is more than there are threads.
pub(crate) const COMMITS_IN_FLIGHT_MAX: usize = 4096;
/// Highest revision: 48 bits, a million commits a second for nine years.
pub const REVISION_MAX: u64 = (1 << 48) - 1;
/// Latest time of a commit, in milliseconds since the Unix epoch: 42 bits, the year 2109.
pub const COMMIT_TIME_MS_MAX: u64 = (1 << 42) - 1;
/// Latest time at which a value can expire, in milliseconds since the Unix epoch: the clock does
/// not go further.
pub const EXPIRY_MS_MAX: u64 = COMMIT_TIME_MS_MAX;
/// Commits that a store remembers the times of exactly, for views of the past, as long as no two
/// were in the same millisecond: four megabytes. Older ones are remembered more and more coarsely.
pub(crate) const COMMIT_TIMES_MAX: usize = 1 << 18;
/// Partitions that keys hash to and that shards own: many a shard, so that shards are even.
pub(crate) const PARTITIONS: usize = 1 << 14;
/// Keys installed or visited under one hold of a shard's latch, before others get it.
pub(crate) const KEYS_PER_LATCH_MAX: usize = 256;
/// Keys that are touched ahead together: enough that their waits for memory overlap, and few enough
/// that the latches which this takes are held for no longer than a scan holds one.
pub const KEYS_AHEAD_MAX: usize = 16;
/// Bytes in a record that is kept when it is dropped, to become the next one of its length: each
/// session and each shard keeps one.
pub(crate) const SPARE_BYTES_MAX: usize = 1024;
/// Bytes of the longest value that is decided for under a shard's latch.
pub(crate) const MODIFIED_BYTES_MAX: usize = 4096;
/// Keys that a group locks before others get their turn.
pub(crate) const GROUP_LOCKS_AT_ONCE: usize = 32 << 10;
/// How often a group may pause for what is not in memory: for each of its keys, for its newest
/// version, its value, and once more because it has left again; and so often in any case. What
/// needs more does not fit into memory.
pub(crate) const GROUP_FETCHES_PER_KEY: usize = 4;
pub(crate) const GROUP_FETCHES_MIN: usize = 1024;
/// How much a scan with conditions does before others get their turn: to come to the next key is
/// one, and takes about 250 ns; what is compared counts as below. So a turn takes about a
/// millisecond, at most 25 with a regular expression, or after it has come upon a long value a
/// single comparison with that: 0.2 s for the slowest glob and the longest value.
pub(crate) const EFFORT_PER_TURN_MAX: usize = 4096;
/// Bytes that are compared with others in the time of one effort. Globs take up to four times as
/// long, and count so.
pub(crate) const BYTES_PER_EFFORT: usize = 64;
/// Looks at states of a regular expression, of 8 ns, in the time of one effort.
pub(crate) const LOOKS_PER_EFFORT: usize = 32;
/// The same where few looks are expected, though at worst there are so many: at all states with
/// each byte. What is within a turn even so is searched at once.
pub(crate) const LOOKS_PER_EFFORT_AT_WORST: usize = 512;
/// Longest glob or regular expression, in bytes. A glob looks at each byte of a value once, and for
/// each 64 of its tokens again: the slowest take 12 ns a byte, 0.2 s for the largest value.
pub const PATTERN_BYTES_MAX: usize = 1 << 10;
/// What a regular expression may compile to, in bytes. As much again is taken by the form of it
/// that a search in a long text needs, and may be by what is remembered of a search. Any reasonable
/// expression takes less.
pub(crate) const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Longest text that is taken for a number, in bytes: the longest 64-bit float, written out, has
/// 1,079.
pub const NUMBER_BYTES_MAX: usize = 1200;
/// Digits of a number's exponent, so that it can be added to.
pub const NUMBER_EXPONENT_DIGITS_MAX: usize = 9;
/// Rows of a NEAREST: they stay in memory until the last key has been seen.
pub const NEAREST_ROWS_MAX: u64 = 10_000;
/// Keys that come or go in a shard before it is looked how much its indexes take.
pub(crate) const KEYS_PER_MEASURE: usize = 32;
/// Slots that the sweep looks at for each record that is added above the memory bound.
pub(crate) const SWEEP_PER_WRITE: u32 = 32;
/// The part of the memory bound that the filters of keys that have left may take.
pub(crate) const FILTER_SHARE: usize = 8;
/// Keys and values in a page of what is stored, in bytes, about.
pub(crate) const PAGE_BYTES: usize = 256 << 10;
/// Keys with versions that may have become superfluous, looked at by each write.
pub(crate) const TRIM_PER_WRITE: usize = 2;

const _: () = assert!(KEY_BYTES_MAX <= 1 << 16, "a record has 16 bits for a key's length less one");
const _: () = assert!(COMMITS_IN_FLIGHT_MAX.is_power_of_two());
const _: () = assert!(EXPIRY_MS_MAX <= COMMIT_TIME_MS_MAX, "the clock ends before the values do");
const _: () = assert!(COMMIT_TIMES_MAX >= 4);
const _: () = assert!(PARTITIONS.is_power_of_two() && SHARDS_MAX * 16 <= PARTITIONS);
const _: () = assert!(SHARDS >= 1 && SHARDS <= SHARDS_MAX);
const _: () = assert!(TRANSACTIONS_PER_SESSION_MAX <= TRANSACTIONS_MAX);
const _: () = assert!(NESTING_MAX <= TRANSACTIONS_PER_SESSION_MAX);
const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX <= WRITE_SET_BYTES_MAX);
