//! What must not be lost while the process lives on: the thread that folds the log. The one that
//! writes it has something to say first, to those who wait for it: see `log::thread`.

/// Ends the process when its thread panics. Without the checkpoint the log would fill up until no
/// commit is taken; the next start finds everything in the files.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
