//! An access log under a policy.
