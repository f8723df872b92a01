//! Who sends the requests of a connection.

use std::net::IpAddr;

use http::HeaderValue;
use ipnet::IpNet;

use crate::headers;

/// The client of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address, or the one that a trusted proxy names in a PROXY header.
    pub(crate) address: IpAddr,
    /// The same as `X-Forwarded-For` tells it.
    pub(crate) address_text: HeaderValue,
    /// Whether it is a trusted proxy, so that its `X-Forwarded-*` count.
    pub(crate) trusted: bool,
    /// Whether it came over TLS.
    pub(crate) https: bool,
    /// The site whose certificate it asked for by SNI.
    pub(crate) named_site: NamedSite,
}

/// The site that a TLS handshake named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NamedSite {
    /// No TLS, or no server name in it.
    Any,
    /// This one.
    One(usize),
    /// One that is not served here.
    Unknown,
}

impl Peer {
    /// A client of whom nothing but the address is known, and whether it came over TLS.
    pub(crate) fn new(address: IpAddr, https: bool, trusted_proxies: &[IpNet]) -> Peer {
        let address_text = headers::value_of(address.to_string());
        let trusted = headers::is_trusted(address, trusted_proxies);
        Peer { address, address_text, trusted, https, named_site: NamedSite::Any }
    }
}

impl NamedSite {
    /// RFC 9110 §7.4: a request for another site than the handshake's is misdirected.
    pub(crate) fn serves(self, site: usize) -> bool {
        match self {
            NamedSite::Any => true,
            NamedSite::One(named) => named == site,
            NamedSite::Unknown => false,
        }
    }
}
