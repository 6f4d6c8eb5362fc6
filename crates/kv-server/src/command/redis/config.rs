//! CONFIG: the settings, under the flags' names, and under Redis's where it has the same.

use std::time::Duration;

use kv_core::Pattern;
use kv_protocol::redis::{ConfigCommand, Refusal};
use kv_protocol::resp::write;
use kv_protocol::units::{DurationText, parse_size};

use super::client::help;
use super::{Client, Run};
use crate::config::{Config, Durability, Eviction, Storage};
use crate::limits::{MEMORY_BYTES_CEILING, MEMORY_BYTES_MIN};
use crate::server::Server;

const HELP: [&str; 4] = [
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern> [<pattern> ...]: settings and their values.",
    "SET <name> <value> [<name> <value> ...]: maxmemory can be changed.",
    "HELP: this.",
];
/// The one setting that can be changed, in Redis's name and in ours.
const CHANGEABLE: [&str; 2] = ["maxmemory", "max-memory"];

impl Client {
    pub(super) fn config(&mut self, part: &ConfigCommand<'_>, out: &mut Vec<u8>) -> Run<()> {
        match part {
            ConfigCommand::Get(patterns) => self.get_config(patterns, out),
            ConfigCommand::Set(pairs) => {
                self.set_config(pairs)?;
                write::simple(out, "OK");
            }
            ConfigCommand::Help => help(&HELP, out),
        }
        Ok(())
    }

    fn get_config(&self, patterns: &[&[u8]], out: &mut Vec<u8>) {
        let patterns: Vec<Pattern> = patterns
            .iter()
            .filter_map(|pattern| Pattern::glob(&pattern.to_ascii_lowercase()).ok())
            .collect();
        let fits = |name: &str| patterns.iter().any(|pattern| pattern.matches(name.as_bytes()));
        let mut settings = settings(&self.server);
        settings.retain(|(name, _)| fits(name));
        write::map(out, self.dialect.version, settings.len());
        for (name, value) in settings {
            write::bulk(out, name.as_bytes());
            write::bulk(out, value.as_bytes());
        }
    }

    /// Sets all of it or nothing.
    fn set_config(&self, pairs: &[&[u8]]) -> Run<()> {
        let settings = settings(&self.server);
        let mut memory_bytes_max = None;
        for pair in pairs.chunks_exact(2) {
            let [name, value] = [pair[0], pair[1]].map(String::from_utf8_lossy);
            let is_it = |(known, _): &&(&str, String)| known.eq_ignore_ascii_case(&name);
            let Some((known, now)) = settings.iter().find(is_it) else {
                let text =
                    format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
                return Err(Refusal::from(text).into());
            };
            let failed = |why: &str| {
                let text = format!(
                    "ERR CONFIG SET failed (possibly related to argument '{known}') - {why}"
                );
                Refusal::from(text)
            };
            if *now == *value {
                continue;
            }
            if !CHANGEABLE.contains(known) {
                return Err(failed("can't set immutable config").into());
            }
            if self.server.memory_bytes_max().is_none() {
                let why = "the server was started without --max-memory, and counts nothing";
                return Err(failed(why).into());
            }
            let possible = MEMORY_BYTES_MIN..=MEMORY_BYTES_CEILING;
            let bytes = parse_size(&value).ok().filter(|bytes| possible.contains(bytes));
            let why = "argument must be a memory value of at least 32mb, such as 512mb";
            memory_bytes_max = Some(bytes.ok_or_else(|| failed(why))?);
        }
        if let Some(bytes) = memory_bytes_max {
            self.server.set_memory_bytes_max(bytes);
        }
        Ok(())
    }
}

/// Every setting with its value.
fn settings(server: &Server) -> Vec<(&'static str, String)> {
    let config = server.config();
    let mut settings = of_redis(config, server.memory_bytes_max());
    settings.extend(of_server(config));
    settings.extend(of_files(config));
    settings
}

/// Those that Redis has, in its names and forms.
fn of_redis(config: &Config, memory_bytes_max: Option<u64>) -> Vec<(&'static str, String)> {
    let durability = match &config.storage {
        Storage::InMemory => None,
        Storage::Directory(directory) => Some(directory.durability),
    };
    let first = config.listen.first().map(ToString::to_string).unwrap_or_default();
    let (bind, port) = first.rsplit_once(':').unwrap_or(("", "0"));
    let sync = match durability {
        Some(Durability::Fsync) => "always",
        Some(Durability::Interval) => "everysec",
        Some(Durability::None) | None => "no",
    };
    let policy = match config.eviction {
        Eviction::None => "noeviction",
        Eviction::Lru | Eviction::S3Fifo => "allkeys-lru",
    };
    let text = |text: &str| text.to_owned();
    vec![
        ("appendfsync", text(sync)),
        ("appendonly", text(if durability.is_some() { "yes" } else { "no" })),
        ("bind", text(bind)),
        ("databases", text("1")),
        ("maxclients", config.connections_max.to_string()),
        ("maxmemory", memory_bytes_max.unwrap_or(0).to_string()),
        ("maxmemory-policy", text(policy)),
        ("port", text(port)),
        ("proto-max-bulk-len", config.value_bytes_max.to_string()),
        ("save", String::new()),
        ("timeout", text("0")),
    ]
}

fn of_server(config: &Config) -> Vec<(&'static str, String)> {
    let duration = |duration: Duration| DurationText(duration).to_string();
    vec![
        ("history", config.history.to_string()),
        ("idle-transaction-timeout", duration(config.idle_transaction_timeout)),
        ("lock-timeout", duration(config.lock_timeout)),
        ("max-connections", config.connections_max.to_string()),
        ("max-key", config.key_bytes_max.to_string()),
        ("max-line", config.line_bytes_max.to_string()),
        ("max-locks", config.locks_max.to_string()),
        ("max-nesting", config.nesting_max.to_string()),
        ("max-session-transactions", config.session_transactions_max.to_string()),
        ("max-transactions", config.transactions_max.to_string()),
        ("max-value", config.value_bytes_max.to_string()),
        ("max-view-age", duration(config.view_age_max)),
        ("max-write-set", config.write_set_bytes_max.to_string()),
        ("shards", config.shards.to_string()),
        ("threads", config.threads.to_string()),
        ("tombstone-retention", duration(config.tombstone_retention)),
    ]
}

fn of_files(config: &Config) -> Vec<(&'static str, String)> {
    let Storage::Directory(directory) = &config.storage else { return Vec::new() };
    vec![
        ("checkpoint-interval", DurationText(directory.checkpoint_interval).to_string()),
        ("checkpoint-log", directory.checkpoint_log_bytes.to_string()),
        ("dir", directory.path.display().to_string()),
        ("max-log", directory.log_bytes_max.to_string()),
    ]
}
