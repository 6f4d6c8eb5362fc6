//! A server on a free port, in this process, for as long as the value lives; and scripts over it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use kv_server::config::{Config, Endpoint, Surroundings};
use kv_server::server::Server;
use kv_server::shutdown::Shutdown;
use kv_testkit::script::{Driver, TcpDriver};

/// A server that does not listen yet, with these flags besides those that every test wants.
pub(crate) fn server(flags: &[&str]) -> Arc<Server> {
    open(&[&["--in-memory"], flags].concat())
}

/// A server that does not listen yet, with files and a memory bound.
pub(crate) fn server_on(directory: &Path) -> Arc<Server> {
    let directory = directory.to_str().unwrap();
    open(&["--data-dir", directory, "--max-memory", "64mb"])
}

fn open(flags: &[&str]) -> Arc<Server> {
    let arguments = ["kv-server", "--listen", "127.0.0.1:0"];
    let config = Config::from_surroundings(&Surroundings {
        arguments: arguments.iter().chain(flags).map(Into::into).collect(),
        variable: &|_| None,
        descriptors_max: None,
        cores: 2,
    });
    Server::open(config.unwrap()).unwrap()
}

/// A server that listens.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    shutdown: Shutdown,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start(server: Arc<Server>) -> Served {
        let (shutdown, (sender, receiver)) = (Shutdown::new(), std::sync::mpsc::channel());
        let stop = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listeners = server.bind().unwrap();
                let Endpoint::Tcp(address) = listeners[0].endpoint() else { unreachable!() };
                sender.send(*address).unwrap();
                server.serve(listeners, None, stop).await;
            });
        });
        Served { address: receiver.recv().unwrap(), shutdown, thread: Some(thread) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cut();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Drives scripts over a server of its own, through real sockets.
pub(crate) struct ServedDriver {
    tcp: TcpDriver,
    _served: Served,
}

impl ServedDriver {
    pub(crate) fn start() -> Result<ServedDriver, String> {
        let served = Served::start(server(&[]));
        let tcp = TcpDriver::connect(served.address).map_err(|error| error.to_string())?;
        Ok(ServedDriver { tcp, _served: served })
    }
}

impl Driver for ServedDriver {
    fn send(&mut self, session: &str, line: &str) -> Result<(), String> {
        self.tcp.send(session, line)
    }

    fn poll(&mut self, session: &str) -> Option<Vec<String>> {
        self.tcp.poll(session)
    }

    fn settle(&mut self) -> Result<(), String> {
        self.tcp.settle()
    }

    fn close(&mut self, session: &str) {
        self.tcp.close(session);
    }

    fn locks(&mut self) -> Result<Vec<String>, String> {
        self.tcp.locks()
    }
}
