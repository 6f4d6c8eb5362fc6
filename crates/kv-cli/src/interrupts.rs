//! Ctrl-C, where it ends something within the program and not the program.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::exit::{Exit, Failure};

/// Whoever is to be told; the program ends if there is nobody.
static LISTENER: OnceLock<Mutex<Option<Sender<()>>>> = OnceLock::new();

/// Ctrl-C is told here as long as this lives.
pub(crate) struct Interrupts(Receiver<()>);

impl Interrupts {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let (sender, receiver) = channel();
        let listener = LISTENER.get_or_init(|| {
            std::thread::spawn(pass_on);
            Mutex::default()
        });
        *listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Ok(Interrupts(receiver))
    }

    /// Waits for so long; whether Ctrl-C came meanwhile.
    pub(crate) fn came_within(&self, time: Duration) -> bool {
        !matches!(self.0.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}

/// Tells each Ctrl-C to whoever listens then. From the first call on, the system's own way, which
/// is to end the program, is what this does when nobody listens.
fn pass_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
        let listener = LISTENER.get().map(Mutex::lock);
        let sender = listener.and_then(|of| of.unwrap_or_else(PoisonError::into_inner).clone());
        let is_heard = sender.is_some_and(|sender| sender.send(()).is_ok());
        if !is_heard {
            std::process::exit(Exit::Interrupted as i32);
        }
    }
}
