//! Connections that are lent out, one borrower at a time.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::connector::Connector;
use crate::error::{Error, Result};
use crate::limits::IDLE_TIMEOUT;

/// The connections that are not lent out.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    connections_max: usize,
    permits: Arc<Semaphore>,
    /// The one returned last is the last.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Pool {
    pub(crate) fn new(connector: Arc<Connector>, connections_max: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(connections_max));
        Arc::new(Pool { connector, connections_max, permits, idle: Mutex::default() })
    }

    /// Lends a connection that is alive, once one is free.
    pub(crate) async fn lease(self: &Arc<Self>, wait_max: Duration) -> Result<Lease> {
        let waiting = Arc::clone(&self.permits).acquire_owned();
        let permit = match timeout(wait_max, waiting).await {
            Ok(Ok(permit)) => permit,
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => {
                let connections_max = self.connections_max;
                return Err(Error::Busy { connections_max, waited: wait_max });
            }
        };
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        Ok(Lease {
            connection,
            pool: Arc::clone(self),
            is_clean: AtomicBool::new(false),
            _permit: permit,
        })
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|(connection, since)| connection.is_alive() && since.elapsed() < IDLE_TIMEOUT);
        idle.pop().map(|(connection, _)| connection)
    }
}

/// A connection that is lent out. It goes back if its borrower says that nothing of him is left on
/// it, and is closed otherwise; then the server rolls back what was open.
pub(crate) struct Lease {
    connection: Connection,
    pool: Arc<Pool>,
    is_clean: AtomicBool,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Says that whoever has it next finds no transaction open.
    pub(crate) fn set_clean(&self) {
        self.is_clean.store(true, Ordering::Release);
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_clean.load(Ordering::Acquire) && self.connection.is_alive() {
            self.pool.idle.lock().push((self.connection.clone(), Instant::now()));
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}
