//! The engine: a sharded, versioned, transactional key-value store in memory.
