//! The names of all metrics, in one place. `docs/metrics.md` lists them with their labels.
