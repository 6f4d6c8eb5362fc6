//! Transactions that outlive a request or a connection: each is in a place of its own, found by a
//! token of 128 random bits that its client was given and nobody else can guess.
//!
//! ```text
//!         TOKEN, /begin            COMMIT, ROLLBACK of the outermost
//!   (none) ───────────► free ◄──► in use ─────────────────────────────► over
//!                        │                                               ▲
//!                        │ idle for the limit                            │
//!                        └───────────► aborted: ABORTED ── as long once more
//! ```
//!
//! Whoever runs a command in one takes it out of its place and puts it back afterwards; whoever
//! comes meanwhile is told that it is in use. Which face he comes through makes no difference. Who
//! has taken it, and what he calls it, is with [`Client`](crate::command::Client).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::error::AbortReason;
use kv_core::{Detached, Error};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clients::{Clients, DETACHED, Entered};

/// Between two looks for transactions that are idle.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What a transaction is found by: 128 random bits, in 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u128);

impl Token {
    fn random() -> Result<Token, Error> {
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
    open: Mutex<HashMap<Token, Arc<Place>>>,
}

/// Where a transaction is while no command runs in it.
#[derive(Debug)]
pub struct Place {
    token: Token,
    tokens: Arc<Tokens>,
    /// Its place among the clients: an operator can see it, and end it.
    info: Entered,
    cut: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are free")]
enum State {
    Free {
        tree: Detached,
        since: Instant,
    },
    /// A command runs in it.
    InUse,
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

    /// Gives a transaction a place and a token. `address` is where whoever made it comes from.
    ///
    /// # Errors
    ///
    /// If there are no random bits; the transaction is rolled back then.
    pub fn add(self: &Arc<Self>, tree: Detached, address: &str) -> Result<Arc<Place>, Error> {
        let (token, cut) = (Token::random()?, CancellationToken::new());
        let (from, to) = (address.to_owned(), DETACHED.to_owned());
        let info = self.clients.enter(tree.session().0, from, to, cut.clone());
        let state = Mutex::new(State::InUse);
        let place = Arc::new(Place { token, tokens: Arc::clone(self), info, cut, state });
        place.put_back(tree);
        self.open.lock().insert(token, Arc::clone(&place));
        Ok(place)
    }

    /// The place of a token.
    pub fn find(&self, token: Token) -> Option<Arc<Place>> {
        self.open.lock().get(&token).cloned()
    }

    /// Ends transactions that are idle, until the server drains; then all of them.
    pub async fn watch(self: Arc<Self>, drain: CancellationToken) {
        let look_again = || tokio::time::sleep(LOOK_AGAIN_AFTER);
        while drain.run_until_cancelled(look_again()).await.is_some() {
            self.sweep();
        }
        let all: Vec<Arc<Place>> = self.open.lock().drain().map(|(_, place)| place).collect();
        all.into_iter().for_each(|place| place.end());
    }

    /// Aborts what was idle for too long, forgets what was for twice as long, and what an operator
    /// has cut off.
    fn sweep(&self) {
        // What takes long is done when others can find theirs again.
        let is_due = |place: &&Arc<Place>| place.is_due(self.idle_max);
        let due: Vec<Arc<Place>> = self.open.lock().values().filter(is_due).cloned().collect();
        due.into_iter().for_each(|place| place.age(self.idle_max));
    }
}

impl Place {
    /// What it is found by.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Takes the transaction, to run a command in it and [put it back](Place::put_back).
    ///
    /// # Errors
    ///
    /// Why it cannot be taken.
    pub fn take(&self) -> Result<Detached, NotFree> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::InUse) {
            State::Free { tree, .. } if !self.cut.is_cancelled() => Ok(tree),
            // The next look finds it.
            free @ State::Free { .. } => {
                *state = free;
                Err(NotFree::Over)
            }
            State::InUse => Err(NotFree::InUse),
            State::Over => {
                *state = State::Over;
                Err(NotFree::Over)
            }
        }
    }

    /// Puts the transaction back; it is not idle from now on. If it was ended meanwhile, because
    /// the server drains, it is rolled back.
    pub fn put_back(&self, tree: Detached) {
        self.info.tell_open(tree.transactions());
        let mut state = self.state.lock();
        match *state {
            State::Over => drop(state),
            State::InUse | State::Free { .. } => {
                *state = State::Free { tree, since: Instant::now() };
            }
        }
    }

    /// Notes that the transaction has ended, or ends it.
    pub fn end(&self) {
        let was = std::mem::replace(&mut *self.state.lock(), State::Over);
        self.tokens.open.lock().remove(&self.token);
        drop(was);
    }

    /// Whether it is aborted, as far as is known while a command runs in it; none if it is over.
    pub fn is_aborted(&self) -> Option<bool> {
        match &*self.state.lock() {
            State::Free { tree, .. } => Some(tree.is_aborted()),
            State::InUse => Some(false),
            State::Over => None,
        }
    }

    /// Whether there may be something for [`Place::age`] to do.
    fn is_due(&self, idle_max: Duration) -> bool {
        match &*self.state.lock() {
            State::Free { tree, since } => {
                self.cut.is_cancelled() || since.elapsed() > idle_max || tree.is_view_old()
            }
            State::InUse | State::Over => false,
        }
    }

    fn age(&self, idle_max: Duration) {
        let is_over = match &mut *self.state.lock() {
            State::Free { tree, since } => {
                if since.elapsed() > idle_max {
                    tree.abort(AbortReason::Idle);
                } else {
                    tree.abort_old_view();
                }
                self.info.tell_open(tree.transactions());
                self.cut.is_cancelled() || since.elapsed() > idle_max * 2
            }
            // Somebody was quicker.
            State::InUse | State::Over => false,
        };
        if is_over {
            self.end();
        }
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
