//! Counting what crawlers take: the meter on a body, the usage record written for outsiders, and what Prometheus sees.
//!
//! Metrics watch; the ledger counts. Nothing here does I/O or reads a clock, and no sum of money is made here but the
//! plain sums of a [`Rollup`].

mod digest;
mod entry;
mod json;
mod meter;
pub mod names;
mod outcome;
mod payment;
mod record;
mod rollup;
mod scan;
mod telemetry;
mod text;
mod time;
mod words;

pub use digest::sha256_many;
pub use entry::{Entry, Gap, NodeStart, PolicyPart};
pub use meter::{KEPT_BYTES_MAX, Meter, Metered, WORDS_TIME_MAX, WordOptions};
pub use outcome::Outcome;
pub use payment::{PaymentRecord, PaymentState};
pub use record::{RecordError, Rollup, UsageRecord};
pub use rollup::{RolledFetch, Rollups};
pub use telemetry::{
    Counted, LedgerFigures, LedgerState, Limit, Lookup, RequestClass, SignatureVerdict, Telemetry,
    TokenAnswer, UnmeteredReason, UpstreamFailure,
};
pub use text::Text;
pub use time::{month_of, month_text};
