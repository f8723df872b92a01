//! byline-metrics.
