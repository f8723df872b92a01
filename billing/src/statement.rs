//! Statements for operators and holders.

mod period;

pub use period::{Period, PeriodError};
