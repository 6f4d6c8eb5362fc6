//! Making a connection that can be used: the socket, who asks, and whether what listens there is a
//! server of ours at all.

use std::io;
use std::time::Duration;

use kv_protocol::Request;
use kv_protocol::word::write_word;
use tokio::time::timeout;

use crate::address::Address;
use crate::connection::{Connection, Failure};
use crate::error::{Error, Result};
use crate::line::Line;
use crate::reply;

/// Makes connections to one server.
#[derive(Debug)]
pub(crate) struct Connector {
    address: Address,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(address: Address, timeout: Duration) -> Self {
        Self { address, timeout }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A new connection that the server has answered on.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(&self.address.place, self.timeout)
            .await
            .map_err(|source| self.refused(source))?;
        match timeout(self.timeout, self.greet(&connection)).await {
            Ok(Ok(greeted)) => greeted.map(|()| connection),
            Ok(Err(Failure::Lost(reason) | Failure::NotSent(reason))) => {
                Err(self.refused(io::Error::new(io::ErrorKind::ConnectionAborted, reason)))
            }
            Err(_) => Err(self.refused(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("what listens there said nothing for {:?}", self.timeout),
            ))),
        }
    }

    async fn greet(&self, connection: &Connection) -> Result<Result<()>, Failure> {
        if let Some(credentials) = &self.address.credentials {
            let mut line = b"AUTH ".to_vec();
            write_word(&mut line, credentials.user.as_bytes());
            line.push(b' ');
            write_word(&mut line, credentials.password.as_bytes());
            line.push(b'\n');
            if let Err(error) = connection.call(&line, reply::done).await? {
                return Ok(Err(error));
            }
        }
        let version = Line::of(&Request::Version);
        Ok(match connection.call(&version.bytes, reply::text).await? {
            Ok(_) => Ok(()),
            Err(Error::Protocol(text)) => Err(self.refused(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("what listens there is another program ({text})"),
            ))),
            Err(error) => Err(error),
        })
    }

    fn refused(&self, source: io::Error) -> Error {
        Error::Connect { address: self.address.to_string(), source }
    }
}
