//! Terms: what a fetch costs, what is asked of the one who fetches, and how a refusal reads.

use std::sync::Arc;

use crate::{Assurance, Money, MoneyError};

/// What a price is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Unit {
    /// One fetch.
    Fetch,
    /// 10⁶ bytes delivered on the wire.
    Megabyte,
    /// 1,000 words of decoded text.
    ThousandWords,
}

impl Unit {
    /// The word used in policies, records and statements: `fetch`, `MB`, `1000-words`.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Fetch => "fetch",
            Unit::Megabyte => "MB",
            Unit::ThousandWords => "1000-words",
        }
    }

    /// How many of what is counted (fetches, bytes, words) make one unit.
    pub fn size(self) -> u64 {
        match self {
            Unit::Fetch => 1,
            Unit::Megabyte => 1_000_000,
            Unit::ThousandWords => 1_000,
        }
    }
}

/// The price that a rule asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Charge {
    /// Price of one unit.
    pub price: Money,
    /// What is counted.
    pub unit: Unit,
    /// The most that one fetch may cost; required where the quantity may be unknown at the head.
    pub max: Option<Money>,
    /// How long the same version is free to the same operator after it was paid, in seconds; 0: every fetch counts.
    pub repeat_free_secs: u64,
}

/// A budget of requests or bytes per period for each operator.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Limit {
    /// The rule that sets it: limits are counted per rule and operator.
    pub rule: Arc<str>,
    /// Requests per period, if limited.
    pub requests: Option<u64>,
    /// Bytes delivered per period, if limited.
    pub bytes: Option<u64>,
    /// Length of the period in seconds; periods are aligned to the Unix epoch.
    pub period_secs: u64,
}

/// What the deciding rule says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Free.
    Allow,
    /// Not at all.
    Deny,
    /// For money.
    Charge,
}

impl Verdict {
    /// The word used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Charge => "charge",
        }
    }
}

/// The terms of one delivered fetch: all that rating it needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The rule that decided; `default` if none matched.
    pub rule: Arc<str>,
    /// What that rule says.
    pub verdict: Verdict,
    /// The price, if it asks one.
    pub charge: Option<Charge>,
    /// Whether the amount is owed (enforced, and the crawler agreed to pay) or only quoted.
    pub owed: bool,
    /// In observe mode: the status that enforcing would have answered (402, 403, 429).
    pub would_refuse: Option<u16>,
    /// The budget that this fetch counts against.
    pub limit: Option<Limit>,
}

/// What a crawler says it will pay: `crawler-max-price` or `crawler-exact-price`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Offer {
    /// No price header.
    #[default]
    None,
    /// Up to this.
    Max(Money),
    /// Exactly this.
    Exact(Money),
}

/// Why price headers cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// `crawler-error: ConflictingPriceHeaders`.
    #[error("send either crawler-max-price or crawler-exact-price, once")]
    Conflicting,
    /// `crawler-error: InvalidCrawlerPriceValue`.
    #[error("a price header reads like `USD 0.01`: {0}")]
    Malformed(#[from] MoneyError),
}

/// Why a fetch is refused; each kind has one status.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefusalKind {
    /// 403: the rule says no.
    Denied,
    /// 402: a price is asked and none was offered.
    PaymentRequired,
    /// 402: the offer is not the price, or less than it.
    OfferTooLow,
    /// 402: the offer cannot be taken from somebody below the rung that the rule asks for.
    IdentityRequired,
    /// 402: nobody to bill: the operator has no account, or its credit is used up.
    NoCredit,
    /// 429: the operator's budget of requests or bytes is used up.
    LimitReached,
    /// 400: the price headers cannot be read.
    BadOffer,
}

impl RefusalKind {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            RefusalKind::Denied => 403,
            RefusalKind::PaymentRequired
            | RefusalKind::OfferTooLow
            | RefusalKind::IdentityRequired
            | RefusalKind::NoCredit => 402,
            RefusalKind::LimitReached => 429,
            RefusalKind::BadOffer => 400,
        }
    }
}

/// A refusal: a value, not an error. It carries all that its answer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Why.
    pub kind: RefusalKind,
    /// The rule that decided.
    pub rule: Arc<str>,
    /// The price (or the most it may cost), where one is asked.
    pub price: Option<Money>,
    /// What the price is counted in.
    pub unit: Option<Unit>,
    /// Price of one unit, where `price` is a maximum.
    pub unit_price: Option<Money>,
    /// The rung that money needs.
    pub require: Assurance,
    /// The licence's URL.
    pub licence: Option<Arc<str>>,
    /// Whom to ask for terms: a URL or a mail address from the policy.
    pub contact: Option<Arc<str>>,
    /// Seconds until a budget is renewed.
    pub retry_after_secs: Option<u64>,
    /// The machine code of `crawler-error`, where one exists.
    pub crawler_error: Option<&'static str>,
    /// One sentence for a person: what was refused, why, and what would be right.
    pub detail: String,
}
