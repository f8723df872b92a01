//! What a crawler fetches for, as its operator declares it.

use std::fmt;

/// The declared purpose of a crawler.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Purpose {
    /// Training of models: `train`.
    Train,
    /// An index behind an AI search or answer product: `search`.
    Search,
    /// Fetching because a user of an assistant asked just now (grounding, user action): `ground`.
    Ground,
    /// Acting for a user on the site (browsing, buying, coding agents): `agent`.
    Agent,
    /// Collecting to pass on to others (datasets, scraping services): `data`.
    Data,
    /// Not declared: `unknown`.
    Unknown,
}

impl Purpose {
    /// All purposes, in the order of documentation.
    pub const ALL: [Purpose; 6] =
        [Purpose::Train, Purpose::Search, Purpose::Ground, Purpose::Agent, Purpose::Data, Purpose::Unknown];

    /// The word used in policies, records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Train => "train",
            Purpose::Search => "search",
            Purpose::Ground => "ground",
            Purpose::Agent => "agent",
            Purpose::Data => "data",
            Purpose::Unknown => "unknown",
        }
    }

    /// The purpose of that word.
    pub fn parse(word: &str) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|purpose| purpose.as_str() == word)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
