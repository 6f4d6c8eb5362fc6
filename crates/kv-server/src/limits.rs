//! Every bound of the server in one place: its unit, its default, how far it may be moved, and why.
//!
//! The defaults that have a flag are what `--help` prints. The relations between them are asserted
//! when the server is compiled; those between configured values are checked in
//! [`crate::config`]. Bounds of the engine itself are not here: it has a `limits` of its own.

use std::time::Duration;

use kv_core::limits as engine;
use kv_persist::snapshot::sqlite::HISTORY_CONNECTIONS_MAX;
use kv_protocol::limits as wire;

const KIB: u64 = wire::KIB as u64;
const MIB: u64 = wire::MIB as u64;
const GIB: u64 = 1024 * MIB;
const HOUR: Duration = Duration::from_hours(1);

/// The port that a server without `--listen` serves on, on this machine only.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7878";

/// Where a server without `--http` serves HTTP, on this machine only.
pub const HTTP_DEFAULT: &str = "127.0.0.1:8080";

/// How long the headers of an HTTP request may take, from the connection or the last reply on.
pub const HTTP_HEADER_TIME_MAX: Duration = Duration::from_secs(30);
/// The most bytes of a request's line and headers.
pub const HTTP_HEADER_BYTES_MAX: usize = 64 << 10;
/// The most headers of a request.
pub const HTTP_HEADERS_MAX: usize = 100;
/// How long a body may take; of an import, each piece of it.
pub const HTTP_BODY_TIME_MAX: Duration = Duration::from_secs(60);
/// The longest body of a request that carries no value, in bytes.
pub const HTTP_SMALL_BODY_BYTES_MAX: usize = 64 << 10;
/// A page of at most so many bytes is sent at once, with where the next one is in its headers.
pub const HTTP_PAGE_BYTES: usize = 1 << 20;
/// The longest reply that is made as a whole, in bytes; longer ones are streamed, or refused.
pub const HTTP_REPLY_BYTES_MAX: usize = 64 << 20;
/// Versions of a history that is asked for without a number, and the most.
pub const HTTP_HISTORY_DEFAULT: u64 = 100;
/// See [`HTTP_HISTORY_DEFAULT`].
pub const HTTP_HISTORY_MAX: u64 = 1000;
/// Copies of the data that are made and read at the same time.
pub const HTTP_BACKUPS_MAX: usize = 1;
/// Sessions that wait for the next request.
pub const HTTP_CALLERS_KEPT: usize = 64;
/// The most operations of one batch.
pub const HTTP_BATCH_MAX: usize = 10_000;
/// Records of an import that are put in one transaction.
pub const HTTP_IMPORT_BATCH: usize = 1000;

/// How many addresses one server listens on at most; each costs a descriptor of the reserve.
pub const LISTENERS_MAX: usize = 8;

/// Shards without `--shards`: enough that a few dozen threads seldom meet on one.
pub const SHARDS_DEFAULT: usize = 16;
/// Shards at most: a scan visits every shard, so thousands of them cost more than they give.
pub const SHARDS_MAX: usize = engine::SHARDS_MAX;

/// Versions kept for each key without `--history`.
pub const HISTORY_DEFAULT: u32 = 10;

/// Bytes of memory that may be configured at least: what a server takes without data, and some.
pub const MEMORY_BYTES_MIN: u64 = 32 * MIB;
/// Bytes of memory that may be configured at most; this merely stops a typing error.
pub const MEMORY_BYTES_CEILING: u64 = 1024 * 1024 * GIB;
/// How long a deleted key is remembered without `--tombstone-retention`: longer than anybody takes
/// to notice that it is missing.
pub const TOMBSTONE_RETENTION_DEFAULT: Duration = Duration::from_hours(30 * 24);
/// With `--max-memory`, the part of it that the log may hold: what is in the log alone cannot give
/// way, and a record in memory takes up to four times the bytes that it has in the log.
pub const MEMORY_SHARE_LOG: u64 = 8;
/// The part of it by which the log grows before it is folded.
pub const MEMORY_SHARE_CHECKPOINT: u64 = 32;
/// The part of it that one transaction may write.
pub const MEMORY_SHARE_WRITE_SET: u64 = 8;
/// The part of it that is left unused, for what changes between two looks.
pub const MEMORY_SHARE_SPARE: u64 = 32;
/// What everything but the store takes at least when there is something to do, in bytes.
pub const REST_BYTES: u64 = 24 * MIB;
/// The part of `--max-memory` that comes to it: a piece of the log that is folded, twice.
pub const REST_SHARE: u64 = 16;
/// However much the rest takes, the store may take this part: without any memory it could not work.
pub const STORE_SHARE_MIN: u64 = 8;
/// From which `--max-memory` on the process uses huge pages.
pub const HUGE_PAGES_FROM: u64 = GIB;
/// How often it is looked how much memory the process takes.
pub const MEMORY_LOOKED_AT_EVERY: Duration = Duration::from_millis(100);
/// After so many looks, some of what has expired gives back its memory.
pub const LOOKS_PER_END_OF_EXPIRED: u32 = 10;

