//! The engine as a library, seen from outside. One binary, so that it is linked once.

mod embedded;
mod versions;
