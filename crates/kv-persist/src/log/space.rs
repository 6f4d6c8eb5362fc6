//! Space for commits: set aside before they are installed, so that a full disk refuses cleanly.
//!
//! Two things bound it. The *disk*: a reservation is backed by space that the writer has allocated
//! in the active segment. And the *log*: once it holds as much as it may, commits wait until the
//! checkpoint has folded some of it, so that writers are slowed to the fold's rate. The log may
//! pass its bound by the last commit that was let in, so that one larger than the bound can pass.
//! While the fold fails nobody waits for it: at the bound, commits are refused.
//!
//! Whoever must wait draws a ticket: the sum of all bytes that have been waited for. The watermark
//! rises by as much as there is room, so that about as many are woken as can go on, in the order in
//! which they came.

use std::sync::Arc;

use kv_core::{Reached, Watermark};
use parking_lot::Mutex;

/// What is set aside, and what may be.
#[derive(Debug)]
pub(super) struct Space {
    state: Mutex<State>,
    room: Arc<Watermark>,
    /// How much the log may hold, in bytes.
    held_bytes_max: u64,
    /// How much is allocated at once, in bytes.
    step_bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of the active segment that have room on the disk and are not written yet.
    allocated: u64,
    /// Of these, set aside for commits.
    claimed: u64,
    /// Bytes that the log holds, those set aside included, and has not been told to forget.
    held: u64,
    /// The largest reservation for which too little was allocated.
    wanted: u64,
    /// Whether the disk refused to allocate more.
    is_disk_full: bool,
    /// Whether the disk refused a write in spite of what was allocated.
    is_write_refused: bool,
    /// Why the last fold failed, if it did.
    fold_failure: Option<FoldFailure>,
    /// The last ticket.
    ticket: u64,
}

/// Why the log cannot be folded.
#[derive(Debug, Clone)]
pub(super) enum FoldFailure {
    /// The disk is full.
    DiskFull,
    /// Something else, told in words.
    Other(String),
}

/// Why nothing was set aside.
#[derive(Debug)]
pub(super) enum Refused {
    /// Because the checkpoint has to fold first.
    Bound(Reached),
    /// Because the writer has to allocate first.
    Unallocated(Reached),
    /// Because the disk is full.
    DiskFull,
    /// Because the checkpoint has to fold first, and cannot.
    Unfolded(String),
}

impl Space {
    pub(super) fn new(held: u64, held_bytes_max: u64, step_bytes: u64) -> Space {
        let state = State { held, ..State::default() };
        Space { state: Mutex::new(state), room: Watermark::new(0), held_bytes_max, step_bytes }
    }

