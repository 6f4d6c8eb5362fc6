//! The server's binary: reads the arguments and runs.

fn main() {}
