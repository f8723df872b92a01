//! A crawler: a row of the registry, and what is known of the one who asks.

use std::sync::Arc;

use ipnet::IpNet;

use crate::{Assurance, Evidence, Purpose};

/// What kind of client a row of the registry describes. Byline acts on [`Class::Ai`] alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// A crawler that feeds AI systems: `ai`.
    Ai,
    /// A search engine's crawler: `search-engine`.
    SearchEngine,
    /// A feed reader: `feed`.
    Feed,
    /// A link preview or social card: `preview`.
    Preview,
    /// Uptime and performance checks: `monitoring`.
    Monitoring,
    /// A public archive: `archive`.
    Archive,
    /// Search-engine optimisation and advertising checks: `marketing`.
    Marketing,
    /// A name that exists in robots.txt only and never fetches: `control-token`.
    ControlToken,
    /// A command-line tool, library or framework that anybody may run: `tool`.
    Tool,
}

/// How claims of a crawler's name can be checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verification {
    /// URLs of published address lists.
    pub lists: Vec<String>,
    /// Address ranges written in the policy or the registry itself.
    pub ranges: Vec<IpNet>,
    /// Domain suffixes of forward-confirmed reverse DNS names, lower case, without a leading dot.
    pub reverse_dns: Vec<String>,
}

/// One row of the registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrawlerRow {
    /// The product token in the user agent, in its usual case; also the crawler's name in records and metrics.
    pub token: Arc<str>,
    /// Who runs it, as a short identifier: `openai`.
    pub operator: Arc<str>,
    /// The operator's name for people: `OpenAI`.
    pub operator_name: Arc<str>,
    /// The class.
    pub class: Class,
    /// The declared purpose.
    pub purpose: Purpose,
    /// Ways to check a claim.
    pub verification: Verification,
    /// Where the row comes from, with its date.
    pub source: Arc<str>,
}

/// Who asks: a row, and how sure we are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crawler {
    /// The row that the user agent names.
    pub row: Arc<CrawlerRow>,
    /// The rung that the evidence reaches.
    pub assurance: Assurance,
    /// The evidence itself.
    pub evidence: Evidence,
}

impl Crawler {
    /// The claim is contradicted by evidence: somebody else uses the name.
    pub fn is_spoof(&self) -> bool {
        matches!(self.evidence, Evidence::Contradicted { .. })
    }

    /// The operator whose account and limits this fetch touches; a spoof never touches the named operator's.
    pub fn operator(&self) -> &str {
        if self.is_spoof() { SPOOF_OPERATOR } else { &self.row.operator }
    }
}

/// The operator that spoofed fetches are recorded under.
pub(crate) const SPOOF_OPERATOR: &str = "spoof";
