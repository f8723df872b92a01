//! A work: the canonical identity of what a URL names.
//!
//! Rules are asked about the canonical path only, so two spellings that an origin serves alike are one work. A path that
//! an origin could read differently from the policy (an encoded slash, a climb above the root) is refused, not guessed;
//! so is one that some servers read as another path (`//`, `;`, double encoding, NFKC), where the policy says something else
//! about that one.

mod path;
mod query;
mod readings;

use std::sync::Arc;

pub(crate) use path::{MAX_PATH_BYTES, canonical_path, hex, normalise_literal, push_encoded};
pub(crate) use query::canonical_query;
pub(crate) use readings::{folded, other_readings};

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

impl Work {
    /// A work under its path as it came, for where an ambiguous path must not be refused: no entry of the policy
    /// claims it, so nobody holds it.
    pub fn unclear(scheme: &str, host: &str, target: &str) -> Work {
        let host = host.to_ascii_lowercase();
        let path = target.split('?').next().unwrap_or("/").to_owned();
        Work {
            url: format!("{scheme}://{host}{path}"),
            id: format!("{host}{path}"),
            host: Arc::from(host),
            path,
            holder: None,
            licence: None,
            always_free: false,
        }
    }
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

/// The one spelling of a host: lower case, without a trailing dot and without the scheme's own port.
pub(crate) fn canonical_host(scheme: &str, host: &str) -> Result<String, &'static str> {
    let (name, port) = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => (&host[..colon], &host[colon + 1..]),
        _ => (host, ""),
    };
    let is_address = name.starts_with('[') && name.ends_with(']') && name.len() > 2;
    let inner = if is_address { &name[1..name.len() - 1] } else { name.strip_suffix('.').unwrap_or(name) };
    let allowed = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' => true,
        b'-' | b'_' => !is_address,
        b':' => is_address,
        _ => false,
    };
    let has_empty_label = !is_address && inner.split('.').any(str::is_empty);
    if inner.is_empty() || inner.len() > 253 || has_empty_label || !inner.bytes().all(allowed) {
        return Err("the host is not a host name");
    }
    if port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the host's port is not a number");
    }
    let own_port = matches!((scheme, port), (_, "") | ("http", "80") | ("https", "443"));
    let mut canonical = if is_address { name.to_owned() } else { inner.to_owned() };
    canonical.make_ascii_lowercase();
    if !own_port {
        canonical.push(':');
        canonical.push_str(port);
    }
    Ok(canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        for (scheme, host, expect) in [
            ("http", "Example.COM", "example.com"),
            ("http", "example.com:80", "example.com"),
            ("https", "example.com:443", "example.com"),
            ("http", "example.com:443", "example.com:443"),
            ("https", "example.com.", "example.com"),
            ("https", "example.com.:8443", "example.com:8443"),
            ("http", "example.com:", "example.com"),
            ("http", "[::1]", "[::1]"),
            ("http", "[2001:DB8::1]:8080", "[2001:db8::1]:8080"),
            ("http", "127.0.0.1:8080", "127.0.0.1:8080"),
        ] {
            let canonical = canonical_host(scheme, host);
            assert_eq!(canonical.as_deref(), Ok(expect), "{host}");
            assert_eq!(canonical_host(scheme, expect).as_deref(), Ok(expect), "{expect} again");
        }
        for host in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            ":80",
            "a b",
            "user@example.com",
            "example.com:http",
            "[]",
            "[::1",
            "é.com",
            "a/b",
            "a%2eb",
        ] {
            assert!(canonical_host("http", host).is_err(), "{host}");
        }
    }
}
