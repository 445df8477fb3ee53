//! Benchmarks; see the folder `benches`. What they measured last is in `docs/benchmarks.md`.
