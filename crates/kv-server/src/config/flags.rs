//! The flags: each setting's name, its default, how its value is read, and the help on it.
//!
//! This is the one list of settings. The environment and the file have none of their own: what they
//! say is read as the flag of the same name would be, so the three cannot differ. Values are
//! checked one by one here; how they fit together is checked in [`crate::config`].

use std::path::PathBuf;

use clap::{Args as _, Command, CommandFactory as _, Parser};
use kv_protocol::units::{DurationText, SizeText};

use super::storage::{Compression, Durability, Eviction, SnapshotFormat};
use super::value::{Endpoint, History, HttpEndpoint, LogFormat, LogLevel};
use super::value::{command_name, duration, positive_duration, size, whole};
use crate::limits;
use crate::subcommand::Task;

/// What stands before the flags in `--help`.
const ABOUT: &str = "\
A transactional key-value server that can be talked to from netcat.

Without a command it serves. The commands work on a data directory that no server uses; `kv-server
import --help` explains one. Every setting may stand before the command or after it.

Every setting below is a flag, an environment variable and a key of the file given by --config.
--lock-timeout is also KV_LOCK_TIMEOUT, and in the file: lock-timeout = \"5s\". A flag wins over the
environment, the environment over the file, the file over the default. An empty variable counts as
not set. Sizes read 64kb, 512mb, 2gb (1kb is 1024 bytes), durations 250ms, 5s, 1m, 1h, 30d.";

/// What stands after the flags in `--help`.
const EXAMPLES: &str = "\
Examples:
  kv-server
      Serve on 127.0.0.1:7878 with the data in ./kv-data; then talk to it: nc 127.0.0.1 7878
  kv-server --in-memory
      The same without any files: the data is gone when the server stops
  kv-server --in-memory --listen 127.0.0.1:0
      Serve on any free port, and print which
  kv-server --data-dir /srv/kv --listen 127.0.0.1:7878 --listen unix:/run/kv/kv.sock
      Serve on a port and on a socket file
  kv-server --config /etc/kv.toml --log-level debug
      Take the settings from a file, but for one
  KV_LOCK_TIMEOUT=250ms kv-server
      Give up sooner when a key is held by another transaction

Signals: SIGTERM or SIGINT drains and stops, a second one stops at once; SIGHUP changes nothing.
Exit codes: 0 after a drain, 1 for a fault, 2 for wrong usage, 3 when the data directory is refused
(in use, damaged, another key, a later version).";

/// The command line, with every setting at its default where it says nothing.
#[derive(Debug, Parser)]
#[command(name = "kv-server", version, about = "A transactional key-value server.")]
#[command(long_about = ABOUT, after_long_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Flags {
    /// A TOML file with settings; its keys are the flags' names
    ///
    /// An unknown key or a bad value is refused, with file and line.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) task: Option<Task>,

    #[command(flatten)]
    pub(super) network: Network,
    #[command(flatten)]
    pub(super) data: Data,
    #[command(flatten)]
    pub(super) files: Files,
    #[command(flatten)]
    pub(super) waiting: Waiting,
    #[command(flatten)]
    pub(super) bounds: Bounds,
    #[command(flatten)]
    pub(super) process: Process,
}

/// The settings that a subcommand's help shows; it takes the others too, and has no use for them.
const ABOUT_TASKS: [&str; 10] = [
    "config",
    "data_dir",
    "snapshot",
    "history",
    "encryption_key_file",
    "compression",
    "max_key",
    "max_value",
    "log_level",
    "log_format",
];

