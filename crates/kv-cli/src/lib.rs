//! The command line: a REPL, scripts, import and export, load, and a live view.
//!
//! ```text
//!   args ─► run ─┬─ repl      a terminal: completion, hints, prompt  ┐
//!                ├─ script    -c, -f, a pipe, or one command         ┴─► shell ─┐
//!                ├─ transfer  import and export ────────────────────────────────┼─► kv-client
//!                ├─ bench     load and latencies ───────────────────────────────┤
//!                └─ top       a live view ──────────────────────────────────────┘
//! ```
//!
//! Replies are shown by `render`, in one of seven formats; why the program ends is said by
//! [`Exit`], whose numbers scripts rely on.
//!
//! **Architecture invariant:** this crate speaks to a server through kv-client alone, and knows no
//! command by itself: what there is to type comes from the server, or from its table of commands.

mod exit;

mod args;

mod statement;

mod answer;

mod render;

mod style;

mod shell;

mod script;

mod connect;

mod interrupts;

mod repl;

mod face;

mod transfer;

mod bench;

mod top;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

pub use args::Cli;
pub use exit::{EXIT_CODES, Exit, Failure};

use args::Command;
use render::Format;
use shell::Shell;
use style::{Palette, Style};

/// Does what the command line says.
///
/// # Errors
///
/// What was not done, and what to end with because of it.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { options, command } = cli;
    match command {
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::documented(), "kv-cli", &mut script);
            write_out(&script)
        }
        Some(Command::Man) => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::documented()).render(&mut page)?;
            write_out(&page)
        }
        Some(Command::Export(export)) => transfer::export(&connect::client(&options)?, &export),
        Some(Command::Import(import)) => transfer::import(&connect::client(&options)?, &import),
        Some(Command::Bench(bench)) => bench::run(&options, &bench),
        Some(Command::Top(top)) => top::run(&connect::client(&options)?, &top),
        Some(Command::Server(words)) => {
            let statement = script::statement_of(&words)?;
            script::run_one(&mut shell(&options)?, &statement)
        }
        None => match (&options.statements, &options.file) {
            (Some(text), _) => script::run_text(&mut shell(&options)?, text, &options),
            (None, Some(path)) => script::run_file(&mut shell(&options)?, path, &options),
            (None, None) if io::stdin().is_terminal() => {
                repl::run(connect::or_menu(&options)?, &options)
            }
            (None, None) => script::run_input(&mut shell(&options)?, &options),
        },
    }
}

fn shell(options: &args::Options) -> Result<Shell, Failure> {
    let client = connect::client(options)?;
    Ok(Shell::new(client, format(options), Palette::of_stdout()))
}

/// The format that was chosen, or the one for where replies go.
fn format(options: &args::Options) -> Format {
    options.format().unwrap_or(match io::stdout().is_terminal() {
        true => Format::Text,
        false => Format::Raw,
    })
}

fn write_out(text: &[u8]) -> Result<Exit, Failure> {
    io::stdout().write_all(text)?;
    Ok(Exit::Ok)
}

/// Tells people what failed; answers what the program ends with.
pub fn report(failure: &Failure) -> ExitCode {
    if !failure.text.is_empty() {
        let palette = Palette { is_on: Palette::of_stdout().is_on && io::stderr().is_terminal() };
        let _ = writeln!(io::stderr(), "{} {failure}", palette.paint(Style::Bad, "error:"));
    }
    ExitCode::from(failure.exit as u8)
}
