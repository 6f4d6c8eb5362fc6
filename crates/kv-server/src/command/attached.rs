//! TOKEN, ATTACH, and how a client runs commands in transactions that have a token.
//!
//! Such a transaction is [parked](crate::tokens) between commands. What a client knows of it is
//! where that is and what it has called the transactions in it; their numbers are of the client's
//! session, like those of all the others that it has.
//!
//! ```text
//!   command in it ─► enter: parked ─► session ─► run, pauses and all ─► park: session ─► parked
//! ```
//!
//! Between enter and park it is a transaction of the session like any other, and no command knows
//! the difference. What has ended in somebody else's hands keeps its number until the client ends
//! it, too: what was to be done in it must not be done in another, nor become one of its own.

use std::sync::Arc;

use kv_core::error::{AbortReason, Limit};
use kv_core::{Error, Name, Step, TxnId, TxnInfo};
use kv_protocol::{Reply, Request, TransactionState};

use super::{Client, Next};
use crate::tokens::{NotFree, Parked, Token};

/// The transactions with a token that a client has numbers for.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    all: Vec<Attached>,
    /// The one that a command runs in.
    inside: Option<usize>,
    /// How often the client has attached to something.
    counted: u64,
}

/// One of them, with all that is nested in it.
#[derive(Debug)]
struct Attached {
    parked: Arc<Parked>,
    /// What those that are open are called, the root first; as of the last command in it, or of the
    /// beginning of this one.
    names: Vec<Name>,
    /// Those that this client has begun or attached to and has not ended, the last one last. Others
    /// may have begun more, and ended some of these. Never empty.
    begun: Vec<TxnId>,
    /// What was known of those that were open then.
    seen: Vec<TxnInfo>,
    /// Where it stands in the order in which the client has begun or attached to transactions: the
    /// last number that there was then, and how often it had attached to something.
    attached: (TxnId, u64),
}

impl Attached {
    fn of(parked: Arc<Parked>, names: Vec<Name>, tree: &[TxnInfo]) -> Attached {
        let begun = names.iter().map(|name| name.txn).collect();
        let seen = named(tree, &names);
        Attached { parked, names, begun, seen, attached: (TxnId(0), 0) }
    }

    fn root(&self) -> TxnId {
        self.names[0].txn
    }

    /// The one that the client means when it names none.
    fn current(&self) -> TxnId {
        self.begun.last().copied().unwrap_or(self.root())
    }

    /// Where it stands in the order of what the client means when it names nothing.
    fn order(&self) -> (TxnId, u64) {
        self.attached.max((self.current(), 0))
    }

    fn has(&self, txn: TxnId) -> bool {
        self.begun.contains(&txn) || self.is_open(txn)
    }

    fn is_open(&self, txn: TxnId) -> bool {
        self.names.iter().any(|name| name.txn == txn)
    }
}

/// What is told of a tree's transactions, under the names that a client has for them.
fn named(tree: &[TxnInfo], names: &[Name]) -> Vec<TxnInfo> {
    let mut parent = None;
    let under_name = |(info, name): (&TxnInfo, &Name)| {
        let parent = parent.replace(name.txn);
        TxnInfo { txn: name.txn, parent, ..*info }
    };
    tree.iter().zip(names).map(under_name).collect()
}

impl Attachments {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a command runs in one of them, or has.
    #[inline]
    pub(super) fn is_inside(&self) -> bool {
        self.inside.is_some()
    }

    /// Which of them has the transaction that is meant, and which that is: the one that is named
    /// or, beside `own` of the client's others, the current one.
    fn find(&self, txn: Option<TxnId>, own: Option<TxnId>) -> Option<(usize, TxnId)> {
        if let Some(txn) = txn {
            let at = self.all.iter().position(|attached| attached.has(txn))?;
            return Some((at, txn));
        }
        let (at, last) = self.all.iter().enumerate().max_by_key(|(_, of)| of.order())?;
        own.is_none_or(|own| (own, 0) < last.order()).then(|| (at, last.current()))
    }

