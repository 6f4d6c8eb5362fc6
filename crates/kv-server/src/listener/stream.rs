//! One connection as a stream of bytes, over TCP or a socket file, and who is at its other end.
//!
//! The rest of the server does not need to know which it is. Besides reading and writing through
//! tokio's traits, a stream can be asked whether there is anything to read: so an idle connection
//! needs no buffer while it waits.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a socket file.
    Unix(UnixStream),
}

/// The other end of a connection, as an operator would name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Tcp(SocketAddr),
    /// A process on this machine, if the operating system tells which.
    Unix(Option<i32>),
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(Some(process)) => write!(out, "unix:pid-{process}"),
            Self::Unix(None) => out.write_str("unix"),
        }
    }
}

impl Stream {
    /// The address that the other end has reached; empty if it is not known.
    pub fn local_address(&self) -> String {
        match self {
            Self::Tcp(stream) => {
                stream.local_addr().map(|address| address.to_string()).unwrap_or_default()
            }
            Self::Unix(_) => "unix".to_owned(),
        }
    }

    /// Waits until there is something to read, or the other end has closed.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Waits until something can be written.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    /// Whether the other end has closed or reset the connection, seen past what it has sent and
    /// nobody has read. Does not wait.
    pub async fn has_left(&self) -> bool {
        let ready = async {
            match self {
                Self::Tcp(stream) => stream.ready(Interest::READABLE).await,
                Self::Unix(stream) => stream.ready(Interest::READABLE).await,
            }
        };
        match tokio::time::timeout(Duration::ZERO, ready).await {
            Ok(ready) => ready.map_or(true, |ready| ready.is_read_closed() || ready.is_error()),
            // Nothing has happened on it.
            Err(_) => false,
        }
    }

    /// Reads what is there into the free space of a buffer; 0 when the other end has closed.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, else when the socket is broken.
    pub fn try_read_buf<B: bytes::BufMut>(&self, into: &mut B) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(into),
            Self::Unix(stream) => stream.try_read_buf(into),
        }
    }

    /// Writes as much as is taken at once.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is taken, else when the socket is broken.
    pub fn try_write(&self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(from),
            Self::Unix(stream) => stream.try_write(from),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, from),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, from),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, from),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