/// The whole command line: every setting may stand before a subcommand or after it.
pub(super) fn command() -> Command {
    let mut command = Flags::command().mut_args(|setting| setting.global(true));
    // This is when each subcommand gets the settings.
    command.build();
    command.mut_subcommands(|task| {
        task.mut_args(|setting| {
            let is_shown =
                !setting.is_global_set() || ABOUT_TASKS.contains(&setting.get_id().as_str());
            setting.hide(!is_shown)
        })
    })
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// Where to serve: IP:PORT or unix:PATH; repeatable
    ///
    /// Port 0 is any free port. There are no passwords yet: whoever reaches the address may do
    /// everything. Change it to let other machines or containers in (0.0.0.0:7878), or to a socket
    /// file, which only its owner may open (its mode is 0600).
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    #[arg(default_value = limits::LISTEN_DEFAULT)]
    pub(super) listen: Vec<Endpoint>,

    /// Where to serve HTTP: IP:PORT, or off
    ///
    /// The same data and transactions for browsers, curl and programs in any language; /docs on it
    /// lists what there is, / is a console. If the default is in use by another program, the server
    /// goes on without it, with a warning.
    #[arg(long, value_name = "ADDR|off", default_value = limits::HTTP_DEFAULT)]
    pub(super) http: HttpEndpoint,

    /// Names by which HTTP may be reached, besides localhost and addresses in numbers
    ///
    /// A request with another name in its header Host is refused: a page in somebody's browser
    /// could have made it. Name those by which clients know this machine, or * for any; repeatable.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) http_host: Vec<String>,

    /// Connections at most, on all addresses together
    ///
    /// One too many is answered ERR LIMIT and closed. It needs a file descriptor each, and 56 more
    /// for the server itself: raise `ulimit -n` first when more clients are expected. Without this
    /// setting, a low `ulimit -n` lowers the default, with a warning.
    #[arg(long, value_name = "N", value_parser = whole::<1, { limits::CONNECTIONS_CEILING }>)]
    #[arg(default_value_t = limits::CONNECTIONS_DEFAULT)]
    pub(super) max_connections: usize,

    /// Commands to refuse, separated by commas
    ///
    /// They are refused. Change it to keep clients from commands that they have no business with,
    /// such as SHOWALL or LOCKS. Names of Redis commands are taken too, for clients that speak its
    /// protocol: FLUSHALL, SHUTDOWN, CONFIG, "CONFIG SET".
    #[arg(long, value_name = "COMMAND", value_delimiter = ',', value_parser = command_name)]
    pub(super) disable: Vec<&'static str>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Data")]
pub(super) struct Data {
    /// Keep all data in memory only, and no files at all
    ///
    /// The data is gone when the server stops, however it stops. For caches and for trying things
    /// out. The settings about files have no meaning then: giving one of them as well is refused.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_value_t = false, default_missing_value = "true")]
    pub(super) in_memory: bool,

    /// Versions kept of each key, or all
    ///
    /// 1 keeps only the newest and needs the least memory. Raise it when GET … VERSION and HISTORY
    /// have to reach further back. What an open read view needs is kept besides.
    #[arg(long, value_name = "N|all", default_value_t = History::Newest(HISTORY))]
    pub(super) history: History,

    /// Parts that the store is divided into, 1 to 1024
    ///
    /// Each part has a latch of its own. Raise it to about twice the cores when many threads
    /// write; lower it when most work is scans.
    #[arg(long, value_name = "N", value_parser = whole::<1, { limits::SHARDS_MAX }>)]
    #[arg(default_value_t = limits::SHARDS_DEFAULT)]
    pub(super) shards: usize,

    /// Bytes of memory that the process may take [default: as many as the data needs]
    ///
    /// At least 32mb. When they are used up, keys give way: with an SQLite snapshot they stay on
    /// disk and are read back when they are used, so there may be many times more data than
    /// memory; without files see --eviction. Give it when other programs need the machine's memory
    /// too.
    #[arg(long, value_name = "SIZE", value_parser = size::<{ limits::MEMORY_BYTES_CEILING }>)]
    pub(super) max_memory: Option<SizeText>,

    /// Who gives way when --max-memory is used up
    ///
    /// lru: keys that were not used for long. s3fifo: keys that were used once, before those that
    /// were used again and again. With --in-memory they are gone then, so both are for caches.
    /// none: nobody; writes are answered OOM until something is deleted.
    #[arg(long, value_name = "WHO", value_enum, default_value_t = Eviction::Lru)]
    pub(super) eviction: Eviction,

    /// How long a deleted key is remembered
    ///
    /// So long its version numbers go on when it comes back, and its old versions can be read; then
    /// it is as if it had never been. A key whose time to live is over counts as deleted. Lower it
    /// when keys come and go and their names never return.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[arg(default_value_t = DurationText(limits::TOMBSTONE_RETENTION_DEFAULT))]
    pub(super) tombstone_retention: DurationText,
}

/// The names of the settings that are about files.
pub(super) fn about_files() -> impl Iterator<Item = String> {
    let command = Files::augment_args(Command::new(""));
    let names: Vec<String> =
        command.get_arguments().filter_map(|flag| flag.get_long()).map(str::to_owned).collect();
    names.into_iter()
}

/// What is about files, and so means nothing with `--in-memory`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(super) struct Files {
    /// Where the data is
    ///
    /// Created if it does not exist, readable by its owner only. One server at a time uses it.
    /// Change it to say where the disk is that the data belongs on.
    #[arg(long, value_name = "DIR", default_value = limits::DATA_DIR_DEFAULT)]
    pub(super) data_dir: PathBuf,

    /// What the reply to a commit waits for
    ///
    /// fsync waits until it is on disk, and loses nothing. interval does not wait and brings all to
    /// disk each second: a crash of the machine takes back what was acknowledged in the last one or
    /// two. none leaves it to the operating system, which may take half a minute. Change it when
    /// losing that much is worth the time saved.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Durability::Fsync)]
    pub(super) durability: Durability,

    /// What the log is folded into
    ///
    /// sqlite is a database that other programs can read while the server runs. json is one text
    /// file that is written anew each time: for small data that people read. It is chosen when the
    /// directory is created; another choice later is refused.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = SnapshotFormat::Sqlite)]
    pub(super) snapshot: SnapshotFormat,

    /// How long a change stays in the log alone
    ///
    /// Then it is folded into the snapshot, if anything has changed. Raise it when keys change
    /// often and the disk is busy; lower it when other programs read the snapshot.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    #[arg(default_value_t = DurationText(limits::CHECKPOINT_INTERVAL_DEFAULT))]
    pub(super) checkpoint_interval: DurationText,

    /// By how much the log grows before it is folded
    ///
    /// Whichever of this and --checkpoint-interval comes first. Lower it for quicker restarts after
    /// a crash.
    #[arg(long, value_name = "SIZE", value_parser = size::<{ limits::LOG_BYTES_CEILING / 2 }>)]
    #[arg(default_value_t = SizeText(limits::CHECKPOINT_LOG_BYTES_DEFAULT))]
    pub(super) checkpoint_log: SizeText,

    /// Bytes in the log, at most
    ///
    /// Writers are slowed down before it grows past this. At least twice --checkpoint-log and twice
    /// --max-write-set. Raise it when writes come in long bursts and there is room on the disk.
    #[arg(long, value_name = "SIZE", value_parser = size::<{ limits::LOG_BYTES_CEILING }>)]
    #[arg(default_value_t = SizeText(limits::LOG_BYTES_DEFAULT))]
    pub(super) max_log: SizeText,

    /// Where BACKUP writes its files [default: nowhere, BACKUP is refused]
    ///
    /// It must exist, and must not be within --data-dir. Give it to let clients ask for backups.
    #[arg(long, value_name = "DIR")]
    pub(super) backup_dir: Option<PathBuf>,

    /// A file with the key that the data is encrypted with [default: none, it is not]
    ///
    /// KV_ENCRYPTION_KEY may hold the key itself instead. It is chosen when the directory is
    /// created; without the same key it cannot be opened again. Give one when others can reach the
    /// disk or its backups.
    #[arg(long, value_name = "FILE")]
    pub(super) encryption_key_file: Option<PathBuf>,

    /// A file with the key until now, or none [default: the key is not changed]
    ///
    /// Give it together with another --encryption-key-file: before it serves, the server encrypts
    /// everything anew with that one. none is for data that was not encrypted.
    /// KV_OLD_ENCRYPTION_KEY may hold the key itself instead. When the key has been changed before,
    /// it does nothing.
    #[arg(long, value_name = "FILE|none")]
    pub(super) old_encryption_key_file: Option<PathBuf>,

    /// How values are packed on disk
    ///
    /// lz4 is quick, zstd packs more tightly. A packed value is not readable in the snapshot for
    /// other programs. Change it when the values are text and the disk is small or slow; what is
    /// there already stays as it is.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Compression::None)]
    pub(super) compression: Compression,
}

