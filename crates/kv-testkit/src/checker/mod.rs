//! The history checker: given what every transaction did and saw, is there an explanation that
//! the isolation levels allow?
//!
//! It works from outside, like Elle and after Adya's theory: it knows nothing of locks and
//! views, only what clients wrote and read. Every written value is unique, so a value that was
//! read names its writer; the commit revisions give the order of versions. From these follow the
//! edges of a graph, each of which says "before":
//!
//! ```text
//! ww   A wrote a version of a key, B the next one                     A -> B
//! wr   A wrote a version, B read it                                   A -> B
//! rw   A read a version, B wrote the next one (an anti-dependency);   A -> B
//!      a scan reads every key of its interval, the missing ones too
//! rt   A had ended before B began                                     A -> B
//! ```
//!
//! | promise | check |
//! |---|---|
//! | nobody reads what was rolled back, or not final, or never written | G1a, G1b, … in `reads` |
//! | SERIALIZABLE, READONLY and single commands are strictly serializable | no cycle |
//! | in the mix, only an rw edge from a SNAPSHOT read can close a cycle | no cycle without those |
//! | SNAPSHOT reads one view, taken at its begin; the first updater wins | `views` |
//! | revisions follow real time, and a key's history tells the same as its writers | `index` |
//!
//! As every path over transactions of other modes stays in the graph, one search for cycles
//! serves the second and the third row. Real time counts for every mode: what was acknowledged is
//! durable, and whoever begins afterwards sees it.
//!
//! **No false alarms.** Where a history leaves something open, the checker assumes the best: a
//! transaction with an unknown outcome counts as committed only if somebody saw its write; a read
//! of a missing key that may have been several versions gives only the edges that all of them
//! share. So it can miss a violation there, never invent one.

mod cycles;
mod edges;
mod history;
mod index;
mod reads;
mod report;
mod views;

#[cfg(test)]
mod tests;

pub use history::{
    History, Installed, Mode, Operation, Outcome, Recorder, Running, Transaction, Value,
};
pub use report::{Kind, Violation};

use index::Index;

/// All violations that were found, the most telling first; none if the history can be explained.
///
/// Cycles are searched among ever more kinds of edges, and only the first that close one are
/// reported: what else there is usually follows from it.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let (index, mut violations) = Index::new(history);
    violations.extend(reads::check(&index));
    violations.extend(views::check(&index));
    violations.extend(edges::check(&index));
    violations
}

/// The same, as a text for a failing test.
///
/// # Errors
/// When a violation was found.
pub fn verify(history: &History) -> Result<(), String> {
    let violations = check(history);
    if violations.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = violations.iter().take(5).map(ToString::to_string).collect();
    Err(format!("{} violations\n\n{}", violations.len(), texts.join("\n")))
}