    fn of(&self, parked: &Arc<Parked>) -> Option<usize> {
        self.all.iter().position(|attached| Arc::ptr_eq(&attached.parked, parked))
    }

    /// Forgets what is over but for the last of it: as long as that is there, nothing that was
    /// meant for one of them is done elsewhere; and they do not add up.
    fn forget_old(&mut self) {
        let is_over = |attached: &Attached| attached.parked.is_aborted().is_none();
        let last = self.all.iter().filter(|of| is_over(of)).map(Attached::order).max();
        self.all.retain(|of| !is_over(of) || Some(of.order()) == last);
    }

    /// Forgets a number, and all of them with the transaction itself.
    fn forget(&mut self, at: usize, txn: TxnId) {
        let attached = &mut self.all[at];
        attached.begun.retain(|begun| *begun != txn);
        if attached.begun.is_empty() || attached.parked.is_aborted().is_none() {
            self.all.remove(at);
        }
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
        let meant = self.attachments.find(txn, self.session.current());
        let entered = self.enter(txn);
        // It has no number here from now on: its client knows that it is over.
        if let (Err(Error::EndedElsewhere(_)), Request::Commit { .. } | Request::Rollback { .. }) =
            (&entered, request)
            && let Some((at, txn)) = meant
        {
            self.attachments.forget(at, txn);
        }
        entered
    }

    /// Has the named or the current transaction be in the session, if it has a token.
    pub(super) fn enter(&mut self, txn: Option<TxnId>) -> Result<(), Error> {
        if self.attachments.inside.is_some() {
            return Ok(());
        }
        match self.attachments.find(txn, self.session.current()) {
            Some((at, txn)) => self.enter_at(at, txn),
            None => Ok(()),
        }
    }

    fn enter_at(&mut self, at: usize, txn: TxnId) -> Result<(), Error> {
        let attached = &mut self.attachments.all[at];
        let tree = attached.parked.take().map_err(|why| match why {
            NotFree::InUse => Error::InUse(Some(txn)),
            NotFree::Over => Error::EndedElsewhere(txn),
            NotFree::Drained => Error::Aborted { txn, reason: AbortReason::Shutdown },
        })?;
        attached.names = self.session.attach(tree, &attached.names, Some(txn));
        let is_open = attached.is_open(txn);
        self.attachments.inside = Some(at);
        if !is_open {
            self.park();
            return Err(Error::EndedElsewhere(txn));
        }
        Ok(())
    }

    /// Puts the transaction that the last command ran in back to where it can be found by its
    /// token, if it has one. To be called when a command is done, or will not be run again.
    #[inline]
    pub(crate) fn park(&mut self) {
        if let Some(at) = self.attachments.inside.take() {
            self.park_at(at);
        }
    }

    fn park_at(&mut self, at: usize) {
        let attached = &mut self.attachments.all[at];
        let tree = match std::thread::panicking() {
            // What state it is in is not known: it is rolled back with the session.
            true => None,
            false => self.session.detach(Some(attached.root())).ok(),
        };
        let Some(tree) = tree else {
            attached.parked.end();
            self.attachments.all.remove(at);
            return;
        };
        let names = tree.names();
        // What the command has ended; what others have keeps its number.
        let was_open = std::mem::replace(&mut attached.names, names);
        let has_ended = |txn: TxnId| was_open.iter().any(|name| name.txn == txn);
        let begun = std::mem::take(&mut attached.begun);
        attached.begun =
            begun.into_iter().filter(|txn| attached.is_open(*txn) || !has_ended(*txn)).collect();
        attached.seen = named(&tree.transactions(), &attached.names);
        attached.parked.put_back(tree);
    }

    /// Notes that the transaction which was entered has a new one nested in it.
    pub(super) fn note_begun(&mut self, txn: TxnId) {
        if let Some(at) = self.attachments.inside {
            self.attachments.all[at].begun.push(txn);
        }
    }

    /// Rolls back all that the client has open, but for what has a token: that stays.
    pub(crate) fn roll_back_all(&mut self) {
        self.park();
        self.session.rollback_all();
    }

