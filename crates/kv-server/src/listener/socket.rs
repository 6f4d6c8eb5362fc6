//! Sockets that wait for connections: how they are made, and how a connection is taken from one.
//!
//! Options of TCP that keep a server healthy are set here; what becomes of a connection, and what
//! happens when taking one fails, is the accept loop's business.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::stream::{Peer, Stream};
use crate::config::Endpoint;
use crate::limits;

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Socket {
    /// Makes a socket that listens at `endpoint`.
    pub(super) fn listen(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => listen_tcp(*address).map(Self::Tcp),
            Endpoint::Unix(path) => listen_unix(path),
        }
    }

    /// Where it listens: with the port that was found, when any would do.
    pub(super) fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Endpoint::Tcp),
            Self::Unix(_, file) => Ok(Endpoint::Unix(file.path.clone())),
        }
    }

    /// Waits for the next connection.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                prepare(&stream);
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let process = stream.peer_cred().ok().and_then(|credentials| credentials.pid());
                Ok((Stream::Unix(stream), Peer::Unix(process)))
            }
        }
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it, a restart would have to wait for the connections of the run before to fade.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::ACCEPT_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets what a connection needs. None of it is worth refusing a client for; and all of it fails
/// when the client has gone already, which the first read will find out.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // Replies are written whole, so there is nothing to gain from waiting for more.
    let nodelay = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(limits::KEEPALIVE_IDLE)
        .with_interval(limits::KEEPALIVE_INTERVAL)
        .with_retries(limits::KEEPALIVE_RETRIES);
    let keepalive = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let keepalive = keepalive.and(socket.set_tcp_user_timeout(Some(limits::TCP_USER_TIMEOUT)));
    if let Err(error) = nodelay.and(keepalive) {
        tracing::debug!(%error, "a connection went away before it was set up");
    }
}

/// The file of a socket, removed when the socket goes; unless somebody else's has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket file was left behind");
        }
    }
}

fn listen_unix(path: &Path) -> io::Result<Socket> {
    remove_stale(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let found = std::fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.into(), device: found.dev(), inode: found.ino() };
    // Before it listens, so that there is no moment in which others could connect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(limits::ACCEPT_BACKLOG)?;
    Ok(Socket::Unix(UnixListener::from_std(socket.into())?, file))
}

/// Removes the socket file of a server that was killed, and nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let text = "the path is taken by something that is not a socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Ok(_) => {}
    }
    let probe = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    // A busy server's queue may be full; that is an answer too, and not worth waiting for.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing a socket file that nobody answers on");
            std::fs::remove_file(path)
        }
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers on it")),
    }
}
