//! What the server was told to do: the command line, the environment and a file become one
//! [`Config`] of values that are valid alone and together.
//!
//! The settings themselves are listed in `flags`. A variable or a line of the file is taken as the
//! flag of the same name, put in front of the flags that were really given; so there is one reader
//! for each value, and a flag wins over the environment, the environment over the file, the file
//! over the default. Nothing here acts on a setting: it is read once, at the start.
//!
//! The surroundings are a parameter, because a test must not change the environment of a process
//! that other tests share.

mod file;
mod flags;
mod refusal;
mod sources;
mod storage;
mod value;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::FromArgMatches as _;
use kv_protocol::limits::SizeLimits;
use kv_protocol::units::SizeText;

use self::flags::{Files, Flags};
pub use self::refusal::{Origin, Refusal};
use self::sources::{Added, Source, Sources};
pub use self::storage::{
    Compression, DataDirectory, Durability, Eviction, KeySource, OldKeySource, Secret,
    SnapshotFormat, Storage,
};
pub use self::value::{Endpoint, History, HttpEndpoint, LogFormat, LogLevel};
use crate::limits;
use crate::subcommand::Task;

/// The variable that may hold the encryption key itself.
const KEY_VARIABLE: &str = "KV_ENCRYPTION_KEY";
/// The variable that may hold the key until now.
const OLD_KEY_VARIABLE: &str = "KV_OLD_ENCRYPTION_KEY";

/// Every setting, checked. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; never empty.
    pub listen: Vec<Endpoint>,
    /// Where to serve HTTP; none if nowhere.
    pub http: Option<Endpoint>,
    /// Whether that was asked for, or is the default.
    pub is_http_explicit: bool,
    /// Names by which HTTP may be reached, besides localhost.
    pub http_hosts: Vec<String>,
    /// Where the data is.
    pub storage: Storage,
    /// Versions kept of each key.
    pub history: History,
    /// Parts of the store.
    pub shards: usize,
    /// Bytes of memory that the process may take; `None` is as many as it needs.
    pub memory_bytes_max: Option<u64>,
    /// Who gives way when they are used up.
    pub eviction: Eviction,
    /// How long a deleted key is remembered.
    pub tombstone_retention: Duration,
    /// How long a command waits for a lock.
    pub lock_timeout: Duration,
    /// How long a session with open transactions may be silent.
    pub idle_transaction_timeout: Duration,
    /// How old a read view may become.
    pub view_age_max: Duration,
    /// How long a drain may take; zero does not wait.
    pub drain_timeout: Duration,
    /// Connections on all listeners together.
    pub connections_max: usize,
    /// Worker threads.
    pub threads: usize,
    /// What is logged.
    pub log_level: LogLevel,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Bytes in a key.
    pub key_bytes_max: usize,
    /// Bytes in a value.
    pub value_bytes_max: usize,
    /// Bytes in a request line.
    pub line_bytes_max: usize,
    /// Levels of nested transactions, the outermost included.
    pub nesting_max: usize,
    /// Bytes that one transaction may write.
    pub write_set_bytes_max: usize,
    /// Locks that one transaction may hold.
    pub locks_max: usize,
    /// Open transactions of one session.
    pub session_transactions_max: usize,
    /// Open transactions of the server.
    pub transactions_max: usize,
    /// Commands that are refused, by their names in the registry.
    pub disabled: Vec<&'static str>,
    /// What the operator should be told once there is a log.
    pub warnings: Vec<String>,
}

/// What settings come from and depend on.
pub struct Surroundings<'a> {
    /// The command line, the program's name first.
    pub arguments: Vec<OsString>,
    /// Looks up an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// File descriptors that the process may have open; `None` if that is not known.
    pub descriptors_max: Option<usize>,
    /// Cores of the machine.
    pub cores: usize,
}

/// What the program was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The settings.
    pub config: Config,
    /// What to do with the data directory; without it, serve.
    pub task: Option<Task>,
}

impl Invocation {
    /// Reads the command line, the environment and the file of this process.
    ///
    /// # Errors
    /// When something is refused or help was asked for: print the [`Refusal`] and exit with its
    /// code.
    pub fn from_process() -> Result<Self, Refusal> {
        Self::from_surroundings(&Surroundings {
            arguments: std::env::args_os().collect(),
            variable: &|name| std::env::var_os(name),
            descriptors_max: descriptors_max(),
            cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        })
    }

