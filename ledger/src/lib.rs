//! byline-ledger.
