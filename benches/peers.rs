//! Systems to be compared with, as Debian has them: Redis, memcached and PostgreSQL.
//!
//! Each is started on loopback, on a free port, and ends with its handle, or with this process if
//! that is killed. Whatever is set besides says what has to be alike.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::process::{Server, find_program};

/// Memory that memcached may take, in MiB: more than any benchmark fills, so that nothing leaves.
const MEMCACHED_MIB: &str = "8192";
/// The user that PostgreSQL runs as where we are root, which it refuses to run as.
const POSTGRES_USER: &str = "postgres";
/// What PostgreSQL is given: memory for all rows, and room for its log, so that checkpoints come
/// by the clock as they do in a server that somebody has set up. All else is as it is by itself;
/// what durability and isolation depend on is named to be seen.
const POSTGRES_SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "fsync=on",
    "synchronous_commit=on",
    "default_transaction_isolation=serializable",
    "shared_buffers=1GB",
    "max_wal_size=4GB",
    "max_connections=200",
    "logging_collector=off",
];

/// A command that runs `program`, which ends by `signal` when this process does, however it ends.
///
/// `setpriv` is a part of every Debian; without it the program ends with its handle only.
fn command_tied_to_us(program: &Path, signal: &str, user: Option<&str>) -> Command {
    let Some(setpriv) = find_program("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", signal]);
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    command.arg("--").arg(program);
    command
}

/// Starts `program`, which is Redis or takes the same options, with nothing else set than these.
pub fn redis(program: &Path, words: &[&str]) -> Server {
    Server::start_on_port(|port| {
        let mut command = command_tied_to_us(program, "KILL", None);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]).args(words);
        command
    })
}

/// Starts memcached with its own number of threads.
pub fn memcached(program: &Path) -> Server {
    Server::start_on_port(|port| {
        let mut command = command_tied_to_us(program, "KILL", None);
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0"]);
        command.args(["-m", MEMCACHED_MIB, "-c", "4096"]);
        if is_root() {
            command.args(["-u", "root"]);
        }
        command
    })
}

/// Starts PostgreSQL with an empty cluster in `dir`, whose owner becomes the user that it runs as.
/// There is no password; the user is `postgres`, and so is the database.
///
/// # Errors
///
/// Why it cannot be started here.
pub fn postgres(dir: &Path) -> Result<Server, String> {
    let program = |name: &str| find_program(name).ok_or(format!("{name} is not installed"));
    let (initdb, postgres) = (program("initdb")?, program("postgres")?);
    let user = is_root().then_some(POSTGRES_USER);
    let cluster = dir.join("cluster");
    if let Some(user) = user {
        find_program("setpriv").ok_or("setpriv is not installed")?;
        run(Command::new("chown").arg(user).arg(dir))?;
    }
    let mut init = command_tied_to_us(&initdb, "KILL", user);
    init.args(["--username", "postgres", "--auth", "trust", "--encoding", "UTF8"]);
    init.args(["--locale", "C", "--no-sync", "--pgdata"]).arg(&cluster);
    run(init.current_dir("/"))?;
    // Which user may look into the directories above shows only now.
    let mut server = Server::start_on_port(|port| {
        let mut command = command_tied_to_us(&postgres, "QUIT", user);
        command.arg("-D").arg(&cluster).arg("-k").arg(dir).args(["-p", &port.to_string()]);
        POSTGRES_SETTINGS.iter().for_each(|setting| _ = command.args(["-c", setting]));
        command.current_dir("/").stderr(Stdio::null());
        command
    });
    // At SIGQUIT it ends its children too, and gives back what it shares with them.
    server.process = server.process.ended_by(Signal::QUIT);
    Ok(server)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// The programs of this machine that are compared with, and what they say of their versions.
pub fn versions() -> Vec<(&'static str, Option<String>)> {
    ["redis-server", "redis-benchmark", "memcached", "postgres"]
        .map(|name| (name, find_program(name).map(|path| version(&path))))
        .to_vec()
}

fn version(program: &PathBuf) -> String {
    let output = Command::new(program).arg("--version").output();
    let said = output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    said.lines().next().unwrap_or_default().to_owned()
}
