//! The store: records, the shards that hold them, and ordered reading across shards.
//!
//! A key's hash names its partition, the partition its shard ([`placement`]). A shard is a latch
//! over a hash index, an ordered index, version chains and a lock table ([`shard`]). When memory is
//! full, [`shard::sweep`] has keys give way; [`filter`] remembers which, and [`ghosts`] which of
//! them had been new. One-shard logic knows nothing of sharding; [`scan`] merges the shards in key
//! order.

pub(crate) mod ahead;
pub(crate) mod filter;
pub(crate) mod ghosts;
pub(crate) mod index;
pub(crate) mod order;
pub(crate) mod placement;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod shard;
pub(crate) mod shards;
pub(crate) mod slots;