/// Where the data is without `--data-dir`.
pub const DATA_DIR_DEFAULT: &str = "./kv-data";
/// How long a change stays in the log alone without `--checkpoint-interval`.
pub const CHECKPOINT_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
/// Bytes by which the log grows before it is folded, without `--checkpoint-log`: enough that a key
/// which is written often is folded seldom, little enough that a restart reads it in a moment.
pub const CHECKPOINT_LOG_BYTES_DEFAULT: u64 = 256 * MIB;
/// Bytes in the log without `--max-log`.
pub const LOG_BYTES_DEFAULT: u64 = GIB;
/// Bytes in the log that may be configured; all of them are read by a restart after a crash.
pub const LOG_BYTES_CEILING: u64 = 1024 * GIB;

/// Worker threads at most; more than cores only add switching, this merely stops a typing error.
pub const THREADS_MAX: usize = 1024;

/// Bytes in a key without `--max-key`.
pub const KEY_BYTES_DEFAULT: u64 = wire::KEY_BYTES_MAX as u64;
/// Bytes in a key that may be configured: the engine takes no longer ones.
pub const KEY_BYTES_CEILING: u64 = engine::KEY_BYTES_MAX as u64;

/// Bytes in a value without `--max-value`.
pub const VALUE_BYTES_DEFAULT: u64 = wire::VALUE_BYTES_MAX as u64;
/// Bytes in a value that may be configured: a reply holds one value whole.
pub const VALUE_BYTES_CEILING: u64 = GIB;

/// Bytes in a request line without `--max-line`.
pub const LINE_BYTES_DEFAULT: u64 = wire::LINE_BYTES_MAX as u64;
/// Bytes in a request line that may be configured: what one connection may make the server hold.
pub const LINE_BYTES_CEILING: u64 = 4 * GIB;
/// Bytes of a line kept for the command's name, its ids and its options.
pub const LINE_BYTES_OVERHEAD: u64 = 4 * KIB;

/// Nested transactions, counted from the outermost, without `--max-nesting`.
pub const NESTING_DEFAULT: usize = 64;
/// Nesting that may be configured: ending a transaction walks its whole depth.
pub const NESTING_CEILING: usize = 1024;

/// Bytes that one transaction may write without `--max-write-set`.
pub const WRITE_SET_BYTES_DEFAULT: u64 = 256 * MIB;
/// Bytes that one transaction may be configured to write.
pub const WRITE_SET_BYTES_CEILING: u64 = 64 * GIB;

/// Locks that one transaction may hold without `--max-locks`.
pub const LOCKS_DEFAULT: usize = 1_000_000;
/// Locks that one transaction may be configured to hold.
pub const LOCKS_CEILING: usize = 100_000_000;

/// Open transactions of one session without `--max-session-transactions`.
pub const SESSION_TRANSACTIONS_DEFAULT: usize = 1_000;
/// Open transactions of the whole server without `--max-transactions`.
pub const TRANSACTIONS_DEFAULT: usize = 100_000;
/// Open transactions, of a session or of the server, that may be configured.
pub const TRANSACTIONS_CEILING: usize = 10_000_000;

/// Connections without `--max-connections`.
pub const CONNECTIONS_DEFAULT: usize = 10_000;
/// Connections that may be configured; the operating system's limit usually comes first.
pub const CONNECTIONS_CEILING: usize = 1_000_000;
/// File descriptors kept back from connections: standard streams, the runtime's own, listeners,
/// the refused clients that are being told why, and the files of the data directory.
pub const DESCRIPTORS_RESERVED: usize = 56;
/// File descriptors of the data directory: two for each connection that looks up older versions;
/// the snapshot's three; two of the lock; two segments while one follows another, and one that is
/// being folded; a directory that is being synced; three of a backup that is being written.
const DATA_DESCRIPTORS: usize = 2 * HISTORY_CONNECTIONS_MAX + 3 + 2 + 3 + 1 + 3;
/// What is read from the files at once for clients; each in a thread of its own, and each thread
/// keeps some memory for itself. More would wait for a connection to the snapshot anyway.
pub const FETCHES_MAX: usize = HISTORY_CONNECTIONS_MAX;
/// Refused connections that are held open for a moment, so that their client can read the reason.
pub const REFUSALS_MAX: usize = 8;
/// How long a refused connection is held open at most.
pub const REFUSAL_LINGER: Duration = Duration::from_millis(500);

