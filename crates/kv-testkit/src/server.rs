//! The real server as a process, and clients that talk to it: what a test sees is what a user of
//! `nc` sees.
//!
//! A [`TestServer`] listens on a port that the system chooses. When the test is over and has not
//! failed, it asks the server whether anything is left of the clients that have gone: a lock, a
//! transaction, a read view, a broken invariant, a panic in its log. So every test of the server
//! is also a test of that; declare clients after the server, so that they go before it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// After so long without what must come, something hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that cannot be waited for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// A running server.
#[derive(Debug)]
pub struct TestServer {
    process: Process,
    address: SocketAddr,
    messages: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    may_panic: bool,
}

/// A process that does not outlive the test, however that ends.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl TestServer {
    /// Starts the program on a free port of this machine, with these flags besides.
    pub fn start(program: &str, flags: &[&str]) -> TestServer {
        let mut command = Command::new(program);
        command.args(["--in-memory", "--listen", "127.0.0.1:0"]).args(without_http(flags));
        command.args(flags);
        TestServer::start_command(command)
    }

    /// Starts the program with its data in a directory, on a free port of this machine.
    pub fn start_on(program: &str, directory: &Path, flags: &[&str]) -> TestServer {
        TestServer::start_command(on_directory(program, directory, flags))
    }

    /// Starts a command that is to listen on a TCP port and to say so.
    pub fn start_command(command: Command) -> TestServer {
        TestServer::try_start(command)
            .unwrap_or_else(|ended| panic!("the server does not say where it listens: {ended:?}"))
    }

    /// Starts a command, which listens on a TCP port and says so, or ends.
    ///
    /// # Errors
    ///
    /// How it ended.
    pub fn try_start(mut command: Command) -> Result<TestServer, Ended> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().expect("the server's program can be started");
        let mut process = Process(child);
        let (sender, addresses) = channel();
        let messages = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (process.0.stderr.take(), Arc::clone(&messages));
        let reader = std::thread::spawn(move || {
            for line in stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n')) {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line);
                if let Some(address) = announced(&line) {
                    let _ = sender.send(address);
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        match await_address(&addresses, &messages) {
            Some(address) => {
                let reader = Some(reader);
                Ok(TestServer { process, address, messages, reader, may_panic: false })
            }
            None => {
                let status = process.0.wait().expect("a child can be waited for");
                reader.join().expect("a reader does not fail");
                let messages = messages.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Err(Ended { code: status.code(), messages })
            }
        }
    }

    /// Says that this test makes the server panic.
    pub fn may_panic(&mut self) {
        self.may_panic = true;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has written to its standard error so far.
    pub fn messages(&self) -> String {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where it serves HTTP; it must have been told to.
    pub fn http_address(&self) -> String {
        let mut found = None;
        eventually("the server says where it serves HTTP", || {
            found = self.messages().lines().find_map(|line| {
                let address = line.strip_prefix("listening on ")?.strip_suffix(" (HTTP)")?;
                Some(address.to_owned())
            });
            found.is_some()
        });
        found.expect("it has been found")
    }

    /// A new client.
    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).expect("the server takes connections"))
    }

    /// The process.
    pub fn process_id(&self) -> u32 {
        self.process.0.id()
    }

    /// Its resident memory and the most that it ever was, in KiB. Linux only.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()));
        let status = status.expect("/proc tells about processes");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or_else(|| panic!("no {name} in {status}"))
        };
        (number("VmRSS:"), number("VmHWM:"))
    }

    /// Sends it a signal: `TERM`, `HUP`, `KILL`.
    pub fn signal(&self, name: &str) {
        signal(self.process.0.id(), name);
    }

    /// Kills it, as `kill -9` does, and waits until it is gone. Nothing is checked.
    pub fn kill(mut self) {
        self.process.0.kill().expect("a process can be killed, or is gone");
        self.wait_for_exit();
    }

    /// Waits until it has ended by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the server ends", || {
            ended = self.process.0.try_wait().expect("a child can be asked for");
            ended.is_some()
        });
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        ended.expect("it has ended")
    }

    /// Waits until its standard error holds a text.
    pub fn wait_for_message(&self, text: &str) {
        eventually(text, || self.messages().contains(text));
    }

    /// Waits until so many requests wait for a lock.
    pub fn wait_for_waits(&self, count: usize) {
        let mut observer = self.connect();
        eventually("requests wait", || {
            let rows = observer.ask_list("LOCKS");
            rows.iter().filter(|row| row.contains(" waiting ")).count() == count
        });
    }

    /// Waits until a counter of `STATS` has a value.
    pub fn wait_for_stat(&self, name: &str, value: u64) {
        let mut observer = self.connect();
        let row = format!("{name}={value}");
        eventually(&row, || observer.ask_list("STATS").contains(&row));
    }

    /// Waits until nothing is left of clients that have gone, and has the server check itself.
    pub fn check_idle(&self) {
        let nothing_open = ["transactions_open=0", "read_views_open=0", "lock_waits=0"];
        let mut seen = Vec::new();
        let started = Instant::now();
        loop {
            // A connection that is refused, because others are still being closed, asks again.
            let mut observer = self.connect();
            let locks = observer.ask_list("LOCKS");
            if !locks.iter().any(|line| line.starts_with("ERR LIMIT")) {
                let stats = observer.ask_list("STATS");
                let is_idle = stats[0].starts_with("ERR UNKNOWN ")
                    || nothing_open.iter().all(|row| stats.iter().any(|stat| stat == row));
                if locks == ["END 0"] && is_idle {
                    assert_eq!(observer.ask("CHECK"), "OK");
                    return;
                }
                seen = vec![locks, stats];
            }
            let waited = started.elapsed();
            assert!(waited < PATIENCE, "after all clients have gone there are still: {seen:?}");
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let is_running = matches!(self.process.0.try_wait(), Ok(None));
        if is_running && !std::thread::panicking() {
            self.check_idle();
        }
        // Its end is the end of what the reader reads.
        let _ = self.process.0.kill();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let messages = self.messages();
        if std::thread::panicking() {
            eprintln!("the server's messages:\n{messages}");
        } else {
            let has_panicked = messages.contains("panicked");
            assert!(self.may_panic || !has_panicked, "the server panicked:\n{messages}");
        }
    }
}

