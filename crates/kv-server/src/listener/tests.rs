//! Tests of listeners with real sockets on this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::*;

const ANY: &str = "127.0.0.1:0";

/// A server that echoes one read of each connection.
struct Echo {
    endpoint: Endpoint,
    connections: Connections,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Echo {
    fn start(endpoint: &str, max: usize) -> Self {
        let listener = Listener::bind(&endpoint.parse().unwrap()).unwrap();
        let endpoint = listener.endpoint().clone();
        let (connections, shutdown) = (Connections::new(max), Shutdown::new());
        let serving = listener.serve(connections.clone(), shutdown.clone(), echo);
        Self { endpoint, connections, shutdown, serving: tokio::spawn(serving) }
    }

    async fn connect(&self) -> Stream {
        match &self.endpoint {
            Endpoint::Tcp(address) => Stream::Tcp(TcpStream::connect(address).await.unwrap()),
            Endpoint::Unix(path) => Stream::Unix(UnixStream::connect(path).await.unwrap()),
        }
    }
}

async fn echo(mut stream: Stream, peer: Peer) {
    let mut bytes = bytes::BytesMut::with_capacity(64);
    stream.readable().await.unwrap();
    while stream.try_read_buf(&mut bytes).is_err() {
        stream.readable().await.unwrap();
    }
    let reply = format!("{}, {peer}", String::from_utf8_lossy(&bytes));
    let _ = stream.write_all(reply.as_bytes()).await;
}

async fn say(stream: &mut Stream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("kv-{}-{name}.sock", std::process::id()))
}

#[tokio::test]
async fn any_free_port_is_found_and_served() {
    let echo = Echo::start(ANY, 10);
    assert!(!echo.endpoint.to_string().ends_with(":0"), "{}", echo.endpoint);
    let reply = say(&mut echo.connect().await, "hello").await;
    assert!(reply.starts_with("hello, 127.0.0.1:"), "{reply}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused_with_advice() {
    let echo = Echo::start(ANY, 1);
    let text = Listener::bind(&echo.endpoint).unwrap_err().to_string();
    assert!(text.starts_with(&format!("cannot listen on {}: ", echo.endpoint)), "{text}");
    assert!(text.ends_with("or choose another with --listen"), "{text}");
}

#[tokio::test]
async fn one_connection_too_many_is_told_and_closed() {
    let echo = Echo::start(ANY, 1);
    let mut first = echo.connect().await;
    while echo.connections.open() == 0 {
        tokio::task::yield_now().await;
    }
    let refused = say(&mut echo.connect().await, "GET a\n").await;
    assert_eq!(refused, "ERR LIMIT all 1 connections are in use; close one, or retry later\n");
    assert!(say(&mut first, "still here").await.starts_with("still here"));
    while echo.connections.open() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(say(&mut echo.connect().await, "room again").await.starts_with("room again"));
}

#[tokio::test]
async fn a_drain_closes_the_listener_and_waits_for_its_connections() {
    let echo = Echo::start(ANY, 10);
    let mut open = echo.connect().await;
    while echo.connections.open() == 0 {
        tokio::task::yield_now().await;
    }
    echo.shutdown.drain();
    echo.serving.await.unwrap();
    let Endpoint::Tcp(address) = echo.endpoint else { panic!("a TCP listener") };
    assert!(TcpStream::connect(address).await.is_err());
    assert!(say(&mut open, "last words").await.starts_with("last words"));
    let drained = echo.shutdown.drained(Duration::from_secs(60)).await;
    assert_eq!(drained, crate::shutdown::Drained::Completely);
}

#[tokio::test]
async fn a_socket_file_is_private_and_goes_with_its_listener() {
    let path = temporary("private");
    let echo = Echo::start(&format!("unix:{}", path.display()), 10);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let reply = say(&mut echo.connect().await, "hello").await;
    let ours = format!("hello, unix:pid-{}", std::process::id());
    assert!(reply == ours || reply == "hello, unix", "{reply}");
    echo.shutdown.drain();
    echo.serving.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_file_is_replaced_only_if_nobody_answers() {
    let path = temporary("stale");
    let endpoint = Endpoint::Unix(path.clone());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a server that was killed leaves its file");
    let listener = Listener::bind(&endpoint).unwrap();

    let taken = Listener::bind(&endpoint).unwrap_err().to_string();
    assert!(taken.contains("another server answers on it"), "{taken}");
    drop(listener);
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    let taken = Listener::bind(&endpoint).unwrap_err().to_string();
    assert!(taken.contains("not a socket"), "{taken}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_longer_ours_is_left() {
    let path = temporary("ours");
    let listener = Listener::bind(&Endpoint::Unix(path.clone())).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "someone else's").unwrap();
    drop(listener);
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn pauses_double_up_to_a_bound() {
    let mut pause = Pause::default();
    let millis: Vec<_> = (0..9).map(|_| pause.next().as_millis()).collect();
    assert_eq!(millis, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
}

#[test]
fn a_complaint_is_made_once_a_minute() {
    let (mut complaint, start) = (Complaint::default(), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(complaint.is_due(start), Some(0));
    assert_eq!(complaint.is_due(after(1)), None);
    assert_eq!(complaint.is_due(after(59)), None);
    assert_eq!(complaint.is_due(after(60)), Some(2));
    assert_eq!(complaint.is_due(after(61)), None);
}

#[test]
fn only_a_clients_own_failures_are_passed_over() {
    let error = |kind| is_of_one_client(&io::Error::from(kind));
    assert!(error(io::ErrorKind::ConnectionAborted));
    assert!(!error(io::ErrorKind::OutOfMemory));
    // Too many open files, in the process and in the system.
    assert!(!is_of_one_client(&io::Error::from_raw_os_error(24)));
    assert!(!is_of_one_client(&io::Error::from_raw_os_error(23)));
}
