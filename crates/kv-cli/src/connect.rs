//! Reaching a server, and what to offer a person when there is none.

use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kv_client::Error;
use kv_client::blocking::Client;

use crate::args::Options;
use crate::exit::{Exit, Failure};
use crate::style::{Palette, Style};

/// How long a server that was started may take to answer.
const START_MAX: Duration = Duration::from_secs(30);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Where a server that is started from the menu keeps its data, below the current directory.
const DATA_DIRECTORY: &str = "kv-data";

/// A client of the server that was named.
pub(crate) fn client(options: &Options) -> Result<Client, Failure> {
    Ok(connect(&options.server, options)?)
}

/// A client of this server, with these options.
pub(crate) fn connect(address: &str, options: &Options) -> Result<Client, Error> {
    Client::builder(address).reply_timeout(options.timeout).connect()
}

/// A client of the server that was named, or of the one that is chosen when that is not there.
pub(crate) fn or_menu(options: &Options) -> Result<Client, Failure> {
    let mut address = options.server.clone();
    loop {
        let error = match connect(&address, options) {
            Ok(client) => return Ok(client),
            Err(error @ Error::Connect { .. }) if io::stdout().is_terminal() => error,
            Err(error) => return Err(error.into()),
        };
        let palette = Palette::of_stdout();
        let mut out = io::stdout();
        writeln!(out, "{} {error}", palette.paint(Style::Bad, "error:"))?;
        let here = std::env::current_dir()?.join(DATA_DIRECTORY);
        writeln!(out, "\n  s  start a server here, with its data in {}", here.display())?;
        writeln!(out, "  c  connect to another one")?;
        writeln!(out, "  q  leave\n")?;
        match ask("What now? [s/c/q] ")?.as_deref() {
            Some("s") => start(&address, &here)?,
            Some("c") => match ask("Address: ")? {
                Some(other) if !other.is_empty() => address = other,
                _ => {}
            },
            Some("q") | None => {
                return Err(Failure::new(Exit::CannotConnect, String::new()));
            }
            Some(_) => {}
        }
    }
}

/// What a person answers; none at the end of the input.
pub(crate) fn ask(question: &str) -> io::Result<Option<String>> {
    let mut out = io::stdout();
    write!(out, "{question}")?;
    out.flush()?;
    let mut answer = String::new();
    let is_over = io::stdin().read_line(&mut answer)? == 0;
    Ok((!is_over).then(|| answer.trim().to_owned()))
}

/// Starts a server that outlives this program, and waits until it answers.
fn start(address: &str, data: &Path) -> Result<(), Failure> {
    let program = server_program();
    let listen = address.strip_prefix("kv://").unwrap_or(address);
    std::fs::create_dir_all(data)?;
    let log_path = data.join("server.log");
    let log = std::fs::File::options().create(true).append(true).open(&log_path)?;
    let mut server = Command::new(&program)
        .arg("--listen")
        .arg(listen)
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C here is not meant for it.
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::io(format!("cannot start {}", program.display()), &error))?;
    let began = Instant::now();
    while began.elapsed() < START_MAX {
        if let Some(status) = server.try_wait()? {
            let text = format!("the server ended at once ({status}); see {}", log_path.display());
            return Err(Failure::new(Exit::Failed, text));
        }
        if Client::builder(address).connect().is_ok() {
            let mut out = io::stdout();
            writeln!(
                out,
                "started server {} on {listen}; its messages are in {}; end it with kill {}",
                server.id(),
                log_path.display(),
                server.id()
            )?;
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
    let text = format!("the server does not answer; see {}", log_path.display());
    Err(Failure::new(Exit::CannotConnect, text))
}

/// The server's program: beside this one, or else the one on the path.
fn server_program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name("kv-server"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("kv-server"))
}
