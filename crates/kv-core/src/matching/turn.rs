//! How much a scan does before others get their turn.
//!
//! What is compared is counted as effort, by how long it can take at most. A comparison that takes
//! longer than a turn pauses in the middle and is gone on with in the next.

use super::regular::Search;
use crate::limits::EFFORT_PER_TURN_MAX;
use crate::step::{Pause, Step};

/// One turn of a scan after the other.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// What was done in this one.
    effort: usize,
    /// What was not over when the one before was.
    pub(super) search: Option<Box<Search>>,
}

impl Turn {
    /// Begins with one more key, or pauses because there has been enough for a turn.
    pub(crate) fn take(&mut self) -> Step<()> {
        if self.effort >= EFFORT_PER_TURN_MAX {
            return Err(self.end());
        }
        self.effort += 1;
        Ok(())
    }

    pub(super) fn spend(&mut self, effort: usize) {
        self.effort += effort;
    }

    /// What may still be done in it; something, always.
    pub(super) fn left(&self) -> usize {
        EFFORT_PER_TURN_MAX.saturating_sub(self.effort).max(1)
    }

    pub(super) fn end(&mut self) -> Pause {
        self.effort = 0;
        Pause::Yield
    }
}
