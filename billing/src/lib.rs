//! byline-billing.
