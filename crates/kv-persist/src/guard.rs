//! What must not be lost while the process lives on: the threads that write and fold the log.

/// Ends the process when its thread panics. Without the writer nobody would ever be answered,
/// without the checkpoint the log would fill up; the next start finds everything in the files.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
