//! Workloads and seeded generators that the benchmarks share.