    /// Reads what it is given.
    ///
    /// # Errors
    /// As [`Invocation::from_process`].
    pub fn from_surroundings(around: &Surroundings<'_>) -> Result<Self, Refusal> {
        let command = flags::command();
        let given = command.clone().try_get_matches_from(&around.arguments).map_err(boxed)?;
        let entries = match sources::config_file(&given, around) {
            Some(path) => sources::file_entries(&command, &path)?,
            None => Vec::new(),
        };
        let added = sources::added_flags(&command, &given, around, &entries)?;
        let program = around.arguments.iter().take(1).cloned();
        let rest = around.arguments.iter().skip(1).cloned();
        let all = program.chain(added.iter().flat_map(Added::flags)).chain(rest);
        let matches = command.try_get_matches_from(all).map_err(boxed)?;
        let flags = Flags::from_arg_matches(&matches).map_err(boxed)?;
        let task = flags.task.clone();
        let sources = Sources { given: &given, added: &added };
        let secrets = Secrets::read(around)?;
        let mut config = Config::from_flags(flags, around.cores, &sources, secrets)?;
        check_relations(&config)?;
        // What only a server needs is no reason to refuse a task.
        if task.is_none() {
            let is_explicit = sources.of("max-connections") > Source::Default;
            fit_descriptors(&mut config, around.descriptors_max, is_explicit)?;
            warn_of_catches(&mut config);
        }
        Ok(Self { config, task })
    }
}

impl Config {
    /// How long keys and values may be.
    pub fn size_limits(&self) -> SizeLimits {
        let Config { key_bytes_max, value_bytes_max, .. } = *self;
        SizeLimits { key_bytes_max, value_bytes_max }
    }

    /// Reads a configuration from what it is given, whatever it is to be used for.
    ///
    /// # Errors
    /// As [`Invocation::from_process`].
    pub fn from_surroundings(around: &Surroundings<'_>) -> Result<Self, Refusal> {
        Invocation::from_surroundings(around).map(|invocation| invocation.config)
    }

    fn from_flags(
        flags: Flags,
        cores: usize,
        sources: &Sources<'_>,
        secrets: Secrets,
    ) -> Result<Self, Refusal> {
        let Flags { config: _, task: _, network, data, files, waiting, bounds, process } = flags;
        Ok(Self {
            listen: network.listen,
            http: match network.http {
                HttpEndpoint::Off => None,
                HttpEndpoint::At(endpoint) => Some(endpoint),
            },
            is_http_explicit: sources.of("http") > Source::Default,
            http_hosts: network.http_host,
            storage: match data.in_memory {
                true => in_memory(sources, &secrets)?,
                false => Storage::Directory(directory(files, secrets)?),
            },
            history: data.history,
            shards: data.shards,
            memory_bytes_max: data.max_memory.map(|size| size.0),
            eviction: data.eviction,
            tombstone_retention: data.tombstone_retention.0,
            lock_timeout: waiting.lock_timeout.0,
            idle_transaction_timeout: waiting.idle_transaction_timeout.0,
            view_age_max: waiting.max_view_age.0,
            drain_timeout: waiting.drain_timeout.0,
            connections_max: network.max_connections,
            threads: process.threads.unwrap_or(cores.min(limits::THREADS_MAX)),
            log_level: process.log_level,
            log_format: process.log_format,
            key_bytes_max: bytes_in_memory("max-key", bounds.max_key)?,
            value_bytes_max: bytes_in_memory("max-value", bounds.max_value)?,
            line_bytes_max: bytes_in_memory("max-line", bounds.max_line)?,
            nesting_max: bounds.max_nesting,
            write_set_bytes_max: bytes_in_memory("max-write-set", bounds.max_write_set)?,
            locks_max: bounds.max_locks,
            session_transactions_max: bounds.max_session_transactions,
            transactions_max: bounds.max_transactions,
            disabled: network.disable,
            warnings: Vec::new(),
        })
    }
}

/// The keys that stand in the environment themselves. There are no such flags, because everybody on
/// the machine can read a command line, and no such lines of the file, because it is often shared.
struct Secrets {
    key: Option<Secret>,
    old_key: Option<Secret>,
}

