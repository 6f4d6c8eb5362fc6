//! Calling operations until they have a result, where nobody has to wait for a lock or for room.

use kv_core::{Error, Pause, Session, Step};

/// Calls an operation until it has a result.
pub(crate) fn run<T>(
    session: &mut Session,
    mut operation: impl FnMut(&mut Session) -> Step<T>,
) -> Result<T, Error> {
    loop {
        match operation(session) {
            Ok(done) => return Ok(done),
            Err(Pause::Fetch(fetch)) => session.database().fetch(&fetch)?,
            Err(Pause::Failed(error)) => return Err(*error),
            Err(pause) => panic!("{pause:?}"),
        }
    }
}
