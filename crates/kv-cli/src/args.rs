//! The command line.
//!
//! Beside this program's own subcommands, every command of the server is one: `kv-cli get k`. They
//! come from the server's table of commands, so that `--help`, the completions of shells and the
//! man page know them all.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell as CompletionShell;
use kv_protocol::units::parse_duration;

use crate::exit::EXIT_CODES;
use crate::render::Format;

/// Talk to a kv server: a REPL on a terminal, one command, or a script.
#[derive(Debug, Parser)]
#[command(name = "kv-cli", version, after_help = after_help(), disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What holds for whatever is done.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The server: host:port, kv://user:password@host:port, or unix:PATH.
    ///
    /// A password on the command line can be seen by other users of the machine; KV_SERVER cannot.
    #[arg(short, long, env = "KV_SERVER", default_value = "127.0.0.1:7878", global = true)]
    #[arg(value_name = "ADDRESS", hide_env_values = true)]
    pub(crate) server: String,

    /// How replies are shown; without it text on a terminal, raw elsewhere.
    #[arg(long, value_enum, global = true, value_name = "FORMAT")]
    format: Option<Format>,
    /// The same as --format table.
    #[arg(long, global = true, conflicts_with = "format")]
    table: bool,
    /// The same as --format json: one object a reply.
    #[arg(long, global = true, conflicts_with_all = ["format", "table"])]
    json: bool,
    /// The same as --format ndjson: one object a row.
    #[arg(long, global = true, conflicts_with_all = ["format", "table", "json"])]
    ndjson: bool,
    /// The same as --format csv.
    #[arg(long, global = true, conflicts_with_all = ["format", "table", "json", "ndjson"])]
    csv: bool,
    /// The same as --format raw: bytes as they are.
    #[arg(long, global = true, conflicts_with_all = ["format", "table", "json", "ndjson", "csv"])]
    raw: bool,

    /// Run these statements, separated by `;`, and leave.
    #[arg(short = 'c', value_name = "STATEMENTS", conflicts_with = "file")]
    pub(crate) statements: Option<String>,
    /// Run the statements of a file, one a line, and leave; `-` is standard input.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Run all statements in one transaction: all are done, or none.
    #[arg(long)]
    pub(crate) txn: bool,
    /// Go on after a statement that fails.
    #[arg(long = "continue", conflicts_with = "txn")]
    pub(crate) goes_on: bool,

    /// How long a reply may take.
    #[arg(long, global = true, value_name = "DURATION", default_value = "5m")]
    #[arg(value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Do not ask before something is deleted in bulk or rolled back.
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
}

impl Options {
    /// The format that was chosen.
    pub(crate) fn format(&self) -> Option<Format> {
        let flags = [
            (self.table, Format::Table),
            (self.json, Format::Json),
            (self.ndjson, Format::Ndjson),
            (self.csv, Format::Csv),
            (self.raw, Format::Raw),
        ];
        let flag = flags.into_iter().find(|(is_given, _)| *is_given).map(|(_, format)| format);
        self.format.or(flag)
    }
}

/// What to do, but for the server's own commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write all pairs, or some, to a file or to standard output.
    Export(Export),
    /// Read pairs from a file or from standard input.
    Import(Import),
    /// Put load on a server and measure how it answers.
    Bench(Bench),
    /// Watch a server: rates, memory, log, transactions.
    Top(Top),
    /// Print a script that completes this program's command line in a shell.
    Completions {
        /// The shell.
        shell: CompletionShell,
    },
    /// Print this program's man page.
    Man,
    /// A command of the server, and its words.
    #[command(external_subcommand)]
    Server(Vec<OsString>),
}

/// What is exported.
#[derive(Clone, Debug, Args)]
pub(crate) struct Export {
    /// Where to; `-` is standard output. Its ending chooses the format.
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// ndjson, json or csv; without it what the file's name ends in, else ndjson.
    #[arg(id = "as", long = "as", value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Only keys that begin with this.
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Go on behind the last whole record of an NDJSON file. What was changed since it was written
    /// is not in it.
    #[arg(long)]
    pub(crate) resume: bool,
}

/// What is imported.
#[derive(Clone, Debug, Args)]
pub(crate) struct Import {
    /// Where from; `-` is standard input.
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// ndjson, json or csv; without it what the file's name ends in, else ndjson.
    #[arg(id = "as", long = "as", value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Records a transaction.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) batch: u64,
    /// Go on behind what an interrupted import has put: FILE.imported tells how far it came.
    #[arg(long)]
    pub(crate) resume: bool,
}

/// The load.
#[derive(Clone, Debug, Args)]
pub(crate) struct Bench {
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// Commands in flight on each.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// How long.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) time: Duration,
    /// Open loop: so many commands a second whatever the answers; latencies count from when each
    /// was due. Without it the next command is sent when the last is answered.
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// How many of a hundred commands are PUTs; the others are GETs.
    #[arg(long, value_name = "PERCENT", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) puts: u32,
    /// Keys to choose from, all below `bench:`, which are deleted afterwards unless --keep.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keys: u32,
    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1 << 24))]
    pub(crate) value: u32,
    /// Draw the latencies, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Leave the keys.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// The view.
#[derive(Clone, Debug, Args)]
pub(crate) struct Top {
    /// Between two looks.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub(crate) every: Duration,
    /// How many looks; without it until Ctrl-C.
    #[arg(long, value_name = "N")]
    pub(crate) looks: Option<u64>,
}

/// What stands below the options.
fn after_help() -> String {
    let names: Vec<String> =
        kv_protocol::COMMANDS.iter().map(|spec| spec.name.to_ascii_lowercase()).collect();
    format!(
        "Commands of the server, whose usage is told by `kv-cli help` and `kv-cli help put`:\n  \
         {}\n\nExamples:\n  \
         kv-cli                          a REPL\n  \
         kv-cli put house large          one command\n  \
         kv-cli put page -x < page.html  a value from standard input\n  \
         kv-cli get page > page.html     and back, byte for byte\n  \
         kv-cli --json scan prefix user: one object\n  \
         kv-cli -c 'BEGIN; PUT a 1; PUT b 2; COMMIT'\n  \
         kv-cli --txn -f changes.kv      all of a file, or nothing\n\n{EXIT_CODES}",
        names.join(" ")
    )
}

impl Cli {
    /// The command line, or what to print instead.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let matches: ArgMatches = Cli::command().try_get_matches_from(words)?;
        Cli::from_arg_matches(&matches)
    }

    /// All there is to type, the server's commands included: for help, completions and man page.
    pub(crate) fn documented() -> clap::Command {
        let mut all = Cli::command();
        for spec in kv_protocol::COMMANDS {
            let words = clap::Arg::new("words").num_args(0..).help(spec.syntax);
            let command = clap::Command::new(spec.name.to_ascii_lowercase())
                .about(spec.summary)
                .after_help(spec.detail)
                .arg(words);
            all = all.subcommand(command);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::documented().debug_assert();
    }

    fn read(line: &str) -> Cli {
        Cli::read(line.split(' ').map(OsString::from)).unwrap()
    }

    #[test]
    fn a_command_of_the_server_keeps_its_words() {
        let cli = read("kv-cli --json put k v EX 60");
        assert_eq!(cli.options.format(), Some(Format::Json));
        let Some(Command::Server(words)) = cli.command else { panic!("expected a command") };
        assert_eq!(words, ["put", "k", "v", "EX", "60"]);
    }

    #[test]
    fn formats_exclude_each_other() {
        assert!(Cli::read(["kv-cli", "--json", "--csv"].map(OsString::from)).is_err());
    }
}