impl Secrets {
    fn read(around: &Surroundings<'_>) -> Result<Secrets, Refusal> {
        let read = |variable: &str, name: &str| {
            let given = (around.variable)(variable).filter(|key| !key.is_empty());
            let Some(key) = given else { return Ok(None) };
            let text = key.into_string().map_err(|_| Refusal::Setting {
                origin: Origin::Variable(variable.to_owned()),
                name: name.to_owned(),
                reason: "expected UTF-8".to_owned(),
            })?;
            Ok(Some(Secret::new(text)))
        };
        Ok(Secrets {
            key: read(KEY_VARIABLE, "encryption-key")?,
            old_key: read(OLD_KEY_VARIABLE, "old-encryption-key")?,
        })
    }

    /// The variable of a key that is there.
    fn variable(&self) -> Option<&'static str> {
        let old = self.old_key.as_ref().map(|_| OLD_KEY_VARIABLE);
        self.key.as_ref().map(|_| KEY_VARIABLE).or(old)
    }
}

/// Where a key is that may be given in two ways.
fn key_source(
    flag: &str,
    file: Option<PathBuf>,
    variable: &str,
    secret: Option<Secret>,
) -> Result<Option<KeySource>, Refusal> {
    match (file, secret) {
        (Some(_), Some(_)) => Err(Refusal::Together(format!(
            "{flag} and {variable} both give the key: leave one of them out"
        ))),
        (Some(path), None) => Ok(Some(KeySource::File(path))),
        (None, secret) => Ok(secret.map(KeySource::Given)),
    }
}

/// Refuses what has no meaning without files, unless `--in-memory` comes from a stronger source:
/// a flag may well overrule a file that describes another server.
fn in_memory(sources: &Sources<'_>, secrets: &Secrets) -> Result<Storage, Refusal> {
    let source = sources.of("in-memory");
    let named = flags::about_files().find(|name| sources.of(name) >= source);
    let secret = secrets.variable().filter(|_| Source::Variable >= source);
    let setting = named.map(|name| format!("--{name}")).or(secret.map(str::to_owned));
    setting.map_or(Ok(Storage::InMemory), |setting| {
        Err(Refusal::Together(format!(
            "{setting} has no meaning with --in-memory, which keeps no files: leave one of them out"
        )))
    })
}

fn directory(files: Files, secrets: Secrets) -> Result<DataDirectory, Refusal> {
    const FLAG: &str = "--encryption-key-file";
    const OLD_FLAG: &str = "--old-encryption-key-file";
    let key = key_source(FLAG, files.encryption_key_file, KEY_VARIABLE, secrets.key)?;
    let old_file = files.old_encryption_key_file;
    let was_none = old_file.as_deref() == Some(Path::new("none"));
    let old_key = key_source(OLD_FLAG, old_file, OLD_KEY_VARIABLE, secrets.old_key)?;
    if old_key.is_some() && key.is_none() {
        return Err(Refusal::Together(format!(
            "{OLD_FLAG} says what the key was until now, and there is no new one: give it with \
             {FLAG}"
        )));
    }
    Ok(DataDirectory {
        path: files.data_dir,
        durability: files.durability,
        snapshot: files.snapshot,
        compression: files.compression,
        key,
        old_key: old_key.map(|key| match was_none {
            true => OldKeySource::NotEncrypted,
            false => OldKeySource::Key(key),
        }),
        checkpoint_interval: files.checkpoint_interval.0,
        checkpoint_log_bytes: files.checkpoint_log.0,
        log_bytes_max: files.max_log.0,
        backup_dir: files.backup_dir,
    })
}

fn boxed(error: clap::Error) -> Refusal {
    Refusal::Flags(Box::new(error))
}

fn bytes_in_memory(name: &str, size: SizeText) -> Result<usize, Refusal> {
    let too_big =
        |_| Refusal::Together(format!("--{name} {size} is more than this machine can address"));
    usize::try_from(size.0).map_err(too_big)
}

