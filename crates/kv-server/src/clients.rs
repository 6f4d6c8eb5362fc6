//! Who has a session: what CLIENT shows of each, and how one is cut off. Those are connections,
//! whoever serves HTTP, and transactions that have a token.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kv_core::TxnInfo;
use tokio_util::sync::CancellationToken;

/// All clients of a server, by the numbers of their sessions.
#[derive(Debug, Default)]
pub struct Clients {
    open: Mutex<BTreeMap<u64, Arc<ClientInfo>>>,
}

/// One client.
#[derive(Debug)]
pub struct ClientInfo {
    /// The number of its session.
    pub id: u64,
    /// Where it comes from.
    pub address: String,
    /// What it has reached.
    pub local_address: String,
    connected: Instant,
    /// Cancelled to end its connection at once; none if it has no connection.
    cut: Option<CancellationToken>,
    state: Mutex<ClientState>,
}

/// What changes about a client.
#[derive(Debug, Clone)]
pub struct ClientState {
    /// What it calls itself; empty if it has not said.
    pub name: String,
    /// The library that it uses, and the library's version; empty if it has not said.
    pub library: (String, String),
    /// When it was served last.
    pub active: Instant,
    /// What it asked for last.
    pub command: &'static str,
    /// Whether it speaks version 3 of the Redis protocol.
    pub is_resp3: bool,
    /// Commands queued after MULTI; none without it.
    pub queued: Option<usize>,
    /// Keys that it watches.
    pub watched: usize,
    /// What it had open.
    pub open: Vec<TxnInfo>,
    /// When it did.
    pub open_as_of: Instant,
}

impl ClientState {
    /// Notes what it has open.
    pub fn tell_open(&mut self, open: impl IntoIterator<Item = TxnInfo>) {
        self.open.clear();
        self.open.extend(open);
        self.open_as_of = Instant::now();
    }
}

impl Clients {
    /// Adds a client, until what is returned is dropped.
    pub fn enter(
        self: &Arc<Self>,
        id: u64,
        address: String,
        local_address: String,
        cut: CancellationToken,
    ) -> Entered {
        self.add(ClientInfo::new(id, address, local_address, Some(cut)))
    }

    /// Adds a transaction that has a token, until what is returned is dropped; `address` is where
    /// whoever has begun it comes from.
    pub fn detached(self: &Arc<Self>, id: u64, address: String) -> Entered {
        self.add(ClientInfo::new(id, address, "detached".to_owned(), None))
    }

    fn add(self: &Arc<Self>, info: ClientInfo) -> Entered {
        let info = Arc::new(info);
        self.lock().insert(info.id, Arc::clone(&info));
        Entered { clients: Arc::clone(self), info }
    }

    /// Every client, in the order in which they came.
    pub fn all(&self) -> Vec<Arc<ClientInfo>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<ClientInfo>>> {
        // Whatever panicked has left a map that is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place among the others.
#[derive(Debug)]
pub struct Entered {
    clients: Arc<Clients>,
    info: Arc<ClientInfo>,
}

impl std::ops::Deref for Entered {
    type Target = ClientInfo;

    fn deref(&self) -> &ClientInfo {
        &self.info
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.info.id);
    }
}

impl ClientInfo {
    fn new(
        id: u64,
        address: String,
        local_address: String,
        cut: Option<CancellationToken>,
    ) -> ClientInfo {
        let now = Instant::now();
        let state = ClientState {
            name: String::new(),
            library: Default::default(),
            active: now,
            command: "",
            is_resp3: false,
            queued: None,
            watched: 0,
            open: Vec::new(),
            open_as_of: now,
        };
        let state = Mutex::new(state);
        ClientInfo { id, address, local_address, connected: now, cut, state }
    }

    /// Whether it is a transaction that has a token, and no connection.
    pub fn is_detached(&self) -> bool {
        self.cut.is_none()
    }

    /// What changes about it.
    pub fn state(&self) -> MutexGuard<'_, ClientState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it has been connected.
    pub fn age(&self) -> Duration {
        self.connected.elapsed()
    }

    /// Notes what it has open.
    pub fn tell_open(&self, open: impl IntoIterator<Item = TxnInfo>) {
        self.state().tell_open(open);
    }

    /// Ends its connection at once; what it has open is rolled back.
    pub fn cut(&self) {
        self.cut.iter().for_each(CancellationToken::cancel);
    }
}

impl fmt::Display for ClientInfo {
    /// As a line of CLIENT LIST has it, in the names of Redis.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state().clone();
        let (library, version) = &state.library;
        write!(
            f,
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db=0 sub=0 psub=0 \
             ssub=0 multi={} watch={} cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.local_address,
            state.name,
            self.age().as_secs(),
            state.active.elapsed().as_secs(),
            if state.queued.is_some() { "x" } else { "N" },
            state.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX)),
            state.watched,
            if state.command.is_empty() { "NULL" } else { state.command },
            if state.is_resp3 { 3 } else { 2 },
            library,
            version,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_among_the_others_until_it_leaves() {
        let clients = Arc::new(Clients::default());
        let enter = |id| {
            let cut = CancellationToken::new();
            clients.enter(id, "127.0.0.1:1".into(), "127.0.0.1:2".into(), cut)
        };
        let (one, two) = (enter(1), enter(2));
        one.state().name = "one".into();
        let shown: Vec<String> = clients.all().iter().map(|info| info.to_string()).collect();
        assert_eq!(shown.len(), 2);
        assert!(shown[0].starts_with("id=1 addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=-1 name=one "));
        drop(one);
        assert_eq!(clients.all().iter().map(|info| info.id).collect::<Vec<_>>(), [2]);
        drop(two);
    }
}
