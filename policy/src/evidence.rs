//! Evidence for a claimed name, and the ladder of assurance that it reaches.

use std::net::IpAddr;
use std::sync::Arc;

use crate::{Crawler, CrawlerRow};

/// How sure we are of who asks. Each rung includes the ones below it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Assurance {
    /// Only the user agent says so.
    Claimed,
    /// The address is in a published range, or reverse DNS confirms it.
    Network,
    /// The request is signed (Web Bot Auth).
    Signed,
    /// The client holds a licence token.
    Licensed,
}

impl Assurance {
    /// The word used in policies, records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Assurance::Claimed => "claimed",
            Assurance::Network => "network",
            Assurance::Signed => "signed",
            Assurance::Licensed => "licensed",
        }
    }
}

/// What the network says about a claimed name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Nothing to check with, or no answer yet.
    None,
    /// The address is in a range that the operator publishes.
    Range {
        /// The list's URL, `policy` or `registry`.
        source: Arc<str>,
    },
    /// The address has a name of the operator's, and that name has the address.
    ReverseDns {
        /// The confirmed name.
        name: Arc<str>,
    },
    /// Every way to check was at hand, and all of them say no.
    Contradicted {
        /// What said no: `range`, `reverse-dns` or both.
        by: Arc<str>,
    },
}

/// A published list of address ranges, as parsed.
#[derive(Clone, Debug)]
pub struct RangeList;

impl RangeList {
    /// Reads a published list in any of the shapes that operators use (JSON with `prefixes`, plain lines, …).
    ///
    /// # Errors
    /// A sentence that says what is wrong; an empty list is an error.
    pub fn parse(_text: &str) -> Result<RangeList, String> {
        Err("unfinished".to_owned())
    }

    /// Whether the address is in one of the ranges.
    pub fn contains(&self, _address: IpAddr) -> bool {
        false
    }
}

/// Puts a recognised crawler on its rung.
pub fn identify(row: Arc<CrawlerRow>, evidence: Evidence) -> Crawler {
    let assurance = match evidence {
        Evidence::Range { .. } | Evidence::ReverseDns { .. } => Assurance::Network,
        Evidence::None | Evidence::Contradicted { .. } => Assurance::Claimed,
    };
    Crawler { row, assurance, evidence }
}
