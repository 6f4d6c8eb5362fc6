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
mod value;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use kv_protocol::units::SizeText;

use self::file::Entry;
use self::flags::Flags;
pub use self::refusal::{Origin, Refusal};
pub use self::value::{Endpoint, History, LogFormat, LogLevel};
use crate::limits;

/// Every setting, checked. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; never empty.
    pub listen: Vec<Endpoint>,
    /// Whether the operator said that data need not be kept.
    pub in_memory: bool,
    /// Versions kept of each key.
    pub history: History,
    /// Parts of the store.
    pub shards: usize,
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

impl Config {
    /// Reads the configuration of this process.
    ///
    /// # Errors
    /// When a setting is refused or help was asked for: print the [`Refusal`] and exit with its
    /// code.
    pub fn from_process() -> Result<Self, Refusal> {
        Self::from_surroundings(&Surroundings {
            arguments: std::env::args_os().collect(),
            variable: &|name| std::env::var_os(name),
            descriptors_max: descriptors_max(),
            cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        })
    }

    /// Reads a configuration from what it is given.
    ///
    /// # Errors
    /// As [`Config::from_process`].
    pub fn from_surroundings(around: &Surroundings<'_>) -> Result<Self, Refusal> {
        let command = Flags::command();
        let given = command.clone().try_get_matches_from(&around.arguments).map_err(boxed)?;
        let entries = match config_file(&given, around) {
            Some(path) => file_entries(&command, &path)?,
            None => Vec::new(),
        };
        let added = added_flags(&command, &given, around, &entries)?;
        let program = around.arguments.iter().take(1).cloned();
        let rest = around.arguments.iter().skip(1).cloned();
        let all = program.chain(added).chain(rest);
        let matches = command.try_get_matches_from(all).map_err(boxed)?;
        let flags = Flags::from_arg_matches(&matches).map_err(boxed)?;
        let mut config = Self::from_flags(flags, around.cores)?;
        check_relations(&config)?;
        let is_explicit = is_given(&matches, "max_connections");
        fit_descriptors(&mut config, around.descriptors_max, is_explicit)?;
        warn_of_catches(&mut config);
        Ok(config)
    }

    fn from_flags(flags: Flags, cores: usize) -> Result<Self, Refusal> {
        let Flags { config: _, network, data, waiting, bounds, process } = flags;
        Ok(Self {
            listen: network.listen,
            in_memory: data.in_memory,
            history: data.history,
            shards: data.shards,
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

fn boxed(error: clap::Error) -> Refusal {
    Refusal::Flags(Box::new(error))
}

/// Whether a setting was given rather than left at its default.
fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

fn bytes_in_memory(name: &str, size: SizeText) -> Result<usize, Refusal> {
    let too_big =
        |_| Refusal::Together(format!("--{name} {size} is more than this machine can address"));
    usize::try_from(size.0).map_err(too_big)
}

/// The file to read: the flag's, else the environment's.
fn config_file(given: &ArgMatches, around: &Surroundings<'_>) -> Option<PathBuf> {
    let flag = given.get_one::<PathBuf>("config").cloned();
    let variable = || (around.variable)("KV_CONFIG").filter(|path| !path.is_empty());
    flag.or_else(|| variable().map(PathBuf::from))
}

/// The entries of the file, each checked against the flag of its name.
fn file_entries(command: &Command, path: &Path) -> Result<Vec<Entry>, Refusal> {
    let entries = file::read(path)?;
    for entry in &entries {
        let refuse = |reason| Refusal::Setting {
            origin: Origin::File(path.into(), entry.line),
            name: entry.name.clone(),
            reason,
        };
        let Some((_, is_repeatable)) = settings(command).find(|(name, _)| *name == entry.name)
        else {
            let names: Vec<_> = settings(command).map(|(name, _)| name).collect();
            return Err(refuse(format!("no such setting; there are {}", names.join(", "))));
        };
        if entry.is_list && !is_repeatable {
            return Err(refuse("expected one value, not a list".to_owned()));
        }
        for value in &entry.values {
            check_value(command, &entry.name, value).map_err(refuse)?;
        }
    }
    Ok(entries)
}

/// What the environment and the file say about settings that were not given as flags, as flags.
fn added_flags(
    command: &Command,
    given: &ArgMatches,
    around: &Surroundings<'_>,
    entries: &[Entry],
) -> Result<Vec<OsString>, Refusal> {
    let mut added = Vec::new();
    for (name, _) in settings(command) {
        let variable = format!("KV_{}", name.replace('-', "_").to_ascii_uppercase());
        let from_variable = (around.variable)(&variable).filter(|value| !value.is_empty());
        let mut values = Vec::new();
        if let Some(value) = from_variable {
            let refuse = |reason| Refusal::Setting {
                origin: Origin::Variable(variable.clone()),
                name: name.to_owned(),
                reason,
            };
            let text = value.into_string().map_err(|_| refuse("expected UTF-8".to_owned()))?;
            check_value(command, name, &text).map_err(refuse)?;
            values.push(text);
        } else if let Some(entry) = entries.iter().find(|entry| entry.name == name) {
            values.clone_from(&entry.values);
        }
        if !is_given(given, &name.replace('-', "_")) {
            added.extend(values.iter().map(|value| OsString::from(format!("--{name}={value}"))));
        }
    }
    Ok(added)
}

/// The names of all settings, and whether each may be given more than once.
fn settings(command: &Command) -> impl Iterator<Item = (&str, bool)> {
    let named = command.get_arguments().filter_map(|flag| {
        let name = flag.get_long()?;
        Some((name, matches!(flag.get_action(), ArgAction::Append)))
    });
    named.filter(|(name, _)| !matches!(*name, "config" | "help" | "version"))
}

/// Has the flag `name` read `value`; answers what it expected if it cannot.
fn check_value(command: &Command, name: &str, value: &str) -> Result<(), String> {
    let line = ["kv-server".to_owned(), format!("--{name}={value}")];
    let Err(error) = command.clone().try_get_matches_from(line) else {
        return Ok(());
    };
    let reason = match std::error::Error::source(&error) {
        Some(reason) => reason.to_string(),
        None => match error.get(clap::error::ContextKind::ValidValue) {
            Some(valid) => format!("expected one of {valid}"),
            None => "expected a value".to_owned(),
        },
    };
    Err(format!("{reason}, found \"{}\"", value.escape_debug()))
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
    if !config.in_memory {
        let warning = "nothing is kept yet: all data is in memory and gone when the server stops; \
                       --in-memory says that this is meant";
        config.warnings.push(warning.to_owned());
    }
    for endpoint in config.listen.iter().filter(|endpoint| endpoint.is_public()) {
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
