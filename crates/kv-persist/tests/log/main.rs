//! The log against real files, and against files that fail.

mod damage;
mod full;
mod modes;
#[cfg(feature = "testing")]
mod planted;
mod protection;
mod recovery;
mod salvage;
mod support;
mod threads;
