//! The end of a store, which keeps its time: whatever takes longer is left to the end of the
//! process, because the log has everything.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Store;
use crate::checkpoint::Checkpointer;
use crate::deadline::{Deadline, Joined};
use crate::error::Error;

/// How long the end of the log is waited for in any case: what is in memory only is lost otherwise.
const LOG_TIME_MIN: Duration = Duration::from_secs(1);

/// How long a fold is waited for in any case: a thread that has nothing to do ends at once.
const FOLD_TIME_MIN: Duration = Duration::from_millis(100);

impl Store {
    /// Writes what is left, and folds it as long as there is time, so that the next start has
    /// little to replay. Whatever is not folded is in the log. Nothing is to be committed after.
    /// The directory is let go when this is dropped; or, if something did not end in time, with
    /// the process.
    ///
    /// # Errors
    ///
    /// If the log has failed, or did not come to its end in time: then what was committed last may
    /// be lost.
    pub fn close(&self, time: Duration) -> Result<(), Error> {
        let deadline = Deadline::new(time, &self.is_hurried);
        self.checkpoint.begin_stop();
        if let Some(writer) = self.writer.lock().take()
            && !writer.stop_until(&deadline, LOG_TIME_MIN)
        {
            self.leave("the log is still being written");
            let fault = "the log was not written to its end in time; what was not acknowledged \
                         may be lost";
            return Err(Error::Engine(kv_core::Error::Io(fault.into())));
        }
        if let Some(fault) = self.log.failure() {
            return Err(Error::Engine(kv_core::Error::Io(fault)));
        }
        match self.checkpoint.stop_until(&deadline, FOLD_TIME_MIN) {
            Some(Joined::Ended(checkpointer)) => self.fold_rest(checkpointer, &deadline),
            Some(Joined::Runs) => self.leave("a fold is still going on; the log has everything"),
            Some(Joined::Panicked) | None => {}
        }
        Ok(())
    }

    /// Has a [`Store::close`] that is going on, or comes, end as soon as what is in memory is in
    /// the log.
    pub fn hurry(&self) {
        self.is_hurried.store(true, Ordering::SeqCst);
    }

    /// Folds what is left in a thread of its own, so that the deadline is kept. A failure loses
    /// nothing.
    fn fold_rest(&self, mut checkpointer: Checkpointer, deadline: &Deadline) {
        let until = deadline.clone();
        let fold = move || checkpointer.fold_rest(|| until.is_over());
        let thread = std::thread::Builder::new().name("kv-close".into()).spawn(fold);
        match thread.map(|thread| deadline.join(thread, FOLD_TIME_MIN)) {
            Ok(Joined::Ended(Ok(())) | Joined::Panicked) => {}
            Ok(Joined::Ended(Err(error))) => {
                tracing::warn!(%error, "the last fold failed; the log has what was not folded");
            }
            Ok(Joined::Runs) => {
                self.leave("the last fold is still going on; the log has everything")
            }
            Err(error) => tracing::warn!(%error, "no thread to fold in; the log has everything"),
        }
    }

    /// Leaves a thread to the end of the process. Until then nobody else may use the directory.
    fn leave(&self, what: &'static str) {
        tracing::warn!("not waited for: {what}");
        std::mem::forget(Arc::clone(&self.dir));
    }
}
