//! The checkpoint: folds the log into the snapshot, piece by piece, then cuts the log.
//!
//! ```text
//!   log       ──[ folded, cut ]──[ a piece ]──[ durable ]──[ pending ]──►
//!   snapshot  through ──────────►└── sorted by key, the newest versions of each ──► one fold
//! ```
//!
//! A piece is what lies between the snapshot's revision and some durable revision. It is read
//! from the log, sorted by key, and folded in one step: durably, or not at all. Only then is the
//! log cut. So at any moment the snapshot and the log after it are the whole state.
//!
//! Commits never wait for a fold. It is done where a processor has nothing else to do, until the
//! log is three quarters full; then like all other work. As it goes on, the log is told how
//! much has been folded ([`Log::free`]), and lets writers go on by as much: when more is written
//! than can be folded, writers go at the pace of the fold, without stops.
//!
//! With a retention, what was deleted or expired longer ago is forgotten by the snapshot, a little
//! after each fold, and now and then when nothing is folded. The time that this goes by is that of
//! commits: it never runs backwards.
//!
//! [`Checkpointer`] does one piece at a time in the caller's thread; [`thread`] drives it.

mod forget;
pub mod thread;

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kv_core::{Revision, Stamp};

use crate::codec;
use crate::error::Error;
use crate::failpoint;
use crate::idle;
use crate::log::{Log, LogReader};
use crate::snapshot::{Backup, Fold, KeyChanges, Snapshot, SnapshotStats};
use crate::stored::{Keep, Stored, Through};
use crate::wipes::with_deletes;

use forget::Forgetting;

/// Folds a log into a snapshot.
pub struct Checkpointer {
    log: Arc<Log>,
    reader: LogReader,
    snapshot: Box<dyn Snapshot>,
    keep: Keep,
    /// Bytes of the log in a piece, about, at most; else it is as the snapshot likes it.
    piece_bytes_max: u64,
    on_folded: Option<Box<OnFolded>>,
    is_wanted: Option<Box<IsWanted>>,
    judged_until: Option<Box<JudgedUntil>>,
    /// Bytes of the next piece for which writers were let in by a fold that failed.
    freed_ahead: u64,
    /// Processor time of turns in threads of their own.
    idle_time: Cell<Duration>,
    forgetting: Forgetting,
    /// Cuts the log before the snapshot has what is cut: a planted bug.
    #[cfg(feature = "testing")]
    pub cuts_too_early: bool,
}

/// Told what the snapshot has been folded through, when that is durable; or none, when it could not
/// be folded.
type OnFolded = dyn Fn(Option<Revision>) + Send;

/// Asked whether more is wanted to be folded at once, since it was asked last.
type IsWanted = dyn Fn() -> bool + Send;

/// Asked by what time it was judged what has expired, in milliseconds since the Unix epoch, if
/// anything can.
type JudgedUntil = dyn Fn() -> Option<u64> + Send;

/// A piece of the log in memory.
#[derive(Debug, Default)]
struct Piece {
    payloads: Vec<u8>,
    records: Vec<(Stamp, Range<usize>)>,
    log_bytes: u64,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folded {
    /// How many keys were changed.
    pub keys: usize,
    /// What the snapshot has been folded through.
    pub through: Through,
    /// Whether there was more in the log than fits one piece.
    pub is_more: bool,
}

impl Checkpointer {
    /// Folds `log` into `snapshot`, which it follows.
    pub fn new(log: Arc<Log>, snapshot: Box<dyn Snapshot>, keep: Keep) -> Checkpointer {
        let reader = log.reader(snapshot.through().revision);
        Checkpointer {
            log,
            reader,
            snapshot,
            keep,
            piece_bytes_max: u64::MAX,
            on_folded: None,
            is_wanted: None,
            judged_until: None,
            freed_ahead: 0,
            idle_time: Cell::default(),
            forgetting: Forgetting::default(),
            #[cfg(feature = "testing")]
            cuts_too_early: false,
        }
    }

    /// Bytes of the log in a piece, about, at most. A piece is held in memory, and as much again.
    pub fn piece_bytes_max(&mut self, bytes: u64) -> &mut Checkpointer {
        self.piece_bytes_max = bytes;
        self
    }

    /// Has somebody told what the snapshot has been folded through, each time that it has; or none,
    /// when it could not be.
    pub fn on_folded(
        &mut self,
        told: impl Fn(Option<Revision>) + Send + 'static,
    ) -> &mut Checkpointer {
        self.on_folded = Some(Box::new(told));
        self
    }

