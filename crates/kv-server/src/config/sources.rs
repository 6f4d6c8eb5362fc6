//! Brings the command line, the environment and the file together: what the latter two say about a
//! setting is put in front of the command line as a flag, unless the command line has it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command};

use super::Surroundings;
use super::file::{self, Entry};
use super::refusal::{Origin, Refusal};

/// Where a setting's value comes from; a later one wins over an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Default,
    File,
    Variable,
    Flag,
}

/// The values of a setting that was not given as a flag.
pub(super) struct Added {
    name: String,
    source: Source,
    values: Vec<String>,
}

impl Added {
    /// The same as flags.
    pub(super) fn flags(&self) -> impl Iterator<Item = OsString> {
        self.values.iter().map(|value| OsString::from(format!("--{}={value}", self.name)))
    }
}

/// Tells of each setting where its value comes from.
pub(super) struct Sources<'a> {
    pub(super) given: &'a ArgMatches,
    pub(super) added: &'a [Added],
}

impl Sources<'_> {
    pub(super) fn of(&self, name: &str) -> Source {
        if is_given(self.given, name) {
            return Source::Flag;
        }
        let added = self.added.iter().find(|added| added.name == name);
        added.map_or(Source::Default, |added| added.source)
    }
}

/// Whether a setting was given as a flag.
fn is_given(matches: &ArgMatches, name: &str) -> bool {
    matches.value_source(&name.replace('-', "_")) == Some(ValueSource::CommandLine)
}

/// The file to read: the flag's, else the environment's.
pub(super) fn config_file(given: &ArgMatches, around: &Surroundings<'_>) -> Option<PathBuf> {
    let flag = given.get_one::<PathBuf>("config").cloned();
    let variable = || (around.variable)("KV_CONFIG").filter(|path| !path.is_empty());
    flag.or_else(|| variable().map(PathBuf::from))
}

/// The entries of the file, each checked against the flag of its name.
pub(super) fn file_entries(command: &Command, path: &Path) -> Result<Vec<Entry>, Refusal> {
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

/// What the environment and the file say about settings that were not given as flags.
pub(super) fn added_flags(
    command: &Command,
    given: &ArgMatches,
    around: &Surroundings<'_>,
    entries: &[Entry],
) -> Result<Vec<Added>, Refusal> {
    let mut added = Vec::new();
    for (name, _) in settings(command) {
        let variable = format!("KV_{}", name.replace('-', "_").to_ascii_uppercase());
        let from_variable = (around.variable)(&variable).filter(|value| !value.is_empty());
        let (source, values) = if let Some(value) = from_variable {
            let refuse = |reason| Refusal::Setting {
                origin: Origin::Variable(variable.clone()),
                name: name.to_owned(),
                reason,
            };
            let text = value.into_string().map_err(|_| refuse("expected UTF-8".to_owned()))?;
            check_value(command, name, &text).map_err(refuse)?;
            (Source::Variable, vec![text])
        } else if let Some(entry) = entries.iter().find(|entry| entry.name == name) {
            (Source::File, entry.values.clone())
        } else {
            continue;
        };
        if !is_given(given, name) {
            added.push(Added { name: name.to_owned(), source, values });
        }
    }
    Ok(added)
}

/// The names of all settings, and whether each may be given more than once.
pub(super) fn settings(command: &Command) -> impl Iterator<Item = (&str, bool)> {
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
