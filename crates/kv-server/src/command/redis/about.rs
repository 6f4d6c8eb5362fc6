//! COMMAND: what commands there are, those of the dialect and the native ones.

use kv_core::Pattern;
use kv_protocol::redis::{self, CommandCommand, REDIS_COMMANDS, RedisSpec};
use kv_protocol::resp::write;
use kv_protocol::{COMMANDS, CommandSpec, RespVersion};

use super::Client;
use super::client::help;

const HELP: [&str; 6] = [
    "COMMAND [<subcommand> [<arg> [value] [opt] ...]]. Subcommands are:",
    "(no subcommand), INFO [<name> ...]: about commands, in Redis's form.",
    "COUNT: how many there are.",
    "DOCS [<name> ...]: what they are for.",
    "LIST [FILTERBY PATTERN <pattern>]: their names.",
    "HELP: this.",
];

/// One command, of either kind.
#[derive(Clone, Copy)]
enum About {
    Dialect(&'static RedisSpec),
    Native(&'static CommandSpec),
}

impl About {
    fn name(self) -> String {
        match self {
            About::Dialect(spec) => spec.name.to_owned(),
            About::Native(spec) => spec.name.to_lowercase(),
        }
    }

    fn flags(self) -> Vec<&'static str> {
        match self {
            About::Dialect(spec) => spec.flags.to_vec(),
            About::Native(spec) => {
                let flags = spec.flags;
                let admin = flags.admin.then_some("admin");
                let kind = if flags.writes { "write" } else { "readonly" };
                admin.into_iter().chain([kind]).collect()
            }
        }
    }

    /// As COMMAND INFO has it.
    fn write_info(self, version: RespVersion, out: &mut Vec<u8>) {
        let (arity, keys) = match self {
            About::Dialect(spec) => (spec.arity, [spec.keys.first, spec.keys.last, spec.keys.step]),
            About::Native(_) => (-1, [0; 3]),
        };
        write::array(out, 10);
        write::bulk(out, self.name().as_bytes());
        write::integer(out, i64::from(arity));
        let flags = self.flags();
        write::set(out, version, flags.len());
        flags.iter().for_each(|flag| write::simple(out, flag));
        keys.iter().for_each(|at| write::integer(out, i64::from(*at)));
        // ACL categories, tips, key specifications, subcommands: clients do without them.
        write::set(out, version, 0);
        (0..3).for_each(|_| write::array(out, 0));
    }

    /// As COMMAND DOCS has it.
    fn write_docs(self, version: RespVersion, out: &mut Vec<u8>) {
        let (summary, since, group, syntax) = match self {
            About::Dialect(spec) => (spec.summary, spec.since, spec.group.as_str(), spec.syntax),
            About::Native(spec) => {
                let syntax = spec.syntax.split_once(' ').map_or("", |(_, rest)| rest);
                (spec.summary, "1.0.0", "native", syntax)
            }
        };
        write::bulk(out, self.name().as_bytes());
        let facts = [("summary", summary), ("since", since), ("group", group), ("syntax", syntax)];
        write::map(out, version, facts.len());
        for (name, fact) in facts {
            write::bulk(out, name.as_bytes());
            write::bulk(out, fact.as_bytes());
        }
    }
}

impl Client {
    pub(super) fn about_commands(&self, part: &CommandCommand<'_>, out: &mut Vec<u8>) {
        let version = self.dialect.version;
        match part {
            CommandCommand::All | CommandCommand::Info([]) => {
                let all = self.all_commands();
                write::array(out, all.len());
                all.into_iter().for_each(|about| about.write_info(version, out));
            }
            CommandCommand::Info(names) => {
                write::array(out, names.len());
                for name in *names {
                    match self.command_named(name) {
                        Some(about) => about.write_info(version, out),
                        None => write::null_array(out, version),
                    }
                }
            }
            CommandCommand::Docs(names) => {
                let meant = match names {
                    [] => self.all_commands(),
                    names => names.iter().filter_map(|name| self.command_named(name)).collect(),
                };
                write::map(out, version, meant.len());
                meant.into_iter().for_each(|about| about.write_docs(version, out));
            }
            CommandCommand::Count => {
                let count = self.all_commands().len();
                write::integer(out, i64::try_from(count).unwrap_or(i64::MAX));
            }
            CommandCommand::List(pattern) => {
                let pattern = pattern.map(|pattern| Pattern::glob(pattern).ok());
                let fits = |name: &String| match &pattern {
                    None => true,
                    Some(pattern) => {
                        pattern.as_ref().is_some_and(|pattern| pattern.matches(name.as_bytes()))
                    }
                };
                let names = self.all_commands().into_iter().map(About::name);
                let names: Vec<String> = names.filter(fits).collect();
                write::array(out, names.len());
                names.iter().for_each(|name| write::bulk(out, name.as_bytes()));
            }
            CommandCommand::ListNone => write::array(out, 0),
            CommandCommand::Help => help(&HELP, out),
        }
    }

    /// Those of the dialect, and the native ones whose names mean nothing else there.
    fn all_commands(&self) -> Vec<About> {
        let dialect = REDIS_COMMANDS.iter().filter(|spec| !self.is_disabled(spec, &[]));
        let native = COMMANDS.iter().filter(|spec| self.server.has_command(spec));
        let native = native.filter(|spec| redis::find(spec.name.as_bytes()).is_none());
        let dialect = dialect.map(|spec| About::Dialect(spec));
        dialect.chain(native.map(|spec| About::Native(spec))).collect()
    }

    fn command_named(&self, name: &[u8]) -> Option<About> {
        if let Some(spec) = redis::find(name) {
            return Some(About::Dialect(spec)).filter(|_| !self.is_disabled(spec, &[]));
        }
        let native = kv_protocol::command::find(name)?;
        let is_its_name = native.name.as_bytes().eq_ignore_ascii_case(name);
        let is_there = is_its_name && self.server.has_command(native);
        is_there.then_some(About::Native(native))
    }
}