/// The default of `--history` in the type that the engine wants.
const HISTORY: std::num::NonZeroU32 = match std::num::NonZeroU32::new(limits::HISTORY_DEFAULT) {
    Some(versions) => versions,
    None => panic!("the default history keeps at least one version"),
};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Waiting and ages (durations)")]
pub(super) struct Waiting {
    /// How long a command waits for a lock
    ///
    /// Then it answers TIMEOUT and its transaction stays open. BEGIN … WAIT sets it for one
    /// transaction. Lower it when clients would rather retry than wait; raise it when long
    /// transactions are normal. Deadlocks are found at once, whatever it is.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    #[arg(default_value_t = DurationText(limits::LOCK_TIMEOUT_DEFAULT))]
    pub(super) lock_timeout: DurationText,

    /// How long a session with open transactions may send nothing
    ///
    /// Then they are aborted, so that a client that hangs does not hold its locks for ever; and so
    /// is a transaction that has a token, when no command has run in it for so long. Raise it when
    /// people hold transactions open by hand.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    #[arg(default_value_t = DurationText(limits::IDLE_TRANSACTION_TIMEOUT_DEFAULT))]
    pub(super) idle_transaction_timeout: DurationText,

    /// How old a read view may become
    ///
    /// Older SNAPSHOT and READONLY transactions are aborted, because every version they might still
    /// read has to be kept. Lower it when memory grows under long readers.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    #[arg(default_value_t = DurationText(limits::VIEW_AGE_DEFAULT))]
    pub(super) max_view_age: DurationText,