    /// Lets go of all transactions that have a token, whose numbers mean nothing from now on.
    pub(crate) fn let_go(&mut self) {
        self.park();
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
            Some((at, txn)) => {
                let attached = &self.attachments.all[at];
                attached.parked.is_aborted().filter(|_| attached.is_open(txn))
            }
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
        for attached in &mut self.attachments.all {
            let looked = attached.parked.look(|tree| {
                let names = self.session.name(tree, &attached.names);
                (named(&tree.transactions(), &names), names)
            });
            match looked {
                Ok(now) => (attached.seen, attached.names) = now,
                Err(NotFree::InUse) => {}
                Err(NotFree::Over | NotFree::Drained) => continue,
            }
            all.extend_from_slice(&attached.seen);
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
        if let Some(at) = self.attachments.inside {
            return Ok(self.attachments.all[at].parked.token());
        }
        if let Some((at, txn)) = self.attachments.find(txn, self.session.current()) {
            let parked = &self.attachments.all[at].parked;
            return match parked.is_aborted() {
                Some(_) => Ok(parked.token()),
                None => Err(Error::EndedElsewhere(txn)),
            };
        }
        self.session.check_live(txn)?;
        let token = Token::random()?;
        let tree = self.session.detach(txn)?;
        self.attachments.forget_old();
        let (names, infos) = (tree.names(), tree.transactions());
        let parked = self.server.tokens().park(token, tree, &self.info.address)?;
        self.attachments.all.push(Attached::of(parked, names, &infos));
        Ok(token)
    }

    pub(super) fn attach(&mut self, out: &mut Vec<u8>, token: &[u8]) -> Step<Next> {
        let token = Token::parse(token).ok_or(Error::NoSuchToken)?;
        let txn = self.join(token)?;
        self.park();
        self.reply(out, &Reply::Began(txn.0))
    }

    /// Enters the transaction of a token, the innermost that is open; answers what that is called
    /// here.
    pub(crate) fn join(&mut self, token: Token) -> Result<TxnId, Error> {
        let parked = self.server.tokens().find(token).ok_or(Error::NoSuchToken)?;
        let tree = parked.take().map_err(|why| match why {
            NotFree::InUse => Error::InUse(None),
            NotFree::Over | NotFree::Drained => Error::NoSuchToken,
        })?;
        let at = match self.attachments.of(&parked) {
            Some(at) => {
                let attached = &mut self.attachments.all[at];
                attached.names = self.session.attach(tree, &attached.names, None);
                at
            }
            None => {
                self.attachments.forget_old();
                if let Err(refused) = self.check_room(tree.depth()) {
                    parked.put_back(tree);
                    return Err(refused);
                }
                let infos = tree.transactions();
                let names = self.session.attach(tree, &[], None);
                self.attachments.all.push(Attached::of(parked, names, &infos));
                self.attachments.all.len() - 1
            }
        };
        self.attachments.inside = Some(at);
        self.attachments.counted += 1;
        // It is what names none is done in from now on, whoever has begun it.
        let attached = &mut self.attachments.all[at];
        attached.begun = attached.names.iter().map(|name| name.txn).collect();
        attached.attached = (self.session.last_number(), self.attachments.counted);
        Ok(attached.current())
    }

    /// Refuses so many more transactions where all that the client has numbers for are as many as a
    /// session may have. The session itself knows of those only that are in it.
    pub(super) fn check_room(&self, more: usize) -> Result<(), Error> {
        let max = self.server.config().session_transactions_max;
        let inside = self.attachments.inside;
        let all = self.attachments.all.iter().enumerate();
        let elsewhere = all.filter(|(at, _)| Some(*at) != inside);
        let elsewhere: usize = elsewhere.map(|(_, attached)| attached.names.len()).sum();
        match self.session.open_count() + elsewhere + more > max {
            true => Err(Error::Limit { limit: Limit::SessionTransactions, max }),
            false => Ok(()),
        }
    }
}
