//! `\commands`: what this program does itself.

use std::io::{self, Write};
use std::process::Command;
use std::time::Duration;

use super::{Next, Repl};
use crate::exit::Failure;
use crate::face::{self, Face};
use crate::interrupts::Interrupts;
use crate::render::Format;
use crate::statement::Statements;
use crate::style::Style;

/// What can be typed, and what it does.
pub(super) const META_COMMANDS: [(&str, &str); 11] = [
    ("\\h", "what this program does itself; HELP is the server's"),
    ("\\q", "leave"),
    ("\\format FORMAT", "show replies as text, raw, table, json, ndjson or csv"),
    ("\\timing", "tell how long each command took, or no longer"),
    ("\\watch SECONDS COMMAND", "run it again and again until Ctrl-C; what has changed is bold"),
    ("\\e", "edit the last command in $EDITOR, then run it"),
    ("\\i FILE", "run the statements of a file"),
    ("\\connect ADDRESS", "go to another server"),
    ("\\curl", "print the last command as one for curl (with the server's HTTP face)"),
    ("\\nc", "print it as one for netcat"),
    ("\\rust", "print it as Rust"),
];

impl Repl {
    /// Does what a line that begins with a backslash says; what is wrong is told.
    pub(super) fn meta(&mut self, line: &str) -> Result<Next, Failure> {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        let done = match name {
            "\\q" => return Ok(if self.may_leave()? { Next::Leave } else { Next::GoOn }),
            "\\h" | "\\?" => help(),
            "\\format" => self.set_format(rest),
            "\\timing" => {
                self.tells_time = !self.tells_time;
                say(if self.tells_time { "timing is on" } else { "timing is off" })
            }
            "\\watch" => self.watch(rest),
            "\\e" => self.edit(),
            "\\i" => self.include(rest),
            "\\connect" if !self.may_leave()? => return Ok(Next::GoOn),
            "\\connect" => match self.go_to(rest) {
                Ok(()) => say(&format!("now at {}", self.shell.client().address())),
                Err(error) => Err(error.into()),
            },
            "\\curl" => self.show_as(Face::Curl),
            "\\nc" => self.show_as(Face::Netcat),
            "\\rust" => self.show_as(Face::Rust),
            other => Err(Failure::usage(format!("there is no {other}; \\h lists what there is"))),
        };
        if let Err(failure) = done {
            let palette = self.shell.palette;
            writeln!(io::stdout(), "{} {failure}", palette.paint(Style::Bad, "error:"))?;
        }
        Ok(Next::GoOn)
    }

    fn set_format(&mut self, name: &str) -> Result<(), Failure> {
        self.shell.format = <Format as clap::ValueEnum>::from_str(name, true).map_err(|_| {
            Failure::usage("\\format takes one of text, raw, raw0, table, json, ndjson and csv")
        })?;
        Ok(())
    }

    fn show_as(&self, face: Face) -> Result<(), Failure> {
        let Some(last) = &self.last else {
            return Err(Failure::usage("there is no command yet to show"));
        };
        say(&face::of(face, last, &self.shell.client().address())?)
    }

    fn watch(&mut self, rest: &str) -> Result<(), Failure> {
        let usage = || Failure::usage("\\watch takes seconds and a command: \\watch 2 COUNT");
        let (seconds, statement) = rest.split_once(' ').ok_or_else(usage)?;
        let seconds: f64 = seconds.parse().map_err(|_| usage())?;
        if !(0.05..=86_400.0).contains(&seconds) {
            return Err(Failure::usage("\\watch takes 0.05 to 86400 seconds"));
        }
        let every = Duration::from_secs_f64(seconds);
        let interrupts = Interrupts::listen()?;
        let palette = self.shell.palette;
        let mut before: Vec<String> = Vec::new();
        loop {
            let mut shown = Vec::new();
            self.shell.run(statement.as_bytes(), &mut shown)?;
            let lines: Vec<String> =
                String::from_utf8_lossy(&shown).lines().map(str::to_owned).collect();
            let mut out = io::stdout().lock();
            // Clear, and begin above.
            write!(out, "\x1b[2J\x1b[H")?;
            let heading = format!("every {seconds} s: {statement}   (Ctrl-C ends)\n");
            writeln!(out, "{}", palette.paint(Style::Dim, heading))?;
            for line in &lines {
                let has_changed = !before.is_empty() && !before.contains(line);
                match has_changed {
                    true => writeln!(out, "{}", palette.paint(Style::Bold, line.as_str()))?,
                    false => writeln!(out, "{line}")?,
                }
            }
            out.flush()?;
            drop(out);
            before = lines;
            if interrupts.came_within(every) {
                return say("");
            }
        }
    }

    /// Hands the last statement to an editor and runs what comes back.
    fn edit(&mut self) -> Result<(), Failure> {
        let editor = std::env::var("VISUAL").or_else(|_| std::env::var("EDITOR"));
        let editor = editor.unwrap_or_else(|_| "vi".to_owned());
        let file = tempfile::Builder::new().prefix("kv-").suffix(".kv").tempfile()?;
        std::fs::write(file.path(), self.last.as_deref().unwrap_or_default())?;
        // An editor with options is a command of the shell.
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("{editor} \"$1\""))
            .arg("sh")
            .arg(file.path())
            .status()
            .map_err(|error| Failure::io(format!("cannot run {editor}"), &error))?;
        if !status.success() {
            return Err(Failure::usage(format!("{editor} ended with {status}: nothing was run")));
        }
        let text = std::fs::read(file.path())?;
        let mut statements = Statements::new(&text[..]);
        while let Some(statement) = statements.next()? {
            say(&String::from_utf8_lossy(&statement.text))?;
            if !self.statement(&statement.text) {
                break;
            }
        }
        Ok(())
    }

    /// Runs the statements of a file up to the first that fails.
    fn include(&mut self, path: &str) -> Result<(), Failure> {
        let file = std::fs::File::open(path).map_err(|error| Failure::io(path, &error))?;
        let mut statements = Statements::new(io::BufReader::new(file));
        while let Some(statement) = statements.next()? {
            self.shell.run(&statement.text, &mut io::stdout().lock()).map_err(|failure| {
                Failure::new(failure.exit, format!("{path}:{}: {failure}", statement.line))
            })?;
        }
        Ok(())
    }
}

fn help() -> Result<(), Failure> {
    let width = META_COMMANDS.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, does) in META_COMMANDS {
        say(&format!("{name:width$}  {does}"))?;
    }
    say(
        "A quote that is not closed goes on in the next line; so does PUT key <<WORD, up to WORD.",
    )?;
    say("A line that begins with a space is not remembered.")
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}