    /// Has somebody asked whether more is wanted to be folded at once, whatever the schedule says.
    pub fn is_wanted(&mut self, asked: impl Fn() -> bool + Send + 'static) -> &mut Checkpointer {
        self.is_wanted = Some(Box::new(asked));
        self
    }

    /// Has somebody asked by what time, in milliseconds since the Unix epoch, it was judged what
    /// has expired. The snapshot keeps it, so that the clock does not run backwards over a restart.
    pub fn judged_until(
        &mut self,
        asked: impl Fn() -> Option<u64> + Send + 'static,
    ) -> &mut Checkpointer {
        self.judged_until = Some(Box::new(asked));
        self
    }

    fn judged_until_ms(&self) -> Option<u64> {
        self.judged_until.as_ref().and_then(|asked| asked())
    }

    /// Has the snapshot note by what time it was judged what has expired, if that is later by more
    /// than `lag` than what it has.
    ///
    /// # Errors
    ///
    /// As [`Checkpointer::step`].
    pub(crate) fn note_time(&mut self, lag: Duration) -> Result<(), Error> {
        let noted_ms = self.snapshot.through().time_ms;
        let lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        match self.judged_until_ms() {
            Some(judged_ms) if judged_ms > noted_ms.saturating_add(lag_ms) => {
                self.snapshot.note_time(judged_ms)
            }
            _ => Ok(()),
        }
    }

    /// Whether more is wanted to be folded at once, since this was asked last.
    pub(crate) fn take_wanted(&self) -> bool {
        self.is_wanted.as_ref().is_some_and(|asked| asked())
    }

    /// What the snapshot has been folded through.
    pub fn through(&self) -> Through {
        self.snapshot.through()
    }

    /// The processor time that this thread has taken, and the turns that it had others do.
    pub(crate) fn cpu_time(&self) -> Duration {
        idle::cpu_time() + self.idle_time.get()
    }

    /// The snapshot's size.
    pub fn stats(&self) -> SnapshotStats {
        self.snapshot.stats()
    }

    /// Folds one piece of what is durable by now, and cuts the log. Nothing, if there is nothing
    /// new.
    ///
    /// # Errors
    ///
    /// The snapshot and the log are as they were, and together still the whole state; the step can
    /// be repeated.
    pub fn step(&mut self) -> Result<Folded, Error> {
        let before = self.snapshot.through();
        let durable = Revision(self.log.synced().get());
        if durable <= before.revision {
            // Whoever waits for a fold is to look again: it may want what is durable in a moment.
            self.tell_folded(Some(before.revision));
            return Ok(Folded { keys: 0, through: before, is_more: false });
        }
        let bytes = self.snapshot.piece_bytes().min(self.piece_bytes_max);
        let piece = Piece::read(&mut self.reader, durable, bytes)?;
        let Some(&(through, _)) = piece.records.last() else {
            self.tell_folded(Some(before.revision));
            return Ok(Folded { keys: 0, through: before, is_more: false });
        };
        #[cfg(feature = "testing")]
        if self.cuts_too_early {
            self.log.cut(through.revision)?;
        }
        let folded = self.fold(&piece, through);
        if folded.is_err() {
            self.reader = self.log.reader(before.revision);
            self.tell_folded(None);
        }
        let keys = folded?;
        self.tell_folded(Some(through.revision));
        failpoint::hit("snap.before_log_truncate").map_err(injected)?;
        self.log.cut(through.revision)?;
        failpoint::hit("snap.after_log_truncate").map_err(injected)?;
        if let Err(error) = self.snapshot.tidy() {
            tracing::debug!(%error, "the snapshot is put in order later");
        }
        self.forget_unasked();
        Ok(Folded { keys, through, is_more: through.revision < durable })
    }

    /// Folds what is left of a log whose writer has ended, until it is time to stop.
    ///
    /// # Errors
    ///
    /// As [`Checkpointer::step`].
    pub(crate) fn fold_rest(&mut self, is_time_over: impl Fn() -> bool) -> Result<(), Error> {
        while !is_time_over() {
            let folded = self.step()?;
            if !folded.is_more {
                // Nothing is left to be replayed: the next start begins with an empty segment.
                self.note_time(Duration::ZERO)?;
                self.log.rotate_if_folded(folded.through.revision)?;
                return self.log.cut(folded.through.revision);
            }
        }
        Ok(())
    }

