//! TOKEN, ATTACH, and how a client runs commands in transactions that have a token.
//!
//! Such a transaction is in its [place](crate::tokens::Place) between commands. What a client knows
//! of it is where that is and what it has called the transactions in it; their numbers are of the
//! client's session, like those of all the others that it has.
//!
//! ```text
//!   command in it ─► enter: place ─► session ─► run, pauses and all ─► leave: session ─► place
//! ```
//!
//! Between enter and leave it is a transaction of the session like any other, and no command knows
//! the difference. One that has ended in somebody else's hands keeps its number until the client
//! ends it, too: what was to be done in it must not become a transaction of its own.

use std::sync::Arc;

use kv_core::error::Limit;
use kv_core::{Error, Name, Step, TxnId, TxnInfo};
use kv_protocol::{Reply, Request, TransactionState};

use super::{Client, Next};
use crate::tokens::{NotFree, Place, Token};

/// The transactions with a token that a client has numbers for.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    all: Vec<Attached>,
    /// The one that a command runs in.
    inside: Option<usize>,
}

/// One of them.
#[derive(Debug)]
struct Attached {
    place: Arc<Place>,
    /// What its transactions are called, the root first; at the end of the last command in it.
    names: Vec<Name>,
    /// The last of them that this client has begun or attached to.
    begun_last: TxnId,
    /// What was known of them then.
    seen: Vec<TxnInfo>,
}

impl Attached {
    fn root(&self) -> TxnId {
        self.names[0].txn
    }

    /// The one that counts when it is asked which was begun last: others may have begun more.
    fn current(&self) -> TxnId {
        let begun = |name: &&Name| name.txn <= self.begun_last;
        self.names.iter().rfind(begun).map_or_else(|| self.root(), |name| name.txn)
    }
}

impl Attachments {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Which of them has the transaction that is meant: the one that is named or, beside `own` of
    /// the client's others, the current one.
    fn find(&self, txn: Option<TxnId>, own: Option<TxnId>) -> Option<usize> {
        if let Some(txn) = txn {
            let is_in = |attached: &Attached| attached.names.iter().any(|name| name.txn == txn);
            return self.all.iter().position(is_in);
        }
        let (at, current) =
            self.all.iter().map(Attached::current).enumerate().max_by_key(|(_, txn)| *txn)?;
        own.is_none_or(|own| own < current).then_some(at)
    }

    fn of_place(&self, place: &Arc<Place>) -> Option<usize> {
        self.all.iter().position(|attached| Arc::ptr_eq(&attached.place, place))
    }
}

impl Client {
    /// Has the transaction that a request runs in be in the session, if it has a token.
    pub(super) fn enter_for(&mut self, request: &Request<'_>) -> Result<(), Error> {
        let txn = request.transaction().map(TxnId);
        if matches!(request, Request::Token { .. }) || (txn.is_none() && !request.runs_in_current())
        {
            return Ok(());
        }
        let entered = self.enter(txn);
        // It has no number here from now on: its client knows that it is over.
        if let (Err(Error::EndedElsewhere(_)), Request::Commit { .. } | Request::Rollback { .. }) =
            (&entered, request)
            && let Some(at) = self.attachments.find(txn, self.session.current())
        {
            self.attachments.all.remove(at);
        }
        entered
    }

    /// Has the named or the current transaction be in the session, if it has a token.
    pub(super) fn enter(&mut self, txn: Option<TxnId>) -> Result<(), Error> {
        if self.attachments.inside.is_some() {
            return Ok(());
        }
        match self.attachments.find(txn, self.session.current()) {
            Some(at) => self.enter_at(at),
            None => Ok(()),
        }
    }

    fn enter_at(&mut self, at: usize) -> Result<(), Error> {
        let attached = &mut self.attachments.all[at];
        let tree = attached.place.take().map_err(|why| match why {
            NotFree::InUse => Error::InUse(Some(attached.current())),
            NotFree::Over => Error::EndedElsewhere(attached.current()),
        })?;
        attached.names = self.session.attach(tree, &attached.names);
        self.attachments.inside = Some(at);
        Ok(())
    }

    /// Puts the transaction that the last command ran in back into its place, if it has one. To be
    /// called when a command is done, or will not be run again.
    #[inline]
    pub(crate) fn leave(&mut self) {
        if let Some(at) = self.attachments.inside.take() {
            self.leave_at(at);
        }
    }

    fn leave_at(&mut self, at: usize) {
        let attached = &mut self.attachments.all[at];
        let tree = match std::thread::panicking() {
            // What state it is in is not known: it is rolled back with the session.
            true => None,
            false => self.session.detach(Some(attached.root())).ok(),
        };
        match tree {
            Some(tree) => {
                attached.names = tree.names();
                attached.seen = tree.transactions();
                for (info, name) in attached.seen.iter_mut().zip(&attached.names) {
                    (info.parent, info.txn) = (info.parent.map(|_| info.txn), name.txn);
                }
                attached.place.put_back(tree);
            }
            None => {
                attached.place.end();
                self.attachments.all.remove(at);
            }
        }
    }

