//! byline-policy.
