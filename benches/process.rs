//! Other processes: servers to measure, this program once more, and what the kernel counts.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// What /proc counts processor time in; it is the same on every Linux that is not very old.
const CLOCK_TICKS_PER_SECOND: f64 = 100.0;
const START_MAX: Duration = Duration::from_secs(20);

/// Resident memory of a process in bytes.
pub fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

/// Processor time of a process since it began, in user and kernel mode, in seconds.
pub fn cpu_seconds(process: u32) -> f64 {
    stat_cpu_seconds(&std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap())
}

/// Processor time of a process, of its children, and of those that it has waited for: that of a
/// server which has a process for each client.
pub fn cpu_seconds_with_children(process: u32) -> f64 {
    let read = |id: u32| std::fs::read_to_string(format!("/proc/{id}/stat")).ok();
    let id_of = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| id_of(entry.unwrap()));
    // A process may end between being listed and being read.
    let children = processes.filter_map(read).filter(|stat| field(stat, 4) == f64::from(process));
    let own = read(process).unwrap();
    let ended = (field(&own, 16) + field(&own, 17)) / CLOCK_TICKS_PER_SECOND;
    stat_cpu_seconds(&own) + ended + children.map(|stat| stat_cpu_seconds(&stat)).sum::<f64>()
}

fn stat_cpu_seconds(stat: &str) -> f64 {
    (field(stat, 14) + field(stat, 15)) / CLOCK_TICKS_PER_SECOND
}

/// A number of /proc/…/stat; they are counted from 1.
fn field(stat: &str, nth: usize) -> f64 {
    // The name in parentheses may hold blanks; what follows it is counted from field 3.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(nth - 3).unwrap().parse().unwrap()
}

/// How many file descriptors a process has open.
pub fn descriptors_open(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// A command that runs `program` with as many file descriptors as the system allows.
pub fn command_with_descriptors(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -H -n)\"; exec \"$0\" \"$@\""]).arg(program);
    command
}

/// The path of a program: on PATH, or where Debian has those of PostgreSQL.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path()).collect();
        versions.sort();
        places.extend(versions.into_iter().rev().map(|version| version.join("bin")));
    }
    places.into_iter().map(|place| place.join(name)).find(|path| path.is_file())
}

/// A process that ends with its handle.
#[derive(Debug)]
pub struct Running {
    child: Child,
    ending: Signal,
}

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Running {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Running { child, ending: Signal::KILL }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it ended by a signal at which it cleans up, rather than by SIGKILL.
    #[must_use]
    pub fn ended_by(self, ending: Signal) -> Running {
        // Not `Running { ending, ..self }`: a type with a destructor cannot be taken apart.
        let mut running = self;
        running.ending = ending;
        running
    }

    /// Asks it to end as an operator does (SIGTERM), and waits until it has.
    pub fn stop(self) {
        drop(self.ended_by(Signal::TERM));
    }

    /// One line of what it prints.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let output = self.child.stdout.as_mut().unwrap();
        let mut byte = [0];
        // Byte by byte: the child says little, and nothing behind the line may be taken.
        while output.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is as well.
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), self.ending);
        let _ = self.child.wait();
    }
}

/// A server that is being measured.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Running,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts the server at `path` with an empty store in memory that keeps one version of each
    /// key.
    pub fn start(path: &Path, more: &[&str]) -> Server {
        let mut words = vec!["--in-memory", "--history", "1"];
        words.extend(more);
        Server::start_with(path, &words)
    }

    /// Starts the server at `path` with what is in a data directory.
    pub fn start_durable(path: &Path, dir: &Path, more: &[&str]) -> Server {
        let mut words = vec!["--data-dir", dir.to_str().unwrap()];
        words.extend(more);
        Server::start_with(path, &words)
    }

    /// Starts the server at `path` as it does by itself, but for these options and its port.
    /// Returns as soon as it listens.
    pub fn start_with(path: &Path, words: &[&str]) -> Server {
        let mut command = command_with_descriptors(path);
        command.args(["--listen", "127.0.0.1:0"]).args(words);
        let mut process = Running::start(command.stderr(Stdio::piped()));
        let mut lines = BufReader::new(process.child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(line) = lines.next() else {
                panic!("the server ended before it listened: {}", said.join("\n"));
            };
            let line = line.unwrap();
            let rest = line.split_once("listening on ").map(|(_, rest)| rest);
            if let Some(address) = rest.and_then(|rest| rest.split(' ').next()) {
                break address.parse().unwrap();
            }
            said.push(line);
        };
        // What it logs later is read, so that it never waits for us.
        thread::spawn(move || lines.for_each(drop));
        Server { process, address }
    }

    /// Starts `redis-server`, which keeps nothing on disk.
    pub fn start_redis() -> Server {
        Server::start_redis_with(&["--appendonly", "no"])
    }

    /// Starts `redis-server` so that every reply waits until its command is on disk, in files in
    /// `dir`.
    pub fn start_redis_durable(dir: &Path) -> Server {
        let dir = dir.to_str().unwrap();
        Server::start_redis_with(&["--appendonly", "yes", "--appendfsync", "always", "--dir", dir])
    }

    fn start_redis_with(words: &[&str]) -> Server {
        Server::start_on_port(|port| {
            let mut command = Command::new("redis-server");
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            command.args(words);
            command
        })
    }

    /// Starts a program that is told its port, and returns as soon as it listens there.
    pub fn start_on_port(command: impl FnOnce(u16) -> Command) -> Server {
        // Another program may take the port meanwhile; then this one ends, and says why.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = command(address.port());
        let mut process = Running::start(command.stdout(Stdio::null()));
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended before it listened: {ended:?}");
            assert!(started.elapsed() < START_MAX, "{command:?} does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Server { process, address }
    }
}

/// Whether `redis-server` can be started.
pub fn has_redis() -> bool {
    let mut command = Command::new("redis-server");
    command.arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The server's binary: the one that was named, or one built now like this benchmark was.
pub fn server_binary(named: Option<String>) -> PathBuf {
    if let Some(path) = named {
        return path.into();
    }
    // This program is target/PROFILE/deps/NAME.
    let program = std::env::current_exe().unwrap();
    let profile = program.ancestors().nth(2).unwrap();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--package", "kv-server", "--bin", "kv-server"]);
    build.arg("--target-dir").arg(profile.parent().unwrap());
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "kv-server cannot be built");
    profile.join("kv-server")
}

/// This program once more, as a child that is told by its arguments what to do.
pub fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_for_this_process() {
        let me = std::process::id();
        assert!(resident_bytes(me) > 100 << 10);
        assert!(descriptors_open(me) >= 3);
        let before = cpu_seconds(me);
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(60) {}
        assert!(cpu_seconds(me) > before);
    }

    #[test]
    fn a_child_has_every_descriptor_it_may_have() {
        let mut command = command_with_descriptors(Path::new("sh"));
        command.args(["-c", "echo $(ulimit -n) $(ulimit -H -n)"]).stdout(Stdio::piped());
        let line = Running::start(&mut command).line();
        let (soft, hard) = line.split_once(' ').unwrap();
        assert_eq!(soft, hard);
    }
}
