//! When the snapshot is to forget what was deleted or expired, and who is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kv_core::clock::{Clock, SystemClock};

use super::{Checkpointer, turn};
use crate::error::Error;
use crate::snapshot::Forgotten;

/// Calls of [`Snapshot::forget`](crate::snapshot::Snapshot::forget) in a row, each of them some
/// milliseconds, as long as each finds something.
const CALLS_MAX: usize = 16;

/// How often it is looked whether something is due: a part of the retention, between these two.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(60);
const LOOKS_PER_RETENTION: u32 = 16;

/// Told of the keys that are as if they had never been, when that is durable.
type OnForgotten = dyn Fn(&[Forgotten]) + Send;

/// Asked for a time, in milliseconds since the Unix epoch: what expired before it is not there for
/// any reader; none if nobody holds a view.
type ViewsJudgeFrom = dyn Fn() -> Option<u64> + Send;

/// What it goes by.
pub(super) struct Forgetting {
    /// How long a deleted key's counter is kept; for ever, if there is none.
    retention: Option<Duration>,
    on_forgotten: Option<Box<OnForgotten>>,
    views_judge_from: Option<Box<ViewsJudgeFrom>>,
    clock: Arc<dyn Clock>,
    /// The latest time that it has seen.
    now_ms: u64,
}

impl Default for Forgetting {
    fn default() -> Forgetting {
        Forgetting {
            retention: None,
            on_forgotten: None,
            views_judge_from: None,
            clock: Arc::new(SystemClock),
            now_ms: 0,
        }
    }
}

impl fmt::Debug for Forgetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Forgetting");
        fields.field("retention", &self.retention).field("now_ms", &self.now_ms);
        fields.finish_non_exhaustive()
    }
}

impl Checkpointer {
    /// How long the counter of a deleted or expired key is kept. By default it is for ever.
    pub fn tombstone_retention(&mut self, retention: Duration) -> &mut Checkpointer {
        self.forgetting.retention = Some(retention);
        self
    }

    /// Has somebody told which keys the snapshot has forgotten. By default nobody is.
    pub fn on_forgotten(
        &mut self,
        told: impl Fn(&[Forgotten]) + Send + 'static,
    ) -> &mut Checkpointer {
        self.forgetting.on_forgotten = Some(Box::new(told));
        self
    }

    /// Has somebody asked what open views may still show: that is not forgotten, however short the
    /// retention is.
    pub fn views_judge_from(
        &mut self,
        asked: impl Fn() -> Option<u64> + Send + 'static,
    ) -> &mut Checkpointer {
        self.forgetting.views_judge_from = Some(Box::new(asked));
        self
    }

    /// Tells how long ago something was. Tests have one that they move.
    #[doc(hidden)]
    pub fn clock(&mut self, clock: Arc<dyn Clock>) -> &mut Checkpointer {
        self.forgetting.clock = clock;
        self
    }

    /// How often [`Checkpointer::forget`] should be called when nothing is folded; never, without a
    /// retention.
    pub(super) fn forgets_every(&self) -> Option<Duration> {
        let part = self.forgetting.retention? / LOOKS_PER_RETENTION;
        Some(part.clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX))
    }

    /// Has the snapshot forget some of what was deleted, or expired, longer ago than the retention.
    /// Answers how many keys.
    ///
    /// # Errors
    ///
    /// As [`Checkpointer::step`].
    pub fn forget(&mut self) -> Result<usize, Error> {
        let Some(retention) = self.forgetting.retention else {
            return Ok(0);
        };
        let now_ms = self.forgetting.clock.wall_ms().max(self.snapshot.through().time_ms);
        self.forgetting.now_ms = self.forgetting.now_ms.max(now_ms);
        let retention_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
        let views_ms = self.forgetting.views_judge_from.as_ref().and_then(|asked| asked());
        let before_ms = self.forgetting.now_ms.saturating_sub(retention_ms);
        let before_ms = views_ms.map_or(before_ms, |views_ms| before_ms.min(views_ms));
        let mut count = 0;
        for _ in 0..CALLS_MAX {
            let mut forgotten = Ok(Vec::new());
            let snapshot = &mut *self.snapshot;
            turn(&self.log, &self.idle_time)(&mut || forgotten = snapshot.forget(before_ms));
            let forgotten = forgotten?;
            if forgotten.is_empty() {
                break;
            }
            count += forgotten.len();
            if let Some(told) = &self.forgetting.on_forgotten {
                told(&forgotten);
            }
        }
        Ok(count)
    }

    /// The same, for whoever has something else to do: what cannot be done now is done later.
    pub(super) fn forget_unasked(&mut self) {
        // Writers who wait for the next fold are not to wait for this.
        if self.log.is_pressed() {
            return;
        }
        if let Err(error) = self.forget() {
            tracing::warn!(%error, "what was deleted long ago is forgotten later");
        }
    }
}
