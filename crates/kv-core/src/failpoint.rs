//! Named places at which a test makes the program die, fail or dawdle, for all layers.
//!
//! Without the feature `testing` a place does nothing and costs nothing. With it, places are armed
//! by the environment variable `KV_FAILPOINTS`, read once, or by `arm`:
//!
//! ```text
//!   KV_FAILPOINTS="log.after_sync_before_publish=kill@3;snap.mid=error"
//!
//!   kill       the process ends at once, as by SIGKILL
//!   panic      the thread panics
//!   error      the place fails with an error of the operating system's kind
//!   delay:MS   it takes so many milliseconds longer
//!   …@N        only the N-th time; without it, every time
//! ```
//!
//! A place is passed by [`hit`]; by [`cross`], where nothing can fail any more; or by [`delay`],
//! where no thread may be blocked.

use std::io;

#[cfg(feature = "testing")]
pub use armed::{Action, Failpoint, arm, delay, disarm, is_armed};

/// Passes the place `name`.
///
/// # Errors
///
/// If the place is armed with `error`.
#[inline(always)]
pub fn hit(name: &'static str) -> io::Result<()> {
    let delay = delay(name)?;
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
    Ok(())
}

/// Passes the place `name`, which has no way to fail: `error` does nothing there.
#[inline(always)]
pub fn cross(name: &'static str) {
    // Nobody could be told.
    let _ = hit(name);
}

/// As [`hit`], but leaves it to the caller to dawdle for so long.
///
/// # Errors
///
/// As [`hit`].
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub fn delay(_name: &'static str) -> io::Result<std::time::Duration> {
    Ok(std::time::Duration::ZERO)
}

/// Whether something happens at the place `name`, now or at a later hit.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub fn is_armed(_name: &'static str) -> bool {
    false
}

#[cfg(feature = "testing")]
mod armed {
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use parking_lot::Mutex;

    /// What happens at a place.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Action {
        /// The process ends at once.
        Kill,
        /// The thread panics.
        Panic,
        /// The place fails.
        Error,
        /// It takes longer.
        Delay(Duration),
    }

    /// What happens at a place, and when.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Failpoint {
        /// What.
        pub action: Action,
        /// The how-manieth time, from 1; none is every time.
        pub only: Option<u64>,
    }

    #[derive(Debug, Default)]
    struct Places {
        armed: BTreeMap<String, Failpoint>,
        hits: BTreeMap<&'static str, u64>,
    }

    /// Read without the mutex, so that a place that nobody armed costs little.
    static IS_ARMED: AtomicBool = AtomicBool::new(false);

    static PLACES: LazyLock<Mutex<Places>> = LazyLock::new(|| {
        let mut places = Places::default();
        if let Ok(list) = std::env::var("KV_FAILPOINTS") {
            for item in list.split(';').filter(|item| !item.is_empty()) {
                let (name, failpoint) = parse(item).unwrap_or_else(|| {
                    panic!("KV_FAILPOINTS: {item:?} is not name=kill|panic|error|delay:MS[@N]")
                });
                places.armed.insert(name, failpoint);
            }
        }
        IS_ARMED.store(!places.armed.is_empty(), Ordering::SeqCst);
        Mutex::new(places)
    });

    fn parse(item: &str) -> Option<(String, Failpoint)> {
        let (name, what) = item.trim().split_once('=')?;
        let (what, only) = match what.split_once('@') {
            Some((what, only)) => (what, Some(only.parse().ok()?)),
            None => (what, None),
        };
        let action = match what.split_once(':') {
            None if what == "kill" => Action::Kill,
            None if what == "panic" => Action::Panic,
            None if what == "error" => Action::Error,
            Some(("delay", ms)) => Action::Delay(Duration::from_millis(ms.parse().ok()?)),
            _ => return None,
        };
        Some((name.to_owned(), Failpoint { action, only }))
    }

    /// Arms a place of this process, and counts its hits from 0.
    pub fn arm(name: &'static str, failpoint: Failpoint) {
        let mut places = PLACES.lock();
        places.armed.insert(name.to_owned(), failpoint);
        places.hits.remove(name);
        IS_ARMED.store(true, Ordering::SeqCst);
    }

    /// Disarms a place.
    pub fn disarm(name: &'static str) {
        PLACES.lock().armed.remove(name);
    }

    /// As [`hit`](super::hit), but leaves it to the caller to dawdle for so long.
    ///
    /// # Errors
    ///
    /// As [`hit`](super::hit).
    pub fn delay(name: &'static str) -> io::Result<Duration> {
        LazyLock::force(&PLACES);
        if !IS_ARMED.load(Ordering::SeqCst) {
            return Ok(Duration::ZERO);
        }
        let action = {
            let mut places = PLACES.lock();
            let hits = places.hits.entry(name).or_default();
            *hits += 1;
            let hits = *hits;
            match places.armed.get(name) {
                Some(point) if point.only.is_none_or(|only| only == hits) => point.action,
                _ => return Ok(Duration::ZERO),
            }
        };
        match action {
            Action::Kill => die(),
            Action::Panic => panic!("failpoint {name}"),
            Action::Error => Err(io::Error::other(format!("failpoint {name}"))),
            Action::Delay(duration) => Ok(duration),
        }
    }

    /// Whether something happens at the place `name`, now or at a later hit.
    pub fn is_armed(name: &'static str) -> bool {
        LazyLock::force(&PLACES);
        IS_ARMED.load(Ordering::SeqCst) && PLACES.lock().armed.contains_key(name)
    }

    /// Ends the process without any cleaning up.
    fn die() -> ! {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort()
    }

    #[cfg(test)]
    mod tests {
        use super::super::{cross, hit};
        use super::*;

        #[test]
        fn the_list_is_read_as_the_page_says() {
            let point = |action, only| Some(("a.b".to_owned(), Failpoint { action, only }));
            assert_eq!(parse("a.b=kill@3"), point(Action::Kill, Some(3)));
            assert_eq!(parse("a.b=panic"), point(Action::Panic, None));
            let delay = Action::Delay(Duration::from_millis(20));
            assert_eq!(parse("a.b=delay:20@1"), point(delay, Some(1)));
            for bad in ["a.b", "a.b=fall", "a.b=kill@x", "a.b=delay", "a.b=error:1"] {
                assert_eq!(parse(bad), None, "{bad}");
            }
        }

        #[test]
        fn only_the_chosen_hit_fails() {
            let failpoint = Failpoint { action: Action::Error, only: Some(2) };
            arm("test.second", failpoint);
            let outcomes = [(); 3].map(|()| hit("test.second").is_ok());
            assert_eq!(outcomes, [true, false, true]);
            arm("test.second", Failpoint { only: None, ..failpoint });
            assert!(hit("test.second").is_err() && hit("test.other").is_ok());
            cross("test.second");
            disarm("test.second");
            assert!(hit("test.second").is_ok());
        }

        #[test]
        fn who_must_not_block_is_told_how_long_to_wait() {
            let delay_for = Duration::from_secs(3600);
            arm("test.slow", Failpoint { action: Action::Delay(delay_for), only: Some(1) });
            assert_eq!(delay("test.slow").ok(), Some(delay_for));
            assert_eq!(delay("test.slow").ok(), Some(Duration::ZERO));
            disarm("test.slow");
        }
    }
}
