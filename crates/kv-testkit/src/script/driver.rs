//! What a store offers so that scripts can drive it: the one seam between runner and store.
//!
//! A driver only carries lines and knows when nothing moves any more. It judges nothing; that is
//! the runner's part.

/// A store, seen by one script. Each run gets a new driver over an empty store.
pub trait Driver {
    /// Sends one line in the named session, which the first use opens. Does not wait for a reply.
    ///
    /// # Errors
    /// When the line cannot be sent at all, with the reason.
    fn send(&mut self, session: &str, line: &str) -> Result<(), String>;

    /// The next complete reply of the session, all its lines, if there is one now.
    fn poll(&mut self, session: &str) -> Option<Vec<String>>;

    /// Returns when every session either has replied to all that it was sent or waits for a lock.
    ///
    /// # Errors
    /// When that state is not reached in a reasonable time, with what is still open.
    fn settle(&mut self) -> Result<(), String>;

    /// Drops the session without a word. Its name may be used again, for a new session.
    fn close(&mut self, session: &str);

    /// The rows of `LOCKS`, without the closing `END`.
    ///
    /// # Errors
    /// When the store does not answer, with the reason.
    fn locks(&mut self) -> Result<Vec<String>, String>;
}

/// Whether the reply to this command line is a list: rows, then `END n` or an error.
///
/// Every other reply is a single line. A driver over a byte stream needs this to tell where a
/// reply ends, because a row may look like anything.
#[must_use]
pub fn is_list_command(line: &str) -> bool {
    const LISTS: [&str; 12] = [
        "SCAN",
        "NEAREST",
        "SHOWALL",
        "HISTORY",
        "TRANSACTIONS",
        "LOCKS",
        "DEADLOCKS",
        "CLIENTS",
        "SHARDS",
        "STATS",
        "INFO",
        "HELP",
    ];
    let name = line.split_ascii_whitespace().next().unwrap_or("");
    LISTS.iter().any(|list| list.eq_ignore_ascii_case(name))
}
