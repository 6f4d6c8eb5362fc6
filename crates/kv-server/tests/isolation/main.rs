//! What each isolation level promises, shown by schedules that a person can read.
//!
//! Every script of `kv-testkit/scripts` runs over the engine on one thread, and over the server
//! through real sockets.

mod engine;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::EngineDriver;
use kv_server::config::{Config, Endpoint, Surroundings};
use kv_server::server::Server;
use kv_server::shutdown::Shutdown;
use kv_testkit::script::{Driver, TcpDriver, run_file, script_files};

fn server() -> Arc<Server> {
    let arguments = ["kv-server", "--in-memory", "--listen", "127.0.0.1:0"];
    let config = Config::from_surroundings(&Surroundings {
        arguments: arguments.map(Into::into).to_vec(),
        variable: &|_| None,
        descriptors_max: None,
        cores: 2,
    });
    Server::new(config.unwrap())
}

/// Runs every script with a driver of its own, several at a time because some of them sleep.
fn run_scripts(run: impl Fn(&PathBuf) -> Result<(), String> + Sync) {
    const THREADS: usize = 8;
    let files = script_files("").unwrap();
    assert!(files.len() > 100, "only {} scripts were found", files.len());
    let next = AtomicUsize::new(0);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let worker = || {
            let mut failures = Vec::new();
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                failures.extend(run(file).err());
            }
            failures
        };
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_script_over_the_engine() {
    run_scripts(|file| run_file(file, &mut EngineDriver::new(server())));
}

#[test]
fn every_script_over_the_server() {
    run_scripts(|file| {
        let served = Served::start();
        let mut driver = TcpDriver::connect(served.address).map_err(|error| error.to_string())?;
        run_file(file, &mut driver)
    });
}

/// A server on a free port, in this process, for as long as this lives.
struct Served {
    address: SocketAddr,
    shutdown: Shutdown,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    fn start() -> Served {
        let (shutdown, (sender, receiver)) = (Shutdown::new(), std::sync::mpsc::channel());
        let stop = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let server = server();
                let listeners = server.bind().unwrap();
                let Endpoint::Tcp(address) = listeners[0].endpoint() else { unreachable!() };
                sender.send(*address).unwrap();
                server.serve(listeners, stop).await;
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

#[test]
fn the_engine_driver_sees_waits() {
    let mut driver = EngineDriver::new(server());
    for (session, line) in [("A", "BEGIN"), ("A", "PUT k 1"), ("B", "PUT k 2")] {
        driver.send(session, line).unwrap();
    }
    assert!(driver.is_waiting("B") && !driver.is_waiting("A"));
    driver.send("A", "COMMIT").unwrap();
    assert!(!driver.is_waiting("B"));
    assert_eq!((driver.last_commit("A"), driver.last_commit("B")), (1, 2));
}