/// CHECKPOINTs that may be under way, and BACKUPs, each: one is done and the others wait, and each
/// holds a thread. A second one is of little use to anybody, so few are enough.
pub const JOBS_MAX: usize = 8;

/// How long a command waits for a lock without `--lock-timeout`.
pub const LOCK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// How long an idle session keeps its transactions without `--idle-transaction-timeout`.
pub const IDLE_TRANSACTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// How old a read view may become without `--max-view-age`.
pub const VIEW_AGE_DEFAULT: Duration = HOUR;
/// How long a drain may take without `--drain-timeout`.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest duration that may be configured: about a hundred years, which keeps every sum of a
/// moment and a duration within what the clock can represent.
pub const DURATION_CEILING: Duration = Duration::from_hours(36_500 * 24);

/// Connections that the kernel queues for us while the accept loop is busy.
pub const ACCEPT_BACKLOG: i32 = 1024;
/// First pause of the accept loop when the process is out of descriptors or memory; doubles.
pub const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest pause of the accept loop.
pub const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often at most a repeated complaint of a listener is logged.
pub const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Silence after which a TCP peer is asked whether it is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(300);
/// Pause between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Unanswered questions after which the connection is given up.
pub const KEEPALIVE_RETRIES: u32 = 3;
/// How long sent bytes may stay unacknowledged. On Linux this also overrides the count of
/// keepalive questions, so it leaves room for all of them.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(360);

/// The least that a line must be allowed to hold, given the longest key and value, all in bytes.
///
/// Twice the bytes, because each byte that *has* to be escaped in a quoted word (`"`, `\`, LF, CR)
/// has an escape of two bytes, and every other byte may be sent as it is. A client that chooses to
/// write each byte as `\xHH` needs four for one; whoever serves such clients raises `--max-line`
/// to four times the value.
pub const fn line_bytes_min(key_bytes_max: u64, value_bytes_max: u64) -> u64 {
    2 * (key_bytes_max + value_bytes_max) + LINE_BYTES_OVERHEAD
}

/// The least that the log must be allowed to hold, in bytes, given how much it grows before it is
/// folded and what one transaction may write.
///
/// Twice the larger of them: while so much is being folded, as much again may be written.
pub const fn log_bytes_min(checkpoint_log_bytes: u64, write_set_bytes_max: u64) -> u64 {
    let larger = if checkpoint_log_bytes > write_set_bytes_max {
        checkpoint_log_bytes
    } else {
        write_set_bytes_max
    };
    2 * larger
}

const _: () = assert!(
    LOG_BYTES_DEFAULT >= log_bytes_min(CHECKPOINT_LOG_BYTES_DEFAULT, WRITE_SET_BYTES_DEFAULT)
);
const _: () =
    assert!(LOG_BYTES_CEILING >= log_bytes_min(LOG_BYTES_CEILING / 2, WRITE_SET_BYTES_CEILING));