/// A program that did not stay.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard error.
    pub messages: String,
}

/// The command that starts the program with its data in a directory.
pub fn on_directory(program: &str, directory: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(directory);
    command.args(without_http(flags)).args(flags);
    command
}

/// Tests run side by side, and the port that HTTP has by default is there once.
fn without_http(flags: &[&str]) -> &'static [&'static str] {
    let is_named = flags.iter().any(|flag| flag.starts_with("--http"));
    if is_named { &[] } else { &["--http=off"] }
}

/// Runs a command that is to end by itself, before it listens.
pub fn run_to_end(command: Command) -> Ended {
    match TestServer::try_start(command) {
        Ok(server) => panic!("it was to end, and listens on {}", server.address()),
        Err(ended) => ended,
    }
}

/// One connection, used in turn for sending and receiving. Replies are waited for, not for ever.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    received: BufReader<TcpStream>,
}

impl Client {
    /// A client over a connection that is open.
    pub fn new(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("TCP has no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket has a timeout");
        let received = BufReader::new(stream.try_clone().expect("a socket can be shared"));
        Client { stream, received }
    }

    /// The connection.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a line; its end is added.
    pub fn send(&mut self, line: impl AsRef<[u8]>) {
        self.send_raw([line.as_ref(), b"\n"].concat());
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server takes what is sent");
    }

    /// Sends bytes as they are; false if the server has closed the connection.
    pub fn try_send_raw(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends from another thread, so that replies can be read meanwhile.
    pub fn send_in_background(&self, bytes: Vec<u8>) -> JoinHandle<()> {
        let mut stream = self.stream.try_clone().expect("a socket can be shared");
        std::thread::spawn(move || stream.write_all(&bytes).expect("the server takes it all"))
    }

    /// The next line of a reply, without its end.
    pub fn read_line(&mut self) -> String {
        self.read_line_or_end().expect("a reply, not the end of the connection")
    }

    /// The next line of a reply; none if the connection has ended, which it does behind a line.
    pub fn read_line_or_end(&mut self) -> Option<String> {
        let line = self.read_line_or_cut()?;
        let line = line.map_err(|cut| format!("a whole line: {}", cut.escape_ascii()));
        Some(line.expect("replies end with their line"))
    }

    /// The next line of a reply, or the beginning of one that a server which died has left; none if
    /// the connection has ended behind a line.
    pub fn read_line_or_cut(&mut self) -> Option<Result<String, Vec<u8>>> {
        let mut line = Vec::new();
        match self.received.read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if is_end(error.kind()) => return None,
            Err(error) => panic!("no reply: {error}; before: {}", line.escape_ascii()),
        }
        if line.pop_if(|last| *last == b'\n').is_none() {
            return Some(Err(line));
        }
        Some(Ok(String::from_utf8(line).expect("replies are UTF-8")))
    }

    /// Everything up to the end of the connection.
    pub fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.received.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if is_end(error.kind()) => {}
            Err(error) => panic!("the connection does not end: {error}"),
        }
        String::from_utf8(bytes).expect("replies are UTF-8")
    }

    /// Sends a line and reads one line of reply.
    pub fn ask(&mut self, line: impl AsRef<[u8]>) -> String {
        self.send(line);
        self.read_line()
    }

    /// Sends a line and reads a list with its last line, which is `END n` or an error.
    pub fn ask_list(&mut self, line: impl AsRef<[u8]>) -> Vec<String> {
        self.send(line);
        self.read_list()
    }

    /// Reads a list with its last line, which is `END n` or an error.
    pub fn read_list(&mut self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let Some(line) = self.read_line_or_end() else { return lines };
            let is_last = line.starts_with("ERR ")
                || line.strip_prefix("END ").is_some_and(|count| count.parse::<u64>().is_ok());
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    /// Whether nothing has come for a while.
    pub fn is_silent_for(&mut self, a_while: Duration) -> bool {
        if !self.received.buffer().is_empty() {
            return false;
        }
        self.stream.set_read_timeout(Some(a_while)).expect("a socket has a timeout");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
        peeked
            .is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Says that nothing more will be sent, and stays to read.
    pub fn close_writing(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open socket can be half closed");
    }
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
}

/// Sends a signal to a process.
pub fn signal(process_id: u32, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {process_id}")).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name} cannot be sent");
}

/// What the server's end of a connection looks like, in one way or the other.
fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}

/// `listening on 127.0.0.1:40000 (lines, RESP)`
fn announced(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on ")?.strip_suffix(" (lines, RESP)")?.parse().ok()
}

/// None if it ends before it listens.
fn await_address(addresses: &Receiver<SocketAddr>, messages: &Mutex<String>) -> Option<SocketAddr> {
    match addresses.recv_timeout(PATIENCE) {
        Ok(address) => Some(address),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => {
            let messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
            panic!("the server neither says where it listens nor ends:\n{messages}")
        }
    }
}