    /// Sets `bytes` aside.
    pub(super) fn claim(&self, bytes: u64) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.is_write_refused {
            return Err(Refused::DiskFull);
        }
        if state.held >= self.held_bytes_max {
            return Err(match &state.fold_failure {
                None => Refused::Bound(self.wait(&mut state, bytes)),
                Some(FoldFailure::DiskFull) => Refused::DiskFull,
                Some(FoldFailure::Other(why)) => Refused::Unfolded(why.clone()),
            });
        }
        if bytes > state.unclaimed() {
            if state.is_disk_full {
                return Err(Refused::DiskFull);
            }
            state.wanted = state.wanted.max(bytes);
            return Err(Refused::Unallocated(self.wait(&mut state, bytes)));
        }
        state.claimed += bytes;
        state.held += bytes;
        Ok(())
    }

    /// Draws a ticket.
    fn wait(&self, state: &mut State, bytes: u64) -> Reached {
        state.ticket = state.ticket.max(self.room.get()) + bytes;
        self.room.reached(state.ticket)
    }

    /// Gives back what was set aside.
    pub(super) fn unclaim(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.claimed -= bytes;
        state.held = state.held.saturating_sub(bytes);
        self.wake(&state);
    }

    /// A batch was written: of what was set aside for it, it took so much.
    pub(super) fn written(&self, reserved: u64, bytes: u64) {
        let mut state = self.state.lock();
        state.claimed -= reserved;
        state.allocated = state.allocated.saturating_sub(bytes);
        state.held = (state.held + bytes).saturating_sub(reserved);
        state.is_write_refused = false;
        self.wake(&state);
    }

    /// The checkpoint has folded so much.
    pub(super) fn free(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.held = state.held.saturating_sub(bytes);
        self.wake(&state);
    }

    /// Takes back what was said to be folded.
    pub(super) fn unfree(&self, bytes: u64) {
        self.state.lock().held += bytes;
    }

    /// Whether folding works, or why it fails. Whoever waits for a fold that fails is told so.
    pub(super) fn set_fold_failure(&self, failure: Option<FoldFailure>) {
        let mut state = self.state.lock();
        state.fold_failure = failure;
        if state.fold_failure.is_some() && state.held >= self.held_bytes_max {
            self.room.advance(state.ticket);
        }
    }

    /// How much more is to be allocated now: what is wanted at least, and a step beyond it.
    pub(super) fn to_allocate(&self) -> Option<ToAllocate> {
        let mut state = self.state.lock();
        let unclaimed = state.unclaimed();
        if unclaimed >= state.wanted.max(self.step_bytes / 2) {
            // Whoever wanted more than the disk has was told so; others may try.
            state.is_disk_full = false;
            return None;
        }
        let least = state.wanted.saturating_sub(unclaimed);
        Some(ToAllocate { least, best: least + self.step_bytes })
    }

    /// So much more was allocated.
    pub(super) fn allocated(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.allocated += bytes;
        if state.unclaimed() >= state.wanted {
            state.wanted = 0;
            state.is_disk_full = false;
        }
        self.wake(&state);
    }

    /// The disk is too full to allocate more: whoever waits for it is told so.
    pub(super) fn disk_is_full(&self) {
        let mut state = self.state.lock();
        state.is_disk_full = true;
        state.wanted = 0;
        self.room.advance(state.ticket);
    }

    /// The disk refused a write.
    pub(super) fn write_was_refused(&self) {
        let mut state = self.state.lock();
        state.is_write_refused = true;
        self.room.advance(state.ticket);
    }

    /// Goes over to a segment that has at least as much allocated.
    pub(super) fn move_to(&self, allocated: u64) {
        let mut state = self.state.lock();
        assert!(allocated >= state.claimed, "what is set aside stays backed");
        state.allocated = allocated;
        self.wake(&state);
    }

    /// How much is allocated and not written yet.
    pub(super) fn unwritten(&self) -> u64 {
        self.state.lock().allocated
    }

    /// How much the log holds.
    pub(super) fn held(&self) -> u64 {
        self.state.lock().held
    }

    /// Whether somebody waits for the writer to allocate.
    pub(super) fn is_wanted(&self) -> bool {
        self.state.lock().wanted > 0
    }

    /// Whether the disk refuses reservations or writes.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.is_disk_full || state.is_write_refused
    }

    /// Wakes those that can go on, if any were overlooked because others gave up waiting.
    pub(super) fn wake_overlooked(&self) {
        self.wake(&self.state.lock());
    }

    /// Nobody will ever be given anything.
    pub(super) fn fail(&self) {
        self.room.get_stuck();
    }

    /// Wakes as many as there is room for.
    fn wake(&self, state: &State) {
        let served = self.room.get();
        if served >= state.ticket || state.held >= self.held_bytes_max {
            return;
        }
        let room = state.unclaimed().min(self.held_bytes_max - state.held);
        self.room.advance(served.saturating_add(room).min(state.ticket));
    }
}

impl State {
    fn unclaimed(&self) -> u64 {
        self.allocated.saturating_sub(self.claimed)
    }
}

