//! Work on what sessions share that must be finished or never be seen: a panic within it ends the
//! process.
//!
//! A panic costs the session that it happens in, and nobody else: as the session is dropped, its
//! transactions are rolled back and its locks released. That is right as long as what sessions
//! share is whole at that moment. Within a [`Critical`] section it is not: a lock that its owner
//! has not noted would be held for ever, a shard's indexes may contradict each other, half of a
//! commit would be shown. No code can mend what some other code was interrupted in, so the process
//! ends instead, by `abort`, and the next start finds in the files all that was acknowledged.
//!
//! These are the sections:
//!
//! | where | what would be left half done |
//! |---|---|
//! | a shard's latch, held for writing | indexes, versions, the lock table |
//! | the mutex of all waits | the queue, and the marks in the shards that belong to it |
//! | the critical section of a commit | what has a revision and is not visible |
//! | taking a lock | a lock that its tree does not know of |
//! | ending a tree, or a child of one | locks that no tree knows of any more |
//! | a claim of log space, or giving it back | space that nobody has |

/// As long as this lives, a panic of its thread ends the process.
#[must_use = "the section ends when this is dropped"]
#[derive(Debug)]
pub(crate) struct Critical {
    /// Entered while a panic is under way, as by a session that is dropped. A second panic ends
    /// the process by itself, and the first did not happen here.
    was_panicking: bool,
}

impl Critical {
    /// Begins a section, which lasts to the end of the value's life.
    #[inline]
    pub(crate) fn enter() -> Critical {
        Critical { was_panicking: std::thread::panicking() }
    }
}

impl Drop for Critical {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            // The panic has said what was wrong.
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Set in the process that is to abort.
    const CHILD: &str = "KV_TEST_PANIC_WITHIN";

    #[test]
    fn a_panic_within_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let _ = catch_unwind(|| {
                let _whole = Critical::enter();
                panic!("within");
            });
            return;
        }
        let this = std::env::current_exe().expect("a test has a program");
        let name = "critical::tests::a_panic_within_ends_the_process";
        let output = std::process::Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("a process");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("within"), "the panic was said: {told}");
        assert!(!output.status.success(), "it went on after the panic");
        assert_eq!(output.status.code(), None, "it was aborted, by a signal");
    }

    #[test]
    fn what_is_cleaned_up_during_a_panic_does_not_end_the_process() {
        struct Cleaning;
        impl Drop for Cleaning {
            fn drop(&mut self) {
                let _whole = Critical::enter();
            }
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _cleaning = Cleaning;
            panic!("outside");
        }));
        assert!(outcome.is_err());
    }
}
