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

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::error::AbortReason;
use kv_core::{Detached, Error, TxnId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clients::{Clients, Entered};

/// Between two looks for transactions that are idle.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What a transaction is found by: 128 random bits, in 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
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
    clients: Arc<Clients>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    by_token: HashMap<Token, Arc<Parked>>,
    /// The server drains: there will be no more.
    is_closed: bool,
}

/// A transaction that no command runs in, or where it was.
#[derive(Debug)]
pub struct Parked {
    token: Token,
    tokens: Arc<Tokens>,
    /// Cancelled by an operator.
    cut: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// Its place among the clients, where an operator can see it, and end it; until it is over.
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
    /// It was committed, rolled back or forgotten.
    Over,
}

/// Why a transaction cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFree {
    /// A command of somebody else's runs in it.
    InUse,
    /// It has ended.
    Over,
}

impl Tokens {
    /// No transactions; one that nothing is heard of for this long is aborted.
    pub fn new(idle_max: Duration, clients: Arc<Clients>) -> Arc<Tokens> {
        Arc::new(Tokens { idle_max, clients, open: Mutex::default() })
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
        let cut = CancellationToken::new();
        let listed = self.clients.detached(tree.session().0, address.to_owned(), cut.clone());
        listed.tell_open(tree.transactions());
        let (stage, since) = (Stage::Free(tree), Instant::now());
        let state = Mutex::new(State { stage, listed: Some(listed), since });
        let parked = Arc::new(Parked { token, tokens: Arc::clone(self), cut, state });
        let mut open = self.open.lock();
        if open.is_closed {
            return Err(Error::Aborted { txn: TxnId(1), reason: AbortReason::Shutdown });
        }
        open.by_token.insert(token, Arc::clone(&parked));
        Ok(parked)
    }

    /// The transaction of a token.
    pub fn find(&self, token: Token) -> Option<Arc<Parked>> {
        self.open.lock().by_token.get(&token).cloned()
    }

    /// Ends transactions that are idle, until the server drains; then all of them.
    pub async fn watch(self: Arc<Self>, drain: CancellationToken) {
        let look_again = || tokio::time::sleep(LOOK_AGAIN_AFTER);
        while drain.run_until_cancelled(look_again()).await.is_some() {
            self.sweep();
        }
        let mut open = self.open.lock();
        open.is_closed = true;
        let all = std::mem::take(&mut open.by_token);
        drop(open);
        all.into_values().for_each(|parked| parked.end());
    }

    /// Aborts what was idle for too long, forgets what has been aborted for as long, and what an
    /// operator has cut off.
    fn sweep(&self) {
        let is_due = |parked: &&Arc<Parked>| parked.is_due();
        let due: Vec<Arc<Parked>> =
            self.open.lock().by_token.values().filter(is_due).cloned().collect();
        due.into_iter().for_each(|parked| parked.age());
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
            // The next look finds it.
            Stage::Free(_) if self.cut.is_cancelled() => Err(NotFree::Over),
            Stage::Free(tree) => {
                let in_use = Stage::InUse { was_aborted: tree.is_aborted() };
                match std::mem::replace(&mut state.stage, in_use) {
                    Stage::Free(tree) => Ok(tree),
                    Stage::InUse { .. } | Stage::Over => Err(NotFree::Over),
                }
            }
            Stage::InUse { .. } => Err(NotFree::InUse),
            Stage::Over => Err(NotFree::Over),
        }
    }

    /// Puts the transaction back. It is not idle from now on, unless it was aborted before. If it
    /// was ended meanwhile, because the server drains, it is rolled back.
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
            Stage::InUse { .. } => Err(NotFree::InUse),
            Stage::Over => Err(NotFree::Over),
        }
    }

    /// Notes that the transaction has ended, or ends it.
    pub fn end(&self) {
        let mut state = self.state.lock();
        let ended = (std::mem::replace(&mut state.stage, Stage::Over), state.listed.take());
        drop(state);
        self.tokens.open.lock().by_token.remove(&self.token);
        drop(ended);
    }

    /// Whether it is aborted, as far as is known while a command runs in it; none if it is over.
    pub fn is_aborted(&self) -> Option<bool> {
        match self.look(Detached::is_aborted) {
            Ok(is_aborted) => Some(is_aborted),
            Err(NotFree::InUse) => Some(false),
            Err(NotFree::Over) => None,
        }
    }

    /// Whether there is something for [`Parked::age`] to do.
    fn is_due(&self) -> bool {
        let state = self.state.lock();
        let Stage::Free(tree) = &state.stage else { return false };
        let is_idle = state.since.elapsed() > self.tokens.idle_max;
        is_idle || self.cut.is_cancelled() || tree.is_view_old()
    }

    /// Aborts it if it is idle or its view is too old; ends it if it has been aborted for long, or
    /// an operator wants that.
    fn age(&self) {
        if self.cut.is_cancelled() {
            return self.end();
        }
        // Somebody may have been quicker.
        let Ok(mut tree) = self.take() else { return };
        let is_idle = self.state.lock().since.elapsed() > self.tokens.idle_max;
        match (tree.is_aborted(), is_idle) {
            (true, true) => {
                drop(tree);
                return self.end();
            }
            (false, true) => tree.abort(AbortReason::Idle),
            (_, false) => tree.abort_old_view(),
        }
        self.put_back(tree);
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
