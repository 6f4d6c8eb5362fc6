//! How a store is set up. Every option has a default that suits most.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::db::Database;
use crate::durability::Stamp;
use crate::limits;
use crate::load::Loader;
use crate::memory::Eviction;
use crate::step::{Fetcher, NothingElsewhere};
use crate::types::Revision;

/// Sets up a [`Database`]. Made by [`Database::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) options: Options,
}

/// What a [`Builder`] has collected.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) history_versions: usize,
    pub(crate) lock_wait_max: Option<Duration>,
    pub(crate) view_age_max: Duration,
    pub(crate) key_bytes_max: usize,
    pub(crate) value_bytes_max: usize,
    pub(crate) nesting_max: usize,
    pub(crate) write_set_bytes_max: usize,
    pub(crate) locks_max: usize,
    pub(crate) session_transactions_max: usize,
    pub(crate) transactions_max: usize,
    pub(crate) shards: usize,
    pub(crate) memory_bytes_max: Option<usize>,
    pub(crate) eviction: Eviction,
    pub(crate) tombstone_retention: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fetcher: Arc<dyn Fetcher>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            options: Options {
                history_versions: limits::HISTORY_VERSIONS,
                lock_wait_max: Some(limits::LOCK_WAIT_MAX),
                view_age_max: limits::VIEW_AGE_MAX,
                key_bytes_max: limits::KEY_BYTES_MAX,
                value_bytes_max: limits::VALUE_BYTES_MAX,
                nesting_max: limits::NESTING_MAX,
                write_set_bytes_max: limits::WRITE_SET_BYTES_MAX,
                locks_max: limits::LOCKS_PER_TRANSACTION_MAX,
                session_transactions_max: limits::TRANSACTIONS_PER_SESSION_MAX,
                transactions_max: limits::TRANSACTIONS_MAX,
                shards: limits::SHARDS,
                memory_bytes_max: None,
                eviction: Eviction::default(),
                tombstone_retention: limits::TOMBSTONE_RETENTION,
                clock: Arc::new(SystemClock),
                fetcher: Arc::new(NothingElsewhere),
            },
        }
    }
}

/// Options that change what the store does.
impl Builder {
    /// Versions kept of each key, the newest included; `None` keeps all. Default 10, at least 1.
    pub fn history(&mut self, versions: Option<usize>) -> &mut Builder {
        self.options.history_versions = versions.unwrap_or(usize::MAX).max(1);
        self
    }

    /// How long a request waits for a lock; `None` is for ever. Default 5 s.
    pub fn lock_timeout(&mut self, wait: Option<Duration>) -> &mut Builder {
        self.options.lock_wait_max = wait;
        self
    }

    /// How old a read view gets before its transaction is aborted. Default 1 h.
    pub fn view_age_max(&mut self, age: Duration) -> &mut Builder {
        self.options.view_age_max = age;
        self
    }

    /// Longest key in bytes. Default and most 64 KiB.
    pub fn key_bytes_max(&mut self, bytes: usize) -> &mut Builder {
        self.options.key_bytes_max = bytes.clamp(1, limits::KEY_BYTES_MAX);
        self
    }

    /// Longest value in bytes. Default 16 MiB.
    pub fn value_bytes_max(&mut self, bytes: usize) -> &mut Builder {
        self.options.value_bytes_max = bytes;
        self
    }

    /// Deepest nesting, the root counted. Default 64.
    pub fn nesting_max(&mut self, levels: usize) -> &mut Builder {
        self.options.nesting_max = levels.max(1);
        self
    }

    /// Bytes that one transaction may have written and not yet committed. Default 256 MiB.
    pub fn write_set_bytes_max(&mut self, bytes: usize) -> &mut Builder {
        self.options.write_set_bytes_max = bytes;
        self
    }

    /// Locks that one transaction may hold. Default 1,000,000.
    pub fn locks_max(&mut self, locks: usize) -> &mut Builder {
        self.options.locks_max = locks.max(1);
        self
    }

    /// Transactions that one session may have open, nested ones counted. Default 1,000.
    pub fn session_transactions_max(&mut self, transactions: usize) -> &mut Builder {
        self.options.session_transactions_max = transactions.max(1);
        self
    }

    /// Transactions that may be open in all, nested ones counted. Default 100,000.
    pub fn transactions_max(&mut self, transactions: usize) -> &mut Builder {
        self.options.transactions_max = transactions.max(1);
        self
    }

    /// Bytes of memory that records and indexes may take, about; `None` is as many as there are,
    /// the default. What gives way when they are used up is told by [`Builder::eviction`], and by
    /// what the [fetcher](Builder::fetcher) holds.
    pub fn memory_max(&mut self, bytes: Option<usize>) -> &mut Builder {
        self.options.memory_bytes_max = bytes;
        self
    }

    /// Who gives way when memory is full. Default [`Eviction::Lru`]: without files, what gives way
    /// is gone. Nobody does where a log has the data and newest versions cannot be asked for.
    pub fn eviction(&mut self, eviction: Eviction) -> &mut Builder {
        self.options.eviction = eviction;
        self
    }

    /// How long a deleted or expired key is remembered in a store without files, so that its
    /// version counter goes on. Default 30 days. With files it is for those to say when
    /// ([`Database::forget`]).
    pub fn tombstone_retention(&mut self, retention: Duration) -> &mut Builder {
        self.options.tombstone_retention = retention;
        self
    }

    /// The clock. Default [`SystemClock`]; tests pass one that they move by hand.
    pub fn clock(&mut self, clock: Arc<dyn Clock>) -> &mut Builder {
        self.options.clock = clock;
        self
    }

    /// Where values and older versions come from that are not in memory. Default: all are.
    pub fn fetcher(&mut self, fetcher: Arc<dyn Fetcher>) -> &mut Builder {
        self.options.fetcher = fetcher;
        self
    }
}

/// Options that change only how fast it does it.
impl Builder {
    /// Shards, 1 to 1024. Default 16.
    pub fn shards(&mut self, shards: usize) -> &mut Builder {
        self.options.shards = shards.clamp(1, limits::SHARDS_MAX);
        self
    }

    /// Opens an empty store in memory.
    pub fn open(&self) -> Database {
        self.loader().open_alone(Stamp { revision: Revision(0), time_ms: 0 })
    }

    /// Begins to open a store with what was there before.
    pub fn loader(&self) -> Loader {
        Loader::new(self.options.clone())
    }
}
