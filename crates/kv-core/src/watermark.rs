//! A number that only rises, and who waits for it to reach another.
//!
//! The log's durable revision is one, the room that the log has for commits another. Whoever
//! raises it wakes those that waited for less; whoever waits may block a thread or be a task.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use parking_lot::Mutex;

/// A number that only rises.
#[derive(Debug)]
pub struct Watermark {
    at: AtomicU64,
    is_stuck: AtomicBool,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    tickets: u64,
    /// By what they wait for, then by ticket.
    wakers: BTreeMap<(u64, u64), Waker>,
}

/// The number will never rise again, because what raised it has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck;

impl Watermark {
    /// A watermark that stands at `at`.
    pub fn new(at: u64) -> Arc<Watermark> {
        Arc::new(Watermark {
            at: AtomicU64::new(at),
            is_stuck: AtomicBool::new(false),
            waiters: Mutex::default(),
        })
    }

    /// Where it stands.
    pub fn get(&self) -> u64 {
        self.at.load(Ordering::SeqCst)
    }

    /// Whether it will never rise again.
    pub fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::SeqCst)
    }

    /// Raises it, and wakes all that waited for no more than this. Lower than it stands: nothing.
    pub fn advance(&self, at: u64) {
        self.at.fetch_max(at, Ordering::SeqCst);
        let reached = {
            let mut waiters = self.waiters.lock();
            match at.checked_add(1) {
                None => std::mem::take(&mut waiters.wakers),
                Some(above) => {
                    let waiting = waiters.wakers.split_off(&(above, 0));
                    std::mem::replace(&mut waiters.wakers, waiting)
                }
            }
        };
        reached.into_values().for_each(Waker::wake);
    }

    /// Says that it will never rise again: all that wait, now or later, for more than it has
    /// reached are told so.
    pub fn get_stuck(&self) {
        self.is_stuck.store(true, Ordering::SeqCst);
        let all = std::mem::take(&mut self.waiters.lock().wakers);
        all.into_values().for_each(Waker::wake);
    }

    /// A wait until it has reached `wanted`.
    pub fn reached(self: &Arc<Self>, wanted: u64) -> Reached {
        Reached { watermark: Arc::clone(self), wanted, ticket: None }
    }

    fn outcome(&self, wanted: u64) -> Option<Result<(), Stuck>> {
        // In this order: what was reached before it got stuck counts.
        let is_stuck = self.is_stuck();
        if self.get() >= wanted {
            return Some(Ok(()));
        }
        is_stuck.then_some(Err(Stuck))
    }
}

/// A wait for a watermark: await it, or block on it. It registers when it is first polled, and
/// its place is given up when it is dropped.
pub struct Reached {
    watermark: Arc<Watermark>,
    wanted: u64,
    ticket: Option<u64>,
}

impl Reached {
    /// Blocks this thread until the number is reached.
    ///
    /// # Errors
    ///
    /// [`Stuck`] if it never will be.
    pub fn block(mut self) -> Result<(), Stuck> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut self).poll(&mut context) {
                return outcome;
            }
            std::thread::park();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Future for Reached {
    type Output = Result<(), Stuck>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(outcome) = this.watermark.outcome(this.wanted) {
            return Poll::Ready(outcome);
        }
        let mut waiters = this.watermark.waiters.lock();
        // Asked again under the mutex: whoever raises it afterwards finds the waker.
        if let Some(outcome) = this.watermark.outcome(this.wanted) {
            return Poll::Ready(outcome);
        }
        let ticket = *this.ticket.get_or_insert_with(|| {
            waiters.tickets += 1;
            waiters.tickets
        });
        waiters.wakers.insert((this.wanted, ticket), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.watermark.waiters.lock().wakers.remove(&(self.wanted, ticket));
        }
    }
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reached({} of {})", self.watermark.get(), self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_when_it_is_reached_and_not_before() {
        let watermark = Watermark::new(3);
        assert_eq!(watermark.reached(3).block(), Ok(()));
        let waiting: Vec<_> = [5, 4, 6]
            .map(|wanted| {
                let wait = watermark.reached(wanted);
                std::thread::spawn(move || wait.block())
            })
            .into_iter()
            .collect();
        watermark.advance(4);
        watermark.advance(5);
        watermark.get_stuck();
        let outcomes: Vec<_> = waiting.into_iter().map(|wait| wait.join().ok()).collect();
        assert_eq!(outcomes, [Some(Ok(())), Some(Ok(())), Some(Err(Stuck))]);
        assert!(watermark.waiters.lock().wakers.is_empty());
    }

    #[test]
    fn a_dropped_wait_leaves_nothing_behind() {
        let watermark = Watermark::new(0);
        let mut wait = watermark.reached(1);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut wait).poll(&mut context).is_pending());
        assert_eq!(watermark.waiters.lock().wakers.len(), 1);
        drop(wait);
        assert!(watermark.waiters.lock().wakers.is_empty());
    }

    #[test]
    fn it_never_sinks() {
        let watermark = Watermark::new(0);
        watermark.advance(7);
        watermark.advance(5);
        assert_eq!(watermark.get(), 7);
        watermark.advance(u64::MAX);
        assert_eq!(watermark.get(), u64::MAX);
    }
}