/// What the writer is to allocate, in bytes beyond what is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ToAllocate {
    /// Without this much somebody cannot go on. May be 0.
    pub(super) least: u64,
    /// With this much nobody will have to wait soon.
    pub(super) best: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A space with so much allocated.
    fn space(allocated: u64, held_bytes_max: u64) -> Space {
        let space = Space::new(0, held_bytes_max, 100);
        space.allocated(allocated);
        space
    }

    fn wait_of(refused: Result<(), Refused>) -> Reached {
        match refused {
            Err(Refused::Bound(room) | Refused::Unallocated(room)) => room,
            other => panic!("{other:?} is no wait"),
        }
    }

    fn is_over(wait: &mut Reached) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::future::Future::poll(std::pin::Pin::new(wait), &mut context).is_ready()
    }

    #[test]
    fn no_more_is_set_aside_than_is_allocated() {
        let space = space(50, 1000);
        assert!(space.claim(30).is_ok());
        let mut wait = wait_of(space.claim(30));
        assert!(space.is_wanted() && !is_over(&mut wait));
        assert_eq!(space.to_allocate(), Some(ToAllocate { least: 10, best: 110 }));
        space.allocated(110);
        assert!(is_over(&mut wait) && !space.is_wanted());
        assert!(space.claim(130).is_ok() && space.claim(1).is_err());
    }

    #[test]
    fn what_was_not_needed_is_given_back() {
        let space = space(100, 1000);
        space.claim(60).expect("room");
        space.claim(40).expect("room");
        space.written(60, 20);
        assert_eq!((space.held(), space.unwritten()), (60, 80));
        assert!(space.claim(40).is_ok() && space.claim(1).is_err());
        space.unclaim(40);
        assert!(space.claim(40).is_ok());
    }

    #[test]
    fn about_as_many_are_woken_as_there_is_room_for() {
        let space = space(1000, 100);
        space.claim(100).expect("room");
        let mut waits: Vec<_> = (0..4).map(|_| wait_of(space.claim(30))).collect();
        space.free(40);
        let woken: Vec<_> = waits.iter_mut().map(is_over).collect();
        assert_eq!(woken, [true, false, false, false]);
        // The first two gave up: those behind them are found when they are looked for.
        waits.drain(..2);
        space.wake_overlooked();
        space.wake_overlooked();
        assert!(waits.iter_mut().all(is_over));
    }

    #[test]
    fn the_bound_is_passed_by_one_claim_at_most() {
        let space = space(1000, 100);
        space.claim(99).expect("room");
        space.claim(500).expect("a little room is enough for one");
        let mut wait = wait_of(space.claim(1));
        space.free(499);
        assert!(!is_over(&mut wait), "it is still full");
        space.free(1);
        assert!(is_over(&mut wait));
        space.unfree(1);
        assert!(matches!(space.claim(1), Err(Refused::Bound(_))));
    }

    #[test]
    fn nobody_waits_for_a_fold_that_fails() {
        let space = space(1000, 100);
        space.claim(100).expect("room");
        let mut wait = wait_of(space.claim(1));
        space.set_fold_failure(Some(FoldFailure::Other("broken".into())));
        assert!(is_over(&mut wait));
        assert!(matches!(space.claim(1), Err(Refused::Unfolded(why)) if why == "broken"));
        space.set_fold_failure(Some(FoldFailure::DiskFull));
        assert!(matches!(space.claim(1), Err(Refused::DiskFull)));
        space.set_fold_failure(None);
        let mut wait = wait_of(space.claim(1));
        assert!(!is_over(&mut wait));
        space.free(1);
        assert!(is_over(&mut wait) && space.claim(1).is_ok());
    }

    #[test]
    fn below_the_bound_a_fold_that_fails_is_in_nobodys_way() {
        let space = space(1000, 100);
        space.set_fold_failure(Some(FoldFailure::DiskFull));
        assert!(space.claim(99).is_ok());
    }

    #[test]
    fn whoever_waits_for_space_that_the_disk_has_not_is_told() {
        let space = space(100, 1000);
        let mut wait = wait_of(space.claim(300));
        space.disk_is_full();
        assert!(is_over(&mut wait) && space.is_full());
        assert!(matches!(space.claim(300), Err(Refused::DiskFull)));
        assert!(space.claim(40).is_ok(), "what is allocated already may be used");
        assert_eq!(space.to_allocate(), None);
        assert!(!space.is_full(), "the small ones are not told of what a large one lacked");
        space.write_was_refused();
        assert!(matches!(space.claim(1), Err(Refused::DiskFull)));
        space.written(40, 40);
        assert!(space.claim(1).is_ok());
    }
}
