//! A crawler: a row of the registry, and what is known of the one who asks.

use std::sync::Arc;

use ipnet::IpNet;

use crate::protocol::bot_auth::KeySource;
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

impl Class {
    /// All classes, in the order of documentation.
    pub const ALL: [Class; 9] = [
        Class::Ai,
        Class::SearchEngine,
        Class::Feed,
        Class::Preview,
        Class::Monitoring,
        Class::Archive,
        Class::Marketing,
        Class::ControlToken,
        Class::Tool,
    ];

    /// The word used in the registry, in policies and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Ai => "ai",
            Class::SearchEngine => "search-engine",
            Class::Feed => "feed",
            Class::Preview => "preview",
            Class::Monitoring => "monitoring",
            Class::Archive => "archive",
            Class::Marketing => "marketing",
            Class::ControlToken => "control-token",
            Class::Tool => "tool",
        }
    }

    /// The class of that word.
    pub fn parse(word: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == word)
    }
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
    /// Where the keys are with which the crawler signs its requests (Web Bot Auth).
    pub agents: Vec<KeySource>,
}

impl Verification {
    /// Whether a DNS name is one of the operator's: under one of the suffixes, at a label boundary, or the suffix itself.
    ///
    /// Case and one final dot do not matter. A name with anything but letters, digits, `-`, `_` and dots is nobody's:
    /// resolvers print a dot inside a label with a backslash, and an internationalised name looks like another only
    /// when it is shown, never in its `xn--` form.
    pub fn has_name(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let plain =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        let labels = name.split('.').all(|label| !label.is_empty());
        plain && labels && self.reverse_dns.iter().any(|suffix| is_under(name, suffix))
    }

    /// Whether there is any way to check a claim.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
            && self.ranges.is_empty()
            && self.reverse_dns.is_empty()
            && self.agents.is_empty()
    }

    /// Whether the keys at a source are the crawler's. Whether they are a key set or in a client document, the request may say.
    pub fn has_agent(&self, source: &KeySource) -> bool {
        self.agents.iter().any(|agent| agent.url == source.url)
    }
}

fn is_under(name: &str, suffix: &str) -> bool {
    let suffix = suffix.trim_matches('.').as_bytes();
    let Some(start) = name.len().checked_sub(suffix.len()) else { return false };
    let at_label = start == 0 || name.as_bytes()[start - 1] == b'.';
    !suffix.is_empty() && at_label && name.as_bytes()[start..].eq_ignore_ascii_case(suffix)
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

    /// The rung of who asks, whatever licence it holds: a licence is no identity.
    pub fn identity_rung(&self) -> Assurance {
        match &self.evidence {
            Evidence::Licence { identity, .. } => identity.rung(),
            _ => self.assurance,
        }
    }

    /// The rung that counts where money moves, whatever licence it holds: a signature that says neither what is fetched nor has
    /// a nonce proves who is there, and could be sent again with any other path.
    pub fn rung_for_money(&self) -> Assurance {
        match self.evidence.identity() {
            Evidence::Signed { may_pay: false, .. } => Assurance::Claimed,
            _ => self.identity_rung(),
        }
    }

    /// Whether a price may be put on the operator's account by a rule that asks for this rung. By the rung `licensed` that
    /// takes a licence, and a network or signature that says whose account it is.
    pub fn may_owe_under(&self, require: Assurance) -> bool {
        match require {
            Assurance::Licensed => {
                self.assurance == Assurance::Licensed && self.rung_for_money() >= Assurance::Network
            }
            rung => self.rung_for_money() >= rung,
        }
    }

    /// The operator whose account and limits this fetch touches; a spoof never touches the named operator's.
    pub fn operator(&self) -> &str {
        if self.is_spoof() { SPOOF_OPERATOR } else { &self.row.operator }
    }
}

/// The operator that spoofed fetches are recorded under.
pub(crate) const SPOOF_OPERATOR: &str = "spoof";
