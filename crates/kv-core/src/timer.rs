//! Wakes tasks at a time, for async callers that bring no timer of their own.
//!
//! One thread for the process, started when the first such task waits with a deadline. A server
//! with a runtime does not need it: it awaits a [`LockWait`] under its runtime's own timeout.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::clock::{Clock as _, SystemClock};
use crate::lock::wait::LockWait;

#[derive(Debug, Default)]
struct Timer {
    alarms: Mutex<BinaryHeap<Reverse<Alarm>>>,
    added: Condvar,
}

#[derive(Debug)]
struct Alarm {
    at: Instant,
    waker: Waker,
}

impl Timer {
    fn global() -> &'static Timer {
        static TIMER: OnceLock<&'static Timer> = OnceLock::new();
        TIMER.get_or_init(|| {
            let timer: &'static Timer = Box::leak(Box::default());
            let thread = std::thread::Builder::new().name("kv-core timer".into());
            // Without the thread nobody is woken by time; the waits still end when granted.
            let started = thread.spawn(|| timer.run());
            debug_assert!(started.is_ok());
            timer
        })
    }

    fn add(&self, alarm: Alarm) {
        self.alarms.lock().push(Reverse(alarm));
        self.added.notify_one();
    }

    fn run(&self) {
        let mut alarms = self.alarms.lock();
        loop {
            match alarms.peek().map(|Reverse(alarm)| alarm.at) {
                None => self.added.wait(&mut alarms),
                Some(at) if at <= SystemClock.now() => {
                    if let Some(Reverse(alarm)) = alarms.pop() {
                        alarm.waker.wake();
                    }
                }
                Some(at) => {
                    self.added.wait_until(&mut alarms, at);
                }
            }
        }
    }
}

/// Ready when the wait is settled or its deadline has passed.
#[derive(Debug)]
pub(crate) struct SettledOrLate {
    wait: LockWait,
    alarm: Told,
}

impl SettledOrLate {
    pub(crate) fn new(wait: LockWait) -> SettledOrLate {
        SettledOrLate { wait, alarm: Told::default() }
    }
}

impl Future for SettledOrLate {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Pin::new(&mut self.wait).poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(at) = self.wait.deadline() else { return Poll::Pending };
        if at <= SystemClock.now() {
            return Poll::Ready(());
        }
        self.alarm.set(at, context.waker());
        Poll::Pending
    }
}

/// The waker that was last told the time, so that each is told once.
#[derive(Debug, Default)]
struct Told(Option<Waker>);

impl Told {
    fn set(&mut self, at: Instant, waker: &Waker) {
        if self.0.as_ref().is_none_or(|told| !told.will_wake(waker)) {
            self.0 = Some(waker.clone());
            Timer::global().add(Alarm { at, waker: waker.clone() });
        }
    }
}

/// Ready after a while.
pub(crate) async fn sleep(duration: Duration) {
    let at = SystemClock.now() + duration;
    let mut alarm = Told::default();
    std::future::poll_fn(|context| {
        if at <= SystemClock.now() {
            return Poll::Ready(());
        }
        alarm.set(at, context.waker());
        Poll::Pending
    })
    .await;
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Alarm) -> bool {
        self.at == other.at
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Alarm) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Alarm) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
