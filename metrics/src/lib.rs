//! Counting what crawlers take: the meter on a body, the usage record written for outsiders, and what Prometheus sees.
//!
//! Metrics watch; the ledger counts. Nothing here does I/O or reads a clock, and no sum of money is made here.

mod meter;
mod outcome;
mod record;

pub use meter::{Meter, Metered};
pub use outcome::Outcome;
pub use record::{RecordError, Rollup, UsageRecord};
