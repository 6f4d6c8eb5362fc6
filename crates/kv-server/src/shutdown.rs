//! How the server stops: first it drains, then it is cut off.
//!
//! ```text
//!              drain()                    all tasks ended
//!  ┌─────────┐  SIGTERM  ┌──────────┐ ─────────────────────> Drained::Completely
//!  │ serving │ ────────> │ draining │  the time is up
//!  └─────────┘  SIGINT   └──────────┘ ─────────────────────> Drained::TimedOut
//!       │                     │       cut(), a 2nd signal
//!       └─────────────────────┴────────────────────────────> Drained::CutOff
//! ```
//!
//! *Draining*: listeners close; a connection finishes the command that it is running, tells its
//! client why its open transactions end (SHUTDOWN), and ends. *Cut off*: a connection ends at once,
//! in the middle of a command if need be; the engine rolls back whatever was not committed.
//!
//! What a connection does with the two tokens is not decided here. A SIGHUP changes nothing but is
//! logged: whoever sends one expects something to happen. SIGPIPE needs no care, since Rust's
//! runtime ignores it from the start.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// The state of the stop, shared by everything that has to end. Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task ended by itself.
    Completely,
    /// The time was up; this many tasks were cut off.
    TimedOut(usize),
    /// Someone did not want to wait; this many tasks were cut off.
    CutOff(usize),
}

impl Drained {
    /// A drain that ran its course is a success, whatever it found running; one that was cut short
    /// is not, so that a service manager can tell them apart.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Completely | Self::TimedOut(_) => ExitCode::SUCCESS,
            Self::CutOff(_) => ExitCode::FAILURE,
        }
    }
}

impl Shutdown {
    /// A server that is serving.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the server should take on nothing new.
    pub fn drain_token(&self) -> &CancellationToken {
        &self.drain
    }

    /// Cancelled when the server should drop what it is doing. Never before the drain token.
    pub fn cut_token(&self) -> &CancellationToken {
        &self.cut
    }

    /// Whether the server is draining or cut off.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// The tasks that a drain waits for. Spawn connections here.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Begins to drain. Again does nothing.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Cuts everything off.
    pub fn cut(&self) {
        // In this order, so that nobody sees a server that is cut off but not draining.
        self.drain.cancel();
        self.cut.cancel();
    }

    /// Waits until the server is told to stop and its tasks have ended, for at most `timeout` after
    /// the drain has begun; then cuts off the tasks that are left.
    pub async fn drained(&self, timeout: Duration) -> Drained {
        self.drain.cancelled().await;
        self.tasks.close();
        let ended = tokio::select! {
            biased;
            () = self.tasks.wait() => {
                // What was cut off may have ended before this task has seen that it was.
                if self.cut.is_cancelled() {
                    return Drained::CutOff(0);
                }
                info!("drained: every connection has ended");
                return Drained::Completely;
            }
            () = self.cut.cancelled() => Drained::CutOff as fn(usize) -> Drained,
            () = tokio::time::sleep(timeout) => Drained::TimedOut,
        };
        let left = self.tasks.len();
        warn!(left, "not drained: the connections that are left are cut off");
        self.cut();
        ended(left)
    }
}

/// The signals that the server minds, caught from the moment that this value exists.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Held so that the signal is caught: a write beyond the limit on files then fails, and says
    /// so, instead of ending the process.
    _file_size: Signal,
}

/// SIGXFSZ, by the number that it has on Linux and the BSDs.
const FILE_SIZE_EXCEEDED: i32 = 25;

impl Signals {
    /// Catches the signals. Call it before serving, or an early one kills the process undrained.
    ///
    /// # Errors
    /// When the operating system refuses to install a handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            _file_size: signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED))?,
        })
    }

    /// The name of the next signal that asks for a stop.
    async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => info!("SIGHUP is ignored: settings are read at start"),
            }
        }
    }
}

/// Stops the server when a signal asks for it: the first drains, the second cuts off. Never ends by
/// itself before that; spawn it outside the tasks that a drain waits for.
pub async fn run_signals(mut signals: Signals, shutdown: Shutdown) {
    let name = signals.stop().await;
    info!("{name}: draining; a second signal stops at once");
    shutdown.drain();
    let name = signals.stop().await;
    warn!("{name}: stopping at once");
    shutdown.cut();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_drain_waits_for_the_tasks() {
        let shutdown = Shutdown::new();
        let token = shutdown.drain_token().clone();
        shutdown.tasks().spawn(async move {
            token.cancelled().await;
            tokio::time::sleep(SHORT).await;
        });
        assert!(!shutdown.is_draining());
        shutdown.drain();
        assert!(shutdown.is_draining());
        assert_eq!(shutdown.drained(LONG).await, Drained::Completely);
        assert!(!shutdown.cut_token().is_cancelled());
    }

    #[tokio::test]
    async fn a_drain_has_an_end() {
        let shutdown = Shutdown::new();
        shutdown.tasks().spawn(std::future::pending::<()>());
        let cut = shutdown.cut_token().clone();
        shutdown.tasks().spawn(async move { cut.cancelled().await });
        shutdown.drain();
        assert_eq!(shutdown.drained(SHORT).await, Drained::TimedOut(2));
        assert!(shutdown.cut_token().is_cancelled());
    }

    #[tokio::test]
    async fn nothing_ends_before_it_is_told_to() {
        let shutdown = Shutdown::new();
        let drained = tokio::time::timeout(SHORT, shutdown.drained(Duration::ZERO));
        assert!(drained.await.is_err());
    }

    #[tokio::test]
    async fn a_cut_ends_a_drain_and_implies_it() {
        let shutdown = Shutdown::new();
        shutdown.tasks().spawn(std::future::pending::<()>());
        let other = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SHORT).await;
            other.cut();
        });
        let drained = shutdown.drained(LONG).await;
        assert_eq!(drained, Drained::CutOff(1));
        assert_eq!(format!("{:?}", drained.exit_code()), format!("{:?}", ExitCode::FAILURE));
        assert!(shutdown.is_draining());
    }
}
