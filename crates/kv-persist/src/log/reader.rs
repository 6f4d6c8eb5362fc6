//! Reading the log while it is written: how the checkpoint gets what it folds.

use std::ops::ControlFlow;
use std::sync::Arc;

use kv_core::Revision;

use super::append::Log;
use super::chain::{ChainPlace, EachRecord};
use crate::error::Error;

/// Reads commits in their order, and remembers where it is, so that nothing is read twice.
#[derive(Debug, Clone)]
pub struct LogReader {
    log: Arc<Log>,
    after: Revision,
    /// None until it has read something.
    place: Option<ChainPlace>,
}

impl LogReader {
    /// A reader that begins with the commit after `after`.
    pub(super) fn new(log: Arc<Log>, after: Revision) -> LogReader {
        LogReader { log, after, place: None }
    }

    /// The last commit that it has read.
    pub fn after(&self) -> Revision {
        self.after
    }

    /// Hands over the commits from where it is through `through`, which must be durable: see
    /// [`Log::synced`]. It stops before if those commits take `bytes_max` of the log, but not
    /// before the first. After an error it is where it was, and hands over the same again.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Mismatch`] if the log no longer has what it had;
    /// [`Error::Io`]; what `each` answers.
    ///
    /// # Panics
    ///
    /// If `through` is not durable yet.
    pub fn read(
        &mut self,
        through: Revision,
        bytes_max: u64,
        each: &mut EachRecord<'_>,
    ) -> Result<(), Error> {
        let log = &*self.log;
        assert!(
            through.0 <= log.synced().get(),
            "only what is durable is read while it is written"
        );
        let chain = log.segments.lock().clone();
        let begins = || {
            chain.place_after(self.after).ok_or_else(|| Error::Mismatch {
                path: log.options.dir.clone(),
                what: format!("the commits after revision {} were removed", self.after),
            })
        };
        // A segment that was read to its end may have been cut since.
        let known = self.place.filter(|place| chain.has(place));
        let mut place = known.map_or_else(begins, Ok)?;
        let after = self.after;
        let mut bytes = 0;
        chain.read(&*log.fs, &log.options, &mut place, through, &mut |record| {
            if record.stamp.revision > after {
                bytes += record.log_bytes;
                each(record)?;
            }
            let is_enough = bytes >= bytes_max.max(1);
            Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        self.after = place.last().revision.max(after);
        self.place = Some(place);
        Ok(())
    }
}
