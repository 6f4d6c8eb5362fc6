//! A wait for a lock, as something that a thread can block on or a task can await.
//!
//! The lock manager itself never blocks: it hands out a [`LockWait`] and later settles it. A
//! settled wait does not carry the lock to whoever waits; the operation that asked is called
//! again and finds the lock granted, or the time up.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::Owner;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The lock is held now.
    Granted,
    /// The time was up first; nothing is held. Names one who stood in the way, if still known.
    TimedOut(Option<Owner>),
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

/// The shared half: the queue settles it, the waiter looks at it.
#[derive(Debug)]
pub(crate) struct WaitCell {
    state: Mutex<State>,
    settled: Condvar,
    deadline: Option<Instant>,
}

impl WaitCell {
    pub(crate) fn new(deadline: Option<Instant>) -> WaitCell {
        WaitCell { state: Mutex::default(), settled: Condvar::new(), deadline }
    }

    pub(crate) fn settle(&self, outcome: Outcome) {
        let waker = {
            let mut state = self.state.lock();
            debug_assert!(state.outcome.is_none(), "a wait ends once");
            state.outcome = Some(outcome);
            state.waker.take()
        };
        self.settled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.state.lock().outcome
    }
}

/// A wait for a lock. Block on it or await it, then call the operation again.
///
/// It knows its deadline but keeps no time: when the deadline has passed, call the session's
/// [`expire`](crate::Session::expire) before the operation. Dropping it changes nothing; the
/// request stays queued until it is granted, expires, or its transaction ends.
#[derive(Clone)]
pub struct LockWait {
    pub(crate) cell: Arc<WaitCell>,
}

impl LockWait {
    /// When the wait has lasted long enough. None: it may wait for ever.
    pub fn deadline(&self) -> Option<Instant> {
        self.cell.deadline
    }

    /// Whether the operation can be called again.
    pub fn is_settled(&self) -> bool {
        self.cell.outcome().is_some()
    }

    /// Blocks this thread until the wait is settled or its deadline has passed.
    pub fn block(&self) {
        let mut state = self.cell.state.lock();
        while state.outcome.is_none() {
            match self.cell.deadline {
                None => self.cell.settled.wait(&mut state),
                Some(deadline) => {
                    if self.cell.settled.wait_until(&mut state, deadline).timed_out() {
                        return;
                    }
                }
            }
        }
    }
}

impl Future for LockWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.cell.state.lock();
        if state.outcome.is_some() {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl fmt::Debug for LockWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockWait").field("outcome", &self.cell.outcome()).finish()
    }
}