const _: () = assert!(LINE_BYTES_DEFAULT >= line_bytes_min(KEY_BYTES_DEFAULT, VALUE_BYTES_DEFAULT));
const _: () = assert!(LINE_BYTES_CEILING >= line_bytes_min(KEY_BYTES_CEILING, VALUE_BYTES_CEILING));
const _: () = assert!(WRITE_SET_BYTES_DEFAULT >= KEY_BYTES_DEFAULT + VALUE_BYTES_DEFAULT);
const _: () = assert!(KEY_BYTES_DEFAULT <= KEY_BYTES_CEILING);
const _: () = assert!(VALUE_BYTES_DEFAULT <= VALUE_BYTES_CEILING);
const _: () = assert!(SHARDS_DEFAULT <= SHARDS_MAX);
const _: () = assert!(SESSION_TRANSACTIONS_DEFAULT <= TRANSACTIONS_DEFAULT);
const _: () = assert!(CONNECTIONS_DEFAULT <= CONNECTIONS_CEILING);
// The server and an embedded store do the same when nobody says otherwise.
const _: () = assert!(VALUE_BYTES_DEFAULT == engine::VALUE_BYTES_MAX as u64);
const _: () = assert!(HISTORY_DEFAULT as usize == engine::HISTORY_VERSIONS);
const _: () = assert!(SHARDS_DEFAULT == engine::SHARDS);
const _: () = assert!(LOCK_TIMEOUT_DEFAULT.as_millis() == engine::LOCK_WAIT_MAX.as_millis());
const _: () = assert!(VIEW_AGE_DEFAULT.as_millis() == engine::VIEW_AGE_MAX.as_millis());
const _: () = assert!(NESTING_DEFAULT == engine::NESTING_MAX);
const _: () = assert!(WRITE_SET_BYTES_DEFAULT == engine::WRITE_SET_BYTES_MAX as u64);
const _: () = assert!(LOCKS_DEFAULT == engine::LOCKS_PER_TRANSACTION_MAX);
const _: () = assert!(SESSION_TRANSACTIONS_DEFAULT == engine::TRANSACTIONS_PER_SESSION_MAX);
const _: () = assert!(TRANSACTIONS_DEFAULT == engine::TRANSACTIONS_MAX);
// Three standard streams, six of the runtime and its signals, each listener, each refused client,
// the data directory.
const _: () =
    assert!(3 + 6 + LISTENERS_MAX + REFUSALS_MAX + DATA_DESCRIPTORS <= DESCRIPTORS_RESERVED);
const _: () = assert!(
    TCP_USER_TIMEOUT.as_secs()
        == KEEPALIVE_IDLE.as_secs() + (KEEPALIVE_RETRIES as u64 - 1) * KEEPALIVE_INTERVAL.as_secs()
);

/// Bytes that the keys which a connection watches take at most.
pub const WATCHED_BYTES_MAX: usize = 8 << 20;
/// Keys that one SCAN of the Redis protocol looks at, whatever COUNT says.
pub const SCAN_COUNT_MAX: u64 = 10_000;
/// Bytes of received requests whose keys are looked for ahead.
pub const INPUT_BYTES_AHEAD_MAX: usize = 64 << 10;
/// Places at which SCAN of the Redis protocol can go on that are remembered. Many clients that scan
/// the same share them; each takes some 200 bytes beside its key.
pub const CURSORS_MAX: usize = 1 << 16;
/// Bytes that their keys may have together.
pub const CURSOR_BYTES_MAX: usize = 8 << 20;
/// Bytes in what a client calls itself, or its library.
pub const CLIENT_NAME_BYTES_MAX: usize = 256;

/// Bytes read from a connection at once, through a buffer on the stack.
pub const READ_BYTES: usize = 32 << 10;
/// Bytes of requests that have to wait before their keys are touched ahead: of one or two it is not
/// worth it.
pub const INPUT_BYTES_TOUCHED_FROM: usize = 256;
/// Bytes that a client may send ahead while its command waits, before it is no longer read. Enough
/// that its leaving, which comes behind what it has sent, is nearly always seen.
pub const INPUT_BYTES_WHILE_WAITING: usize = 1 << 20;
/// How often it is then looked for whether such a client has left.
pub const LEAVING_LOOKED_FOR_EVERY: Duration = Duration::from_millis(50);
/// How long a search that has found nothing yet goes on for a client that has closed its side of
/// the connection: it may have closed only one half, and still read, or have left.
pub const SEARCH_AFTER_CLOSE_MAX: Duration = Duration::from_secs(10);
/// How long after its limit a read view is looked at again.
pub const VIEW_AGE_SLACK: Duration = Duration::from_millis(1);
/// Replies are sent when there are this many bytes of them, or when no whole line is left.
pub const OUTPUT_BYTES_AT_ONCE: usize = 64 << 10;
/// Bytes of replies that may wait for the disk before no more commands of their client are run.
pub const OUTPUT_BYTES_HELD_MAX: usize = 1 << 20;
/// A larger output buffer is not kept.
pub const OUTPUT_BYTES_KEPT: usize = 128 << 10;
/// Commands of one client before others get their turn.
pub const COMMANDS_AT_ONCE: usize = 512;
/// How long a client may take nothing of its replies before it is cut off.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(60);
/// How long a connection that is closed for good reason waits for the client to close too.
pub const CLOSE_LINGER: Duration = Duration::from_secs(2);

const _: () = assert!(READ_BYTES <= INPUT_BYTES_WHILE_WAITING);
const _: () = assert!(OUTPUT_BYTES_AT_ONCE <= OUTPUT_BYTES_KEPT);
const _: () = assert!(OUTPUT_BYTES_AT_ONCE <= OUTPUT_BYTES_HELD_MAX);
