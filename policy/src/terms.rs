//! Terms: what a fetch costs, what is asked of the one who fetches, and how a refusal reads.

use std::sync::{Arc, LazyLock};

use crate::protocol::cap::Unlicensed;
use crate::{Assurance, Money, divide_half_even};

/// The rule that is named where none matched.
pub(crate) const DEFAULT_RULE: &str = "default";
/// The rule that is named for what nobody may charge for.
pub(crate) const ALWAYS_FREE_RULE: &str = "always-free";

/// [`DEFAULT_RULE`], shared.
pub(crate) fn default_rule() -> &'static Arc<str> {
    static NAME: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(DEFAULT_RULE));
    &NAME
}

/// [`ALWAYS_FREE_RULE`], shared.
pub(crate) fn always_free_rule() -> &'static Arc<str> {
    static NAME: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(ALWAYS_FREE_RULE));
    &NAME
}

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
    /// The most that one fetch may cost; required where the quantity or the price may be unknown at the head.
    pub max: Option<Money>,
    /// Whether the origin may set another price on its response, up to `max` (Pay Per Crawl, "dynamic pricing"). In the terms of
    /// a fetch it has: `price` is what holds.
    pub origin_price: bool,
    /// How long the same version is free to the same operator after it was paid, in seconds; 0: every fetch counts.
    pub repeat_free_secs: u64,
}

impl Charge {
    /// What a quantity (fetches, bytes or words) costs: rounded half to even at the nano-unit, never above `max`.
    ///
    /// An amount beyond `i64` is the largest `i64`; a `max` makes that impossible wherever quantities are not small.
    pub fn amount(&self, quantity: u64) -> Money {
        let exact = i128::from(self.price.nano) * i128::from(quantity);
        let nano = i64::try_from(divide_half_even(exact, i128::from(self.unit.size()))).unwrap_or(i64::MAX);
        let nano = self.max.map_or(nano, |max| nano.min(max.nano));
        Money { nano, currency: self.price.currency }
    }

    /// The most that a response may cost, when its head has told the length of its body, or that it does not know it.
    pub fn most(&self, content_length: Option<u64>) -> Money {
        match (self.unit, content_length) {
            (Unit::Megabyte, Some(bytes)) => self.amount(bytes),
            _ => self.ceiling(),
        }
    }

    /// The most that one fetch may cost.
    pub fn ceiling(&self) -> Money {
        match self.unit {
            Unit::Fetch if !self.origin_price => self.price,
            // Compiled policies always name a maximum here.
            Unit::Fetch | Unit::Megabyte | Unit::ThousandWords => self.max.unwrap_or(self.price),
        }
    }
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
    /// 400: the request's signature does not verify, or does not cover the price header.
    BadSignature,
    /// 401, 403, 503: a licence is asked for, and the fetch shows none that is good for it; [`Refusal::unlicensed`] says which.
    Unlicensed,
    /// 502: the origin's own price cannot be read, or is above the most that the rule lets it ask.
    BadOriginPrice,
    /// 402: a payment that came with the request does not pay for this, or was not settled. Nothing moved.
    PaymentRefused,
    /// 400: a payment that came with the request cannot be read.
    BadPayment,
    /// 409: the payment's identifier was used for another payment.
    PaymentConflict,
    /// 503: whether the payment was settled is not known yet. The same payment is to be sent again, never another.
    PaymentPending,
}

impl RefusalKind {
    /// The HTTP status, where the rule does not ask for a signature; [`Refusal::status`] knows.
    pub fn status(self) -> u16 {
        match self {
            RefusalKind::Denied => 403,
            RefusalKind::PaymentRequired
            | RefusalKind::OfferTooLow
            | RefusalKind::IdentityRequired
            | RefusalKind::NoCredit
            | RefusalKind::PaymentRefused => 402,
            RefusalKind::LimitReached => 429,
            RefusalKind::BadOffer | RefusalKind::BadSignature | RefusalKind::BadPayment => 400,
            RefusalKind::Unlicensed => 401,
            RefusalKind::BadOriginPrice => 502,
            RefusalKind::PaymentConflict => 409,
            RefusalKind::PaymentPending => 503,
        }
    }

    /// The HTTP status under a rule that asks for this rung. One that asks for a signature speaks Pay Per Crawl to the letter
    /// ([`crate::protocol::crawl_price`]).
    pub(crate) fn status_under(self, require: Assurance) -> u16 {
        match self {
            RefusalKind::IdentityRequired if require >= Assurance::Signed => 400,
            RefusalKind::NoCredit if require >= Assurance::Signed => 403,
            kind => kind.status(),
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
    /// What CAP says, where a licence decides, and where the licences are published.
    pub unlicensed: Option<(Unlicensed, String)>,
    /// `Accept-Signature`, where a signature would mend it: what it has to cover.
    pub accept_signature: Option<String>,
    /// One sentence for a person: what was refused, why, and what would be right.
    pub detail: String,
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match (self.kind, &self.unlicensed) {
            (RefusalKind::Unlicensed, Some((why, _))) => why.status(),
            (kind, _) => kind.status_under(self.require),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Currency;

    fn usd(nano: i64) -> Money {
        Money { nano, currency: Currency::USD }
    }

    #[test]
    fn amounts_round_half_to_even_and_stop_at_the_maximum() {
        let charge = |nano, unit, max: Option<i64>| Charge {
            price: usd(nano),
            unit,
            max: max.map(usd),
            origin_price: false,
            repeat_free_secs: 0,
        };
        assert_eq!(charge(2_000_000, Unit::Fetch, None).amount(1), usd(2_000_000));
        assert_eq!(charge(2_000_000, Unit::Fetch, None).amount(0), usd(0));
        assert_eq!(charge(3, Unit::Megabyte, Some(10)).amount(500_000), usd(2));
        assert_eq!(charge(1, Unit::Megabyte, Some(10)).amount(500_000), usd(0));
        assert_eq!(charge(1, Unit::Megabyte, Some(10)).amount(500_001), usd(1));
        assert_eq!(charge(1_000, Unit::ThousandWords, Some(5_000)).amount(u64::MAX), usd(5_000));
        assert_eq!(charge(i64::MAX, Unit::Fetch, None).amount(u64::MAX), usd(i64::MAX));
    }
}
