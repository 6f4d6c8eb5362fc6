//! Pauses between attempts, so that those who failed together do not meet again.
//!
//! Each pause is drawn from the second half of a span that doubles up to a bound ("equal jitter",
//! M. Brooker, *Exponential Backoff and Jitter*, 2015): never nothing, so that a server that has
//! trouble gets air, and never the same for two clients.

use std::time::Duration;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};
use crate::transaction::Failed;

/// How often something is done again.
#[derive(Debug)]
pub(crate) struct Attempts {
    left: u32,
    backoff: Backoff,
}

impl Attempts {
    /// So many, the first one included.
    pub(crate) fn new(attempts_max: u32) -> Self {
        Attempts { left: attempts_max, backoff: Backoff::default() }
    }

    /// How long to wait before it is done again, if it is.
    ///
    /// # Errors
    ///
    /// What it failed with, if that was the last time.
    pub(crate) fn pause_after<E>(&mut self, failed: Failed<E>) -> Result<Duration, E> {
        self.left = self.left.saturating_sub(1);
        if !failed.again || self.left == 0 {
            return Err(failed.error);
        }
        Ok(self.backoff.pause())
    }
}

/// Draws one pause after the other.
#[derive(Debug)]
pub(crate) struct Backoff {
    span: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { span: BACKOFF_MIN }
    }
}

impl Backoff {
    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let half = self.span / 2;
        self.span = (self.span * 2).min(BACKOFF_MAX);
        half + half.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let mut span = BACKOFF_MIN;
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause >= span / 2 && pause <= span, "{pause:?} of {span:?}");
            span = (span * 2).min(BACKOFF_MAX);
        }
        assert_eq!(span, BACKOFF_MAX);
        assert_ne!(backoff.pause(), backoff.pause());
    }
}
