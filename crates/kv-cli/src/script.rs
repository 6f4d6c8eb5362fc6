//! Statements that nobody types: one command, `-c`, a file, a pipe.
//!
//! A script stops at its first error and says in which file and line; `--continue` has it go on,
//! and end with the code of the first. With `--txn` all of it is one transaction.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use kv_protocol::word::write_word;

use crate::args::Options;
use crate::exit::{Exit, Failure};
use crate::render::Format;
use crate::shell::{Shell, controls_transactions, verb};
use crate::statement::{Statement, Statements, split};

/// The statement that the words of the command line make. The word `-x` stands for what comes on
/// standard input, byte for byte.
pub(crate) fn statement_of(words: &[OsString]) -> Result<Vec<u8>, Failure> {
    let mut statement = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            statement.push(b' ');
        }
        if word == "-x" {
            let mut input = Vec::new();
            io::stdin().read_to_end(&mut input)?;
            write_word(&mut statement, &input);
            continue;
        }
        let bytes = word.as_encoded_bytes();
        if at > 0 && bytes.starts_with(b"--") && bytes.len() > 2 {
            let text = format!(
                "{} stands behind the server's command: options come before it (kv-cli --json \
                 get k); a key or value that looks like one is sent with -c or a script",
                word.display()
            );
            return Err(Failure::usage(text));
        }
        write_word(&mut statement, bytes);
    }
    Ok(statement)
}

/// Runs one command. Only here is "there is no such key" a code of its own, and a value in the raw
/// format comes without a line break, so that a file is written as it was read.
pub(crate) fn run_one(shell: &mut Shell, statement: &[u8]) -> Result<Exit, Failure> {
    let mut reply = Vec::new();
    let outcome = shell.run(statement, &mut reply)?;
    let is_exact = shell.format == Format::Raw && !io::stdout().is_terminal();
    if is_exact && crate::shell::verb(statement) == b"GET" {
        reply.pop();
    }
    let mut out = io::stdout();
    out.write_all(&reply)?;
    // What has no line break is otherwise written when nobody looks any more.
    out.flush()?;
    Ok(if outcome.is_missing { Exit::NotFound } else { Exit::Ok })
}

/// Runs the statements of `-c`.
pub(crate) fn run_text(shell: &mut Shell, text: &str, options: &Options) -> Result<Exit, Failure> {
    let mut statements = split(text.as_bytes()).into_iter();
    run(shell, "-c", || Ok(statements.next()), options)
}

/// Runs the statements of a file.
pub(crate) fn run_file(shell: &mut Shell, path: &Path, options: &Options) -> Result<Exit, Failure> {
    if path == Path::new("-") {
        return run_input(shell, options);
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::io(&name, &error))?;
    run_lines(shell, &name, BufReader::new(file), options)
}

/// Runs the statements of standard input.
pub(crate) fn run_input(shell: &mut Shell, options: &Options) -> Result<Exit, Failure> {
    run_lines(shell, "standard input", io::stdin().lock(), options)
}

fn run_lines(
    shell: &mut Shell,
    name: &str,
    input: impl BufRead,
    options: &Options,
) -> Result<Exit, Failure> {
    let mut statements = Statements::new(input);
    run(shell, name, || statements.next(), options)
}

fn run(
    shell: &mut Shell,
    name: &str,
    mut next: impl FnMut() -> io::Result<Option<Statement>>,
    options: &Options,
) -> Result<Exit, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if options.txn {
        shell.run(b"BEGIN", &mut io::sink())?;
    }
    let mut first_failure = None;
    while let Some(Statement { line, text }) = next()? {
        let done = match options.txn && controls_transactions(&verb(&text)) {
            true => Err(Failure::usage("with --txn the file is one transaction, and has none")),
            false => shell.run(&text, &mut out),
        };
        // Before the next statement waits, or a message goes to the other stream.
        out.flush()?;
        let Err(failure) = done else { continue };
        let text = format!("{name}:{line}: {failure}");
        if !options.goes_on {
            if options.txn && !shell.is_lost() {
                // If that fails, the end of the connection does the same.
                let _ = shell.run(b"ROLLBACK", &mut io::sink());
            }
            let undone = if options.txn { " (nothing of the file was done)" } else { "" };
            return Err(Failure::new(failure.exit, text + undone));
        }
        let exit = failure.exit;
        crate::report(&Failure::new(exit, text));
        first_failure.get_or_insert(exit);
    }
    if options.txn {
        shell.run(b"COMMIT", &mut io::sink())?;
    }
    Ok(first_failure.unwrap_or(Exit::Ok))
}
