//! A work: the canonical identity of what a URL names.

use std::sync::Arc;

/// What is fetched, under the one name that policy, ledger and statements use for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Work {
    /// Host, lower case, without port if it is the scheme's own.
    pub host: Arc<str>,
    /// Canonical path: dot segments resolved, unreserved characters decoded, empty segments joined.
    pub path: String,
    /// Canonical URL: scheme, host, path, and the query parameters that the policy names.
    pub url: String,
    /// The work's identifier: the `id` of its `[[work]]` entry, else host and path (and named parameters).
    pub id: String,
    /// Whose it is, if the policy says.
    pub holder: Option<Arc<str>>,
    /// The licence's URL, if the policy says.
    pub licence: Option<Arc<str>>,
    /// robots.txt, sitemaps, security.txt and licence files: always free, whatever a rule says.
    pub always_free: bool,
}

/// A path that an origin could read differently from the policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} is ambiguous: {why}")]
pub struct AmbiguousPath {
    /// The path as it came.
    pub path: String,
    /// What makes it so.
    pub why: &'static str,
}
