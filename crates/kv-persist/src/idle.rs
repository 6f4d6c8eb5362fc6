//! Work for the times when a processor has nothing else to do.
//!
//! A thread of the scheduler's idle class (`SCHED_IDLE`, see sched(7)) has two advantages over one
//! that is only nice: others that wake up are put on its processor as if that were free, and beside
//! them it gets next to nothing. But there is no way back from it without privileges, and where no
//! processor is ever free its work would hardly go on. So it is done in turns, each in a thread of
//! its own that ends with it, and whoever has work decides before each turn whether it can wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Does one turn in a thread of the idle class, and waits for it. Answers what processor time it
/// took. Without threads or without the class it is done all the same, like anything else.
pub(crate) fn turn(name: &str, act: &mut (dyn FnMut() + Send)) -> Duration {
    let mut spent = Duration::ZERO;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name(name.into());
        let spawned = builder.spawn_scoped(scope, || {
            let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
            let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
            act();
            spent = cpu_time();
            is_done.store(true, Ordering::Relaxed);
        });
        if let Ok(thread) = spawned
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    });
    if !is_done.into_inner() {
        act();
    }
    spent
}

/// The processor time that this thread has taken.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_done_once_in_a_thread_of_the_idle_class() {
        let mut seen = Vec::new();
        turn("idle", &mut || {
            let policy = thread_priority::thread_schedule_policy();
            seen.push((std::thread::current().id(), policy));
        });
        let [(thread, policy)] = &seen[..] else { panic!("{} turns", seen.len()) };
        assert_ne!(*thread, std::thread::current().id());
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        assert_eq!(policy.as_ref().expect("a policy"), &idle);
    }

    #[test]
    fn a_panic_of_a_turn_is_one_of_its_owner() {
        let panicked = std::panic::catch_unwind(|| turn("idle", &mut || panic!("no")));
        assert!(panicked.is_err());
    }
}
