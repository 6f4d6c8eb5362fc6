//! What the tests share: scripts, the reference model, the history checker.