/// Refuses values that contradict each other.
fn check_relations(config: &Config) -> Result<(), Refusal> {
    let (key, value) = (config.key_bytes_max as u64, config.value_bytes_max as u64);
    let refuse = |reason| Err(Refusal::Together(reason));
    let line_bytes_min = limits::line_bytes_min(key, value);
    let line = config.line_bytes_max as u64;
    if line < line_bytes_min {
        return refuse(format!(
            "--max-line {} is too small for --max-key {} and --max-value {}: a line must hold both \
             with each byte escaped as two, so at least {}",
            SizeText(line),
            SizeText(key),
            SizeText(value),
            SizeText(line_bytes_min)
        ));
    }
    let write_set = config.write_set_bytes_max as u64;
    if write_set < key + value {
        return refuse(format!(
            "--max-write-set {} is too small for --max-key {} and --max-value {}: a transaction \
             must be able to write one pair, so at least {}",
            SizeText(write_set),
            SizeText(key),
            SizeText(value),
            SizeText(key + value)
        ));
    }
    if let Some(memory) = config.memory_bytes_max.filter(|&max| max < limits::MEMORY_BYTES_MIN) {
        return refuse(format!(
            "--max-memory {} is less than a server takes without any data: at least {}",
            SizeText(memory),
            SizeText(limits::MEMORY_BYTES_MIN)
        ));
    }
    if let Storage::Directory(directory) = &config.storage {
        check_files(directory, write_set)?;
    }
    if config.session_transactions_max > config.transactions_max {
        return refuse(format!(
            "--max-session-transactions {} is more than --max-transactions {}: one session cannot \
             have more than the server",
            config.session_transactions_max, config.transactions_max
        ));
    }
    if config.listen.len() > limits::LISTENERS_MAX {
        let (given, most) = (config.listen.len(), limits::LISTENERS_MAX);
        return refuse(format!("--listen is given {given} times: expected at most {most}"));
    }
    Ok(())
}

fn check_files(directory: &DataDirectory, write_set: u64) -> Result<(), Refusal> {
    if write_set > WRITE_SET_BYTES_MAX_WITH_FILES {
        return Err(Refusal::Together(format!(
            "--max-write-set {} is more than one record of the log holds: at most {} with files",
            SizeText(write_set),
            SizeText(WRITE_SET_BYTES_MAX_WITH_FILES)
        )));
    }
    let log_bytes_min = limits::log_bytes_min(directory.checkpoint_log_bytes, write_set);
    if directory.log_bytes_max < log_bytes_min {
        return Err(Refusal::Together(format!(
            "--max-log {} is too small for --checkpoint-log {} and --max-write-set {}: while so \
             much is folded, as much again may be written, so at least {}",
            SizeText(directory.log_bytes_max),
            SizeText(directory.checkpoint_log_bytes),
            SizeText(write_set),
            SizeText(log_bytes_min)
        )));
    }
    let within = directory.backup_dir.as_ref().filter(|dir| directory.contains(dir));
    if let Some(dir) = within {
        return Err(Refusal::Together(format!(
            "--backup-dir {} is within --data-dir {}: a backup must not be taken for the data, so \
             expected another directory, best on another disk",
            dir.display(),
            directory.path.display()
        )));
    }
    Ok(())
}

/// Bytes that one transaction may write when there are files. A commit is one record of the log, of
/// less than 1 GiB, and SQLite takes values of less than 1 GB.
const WRITE_SET_BYTES_MAX_WITH_FILES: u64 = 900 << 20;

/// Makes sure that every connection can have a file descriptor. A number that the operator chose is
/// never lowered behind his back; the default is, because it was nobody's choice.
fn fit_descriptors(
    config: &mut Config,
    descriptors_max: Option<usize>,
    is_explicit: bool,
) -> Result<(), Refusal> {
    let Some(descriptors_max) = descriptors_max else { return Ok(()) };
    let wanted = config.connections_max;
    let room = descriptors_max.saturating_sub(limits::DESCRIPTORS_RESERVED);
    if wanted <= room {
        return Ok(());
    }
    let needed = wanted + limits::DESCRIPTORS_RESERVED;
    if is_explicit || room == 0 {
        return Err(Refusal::Together(format!(
            "--max-connections {wanted} needs {needed} file descriptors and this process may open \
             {descriptors_max}: raise the limit (ulimit -n {needed}), or lower --max-connections \
             to at most {room}"
        )));
    }
    config.connections_max = room;
    config.warnings.push(format!(
        "only {room} connections are possible, because this process may open {descriptors_max} \
         files; for {wanted}, raise the limit first (ulimit -n {needed})"
    ));
    Ok(())
}

/// Adds what is allowed but may not be what the operator thinks it is.
fn warn_of_catches(config: &mut Config) {
    let all = config.listen.iter().chain(&config.http);
    for endpoint in all.filter(|endpoint| endpoint.is_public()) {
        config.warnings.push(format!(
            "{endpoint} can be reached from other machines, and there are no passwords: whoever \
             reaches it may read and change everything"
        ));
    }
}

/// The limit on open files, from where Linux shows it. Elsewhere it is not known, and a server that
/// runs into it pauses accepting instead.
fn descriptors_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    parse_descriptors_max(&limits)
}

fn parse_descriptors_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests;