    /// Tells whoever is to know what has been folded, or, with none, that it could not be.
    pub(crate) fn tell_folded(&self, through: Option<Revision>) {
        self.on_folded.iter().for_each(|told| told(through));
    }

    fn fold(&mut self, piece: &Piece, through: Through) -> Result<usize, Error> {
        let (keys, wipe) = piece.changes(self.keep)?;
        let count = keys.len();
        let judged_ms = self.judged_until_ms().unwrap_or(0);
        let through = Through { time_ms: through.time_ms.max(judged_ms), ..through };
        let freed = Cell::new(self.freed_ahead);
        let free_to = |bytes: u64| {
            if bytes > freed.get() {
                self.log.free(bytes - freed.replace(bytes));
            }
        };
        // Writers may go on by what has been folded so far.
        let progress = |done: usize| {
            let share = done as f64 / count.max(1) as f64;
            free_to(((piece.log_bytes as f64 * share) as u64).min(piece.log_bytes));
        };
        let turn = turn(&self.log, &self.idle_time);
        let fold = Fold { keys, wipe, through, progress: &progress, turn: &turn };
        let folded = self.snapshot.fold(&fold);
        if folded.is_ok() {
            free_to(piece.log_bytes);
        }
        self.freed_ahead = if folded.is_ok() { 0 } else { freed.get() };
        folded.map(|()| count)
    }

    /// Writes a copy of the snapshot to a new SQLite file.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::backup`].
    pub fn backup(&self, to: &Path) -> Result<(), Error> {
        self.snapshot.backup(to)
    }

    /// What copies the snapshot while folds go on, if it can be.
    pub fn backup_source(&self) -> Option<Box<dyn Backup>> {
        self.snapshot.backup_source()
    }
}

impl Piece {
    /// Reads up to about so many bytes of what is durable.
    fn read(reader: &mut LogReader, durable: Revision, bytes_max: u64) -> Result<Piece, Error> {
        let mut piece = Piece::default();
        reader.read(durable, bytes_max, &mut |record| {
            let start = piece.payloads.len();
            piece.payloads.extend_from_slice(record.payload);
            piece.records.push((record.stamp, start..piece.payloads.len()));
            piece.log_bytes += record.log_bytes;
            Ok(())
        })?;
        Ok(piece)
    }

    /// The changes by key, each key's oldest first; of each no more than are kept. And the first
    /// commit that deleted every key, if one did.
    fn changes(&self, keep: Keep) -> Result<(Vec<KeyChanges<'_>>, Option<Stamp>), Error> {
        let (mut changes, mut wipes) = (Vec::new(), Vec::new());
        for (stamp, payload) in &self.records {
            wipes.extend(codec::is_wipe(&self.payloads[payload.clone()]).then_some(*stamp));
            for change in codec::changes(&self.payloads[payload.clone()]) {
                let change = change.map_err(|bad| {
                    // It was whole when it was read a moment ago.
                    Error::Engine(kv_core::Error::Internal(format!(
                        "the record of revision {}: {bad}",
                        stamp.revision
                    )))
                })?;
                let kv_core::Change { key, version, datum } = change;
                changes.push(Stored { key, version, stamp: *stamp, datum });
            }
        }
        // Stable: the versions of a key stay in the order of the log.
        changes.sort_by(|one, other| one.key.cmp(other.key));
        let of_key = changes.chunk_by(|one, other| one.key == other.key);
        let kept = |versions: &[Stored<'_>]| match keep {
            Keep::All => 0,
            Keep::Newest(kept) => {
                versions.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX))
            }
        };
        let keys = of_key.map(|versions| {
            let mut versions = match wipes[..] {
                [] => versions.to_vec(),
                _ => with_deletes(versions, &wipes),
            };
            versions.drain(..kept(&versions));
            KeyChanges { versions }
        });
        Ok((keys.collect(), wipes.first().copied()))
    }
}

/// Where work is done that is in nobody's way.
fn turn<'a>(
    log: &'a Log,
    idle_time: &'a Cell<Duration>,
) -> impl Fn(&mut (dyn FnMut() + Send)) + 'a {
    |act| {
        if log.is_pressed() {
            return act();
        }
        let spent = idle::turn("kv-checkpoint", act);
        idle_time.set(idle_time.get() + spent);
    }
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Checkpointer");
        fields.field("snapshot", &self.snapshot).field("keep", &self.keep);
        fields.field("forgetting", &self.forgetting).finish_non_exhaustive()
    }
}

fn injected(error: std::io::Error) -> Error {
    Error::io("cut", Path::new("the log"), error)
}