    /// How long a stop waits for running commands
    ///
    /// Keep it below the time after which your service manager kills (often 10 to 90 s). 0
    /// does not wait.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[arg(default_value_t = DurationText(limits::DRAIN_TIMEOUT_DEFAULT))]
    pub(super) drain_timeout: DurationText,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bounds on requests and transactions")]
pub(super) struct Bounds {
    /// Bytes in a key, at most (and never more than 64kb)
    ///
    /// Lower it to catch clients that use whole documents as keys.
    #[arg(long, value_name = "SIZE", value_parser = size::<{ limits::KEY_BYTES_CEILING }>)]
    #[arg(default_value_t = SizeText(limits::KEY_BYTES_DEFAULT))]
    pub(super) max_key: SizeText,

    /// Bytes in a value, at most
    ///
    /// A bigger one answers TOOBIG. Raising it asks for a larger --max-line as well.
    #[arg(long, value_name = "SIZE", value_parser = size::<{ limits::VALUE_BYTES_CEILING }>)]
    #[arg(default_value_t = SizeText(limits::VALUE_BYTES_DEFAULT))]
    pub(super) max_value: SizeText,

    /// Bytes in a request line, at most
    ///
    /// A longer one answers TOOBIG and closes the connection. At least twice --max-key and
    /// --max-value, since a quote or a line's end takes two bytes when escaped; four times for
    /// clients that write every byte as \xHH.
    #[arg(long, value_name = "SIZE", value_parser = size::<{ limits::LINE_BYTES_CEILING }>)]
    #[arg(default_value_t = SizeText(limits::LINE_BYTES_DEFAULT))]
    pub(super) max_line: SizeText,

    /// Levels of nested transactions, at most
    ///
    /// Lower it to find clients that forget to COMMIT.
    #[arg(long, value_name = "N", value_parser = whole::<1, { limits::NESTING_CEILING }>)]
    #[arg(default_value_t = limits::NESTING_DEFAULT)]
    pub(super) max_nesting: usize,

    /// Bytes that one transaction may write
    ///
    /// They are held in memory until it ends. At least --max-key and --max-value together. Raise it
    /// for bulk loads in one transaction.
    #[arg(long, value_name = "SIZE", value_parser = size::<{ limits::WRITE_SET_BYTES_CEILING }>)]
    #[arg(default_value_t = SizeText(limits::WRITE_SET_BYTES_DEFAULT))]
    pub(super) max_write_set: SizeText,

    /// Locks that one transaction may hold
    ///
    /// Raise it when one transaction has to touch more keys.
    #[arg(long, value_name = "N", value_parser = whole::<1, { limits::LOCKS_CEILING }>)]
    #[arg(default_value_t = limits::LOCKS_DEFAULT)]
    pub(super) max_locks: usize,

    /// Open transactions of one session
    ///
    /// At most --max-transactions. Lower it to find clients that forget to COMMIT.
    #[arg(long, value_name = "N", value_parser = whole::<1, { limits::TRANSACTIONS_CEILING }>)]
    #[arg(default_value_t = limits::SESSION_TRANSACTIONS_DEFAULT)]
    pub(super) max_session_transactions: usize,

    /// Open transactions of the whole server
    ///
    /// Raise it together with --max-connections.
    #[arg(long, value_name = "N", value_parser = whole::<1, { limits::TRANSACTIONS_CEILING }>)]
    #[arg(default_value_t = limits::TRANSACTIONS_DEFAULT)]
    pub(super) max_transactions: usize,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub(super) struct Process {
    /// Worker threads [default: one a core]
    ///
    /// Lower it to leave cores to other programs on the same machine.
    #[arg(long, value_name = "N", value_parser = whole::<1, { limits::THREADS_MAX }>)]
    pub(super) threads: Option<usize>,

    /// What is worth a line in the log, which is standard error
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    pub(super) log_level: LogLevel,

    /// The form of log lines
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
}
