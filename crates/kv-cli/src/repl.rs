//! The REPL: a line editor around a [`Shell`].
//!
//! ```text
//!   helper   what the editor asks while a line is typed: completion, hints, colours, is it whole
//!   lookup   what completion knows of the server, within a bound of time
//!   prompt   where we are and what is open
//!   history  what is remembered of what was typed, and what is not
//!   meta     \commands
//! ```

mod helper;

mod history;

mod lookup;

mod meta;

mod prompt;

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use kv_client::blocking::Client;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, CompletionType, Config, Editor};

use crate::args::Options;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::render::Format;
use crate::shell::Shell;
use crate::statement::{is_blank, one_line};
use crate::style::{Palette, Style};
use helper::{Helper, State};
use lookup::Lookup;

/// A session at a terminal, until it is left.
pub(crate) fn run(client: Client, options: &Options) -> Result<Exit, Failure> {
    Repl::new(client, options)?.run()
}

struct Repl {
    shell: Shell,
    options: Options,
    editor: Editor<Helper, FileHistory>,
    /// What the helper shows, shared with it.
    state: Rc<RefCell<State>>,
    tells_time: bool,
    /// The last statement that was sent.
    last: Option<Vec<u8>>,
}

impl Repl {
    fn new(client: Client, options: &Options) -> Result<Self, Failure> {
        let palette = Palette::of_stdout();
        let config = Config::builder()
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .color_mode(if palette.is_on { ColorMode::Enabled } else { ColorMode::Disabled })
            .build();
        let lookup = Lookup::new(&client.address(), options);
        let state = Rc::new(RefCell::new(State { palette, lookup, open: Vec::new() }));
        let mut editor = Editor::with_config(config).map_err(terminal)?;
        editor.set_helper(Some(Helper::new(Rc::clone(&state))));
        let mut repl = Repl {
            shell: Shell::new(client, options.format().unwrap_or(Format::Text), palette),
            options: options.clone(),
            editor,
            state,
            tells_time: false,
            last: None,
        };
        history::load(&mut repl.editor);
        Ok(repl)
    }

    fn run(mut self) -> Result<Exit, Failure> {
        self.greet()?;
        loop {
            self.state.borrow_mut().open = self.shell.open().to_vec();
            let prompt = prompt::of(&self.shell);
            match self.editor.readline(&prompt) {
                Ok(line) => {
                    if self.did(&line)? == Next::Leave {
                        break;
                    }
                }
                // Ctrl-C clears the line.
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => {
                    if self.may_leave()? {
                        break;
                    }
                }
                Err(error) => return Err(terminal(error)),
            }
        }
        Ok(Exit::Ok)
    }

    fn greet(&mut self) -> Result<(), Failure> {
        let version = self.shell.client().version()?;
        let palette = self.shell.palette;
        let text = format!(
            "{version}. HELP lists the commands, \\h what this program adds; Tab completes."
        );
        writeln!(io::stdout(), "{}", palette.paint(Style::Dim, text))?;
        Ok(())
    }

    /// Does what was typed.
    fn did(&mut self, typed: &str) -> Result<Next, Failure> {
        if is_blank(typed.as_bytes()) {
            return Ok(Next::GoOn);
        }
        history::add(&mut self.editor, typed);
        if typed.trim_start().starts_with('\\') {
            return self.meta(typed.trim());
        }
        let statement = one_line(typed.as_bytes());
        if crate::shell::verb(&statement) == b"QUIT" {
            return Ok(if self.may_leave()? { Next::Leave } else { Next::GoOn });
        }
        self.statement(&statement);
        Ok(Next::GoOn)
    }

    /// Sends a statement and shows the reply, or what is wrong; whether it was done.
    fn statement(&mut self, statement: &[u8]) -> bool {
        let mut out = io::stdout().lock();
        let done = self.shell.run(statement, &mut out);
        let palette = self.shell.palette;
        let is_done = done.is_ok();
        let shown = match done {
            Ok(outcome) if self.tells_time => {
                let took = format!("took {:.3} ms", outcome.took.as_secs_f64() * 1000.0);
                writeln!(out, "{}", palette.paint(Style::Dim, took))
            }
            Ok(_) => Ok(()),
            Err(failure) => writeln!(out, "{} {failure}", palette.paint(Style::Bad, "error:")),
        };
        // A terminal that has gone is noticed by the editor.
        drop(shown);
        self.last = Some(statement.to_vec());
        is_done
    }

    /// Whether the person means to leave, who is asked if that undoes something.
    fn may_leave(&self) -> Result<bool, Failure> {
        let open = self.shell.open().len();
        if open == 0 || self.options.yes {
            return Ok(true);
        }
        let noun = if open == 1 { "transaction is" } else { "transactions are" };
        let question = format!("{open} {noun} open and will be rolled back. Leave? [y/N] ");
        Ok(connect::ask(&question)?.is_some_and(|answer| answer.eq_ignore_ascii_case("y")))
    }

    /// Goes to another server.
    fn go_to(&mut self, address: &str) -> Result<(), kv_client::Error> {
        let client = connect::connect(address, &self.options)?;
        self.state.borrow_mut().lookup = Lookup::new(address, &self.options);
        self.shell.change_to(client);
        Ok(())
    }
}

/// What comes after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Leave,
}

fn terminal(error: ReadlineError) -> Failure {
    Failure::new(Exit::Failed, format!("the terminal cannot be used: {error}"))
}