    /// Notes that the transaction which was entered has a new one nested in it.
    pub(super) fn note_begun(&mut self, txn: TxnId) {
        if let Some(at) = self.attachments.inside {
            self.attachments.all[at].begun_last = txn;
        }
    }

    /// Rolls back all that the client has open, but for what has a token: that stays in its place.
    pub(crate) fn roll_back_all(&mut self) {
        self.leave();
        self.session.rollback_all();
    }

    /// Lets go of all transactions that have a token, whose numbers mean nothing from now on.
    pub(crate) fn let_go(&mut self) {
        self.leave();
        self.attachments.all.clear();
    }

    /// Whether the client has anything open, or numbers for what has a token.
    pub(crate) fn has_open_transactions(&self) -> bool {
        self.session.has_open_transactions() || !self.attachments.is_empty()
    }

    /// The state of the transaction that a command naming `txn` would run in.
    pub(super) fn state_of(&self, txn: Option<u64>) -> TransactionState {
        let txn = txn.map(TxnId);
        let elsewhere = match self.attachments.inside {
            Some(_) => None,
            None => self.attachments.find(txn, self.session.current()),
        };
        let is_aborted = match elsewhere {
            Some(at) => self.attachments.all[at].place.is_aborted(),
            None => self.session.is_aborted(txn),
        };
        match is_aborted {
            None => TransactionState::None,
            Some(true) => TransactionState::Aborted,
            Some(false) => TransactionState::Open,
        }
    }

    /// Every open transaction of the client, by number. Of one that a command of somebody else's
    /// runs in, what was known of it last.
    pub(super) fn open_transactions(&mut self) -> Vec<TxnInfo> {
        let mut all = self.session.transactions();
        for at in 0..self.attachments.all.len() {
            match self.enter_at(at) {
                Ok(()) => {
                    self.leave();
                    all.extend_from_slice(&self.attachments.all[at].seen);
                }
                Err(Error::InUse(_)) => all.extend_from_slice(&self.attachments.all[at].seen),
                Err(_) => {}
            }
        }
        all.sort_by_key(|info| info.txn);
        all
    }

    // ---- The commands.

    pub(super) fn token(&mut self, out: &mut Vec<u8>, txn: Option<u64>) -> Step<Next> {
        let token = self.token_of(txn.map(TxnId))?;
        self.reply(out, &Reply::Said(&token.to_string()))
    }

    /// The token of a transaction, by default the current one, which gets one if it has none. The
    /// client still has its numbers for it.
    pub(crate) fn token_of(&mut self, txn: Option<TxnId>) -> Result<Token, Error> {
        let at = match self.attachments.inside {
            Some(at) => Some(at),
            None => self.attachments.find(txn, self.session.current()),
        };
        if let Some(attached) = at.map(|at| &self.attachments.all[at]) {
            return match attached.place.is_aborted() {
                Some(_) => Ok(attached.place.token()),
                None => Err(Error::EndedElsewhere(attached.current())),
            };
        }
        self.session.check_live(txn)?;
        let tree = self.session.detach(txn)?;
        let names = tree.names();
        let place = self.server.tokens().add(tree, &self.info.address)?;
        let token = place.token();
        self.keep(place, names);
        Ok(token)
    }

    fn keep(&mut self, place: Arc<Place>, names: Vec<Name>) {
        let begun_last = names.last().map_or(TxnId(0), |name| name.txn);
        self.attachments.all.push(Attached { place, names, begun_last, seen: Vec::new() });
    }

    pub(super) fn attach(&mut self, out: &mut Vec<u8>, token: &[u8]) -> Step<Next> {
        let token = Token::parse(token).ok_or(Error::NoSuchToken)?;
        let txn = self.join(token)?;
        self.leave();
        self.reply(out, &Reply::Began(txn.0))
    }

    /// Enters the transaction of a token; answers what the innermost is called here.
    pub(crate) fn join(&mut self, token: Token) -> Result<TxnId, Error> {
        let place = self.server.tokens().find(token).ok_or(Error::NoSuchToken)?;
        let at = match self.attachments.of_place(&place) {
            Some(at) => {
                self.enter_at(at)?;
                at
            }
            None => {
                self.check_room()?;
                let tree = place.take().map_err(|why| match why {
                    NotFree::InUse => Error::InUse(None),
                    NotFree::Over => Error::NoSuchToken,
                })?;
                let names = self.session.attach(tree, &[]);
                self.keep(place, names);
                self.attachments.all.len() - 1
            }
        };
        self.attachments.inside = Some(at);
        let attached = &mut self.attachments.all[at];
        attached.begun_last = attached.names.last().map_or(TxnId(0), |name| name.txn);
        Ok(attached.begun_last)
    }

    /// Refuses one more transaction where all that the client has numbers for are as many as a
    /// session may have. The session itself knows of those only that are in it.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        let max = self.server.config().session_transactions_max;
        let inside = self.attachments.inside;
        let elsewhere =
            self.attachments.all.iter().enumerate().filter(|(at, _)| Some(*at) != inside);
        let elsewhere: usize = elsewhere.map(|(_, attached)| attached.names.len()).sum();
        if elsewhere > 0 && self.session.open_count() + elsewhere >= max {
            return Err(Error::Limit { limit: Limit::SessionTransactions, max });
        }
        Ok(())
    }
}
