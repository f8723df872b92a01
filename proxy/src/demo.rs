//! The stage of `byline demo`: a sample publisher's site, scripted visitors, and the report on what came of it.
//!
//! Everything is real but the people: the site is an HTTP server on a loopback port, the visitors connect over sockets
//! bound to addresses of 127.0.0.0/8, and what is reported is read back from the ledger that the proxy wrote. What the
//! visitors know is kept apart ([`visitors::Visit`]) and compared with the ledger at the end.

pub(crate) mod checks;
pub(crate) mod client;
pub(crate) mod findings;
pub(crate) mod origin;
pub(crate) mod report;
pub(crate) mod site;
pub(crate) mod tally;
pub(crate) mod tamper;
pub(crate) mod visitors;

/// The policy that is in force.
pub(crate) const POLICY: &str = include_str!("demo/policy.toml");

/// The site's name, which the visitors send as `Host`: it is reserved for examples (RFC 2606).
pub(crate) const HOST: &str = "library.example";
