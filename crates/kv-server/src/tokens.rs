//! Transactions that outlive a request or a connection: each is *parked* between commands, and
//! found by a token of 128 random bits that its client was given and nobody else can guess.
//!
//! ```text
//!         TOKEN, /begin            COMMIT, ROLLBACK of the outermost
//!   (none) ───────────► free ◄──► in use ─────────────────────────────► over
//!                        │                                               ▲
//!                        │ idle for the limit                            │
//!                        └───────────► aborted: ABORTED ── as long once more
//! ```
//!
//! Whoever runs a command in one takes it and puts it back afterwards; whoever comes meanwhile is
//! told that it is in use. Which face he comes through makes no difference. Who has taken it, and
//! what he calls it, is with [`Client`](crate::command::Client).
//!
//! Latches: the tokens', then one transaction's. A transaction is rolled back or aborted outside of
//! both.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use kv_core::error::AbortReason;
use kv_core::{Database, Detached, Error, SessionId, TxnId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clients::{Clients, Entered};

/// Between two looks for transactions that are idle.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What a transaction is found by: 128 random bits, in 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u128);

impl Token {
    /// One that nobody has.
    ///
    /// # Errors
    ///
    /// If there are no random bits.
    pub fn random() -> Result<Token, Error> {
        let bits = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
        let (high, low) =
            bits.map_err(|error| Error::Internal(format!("no random bits: {error}")))?;
        Ok(Token(u128::from(high) << 64 | u128::from(low)))
    }

    /// Reads what [`Token`] is shown as.
    pub fn parse(text: &[u8]) -> Option<Token> {
        let is_token = text.len() == 32 && text.iter().all(u8::is_ascii_hexdigit);
        let digits = std::str::from_utf8(text).ok().filter(|_| is_token)?;
        u128::from_str_radix(digits, 16).ok().map(Token)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Token {
    /// Who can read it can use it, so it is in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The transactions, by their tokens.
#[derive(Debug)]
pub struct Tokens {
    idle_max: Duration,
    database: Database,
    clients: Arc<Clients>,
    open: Mutex<Open>,
    /// There is one where there was none.
    first: Notify,
}

#[derive(Debug, Default)]
struct Open {
    by_token: HashMap<Token, Entry>,
    /// When each is to be looked at next.
    due: BTreeSet<(Instant, Token)>,
    /// The server drains: there will be no more.
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    parked: Arc<Parked>,
    due: Instant,
}

/// A transaction that no command runs in, or where it was.
#[derive(Debug)]
pub struct Parked {
    token: Token,
    /// The session that its locks belong to.
    session: SessionId,
    tokens: Weak<Tokens>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// Its place among the clients, where an operator can see it; until it is over.
    listed: Option<Entered>,
    /// When it was aborted, or else when a command was done in it last.
    since: Instant,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are free")]
enum Stage {
    Free(Detached),
    /// A command runs in it.
    InUse {
        was_aborted: bool,
    },
    /// It was committed, rolled back or forgotten; or the server drains.
    Over {
        is_drained: bool,
    },
}

/// Why a transaction cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFree {
    /// A command of somebody else's runs in it.
    InUse,
    /// It has ended.
    Over,
    /// It was rolled back because the server drains.
    Drained,
}

impl Tokens {
    /// No transactions; one that nothing is heard of for this long is aborted.
    pub fn new(idle_max: Duration, database: Database, clients: Arc<Clients>) -> Arc<Tokens> {
        let (open, first) = (Mutex::default(), Notify::new());
        Arc::new(Tokens { idle_max, database, clients, open, first })
    }

    /// After how long a transaction that nothing is heard of is aborted.
    pub fn idle_max(&self) -> Duration {
        self.idle_max
    }

    /// Parks a transaction under a token. `address` is where whoever has begun it comes from.
    ///
    /// # Errors
    ///
    /// If the server drains; the transaction is rolled back then.
    pub fn park(
        self: &Arc<Self>,
        token: Token,
        tree: Detached,
        address: &str,
    ) -> Result<Arc<Parked>, Error> {
        let session = tree.session();
        let listed = self.clients.detached(session.0, address.to_owned());
        listed.state().tell_open(tree.transactions());
        let (stage, since) = (Stage::Free(tree), Instant::now());
        let state = State { stage, listed: Some(listed), since };
        let due = state.due(self.idle_max);
        let (tokens, state) = (Arc::downgrade(self), Mutex::new(state));
        let parked = Arc::new(Parked { token, session, tokens, state });
        let mut open = self.open.lock();
        if open.is_closed {
            return Err(Error::Aborted { txn: TxnId(1), reason: AbortReason::Shutdown });
        }
        if open.by_token.is_empty() {
            self.first.notify_one();
        }
        open.due.insert((due, token));
        open.by_token.insert(token, Entry { parked: Arc::clone(&parked), due });
        Ok(parked)
    }

    /// The transaction of a token.
    pub fn find(&self, token: Token) -> Option<Arc<Parked>> {
        self.open.lock().by_token.get(&token).map(|entry| Arc::clone(&entry.parked))
    }

    /// Ends the transaction that is listed among the clients under this number, whoever runs a
    /// command in it: what that waits for, it waits for no longer.
    pub fn kill(&self, session: u64) {
        let open = self.open.lock();
        let mut all = open.by_token.values().map(|entry| &entry.parked);
        let Some(parked) = all.find(|parked| parked.session.0 == session).cloned() else { return };
        drop(open);
        parked.end();
        self.database.end_wait(parked.session);
    }

    /// Ends transactions that are idle, until the server drains; then all of them.
    pub async fn watch(self: Arc<Self>, drain: CancellationToken) {
        while drain.run_until_cancelled(self.wait_to_look()).await.is_some() {
            self.sweep();
        }
        let mut open = self.open.lock();
        open.is_closed = true;
        open.due.clear();
        let all = std::mem::take(&mut open.by_token);
        drop(open);
        let drained = |entry: Entry| entry.parked.end_as(Stage::Over { is_drained: true });
        all.into_values().for_each(drained);
    }

    /// Waits until it is time to look again: without any transactions, until there is one.
    async fn wait_to_look(&self) {
        let is_empty = self.open.lock().by_token.is_empty();
        if is_empty {
            self.first.notified().await;
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }

    /// Aborts what was idle for too long, and forgets what has been aborted for as long.
    fn sweep(&self) {
        for parked in self.due() {
            let Some(due) = parked.age(self.idle_max) else { continue };
            let mut open = self.open.lock();
            if let Some(entry) = open.by_token.get_mut(&parked.token) {
                entry.due = due;
                open.due.insert((due, parked.token));
            }
        }
    }

    fn forget(&self, token: Token) {
        let mut open = self.open.lock();
        if let Some(entry) = open.by_token.remove(&token) {
            open.due.remove(&(entry.due, token));
        }
    }

    /// Those that are due now, each to be given its next time.
    fn due(&self) -> Vec<Arc<Parked>> {
        let mut open = self.open.lock();
        let later = open.due.split_off(&(Instant::now(), Token(0)));
        let due = std::mem::replace(&mut open.due, later);
        let of_token =
            |(_, token)| open.by_token.get(&token).map(|entry| Arc::clone(&entry.parked));
        due.into_iter().filter_map(of_token).collect()
    }
}

impl Stage {
    /// Why it cannot be taken, if it is not free.
    fn why(&self) -> NotFree {
        match self {
            Stage::Free(_) | Stage::InUse { .. } => NotFree::InUse,
            Stage::Over { is_drained: true } => NotFree::Drained,
            Stage::Over { is_drained: false } => NotFree::Over,
        }
    }
}

impl State {
    /// When there is something to do next.
    fn due(&self, idle_max: Duration) -> Instant {
        let view = match &self.stage {
            Stage::Free(tree) => tree.view_ends(),
            // Whoever uses it may have begun to long ago.
            Stage::InUse { .. } | Stage::Over { .. } => return Instant::now() + LOOK_AGAIN_AFTER,
        };
        let idle = self.since.checked_add(idle_max);
        // Limits that lie further than a clock goes are none.
        let far = || Instant::now() + Duration::from_secs(1 << 30);
        [idle, view].into_iter().flatten().min().unwrap_or_else(far)
    }
}

impl Parked {
    /// What it is found by.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Takes the transaction, to run a command in it and [put it back](Parked::put_back).
    ///
    /// # Errors
    ///
    /// Why it cannot be taken.
    pub fn take(&self) -> Result<Detached, NotFree> {
        let mut state = self.state.lock();
        match &state.stage {
            Stage::Free(tree) => {
                let in_use = Stage::InUse { was_aborted: tree.is_aborted() };
                match std::mem::replace(&mut state.stage, in_use) {
                    Stage::Free(tree) => Ok(tree),
                    Stage::InUse { .. } | Stage::Over { .. } => Err(NotFree::Over),
                }
            }
            other => Err(other.why()),
        }
    }

    /// Puts the transaction back. It is not idle from now on, unless it was aborted before. If it
    /// was ended meanwhile, it is rolled back.
    pub fn put_back(&self, tree: Detached) {
        let mut state = self.state.lock();
        let Stage::InUse { was_aborted } = state.stage else { return };
        if !was_aborted {
            state.since = Instant::now();
        }
        if let Some(listed) = &state.listed {
            let mut told = listed.state();
            told.active = state.since;
            told.tell_open(tree.transactions());
        }
        state.stage = Stage::Free(tree);
    }

    /// Looks at the transaction without taking it.
    ///
    /// # Errors
    ///
    /// Why it cannot be looked at.
    pub fn look<T>(&self, look: impl FnOnce(&Detached) -> T) -> Result<T, NotFree> {
        match &self.state.lock().stage {
            Stage::Free(tree) => Ok(look(tree)),
            other => Err(other.why()),
        }
    }

    /// Notes that the transaction has ended, or ends it: a command that runs in it is its last.
    pub fn end(&self) {
        self.end_as(Stage::Over { is_drained: false });
    }

    fn end_as(&self, over: Stage) {
        let mut state = self.state.lock();
        let ended = (std::mem::replace(&mut state.stage, over), state.listed.take());
        drop(state);
        if let Some(tokens) = self.tokens.upgrade() {
            tokens.forget(self.token);
        }
        drop(ended);
    }

    /// Whether it is aborted, as far as is known while a command runs in it; none if it is over.
    pub fn is_aborted(&self) -> Option<bool> {
        match self.look(Detached::is_aborted) {
            Ok(is_aborted) => Some(is_aborted),
            Err(NotFree::InUse) => Some(false),
            Err(NotFree::Over | NotFree::Drained) => None,
        }
    }

    /// Aborts it if it is idle or its view is too old, ends it if it has been aborted for long.
    /// Says when to look again; never if it is over.
    fn age(&self, idle_max: Duration) -> Option<Instant> {
        let due = self.state.lock().due(idle_max);
        if due > Instant::now() {
            return Some(due);
        }
        // Somebody may be quicker.
        match self.take() {
            Ok(mut tree) => {
                let is_idle = self.state.lock().since.elapsed() >= idle_max;
                match (tree.is_aborted(), is_idle) {
                    (true, true) => {
                        drop(tree);
                        self.end();
                        return None;
                    }
                    (false, true) => tree.abort(AbortReason::Idle),
                    (_, false) => tree.abort_old_view(),
                }
                self.put_back(tree);
            }
            Err(NotFree::InUse) => {}
            Err(NotFree::Over | NotFree::Drained) => return None,
        }
        Some(self.state.lock().due(idle_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_shown() {
        let token = Token::random().expect("there are random bits");
        assert_eq!(Token::parse(token.to_string().as_bytes()), Some(token));
        assert_eq!(Token::parse(b"00000000000000000000000000000001"), Some(Token(1)));
        let wrong: [&[u8]; 5] = [
            b"",
            b"1",
            b"+0000000000000000000000000000001",
            b"0000000000000000000000000000000g",
            b"000000000000000000000000000000001",
        ];
        assert!(wrong.into_iter().all(|text| Token::parse(text).is_none()));
    }
}
